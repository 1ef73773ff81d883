"""What all programs share: errors, output, how a program ends, and TensorFlow's start.

This module does not import TensorFlow, so that --help and mistaken flags are answered at once.
"""

import contextlib
import errno
import faulthandler
import importlib.abc
import importlib.machinery
import io
import os
import shutil
import signal
import sys
import tempfile
import warnings

from tqdm import tqdm

from data import limits

SECONDS_PER_LINE = 30  # between two lines of progress, where the output is no terminal
LOG_LEVEL = 'TF_CPP_MIN_LOG_LEVEL'  # the variable from which TensorFlow reads its log level
QUIET = '3'  # hides all but crashes; at '2' TensorFlow reports a missing GPU as an error
ROOT = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), '')


# -------------------------------------------------------------------------------- errors


class InputError(ValueError):
    """The user's input cannot be used; the message is one sentence that says what to do.

    Attributes:
        cure: dict from names of settings to values that would help. The message names no flags;
            `with_flags` adds them in the program that has them.
    """

    def __init__(self, message, **cure):
        super().__init__(message)
        self.cure = cure


class Stopped(KeyboardInterrupt):
    """A signal ended a training, after a step and a checkpoint.

    Attributes:
        signal: its number.
    """

    def __init__(self, number, message):
        super().__init__(message)
        self.signal = number


def with_flags(error, flags):
    """Return the message of an InputError, followed by the flags that would help.

    Args:
        flags: names of the program's flags.
    """
    words = [f'--{name} {value}' for name, value in error.cure.items() if name in flags]
    return f'{error} Try {" ".join(words)}.' if words else str(error)


def cannot_be_used(error):
    """Return a sentence that says which file an OSError is about, and why it failed."""
    name, reason = error.filename or 'A file', error.strerror or error
    return f'{name} cannot be used ({reason}): mend that, or name another path.'


@contextlib.contextmanager
def naming(path, aside=None):
    """Within the block, let an OSError that names no file, or `aside`, name the file `path`.

    Of a full disk Python does not say which file was to be written.

    Yields:
        path.
    """
    try:
        yield path
    except OSError as error:
        if error.filename in (None, aside):
            error.filename = path
        raise


def is_lack_of_memory(error):
    """Whether an exception of Python, NumPy or TensorFlow says that memory ran out."""
    name, text = type(error).__name__, str(error)  # the name, since TensorFlow is not imported here
    return (
        isinstance(error, MemoryError)
        or (name == 'ResourceExhaustedError' and os.strerror(errno.ENOSPC) not in text)
        or (name == 'AbortedError' and 'Operation received an exception' in text)  # of oneDNN
        or text == "can't start new thread"
    )


def first_line(error):
    """Return the first line of an exception's text, or its name if it has none."""
    return (str(error) or type(error).__name__).splitlines()[0]


# -------------------------------------------------------------------------------- output


def say(text, file=None):
    """Print a line, on standard output by default; do nothing once nobody can read it.

    So a training still saves its step when Ctrl-C also ends a `tee` behind it, or when its
    terminal is closed.
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


def plain_warnings():
    """Show the text of warnings only, not the place in the code that they come from."""
    warnings.formatwarning = lambda message, *_, **__: f'\tWarning: {message}\n'


class Progress(tqdm):
    """tqdm's bar on standard error; where that is no terminal, a plain line now and then.

    Under TQDM_DISABLE it shows nothing; title, count and time are kept all the same.
    """

    line = (
        '{desc}: {percentage:.0f}%, {n_fmt}/{total_fmt}, {elapsed} gone, {remaining} left{postfix}'
    )
    shown, is_hidden = None, False

    def __init__(self, *args, **settings):
        self.is_plain = not sys.stderr.isatty()
        if self.is_plain:
            settings = {'mininterval': SECONDS_PER_LINE, 'bar_format': self.line, **settings}
        settings['dynamic_ncols'] = True
        super().__init__(*args, **settings)
        if self.disable:  # tqdm's own disabled bar has neither title nor count
            self.is_hidden = True
            super().__init__(*args, **{**settings, 'disable': False, 'file': io.StringIO()})

    def display(self, msg=None, pos=None):
        if self.is_hidden:
            return False
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


# ------------------------------------------------------------------------------ programs


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, which ends a program as Ctrl-C does.

    Attributes:
        signal: its number.
    """

    def __init__(self, number):
        super().__init__()
        self.signal = number


