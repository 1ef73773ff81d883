"""Training spread over several devices and over several processes."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import ops
from data import console, devices
from tests.conftest import GOLDEN, Golden, random_batch

ROOT = pathlib.Path(ops.__file__).parent
CLUSTER = {'cluster': {'worker': ['a:1', 'b:1']}, 'task': {'type': 'worker', 'index': 1}}
# A process that trains a tiny model, as one of several or alone, and writes its weights.
WORKER = """
import numpy as np, sys
import face_aging
from data.console import InputError
from tests.conftest import GOLDEN, TINY
save_dir, weights, epochs = sys.argv[1:]
face_aging.INIT_MODEL = str(GOLDEN / 'tiny32' / 'checkpoint')
paths = {'save_dir': save_dir, 'data_dir': '.', 'dataset_name': 'faces'}
model = face_aging.FaceAging(size_batch=4, **paths, **TINY)
try:
    model.train(int(epochs), weights=(0, 0, 0))
except InputError as error:
    sys.exit(str(error))
np.savez(weights, **{name: value.numpy() for name, value in model.named_variables.items()})
"""


def assert_alike(model, other, tolerance):
    """That E and G are, to which no batch norm leads when the discriminators weigh nothing."""
    for name, variable in model.named_variables.items():
        if name.startswith(('E_', 'G_')):
            value, expected = variable.numpy(), other.named_variables[name].numpy()
            np.testing.assert_allclose(value, expected, rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize(
    ('precision', 'tolerance', 'tv_tolerance'),
    # In float16 the total variation is of differences as small as its steps: off by 0.6% on AVX2.
    [('float32', 2e-5, 2e-4), ('mixed_float16', 5e-4, 1e-2)],
)
def test_two_devices_learn_what_one_does(tiny, two_devices, precision, tolerance, tv_tolerance):
    keras.config.set_dtype_policy(precision)
    golden, models = Golden('tiny32').variables, []
    for strategy in (None, two_devices):
        model = tiny(size_batch=8, strategy=strategy)
        model.weights = (0, 0, 0)
        for name, value in golden.items():
            model.named_variables[name].assign(value)
        shares = [devices.share(model.strategy, value) for value in random_batch(8)]
        model.curve = [model.train_step(*shares) for _ in range(3)]
        models.append(model)
    alone, spread = models
    for losses, expected in zip(spread.curve, alone.curve, strict=True):
        for name, rtol in (('EG_loss', 10 * tolerance), ('tv_loss', tv_tolerance)):
            np.testing.assert_allclose(losses[name], expected[name], rtol=rtol)
    assert_alike(spread, alone, tolerance)
    for slot, expected in zip(
        spread.optimizers[0].variables, alone.optimizers[0].variables, strict=True
    ):  # of Adam, whose steps do not tell how large the gradients were
        scale = max(np.abs(expected.numpy()).max(), 1e-12)
        np.testing.assert_allclose(
            slot.numpy() / scale, expected.numpy() / scale, rtol=0, atol=1000 * tolerance
        )
    for name, variable in spread.named_variables.items():
        first, second = variable.value.values
        np.testing.assert_array_equal(first, second, err_msg=name)
        if name in golden and name.startswith(('E_', 'G_')):
            assert np.abs(first - golden[name]).max() > 1e-4, name


def test_a_run_on_two_devices(tiny, faces, two_devices, monkeypatch):
    """It trains on what one device does, writes the same files and goes on from its checkpoint."""
    monkeypatch.setattr('face_aging.INIT_MODEL', str(GOLDEN / 'tiny32' / 'checkpoint'))
    alone = tiny(save_dir=str(faces.parent / 'alone'))
    alone.train(num_epochs=2, weights=(0, 0, 0))
    tiny(strategy=two_devices).train(num_epochs=1, weights=(0, 0, 0))
    spread = tiny(strategy=two_devices)
    spread.train(num_epochs=2, weights=(0, 0, 0))
    assert spread.run.step == alone.run.step == 4
    assert_alike(spread, alone, 2e-5)
    for folder in ('samples', 'test'):
        names = os.listdir(os.path.join(alone.save_dir, folder))
        assert sorted(os.listdir(os.path.join(spread.save_dir, folder))) == sorted(names)


@pytest.mark.parametrize(('size', 'count', 'taken'), [(7, 2, 8), (2, 2, 4), (1, 1, 2)])
def test_a_batch_that_cannot_be_shared(tiny, size, count, taken):
    strategy = tf.distribute.MirroredStrategy([f'CPU:{i}' for i in range(count)])
    message = rf'batch of {size} does not give every device .*: take {taken}, or'
    with pytest.raises(console.InputError, match=message):
        tiny(size_batch=size, strategy=strategy)


@pytest.mark.parametrize(
    'text',
    [
        'worker 0',
        '[]',
        json.dumps({**CLUSTER, 'task': {'type': 'worker', 'index': 2}}),
        json.dumps({**CLUSTER, 'cluster': {'worker': 'ab'}}),
        json.dumps({'cluster': {'ps': ['a:1']}, 'task': {'type': 'ps', 'index': 0}}),
    ],
)
def test_a_mistaken_cluster(tiny_main, monkeypatch, text):
    monkeypatch.setenv('TF_CONFIG', text)
    with pytest.raises(SystemExit, match='TF_CONFIG does not describe') as error:
        tiny_main('--dataset', 'faces')
    assert '\n' not in error.value.code.strip()


def test_testing_needs_no_cluster(tiny, monkeypatch):
    monkeypatch.setenv('TF_CONFIG', json.dumps(CLUSTER))
    assert tiny(is_training=False).strategy.num_replicas_in_sync == 1


@pytest.mark.parametrize(('gpus', 'kind'), [(0, 'default'), (1, 'default'), (2, 'mirrored')])
def test_all_gpus_are_used(monkeypatch, gpus, kind):
    monkeypatch.setattr(tf.config, 'list_physical_devices', lambda _: ['gpu'] * gpus)
    monkeypatch.setattr(tf.distribute, 'MirroredStrategy', lambda: 'mirrored')
    monkeypatch.setattr(tf.distribute, 'get_strategy', lambda: 'default')
    assert devices.choose_strategy() == kind


@pytest.mark.parametrize(
    ('policy', 'flags', 'gpus', 'is_slow'),
    [
        ('float32', {'avx2'}, 0, False),
        ('mixed_float16', {'avx512_bf16'}, 0, True),
        ('mixed_bfloat16', {'avx2', 'avx512f'}, 0, True),
        ('mixed_bfloat16', {'avx512_bf16'}, 0, False),
        ('mixed_bfloat16', set(), 0, False),  # unknown
    ],
)
def test_a_slow_precision_is_told(monkeypatch, policy, flags, gpus, is_slow):
    monkeypatch.setattr(tf.config, 'list_physical_devices', lambda _: ['gpu'] * gpus)
    monkeypatch.setattr(tf.config.experimental, 'set_memory_growth', lambda *_: None)
    monkeypatch.setattr(devices, '_processor_flags', lambda: flags)
    monkeypatch.setattr(keras.config, 'dtype_policy', lambda: keras.DTypePolicy(policy))
    with warnings.catch_warnings(record=True) as recorded:
        warnings.simplefilter('always')
        devices.choose_strategy()
    assert [' emulates ' in str(warning.message) for warning in recorded] == [True] * is_slow


@pytest.mark.skipif(not os.path.exists('/proc/cpuinfo'), reason='no Linux')
def test_the_processor_is_known():
    assert devices._processor_flags() & {'fpu', 'fp'}


@pytest.mark.parametrize('is_training', [True, False])
def test_memory_of_gpus_grows(tiny, monkeypatch, is_training):
    """It is set for every GPU before one of them is touched, and too late it does no harm."""
    calls = []

    def set_growth(gpu, value):
        calls.append((gpu, value))
        if gpu == 'in use':
            raise RuntimeError('Physical devices cannot be modified after being initialized')

    monkeypatch.setattr(tf.config, 'list_physical_devices', lambda _: ['in use', 'free'])
    monkeypatch.setattr(tf.config.experimental, 'set_memory_growth', set_growth)
    default = tf.distribute.get_strategy
    for name in ('MirroredStrategy', 'get_strategy'):
        monkeypatch.setattr(tf.distribute, name, lambda: calls.append('strategy') or default())
    tiny(is_training=is_training, xla=False)
    assert calls[:3] == [('in use', True), ('free', True), 'strategy']


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(('127.0.0.1', 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start_worker(folder, workers, index, save_dir, epochs):
    """Start a worker of a cluster, a list of addresses; return its process."""
    config = {'cluster': {'worker': workers}, 'task': {'type': 'worker', 'index': index}}
    words = [sys.executable, '-c', WORKER, save_dir, f'{index}_of_{len(workers)}', str(epochs)]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'PYTHONUNBUFFERED': '1'}
    if len(workers) > 1:
        environment['TF_CONFIG'] = json.dumps(config)
    pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True}
    return subprocess.Popen(words, cwd=folder, env=environment, **pipes)


def run_workers(folder, save_dirs, epochs):
    """Run a process for each save_dir, all in one cluster; return their outputs and statuses."""
    workers = [f'127.0.0.1:{port}' for port in free_ports(len(save_dirs))]
    processes = [
        start_worker(folder, workers, index, save_dir, epochs)
        for index, save_dir in enumerate(save_dirs)
    ]
    try:
        errors = [process.communicate(timeout=300)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return errors, [process.returncode for process in processes]


def test_two_processes(faces, tmp_path):
    """Two workers learn the same weights as one process; only the first of them writes."""
    for epochs in (1, 2):  # the second time from a checkpoint
        errors, statuses = run_workers(tmp_path, ['save', 'save'], epochs)
        assert statuses == [0, 0], errors
    assert len(list((tmp_path / 'save' / 'summary').iterdir())) == 2  # one for each run
    _, statuses = run_workers(tmp_path, ['alone'], 2)
    assert statuses == [0]
    first, second, alone = (
        np.load(tmp_path / f'{name}.npz') for name in ('0_of_2', '1_of_2', '0_of_1')
    )
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
        if name.startswith(('E_', 'G_')):
            np.testing.assert_allclose(first[name], alone[name], rtol=0, atol=2e-5, err_msg=name)

    errors, statuses = run_workers(tmp_path, ['save', 'elsewhere'], 3)
    assert statuses == [1, 1] and all(
        'give all of them the same folder to save to' in e for e in errors
    )


def test_a_worker_that_dies(faces, tmp_path):
    """The others end with a sentence on how to go on."""
    workers = [f'127.0.0.1:{port}' for port in free_ports(2)]
    first, second = (start_worker(tmp_path, workers, i, 'save', 10_000) for i in (0, 1))
    try:
        for line in second.stdout:
            if line.startswith('Epoch 1/'):
                break
        second.kill()
        _, error = first.communicate(timeout=200)
        assert first.returncode == 1 and 'start all workers again' in error, error
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()
