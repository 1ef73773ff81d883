"""What the judge learns from: faces, in balanced batches, varied, and with their targets."""

import numpy as np
import tensorflow as tf
from scipy import special

from data import doubles, labels, limits, pipeline, readers
from data.console import InputError

SIZE = 96  # pixels, height and width of the network's input
OLDEST = 100  # years; older faces count as of this age
SPREAD = 3  # years: two labels of one photo are 3.9 apart, and neighbouring ages look alike
BATCH, CHUNK = 64, 16  # faces in a step, and in a part of it that is softened alike
SOFTENED = 0.7  # share of the inputs that are softened, since generated faces are soft
SOFT_SIZES = 28, 80  # pixels, from and to which they are scaled down before they are scaled up
SHIFT = 6  # pixels at 128


def read_faces(
    folder: str, reader: str | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Read a data set, as `labels.list_faces` does; raise InputError where faces are lacking.

    Returns faces, uint8 [N, 128, 128, 3], their years and genders, int [N], and whether
    `labels.held_out` is true of a face of the same photo, bool [N].
    """
    _, reading = readers.read(folder, reader)
    labels.require_labels(folder, reading)
    thumbnails = doubles.room(len(reading.faces))
    faces, kept, _ = pipeline.decode_faces([*reading.faces], cache='memory', thumbnails=thumbnails)
    known = np.array([*reading.faces.values()])[kept]
    held = np.array([labels.held_out(path) for path in reading.faces])[kept]
    held = doubles.spread(doubles.find(thumbnails[kept]), held)
    groups = np.searchsorted(labels.AGE_UPPER, known[~held, 0])
    if held.all() or not held.any() or len(np.unique(groups)) < len(labels.age_names()):
        raise InputError(
            f'{folder} has no faces of some age groups, or none that are held out: name a data set '
            'of thousands of faces of all ages.'
        )
    return faces, *known.T, held


def balanced_order(cells: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` indices of faces: of each cell but -1 as many, each of its faces as often."""
    members = [rng.permutation(np.flatnonzero(cells == i)) for i in np.unique(cells) if i >= 0]
    share = -(-count // len(members))
    # A face of each cell in turn, so that each batch is balanced; again from the first of a cell.
    return np.stack([np.resize(faces, share) for faces in members], 1).ravel()[:count]


def batches(
    faces: np.ndarray, years: np.ndarray, genders: np.ndarray, order: np.ndarray, seed: int
) -> tf.data.Dataset:
    """Return batches for Keras: faces in the order given, changed, with their two targets."""
    distance = np.minimum(years, OLDEST)[:, None] - np.arange(OLDEST + 1)
    target = special.softmax(-((distance / SPREAD) ** 2) / 2, axis=1).astype(np.float32)
    chunks = pipeline.batches(faces, target, genders[:, None].astype(np.float32), order, CHUNK)

    def change(count, chunk):
        face, year, female = chunk
        return vary(face, tf.stack([tf.constant(seed, tf.int64), count])), (year, female)

    changed = chunks.enumerate().map(change, limits.cpu_count())
    return changed.rebatch(BATCH, drop_remainder=True).prefetch(2)


def vary(faces: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Change faces at random: mirrored, shifted, lit and tinted otherwise, and softened.

    Takes uint8 [B, S, S, 3] and a seed, int64 [2]; returns float32 [B, SIZE, SIZE, 3] in [-1, 1].
    """
    size_batch, size = faces.shape[:2]

    def uniform(number, shape, low, high, dtype=tf.float32):
        place = tf.random.experimental.stateless_fold_in(seed, number)
        return tf.random.stateless_uniform(shape, place, low, high, dtype)

    face = pipeline.to_float(faces)
    face = tf.where(uniform(0, [size_batch, 1, 1, 1], 0, 1) < 0.5, face, face[:, :, ::-1])
    face = tf.pad(face, [[0, 0], [SHIFT, SHIFT], [SHIFT, SHIFT], [0, 0]], 'SYMMETRIC')
    row, column = tf.unstack(uniform(1, [2], 0, 2 * SHIFT + 1, tf.int32))
    face = face[:, row : row + size, column : column + size]
    soft = uniform(2, [], SOFT_SIZES[0], SOFT_SIZES[1] + 1, tf.int32)
    soft = tf.where(uniform(3, [], 0, 1) < SOFTENED, soft, SIZE)
    face = tf.image.resize(face, [soft, soft], antialias=True)
    face = tf.image.resize(face, [SIZE, SIZE])
    contrast = uniform(4, [size_batch, 1, 1, 1], 0.8, 1.2)
    light = uniform(5, [size_batch, 1, 1, 1], -0.15, 0.15)
    tint = uniform(6, [size_batch, 1, 1, 3], -0.08, 0.08)
    grey = tf.reduce_mean(face, -1, keepdims=True)
    face = grey + (face - grey) * uniform(7, [size_batch, 1, 1, 1], 0.6, 1.3)
    return tf.clip_by_value(face * contrast + light + tint, -1, 1)
