"""The class: networks, training runs and what they leave behind, testing."""

import os
import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import face_aging
import ops
from data import console, files, labels, pictures, pipeline
from init_model import loop
from tests.conftest import GOLDEN, random_batch

SCALARS = {*loop.LOSSES} - {'tv_loss'}  # as in the original
HISTOGRAMS = ('z', 'z_prior', 'D_z_logits', 'D_z_prior_logits', 'D_G_logits', 'D_input_logits')

ROOT = os.path.dirname(os.path.abspath(face_aging.__file__))

pytestmark = pytest.mark.usefixtures('no_init_model', 'eagerly')


def weights_of(model):
    return {name: variable.numpy() for name, variable in model.named_variables.items()}


def assert_same(weights, others):
    assert weights.keys() == others.keys()
    for name in weights:
        np.testing.assert_array_equal(weights[name], others[name], err_msg=name)


# ---------------------------------------------------------------------------------- networks


@pytest.mark.parametrize(
    ('settings', 'inputs'),
    [({}, 50 + 50 + 50), ({'enable_tile_label': False}, 50 + 10 + 2), ({'tile_ratio': 2}, 250)],
)
def test_tiled_labels(tiny, settings, inputs):
    assert tiny(**settings).named_variables['G_fc/w'].shape[0] == inputs


def test_weights_that_are_to_be_restored_are_not_drawn(tiny):
    weights, drawn = weights_of(tiny(is_training=False)), weights_of(tiny())
    assert all(not weights[name].any() and drawn[name].any() for name in weights if '/w' in name)


KERAS = """
import sys
import keras, numpy as np
import ops
inputs = np.load(sys.argv[1])
results = {}
for name, of in {'E': ['x'], 'G': ['z', 'age', 'gender'], 'D_z': ['z'],
                 'D_img': ['x', 'age', 'gender']}.items():
    model = keras.models.load_model(f'{sys.argv[2]}/{name}.keras')
    results[name] = model([inputs[key] for key in of] if len(of) > 1 else inputs[of[0]])
np.savez(sys.argv[2] + '/results.npz', **results)
"""


def test_networks_open_again_as_files_of_keras(tiny, tmp_path):
    """In another process, which imports ops alone, with the same numbers."""
    model, (x, age, gender, z) = tiny(), random_batch(3)
    np.savez(tmp_path / 'inputs.npz', x=x, z=z, age=age, gender=gender)
    for name in ('E', 'G', 'D_z', 'D_img'):
        getattr(model, name).save(tmp_path / f'{name}.keras')
    words = [sys.executable, '-c', KERAS, tmp_path / 'inputs.npz', tmp_path]
    run = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    found = np.load(tmp_path / 'results.npz')
    np.testing.assert_array_equal(found['E'], model.E(x))
    np.testing.assert_array_equal(found['G'], model.G([z, age, gender]))
    np.testing.assert_array_equal(found['D_z'], model.D_z(z))
    np.testing.assert_array_equal(found['D_img'], model.D_img([x, age, gender]))


def test_faces_at_ages_by_the_papers_method(vivid):
    model, random = vivid(), np.random.RandomState(0)
    faces = random.randint(0, 256, [2, 32, 32, 3], np.uint8)
    images = faces.astype(np.float32) * 2 / 255 - 1
    shown = model.age(faces, years=[8, 45, 90], genders=['male', 'female'])
    assert shown.shape == (3, 2, 32, 32, 3)
    gender = labels.one_hot([0, 1], 2)
    for row, years in zip(shown, (8, 45, 90), strict=True):
        age = labels.age_label(np.array([years] * 2))
        expected = model.G([model.E(images), tf.constant(age), tf.constant(gender)])
        np.testing.assert_allclose(row, expected, atol=1e-5)
    np.testing.assert_allclose(model.age(images, [8, 45, 90], ['male', 'female']), shown, atol=1e-5)
    for genders in (['male'], ['male', 'unknown']):
        with pytest.raises(ValueError):
            model.age(faces, [8], genders)


def test_other_sizes(tiny):
    model = tiny(size_image=64, num_input_channels=1, num_z_channels=20, age_upper=(9, 18, 50))
    image, age, gender = tf.zeros([2, 64, 64, 1]), tf.zeros([2, 4]), tf.zeros([2, 2])
    z = model.E(image)
    assert model.G([z, age, gender]).shape == image.shape
    for training in (True, False):
        assert model.D_z(z, training=training).shape == (2, 1)
        assert model.D_img([image, age, gender], training=training).shape == (2, 1)
    with pytest.raises(console.InputError, match='size_image 100'):
        tiny(size_image=100)


