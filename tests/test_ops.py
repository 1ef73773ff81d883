"""Pictures, grids, labels on maps, and the convolutions that are written as matrix products."""

import gc
import os
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import ops


def test_grid_pixel_by_pixel():
    random = np.random.RandomState(0)
    images = random.uniform(-1, 1, (6, 4, 5, 3)).astype(np.float32)
    images[0, 0, 0], images[5, 3, 4] = -1, 1
    grid = ops.image_grid(images, size_frame=(2, 3))
    assert grid.dtype == np.uint8 and grid.shape == (8, 15, 3)
    for i, image in enumerate(images):
        row, column = divmod(i, 3)
        part = grid[row * 4 : row * 4 + 4, column * 5 : column * 5 + 5]
        np.testing.assert_array_equal(part, np.round((image + 1) * 127.5))
    assert (grid[0, 0] == 0).all() and (grid[-1, -1] == 255).all()


@pytest.mark.parametrize(
    ('count', 'frame'), [(1, (1, 1)), (2, (1, 2)), (5, (2, 3)), (100, (10, 10))]
)
def test_grid_is_nearly_square_and_black_where_empty(count, frame):
    grid = ops.image_grid(np.ones((count, 2, 2, 3)))
    assert grid.shape == (frame[0] * 2, frame[1] * 2, 3)
    assert (grid == 255).sum() == count * 12 and (grid == 0).sum() == grid.size - count * 12


@pytest.mark.parametrize('channels', [1, 3])
def test_save_batch_images(tmp_path, channels):
    images = np.linspace(-1.2, 1.2, 4 * 9 * channels).reshape(4, 3, 3, channels)
    pixels = ops.save_batch_images(images, tmp_path / 'grid.png', size_frame=(4, 1))
    with Image.open(tmp_path / 'grid.png') as image:
        assert image.size == (3, 12)
        saved = np.asarray(image).reshape(pixels.shape)
    np.testing.assert_array_equal(saved, pixels)
    assert pixels.flat[0] == 0 and pixels.flat[-1] == 255  # what lies outside is clipped


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs a full disk')
@pytest.mark.filterwarnings('error')
def test_a_grid_on_a_full_disk(tmp_path):
    """Its OSError is raised, and imageio raises no other one where nobody can catch it."""
    (tmp_path / 'full.png').symlink_to('/dev/full')
    with pytest.raises(OSError, match='No space left'):
        ops.save_batch_images(np.zeros([1, 2, 2, 3]), tmp_path / 'full.png')
    gc.collect()


def test_value_range(tmp_path):
    Image.fromarray(np.array([[10, 20]], np.uint8)).save(tmp_path / 'two.png')
    image = ops.load_image(tmp_path / 'two.png', 2, image_value_range=(0, 1), is_gray=True)
    assert image.min() == 0 and image.max() == 1


def test_concat_label():
    label = tf.constant([[1.0, -1.0], [-1.0, 1.0]])
    flat = ops.concat_label(tf.zeros([2, 3]), label, 2)
    np.testing.assert_array_equal(flat[0], [0, 0, 0, 1, -1, 1, -1])
    spread = ops.concat_label(tf.zeros([2, 4, 5, 3]), label)
    assert spread.shape == (2, 4, 5, 5)
    assert (spread[1, :, :, 3:] == [-1, 1]).numpy().all()


def test_initial_weights():
    x = keras.Input([8, 8, 4])
    keras.utils.set_random_seed(0)
    for layer in (ops.conv2d, ops.deconv2d):
        model = keras.Model(x, layer(x, 400))
        kernel, bias = model.weights
        deviation = 0.0176 if layer is ops.conv2d else 0.02  # 0.02 cut at two deviations
        np.testing.assert_allclose(kernel.numpy().std(), deviation, rtol=0.01)
        assert (abs(kernel.numpy()).max() <= 0.04) == (layer is ops.conv2d)
        assert not bias.numpy().any()


@pytest.mark.parametrize(
    ('layer', 'size'),
    [(ops.conv2d, 8), (ops.conv2d, 7), (ops.conv2d, 1), (ops.deconv2d, 4), (ops.deconv2d, 3)],
)
def test_small_maps_compute_what_large_ones_do(layer, size, monkeypatch):
    random = np.random.RandomState(0)
    x = tf.constant(random.normal(size=(3, size, size, 6)).astype(np.float32))

    def value_and_gradients(small_map):
        monkeypatch.setattr(ops, 'SMALL_MAP', small_map)
        keras.utils.set_random_seed(0)
        image = keras.Input([size, size, 6])
        model = keras.Model(image, layer(image, 5))
        model.weights[1].assign(np.arange(5))
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = model(x)
            loss = tf.reduce_sum(y**2)
        return y, *tape.gradient(loss, [x, *model.trainable_variables])

    for plain, product in zip(value_and_gradients(0), value_and_gradients(4), strict=True):
        np.testing.assert_allclose(plain, product, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('shape', [(5, 7), (1, 3), (3, 5, 1, 4), (1, 7, 3, 2)])
def test_batch_norm(shape):
    """Against NumPy in float64, and its gradient against differences; far from 0, too."""
    random = np.random.RandomState(0)
    data, dy = random.normal(size=shape) + 100, random.normal(size=shape)
    image = keras.Input(shape[1:])
    model = keras.Model(image, ops.batch_norm(image))
    beta = np.arange(shape[-1])
    model.trainable_variables[0].assign(beta)

    def normalised(x):
        axes = tuple(range(x.ndim - 1))
        return (x - x.mean(axes)) / np.sqrt(x.var(axes) + 0.001) + beta

    x = tf.constant(data, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = model(x, training=True)
        loss = tf.reduce_sum(y * dy.astype(np.float32))
    dx, dbeta = tape.gradient(loss, [x, model.trainable_variables[0]])
    data, shift = x.numpy().astype(np.float64), 1e-4
    expected = np.zeros(shape)
    for place in np.ndindex(shape):
        step = np.zeros(shape)
        step[place] = shift
        change = normalised(data + step) - normalised(data - step)
        expected[place] = (change * dy).sum() / (2 * shift)
    np.testing.assert_allclose(y, normalised(data), atol=1e-4)
    np.testing.assert_allclose(dx, expected, atol=1e-3)
    np.testing.assert_allclose(dbeta, dy.sum(tuple(range(len(shape) - 1))), atol=1e-4)


# ---------------------------------------------------------------------------------- progress


def test_zero_weights_are_of_one_thread():
    """A model that is built meanwhile in another thread draws its own."""
    made = []

    def build():
        x = keras.Input([8])
        made.append(keras.Model(x, ops.fc(x, 4)).weights[0].numpy())

    with ops.zero_weights():
        build()
        other = threading.Thread(target=build)
        other.start()
        other.join()
        build()
    build()
    assert [bool(weights.any()) for weights in made] == [False, True, False, True]
