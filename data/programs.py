"""How the programs beside main.py end where they cannot do what they were asked for."""

import contextlib
import signal
import sys

import ops


@contextlib.contextmanager
def one_sentence(stopped='Stopped.'):
    """Answer in one sentence, not by a traceback; show warnings plainly. Decorates a `main`.

    Where what the user gave cannot be used the status is 1, after Ctrl-C 130.

    Args:
        stopped: what is said after Ctrl-C.
    """
    ops.plain_warnings()
    try:
        yield
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # Ctrl-C may have ended what reads it
            print(f'\n\t{stopped}', file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except ops.InputError as error:
        sys.exit(f'\n\t{error}')
    except OSError as error:
        sys.exit(f'\n\t{cannot_be_used(error)}')


def cannot_be_used(error):
    """Return a sentence on an OSError."""
    name, reason = error.filename or 'A file', error.strerror or error
    return f'{name} cannot be used ({reason}): mend that, or name another path.'
