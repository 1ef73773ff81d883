"""Tables with labels: CSV files, and the MATLAB file of CACD."""

import csv
import io
import os
import re
import unicodedata

import numpy as np

from data import files
from data.console import InputError, first_line, is_lack_of_memory

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
        age = float(text)
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


def read_table(path, columns):
    """Read a table with a header; cells are separated by commas, semicolons or tabs.

    Args:
        columns: names that the header must have, in upper or lower case and in any order.

    Yields:
        the number of a line, from 1, and a dict from columns to its cells, without spaces around.

    Raises:
        InputError: it cannot be read, or lacks a column.
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
    try:
        text = data.decode(encoding)
    except UnicodeError:  # the encoding of spreadsheets in western countries
        text = data.decode('cp1252', 'replace')
    header = next(iter(text.splitlines()), '')
    rows = csv.reader(io.StringIO(text, newline=''), delimiter=max(',;\t', key=header.count))
    try:
        names = [name.strip().lower() for name in next(rows, [])]
        if lacking := [name for name in columns if name not in names]:
            raise InputError(
                f'{path} has no column {", ".join(lacking)}: its first line must name the columns '
                f'{",".join(columns)}, but is {header[:SHOWN]!r}.'
            )
        places = {name: names.index(name) for name in columns}
        for row in rows:
            if any(row):
                cells = {name: row[i].strip() if i < len(row) else '' for name, i in places.items()}
                yield rows.line_num, cells
    except csv.Error as error:
        raise InputError(f'{path} cannot be read, line {rows.line_num}: {error}.') from error


def fold_name(name: str) -> str:
    """Return a form of a file name that is equal for names differing in case or Unicode form."""
    return unicodedata.normalize('NFC', name).casefold()


def read_cacd_mat(path: str) -> dict[str, dict[str, str]]:
    """Read CACD's table, a MATLAB file of version 5, as it is published.

    Returns:
        dict from a picture's name, folded by `fold_name`, to what the table has of it: age, person.

    Raises:
        InputError: the file is damaged, or not the table of CACD.
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
