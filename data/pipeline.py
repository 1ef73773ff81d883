"""From picture files to batches: every face is decoded once, batches are gathered from a cache."""

import concurrent.futures
import itertools
import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import tensorflow as tf

from data import decoded, doubles, labels, limits, pictures
from data.console import InputError, Progress
from data.flag_types import CACHES
from data.order import digest

CACHE_SHARE = 0.5  # most of the free space that a cache takes if the program chooses it
# Bytes that a training step takes besides the faces, measured with the default model on a CPU. The
# codes at the end of the training take less, 0.23 GB, and the checkpoints 0.1 GB.
STEP_MEMORY, STEP_MEMORY_PER_PIXEL = 400e6, 700
MOST_UNREADABLE = 0.5  # of the files; the rest would be another data set
MOST_COMPARED = 100_000  # faces that are searched for copies where only a warning needs it
AT_ONCE = 25  # faces in a network: fewer run slower, 50 take 0.3 GiB more to run 3% faster
LISTED = 20  # at most this many pictures are listed by name; the rest are counted
_log = logging.getLogger('caae.train')  # the log of a training, see init_model.savedir


def decode_faces(
    paths,
    size_image=128,
    num_channels=3,
    cache=None,
    most_unreadable=MOST_UNREADABLE,
    reserved=0,
    thumbnails=None,
):
    """Decode pictures in parallel, with a progress bar, as `pictures.read_face` reads them.

    Unreadable pictures are left out; a warning names the first of them.

    Args:
        paths: list of N file names.
        size_image, num_channels: S, height and width of the result; C, 3 for RGB, 1 for luminance.
        cache: where they are kept: 'memory', 'disk' (a temporary file, mapped into memory) or a
            folder, for the next time too (see decoded.py); None for the first of these two with
            enough space.
        most_unreadable: largest part of the files that may be unreadable, but for one; with more,
            or a cache that does not fit, an InputError is raised.
        reserved: bytes of memory that a cache leaves free if the program chooses it.
        thumbnails: array from `doubles.room` for N pictures, which gets theirs; None for none.

    Returns:
        faces: uint8 array [M, S, S, C], or an object that is indexed like one.
        kept: int64 array [M], their indices in paths, ascending.
        unreadable: dict from the paths of the others to phrases that say why.
    """
    shape = len(paths), size_image, size_image, num_channels
    if cache is None or cache in CACHES:
        faces = _allocate(paths, shape, cache, reserved)
        failures = _fill(paths, faces, thumbnails)
    else:
        faces, failures = _take_from(cache, paths, shape, thumbnails)
    unreadable = {paths[index]: reason for index, reason in failures.items()}
    if len(unreadable) > min(most_unreadable * len(paths), len(paths) - 1):
        first = '; '.join(f'{path!r}: {reason}' for path, reason in [*unreadable.items()][:3])
        raise InputError(
            f'{len(unreadable)} of {len(paths)} images are unreadable, too many to go on without '
            f'them: replace or remove them, such as {first}.'
        )
    if unreadable:
        lines = first_of([f'{path!r}: {reason}' for path, reason in unreadable.items()], LISTED)
        warnings.warn(
            f'{len(unreadable)} of {len(paths)} images are unreadable and left out:\n\t  '
            + '\n\t  '.join(lines),
            stacklevel=2,
        )
    kept = np.delete(np.arange(len(paths)), [*failures])
    return _part(faces, kept), kept, unreadable


def _fill(paths, faces, thumbnails):
    """Decode pictures into arrays, `thumbnails` None for none; return what `open_all` does."""

    def look(index, image):
        faces[index] = pictures.to_face(image, faces.shape[1]).reshape(faces.shape[1:])
        if thumbnails is not None:
            thumbnails[index] = doubles.thumbnail(image)

    return open_all(paths, look, faces.shape[3] == 1)


def open_all(
    paths: list[str], look: Callable, is_gray: bool = False, title: str = 'Decoding'
) -> dict[int, str]:
    """Call look(index, PIL image) for each picture, in parallel, with a progress bar.

    Returns a dict from the indices of unreadable pictures to phrases that say why.
    """
    failures = {}

    def open_one(index):
        try:
            with pictures.open_picture(paths[index], is_gray) as image:
                look(index, image)
        except pictures.UnreadableError as error:
            failures[int(index)] = error.reason
        return index

    indices = tf.data.Dataset.range(len(paths)).map(
        lambda index: tf.numpy_function(open_one, [index], tf.int64),
        num_parallel_calls=limits.cpu_count(),
        deterministic=False,
    )
    for _ in Progress(indices, title, len(paths), unit=' faces', disable=not paths):
        pass
    return dict(sorted(failures.items()))


