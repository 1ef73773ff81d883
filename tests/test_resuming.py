"""Training runs that are stopped, killed and resumed, and what they leave in save_dir."""

import contextlib
import csv
import glob
import json
import os
import pathlib
import random
import re
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from tensorboard.compat.proto.event_pb2 import Event

import face_aging
from data import console
from init_model import checkpoints, savedir

ROOT = pathlib.Path(face_aging.__file__).parent
# main.py with a tiny model behind its flags, as a process of its own.
TINY_MAIN = """
import functools, sys
from absl import app
import face_aging
from tests.conftest import TINY
face_aging.FaceAging = functools.partial(face_aging.FaceAging, **TINY)
import main
sys.argv[0] = 'main.py'
app.run(main.main, flags_parser=main.flag_types.parse)
"""
KILLS = 20
GROWTH = 10_000  # bytes a step, less than half a batch; measured are 500 to 700, at most 2,900
TIMINGS = 2  # columns of history.csv, the last ones

pytestmark = pytest.mark.usefixtures('no_init_model')


def read_run(save_dir):
    """Return what a run has left that must not hang on interruptions.

    Returns:
        dict of the tensors and the state in its newest checkpoint, the points of its summary, the
        rows of its history without timings.
    """
    folder = os.path.join(save_dir, 'checkpoint')
    reader = tf.train.load_checkpoint(folder)
    found = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    state = json.loads(found.pop(checkpoints.STATE))
    del state['checkpoints'], state['totals']  # names of files; seconds
    points = {}
    for path in glob.glob(os.path.join(glob.escape(save_dir), 'summary', '*')):
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            event = Event.FromString(record)
            for value in event.summary.value:
                key = value.tag, event.step
                assert key not in points, f'{key} is there twice'
                points[key] = value.tensor.SerializeToString()
    with open(os.path.join(save_dir, 'history.csv'), encoding='utf-8') as file:
        rows = [row[:-TIMINGS] for row in csv.reader(file)]
    return {'tensors': found, 'state': state, 'points': points, 'history': rows}


def assert_same_run(save_dir, other):
    mine, others = read_run(save_dir), read_run(other)
    assert mine['history'] == others['history']
    assert mine['state'] == others['state']
    assert sorted(mine['points']) == sorted(others['points'])
    assert mine['points'] == others['points']
    assert mine['tensors'].keys() == others['tensors'].keys()
    for name, value in mine['tensors'].items():
        np.testing.assert_array_equal(value, others['tensors'][name], err_msg=name)


def at_step(model, monkeypatch, step, act):
    """Do something while a model takes a step."""
    take = model.train_step

    def take_and_act(*batch, **settings):
        if model.run.step == step - 1:
            act()
        return take(*batch, **settings)

    monkeypatch.setattr(model, 'train_step', take_and_act)


# --------------------------------------------------------------------------------- stopping


@pytest.mark.parametrize('number', savedir.SIGNALS)
@pytest.mark.parametrize('step', [1, 4, 6])  # within an epoch, its last one, the last of all
def test_a_stopped_run_goes_on_as_if_never_stopped(tiny, faces, monkeypatch, number, step):
    straight = str(faces.parent / 'straight')
    tiny(save_dir=straight).train(num_epochs=3)
    model = tiny()
    at_step(model, monkeypatch, step, lambda: os.kill(os.getpid(), number))
    usual = signal.getsignal(number)
    with pytest.raises(
        console.Stopped, match=rf'Stopped by .* after step {step}, .*model-{step}'
    ) as stop:
        model.train(num_epochs=3)
    assert stop.value.signal == number and signal.getsignal(number) == usual
    assert os.path.exists(os.path.join(model.save_dir, 'checkpoint', f'model-{step}.index'))
    tiny().train(num_epochs=3)
    assert_same_run(model.save_dir, straight)


