"""What all programs share: errors, output, ends, TensorFlow's start; it does not import that."""

import atexit
import contextlib
import errno
import faulthandler
import gc
import io
import os
import signal
import sys
import warnings

from tqdm import tqdm

from data import limits

SECONDS_PER_LINE = 30  # between two lines of progress, where the output is no terminal
LINE = '{desc}: {percentage:.0f}%, {n_fmt}/{total_fmt}, {elapsed} gone, {remaining} left{postfix}'
LOG_LEVEL = 'TF_CPP_MIN_LOG_LEVEL'  # the variable from which TensorFlow reads its log level
QUIET = '3'  # hides all but crashes; at '2' TensorFlow reports a missing GPU as an error
# By which a program is stopped: a training then ends by a checkpoint. Windows has no SIGHUP.
SIGNALS = [getattr(signal, n) for n in ('SIGINT', 'SIGTERM', 'SIGHUP') if hasattr(signal, n)]
ROOT = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), '')


class InputError(ValueError):
    """The user's input cannot be used; the message is one sentence that says what to do.

    It names no flags: `cure`, a dict from names of settings to values that would help, is added by
    `one_sentence` in a program that has these flags.
    """

    def __init__(self, message: str, **cure):
        super().__init__(message)
        self.cure = cure


class Stopped(KeyboardInterrupt):
    """A signal, of this number, ended a program; if after a checkpoint, the message says so."""

    def __init__(self, number: int, message: str = 'Stopped.'):
        super().__init__(message)
        self.signal = number


@contextlib.contextmanager
def naming(path: str, aside: str | None = None):
    """Let an OSError in the block that names `aside`, or no file, as of a full disk, name path."""
    try:
        yield
    except OSError as error:
        if error.filename in (None, aside):
            error.filename = path
        raise


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an exception of Python, NumPy or TensorFlow says that memory ran out."""
    name, text = type(error).__name__, str(error)  # the name, since TensorFlow is not imported here
    return (
        isinstance(error, MemoryError)
        or (name == 'ResourceExhaustedError' and os.strerror(errno.ENOSPC) not in text)
        or (name == 'AbortedError' and 'Operation received an exception' in text)  # of oneDNN
        or text == "can't start new thread"
    )


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's text, or its name if it has none."""
    return (str(error) or type(error).__name__).splitlines()[0]


def say(text, file: io.TextIOBase | None = None) -> None:
    """Print a line, on standard output by default; do nothing once nobody can read it.

    So a training still saves when Ctrl-C also ends a `tee` behind it, or its terminal is closed.
    """
    file = file or sys.stdout
    try:
        print(text, file=file, flush=True)
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise
        _discard(file)


def _discard(file):
    """Discard what is still written to a pipe that is no longer read, or to a closed terminal."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())


class Progress(tqdm):
    """tqdm's bar on standard error; where that is no terminal, a plain line now and then."""

    shown = None

    def __init__(self, *args, **settings):
        self.is_plain = not sys.stderr.isatty()
        if self.is_plain:
            settings = {'mininterval': SECONDS_PER_LINE, 'bar_format': LINE, **settings}
        super().__init__(*args, dynamic_ncols=True, **settings)

    def display(self, msg=None, pos=None):
        if not self.is_plain:
            return super().display(msg, pos)
        if msg is None and self.n != self.shown:
            say(self, sys.stderr)
            self.shown = self.n
        return False  # a plain line is never cleared

    def close(self):
        if self.is_plain and not self.disable:
            self.refresh()
            self.leave = False  # no empty line after it
        super().close()


def end_by_signals() -> None:
    """Let SIGTERM and SIGHUP end the program by `Stopped`; under nohup the latter is ignored."""

    def stop(number, _):
        raise Stopped(number)

    for number in SIGNALS[1:]:  # Ctrl-C raises without this
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)


@contextlib.contextmanager
def one_sentence(stopped: str = 'Stopped.', flags=()):
    """End a program by one sentence, without a traceback; a decorator of its `main`.

    The exit status is 1 after an InputError, an OSError or a lack of memory, 130 after Ctrl-C, with
    the sentence `stopped`. If the reader of standard output has ended, as `head` does, so does the
    program, without a word. Of the program's `flags` it names those that would help.
    """
    warnings.formatwarning = lambda message, *_, **__: f'\tWarning: {message}\n'
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not in a notebook
            stream.reconfigure(errors='backslashreplace')  # it may lack letters of a file's name
    try:
        yield
        sys.stdout.flush()
    except KeyboardInterrupt as error:
        with contextlib.suppress(OSError):  # Ctrl-C may also have ended the reader of the pipe
            print(f'\n\t{stopped}', file=sys.stderr)
        sys.exit(128 + getattr(error, 'signal', signal.SIGINT))
    except InputError as error:
        words = [f'--{name} {value}' for name, value in error.cure.items() if name in flags]
        sys.exit(f'\n\t{error}' + (f' Try {" ".join(words)}.' if words else ''))
    except BrokenPipeError:
        _discard(sys.stdout)
        sys.exit(1)
    except OSError as error:
        name, reason = error.filename or 'A file', error.strerror or error
        sys.exit(f'\n\t{name} cannot be used ({reason}): mend that, or name another path.')
    except Exception as error:
        if not is_lack_of_memory(error):
            raise
        sys.exit(f'\n\tMemory ran out ({first_line(error)}): close other programs.')


def prepare() -> None:
    """Prepare this process, before anything imports TensorFlow or Keras.

    In the programs of this project Ctrl-C also ends the imports by one word, and of C++ code only a
    crash is reported: TensorFlow writes up to eight lines on oneDNN, CUDA and the processor,
    whatever the log level. If the user has set another level than QUIET, nothing is hidden.
    """
    os.environ['KERAS_BACKEND'] = 'tensorflow'
    os.environ['KERAS_HOME'] = os.devnull  # no folder: keras.json is neither read nor written
    os.environ.pop('TF_USE_LEGACY_KERAS', None)  # mtcnn uses tf.keras, which is then Keras 2
    limits.limit_tensorflow()
    # TensorFlow's 340,000 objects stay: to search them for garbage takes more than a second of each
    # program, while they are made and at its end.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    level = os.environ.setdefault(LOG_LEVEL, QUIET)
    if not _is_program():
        return
    for name, mode in (('stdin', 'r'), ('stdout', 'w'), ('stderr', 'w')):
        if getattr(sys, name) is None:  # closed; the next file would get its place
            stream = os.fdopen(os.open(os.devnull, os.O_RDWR), mode)
            setattr(sys, name, stream)
            setattr(sys, f'__{name}__', stream)
    show = sys.excepthook
    sys.excepthook = lambda kind, *rest: (
        say('\n\tStopped.', sys.stderr)
        if issubclass(kind, KeyboardInterrupt)
        else show(kind, *rest)
    )
    if level == QUIET:
        # Python's errors are still shown; file descriptor 2, where C++ code writes, leads nowhere.
        sys.stderr = os.fdopen(os.dup(2), 'w', buffering=1, errors='backslashreplace')
        faulthandler.enable(sys.stderr)
        _discard(sys.__stderr__)


def _is_program():
    """Whether this process is a program of this project, or its worker; not what imports it."""
    started = sys.argv[0] if sys.argv else ''
    if started == '-m':  # Python is looking for the module, such as data.check
        return True
    path, environment = os.path.realpath(started), os.path.realpath(sys.prefix)
    return path.startswith(ROOT) and path.endswith('.py') and not path.startswith(environment)
