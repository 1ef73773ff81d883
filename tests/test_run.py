"""A training from its start: fresh, from init_model, or going on with a run."""

import os
import re

import numpy as np
import pytest

import face_aging
from data import pipeline
from init_model import checkpoints
from init_model.run import Run
from tests.conftest import GOLDEN, random_batch
from tests.test_face_aging import assert_same, weights_of

pytestmark = pytest.mark.usefixtures('no_init_model', 'eagerly')


def test_a_checkpoint_to_start_from_is_no_run_to_go_on(tiny, faces, tmp_path, monkeypatch):
    tiny(save_dir=str(tmp_path / 'other')).train(num_epochs=2)
    monkeypatch.setattr(face_aging, 'INIT_MODEL', str(tmp_path / 'other' / 'checkpoint'))
    model = tiny()
    model.train(num_epochs=1)
    assert (model.run.epoch, model.run.step) == (1, 2)


def test_a_finished_run_is_left_alone(tiny, faces, capsys):
    tiny(size_batch=7).train(num_epochs=1)
    model = tiny(size_batch=7)
    model.train(num_epochs=1)
    assert 'This training is finished, 1 epochs are done' in capsys.readouterr().out
    assert int(model.optimizers[0].iterations) == model.run.step == 1


def test_training_goes_on_from_pre_training(tiny, faces, capsys):
    model = tiny(size_batch=7)
    model.train(num_epochs=2, use_trained_model=False, weights=(0, 0, 0))
    pre_trained = weights_of(model)
    other = tiny(size_batch=7)
    other.train(num_epochs=1, learning_rate=0)  # restored, then moved by nothing
    out = capsys.readouterr().out
    assert 'epoch 2, step 2 of a training with weights (0, 0, 0)' in out
    assert 'Training from epoch 1 to 1' in out
    assert_same(pre_trained, weights_of(other))
    assert other.run.epoch == 1 and other.weights == (0.0001, 0, 0)


def test_a_changed_data_set_gets_a_new_order(tiny, faces):
    tiny().train(num_epochs=1)
    first = sorted(faces.iterdir())[0]
    first.rename(faces / f'99_{first.name.split("_", 1)[1]}')  # as many as before
    with pytest.warns(UserWarning, match='The data set had other faces'):
        tiny().train(num_epochs=2)


def test_a_run_goes_on_with_the_rule_by_which_it_holds_faces_out(tiny, faces, monkeypatch):
    """By photo from now on, by name where the checkpoint is of before; both with the same order."""
    rules, load = [], pipeline.load_data_set

    def load_data_set(folder, *sizes, **reading):
        rules.append(sizes[-1])
        return load(folder, *sizes, **reading)

    monkeypatch.setattr(pipeline, 'load_data_set', load_data_set)
    tiny(hold_out=True).train(num_epochs=1)
    tiny(hold_out=True).train(num_epochs=2)
    tiny().train(num_epochs=3)
    with monkeypatch.context() as patch:  # as it was written before the rule was stored
        state = Run.state
        rest = lambda run: {k: v for k, v in state(run).items() if k != 'held_out_by'}  # noqa: E731
        patch.setattr(Run, 'state', rest)
        tiny(hold_out=True).train(num_epochs=4)
    tiny(hold_out=True).train(num_epochs=5)
    tiny(hold_out=True).train(num_epochs=6)
    assert rules == ['photo', 'photo', None, 'photo', 'name', 'name']
    assert Run((0, 0, 0), held_out_by='name').with_weights((1, 0, 0)).held_out_by == 'name'


def test_a_run_knows_whether_it_is_pre_training(tiny, faces):
    tiny(size_batch=7).train(num_epochs=1, weights=(0, 0, 0))
    asked = tiny(size_batch=7)
    assert asked.load_checkpoint() and not asked.run.is_pre_training
    settings = {'use_trained_model': False, 'weights': (0, 0, 0), 'is_pre_training': True}
    tiny(size_batch=7).train(num_epochs=1, **settings)
    begun = tiny(size_batch=7)
    assert begun.load_checkpoint() and begun.run.is_pre_training
    begun.train(num_epochs=2)
    assert not begun.run.is_pre_training


