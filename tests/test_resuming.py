"""Training runs that are stopped, killed and resumed, and what they leave in save_dir."""

import csv
import glob
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from tensorboard.compat.proto.event_pb2 import Event

import face_aging
from data import console
from init_model import checkpoints, savedir
from tests.conftest import GOLDEN

ROOT = pathlib.Path(face_aging.__file__).parent
# main.py with a tiny model behind its flags, as a process of its own.
TINY_MAIN = """
import functools, sys
from absl import app
import face_aging
from tests.conftest import TINY
face_aging.FaceAging = functools.partial(face_aging.FaceAging, **TINY)
import main
app.run(main.main, flags_parser=main._parse_flags)
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
    update = model._prepare

    def prepare(*args):
        update(*args)
        take = model._update

        def take_and_act(*batch):
            if model.step == step - 1:
                act()
            return take(*batch)

        model._update = take_and_act

    monkeypatch.setattr(model, '_prepare', prepare)


# --------------------------------------------------------------------------------- stopping


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
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


def test_a_second_signal_acts_at_once():
    with pytest.raises(KeyboardInterrupt), savedir.signals() as received:
        signal.raise_signal(signal.SIGINT)
        assert received == [signal.SIGINT]
        signal.raise_signal(signal.SIGINT)


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


@pytest.mark.usefixtures('eagerly')
def test_another_batch_size_starts_the_epoch_again(tiny, faces, monkeypatch):
    model = tiny(size_batch=4)
    at_step(model, monkeypatch, 1, lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(console.Stopped):
        model.train(num_epochs=1)
    model = tiny(size_batch=3)
    with pytest.warns(UserWarning, match='of 4, now of 3: the epoch starts again'):
        model.train(num_epochs=1)
    assert model.step == 1 + 3


def run_tiny_main(*words, **settings):
    command = [sys.executable, '-c', TINY_MAIN, *map(str, words)]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'PYTHONUNBUFFERED': '1'}
    pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True}
    return subprocess.Popen(command, env=environment, **{**pipes, **settings})


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
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
    assert told[1] == "'--flagfile=a place/flags.txt' --use_trained_model True"
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
    assert checkpoints.read_newest(str(tmp_path / 'save' / 'checkpoint'), names=())


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


@pytest.mark.usefixtures('eagerly')
def test_a_seed_of_its_own(tiny, faces):
    tiny().train(num_epochs=1)
    with pytest.warns(UserWarning, match='goes on by its seed 2017, not 1'):
        tiny(seed=1).train(num_epochs=2)


@pytest.mark.usefixtures('eagerly')
def test_an_unfinished_training_is_told_from_others(tiny, faces, monkeypatch):
    model = tiny(size_batch=7)
    assert not model.is_unfinished(2, (0, 0, 0))
    model.train(num_epochs=1, weights=(0, 0, 0))
    model.train(num_epochs=2, weights=(0, 0, 0))
    damage(faces.parent / 'save' / 'checkpoint' / 'model-2.index', 'cut')
    with warnings.catch_warnings():
        warnings.simplefilter('error')  # that it is damaged is told once, where it is opened
        assert model.is_unfinished(2, (0, 0, 0))
    assert not model.is_unfinished(1, (0, 0, 0)) and not model.is_unfinished(2, (1, 0, 0))


@pytest.mark.slow
def test_a_run_killed_at_random_moments(faces, tmp_path):
    words = '--datadir . --dataset faces --batch_size 2 --checkpoint_steps 1'.split()
    words += ['--use_init_model', 'False', '--savedir']
    moments, kills = random.Random(2017), 0
    while kills < KILLS:
        process = run_tiny_main(*words, 'killed', '--epoch', 10_000, cwd=tmp_path)
        if moments.random() < 0.8:  # else it may still be starting
            for line in process.stdout:
                if 'Training from' in line:
                    break
        try:
            process.wait(timeout=moments.uniform(0, 6))
        except subprocess.TimeoutExpired:
            process.kill()
            kills += 1
        _, err = process.communicate()
        assert process.returncode == -signal.SIGKILL, err
    folder = str(tmp_path / 'killed' / 'checkpoint')
    epoch = checkpoints.read_newest(folder, names=())[2]['epoch'] + 2
    for name in ('killed', 'straight'):
        process = run_tiny_main(*words, name, '--epoch', epoch, cwd=tmp_path)
        _, err = process.communicate()
        assert process.returncode == 0, err
    assert_same_run(str(tmp_path / 'killed'), str(tmp_path / 'straight'))


# ------------------------------------------------------------------------------- checkpoints


class Killed(BaseException):
    """Stands for the end of a process."""


@pytest.mark.parametrize('name', ['model-3', 'model-2', 'model-1'])  # new, the newest, the only
def test_a_save_killed_at_any_moment_leaves_one_that_opens(tmp_path, monkeypatch, name):
    """Each change to the disk is once the last one."""
    folder = str(tmp_path)
    old, new = {'a': np.arange(3.0)}, {'a': np.arange(3.0) + 1}
    calls = []

    def dying(function, last):
        def call(*args, **settings):
            if len(calls) == last:
                raise Killed
            calls.append(function)
            return function(*args, **settings)

        return call

    for last in range(100):
        shutil.rmtree(folder)
        checkpoints.save(folder, 'model-1', old)
        kept = []
        if name != 'model-1':
            checkpoints.save(folder, 'model-2', old, ['model-1'])
            kept = ['model-2' if name == 'model-3' else 'model-1']
        calls.clear()
        with monkeypatch.context() as patch:
            for function in ('replace', 'fsync', 'remove', 'makedirs'):
                patch.setattr(os, function, dying(getattr(os, function), last))
            patch.setattr(shutil, 'rmtree', lambda *_, **__: None)  # nor does it clean up
            try:
                checkpoints.save(folder, name, new, kept)
            except Killed:
                pass
            else:
                break
        if name != 'model-1' or os.path.exists(os.path.join(folder, 'checkpoint')):
            with warnings.catch_warnings():
                warnings.simplefilter('error')  # of one that is damaged
                values = checkpoints.read_newest(folder, ['a'])[1]
            assert values['a'].tolist() in (old['a'].tolist(), new['a'].tolist())
        checkpoints.save(folder, 'model-4', new, kept)
        assert not os.path.exists(os.path.join(folder, checkpoints.ASIDE))
    assert last > 5


def damage(path, how):
    data = bytearray(path.read_bytes())
    if how == 'cut':
        path.write_bytes(data[: len(data) // 2])
    elif how == 'flip':
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        path.unlink()


@pytest.mark.usefixtures('eagerly')
@pytest.mark.parametrize('how', ['cut', 'flip', 'gone'])
@pytest.mark.parametrize('ending', ['index', 'data-00000-of-00001'])
def test_of_a_damaged_checkpoint_the_one_before_is_used(tiny, faces, capsys, how, ending):
    tiny(checkpoint_steps=1).train(num_epochs=1)
    folder = faces.parent / 'save' / 'checkpoint'
    damage(folder / f'model-2.{ending}', how)
    model = tiny()
    with pytest.warns(UserWarning, match=r'model-2 cannot be read .* The one before it is used'):
        model.train(num_epochs=2)
    assert 'checkpoint/model-1, epoch 0, step 1' in capsys.readouterr().out
    assert model.step == 4
    assert {path.name.split('.')[0] for path in folder.iterdir()} == {
        'checkpoint',
        'model-1',
        'model-4',
    }


@pytest.mark.usefixtures('eagerly')
def test_a_damaged_checkpoint_of_another_program_is_left_alone(tiny, faces):
    """It is not the run's own, and only those are removed."""
    folder = faces.parent / 'save' / 'checkpoint'
    shutil.copytree(GOLDEN / 'tiny32' / 'checkpoint', folder)
    (folder / 'model-9.index').write_bytes(b'damaged')
    names = 'model-init', 'model-9'
    lines = [f'model_checkpoint_path: "{names[-1]}"']
    lines += [f'all_model_checkpoint_paths: "{name}"' for name in names]
    (folder / 'checkpoint').write_text('\n'.join(lines))
    with pytest.warns(UserWarning, match='model-9 cannot be read'):
        tiny(checkpoint_steps=1).train(num_epochs=2)
    assert (folder / 'model-9.index').exists() and (folder / 'model-init.index').exists()