def _take_from(folder, paths, shape, thumbnails):
    """Take decoded faces from a folder, where they are decoded into if it lacks them.

    Returns uint8 [N, S, S, C], mapped, not to be written to, and what `open_all` does.
    """
    place = decoded.Folder(folder, paths, shape, doubles.room(len(paths)).shape)
    found = place.read()
    if found:
        unreadable = [paths[int(index)] for index in found[1]]
        if len(open_all(unreadable, lambda *_: None)) < len(unreadable):
            found = None  # one can be read now
    (faces, small), failures = found or place.write(lambda *arrays: _fill(paths, *arrays))
    if thumbnails is not None:
        thumbnails[:] = small
    return faces, {int(index): reason for index, reason in failures.items()}


def find_photos(paths):
    """Return the photo of each picture, int array [N], as from `doubles.find`; with progress bars.

    An unreadable picture is like no other.
    """
    thumbnails = doubles.room(len(paths))

    def look(index, image):
        thumbnails[index] = doubles.thumbnail(image)

    open_all(paths, look)
    return doubles.find(thumbnails)


def load_data_set(
    folder,
    size_batch,
    size_image=128,
    num_channels=3,
    age_upper=labels.AGE_UPPER,
    hold_out=None,
    cache=None,
    reader=None,
):
    """Read the faces of a data set with their labels, to train on.

    Most arguments are those of `decode_faces` and `labels.list_faces`. hold_out: 'photo' leaves out
    all faces of a photo of which one is held out by its name, see `labels.held_out`; 'name' only
    those with such names; None leaves out none.

    Returns:
        data: faces, ages and genders, as `batches` takes them.
        digest: text that differs for other faces or labels, see `order.digest`.
    """
    paths, ages, genders = labels.list_faces(folder, hold_out == 'name', reader, age_upper)
    labels.require_batches(folder, len(paths), size_batch)
    step = STEP_MEMORY + STEP_MEMORY_PER_PIXEL * size_batch * size_image**2
    thumbnails = doubles.room(len(paths))
    faces, kept, unreadable = decode_faces(
        paths,
        size_image,
        num_channels,
        cache,
        reserved=step,
        thumbnails=thumbnails,
    )
    for path, reason in [*unreadable.items()][LISTED:]:  # the warning lists the others
        _log.info('Left out: %r: %s', path, reason)
    compares = hold_out == 'photo' or len(kept) <= MOST_COMPARED
    photos = doubles.find(thumbnails[kept]) if compares else np.arange(len(kept))
    if hold_out == 'photo':
        held = np.array([labels.held_out(paths[i]) for i in kept])
        rest = np.flatnonzero(~doubles.spread(photos, held))
        faces, kept, photos = _part(faces, rest), kept[rest], photos[rest]
    labels.require_batches(folder, len(faces), size_batch)
    paths, ages, genders = [paths[i] for i in kept], ages[kept], genders[kept]
    doubles.warn(folder, photos)
    data = faces, labels.one_hot(ages, len(age_upper) + 1), labels.one_hot(genders, 2)
    return data, digest(folder, paths, ages, genders)


def first_of(lines: list[str], most: int) -> list[str]:
    """Return the first of many lines, at most so many, and one that counts the others."""
    more = [f'... and {len(lines) - most:,} more'] if len(lines) > most else []
    return [*lines[:most], *more]


def batches(faces, ages, genders, order, size_batch):
    """Gather batches in a given order; prepare the next ones meanwhile.

    Takes faces as `decode_faces` returns them, float32 labels [N, num_categories] and [N, 2], and
    the order, indices of faces, of which an incomplete last batch is dropped. Returns a
    tf.data.Dataset of (face uint8 [B, S, S, C], age, gender). Apply `to_float` where faces are
    used: bytes are a quarter of the size to move.
    """

    def load(index):
        return faces[index], ages[index], genders[index]

    def gather(index):
        batch = tf.numpy_function(load, [index], [tf.uint8, tf.float32, tf.float32])
        return tuple(
            tf.ensure_shape(values, [size_batch, *array.shape[1:]])
            for values, array in zip(batch, (faces, ages, genders), strict=True)
        )

    indices = tf.data.Dataset.from_tensor_slices(order).batch(size_batch, drop_remainder=True)
    return indices.map(gather, num_parallel_calls=limits.cpu_count()).prefetch(tf.data.AUTOTUNE)