# ---------------------------------------------------------------------------------- training


def test_training_run(tiny, faces, tmp_path):
    model = tiny()
    before = weights_of(model)
    model.train(num_epochs=2)
    save = tmp_path / 'save'
    names = 'checkpoint history.csv lock samples summary test train.log'.split()
    assert sorted(os.listdir(save)) == names
    assert sorted(os.listdir(save / 'samples')) == ['01.png', '02.png']
    assert sorted(os.listdir(save / 'test')) == ['01.png', '02.png', 'input.png']
    assert Image.open(save / 'samples' / '01.png').size == (64, 64)  # 2 x 2 of 4 samples
    for name in ('01.png', 'input.png'):
        assert Image.open(save / 'test' / name).size == (64, 320)  # 10 ages of 2 samples
    # 14 faces are 4 samples and 2 batches of 4
    assert tf.train.latest_checkpoint(save / 'checkpoint').endswith('model-4')
    for name, value in weights_of(model).items():
        moved = not np.array_equal(value, before[name])
        assert moved == ('moving' not in name), name


@pytest.fixture
def orders(monkeypatch):
    """The order of the files in each epoch that is trained."""
    seen, batches = [], pipeline.batches
    monkeypatch.setattr(
        pipeline, 'batches', lambda *args: seen.append(list(args[3])) or batches(*args)
    )
    return seen


def test_order_of_the_files(tiny, faces, orders):
    tiny().train(num_epochs=2)
    random, order = np.random.RandomState(2017), list(range(14))
    random.shuffle(order)
    samples, rest = order[:4], order[4:]
    for epoch in range(2):
        random.shuffle(rest)
        assert orders[epoch] == rest[:8]  # two batches of 4
        assert not set(samples) & set(orders[epoch])
        random.uniform(-1, 1, [2, 4, 50])  # the original draws z_prior from the same generator


def test_samples_are_the_first_of_the_order(tiny, faces):
    model = tiny()
    model.train(num_epochs=1)
    order = np.arange(14)
    np.random.RandomState(2017).shuffle(order)
    (images, ages, genders), _ = pipeline.load_data_set(str(faces), 4, 32)
    samples = pipeline.to_float(images[order[:4]]), ages[order[:4]], genders[order[:4]]
    shown = np.asarray(Image.open(os.path.join(model.save_dir, 'samples', '01.png')))
    np.testing.assert_array_equal(shown, model.sample(*samples, 'again.png'))


def test_no_shuffle(tiny, faces, orders):
    tiny().train(num_epochs=2, enable_shuffle=False)
    assert orders == [list(range(4, 12))] * 2


def test_with_balance_each_epoch_draws_anew_and_repeats_some_faces(tiny, faces, orders):
    tiny().train(num_epochs=2, balance=0.5)
    first, second = orders
    assert first != second and min(len(set(first)), len(set(second))) < 8


def test_files_are_read_once(tiny, faces, monkeypatch):
    read, open_picture = [], pictures.open_picture
    monkeypatch.setattr(
        pictures, 'open_picture', lambda path, *args: read.append(path) or open_picture(path, *args)
    )
    tiny(size_batch=7).train(num_epochs=2)
    assert len(read) == len(set(read)) == 14


def test_summaries(tiny, faces, monkeypatch):
    model, losses, update = tiny(), [], loop.write_point
    monkeypatch.setattr(loop, 'write_point', lambda *args: losses.append(args[1]) or update(*args))
    model.train(num_epochs=2, learning_rate=0.001)
    events = EventAccumulator(os.path.join(model.save_dir, 'summary'), {'tensors': 0}).Reload()
    tags = {*SCALARS, 'EG_learning_rate', *HISTOGRAMS, 'samples', 'test'}
    assert set(events.Tags()['tensors']) == tags
    for tag in tags - {'samples', 'test'}:
        assert [event.step for event in events.Tensors(tag)] == [1, 2, 3, 4], tag
    for tag in SCALARS:
        values = [tf.make_ndarray(event.tensor_proto) for event in events.Tensors(tag)]
        np.testing.assert_allclose(values, [loss[tag] for loss in losses], err_msg=tag)
    rates = [tf.make_ndarray(e.tensor_proto) for e in events.Tensors('EG_learning_rate')]
    np.testing.assert_allclose(rates, 0.001)
    for tag in ('samples', 'test'):
        pictures = [tf.make_ndarray(event.tensor_proto)[2] for event in events.Tensors(tag)]
        picture = tf.image.decode_png(pictures[-1])
        saved = np.asarray(Image.open(os.path.join(model.save_dir, tag, '02.png')))
        np.testing.assert_array_equal(picture, saved)


