"""Cut the faces out of pictures, to train on: python -m data.align SOURCE DEST.

Of each picture in SOURCE, sub-folders included, the largest face is turned, scaled and shifted so
that it lies as those of UTKFace, and kept in DEST under the picture's own name. A second run does
only what is missing.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import functools
import importlib.resources
import multiprocessing
import os
import re
import shutil
import signal
import threading
import warnings
import zlib

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # TensorFlow calls a missing GPU an error

import keras
import numpy as np
import psutil
import tensorflow as tf
from PIL import Image

import ops
from data import programs, readers
from ops import InputError

SIZE = 200  # pixels, height and width of a crop: UTKFace's
# Where UTKFace has them, in parts of width and height: medians of the 1,829 faces that
# find_faces, with mtcnn 1.0, found in 1,846 drawn by chance. Left is the picture's left.
LANDMARKS = {
    'left_eye': (0.296, 0.29),
    'right_eye': (0.69, 0.29),
    'nose': (0.49, 0.523),
    'mouth_left': (0.317, 0.691),
    'mouth_right': (0.666, 0.692),
}
PLACES = np.array([*LANDMARKS.values()])
NEAR = 0.05  # of the width: landmarks that are no farther off, on average, are in their place
LIKELY = 0.9  # probability from which on what the detector sees is a face
CERTAIN = 0.999  # from which on a face stands upright, and no other way of turning it is tried
LONGEST = 1024  # pixels, the longer side of what the detector is shown
SMALLEST = 20  # pixels, the smallest face that the detector finds
ONET = 48  # pixels, height and width of what its last network sees
QUALITY = 95  # of JPEG and WebP, so that another loss can't be seen
ASIDE = '.new'  # folder in that of --align's crops, for those of the call under way
NO_FACE = 'no face'
NO_FACE_LIST = 'no_face.txt'  # in DEST, the names of the pictures without one
NAMED = 3  # pictures in a warning; of more only the number is told
FACES_PER_WORKER = 50  # that one process does in the time in which another one starts
WORKER_MEMORY = 2**30  # bytes, of a process that finds faces


def open_picture(path):
    """Read a picture as it is meant to be seen, in 8 bits of RGB.

    Turned as its EXIF data say; transparency shows white; of an animation, the first frame.

    Returns:
        uint8 array [H, W, 3].

    Raises:
        ops.UnreadableError: the file is missing, damaged, too large or no picture.
    """
    with ops.open_picture(path, as_seen=True) as image:
        return np.asarray(image)


def align(pixels, size=SIZE):
    """Cut every face out of a picture, as it would lie in UTKFace.

    Args:
        pixels: uint8 array [H, W, 3].
        size: height and width of a crop.

    Returns:
        list of uint8 arrays [size, size, 3], the largest face first; empty where there is none.
        What lies outside of the picture is black, as in UTKFace.
    """
    return [cut_out(pixels, landmarks, size) for landmarks in find_faces(pixels)]


def find_faces(pixels):
    """Find the faces in a picture; where none stands upright, those that lie or stand on end.

    Args:
        pixels: uint8 array [H, W, 3].

    Returns:
        float array [N, 5, 2], for each face (x, y) in pixels of LANDMARKS; the largest face first.
    """
    shrink = max(1, max(pixels.shape[:2]) / LONGEST)
    height, width = (round(length / shrink) for length in pixels.shape[:2])
    if min(height, width) < SMALLEST:
        return np.empty([0, 5, 2])
    reduced = np.asarray(Image.fromarray(pixels).resize([width, height], reducing_gap=3))
    best = -1
    for quarters in (0, 1, 3, 2):  # to the left
        found, scores = _find_upright(np.rot90(reduced, quarters))
        if max(scores, default=0) > best:
            turns, faces, best = quarters, found, max(scores, default=0)
        if turns == 0 and best >= CERTAIN:
            break
    for turn in range(turns, 0, -1):
        x, y = np.moveaxis(faces, -1, 0)
        faces = np.stack([(width if turn % 2 else height) - y, x], axis=-1)
    faces = faces * [pixels.shape[1] / width, pixels.shape[0] / height]
    return faces[np.argsort([abs(similarity(face, PLACES)[0]) for face in faces])]


def _find_upright(pixels):
    """Find faces that are turned by less than 45 degrees.

    Returns:
        float arrays, landmarks [N, 5, 2] in pixels, and probabilities [N] of at least LIKELY.
    """
    with tf.device('CPU:0'):
        found = _detector().detect_faces(pixels, output_type='numpy', fit_to_image=False)
    candidates = found[:, 6:].reshape(-1, 2, 5).swapaxes(1, 2)
    if not len(candidates):
        return np.empty([0, 5, 2]), np.empty(0)
    # Cut out upright, the detector's last network sees more of it and errs less.
    places, scores = locate([cut_out(pixels, face, 2 * ONET) for face in candidates])
    likely, faces = scores >= LIKELY, []
    for face, place in zip(candidates[likely], places[likely], strict=True):
        a, b = similarity(face, PLACES)
        z = (place @ [1, 1j] - b) / a
        faces.append(np.stack([z.real, z.imag], axis=-1))
    return np.array(faces).reshape(-1, 5, 2), scores[likely]


def locate(faces):
    """Look where faces that fill their pictures have their landmarks.

    Args:
        faces: list of N uint8 arrays [H, W, 3].

    Returns:
        places: float array [N, 5, 2], (x, y) of LANDMARKS in parts of width and height.
        scores: float array [N], probabilities that there is a face.
    """
    inputs = [Image.fromarray(face).resize([ONET, ONET], Image.Resampling.BOX) for face in faces]
    inputs = (np.stack(inputs).astype(np.float32) - 127.5) / 128
    with tf.device('CPU:0'):
        _, places, scores = _stage('ONet').model(inputs)
    return places.numpy().reshape(-1, 2, 5).swapaxes(1, 2), scores.numpy()[:, 1]


def lie_in_place(faces):
    """Say of faces that fill their pictures whether they lie as in UTKFace, NEAR enough.

    Args:
        faces: list of N uint8 arrays [H, W, 3].

    Returns:
        bool array [N].
    """
    places, scores = locate(faces)
    moved = []
    for place in places:
        a, b = similarity(PLACES, place)
        moved.append(np.abs(a * (PLACES @ [1, 1j]) + b - PLACES @ [1, 1j]).mean())
    return (scores >= LIKELY) & (np.array(moved) <= NEAR)


def similarity(points, places):
    """Turn, scale and shift points to places with the least squares (Umeyama 1991), in the plane.

    Args:
        points, places: float arrays [N, 2] of (x, y).

    Returns:
        complex a, b: z = x + iy goes to a z + b.
    """
    z, w = points @ [1, 1j], places @ [1, 1j]
    centred = z - z.mean()
    a = np.vdot(centred, w) / np.vdot(centred, centred)
    return a, w.mean() - a * z.mean()


def cut_out(pixels, landmarks, size=SIZE):
    """Cut a face out so that its landmarks come as near as can be to UTKFace's.

    Args:
        pixels: uint8 array [H, W, 3].
        landmarks: float array [5, 2], (x, y) in pixels.
        size: height and width of the crop.

    Returns:
        uint8 array [size, size, 3], black outside of the picture.
    """
    a, b = similarity(landmarks, PLACES * size)
    corners = (np.array([0, size, size * 1j, size + size * 1j]) - b) / a
    shrink = max(1, 1 / abs(a))  # pixels of the picture by one of the crop
    reach = 2 * shrink  # of the filters
    low = np.floor([corners.real.min() - reach, corners.imag.min() - reach])
    high = np.ceil([corners.real.max() + reach, corners.imag.max() + reach])
    low, high = (np.clip(side, 0, pixels.shape[1::-1]).astype(int) for side in (low, high))
    part = Image.fromarray(pixels[low[1] : high[1], low[0] : high[0]])
    reduced = np.maximum(1, np.round((high - low) / shrink)).astype(int)
    part = part.resize(reduced, Image.Resampling.LANCZOS, reducing_gap=3)
    x, y = reduced / (high - low)
    c, origin = 1 / a, -b / a - complex(*low)
    rows = [c.real * x, -c.imag * x, origin.real * x, c.imag * y, c.real * y, origin.imag * y]
    crop = part.transform(
        [size, size], Image.Transform.AFFINE, rows, resample=Image.Resampling.BICUBIC
    )
    return np.asarray(crop)


def warn_of_unaligned(source):
    """Warn of pictures in which the face does not lie as in UTKFace.

    Only the detector's last network looks at them, at all of each picture as `ops.read_face`
    squeezes it: of 1,004 faces of UTKFace it takes exception to 1.0%, of the same scaled by 0.6 or
    1.5, turned by 20 degrees or shifted by a fifth to 99.3% and more.

    Args:
        source: folder, or one picture; unreadable ones are passed over.

    Raises:
        InputError: no such folder, no picture in it.
    """
    askew, paths = [], readers.list_images(source)
    for first in range(0, len(paths), 100):
        faces = {}
        for path in paths[first : first + 100]:
            with contextlib.suppress(InputError):
                faces[path] = ops.read_face(path, ONET)
        if not faces:
            continue
        fits = lie_in_place([*faces.values()])
        askew += [path for path, fit in zip(faces, fits, strict=True) if not fit]
    if askew:
        warnings.warn(
            f'No face lies as in UTKFace in {_names(askew)}: pass --align True, else its ages come '
            'out poor.',
            stacklevel=2,
        )


def align_pictures(source, dest):
    """Cut every face out of a few pictures, into a folder that holds no other crops then.

    They are PNG files, without loss. Those of one picture are <picture>.png or, where there are
    several, <picture>_<k>.png, the largest face first; of ten or more, k has zeros in front. Names
    are cut as by `readers.unique_names`. Where that name could be another picture's too, the suffix
    stays in it: a.jpg.png beside a.png.png.

    Args:
        source: folder, sub-folders not included, or one picture.
        dest: folder of the crops, or a link to one; those of an earlier call, its PNG files, are
            removed, and nothing else.

    Raises:
        InputError: no face in any picture, one that lies in dest, or dest is no folder; dest stays
            as it is.
    """
    paths = readers.list_images(source)
    if inside := [path for path in paths if _lies_in(path, dest)]:
        raise InputError(
            f'{inside[0]} lies in {dest}, where --align keeps what it cuts out: the faces there '
            'are aligned already, so leave --align out, or move your own pictures elsewhere.'
        )
    _require_folder(dest)
    aside = os.path.join(dest, ASIDE)
    os.makedirs(aside, exist_ok=True)
    try:
        _remove_crops(aside)  # of a run that was killed
        failures = _cut_all_out(paths, aside)
        if len(failures) == len(paths):
            raise InputError(_nothing(source, failures))
        _warn_of(failures)
        _remove_crops(dest)
        for name in os.listdir(aside):
            os.replace(os.path.join(aside, name), os.path.join(dest, name))
    finally:
        _remove_crops(aside)
        for folder in (aside, dest):
            with contextlib.suppress(OSError):  # it is not empty
                os.rmdir(folder)


def _cut_all_out(paths, folder):
    """Write every face in pictures to a folder; return why there is none, a dict from paths."""
    failures, bases = {}, _base_names(paths)
    for path in ops.Progress(paths, 'Aligning', unit=' pictures'):
        try:
            crops = align(open_picture(path))
        except InputError as error:
            failures[path] = str(error)
            continue
        for k, crop in enumerate(crops, 1):
            number = f'_{k:0{len(str(len(crops)))}}' if len(crops) > 1 else ''  # sorted by name
            Image.fromarray(crop).save(os.path.join(folder, f'{bases[path]}{number}.png'))
        if not crops:
            failures[path] = NO_FACE
    return failures


def _remove_crops(folder):
    """Remove what `_cut_all_out` wrote to a folder; all else in it may be the user's."""
    with os.scandir(folder) as entries:
        crops = [e.path for e in entries if e.name.endswith('.png') and not e.is_dir()]
    for path in crops:
        os.remove(path)


