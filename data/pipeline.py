"""From picture files to batches: every face is decoded once, batches are gathered from a cache."""

import shutil
import tempfile

import numpy as np
import psutil
import tensorflow as tf
from tqdm import tqdm

import ops

CACHES = ('memory', 'disk', 'none')
CACHE_SHARE = 0.5  # of what is free, at most, where the choice is left to the program


def decode_faces(paths, size_image=128, num_channels=3, cache=None):
    """Decode pictures in parallel, with a progress bar, as `ops.read_face` reads them.

    Args:
        paths: list of N file names.
        size_image: S, height and width of the result.
        num_channels: C, 3 for RGB or 1 for luminance.
        cache: where they are kept: 'memory', 'disk' (a temporary file, mapped into memory) or
            'none' (decoded again whenever they are used); None for the first that has the space.

    Returns:
        uint8 array [N, S, S, C], or with 'none' what is indexed like one.

    Raises:
        ops.InputError: some files cannot be read, the first are named; the cache has no space.
    """
    faces = _allocate(paths, (len(paths), size_image, size_image, num_channels), cache)
    failures = []

    def decode(index, path):
        try:
            faces[index] = _read(path.decode(), faces.shape)
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
        faces: uint8 [N, S, S, C], what `decode_faces` returns.
        ages: float32 array [N, num_categories], labels.
        genders: float32 array [N, 2], labels.
        order: indices of faces; those behind the last whole batch are dropped.
        size_batch: B.

    Returns:
        tf.data.Dataset of (face uint8 [B, S, S, C], age, gender); `to_float` makes images of faces,
        where they are used, since bytes travel four times as fast.
    """

    def gather(index):
        face, age, gender = tf.numpy_function(
            lambda i: (faces[i], ages[i], genders[i]), [index], [tf.uint8, tf.float32, tf.float32]
        )
        face = tf.ensure_shape(face, [size_batch, *faces.shape[1:]])
        age = tf.ensure_shape(age, [size_batch, ages.shape[1]])
        gender = tf.ensure_shape(gender, [size_batch, genders.shape[1]])
        return face, age, gender

    indices = tf.data.Dataset.from_tensor_slices(order).batch(size_batch, drop_remainder=True)
    return indices.map(gather, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def to_float(faces):
    """Scale uint8 pixels to float32 in [-1, 1]."""
    return tf.cast(faces, tf.float32) * 2 / 255 - 1


class _FacesOnDemand:
    """Stands in for the array of decoded faces, and decodes those that are asked for."""

    def __init__(self, paths, shape):
        self.paths, self.shape = np.array(paths), shape

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return np.stack([_read(path, self.shape) for path in self.paths[index]])

    def __setitem__(self, index, face):
        """Keep nothing."""


def _read(path, shape):
    """Return a face uint8 [S, S, C] for an array of the given shape [N, S, S, C]."""
    return ops.read_face(path, shape[1], is_gray=shape[3] == 1).reshape(shape[1:])


def _allocate(paths, shape, cache):
    """Return what decoded faces are put into, in the given cache or the first with the space."""
    size = int(np.prod(shape))
    free = {
        'memory': psutil.virtual_memory().available,
        'disk': shutil.disk_usage(tempfile.gettempdir()).free,
        'none': np.inf,
    }
    if cache is None:
        cache = next(name for name in CACHES if size <= free[name] * CACHE_SHARE)
    if size > free[cache]:
        raise ops.InputError(
            f'{shape[0]} decoded faces take {size / 2**30:.1f} GiB, but only '
            f'{free[cache] / 2**30:.1f} GiB of {cache} are free: pass another --cache '
            f'({", ".join(name for name in CACHES if name != cache)}).'
        )
    if cache == 'memory':
        return np.empty(shape, np.uint8)
    if cache == 'disk':
        return np.memmap(tempfile.TemporaryFile(), np.uint8, 'w+', shape=shape)
    return _FacesOnDemand(paths, shape)