def distributed_batches(strategy, faces, ages, genders, order, size_batch):
    """Gather `batches`, split into one share for each replica; size_batch counts them all."""
    order = order[: len(order) // size_batch * size_batch]
    share = size_batch // strategy.num_replicas_in_sync

    def of_worker(context):  # each machine reads only its part of every batch
        parts = order.reshape(len(order) // size_batch, context.num_input_pipelines, -1)
        part = parts[:, context.input_pipeline_id].ravel()
        return batches(faces, ages, genders, part, share)

    return strategy.distribute_datasets_from_function(of_worker)


def to_float(faces):
    """Scale uint8 pixels to float32 in [-1, 1]; leave float32 as it is."""
    return tf.cast(faces, tf.float32) * 2 / 255 - 1 if faces.dtype == tf.uint8 else faces


def in_batches(function: Callable, *arrays, title: str | None = None):
    """Run a function, such as a network, over arrays [N, ...], N > 0, batch by batch.

    It takes a batch of each array, B up to AT_ONCE, to an array or tensor [B, ...], or to a tuple
    of these; they are returned as arrays [N, ...]. A title is that of a progress bar, None for
    none.
    """
    results = []
    count = len(arrays[0])
    size_batch = -(-count // -(-count // AT_ONCE))  # equal parts: a small rest is slow
    with Progress(total=count, desc=title, unit=' faces', disable=title is None) as progress:
        for first in range(0, count, size_batch):
            batch = [array[first : first + size_batch] for array in arrays]
            results.append(function(*batch))
            progress.update(len(batch[0]))
    if isinstance(results[0], tuple):
        return tuple(np.concatenate(parts) for parts in zip(*results, strict=True))
    return np.concatenate(results)


def one_ahead(function: Callable, items: Iterable) -> Iterator:
    """Yield function(item) of each item, in order, made by a thread while others are used.

    The first is begun at once, and each of the others when the one before it is yielded.
    """
    thread = concurrent.futures.ThreadPoolExecutor(1)
    items = iter(items)
    begun = [thread.submit(function, item) for item in itertools.islice(items, 1)]

    def results():
        try:
            for item in items:
                begun.append(thread.submit(function, item))
                yield begun.pop(0).result()
            for last in begun:
                yield last.result()
        finally:
            thread.shutdown(cancel_futures=True)

    return results()


def _part(faces, kept):
    """Return the faces at ascending indices; a copy of them might not fit into memory."""
    return faces if len(kept) == len(faces) else _Part(faces, kept)


class _Part:
    """In place of an array of decoded faces: those at some indices of one that stays as it is."""

    def __init__(self, faces, kept):
        self._faces, self._kept = faces, kept
        self.shape = len(kept), *faces.shape[1:]

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self[:], dtype)

    def __len__(self):
        return len(self._kept)

    def __getitem__(self, index):
        return self._faces[self._kept[index]]


def _allocate(paths, shape, cache, reserved):
    """Return an array for decoded faces in the given cache, or in the first with enough space."""
    size = int(np.prod(shape))
    free = {
        'memory': limits.available_memory(),
        'disk': shutil.disk_usage(tempfile.gettempdir()).free,
    }
    if cache is None:
        room = {name: space * CACHE_SHARE for name, space in free.items()}
        room['memory'] = min(room['memory'], free['memory'] - reserved)
        cache = next((name for name in CACHES if size <= room[name]), 'disk')
        _log.info('Decoded faces are kept here: %s', cache)
    if size > free[cache]:
        other = CACHES[cache == 'memory']
        raise InputError(
            f'{shape[0]} decoded faces take {size / 2**30:.1f} GiB, but only '
            f'{free[cache] / 2**30:.1f} GiB of {cache} are free: free the difference, or keep them '
            f'elsewhere, in {other} or in a folder.',
            **{'cache': other} if size <= free[other] else {},
        )
    if cache == 'memory':
        return np.empty(shape, np.uint8)
    return np.memmap(tempfile.TemporaryFile(), np.uint8, 'w+', shape=shape)