def _lies_in(path, folder):
    """Whether a path is a folder or lies anywhere below it, once all links are followed."""
    path, folder = (os.path.join(os.path.realpath(p), '') for p in (path, folder))
    return path.startswith(folder)


def _require_folder(path):
    """Raise an InputError where a folder is to be written to and something else is."""
    if os.path.lexists(path) and not os.path.isdir(path):
        raise InputError(f'{path} is no folder: remove it, or name another one.')


def _base_names(paths):
    """Return a dict from the paths of pictures in a folder to unambiguous names of their crops."""
    names = {path: os.path.basename(path) for path in paths}
    most = readers.LONGEST_NAME
    longest = [path for path in paths if len(os.path.splitext(names[path])[0]) >= most]
    for path, stem in zip(longest, readers.unique_names(longest), strict=True):
        names[path] = stem + os.path.splitext(names[path])[1]
    stems = {path: os.path.splitext(name)[0] for path, name in names.items()}
    claims, numbered = collections.Counter(), {}
    for path, stem in stems.items():
        claims.update({names[path].lower(), stem.lower()})
        if match := re.fullmatch(r'(.*)_\d+', stem.lower()):  # as the faces of another picture
            numbered[stem.lower()] = match[1]
    others = {*numbered.values()}
    return {
        path: names[path]
        if claims[stem.lower()] > 1
        or stem.lower() in others
        or numbered.get(stem.lower()) in claims
        else stem
        for path, stem in stems.items()
    }


