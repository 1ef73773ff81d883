"""Tables with labels: CSV files, and the MATLAB file of CACD."""

import contextlib
import csv
import io
import os
import re
import unicodedata

import numpy as np

from data import files
from data.console import InputError, first_line, is_lack_of_memory

# Of spreadsheets, where they are not in UTF-8: the first in which most names fit is taken.
ENCODINGS = 'cp1252 gb18030 big5 cp932 cp949 cp1250 cp1251 cp1253 cp1254 cp1255 cp1256'.split()
ENCODINGS += 'cp1257 cp1258 cp874 cp850 mac-roman latin-1'.split()
LABELS_CSV = 'labels.csv'
GENDERS_CSV = 'genders.csv'
CACD_MAT = 'celebrity2000_meta.mat'
OLDEST = 120  # years; larger ages in tables and names are mistakes
SHOWN = 50  # at most so many characters of a cell or line are shown
GENDERS = dict.fromkeys(('0', '0.0', 'm', 'male'), 0)  # 0.0: pandas, beside an empty cell
GENDERS |= dict.fromkeys(('1', '1.0', 'f', 'female'), 1)
GENDER_WORDS = '0, 1, m, f, male or female'  # in messages


def to_age(text: str) -> int | None:
    """Return the age in whole years that a table's cell holds, or None."""
    try:
        age = float(text.replace(',', '.'))
    except ValueError:
        return None
    return int(age) if 0 <= age <= OLDEST else None


def to_gender(text: str) -> int | None:
    """Return 0 if a table's cell means male, 1 if it means female, else None."""
    return GENDERS.get(text.strip().lower())


def find_morph_csv(folder: str) -> list[str]:
    """Return the paths of MORPH's tables, morph*.csv."""
    names = (name for name in os.listdir(folder) if re.fullmatch('morph.*[.]csv', name.lower()))
    return [os.path.join(folder, name) for name in sorted(names)]


def read_table(path, columns, is_known=None):
    """Read a table with a header; cells are separated by commas, semicolons, tabs or, in R, blanks.

    The header must have the columns, in either case and in any order. is_known tells whether a cell
    of the first one names something: a table that is not in UTF-8 is read in the encoding in which
    most do. Returns pairs of a line's number, from 1, and a dict from columns to cells.
    """
    try:
        with open(path, 'rb') as file:
            data = file.read()
    except OSError as error:
        raise InputError(
            f'{path} cannot be read ({error.strerror}): it must be a table with the columns '
            f'{",".join(columns)}.'
        ) from error
    encoding = 'utf-16' if data.startswith((b'\xff\xfe', b'\xfe\xff')) else 'utf-8-sig'
    with contextlib.suppress(UnicodeError):
        return _parse(path, data.decode(encoding), columns)
    best, most = None, 0
    for encoding in ENCODINGS:
        with contextlib.suppress(UnicodeError):
            rows = _parse(path, data.decode(encoding), columns)
            count = sum(not is_known or bool(is_known(row[columns[0]])) for _, row in rows)
            if count > most:
                best, most = rows, count
    if best is None:
        raise InputError(
            f'{path} is not in UTF-8, and in no other encoding does it name any of the pictures: '
            'save it as CSV UTF-8.'
        )
    return best


def _parse(path, text, columns):
    """Return what `read_table` does, of the text of a table."""
    header = next(iter(text.splitlines()), '')
    separator = max(',;\t', key=header.count)
    separator = separator if separator in header else ' '
    reader = csv.reader(io.StringIO(text, newline=''), delimiter=separator)
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        if lacking := [name for name in columns if name not in names]:
            raise InputError(
                f'{path} has no column {", ".join(lacking)}: its first line must name the columns '
                f'{",".join(columns)}, but is {header[:SHOWN]!r}.'
            )
        lines = [(reader.line_num, row) for row in reader if any(row)]
    except csv.Error as error:
        raise InputError(f'{path} cannot be read, line {reader.line_num}: {error}.') from error
    # R's write.table names no column of row names.
    shift = all(len(row) == len(names) + 1 for _, row in lines) and any(row[-1] for _, row in lines)
    places = {name: names.index(name) + shift for name in columns}
    return [
        (line, {name: row[i] if i < len(row) else '' for name, i in places.items()})
        for line, row in lines
    ]


def fold_name(name: str) -> str:
    """Return a form of a file name that is equal for names differing in case or Unicode form."""
    return unicodedata.normalize('NFC', name).casefold()


def read_cacd_mat(path: str) -> dict[str, dict[str, str]]:
    """Read CACD's table, a MATLAB file of version 5, as it is published.

    Returns a dict from a picture's name, folded by `fold_name`, to what it has of it: age, person.
    """
    import scipy.io  # here, since the import is slow and only this table needs it

    def rows(struct, *fields):
        return zip(*(np.atleast_1d(data[struct][field]).tolist() for field in fields), strict=True)

    try:
        data, listed = scipy.io.loadmat(path, simplify_cells=True), {}
        persons = {int(i): str(name) for i, name in rows('celebrityData', 'identity', 'name')}
        for age, identity, name in rows('celebrityImageData', 'age', 'identity', 'name'):
            found = listed[fold_name(files.base_name(str(name).strip()))] = {'age': str(age)}
            if int(identity) in persons:
                found['person'] = persons[int(identity)]
        return listed
    except Exception as error:  # SciPy raises almost anything on damaged files
        if is_lack_of_memory(error):
            raise
        raise InputError(
            f"{path} cannot be read as CACD's table ({first_line(error)}): restore it, or remove "
            "it to go by the pictures' names."
        ) from error
