"""What the programs take on their command lines: types of values, arguments that they share.

main.py's flags are absl's, the arguments of the other programs are argparse's: both convert values
by the same functions, which raise a ValueError that says what a value is not.
"""

import argparse
import math
import os
import re
import sys

from absl import app, flags

BOOLEANS = dict.fromkeys(('true', 't', 'yes', 'y', '1'), True)
BOOLEANS |= dict.fromkeys(('false', 'f', 'no', 'n', '0'), False)
MOST = 1_000_000  # epochs, faces, steps; more is a slip of the finger
READERS = ('utkface', 'fgnet', 'morph', 'cacd', 'csv')  # those of data.readers, spared its imports
CACHES = 'memory', 'disk'  # of decoded faces, see pipeline.py
AGE_GROUPS = '5,10,15,20,30,40,50,60,70'  # labels.AGE_UPPER
# Flags that main.py once had.
MOVED = 'align gender ages gif age_shift likeness age whole_photo everyone'.split()
MOVED_TO = 'python -m demo.photos'

flags.disclaim_key_flags()  # those that `define` makes are the program's


class WrongValueError(argparse.ArgumentTypeError, ValueError):
    """A value that cannot be used; argparse shows the message of the first kind of error alone."""


def boolean(word: str) -> bool:
    """Return the value of a word: True, yes, 1 and so on."""
    if str(word).lower() not in BOOLEANS:
        raise WrongValueError('neither True nor False')
    return BOOLEANS[str(word).lower()]


def path(word: str) -> str:
    """Return the path that a word names; ~ is the home folder, also in --savedir=~/out."""
    is_text = word.encode(errors='replace').decode() == word  # else not to be printed
    if not word or '\0' in word or '://' in word or not is_text:  # to TensorFlow a:// is remote
        raise WrongValueError('this names no file or folder')
    return os.path.expanduser(word)


def cache(word: str) -> str:
    """Return one of CACHES, or the path of a folder that exists or is written with a separator."""
    if word in CACHES or os.path.isdir(path(word)) or os.sep in word or '/' in word:
        return path(word)
    raise WrongValueError(f'{word!r} is not {"|".join(CACHES)}, nor a folder: make it, or ./{word}')


def integer(low: int, high: int):
    """Return a function that converts a word to a whole number from low to high."""
    return number(low, high, int, 'an integer')


def number(low: float, high: float, convert: type = float, kind: str = 'a number'):
    """Return a function that converts a word to a number from low to high, by default a float."""

    def parse(word):
        try:
            value = convert(word)
        except (ValueError, TypeError):
            raise WrongValueError(f'{word!r} is not {parse.kind}') from None
        if not low <= value <= high:  # nan is not within any bounds
            raise WrongValueError(f'{value} is not {parse.kind}')
        return value

    parse.kind = f'{kind} in the range [{low}, {high}]'
    return parse


def parse_weights(text: str) -> tuple:
    """Return the weights of the losses, (w0, w1, w2), of a text such as 0.0001,0.01,0."""
    try:
        weights = tuple(map(float, text.split(',')))
    except ValueError:
        weights = ()
    if len(weights) != 3 or not all(0 <= weight < math.inf for weight in weights):
        raise flags.ValidationError(f'{text!r} is not three numbers from 0 up')
    return weights


class AbslParser(flags.ArgumentParser):
    """Converts a flag's value, which may be the next word; not so after absl's own booleans."""

    def __init__(self, convert):
        self.parse, self.syntactic_help = convert, getattr(convert, 'kind', '')


def define(name: str, default, convert, text: str):
    """Define a flag of the program, whose value one of the functions above converts."""
    serializer = flags.ArgumentSerializer()
    flags.DEFINE(AbslParser(convert), name, default, text, serializer=serializer)


def keep(path: str):
    """Write the flags of this call to a file, as --flagfile reads them."""
    own = flags.FLAGS.get_flags_for_module(flags.FLAGS.find_module_defining_flag('weights'))
    with open(path, 'w', encoding='utf-8') as file:
        print(*(flag.serialize() for flag in own if flag.value is not None), sep='\n', file=file)


def parse(argv: list[str]) -> list[str]:
    """Parse as absl does, but report a mistake at once, and end --help with status 0."""
    if '--help' in argv[1:]:
        app.usage(shorthelp=True, writeto_stdout=True)
        sys.exit(0)
    for word in argv[1:]:
        name = re.sub('^--?(no)?|=.*', '', word, flags=re.DOTALL)
        if word.startswith('-') and name in MOVED:
            sys.exit(
                f'\n\t--{name} has left this program: call {MOVED_TO} my_photos, which finds the '
                'faces and writes strips, animations and whole photos (see its --help).'
            )
    try:
        words = flags.FLAGS.read_flags_from_files(argv[1:])
        return flags.FLAGS([argv[0], *map(_spell_out, words, [*words[1:], '-'])])
    except (flags.Error, UnicodeDecodeError) as error:  # a file for --flagfile is not in UTF-8
        sys.exit(f'\n\t{error}: see --help.')


def _spell_out(word, after):
    """Return a word, with the value of a boolean flag that stands alone or begins with no."""
    name = word.lstrip('-')
    is_ours = {flag for flag in flags.FLAGS if flags.FLAGS[flag].parser.parse is boolean}
    if name in is_ours and word != name and after.startswith('-'):
        return f'--{name}=True'
    if name.startswith('no') and name[2:] in is_ours and word != name:
        return f'--{name[2:]}=False'
    return word


class Parser(argparse.ArgumentParser):
    """A parser of command lines that ends a program by one sentence and status 1."""

    def __init__(self, prog: str, description: str | None = None):
        """Describe a program, such as 'python -m data.check', by the docstring of its module."""
        as_written = argparse.RawDescriptionHelpFormatter
        super().__init__(prog, description=description, formatter_class=as_written)

    def add_argument(self, *names, **settings):
        """Add an argument; a boolean one may stand alone, for True, and has its no form."""
        if settings.get('type') is not boolean:
            return super().add_argument(*names, **settings)
        action = super().add_argument(*names, nargs='?', const=True, **settings)
        no = {'default': argparse.SUPPRESS, 'help': argparse.SUPPRESS}
        super().add_argument(f'--no{action.dest}', dest=action.dest, action='store_false', **no)
        return action

    def error(self, message):
        sys.exit(f'\n\t{message}: see --help.')


def add_model(parser: argparse.ArgumentParser):
    """Add --age_groups and --savedir."""
    text = 'folder with the checkpoint of a training; by default save, or without a checkpoint in '
    text += 'it the bundled weights in init_model'
    parser.add_argument('--savedir', type=path, default='save', help=text)
    add_age_groups(parser)


def add_age_groups(parser: argparse.ArgumentParser):
    """Add --age_groups, a text for `labels.parse_age_upper`."""
    text = 'last year of each age group but the last (%(default)s)'
    parser.add_argument('--age_groups', default=AGE_GROUPS, help=text)


def add_data_set(parser: argparse.ArgumentParser, first: bool = False):
    """Add --datadir, --labels, and --dataset, or in its place a first word without a flag."""
    text = 'folder of the data sets (%(default)s)'
    parser.add_argument('--datadir', type=path, default='data', help=text)
    name, default = ('dataset', None) if first else ('--dataset', 'UTKFace')
    parser.add_argument(name, type=path, default=default, help='folder of the faces in DATADIR')
    text = 'how ages and genders are read: naming scheme or table; default: as the folder has it'
    parser.add_argument('--labels', choices=READERS, help=text)