def align_folder(source, dest):
    """Cut the largest face out of each picture of a data set, in parallel, with a progress bar.

    Names and sub-folders stay, since they tell the labels, and so do the tables with labels; a crop
    is of the format that its name says. What dest has is not done again, what its no_face.txt lists
    is not looked at again, and a table that it has is not replaced.

    Args:
        source: folder of the pictures.
        dest: folder of the crops; neither lies in the other.

    Returns:
        how many faces dest has now of source.

    Raises:
        InputError: no picture or no face in any, dest is no folder, one lies in the other, or the
            system ended a process.
    """
    if _lies_in(source, dest) or _lies_in(dest, source):
        raise InputError(f'{source} and {dest} must not lie in one another: name another DEST.')
    paths = readers.list_images(source, recursive=True)
    _require_folder(dest)
    names = {path: os.path.relpath(path, source) for path in paths}
    targets = {path: os.path.join(dest, name) for path, name in names.items()}
    for folder in {os.path.dirname(target) for target in targets.values()}:
        os.makedirs(folder, exist_ok=True)
    for table in readers.list_tables(source):
        copy = os.path.join(dest, os.path.basename(table))
        if not os.path.exists(copy):
            shutil.copyfile(table, _aside(copy))
            os.replace(_aside(copy), copy)
    options = {'encoding': 'utf-8', 'errors': 'surrogateescape', 'newline': '\n'}
    with open(os.path.join(dest, NO_FACE_LIST), 'a+', **options) as file:
        file.seek(0)
        listed = {*file.read().split('\n')}
        failures = {path: NO_FACE for path in paths if names[path] in listed}
        missing = [p for p in paths if p not in failures and not os.path.exists(targets[p])]
        for path, failure in _align_files(missing, [targets[path] for path in missing]):
            if failure:
                failures[path] = failure
            if failure == NO_FACE:
                print(names[path], file=file, flush=True)
    if len(failures) == len(paths):
        raise InputError(_nothing(source, failures))
    _warn_of(failures)
    return len(paths) - len(failures)


