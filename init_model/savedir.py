"""The folder of a training run: for one process at a time, with a log and without a step twice."""

import contextlib
import csv
import glob
import itertools
import logging
import os
import platform
import signal
import struct
import threading
import warnings

import keras
import numpy as np
import portalocker
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event

from data.console import InputError, Stopped, say
from data.files import replacing

LOCK, LOG, HISTORY, SUMMARY = 'lock', 'train.log', 'history.csv', 'summary'
STOPPING = b'\n\tStopping after this step and a checkpoint; once more stops at once.\n'
_log = logging.getLogger('caae.train')
_log.setLevel(logging.INFO)
_log.propagate = False


def tell(text):
    """Print a text, and keep it in the log, if there is one."""
    say(text)
    keep(text)


def keep(text):
    """Keep a text in the log, if there is one."""
    _log.info(' '.join(text.split()))


@contextlib.contextmanager
def held(folder):
    """Hold a folder, made if need be, for this process alone.

    The system lets go of it when the process ends, however it does: a lock is never stale.

    Yields:
        the number of the process that held it last, '' unless that was killed.

    Raises:
        InputError: another process holds it.
        OSError: it cannot be written to.
    """
    path = os.path.join(folder, LOCK)
    os.makedirs(folder, exist_ok=True)
    with open(path, 'a', encoding='utf-8'):
        pass  # now it is there, and nothing of it lost
    with open(path, 'r+', encoding='utf-8') as file:
        try:
            portalocker.lock(file, portalocker.LOCK_EX | portalocker.LOCK_NB)
        except portalocker.LockException as error:
            raise InputError(
                f'{folder} is in use by another training, process {file.read().strip()}: wait for '
                'its end or stop it, or pass another --savedir.'
            ) from error
        killed = file.read().strip()
        _write(file, os.getpid())
        try:
            yield killed
        finally:
            _write(file, '')


def _write(file, text):
    """Put a text in the place of what a file holds."""
    file.seek(0)
    file.truncate()
    file.write(str(text))
    file.flush()


@contextlib.contextmanager
def logged(folder):
    """Keep what is told and warned of in the log of a folder: with what it ran, how it ended."""
    path = os.path.join(folder, LOG)
    handler = logging.FileHandler(path, encoding='utf-8', errors='backslashreplace')
    handler.handleError = lambda _: None  # a full disk: the next checkpoint tells of it
    handler.setFormatter(logging.Formatter('%(asctime)s %(message)s', '%Y-%m-%d %H:%M:%S'))
    show = warnings.showwarning

    def show_and_keep(message, *args, **settings):
        keep(f'Warning: {message}')
        show(message, *args, **settings)

    _log.addHandler(handler)
    warnings.showwarning = show_and_keep
    keep(
        f'Process {os.getpid()}: Python {platform.python_version()}, TensorFlow {tf.__version__}, '
        f'Keras {keras.__version__}, NumPy {np.__version__}, {platform.platform()}, '
        f'{os.cpu_count()} processors'
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
        with contextlib.suppress(OSError):  # once more, of a full disk
            handler.close()


@contextlib.contextmanager
def signals():
    """Note the first SIGINT or SIGTERM in place of ending; the next one acts as usual.

    Yields:
        a list that it is added to.
    """
    received = []

    def note(number, _):
        received.append(number)
        restore()
        with contextlib.suppress(OSError):  # Ctrl-C ends what reads the output, too
            os.write(2, STOPPING)  # print() may be what was interrupted

    def restore():
        for number, handler in usual.items():
            signal.signal(number, handler)

    usual = {}
    if threading.current_thread() is threading.main_thread():  # no other one may
        usual = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        restore()


def stop(received, folder, step):
    """Raise Stopped for signals that were received, by another worker if by none here.

    Args:
        received: list of their numbers.
        folder, step: of the run, which is saved.
    """
    number = signal.Signals(received[0] if received else signal.SIGTERM)
    raise Stopped(
        number,
        f'Stopped by {number.name} after step {step}, which is saved: '
        f'{folder}/checkpoint/model-{step}.',
    )


def rewind(folder, step):
    """Take out of a summary and a history what came after a step, which is done again.

    At the first step of a run, those of an earlier run are set aside.
    """
    history = os.path.join(folder, HISTORY)
    if not step:
        set_aside(os.path.join(folder, SUMMARY))
        set_aside(history)
        return
    for path in glob.glob(os.path.join(glob.escape(folder), SUMMARY, '*tfevents*')):
        _rewind_events(path, step)
    if os.path.exists(history):
        _rewind_history(history, step)


def set_aside(path):
    """Rename a file or folder, if it is there, to path.1, or to the first number that is free."""
    if os.path.exists(path):
        names = (f'{path}.{number}' for number in itertools.count(1))
        os.rename(path, next(name for name in names if not os.path.exists(name)))


def _rewind_history(path, step):
    """Take out of a history what came after a step; set it aside if it is not as it was written."""
    with open(path, encoding='utf-8', errors='replace', newline='') as file:
        header, *rows = [row for row in csv.reader(file) if row] or [[]]
    if rows and len(rows[-1]) < len(header):
        rows.pop()  # by a process that was killed
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
    """Cut an event file before its first point after a step, or before what is not whole."""
    kept = 0  # bytes
    size = os.path.getsize(path)
    with open(path, 'rb') as file:
        while True:
            # A record is its length, the length's checksum, as many bytes, their checksum.
            head = file.read(12)
            length = struct.unpack('<Q', head[:8])[0] if len(head) == 12 else size
            if kept + 12 + length + 4 > size:
                break
            try:
                event = Event.FromString(file.read(length))
            except DecodeError:
                break
            if event.step > step:
                break
            file.seek(4, os.SEEK_CUR)
            kept = file.tell()
    if 0 < kept < size:  # else it is no event file, but somebody's
        os.truncate(path, kept)


def add_to_history(folder, row):
    """Add a row, a dict, to the history of a folder."""
    path = os.path.join(folder, HISTORY)
    with open(path, 'a', encoding='utf-8', newline='') as file:
        writer = csv.DictWriter(file, list(row), lineterminator='\n')
        if not file.tell():
            writer.writeheader()
        writer.writerow(row)