def test_thinned_summaries(tiny, faces, capsys):
    model = tiny(summary_steps=3)
    model.train(num_epochs=2)
    events = EventAccumulator(os.path.join(model.save_dir, 'summary'), {'tensors': 0}).Reload()
    assert [event.step for event in events.Tensors('EG_loss')] == [3]
    thinned = capsys.readouterr().out
    tiny(save_dir=model.save_dir + '2').train(num_epochs=2)
    means = [re.findall('Epoch .* on average', out) for out in (thinned, capsys.readouterr().out)]
    assert means[0] == means[1] and len(means[0]) == 2  # these are of all steps


def test_no_step_waits_for_another(tiny, faces, monkeypatch):
    """What a step computes is looked at in its time, or at the end of the epoch, all of it."""
    written, model = [], tiny()
    monkeypatch.setattr(loop, 'FETCH_EVERY', 1e9)
    monkeypatch.setattr(loop, 'write_point', lambda *args: written.append(model.run.step))
    model.train(num_epochs=2)
    assert written == [2, 2, 4, 4]


def test_faces_may_be_bytes(tiny):
    image, *rest = random_batch(4)
    faces = (127 * image + 128).astype(np.uint8)
    losses = [
        tiny().train_step(image, *rest) for image in (faces, faces.astype(np.float32) * 2 / 255 - 1)
    ]
    for name, value in losses[0].items():
        np.testing.assert_allclose(value, losses[1][name], rtol=1e-5)


def test_caches_give_the_same_run(tiny, faces):
    weights = []
    for kind in ('memory', 'disk', 'save/cache'):
        model = tiny(size_batch=7, cache=kind)
        model.train(num_epochs=1, use_trained_model=False)
        weights.append(weights_of(model))
    for other in weights[1:]:
        assert_same(weights[0], other)


def test_learning_rate_decays_in_stairs(tiny, faces, monkeypatch):
    model, rates = tiny(), []
    monkeypatch.setattr(loop, 'write_point', lambda *args: rates.append(float(args[3])))
    model.train(num_epochs=4, learning_rate=0.01, decay_rate=0.5)  # 2 batches an epoch
    np.testing.assert_allclose(rates, [0.01] * 7 + [0.005])  # a stair of 14 / 4 * 2 steps
    np.testing.assert_allclose(model.optimizers[2].learning_rate, 0.005)


def test_settings_reach_the_optimizers(tiny, faces):
    weights = []
    for beta1 in (0.5, 0.9):
        model = tiny()  # two steps: Adam's first does not depend on beta1
        model.train(num_epochs=1, beta1=beta1, use_trained_model=False)
        assert [optimizer.beta_1 for optimizer in model.optimizers] == [beta1] * 3
        assert {optimizer.epsilon for optimizer in model.optimizers} == {1e-8}
        weights.append(weights_of(model)['E_fc/w'])
    assert not np.array_equal(*weights)


def test_checkpoints_each_fifth_epoch_and_the_newest_two(tiny, faces, monkeypatch):
    """Of the run's own: one that the user put there stays."""
    saved, black = [], np.zeros([1, 1, 3], np.uint8)
    losses = dict.fromkeys(loop.LOSSES, 0.0)

    def train(num_epochs):
        model = tiny(size_batch=7)
        save = model.save_checkpoint
        monkeypatch.setattr(model, 'train_step', lambda *_, **__: (losses, {}))
        monkeypatch.setattr(model, 'sample', lambda *_: black)
        monkeypatch.setattr(model, 'test', lambda *_: black)
        monkeypatch.setattr(
            model, 'save_checkpoint', lambda: saved.append(model.run.epoch) or save()
        )
        model.train(num_epochs)
        return {name.split('.')[0] for name in os.listdir(folder)}

    folder = faces.parent / 'save' / 'checkpoint'
    shutil.copytree(GOLDEN / 'tiny32' / 'checkpoint', folder)
    assert train(11) == {'checkpoint', 'model-init', 'model-10', 'model-11'}
    assert train(16) == {'checkpoint', 'model-init', 'model-15', 'model-16'}
    assert saved == [5, 10, 11, 15, 16]


