"""The folder of a training: locks it, logs the run, and drops events after the restored step."""

import contextlib
import csv
import glob
import itertools
import logging
import os
import platform
import signal
import threading
import warnings

import keras
import numpy as np
import portalocker
import tensorflow as tf
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event

from data import limits
from data.console import InputError, Stopped, say
from data.files import replacing, require_space
from init_model import checkpoints
from init_model.run import KEEP_CHECKPOINTS

# Signals after which a training ends by a checkpoint; Windows has no SIGHUP.
SIGNALS = [getattr(signal, n) for n in ('SIGINT', 'SIGTERM', 'SIGHUP') if hasattr(signal, n)]
LOCK, LOG, HISTORY, SUMMARY = 'lock', 'train.log', 'history.csv', 'summary'
CHECKPOINT = 'checkpoint'  # folder of the checkpoints
RECORD_OVERHEAD = 16  # bytes in an event file: a record's length and two checksums
STOPPING = b'\n\tStopping after this step and a checkpoint; once more stops at once.\n'
_locked = set()  # real paths of the folders that this process has locked
_log = logging.getLogger('caae.train')
_log.setLevel(logging.INFO)
_log.propagate = False


def say_and_log(text):
    """Print a text, and write it to the log, if one is open."""
    say(text)
    log(text)


def log(text):
    """Write a text to the log, if one is open."""
    _log.info(' '.join(text.split()))


# ------------------------------------------------------------------------- lock and log


@contextlib.contextmanager
def running(folder, is_chief=True):
    """Lock the folder of a training and log the run in it; calls may be nested.

    Args:
        folder: made if it does not exist.
        is_chief: whether this process writes there; if not, nothing is done.

    Raises:
        InputError: another process has locked it.
        OSError: it cannot be written to.
    """
    path = os.path.realpath(folder)
    if path in _locked or not is_chief:
        yield
        return
    with locked(folder) as killed, logged(folder):
        if killed:
            say_and_log(
                f'\tThe training before, process {killed}, was killed, perhaps for lack of memory: '
                'if that happens again, pass --cache disk or none, or a smaller --batch_size.'
            )
        _locked.add(path)
        try:
            yield
        finally:
            _locked.remove(path)


@contextlib.contextmanager
def locked(folder):
    """Lock a folder, made if it does not exist, for this process alone.

    The system unlocks it when the process ends, even if it is killed: a lock is never stale.

    Yields:
        the number of the process that locked it last if that was killed, else ''.

    Raises:
        InputError: another process has locked it.
        OSError: it cannot be written to.
    """
    path = os.path.join(folder, LOCK)
    os.makedirs(folder, exist_ok=True)
    with open(path, 'a', encoding='utf-8'):
        pass  # creates the file, and keeps its content if it exists
    with open(path, 'r+', encoding='utf-8') as file:
        try:
            portalocker.lock(file, portalocker.LOCK_EX | portalocker.LOCK_NB)
        except portalocker.LockException as error:
            raise InputError(
                f'{folder} is in use by another training, process {file.read().strip()}: wait for '
                'its end or stop it, or save to another folder.'
            ) from error
        killed = file.read().strip()
        _overwrite(file, os.getpid())
        try:
            yield killed
        finally:
            _overwrite(file, '')


def _overwrite(file, text):
    """Replace the content of an open file by a text."""
    file.seek(0)
    file.truncate()
    file.write(str(text))
    file.flush()


@contextlib.contextmanager
def logged(folder):
    """Open the log of a folder; write to it the versions used, all warnings, and how the run ended.

    Not by `logging.captureWarnings`, which would no longer show the warnings to the user.
    """
    path, handler = os.path.join(folder, LOG), logging.NullHandler()
    with side_file(path):
        handler = logging.FileHandler(path, encoding='utf-8', errors='backslashreplace')
    handler.handleError = lambda _: None  # a full disk is reported by the next checkpoint
    handler.setFormatter(logging.Formatter('%(asctime)s %(message)s', '%Y-%m-%d %H:%M:%S'))
    show = warnings.showwarning

    def show_and_log(message, *args, **settings):
        log(f'Warning: {message}')
        show(message, *args, **settings)

    _log.addHandler(handler)
    warnings.showwarning = show_and_log
    log(
        f'Process {os.getpid()}: Python {platform.python_version()}, TensorFlow {tf.__version__}, '
        f'Keras {keras.__version__}, NumPy {np.__version__}, {platform.platform()}, '
        f'{limits.cpu_count()} processors'
    )
    try:
        yield
    except BaseException as error:
        _log.info('Ended by %s: %s', type(error).__name__, error)
        raise
    else:
        _log.info('Ended as it should.')
    finally:
        warnings.showwarning = show
        _log.removeHandler(handler)
        with contextlib.suppress(OSError):  # a full disk, see above
            handler.close()


@contextlib.contextmanager
def side_file(path):
    """Within the block, only warn of a file that cannot be written: the training goes on.

    Once per path, as Python does with the same warning.
    """
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, 'strerror', None) or str(error).splitlines()[0]
        warnings.warn(
            f'{path} cannot be written ({reason}): the training goes on without it.', stacklevel=3
        )


# ------------------------------------------------------------------------------ stopping


