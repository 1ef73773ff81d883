"""From picture files to batches: every face is decoded once, batches are gathered from memory."""

import os
import tempfile

import numpy as np
import tensorflow as tf
from tqdm import tqdm

import ops

MEMORY_SHARE = 0.5  # of the free memory that decoded faces may take, the networks need the rest


def decode_faces(paths, size_image=128, num_channels=3):
    """Decode pictures in parallel, with a progress bar, as `ops.read_face` reads them.

    Args:
        paths: list of N file names.
        size_image: S, height and width of the result.
        num_channels: C, 3 for RGB or 1 for luminance.

    Returns:
        uint8 array [N, S, S, C], in memory when it fits, else in a temporary file mapped into it.

    Raises:
        ops.InputError: some files cannot be read; names the first ones.
    """
    faces = _allocate((len(paths), size_image, size_image, num_channels))
    failures = []

    def decode(index, path):
        try:
            face = ops.read_face(path.decode(), size_image, is_gray=num_channels == 1)
            faces[index] = face.reshape(faces.shape[1:])
        except ops.InputError as error:
            failures.append(str(error))
        return index

    files = tf.data.Dataset.from_tensor_slices((np.arange(len(paths)), paths)).map(
        lambda index, path: tf.numpy_function(decode, [index, path], tf.int64),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=False,
    )
    for _ in tqdm(files, 'Decoding', len(paths), unit=' faces', dynamic_ncols=True):
        pass
    if failures:
        first = '; '.join(sorted(failures)[:3])
        raise ops.InputError(f'{len(failures)} of {len(paths)} images are unreadable: {first}')
    return faces


def batches(faces, ages, genders, order, size_batch):
    """Gather batches in a given order; the next ones are prepared while one is used.

    Args:
        faces: uint8 array [N, S, S, C].
        ages: float32 array [N, num_categories], labels.
        genders: float32 array [N, 2], labels.
        order: indices of faces; those behind the last whole batch are dropped.
        size_batch: B.

    Returns:
        tf.data.Dataset of (image float32 [B, S, S, C] in [-1, 1], age, gender).
    """

    def gather(index):
        face, age, gender = tf.numpy_function(
            lambda i: (faces[i], ages[i], genders[i]), [index], [tf.uint8, tf.float32, tf.float32]
        )
        face = tf.ensure_shape(face, [size_batch, *faces.shape[1:]])
        age = tf.ensure_shape(age, [size_batch, ages.shape[1]])
        gender = tf.ensure_shape(gender, [size_batch, genders.shape[1]])
        return to_float(face), age, gender

    indices = tf.data.Dataset.from_tensor_slices(order).batch(size_batch, drop_remainder=True)
    return indices.map(gather, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def to_float(faces):
    """Scale uint8 pixels to float32 in [-1, 1]."""
    return tf.cast(faces, tf.float32) * 2 / 255 - 1


def _allocate(shape):
    """Return an empty uint8 array, in memory when it fits, else in a temporary file."""
    try:
        free = os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    except (AttributeError, ValueError, OSError):  # not every system tells
        free = 0
    if np.prod(shape) <= free * MEMORY_SHARE:
        return np.empty(shape, np.uint8)
    return np.memmap(tempfile.TemporaryFile(), np.uint8, 'w+', shape=shape)
