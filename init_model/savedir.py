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
import portalocker
import tensorflow as tf
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event

from data import limits
from data.console import SIGNALS, InputError, first_line, say
from data.files import replacing, require_space
from init_model import checkpoints
from init_model.run import KEEP_CHECKPOINTS, Run

LOCK, LOG, HISTORY, SUMMARY = 'lock', 'train.log', 'history.csv', 'summary'
CHECKPOINT = 'checkpoint'  # folder of the checkpoints
RECORD_OVERHEAD = 16  # bytes in an event file: a record's length and two checksums
STOPPING = b'\n\tStopping after this step and a checkpoint; once more stops at once.\n'
_locked = set()  # real paths of the folders that this process has locked
_log = logging.getLogger('caae.train')
_log.setLevel(logging.INFO)
_log.propagate = False


def say_and_log(text: str) -> None:
    """Print a text, and write it to the log, if one is open."""
    say(text)
    log(text)


def log(text: str) -> None:
    """Write a text to the log, if one is open."""
    _log.info(' '.join(text.split()))


@contextlib.contextmanager
def running(folder: str, is_chief: bool = True):
    """Lock the folder of a training, made if need be, and log the run; calls may be nested.

    A process that is not the chief writes nothing, and locks nothing. An InputError says that
    another one has locked it, an OSError that it cannot be written to.
    """
    path = os.path.realpath(folder)
    if path in _locked or not is_chief:
        yield
        return
    with _lock(folder) as killed, _log_file(folder):
        if killed:
            say_and_log(
                f'\tThe training before, process {killed}, was killed, perhaps for lack of memory: '
                'if that happens again, pass --cache disk, or a smaller --batch_size.'
            )
        _locked.add(path)
        try:
            yield
        finally:
            _locked.remove(path)


@contextlib.contextmanager
def _lock(folder):
    """Lock a folder; yield the number of the process that had locked it and was killed, or ''."""
    # The system unlocks it when the process ends, even if it is killed: a lock is never stale.
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, LOCK), 'a+', encoding='utf-8') as file:  # content stays
        file.seek(0)
        number = file.read()
        try:
            portalocker.lock(file, portalocker.LOCK_EX | portalocker.LOCK_NB)
        except portalocker.AlreadyLocked as error:
            by = f', process {number}' if number else ''
            raise InputError(
                f'{folder} is in use by another training{by}: wait for its end or stop it, or save '
                'to another folder.'
            ) from error
        except portalocker.LockException as error:
            reason = getattr(error.__cause__, 'strerror', error)
            warnings.warn(
                f'{folder} cannot be locked ({reason}): let no other training save there.',
                stacklevel=2,
            )
            yield ''
            return
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield number
        finally:
            file.truncate(0)


@contextlib.contextmanager
def _log_file(folder):
    """Log a run: the versions used, and how it ended."""
    path, handler = os.path.join(folder, LOG), logging.NullHandler()
    with side_file(path):
        handler = logging.FileHandler(path, encoding='utf-8', errors='backslashreplace')
    handler.handleError = lambda _: None  # a full disk is reported by the next checkpoint
    handler.setFormatter(logging.Formatter('%(asctime)s %(message)s', '%Y-%m-%d %H:%M:%S'))
    _log.addHandler(handler)
    log(
        f'Process {os.getpid()}: Python {platform.python_version()}, TensorFlow {tf.__version__}, '
        f'Keras {keras.__version__}, {platform.platform()}, '
        f'{limits.cpu_count()} processors'
    )
    try:
        yield
        log('Ended as it should.')
    except BaseException as error:
        log(f'Ended by {type(error).__name__}: {error}')
        raise
    finally:
        _log.removeHandler(handler)
        with contextlib.suppress(OSError):  # a full disk, see above
            handler.close()


@contextlib.contextmanager
def side_file(path: str):
    """Within the block, only warn of a file that cannot be written: the training goes on."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, 'strerror', None) or first_line(error)
        warnings.warn(
            f'{path} cannot be written ({reason}): the training goes on without it.', stacklevel=3
        )


@contextlib.contextmanager
def signals():
    """Add the first of SIGNALS to the list that is yielded; the second one ends as usual.

    SIGHUP stays ignored under `nohup`.
    """
    received = []
    with contextlib.ExitStack() as usual:

        def record(number, _):
            received.append(number)
            usual.close()
            with contextlib.suppress(OSError):  # Ctrl-C also ends the reader of the output
                os.write(2, STOPPING)  # print() may be what was interrupted

        if threading.current_thread() is threading.main_thread():  # no other may set handlers
            for number in SIGNALS:
                if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
                    usual.callback(signal.signal, number, signal.signal(number, record))
        yield received


def make_ready(folder: str, run: Run, size: int) -> None:
    """Drop what was logged after a run's step, which will be done again; set aside earlier runs.

    An InputError says that the disk has no room for the run's checkpoints, of so many bytes.
    """
    saved, summary, history = (os.path.join(folder, n) for n in (CHECKPOINT, SUMMARY, HISTORY))
    more = max(KEEP_CHECKPOINTS + 1 - len(run.kept), 1)  # one while it is written
    require_space(saved, more * size)
    if run.saved is None and checkpoints.names_in(saved):
        _set_aside(saved)  # else a kill before the first checkpoint would revive them
        run.kept = []
    if not run.epoch:
        for name in ('samples', 'test'):  # the latter may hold results on photos alone
            if glob.glob(os.path.join(glob.escape(folder), name, '[0-9][0-9]*.png')):
                _set_aside(os.path.join(folder, name))
    if not run.step:
        _set_aside(summary)
        _set_aside(history)
    for path in glob.glob(os.path.join(glob.escape(summary), '*tfevents*')):
        with side_file(path):
            _rewind_events(path, run.step)
    if os.path.exists(history):
        with side_file(history):
            _rewind_history(history, run.step)


def _set_aside(path):
    """Rename a file or folder, if it exists, to path.1, or to the first number that is free."""
    if os.path.exists(path):
        names = (f'{path}.{number}' for number in itertools.count(1))
        os.rename(path, next(name for name in names if not os.path.exists(name)))


def _rewind_events(path, step):
    """Cut an event file before its first event after a step, or before its torn end."""
    kept = 0  # bytes
    for record in RawEventFileLoader(path).Load():  # ends before a damaged record
        if Event.FromString(record).step > step:
            break
        kept += len(record) + RECORD_OVERHEAD
    if kept:  # else it is no event file, but one of the user's
        os.truncate(path, kept)  # not by writing it again, so that no kill leaves it twice


def _rewind_history(path, step):
    """Drop the rows of a history after a step; set it aside if it was edited beyond repair."""
    try:
        with open(path, encoding='utf-8', newline='') as file:
            header, *rows = csv.reader(file)
        whole = [row for row in rows if len(row) == len(header)]  # a kill may have cut the last
        column = header.index('step')
        kept = [row for row in whole if int(row[column]) <= step]
    except ValueError:
        warnings.warn(f'{path} is damaged: it is set aside, a new one begun.', stacklevel=2)
        _set_aside(path)
        return
    with replacing(path) as aside, open(aside, 'w', encoding='utf-8', newline='') as file:
        csv.writer(file, lineterminator='\n').writerows([header, *kept])


def add_to_history(folder: str, row: dict) -> None:
    """Add a row to the history of a folder, of which the first one names the columns."""
    path = os.path.join(folder, HISTORY)
    with side_file(path), open(path, 'a', encoding='utf-8', newline='') as file:
        writer = csv.DictWriter(file, row, lineterminator='\n')
        if not file.tell():
            writer.writeheader()
        writer.writerow(row)
