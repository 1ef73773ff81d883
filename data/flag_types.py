"""What main.py's flags take: booleans, numbers within bounds, paths."""

import math

from absl import flags

from data import console


class BooleanParser(flags.ArgumentParser):
    """A flag with its own parser may be followed by its value; absl's booleans may not."""

    def parse(self, argument):
        return console.boolean(argument)


class _NumberParser:
    """Names in its errors what a flag takes; refuses nan, which absl finds within all bounds."""

    def convert(self, argument):
        try:
            return super().convert(argument)
        except (ValueError, TypeError):
            raise ValueError(f'{argument!r} is not {self.syntactic_help}') from None

    def is_outside_bounds(self, value):
        return not self.lower_bound <= value <= self.upper_bound


class IntegerParser(_NumberParser, flags.IntegerParser):
    """Whole numbers."""


class FloatParser(_NumberParser, flags.FloatParser):
    """Numbers."""


class PathParser(flags.ArgumentParser):
    """Names of files and folders; ~ is the home folder."""

    syntactic_help = 'a name of a file or folder'

    def parse(self, argument):
        is_text = argument.encode(errors='replace').decode() == argument  # else not to be printed
        if not is_text or '://' in argument:  # to TensorFlow a:// is a remote address
            raise ValueError('this names no file or folder')
        return console.path(argument)


def parse_weights(text):
    """Return the weights of the losses, (w0, w1, w2), of a text such as 0.0001,0.01,0.

    Raises:
        ValidationError: they are not three numbers from 0 up.
    """
    try:
        weights = tuple(map(float, text.split(',')))
    except ValueError:
        weights = ()
    if len(weights) != 3 or not all(0 <= weight < math.inf for weight in weights):
        raise flags.ValidationError(f'{text!r} is not three numbers from 0 up')
    return weights