@pytest.fixture
def opened(monkeypatch):
    """The checkpoints that are opened to be restored."""
    found, read = [], checkpoints.read
    monkeypatch.setattr(
        checkpoints, 'read', lambda prefix, names: found.append(prefix) or read(prefix, names)
    )
    return found


def test_a_checkpoint_is_opened_once_per_start(tiny_main, faces, opened, monkeypatch):
    monkeypatch.setattr('init_model.codes.complete', lambda *_: None)
    monkeypatch.chdir(faces.parent)
    words = '--datadir . --dataset faces --batch_size 7 --epoch 1'.split()
    tiny_main(*words, '--use_trained_model', 'False')
    assert opened == []  # the training goes on from pre-training without reading it again
    tiny_main(*words)
    assert [os.path.basename(prefix) for prefix in opened] == ['model-11']


def test_a_live_model_starts_over_with_fresh_weights_and_optimizers(tiny, faces):
    model = tiny(size_batch=7)
    model.train(num_epochs=2)
    trained = weights_of(model)
    model.train(num_epochs=1, learning_rate=0, use_trained_model=False)
    for name, value in weights_of(model).items():
        if name.endswith('/w'):
            assert not np.array_equal(value, trained[name]), name
    assert int(model.optimizers[0].iterations) == model.run.step == 1
    assert model.run.epoch == 1


def give_by_checkpoint(model):
    assert model.load_checkpoint(str(GOLDEN / 'tiny32' / 'checkpoint'))


def give_by_set_weights(model):
    for network in (model.E, model.G):
        network.set_weights([value + 0.01 for value in network.get_weights()])


@pytest.mark.parametrize('give', [give_by_checkpoint, give_by_set_weights])
@pytest.mark.parametrize('use_trained_model', [True, False])
def test_given_weights_are_trained(tiny, faces, tmp_path, monkeypatch, give, use_trained_model):
    """Not from init_model, nor from fresh ones; with fresh optimizers."""
    trained = tiny(size_batch=7, save_dir=str(tmp_path / 'other'))
    trained.save_checkpoint()
    monkeypatch.setattr(face_aging, 'INIT_MODEL', str(tmp_path / 'other' / 'checkpoint'))
    model = tiny(size_batch=7)
    if give is give_by_checkpoint:  # of a model that has learnt something already
        model.train_step(*random_batch(7))
    give(model)
    given = weights_of(model)
    model.train(num_epochs=1, learning_rate=0, use_trained_model=use_trained_model)
    assert_same(weights_of(model), given)
    assert int(model.optimizers[0].iterations) == model.run.step == 1


@pytest.mark.parametrize('give', [give_by_checkpoint, give_by_set_weights])
def test_a_run_in_save_dir_goes_before_given_weights(tiny, faces, give, capsys):
    """A program that gives weights and trains, started again, goes on with its training."""
    saved = tiny(size_batch=7)
    saved.train(num_epochs=1)
    model = tiny(size_batch=7)
    give(model)
    model.train(num_epochs=2, learning_rate=0)
    assert 'It replaces the weights that this model was given' in capsys.readouterr().out
    assert model.run.step == 2 and int(model.optimizers[0].iterations) == 2
    assert_same(weights_of(model), weights_of(saved))


def test_a_live_model_goes_on_without_its_checkpoint(tiny, faces, opened):
    straight = tiny(size_batch=7, save_dir=str(faces.parent / 'straight'))
    straight.train(num_epochs=2)
    model = tiny(size_batch=7)
    for epochs in (1, 2):
        model.train(num_epochs=epochs)
    assert opened == [] and model.run.step == 2
    assert_same(weights_of(model), weights_of(straight))


@pytest.mark.parametrize('settings', [{'num_z_channels': 20}, {'age_upper': (20, 40)}])
def test_init_model_of_other_sizes(tiny, faces, monkeypatch, capsys, settings):
    """As the original did, the training says so and starts from fresh weights."""
    monkeypatch.setattr('face_aging.INIT_MODEL', str(GOLDEN / 'tiny32' / 'checkpoint'))
    model = tiny(size_batch=7, **settings)
    model.train(num_epochs=1, learning_rate=0)
    out = capsys.readouterr().out
    assert re.search(r'/w is .* in \S*model-init, but .* this model\.\n\tStarting from fresh', out)
    assert 'FAILED' not in out
    assert_same(weights_of(model), weights_of(tiny(**settings)))