def test_a_run_killed_between_checkpoints(tiny, faces, monkeypatch):
    """What it wrote after the last one is forgotten and done again."""
    straight = str(faces.parent / 'straight')
    tiny(save_dir=straight).train(num_epochs=3)

    def fail():
        raise MemoryError

    model = tiny(checkpoint_steps=3)
    at_step(model, monkeypatch, 6, fail)
    with pytest.raises(MemoryError):
        model.train(num_epochs=3)
    tiny(checkpoint_steps=3).train(num_epochs=3)
    assert_same_run(model.save_dir, straight)


def run_tiny_main(*words, **settings):
    command = [sys.executable, '-c', TINY_MAIN, *map(str, words)]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'PYTHONUNBUFFERED': '1'}
    pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True}
    return subprocess.Popen(command, env=environment, **{**pipes, **settings})


@pytest.mark.parametrize('number', savedir.SIGNALS)
def test_the_program_says_how_to_go_on(faces, tmp_path, number):
    words = '--datadir . --dataset faces --batch_size 4 --use_trained_model False'.split()
    with run_tiny_main(*words, '--savedir', 'a place', cwd=tmp_path) as process:
        for line in process.stdout:
            if line.startswith('Epoch 1/10'):
                process.send_signal(number)
                break
        _, err = process.communicate()
    assert process.returncode == 128 + number
    told = re.search(r'To go on: python main.py (.*)', err)
    assert told[1] == shlex.join([*words, '--savedir', 'a place', '--use_trained_model', 'True'])
    assert 'Traceback' not in err
    assert re.search(r'Ended by Stopped: ', (tmp_path / 'a place' / 'train.log').read_text())


def test_ctrl_c_ends_what_reads_the_output_too(faces, tmp_path):
    """As `tee` behind a training does."""
    words = '--datadir . --dataset faces --batch_size 4 --use_trained_model False'.split()
    with run_tiny_main(*words, cwd=tmp_path, stderr=subprocess.STDOUT) as process:
        for line in process.stdout:
            if line.startswith('Epoch 1/10'):
                break
        process.stdout.close()
        process.send_signal(signal.SIGINT)
        assert process.wait() == 128 + signal.SIGINT
    assert 'Ended by Stopped: ' in (tmp_path / 'save' / 'train.log').read_text()
    assert checkpoints.read_newest(str(tmp_path / 'save' / 'checkpoint'))


@pytest.mark.usefixtures('eagerly')
def test_a_signal_during_the_last_save(tiny, faces, monkeypatch):
    model = tiny()
    save = model.save_checkpoint

    def save_and_raise():
        save()
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(model, 'save_checkpoint', save_and_raise)
    with pytest.raises(console.Stopped, match='Stopped by SIGTERM after step 2, which is saved'):
        model.train(num_epochs=1)  # of pre-training, after which main would go on


def wait(process, seconds):
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=seconds)


@pytest.mark.slow
def test_a_run_killed_at_random_moments(faces, tmp_path):
    words = '--datadir . --dataset faces --batch_size 2 --checkpoint_steps 1'.split()
    words += ['--use_init_model', 'False', '--savedir']
    folder = str(tmp_path / 'killed' / 'checkpoint')
    moments, span = random.Random(2017), None
    for _ in range(KILLS):
        process = run_tiny_main(*words, 'killed', '--epoch', 10_000, cwd=tmp_path)
        if span is None or moments.random() < 0.8:  # else it may still be starting
            for line in process.stdout:
                if 'Training from' in line:
                    break
        if span is None:  # the first one tells how long a checkpoint takes on this machine
            began = time.monotonic()
            while process.poll() is None and not checkpoints.has_checkpoint(folder):
                wait(process, 0.1)
            span = 2 * (time.monotonic() - began)
        else:
            wait(process, moments.uniform(0, span))
        process.kill()
        _, err = process.communicate()
        assert process.returncode == -signal.SIGKILL, err
    epoch = checkpoints.read_newest(folder).state['epoch'] + 2
    for name in ('killed', 'straight'):
        process = run_tiny_main(*words, name, '--epoch', epoch, cwd=tmp_path)
        _, err = process.communicate()
        assert process.returncode == 0, err
    assert_same_run(str(tmp_path / 'killed'), str(tmp_path / 'straight'))