@pytest.mark.parametrize('precision', ['mixed_bfloat16', 'mixed_float16'])
def test_precisions_learn_alike(tiny, precision):
    curves, batch = [], random_batch(14)
    for policy in ('float32', precision):
        keras.config.set_dtype_policy(policy)
        model = tiny()
        assert model.G.get_layer('G_deconv1').compute_dtype == policy.removeprefix('mixed_')
        assert {v.dtype for v in model.named_variables.values()} == {'float32'}
        outputs = model.forward(*batch)
        assert {output.dtype for output in outputs.values()} == {tf.float32}
        steps = [model.train_step(*batch) for _ in range(3)]
        curves.append([[step['EG_loss'], step['D_z_loss_prior']] for step in steps])
    np.testing.assert_allclose(*curves, rtol=0.02)
    assert curves[0][-1][1] < curves[0][0][1]


# ----------------------------------------------------------------------------------- testing


@pytest.fixture
def trained(tiny):
    """A function that makes a tiny model with the golden weights in its save_dir."""

    def make(**settings):
        model = tiny(is_training=False, **settings)
        folder = os.path.join(model.save_dir, 'checkpoint')
        shutil.copytree(GOLDEN / 'tiny32' / 'checkpoint', folder, dirs_exist_ok=True)
        return model

    return make


def test_test_grids(trained, faces, monkeypatch, capsys):
    model, encoded = trained(), []
    encode = model.E
    with monkeypatch.context() as patch:
        patch.setattr(model, 'E', lambda images: encoded.append(len(images)) or encode(images))
        model.custom_test(str(faces))
    assert encoded == [14]  # each face once
    out = capsys.readouterr().out
    assert 'Loading pre-trained model ...' in out and 'SUCCESS ^_^' in out
    paths = files.list_images(str(faces))
    for name, gender in (('male', [1, -1]), ('female', [-1, 1])):
        grid = np.asarray(Image.open(f'{model.save_dir}/test/test_as_{name}.png'))
        assert grid.shape == (10 * 32, 14 * 32, 3)
        for row, column in ((0, 0), (9, 13), (3, 5)):
            z = model.E(ops.load_image(paths[column], 32)[None])
            age = labels.one_hot([row], 10)
            face = model.G([z, tf.constant(age), tf.constant([gender], tf.float32)])
            shown = grid[row * 32 : row * 32 + 32, column * 32 : column * 32 + 32]
            np.testing.assert_allclose(shown, ops.image_grid(face), atol=1)
    inputs = np.asarray(Image.open(f'{model.save_dir}/test/test_input.png'))
    assert inputs.shape == grid.shape
    expected = ops.image_grid(ops.load_image(paths[2], 32)[None])
    np.testing.assert_array_equal(inputs[-32:, 64:96], expected)


@pytest.mark.parametrize(
    ('columns', 'pages', 'last'), [(6, ['', '_2', '_3'], 2), (13, ['', '_2'], 1)]
)
def test_many_faces_become_pages(trained, faces, monkeypatch, columns, pages, last):
    """The last one has one face or two."""
    monkeypatch.setattr(face_aging, 'PAGE_COLUMNS', columns)
    model = trained()
    model.custom_test(str(faces))
    folder = os.path.join(model.save_dir, 'test')
    assert {*os.listdir(folder)} == {
        f'{name}{page}.png'
        for name in ('test_as_female', 'test_as_male', 'test_input')
        for page in pages
    }
    assert Image.open(f'{folder}/test_input{pages[-1]}.png').size == (last * 32, 320)


def test_faces_are_encoded_and_generated_in_batches(vivid, monkeypatch):
    """Bytes as floats; codes, ages and genders as NumPy broadcasts them."""
    monkeypatch.setattr(pipeline, 'AT_ONCE', 2)
    model = vivid()
    faces = np.random.RandomState(0).randint(0, 256, [3, 32, 32, 3]).astype(np.uint8)
    z = model.encode(faces)
    np.testing.assert_allclose(z, model.E(pipeline.to_float(faces)), atol=1e-6)
    np.testing.assert_array_equal(z, model.encode(pipeline.to_float(faces).numpy()))
    ages, genders = labels.one_hot([0, 5, 9, 2], 10), labels.one_hot([0, 1], 2)
    made = model.generate(z, ages[:, None, None], genders[:, None])
    assert made.shape == (4, 2, 3, 32, 32, 3)
    for i, k, n in np.ndindex(4, 2, 3):
        own = model.G([z[n : n + 1], ages[i : i + 1], genders[k : k + 1]])
        np.testing.assert_allclose(made[i, k, n], own[0], atol=1e-5)
