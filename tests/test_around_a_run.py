"""Around a run: files that cannot be written, other data, earlier runs, no model."""

import csv
import glob
import itertools
import os
import re
import shutil
import signal
import types

import pytest
import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.graph_pb2 import GraphDef

import face_aging
from data import console
from init_model import checkpoints, loop, savedir
from tests.conftest import GOLDEN
from tests.test_face_aging import assert_same, weights_of

pytestmark = pytest.mark.usefixtures('no_init_model', 'eagerly')
AUTHORS = GOLDEN / 'tiny32' / 'checkpoint'


# ------------------------------------------------------------------------------- side files


@pytest.mark.parametrize('name', ['history.csv', 'train.log', 'samples', 'test', 'summary'])
def test_a_side_file_that_cannot_be_written(tiny, faces, tmp_path, name):
    """The training warns, goes on and saves."""
    save = tmp_path / 'save'
    tiny().train(num_epochs=1)
    path = save / name
    if path.is_dir():
        shutil.rmtree(path)
        path.write_text('a file')
    else:
        path.unlink()
        path.mkdir()
    with pytest.warns(UserWarning, match=rf'{name}\S* cannot be written \(.*goes on without it'):
        tiny().train(num_epochs=2)
    assert checkpoints.listed(str(save / 'checkpoint'))[0] == 'model-4'


# ---------------------------------------------------------------------------- other data sets


def test_another_data_set_is_refused_unless_asked_for(tiny, faces, tmp_path):
    tiny(size_batch=7).train(num_epochs=1)
    shutil.copytree(faces, tmp_path / 'others')
    with pytest.raises(console.InputError, match='was trained on faces, not on others') as error:
        tiny(size_batch=7, dataset_name='others').train(num_epochs=2)
    assert error.value.cure == {'change_dataset': True}
    model = tiny(size_batch=7, dataset_name='others', change_dataset=True)
    model.train(num_epochs=2)
    assert (model.run.epoch, model.run.step) == (2, 2)
    tested = tiny(is_training=False, dataset_name='elsewhere')
    assert tested.load_checkpoint()


def test_a_refused_call_leaves_the_flags(tiny_main, faces, tmp_path):
    shutil.copytree(faces, tmp_path / 'others')
    words = f'--datadir {tmp_path} --savedir {tmp_path}/save --batch_size 7 --epoch 1'.split()
    tiny_main(*words, '--dataset', 'faces')
    kept = (tmp_path / 'save' / 'flags.txt').read_text()
    with pytest.raises(SystemExit, match='--change_dataset True'):
        tiny_main(*words, '--dataset', 'others')
    assert (tmp_path / 'save' / 'flags.txt').read_text() == kept


# ------------------------------------------------------------------------------- earlier runs


def test_an_earlier_run_is_set_aside(tiny, faces, tmp_path):
    tiny(size_batch=7).train(num_epochs=2)
    tiny(size_batch=7).train(num_epochs=1, use_trained_model=False)
    save = tmp_path / 'save'
    assert checkpoints.listed(str(save / 'checkpoint')) == ['model-1']
    assert len((save / 'history.csv').read_text().splitlines()) == 2
    assert len((save / 'history.csv.1').read_text().splitlines()) == 3
    assert (save / 'summary').is_dir() and (save / 'summary.1').is_dir()
    assert os.listdir(save / 'samples') == ['01.png']
    assert sorted(os.listdir(save / 'samples.1')) == ['01.png', '02.png']
    assert sorted(os.listdir(save / 'test')) == ['01.png', 'input.png']
    assert (save / 'test.1' / '02.png').exists()


def test_results_on_photos_stay(tiny, faces, tmp_path):
    """A first training moves no picture of a test before it, and the names are different."""
    folder = tmp_path / 'save' / 'test'
    folder.mkdir(parents=True)
    for name in ('test_as_male.png', 'test_input.png'):
        (folder / name).write_text('of a test')
    tiny(size_batch=7).train(num_epochs=1)
    assert (folder / 'test_input.png').read_text() == 'of a test'
    assert (folder / 'input.png').read_bytes().startswith(b'\x89PNG')