def _align_files(paths, targets):
    """Align pictures in parallel; yield of each its path and what `_align_file` returns."""
    memory = psutil.virtual_memory().available // WORKER_MEMORY
    workers = min(os.cpu_count(), memory, len(paths) // FACES_PER_WORKER)
    with contextlib.ExitStack() as stack:
        results = map(_align_file, paths, targets)
        try:
            if workers > 1:  # processes, since much of the detector's work is Python's
                pool = concurrent.futures.ProcessPoolExecutor(
                    workers, multiprocessing.get_context('spawn'), _prepare_worker
                )
                stack.callback(pool.shutdown, cancel_futures=True)
                with _ignoring_interrupts():  # and so will the processes, while they start
                    results = pool.map(_align_file, paths, targets, chunksize=8)
            results = ops.Progress(results, 'Aligning', len(paths), unit=' faces')
            yield from zip(paths, results, strict=True)
        except concurrent.futures.BrokenExecutor as error:
            raise InputError(
                'A process that finds faces was ended by the system, most likely for lack of '
                'memory: close other programs and start again, what is done stays done.'
            ) from error


@contextlib.contextmanager
def _ignoring_interrupts():
    """Ignore Ctrl-C for a moment; it can be minded in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _prepare_worker():
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it at once, without a traceback
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def _align_file(path, target):
    """Write a crop of the largest face in a picture; return '' or why there is none."""
    try:
        pixels = open_picture(path)
    except InputError as error:
        return str(error)
    faces = find_faces(pixels)
    if not len(faces):
        return NO_FACE
    suffix = os.path.splitext(target)[1].lower()
    crop = Image.fromarray(cut_out(pixels, faces[0]))
    crop.save(_aside(target), Image.registered_extensions()[suffix], quality=QUALITY)
    os.replace(_aside(target), target)  # whole, or not there, whenever this is killed
    return ''


def _aside(path):
    """Return the path beside a file where its content is written first, which is its alone.

    A name as long as they may be would be too long with more behind it.
    """
    folder, name = os.path.split(path)
    digest = zlib.crc32(os.fsencode(name))
    return os.path.join(folder, f'{name[: readers.LONGEST_NAME]}.{digest:08x}.new')


def _nothing(source, failures):
    """Say that nothing could be done; failures as for `_warn_of`."""
    unreadable = [failure for failure in failures.values() if failure != NO_FACE]
    if len(failures) == len(unreadable) == 1:
        return unreadable[0]
    reason = f', and {len(unreadable)} cannot be read' if unreadable else ''
    return (
        f'No face was found in {source} ({len(failures)} pictures{reason}): take pictures in which '
        'faces are seen from the front, 20 pixels wide or more.'
    )


def _warn_of(failures):
    """Warn of pictures, in a dict from their paths to NO_FACE or why they cannot be read."""
    unreadable = {path: failure for path, failure in failures.items() if failure != NO_FACE}
    for failure in [*unreadable.values()][:NAMED]:
        warnings.warn(failure, stacklevel=3)
    if len(unreadable) > NAMED:
        warnings.warn(f'{len(unreadable)} pictures cannot be read.', stacklevel=3)
    if faceless := [path for path in failures if path not in unreadable]:
        warnings.warn(f'No face was found in {_names(faceless)}.', stacklevel=3)


def _names(paths):
    """Return paths in words, the first few by their names."""
    more = f' and {len(paths) - NAMED:,} more' if len(paths) > NAMED else ''
    return ', '.join(paths[:NAMED]) + more


@functools.cache
def _detector():
    """Return the detector.

    Raises:
        InputError: there is none.
    """
    try:
        from mtcnn import MTCNN  # here, since it takes a while
    except ImportError as error:
        raise InputError(
            'To find faces a detector is needed: install it (pip install "mtcnn>=1,<2").'
        ) from error
    return MTCNN([_stage(name) for name in ('PNet', 'RNet', 'ONet')])


@functools.cache
def _stage(name):
    """Return a stage of the detector; it computes in float32 whatever Keras' policy is."""
    from mtcnn import stages

    # By its name alone it would be looked for in the working directory first.
    weights = importlib.resources.files('mtcnn.assets.weights') / f'{name.lower()}.lz4'
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy('float32')
    try:
        with tf.device('CPU:0'):
            return getattr(stages, f'Stage{name}')(weights=str(weights))
    finally:
        keras.config.set_dtype_policy(policy)


@programs.one_sentence('Stopped. Started again, it does what is missing.')
def main(argv=None):
    parser = argparse.ArgumentParser(prog='python -m data.align', description=__doc__)
    parser.add_argument('source', help='folder of the pictures')
    parser.add_argument('dest', help='folder of the crops, made if need be')
    words = parser.parse_args(argv)
    count = align_folder(words.source, words.dest)
    print(f'{words.dest} has {count:,} faces, {SIZE} x {SIZE} pixels each.')


if __name__ == '__main__':
    main()
