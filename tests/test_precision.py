"""What is computed in 16 bits teaches the networks what float32 does."""

import itertools
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import face_aging
import ops
from data import devices, files, labels, pipeline

PRECISIONS = 'mixed_bfloat16', 'mixed_float16'
COUNT = 24  # made-up faces on each device: D_z's gradients hang on the few that it takes long over
LOSS_SCALE = 64  # of float16; at Keras' first one, 32768, D_img's gradients overflow
# Batch norm takes a bias before it away: its gradient is rounding errors alone.
CANCELLED = {f'D_z_fc{i}/b' for i in range(3)} | {f'D_img_conv{i}/b' for i in range(4)}
LAYERS = {
    'deconv2d': (lambda x: ops.deconv2d(x, 4), (3, 64, 64, 3)),
    'deconv2d of a small map': (lambda x: ops.deconv2d(x, 4), (100, 4, 4, 3)),
    'conv2d': (lambda x: ops.conv2d(x, 4), (3, 128, 128, 3)),
    'conv2d to an odd map': (lambda x: ops.conv2d(x, 4), (400, 2, 2, 3)),
    'fc': (lambda x: ops.fc(x, 4), (600, 7)),
}


@pytest.mark.parametrize('is_emulated', [True, False])
@pytest.mark.parametrize('layer', LAYERS)
@pytest.mark.parametrize('precision', PRECISIONS)
def test_a_bias_learns_from_all_places(monkeypatch, precision, layer, is_emulated):
    """Its gradient is a sum over thousands of places: in 16 bits it would end at a few hundred."""
    monkeypatch.setattr(devices, 'emulates', lambda name: is_emulated and name != 'float32')
    keras.config.set_dtype_policy(precision)
    apply, shape = LAYERS[layer]
    x = keras.Input(shape[1:])
    network = keras.Model(x, apply(x))

    @tf.function
    def gradient(x):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(tf.cast(network(x), tf.float32))
        return tape.gradient(total, network.trainable_variables[1])

    places = np.prod(network(np.zeros(shape)).shape[:-1])
    np.testing.assert_allclose(gradient(np.zeros(shape, np.float32)), [places] * 4, rtol=0.004)


def batch_of_faces(count):
    paths, ages, genders = labels.list_faces('data/demo')
    chosen = np.linspace(0, len(paths) - 1, count).astype(int)
    faces, _, _ = pipeline.decode_faces([paths[i] for i in chosen])
    z_prior = np.random.default_rng(0).uniform(-1, 1, [count, 50])
    return (
        faces,
        labels.one_hot(ages[chosen], 10),
        labels.one_hot(genders[chosen], 2),
        z_prior.astype(np.float32),
    )


def gradients(precision, strategy=None):
    """The gradients from the bundled weights, a dict from the variables' names to arrays."""
    keras.config.set_dtype_policy(precision)
    strategy = strategy or tf.distribute.get_strategy()
    batch = batch_of_faces(COUNT * strategy.num_replicas_in_sync)
    model = face_aging.FaceAging(size_batch=len(batch[0]), strategy=strategy)
    assert model.load_checkpoint(face_aging.INIT_MODEL)
    scale = 1
    if precision == 'mixed_float16':
        scale = LOSS_SCALE
        for optimizer in model.optimizers:
            optimizer.dynamic_scale.assign(scale)

    @tf.function
    def step(*batch):
        def of_replica(*share):
            return devices.mean(model.gradients(*share)[2])

        return model.strategy.run(of_replica, batch)

    found = step(*(devices.share(model.strategy, values) for values in batch))
    names = {v.path: name for name, v in model.named_variables.items()}
    pairs = zip(itertools.chain(*model.trainable), itertools.chain(*found), strict=True)
    first = model.strategy.experimental_local_results
    return {names[v.path]: first(g)[0].numpy().astype(np.float64) / scale for v, g in pairs}


@pytest.mark.slow
@pytest.mark.parametrize('replicas', [1, 2])
@pytest.mark.parametrize('precision', PRECISIONS)
def test_gradients_are_those_of_float32(precision, replicas, two_devices):
    """All of them, at full size: each points to the same side and is of the same length."""
    strategy = two_devices if replicas == 2 else None
    exact = gradients('float32', strategy)
    rounded = gradients(precision, strategy)
    assert rounded.keys() == exact.keys()
    wrong = {}
    for name in exact.keys() - CANCELLED:
        expected, found = np.linalg.norm(exact[name]), np.linalg.norm(rounded[name])
        ratio = found / expected
        cosine = np.vdot(exact[name], rounded[name]) / (expected * found)
        least = 0.95 if name.endswith('beta') else 0.99
        if not (0.9 <= ratio <= 1.1 and cosine >= least):
            wrong[name] = f'ratio {ratio:.3f}, cosine {cosine:.4f}'
    assert not wrong


@pytest.mark.parametrize('precision', PRECISIONS)
def test_a_test_in_16_bits_tells_its_error(vivid, tiny, tiny_main, faces, capsys, precision):
    model = vivid()
    words = ['--testdir', faces, '--savedir', model.save_dir, '--precision', precision]
    tiny_main('--is_train', 'False', *words)
    pattern = rf'In {precision} .* by ([\d.]+) of 255 levels on average and ([\d.]+) at most'
    told = re.search(pattern, capsys.readouterr().out).groups()
    rounded = tiny(is_training=False)  # its layers follow main's precision
    rounded.load_checkpoint()
    images, _, _ = pipeline.decode_faces(files.list_images(str(faces))[:2], 32)
    exact, rounded = (m.generate_ages(m.encode(images), [[1, -1]] * 2) for m in (model, rounded))
    error = np.abs(rounded - exact) * 127.5
    assert (np.abs(np.float64(told) - [error.mean(), error.max()]) < [0.006, 0.06]).all()
    assert error.max() > 0
