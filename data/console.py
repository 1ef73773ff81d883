"""What all programs share: errors, output, how a program ends, and TensorFlow's start.

This module does not import TensorFlow, so that --help and mistaken flags are answered at once.
"""

import contextlib
import faulthandler
import importlib.abc
import importlib.machinery
import os
import shutil
import signal
import sys
import tempfile
import warnings

from tqdm import tqdm

SECONDS_PER_LINE = 30  # between two lines of progress, where the output is no terminal
LOG_LEVEL = 'TF_CPP_MIN_LOG_LEVEL'  # the variable from which TensorFlow reads its log level
QUIET = '3'  # hides all but crashes; at '2' TensorFlow reports a missing GPU as an error
BOOLEANS = dict.fromkeys(('true', 't', 'yes', 'y', '1'), True)
BOOLEANS |= dict.fromkeys(('false', 'f', 'no', 'n', '0'), False)


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


# -------------------------------------------------------------------------------- output


def say(text, file=None):
    """Print a line, on standard output by default; do nothing once the pipe's reader is gone.

    So a training still saves its step when Ctrl-C also ends a `tee` behind it.
    """
    file = file or sys.stdout
    try:
        print(text, file=file, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())


def plain_warnings():
    """Show the text of warnings only, not the place in the code that they come from."""
    warnings.formatwarning = lambda message, *_, **__: f'\tWarning: {message}\n'


class Progress(tqdm):
    """tqdm's bar on standard error; where that is no terminal, a plain line now and then."""

    line = (
        '{desc}: {percentage:.0f}%, {n_fmt}/{total_fmt}, {elapsed} gone, {remaining} left{postfix}'
    )
    shown = None

    def __init__(self, *args, **settings):
        self.is_plain = not sys.stderr.isatty()
        if self.is_plain:
            settings = {'mininterval': SECONDS_PER_LINE, 'bar_format': self.line, **settings}
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


# ------------------------------------------------------------------------------ programs


def boolean(word):
    """Return the value of a flag's word: True, yes, 1 and so on.

    Raises:
        ValueError: it is neither True nor False.
    """
    if str(word).lower() not in BOOLEANS:
        raise ValueError('neither True nor False')
    return BOOLEANS[str(word).lower()]


@contextlib.contextmanager
def one_sentence(stopped='Stopped.', flags=()):
    """End a program by one sentence, without a traceback; a decorator of its `main`.

    The exit status is 1 after an InputError or an OSError, and 130 after Ctrl-C.

    Args:
        stopped: the sentence after Ctrl-C.
        flags: names of the program's flags, for `with_flags`.
    """
    plain_warnings()
    try:
        yield
    except KeyboardInterrupt as error:
        with contextlib.suppress(OSError):  # Ctrl-C may also have ended the reader of the pipe
            print(f'\n\t{stopped}', file=sys.stderr)
        sys.exit(128 + getattr(error, 'signal', signal.SIGINT))
    except InputError as error:
        sys.exit(f'\n\t{with_flags(error, flags)}')
    except OSError as error:
        sys.exit(f'\n\t{cannot_be_used(error)}')


# --------------------------------------------------------------------- TensorFlow's start


def quiet_tensorflow():
    """Set TensorFlow's log level, and hide what its C++ code writes while it is imported.

    Up to eight lines on oneDNN, CUDA and the processor, which the log level alone does not hide.
    If the user has set another log level than QUIET, nothing is hidden. To be called before
    anything imports TensorFlow or Keras.
    """
    if os.environ.setdefault(LOG_LEVEL, QUIET) == QUIET:
        sys.meta_path.insert(0, _QuietFinder())


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
