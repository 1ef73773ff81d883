"""Cut the faces out of pictures, to train on: python -m data.align SOURCE DEST.

The largest face in each picture of SOURCE, sub-folders included, is turned, scaled and shifted so
that it lies as the faces of UTKFace do, and is written to DEST under the picture's name. A second
run adds only what is missing.
"""

import concurrent.futures
import contextlib
import multiprocessing
import os
import shutil
import signal
import warnings

import numpy as np
import tensorflow as tf
from PIL import Image

from data import console, detector, files, flag_types, limits, pictures, pipeline
from data.console import InputError, Progress
from data.detector import CROP_SIZE

CROP_QUALITY = 95  # of JPEG and WebP: the loss of a second compression is not visible
NO_FACE = 'No face was found in {}: take one with faces from the front, 20 pixels wide or more.'
NAMED = 3  # a warning names at most this many pictures and counts the rest
FACES_PER_WORKER = 50  # one process aligns this many while another one starts
WORKER_MEMORY = 2**30  # bytes that a process which finds faces takes


def warn_of_unaligned(paths: list[str], faces: np.ndarray):
    """Warn of pictures in which the face does not lie as in UTKFace.

    Only the detector's last network looks at them. Of 1,004 faces of UTKFace it rejected 1.0%; of
    the same faces scaled by 0.6 or 1.5, turned by 20 degrees or shifted by a fifth of the width, at
    least 99.3%. The faces, [N, S, S, C], are complete pictures of `pictures.read_face`.
    """
    colour = np.broadcast_to(faces, [*faces.shape[:-1], 3])
    fits = pipeline.in_batches(detector.lie_in_place, colour)
    if askew := [path for path, fit in zip(paths, fits, strict=True) if not fit]:
        more = f' and {len(askew) - NAMED:,} more' if len(askew) > NAMED else ''
        warnings.warn(
            f'No face lies as in UTKFace in {", ".join(askew[:NAMED])}{more}: cut it out by '
            'python -m data.align, else its ages come out poor.',
            stacklevel=2,
        )


def align_folder(source: str, dest: str) -> int:
    """Cut the largest face out of each picture of a data set, in parallel, with a progress bar.

    Crops keep the pictures' names and sub-folders, which may hold the labels, and the formats that
    the names say; tables with labels are copied. Files that dest already has are not replaced.
    Returns the number of pictures in source of which dest now has a face. An InputError says that
    source has no picture or none with a face, that one folder lies in the other, or that the system
    ended a process.
    """
    real = [os.path.join(os.path.realpath(folder), '') for folder in (source, dest)]
    if real[0].startswith(real[1]) or real[1].startswith(real[0]):
        raise InputError(f'{source} and {dest} must not lie in one another: name another DEST.')
    paths = files.list_images(source, recursive=True)
    targets = {path: os.path.join(dest, os.path.relpath(path, source)) for path in paths}
    for folder in sorted({os.path.dirname(target) for target in targets.values()}):
        os.makedirs(folder, exist_ok=True)
    for name in os.listdir(source):
        copy = os.path.join(dest, name)
        if name.lower().endswith(('.csv', '.mat')) and not os.path.exists(copy):  # labels
            with files.replacing(copy) as path:
                shutil.copyfile(os.path.join(source, name), path)
    missing = [path for path in paths if not os.path.exists(targets[path])]
    results = _align_files(missing, [targets[path] for path in missing])
    failures = {path: failure for path, failure in results if failure}
    if len(failures) == len(paths):
        raise InputError(nothing_found(source, failures))
    warn_of_failures(failures)
    return len(paths) - len(failures)


def _align_files(paths, targets):
    """Align pictures in parallel; yield each path with the result of `_align_file`."""
    memory = limits.available_memory() // WORKER_MEMORY
    workers = min(limits.cpu_count(), memory, len(paths) // FACES_PER_WORKER)
    spawn = multiprocessing.get_context('spawn')
    with contextlib.ExitStack() as stack:
        results = map(_align_file, paths, targets)
        try:
            if workers > 1:  # processes, since the detector runs much Python code
                pool = concurrent.futures.ProcessPoolExecutor(workers, spawn, _prepare_worker)
                stack.callback(pool.shutdown, cancel_futures=True)
                results = pool.map(_align_file, paths, targets, chunksize=8)
            results = Progress(results, 'Aligning', len(paths), unit=' faces')
            yield from zip(paths, results, strict=True)
        except concurrent.futures.BrokenExecutor as error:
            raise InputError(
                'The system ended a process that finds faces, likely for lack of memory: close '
                'other programs and start again; finished crops are kept.'
            ) from error


def _prepare_worker():
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it at once, without a traceback
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def _align_file(path, target):
    """Write a crop of the largest face in a picture; return '', or a sentence why there is none."""
    try:
        pixels = pictures.read_photo(path)
    except InputError as error:
        return str(error)
    faces = detector.find_faces(pixels)
    if not len(faces):
        return NO_FACE.format(path)
    suffix = os.path.splitext(target)[1].lower()
    crop = Image.fromarray(detector.cut_out(pixels, faces[0]))
    with files.replacing(target) as path:
        crop.save(path, Image.registered_extensions()[suffix], quality=CROP_QUALITY)
    return ''


def nothing_found(source: str, failures: dict[str, str]) -> str:
    """Return the message for a source in which no picture has a face; see `warn_of_failures`."""
    first, *more = failures.values()
    return NO_FACE.format(f'{source} ({len(failures)} pictures)') if more else first


def warn_of_failures(failures: dict[str, str]) -> None:
    """Warn of pictures without a face: a dict from their paths to sentences, such as NO_FACE's."""
    for failure in [*failures.values()][:NAMED]:
        warnings.warn(failure, stacklevel=2)
    if (more := len(failures) - NAMED) > 0:
        warnings.warn(f'{more:,} more pictures have no face, or cannot be read.', stacklevel=2)


@console.one_sentence('Stopped. Started again, it does what is missing.')
def main(argv=None):
    parser = flag_types.Parser('python -m data.align', __doc__)
    parser.add_argument('source', type=flag_types.path, help='folder of the pictures')
    parser.add_argument('dest', type=flag_types.path, help='folder of the crops, made if need be')
    args = parser.parse_args(argv)
    count = align_folder(args.source, args.dest)
    print(f'{args.dest} has {count:,} faces, {CROP_SIZE} x {CROP_SIZE} pixels each.')


if __name__ == '__main__':
    main()