# -------------------------------------------------------------------------------- save_dir


@pytest.mark.usefixtures('eagerly')
def test_a_start_over_that_is_killed_before_it_saves(tiny, faces, tmp_path, monkeypatch):
    """The earlier run is not taken for its beginning."""
    straight = str(tmp_path / 'straight')
    tiny(save_dir=straight).train(num_epochs=3)
    for _ in range(2):
        tiny(size_batch=3).train(num_epochs=2)

    def fail():
        raise MemoryError

    model = tiny()
    at_step(model, monkeypatch, 4, fail)
    with pytest.raises(MemoryError):
        model.train(num_epochs=3, use_trained_model=False)
    save = tmp_path / 'save'
    assert checkpoints.listed(str(save / 'checkpoint.1'))[0] == 'model-6'
    tiny().train(num_epochs=3)
    assert_same_run(str(save), straight)
    assert len(list((save / 'checkpoint').glob('*.index'))) == 1


# --------------------------------------------------------------------------------- numbers


@pytest.mark.slow
def test_deterministic_runs_are_the_same(faces, tmp_path):
    words = '--datadir . --dataset faces --batch_size 4 --epoch 2 --use_init_model no'.split()
    for folder, word in (('one', 'True'), ('other', 'True'), ('plain', 'False')):
        run = run_tiny_main(*words, '--savedir', folder, '--deterministic', word, cwd=tmp_path)
        _, err = run.communicate()
        assert run.returncode == 0, err
    assert_same_run(str(tmp_path / 'one'), str(tmp_path / 'other'))
    assert_same_run(str(tmp_path / 'one'), str(tmp_path / 'plain'))  # on a CPU


@pytest.mark.usefixtures('eagerly')
@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_a_loss_that_is_not_finite_stops_the_run(tiny, faces, monkeypatch, value):
    model = tiny(checkpoint_steps=1)
    losses = face_aging.losses

    def broken(image, outputs):
        return {**losses(image, outputs), 'E_z_loss': tf.constant(value)}

    at_step(model, monkeypatch, 3, lambda: monkeypatch.setattr(face_aging, 'losses', broken))
    with pytest.raises(FloatingPointError, match=rf'E_z_loss is {value} at step 3: .*model-2'):
        model.train(num_epochs=3)
    assert model.run.step == 3
    monkeypatch.undo()
    other = tiny()
    assert other.load_checkpoint() and other.run.step == 2


# ------------------------------------------------------------------------------- long runs

SOAK = """
import ctypes, gc, json, os
import psutil
import face_aging
from tests.conftest import GOLDEN, TINY

# What an allocator keeps for later is no growth: it is given back first (by glibc's).
give_back = getattr(ctypes.CDLL(None), 'malloc_trim', lambda _: None)

class Watched(face_aging.FaceAging):
    seen = []

    def test(self, *args):
        picture = super().test(*args)
        gc.collect()
        give_back(0)
        process = psutil.Process()
        events = os.listdir(os.path.join(self.save_dir, 'summary'))
        self.seen.append([self.run.step, process.memory_info().rss, process.num_fds(), len(events)])
        return picture

face_aging.INIT_MODEL = str(GOLDEN / 'tiny32' / 'checkpoint')
model = Watched(size_batch=2, data_dir='.', dataset_name='faces', **TINY)
model.train(100)
print(json.dumps(model.seen))
"""


@pytest.mark.slow
def test_a_long_run_takes_no_more_and_more(faces, tmp_path):
    command = [sys.executable, '-c', SOAK]
    # With an arena for each thread, what is left over in them came to 48,000 bytes a step.
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'MALLOC_ARENA_MAX': '1'}
    soak = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    step, memory, files, events = np.array(json.loads(soak.stdout.splitlines()[-1])).T
    assert step[-1] == 600
    later = step > 200  # by then every path was taken, and the allocator has its pools
    slope = stats.theilslopes(memory[later], step[later])[0]  # a single jump is no growth
    assert slope < GROWTH, f'{slope:.0f} bytes a step'
    assert files[-1] <= files[later][0]
    assert set(events) == {1}
