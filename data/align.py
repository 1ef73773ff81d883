"""Cut the faces out of pictures, to train on: python -m data.align SOURCE DEST.

Of each picture in SOURCE, sub-folders included, the largest face is turned, scaled and shifted so
that it lies as those of UTKFace, and kept in DEST under the picture's own name. A second run does
only what is missing.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import multiprocessing
import os
import re
import shutil
import signal
import threading
import warnings

import numpy as np
import psutil
import tensorflow as tf
from PIL import Image

from data import console, detector, files, pictures, tables
from data.console import InputError, Progress
from data.detector import CROP_SIZE

CROP_QUALITY = 95  # of JPEG and WebP, so that another loss can't be seen
ASIDE = '.new'  # folder in that of --align's crops, for those of the call under way
NO_FACE = 'no face'
NO_FACE_LIST = 'no_face.txt'  # in DEST, the names of the pictures without one
NAMED = 3  # pictures in a warning; of more only the number is told
FACES_PER_WORKER = 50  # that one process does in the time in which another one starts
WORKER_MEMORY = 2**30  # bytes, of a process that finds faces


def align(pixels, size=CROP_SIZE):
    """Cut every face out of a picture, as it would lie in UTKFace.

    Args:
        pixels: uint8 array [H, W, 3].
        size: height and width of a crop.

    Returns:
        list of uint8 arrays [size, size, 3], the largest face first; empty where there is none.
        What lies outside of the picture is black, as in UTKFace.
    """
    return [detector.cut_out(pixels, landmarks, size) for landmarks in detector.find_faces(pixels)]


def warn_of_unaligned(paths, faces, cure='align it'):
    """Warn of pictures in which the face does not lie as in UTKFace.

    Only the detector's last network looks at them: of 1,004 faces of UTKFace it takes exception to
    1.0%, of the same scaled by 0.6 or 1.5, turned by 20 degrees or shifted by a fifth to 99.3% and
    more.

    Args:
        paths: list of N names of the pictures.
        faces: uint8 array [N, S, S, C], the complete pictures as `pictures.read_face` reads them.
        cure: what is to be done, for the warning.
    """
    fits = []
    for first in range(0, len(faces), 100):
        colour = [np.broadcast_to(x, [*x.shape[:2], 3]) for x in faces[first : first + 100]]
        fits += [*detector.lie_in_place(colour)]
    if askew := [path for path, fit in zip(paths, fits, strict=True) if not fit]:
        warnings.warn(
            f'No face lies as in UTKFace in {_names(askew)}: {cure}, else its ages come out poor.',
            stacklevel=2,
        )


def align_pictures(source, dest):
    """Cut every face out of a few pictures, into a folder that holds no other crops then.

    They are PNG files, without loss. Those of one picture are <picture>.png or, where there are
    several, <picture>_<k>.png, the largest face first; of ten or more, k has zeros in front. Names
    are cut as by `files.unique_names`. Where that name could be another picture's too, the suffix
    stays in it: a.jpg.png beside a.png.png.

    Args:
        source: folder, sub-folders not included, or one picture.
        dest: folder of the crops, or a link to one; those of an earlier call, its PNG files, are
            removed, and nothing else.

    Returns:
        dict from the paths of the crops, sorted, to the crops, uint8 [CROP_SIZE, CROP_SIZE, 3].

    Raises:
        InputError: no face in any picture, one that lies in dest, or dest is no folder; dest stays
            as it is.
    """
    paths = files.list_images(source)
    if inside := [path for path in paths if _lies_in(path, dest)]:
        raise InputError(
            f'{inside[0]} lies in {dest}, which is for the faces that are cut out: those are '
            'aligned already, so do not align them again, or move your own pictures elsewhere.',
            align=False,
        )
    _require_folder(dest)
    aside = os.path.join(dest, ASIDE)
    os.makedirs(aside, exist_ok=True)
    try:
        _remove_crops(aside)  # of a run that was killed
        crops, failures = _cut_all_out(paths, aside)
        if len(failures) == len(paths):
            raise InputError(_nothing(source, failures))
        _warn_of(failures)
        _remove_crops(dest)
        for name in crops:
            os.replace(os.path.join(aside, name), os.path.join(dest, name))
        return {os.path.join(dest, name): crops[name] for name in sorted(crops)}
    finally:
        _remove_crops(aside)
        for folder in (aside, dest):
            with contextlib.suppress(OSError):  # it is not empty
                os.rmdir(folder)


def _cut_all_out(paths, folder):
    """Write every face in pictures to a folder.

    Returns:
        crops: dict from the names of the files to uint8 arrays.
        failures: dict from the paths of pictures without a crop to the reasons.
    """
    crops, failures, bases = {}, {}, _base_names(paths)
    for path in Progress(paths, 'Aligning', unit=' pictures'):
        try:
            found = align(pictures.read_photo(path))
        except InputError as error:
            failures[path] = str(error)
            continue
        for k, crop in enumerate(found, 1):
            number = f'_{k:0{len(str(len(found)))}}' if len(found) > 1 else ''  # sorted by name
            name = f'{bases[path]}{number}.png'
            Image.fromarray(crop).save(os.path.join(folder, name))
            crops[name] = crop
        if not found:
            failures[path] = NO_FACE
    return crops, failures


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
    most = files.LONGEST_NAME
    longest = [path for path in paths if len(os.path.splitext(names[path])[0]) >= most]
    for path, stem in zip(longest, files.unique_names(longest), strict=True):
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
    paths = files.list_images(source, recursive=True)
    _require_folder(dest)
    names = {path: os.path.relpath(path, source) for path in paths}
    targets = {path: os.path.join(dest, name) for path, name in names.items()}
    for folder in {os.path.dirname(target) for target in targets.values()}:
        os.makedirs(folder, exist_ok=True)
    for table in tables.list_tables(source):
        copy = os.path.join(dest, os.path.basename(table))
        if not os.path.exists(copy):
            with files.replacing(copy) as path:
                shutil.copyfile(table, path)
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
            results = Progress(results, 'Aligning', len(paths), unit=' faces')
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
        pixels = pictures.read_photo(path)
    except InputError as error:
        return str(error)
    faces = detector.find_faces(pixels)
    if not len(faces):
        return NO_FACE
    suffix = os.path.splitext(target)[1].lower()
    crop = Image.fromarray(detector.cut_out(pixels, faces[0]))
    with files.replacing(target) as path:
        crop.save(path, Image.registered_extensions()[suffix], quality=CROP_QUALITY)
    return ''


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


@console.one_sentence('Stopped. Started again, it does what is missing.')
def main(argv=None):
    parser = argparse.ArgumentParser(prog='python -m data.align', description=__doc__)
    parser.add_argument('source', help='folder of the pictures')
    parser.add_argument('dest', help='folder of the crops, made if need be')
    words = parser.parse_args(argv)
    count = align_folder(words.source, words.dest)
    print(f'{words.dest} has {count:,} faces, {CROP_SIZE} x {CROP_SIZE} pixels each.')


if __name__ == '__main__':
    main()