def end_by_signals():
    """Let SIGTERM and SIGHUP end the program by `Terminated`; under nohup the latter is ignored."""

    def terminate(number, _):
        raise Terminated(number)

    for name in ('SIGTERM', 'SIGHUP'):  # Windows has no SIGHUP
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, terminate)


@contextlib.contextmanager
def one_sentence(stopped='Stopped.', flags=()):
    """End a program by one sentence, without a traceback; a decorator of its `main`.

    The exit status is 1 after an InputError, an OSError or a lack of memory, 130 after Ctrl-C. If
    the reader of standard output has ended, as `head` does, so does the program, without a word.

    Args:
        stopped: the sentence after Ctrl-C.
        flags: names of the program's flags, for `with_flags`.
    """
    plain_warnings()
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
        sys.exit(f'\n\t{with_flags(error, flags)}')
    except BrokenPipeError:
        _discard(sys.stdout)
        sys.exit(1)
    except OSError as error:
        sys.exit(f'\n\t{cannot_be_used(error)}')
    except Exception as error:
        if not is_lack_of_memory(error):
            raise
        sys.exit(f'\n\tMemory ran out ({first_line(error)}): close other programs.')


# --------------------------------------------------------------------- TensorFlow's start


def prepare():
    """Prepare this process, before anything imports TensorFlow or Keras.

    Keras runs on TensorFlow with its default settings, whatever the user's other programs have set,
    and TensorFlow's log level is set. In the programs of this project Ctrl-C also ends the imports
    by one word, and what TensorFlow's C++ code writes meanwhile is hidden: up to eight lines on
    oneDNN, CUDA and the processor, which the log level alone does not hide. If the user has set
    another log level than QUIET, nothing is hidden.
    """
    os.environ['KERAS_BACKEND'] = 'tensorflow'
    os.environ['KERAS_HOME'] = os.devnull  # no folder: keras.json is neither read nor written
    os.environ.pop('TF_USE_LEGACY_KERAS', None)  # mtcnn uses tf.keras, which is then Keras 2
    limits.limit_tensorflow()
    level = os.environ.setdefault(LOG_LEVEL, QUIET)
    if not _is_program():
        return
    show = sys.excepthook
    sys.excepthook = lambda kind, *rest: (
        say('\n\tStopped.', sys.stderr)
        if issubclass(kind, KeyboardInterrupt)
        else show(kind, *rest)
    )
    if level == QUIET:
        sys.meta_path.insert(0, _QuietFinder())


def _is_program():
    """Whether this process is a program of this project, or a worker that one has started.

    Not one that imports its modules: that may show what it likes.
    """
    started = sys.argv[0] if sys.argv else ''
    if started == '-m':  # Python is looking for the module, such as data.check
        return True
    path, environment = os.path.realpath(started), os.path.realpath(sys.prefix)
    is_ours = path.startswith(ROOT) and not path.startswith(os.path.join(environment, ''))
    return is_ours and os.path.isfile(path)


class _QuietFinder(importlib.abc.MetaPathFinder):
    """Finds TensorFlow and Keras as usual, and imports them within `_held_back`.

    A hook, so that it serves every program, whichever of its modules imports TensorFlow first, and
    programs that end before they need TensorFlow do not import it.
    """

    def find_spec(self, name, path=None, target=None):
        if name not in ('tensorflow', 'keras'):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec and spec.loader:
            spec.loader.exec_module = _held_back()(spec.loader.exec_module)
        return spec


@contextlib.contextmanager
def _held_back():
    """Hold back what is written to file descriptor 2; show it only if an exception is raised.

    The descriptor and not sys.stderr, since C++ code writes to it. A crash of the process is still
    reported, by `faulthandler`.
    """
    with contextlib.ExitStack() as stack:
        try:
            terminal = os.dup(2)
            stack.callback(os.close, terminal)
            held = stack.enter_context(tempfile.TemporaryFile())
        except OSError:  # standard error is closed, or there is no room for a file: hide nothing
            yield
            return
        if not faulthandler.is_enabled():
            faulthandler.enable(terminal)
            stack.callback(faulthandler.disable)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            held.seek(0)
            with open(terminal, 'wb', closefd=False) as file:
                shutil.copyfileobj(held, file)
            raise
        finally:
            os.dup2(terminal, 2)