@pytest.mark.usefixtures('eagerly')
def test_a_checkpoint_that_is_not_as_it_was_written(tiny, monkeypatch):
    model = tiny()
    model.save_checkpoint()
    before = model.named_variables['E_fc/b'].numpy()
    model.named_variables['E_fc/b'].assign(before + 1)
    write = tf.raw_ops.SaveV2

    def fail(tensors, **settings):
        write(tensors=[np.zeros_like(tensors[0]) + 7, *tensors[1:]], **settings)

    monkeypatch.setattr(tf.raw_ops, 'SaveV2', fail)
    model.step = 1
    with pytest.raises(console.InputError, match='was not written as it was'):
        model.save_checkpoint()
    assert tiny().load_checkpoint()


def test_a_full_disk_is_noticed_first(tiny, faces, monkeypatch):
    model = tiny()
    model.save_checkpoint()
    kept = sorted(os.listdir(os.path.join(model.save_dir, 'checkpoint')))
    full = shutil.disk_usage(faces)._replace(free=1000)
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: full)
    message = r'need [\d,]{9,} bytes more, but the disk has only 1,000 free'
    model.step = 1
    with pytest.raises(console.InputError, match=message):
        model.save_checkpoint()
    assert sorted(os.listdir(os.path.join(model.save_dir, 'checkpoint'))) == kept
    model = tiny(save_dir=str(faces.parent / 'other'))
    with pytest.raises(console.InputError, match=message):
        model.train(num_epochs=1)
    assert model.step == 0  # before days of work