@contextlib.contextmanager
def signals():
    """Record the first of SIGNALS instead of ending; the second one ends as usual.

    SIGHUP stays ignored under `nohup`.

    Yields:
        list to which the signal's number is added.
    """
    received = []

    def record(number, _):
        received.append(number)
        restore()
        with contextlib.suppress(OSError):  # Ctrl-C also ends the reader of the output
            os.write(2, STOPPING)  # print() may be what was interrupted

    def restore():
        for number, handler in usual.items():
            signal.signal(number, handler)

    usual = {}
    if threading.current_thread() is threading.main_thread():  # no other thread may set handlers
        for number in SIGNALS:
            if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
                usual[number] = signal.signal(number, record)
    try:
        yield received
    finally:
        restore()


def stop(received, folder, step):
    """Raise Stopped.

    Args:
        received: list of the signals received here; if it is empty, another worker received one.
        folder, step: of the run, which is saved.
    """
    number = signal.Signals(received[0] if received else signal.SIGTERM)
    raise Stopped(
        number,
        f'Stopped by {number.name} after step {step}, which is saved: '
        f'{folder}/{CHECKPOINT}/model-{step}.',
    )


# ------------------------------------------------------------------- summary and history


@contextlib.contextmanager
def open_summary(folder, run, size, is_chief=True):
    """Open TensorBoard's writer for a run, as the default one.

    Before it, the folder is made ready: what was logged after the run's step is dropped, and an
    earlier run's checkpoints, summary, history and pictures are set aside.

    Args:
        folder: of the training.
        run: a `Run`.
        size: bytes of a checkpoint.
        is_chief: whether this process writes there; if not, the writer writes nothing.

    Raises:
        InputError: the disk has no room for the checkpoints.
    """
    writer = tf.summary.create_noop_writer()
    if is_chief:
        path = os.path.join(folder, CHECKPOINT)
        more = max(KEEP_CHECKPOINTS + 1 - len(run.kept), 1)  # one while it is written
        require_space(path, more * size)
        if not run.is_continued and checkpoints.names_in(path):
            set_aside(path)  # else a kill before the first checkpoint would revive them
            run.kept = []
        if not run.epoch:
            set_aside_pictures(folder)
        rewind(folder, run.step)
        path = os.path.join(folder, SUMMARY)
        with side_file(path):
            writer = tf.summary.create_file_writer(path)
    with contextlib.closing(writer), writer.as_default():
        yield


def rewind(folder, step):
    """Drop the part of a summary and a history after a step, since it will be done again.

    At step 0 an earlier run's are set aside.
    """
    history = os.path.join(folder, HISTORY)
    if not step:
        set_aside(os.path.join(folder, SUMMARY))
        set_aside(history)
        return
    for path in glob.glob(os.path.join(glob.escape(folder), SUMMARY, '*tfevents*')):
        with side_file(path):
            _rewind_events(path, step)
    if os.path.exists(history):
        with side_file(history):
            _rewind_history(history, step)


def set_aside_pictures(folder):
    """Set aside the folders with pictures that an earlier run has written after its epochs."""
    for name in ('samples', 'test'):
        path = os.path.join(folder, name)
        if glob.glob(os.path.join(glob.escape(path), '[0-9][0-9]*.png')):
            set_aside(path)


def set_aside(path):
    """Rename a file or folder, if it exists, to path.1, or to the first number that is free."""
    if os.path.exists(path):
        names = (f'{path}.{number}' for number in itertools.count(1))
        os.rename(path, next(name for name in names if not os.path.exists(name)))


def _rewind_history(path, step):
    """Drop the rows of a history after a step; set it aside if it was edited beyond repair."""
    with open(path, encoding='utf-8', errors='replace', newline='') as file:
        header, *rows = [row for row in csv.reader(file) if row] or [[]]
    if rows and len(rows[-1]) < len(header):
        rows.pop()  # written by a process that was killed
    try:
        column = header.index('step')
        kept = [row for row in rows if int(row[column]) <= step]
    except (LookupError, ValueError):
        warnings.warn(f'{path} is damaged: it is set aside, a new one begun.', stacklevel=2)
        set_aside(path)
        return
    with replacing(path) as aside, open(aside, 'w', encoding='utf-8', newline='') as file:
        csv.writer(file, lineterminator='\n').writerows([header, *kept])


def _rewind_events(path, step):
    """Cut an event file before its first event after a step, or before its torn end."""
    kept = 0  # bytes
    for record in RawEventFileLoader(path).Load():  # ends before a damaged record
        if Event.FromString(record).step > step:
            break
        kept += len(record) + RECORD_OVERHEAD
    if kept:  # else it is no event file, but one of the user's
        os.truncate(path, kept)  # not by writing it again, so that no kill leaves it twice


def add_to_history(folder, row):
    """Add a row, a dict, to the history of a folder; of an older history the columns stay."""
    path = os.path.join(folder, HISTORY)
    with side_file(path), open(path, 'a+', encoding='utf-8', newline='') as file:
        file.seek(0)
        columns = next(csv.reader(file), None)
        writer = csv.DictWriter(
            file, columns or list(row), extrasaction='ignore', lineterminator='\n'
        )
        if columns is None:
            writer.writeheader()
        writer.writerow(row)
