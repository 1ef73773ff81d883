"""Tables with labels: CSV files, and the MATLAB file of CACD."""

import csv
import io
import os
import re
import unicodedata

import h5py
import numpy as np

from data import files
from data.console import InputError, Progress, first_line, is_lack_of_memory

LABELS_CSV = 'labels.csv'
GENDERS_CSV = 'genders.csv'
CACD_MAT = 'celebrity2000_meta.mat'
MAX_COLUMN_BYTES = 50_000_000  # of a column in CACD_MAT; the real ones have 1.3 million
OLDEST = 120  # years; larger ages in tables and names are mistakes
SHOWN = 50  # at most so many characters of a cell or line are shown
MALE = ('0', '0.0', 'm', 'male')  # 0.0 as pandas writes it beside an empty cell
FEMALE = ('1', '1.0', 'f', 'female')
GENDER_WORDS = '0, 1, m, f, male or female'  # in messages


def to_age(text):
    """Return the age in whole years that a table's cell holds, or None."""
    try:
        age = float(text)
    except ValueError:
        return None
    return int(age) if 0 <= age <= OLDEST else None


def to_gender(text):
    """Return 0 if a table's cell means male, 1 if it means female, else None."""
    word = text.strip().lower()
    return 0 if word in MALE else 1 if word in FEMALE else None


def list_tables(folder):
    """Return the paths of all tables in a folder that readers know."""
    tables = [os.path.join(folder, name) for name in (LABELS_CSV, GENDERS_CSV, CACD_MAT)]
    return [table for table in tables if os.path.isfile(table)] + find_morph_csv(folder)


def find_morph_csv(folder):
    """Return the paths of MORPH's tables, morph*.csv."""
    names = (name for name in os.listdir(folder) if re.fullmatch('morph.*[.]csv', name.lower()))
    return [os.path.join(folder, name) for name in sorted(names)]


def read_table(path, columns):
    """Read a table with a header; cells are separated by commas, semicolons or tabs.

    Args:
        columns: names that the header must have, in upper or lower case and in any order.

    Yields:
        line: number of the line, from 1.
        row: dict from the names in columns to the cells, without spaces around them.

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
    if data.startswith((b'\xff\xfe', b'\xfe\xff')):
        text = data.decode('utf-16', 'replace')
    elif is_utf8(data):
        text = data.decode('utf-8-sig')
    else:  # the encoding of spreadsheets in western countries
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


def is_utf8(text):
    """Whether bytes are valid UTF-8; of a file name, whether it was decoded from valid UTF-8."""
    try:
        text.decode() if isinstance(text, bytes) else text.encode()
    except UnicodeError:
        return False
    return True


def fold_name(name):
    """Return a form of a file name that is equal for names differing in case or Unicode form."""
    return unicodedata.normalize('NFC', name).casefold()


def read_cacd_mat(path):
    """Read CACD's table, a MATLAB file of version 7.3 (HDF5) or older.

    Returns:
        dict from a picture's name, folded by `fold_name`, to its age and the person's name; either
        is None where the table lacks it.

    Raises:
        InputError: the file is damaged, or not the table of CACD.
    """
    try:
        read_fields = _read_mat_7_3 if h5py.is_hdf5(path) else _read_mat
        pictures = read_fields(path, 'celebrityImageData', ('age', 'identity', 'name'))
        people = read_fields(path, 'celebrityData', ('identity', 'name'))
        persons = {int(i): str(name) for i, name in zip(*people, strict=True)}
        return {
            fold_name(files.base_name(str(name).strip())): (
                to_age(str(age)),
                persons.get(int(identity)),
            )
            for age, identity, name in zip(*pictures, strict=True)
        }
    except Exception as error:  # SciPy and HDF5 raise almost anything on damaged files
        if is_lack_of_memory(error):
            raise
        raise InputError(
            f"{path} cannot be read as CACD's table ({first_line(error)}): restore it, or remove "
            "it to go by the pictures' names."
        ) from error


def _read_mat(path, struct, fields):
    """Return lists, the fields of a struct in a MATLAB file older than 7.3."""
    import scipy.io  # here, since the import is slow and only this table needs it

    data = scipy.io.loadmat(path, simplify_cells=True, variable_names=[struct])[struct]
    return [np.atleast_1d(data[field]).tolist() for field in fields]


def _read_mat_7_3(path, struct, fields):
    """Return lists, the fields of a struct in a MATLAB file of version 7.3."""
    columns = []
    with h5py.File(path, 'r') as file:
        for field in fields:
            values = _own(_member(_member(file, struct), field))[()].ravel()
            if values.dtype == h5py.ref_dtype:  # a cell array of strings, in UTF-16
                title = f'Reading {os.path.basename(path)}'
                values = Progress(values, title, unit=' names', leave=False)
                values = [_own(file[v])[()] for v in values]
                values = [v.astype('<u2').tobytes().decode('utf-16-le') for v in values]
            columns.append(list(values))
    return columns


def _member(group, name):
    """Return an object that a HDF5 group holds itself; a link could lead to any file."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f'{name} is missing, or a link')
    return group[name]


def _own(dataset):
    """Return a HDF5 dataset if its values lie in the file itself and are not too large."""
    if dataset.is_virtual or dataset.external:
        raise ValueError(f'{dataset.name} is kept in another file')
    if dataset.nbytes > MAX_COLUMN_BYTES:
        raise ValueError(f'{dataset.name} is larger than {MAX_COLUMN_BYTES:,} bytes')
    return dataset