def test_other_settings_are_named(tiny):
    tiny().save_checkpoint()
    with pytest.raises(console.InputError) as error:
        tiny(num_z_channels=20, enable_tile_label=False).load_checkpoint()
    assert 'num_z_channels is 50 there, 20 here' in str(error.value)
    assert 'enable_tile_label is True there, False here' in str(error.value)


@pytest.mark.parametrize('precision', ['mixed_bfloat16', 'mixed_float16'])
def test_another_precision(tiny, precision):
    tiny().save_checkpoint()
    keras.config.set_dtype_policy(precision)
    try:
        model, tested = tiny(), tiny(is_training=False)
    finally:
        keras.config.set_dtype_policy('float32')
    if precision == 'mixed_bfloat16':
        with pytest.warns(UserWarning, match=f'in float32 and goes on in {precision}'):
            assert model.load_checkpoint()
    else:
        with pytest.raises(console.InputError, match='pass --precision float32'):
            model.load_checkpoint()
    assert tested.load_checkpoint()


def test_another_version_of_tensorflow(tiny, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(tf, '__version__', '2.0')
        tiny().save_checkpoint()
    with pytest.warns(UserWarning, match='was trained by TensorFlow 2.0 and goes on by 2'):
        assert tiny().load_checkpoint()


@pytest.mark.usefixtures('eagerly')
def test_a_checkpoint_to_start_from_is_no_run_to_go_on(tiny, faces, tmp_path, monkeypatch):
    tiny(save_dir=str(tmp_path / 'other')).train(num_epochs=2)
    monkeypatch.setattr(face_aging, 'INIT_MODEL', str(tmp_path / 'other' / 'checkpoint'))
    model = tiny()
    model.train(num_epochs=1)
    assert (model.epoch, model.step) == (1, 2)


def test_a_newer_version_is_named(tiny, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, 'FORMAT', checkpoints.FORMAT + 1)
        tiny().save_checkpoint()
    with pytest.raises(console.InputError, match='newer version'):
        tiny().load_checkpoint()


# -------------------------------------------------------------------------------- save_dir


HOLDER = """
import sys
from init_model import savedir
with savedir.held(sys.argv[1]):
    print('held', flush=True)
    input()
"""


def test_a_second_process_is_refused(tiny, faces, tmp_path):
    save = tmp_path / 'save'
    command = [sys.executable, '-c', HOLDER, str(save)]
    pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE, 'text': True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        assert process.stdout.readline() == 'held\n'
        with pytest.raises(
            console.InputError, match=rf'in use by another training, process {process.pid}'
        ):
            tiny().train(num_epochs=1)
        assert os.listdir(save) == ['lock']
        process.kill()
        process.communicate()
    with savedir.held(str(save)) as killed:  # a lock is not stale
        assert killed == str(process.pid)
    with savedir.held(str(save)) as killed:
        assert killed == ''


@pytest.mark.usefixtures('eagerly')
def test_an_earlier_run_is_set_aside(tiny, faces, tmp_path):
    model = tiny(size_batch=7)
    for epochs in (1, 2, 1):
        model.train(num_epochs=epochs, use_trained_model=False)
    save = tmp_path / 'save'
    assert checkpoints.listed(str(save / 'checkpoint')) == ['model-1']
    assert len((save / 'history.csv').read_text().splitlines()) == 2
    assert len((save / 'history.csv.2').read_text().splitlines()) == 3
    assert (save / 'summary').is_dir() and (save / 'summary.1').is_dir()


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


@pytest.mark.usefixtures('eagerly')
@pytest.mark.parametrize(
    ('damaged', 'rows'),
    [
        (lambda text: text + '\n', 3),
        (lambda text: text.rstrip(), 3),
        (lambda text: text + '3,', 3),
        (lambda text: text.replace(',', ';'), 1),
        (lambda text: text.replace(',2,', ',two,'), 1),
        (lambda text: '', 1),
        (lambda text: text.encode('utf-16'), 1),
    ],
)
def test_a_history_that_was_edited(tiny, faces, tmp_path, damaged, rows):
    tiny().train(num_epochs=2)
    path = tmp_path / 'save' / 'history.csv'
    edited = damaged(path.read_text())
    path.write_bytes(edited if isinstance(edited, bytes) else edited.encode())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always', UserWarning)
        tiny().train(num_epochs=3)
    with open(path, encoding='utf-8') as file:
        assert [row['epoch'] for row in csv.DictReader(file)] == ['1', '2', '3'][-rows:]
    is_kept = (tmp_path / 'save' / 'history.csv.1').exists()
    assert is_kept == any('history.csv is damaged' in str(warning.message) for warning in told)
    assert is_kept == (rows == 1)


@pytest.mark.usefixtures('eagerly')
def test_a_torn_end_of_an_event_file_is_cut_off(tiny, faces, tmp_path):
    tiny().train(num_epochs=1)
    (path,) = (tmp_path / 'save' / 'summary').iterdir()
    whole = path.read_bytes()
    for torn in (b'\x05', whole[:20], b'\xff' * 30):
        path.write_bytes(whole + torn)
        savedir.rewind(str(tmp_path / 'save'), 2)
        assert path.read_bytes() == whole
    path.write_bytes(b'a note about the tfevents of this run')
    savedir.rewind(str(tmp_path / 'save'), 2)
    assert path.read_bytes().startswith(b'a note')


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
    assert model.step == 3
    monkeypatch.undo()
    other = tiny()
    assert other.load_checkpoint() and other.step == 2


def test_weights_that_are_not_finite_are_not_saved(tiny):
    model = tiny()
    model.save_checkpoint()
    model.named_variables['G_fc/b'].assign(np.full([1024], np.nan))
    model.step = 1
    with pytest.raises(FloatingPointError, match='G_fc/b is not finite everywhere after step 1'):
        model.save_checkpoint()
    assert tiny().load_checkpoint()


# ------------------------------------------------------------------------------------- log


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='no such device')
def test_a_log_without_room(tmp_path, capsys):
    os.symlink('/dev/full', tmp_path / savedir.LOG)
    with savedir.logged(str(tmp_path)):
        savedir.tell('a line')
    assert capsys.readouterr() == ('a line\n', '')