# ------------------------------------------------------------------------------------ testing


@pytest.mark.parametrize(
    'settings',
    [
        {'size_image': 64, 'num_z_channels': 20},
        {'age_upper': (9, 18, 50)},
        {'age_upper': (6, 11, 16, 21, 31, 41, 51, 61, 71)},
        {'enable_tile_label': False, 'num_input_channels': 1},
    ],
)
def test_testing_takes_the_sizes_of_the_checkpoint(tiny, faces, settings):
    trained = tiny(**settings)
    trained.save_checkpoint()
    model = tiny(is_training=False)
    model.custom_test(str(faces))
    assert_same(weights_of(model), weights_of(trained))
    assert {name: getattr(model, name) for name in settings} == settings


def test_only_the_default_folder_falls_back(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(face_aging, 'INIT_MODEL', str(AUTHORS))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(console.InputError, match=r'no trained model in there/checkpoint: train'):
        tiny(is_training=False, save_dir='there').load_trained()
    capsys.readouterr()
    tiny(is_training=False, save_dir='save').load_trained()
    out = capsys.readouterr().out
    assert 'No checkpoint in save/checkpoint yet: the weights in init_model are' in out
    assert 'FAILED' not in out and 'SUCCESS' in out


# ---------------------------------------------------------------------------------- reporting


def test_time_left_in_all(tiny, faces, monkeypatch, capsys):
    """Of all epochs, one step of an hour each."""
    clock = types.SimpleNamespace(monotonic=itertools.count(step=3600).__next__)
    monkeypatch.setattr(loop, 'time', clock)
    tiny(size_batch=7).train(num_epochs=3)
    shown = re.findall(r'(\S+) left in all, EG_err', capsys.readouterr().err)
    assert list(dict.fromkeys(shown)) == ['2:00:00', '1:00:00', '00:00']


def test_an_epochs_seconds_are_those_of_its_steps(tiny, faces, monkeypatch):
    """A second each; a checkpoint between them takes an hour."""
    clock, model = [0], tiny(checkpoint_steps=1)
    step, save = model.train_step, model.save_checkpoint

    def train_step(*batch, **settings):
        clock[0] += 1
        return step(*batch, **settings)

    def save_checkpoint():
        clock[0] += 3600
        save()

    monkeypatch.setattr(loop, 'time', types.SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(model, 'train_step', train_step)
    monkeypatch.setattr(model, 'save_checkpoint', save_checkpoint)
    model.train(num_epochs=2)
    with open(os.path.join(model.save_dir, 'history.csv'), encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert [(row['seconds'], row['faces_per_second']) for row in rows] == [('2.0', '4.00')] * 2


def test_the_graph_is_written_once(tiny, faces):
    """That of the four networks, by their names, which TensorBoard shows first."""
    tf.config.run_functions_eagerly(False)
    for epochs in (1, 2):
        model = tiny(size_batch=7)
        model.train(num_epochs=epochs)
    graphs = []
    for path in glob.glob(os.path.join(model.save_dir, 'summary', '*')):
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            graphs += filter(None, [Event.FromString(record).graph_def])
    (graph,) = map(GraphDef.FromString, graphs)
    names = [node.name for node in graph.node]
    assert {'E', 'G', 'D_z', 'D_img'} == {name.split('/')[0] for name in names if '/' in name}
    assert {'image', 'age', 'gender', 'z_prior'} < {*names} and len(names) < 700


@pytest.mark.parametrize('is_ignored', [True, False])
@pytest.mark.skipif(not hasattr(signal, 'SIGHUP'), reason='no SIGHUP')
def test_nohup_is_respected(is_ignored):
    number = signal.SIGHUP
    handler = signal.SIG_IGN if is_ignored else lambda *_: None
    usual = signal.signal(number, handler)
    try:
        with savedir.signals() as received:
            signal.raise_signal(number)
        assert received == ([] if is_ignored else [number])
    finally:
        signal.signal(number, usual)