@pytest.mark.usefixtures('eagerly')
def test_log_and_history(tiny, faces, tmp_path):
    (faces / 'no_label.jpg').write_bytes(next(faces.iterdir()).read_bytes())
    with pytest.warns(UserWarning, match='1 of 15 images'):
        tiny().train(num_epochs=2)
    log = (tmp_path / 'save' / 'train.log').read_text()
    for text in (
        'Python 3.',
        f'TensorFlow {tf.__version__}',
        '"size_image": 32',
        'Training from epoch 1 to 2: 14 faces',
        'Warning: 1 of 15 images',
        'Epoch 2/2: EG_err 0.',
        'faces/s',
        'Ended as it should.',
    ):
        assert text in log
    with open(tmp_path / 'save' / 'history.csv', encoding='utf-8') as file:
        first, second = csv.DictReader(file)
    assert list(first)[:4] == ['epoch', 'step', 'EG_loss', 'tv_loss']
    assert list(first)[-2:] == ['seconds', 'faces_per_second']
    assert (first['epoch'], first['step'], second['step']) == ('1', '2', '4')
    assert f'EG_err {float(second["EG_loss"]):.4f}' in log


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

    def _finish_epoch(self, *args):
        super()._finish_epoch(*args)
        gc.collect()
        give_back(0)
        process = psutil.Process()
        events = os.listdir(os.path.join(self.save_dir, 'summary'))
        self.seen.append([self.step, process.memory_info().rss, process.num_fds(), len(events)])

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
