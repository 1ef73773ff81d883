"""Readers of the data sets' layouts: what a folder's names and tables say of its faces.

A reader is a function of a folder and its pictures that returns a Reading. `read` takes the one for
what the folder holds.
"""

import csv
import dataclasses
import io
import os
import posixpath
import re
import unicodedata

import h5py
import numpy as np
from tqdm import tqdm

from ops import InputError

IMAGE_SUFFIXES = ('.bmp', '.gif', '.jpeg', '.jpg', '.png', '.webp')
LABELS_CSV = 'labels.csv'
GENDERS_CSV = 'genders.csv'
CACD_MAT = 'celebrity2000_meta.mat'
LONGEST_NAME = 40  # characters: two names of Chinese ones fit into a file's 255 bytes
MAT_BYTES = 50_000_000  # of a column of it; CACD's have 1.3 million
OLDEST = 150  # years; a table's larger ages are mistakes
MALE = ('0', 'm', 'male')
FEMALE = ('1', 'f', 'female')

# UTKFace: only the first two fields count, since some names lack the race or are mistyped behind.
_UTKFACE = re.compile(r'(\d{1,3})_([01])(?!\d)')
_WITH_RACE = re.compile(r'\d{1,3}_[01]_([0-4])_')
_UTKFACE_PATTERN = re.compile(r'\d{1,3}_[01]_[0-4]_(\d+)\.jpg(\.chip\.jpg)?')
_FGNET = re.compile(r'(\d{1,4})A(\d{1,3})[a-z]?\.\w+', re.IGNORECASE)
_MORPH = re.compile(r'\d+_\d+([MF])(\d{1,3})\.\w+', re.IGNORECASE)
_CACD = re.compile(r'(\d{1,3})_(?![01]_)(.*[^\W\d_].*)_\d+\.\w+')
# Letters that Unicode does not take apart into a plain one and an accent.
_PLAIN = str.maketrans({'ø': 'o', 'ł': 'l', 'đ': 'd', 'ð': 'd', 'æ': 'ae', 'œ': 'oe'})


@dataclasses.dataclass
class Reading:
    """What a reader finds.

    Attributes:
        faces: dict from a picture's path to (age in years, gender: 0 male, 1 female, None unknown).
        skipped: dict from the path of a picture without a label to the reason.
        odd: dict from the path of a face to what is strange about its label.
        notes: list of sentences to warn of.
        lacking: a sentence that says what has to be supplied before one can train, or ''.
    """

    faces: dict = dataclasses.field(default_factory=dict)
    skipped: dict = dataclasses.field(default_factory=dict)
    odd: dict = dataclasses.field(default_factory=dict)
    notes: list = dataclasses.field(default_factory=list)
    lacking: str = ''


def read(folder, name=None):
    """Read the labels of a data set.

    Args:
        folder: of the data set, sub-folders included.
        name: of the reader, a key of READERS. By default the one whose table is in the folder,
            labels.csv's before all others, and where there is none, whose names are most.

    Returns:
        name: of the reader.
        reading: Reading, sorted by path.

    Raises:
        InputError: no such folder, no picture in it, or a table that cannot be read.
    """
    paths, foreign = list_images(folder, recursive=True), []
    if not _is_utf8('/'.join(paths)):
        foreign = [path for path in paths if not _is_utf8(path)]
        paths = [path for path in paths if _is_utf8(path)]
    if name is None:
        name = _choose(folder, paths)
    reading = READERS[name](folder, paths)
    reading.skipped |= dict.fromkeys(foreign, 'a name that is not in UTF-8')
    return name, reading


def _choose(folder, paths):
    """Return the name of the reader for what a folder holds."""
    if os.path.isfile(os.path.join(folder, LABELS_CSV)):
        return 'csv'
    if _find_morph_csv(folder):
        return 'morph'
    if os.path.isfile(os.path.join(folder, CACD_MAT)):
        return 'cacd'
    names = [base_name(path) for path in paths]
    fitting = {name: sum(map(bool, map(fits, names))) for name, fits in _FITTING.items()}
    return max(fitting, key=fitting.get) if any(fitting.values()) else 'utkface'


def list_images(folder, recursive=False):
    """Return the paths of a folder's pictures, sorted by name; hidden ones are left out.

    Args:
        folder: path, where sub-folders don't count also of one picture.
        recursive: whether pictures in sub-folders count.

    Raises:
        InputError: no such folder or picture, or none in it.
    """
    if os.path.isfile(folder):
        if recursive:
            raise InputError(f'{folder} is a file: name the folder of the pictures.')
        return [folder]
    if not os.path.isdir(folder):
        raise InputError(
            f'There is no folder {folder}: put the images there (README, "Data sets").'
            if recursive
            else f'There is no folder or picture {folder}: name one that is there.'
        )
    folders, visited, paths = [folder], {os.path.realpath(folder)}, []
    while folders:
        inner = []
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.name.startswith(('.', '__MACOSX')):
                    continue
                if recursive and entry.is_dir():
                    inner.append(entry.path)
                elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                    paths.append(entry.path)
        for path in inner:
            if (real := os.path.realpath(path)) not in visited:  # a link may lead back
                visited.add(real)
                folders.append(path)
    if not paths:
        raise InputError(
            f'No images in {folder}: put {", ".join(s[1:] for s in IMAGE_SUFFIXES)} files there '
            '(README, "Data sets").'
        )
    return sorted(paths, key=lambda path: path.replace(os.sep, '/'))


def base_name(path):
    """Return the name of a file without its folders; Windows' paths too."""
    return re.split(r'[/\\]', str(path))[-1]


def name_in(folder, path):
    """Return the path of a file within its data set, with / on every system."""
    return path[len(os.path.join(folder, '')) :].replace(os.sep, '/')


def unique_names(paths):
    """Return a name for each file, its base name without extension, no two alike.

    Of files whose names differ in folder, extension or capitals only, the second gets _2 and so on.
    Names are cut to LONGEST_NAME characters.
    """
    names, taken = [], set()
    for path in paths:
        stem = name = os.path.splitext(base_name(path))[0][:LONGEST_NAME]
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f'{stem}_{number}'
        taken.add(name.casefold())
        names.append(name)
    return names


# ------------------------------------------------------------------------------ UTKFace


def parse_name(path):
    """Return (age in years, gender: 0 male, 1 female) from UTKFace's age_gender_race_time.jpg.

    None for a name without them.
    """
    match = _UTKFACE.match(base_name(path))
    return (int(match[1]), int(match[2])) if match else None


def parse_race(path):
    """Return UTKFace's race, 0 to 4, from a file name, None where it has none."""
    match = _WITH_RACE.match(base_name(path))
    return int(match[1]) if match else None


def read_utkface(folder, paths):
    """UTKFace: 26_1_3_20170117195459275.jpg.chip.jpg is age_gender_race_time."""
    reading = Reading()
    for path in paths:
        if label := parse_name(path):
            reading.faces[path] = label
        else:
            reading.skipped[path] = 'no age and gender at the start of the name'
    names = {path: _UTKFACE_PATTERN.fullmatch(base_name(path)) for path in reading.faces}
    if sum(map(bool, names.values())) > len(names) / 2:  # else they are one's own names
        for path, match in names.items():
            if not match:
                reading.odd[path] = "not UTKFace's age_gender_race_time.jpg"
            elif len(match[1]) != 17:
                reading.odd[path] = 'a time that has not 17 digits'
    return reading


# -------------------------------------------------------------------------------- FGNET


def read_fgnet(folder, paths):
    """FGNET: 001A43a.JPG is person, age, a letter for one more picture; genders.csv the gender."""
    genders, lacking = _read_genders(folder, 'person', '001', _to_person)
    reading = Reading(lacking=lacking)
    for path in paths:
        if match := _FGNET.fullmatch(base_name(path)):
            _add_person(reading, path, int(match[2]), _to_person(match[1]), genders)
        else:
            reading.skipped[path] = "not FGNET's name, person A age, as 001A02.JPG"
    return reading


def _to_person(text):
    return text.lstrip('0') or '0'


# -------------------------------------------------------------------------------- MORPH


def read_morph(folder, paths):
    """MORPH II: Album2/009055_1M54.JPG is id_picture, sex, age; its csv wins over the name."""
    named = {}
    for path in paths:
        if match := _MORPH.fullmatch(base_name(path)):
            named[path] = int(match[2]), to_gender(match[1])
    tables = {}
    for table in _find_morph_csv(folder):
        for _, row in _read_table(table, ('photo', 'gender', 'age')):
            label = to_age(row['age']), to_gender(row['gender'])
            if None not in label:
                tables[_fold(base_name(row['photo']))] = label
    reading = Reading()
    for path in paths:
        label = tables.get(_fold(base_name(path)), named.get(path))
        if label is None:
            reading.skipped[path] = "not MORPH's name, id_picture sex age, as 009055_1M54.JPG"
            continue
        reading.faces[path] = label
        if named.get(path, label) != label:
            reading.odd[path] = "the csv's age or gender is another than the name's"
    if reading.odd:
        reading.notes.append(
            f'{len(reading.odd)} of {len(named)} names in {folder} disagree with the csv on age or '
            f'gender, as {os.path.basename(next(iter(reading.odd)))!r}: the csv counts.'
        )
    return reading


# --------------------------------------------------------------------------------- CACD


def read_cacd(folder, paths):
    """CACD: 53_Robin_Williams_0001.jpg is age_name_number; genders.csv has the gender.

    What celebrity2000_meta.mat says of a picture, where it is there, wins over the name.
    """
    genders, lacking = _read_genders(folder, 'name', 'Robin Williams', fold_person)
    mat = os.path.join(folder, CACD_MAT)
    known = read_cacd_mat(mat) if os.path.isfile(mat) else {}
    reading = Reading(lacking=lacking)
    for path in paths:
        name = unicodedata.normalize('NFC', base_name(path))
        match = _CACD.fullmatch(name)
        age, person = known.get(_fold(name), (None, None))
        if age is None and match:
            age = int(match[1])
        if age is None:
            reading.skipped[path] = "not CACD's name, age_name_number, as 53_X_Y_0001.jpg"
            continue
        persons = [fold_person(text) for text in (person, match and match[2]) if text]
        person = next((person for person in persons if person in genders), None)
        _add_person(reading, path, age, person, genders)
        if match and age != int(match[1]):
            reading.odd[path] = f"{CACD_MAT}'s age is another than the name's"
    if reading.odd:
        reading.notes.append(
            f'{len(reading.odd)} of {len(paths)} names in {folder} disagree with {CACD_MAT} on the '
            f'age, as {os.path.basename(next(iter(reading.odd)))!r}: the latter counts.'
        )
    return reading


def read_cacd_mat(path):
    """Read CACD's table, a MATLAB file, of version 7.3 (HDF5) or older.

    Returns:
        dict from a picture's name, folded by `_fold`, to (age or None, the person's name or None).

    Raises:
        InputError: it is damaged, or not CACD's.
    """
    try:
        read_fields = _read_mat_7_3 if h5py.is_hdf5(path) else _read_mat
        pictures = read_fields(path, 'celebrityImageData', ('age', 'identity', 'name'))
        people = read_fields(path, 'celebrityData', ('identity', 'name'))
        persons = {int(i): str(name) for i, name in zip(*people, strict=True)}
        return {
            _fold(base_name(str(name).strip())): (to_age(str(age)), persons.get(int(identity)))
            for age, identity, name in zip(*pictures, strict=True)
        }
    except Exception as error:  # SciPy and HDF5 raise almost anything on damaged files
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{path} cannot be read as CACD's table ({reason}): restore it, or remove it to go by "
            "the pictures' names."
        ) from error


def _read_mat(path, struct, fields):
    """Return lists, the fields of a struct in a MATLAB file older than 7.3."""
    import scipy.io  # here, since it takes a while and only this table needs it

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
                values = tqdm(values, title, unit=' names', dynamic_ncols=True, leave=False)
                values = [_own(file[v])[()] for v in values]
                values = [v.astype('<u2').tobytes().decode('utf-16-le') for v in values]
            columns.append(list(values))
    return columns


def _member(group, name):
    """Return what a group holds itself, not what it links to: that may be any file."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f'{name} is missing, or a link')
    return group[name]


def _own(dataset):
    """Return a dataset whose values are in the file itself, and not more than CACD has."""
    if dataset.is_virtual or dataset.external:
        raise ValueError(f'{dataset.name} is kept in another file')
    if dataset.nbytes > MAT_BYTES:
        raise ValueError(f'{dataset.name} is larger than {MAT_BYTES:,} bytes')
    return dataset


# --------------------------------------------------------------------------- labels.csv


def read_labels_csv(folder, paths):
    """Any data: labels.csv in the folder, with the columns file, age, gender."""
    table = os.path.join(folder, LABELS_CSV)
    reading, labels = Reading(), {}
    by_name = {_to_key(name_in(folder, path)): path for path in paths}
    by_folded = {_fold(name): path for name, path in by_name.items()}
    contradicted, missing = set(), []
    for line, row in _read_table(table, ('file', 'age', 'gender')):
        name = _to_key(row['file'])
        path = by_name.get(name) or by_folded.get(_fold(name))
        if path is None:
            missing.append(f'{row["file"]!r} in line {line}')
            continue
        label = to_age(row['age']), to_gender(row['gender'])
        if labels.setdefault(path, label) != label:
            contradicted.add(path)
    for path in paths:
        age, gender = labels.get(path, (None, None))
        if path not in labels:
            reading.skipped[path] = f'not in {LABELS_CSV}'
        elif path in contradicted:
            reading.skipped[path] = f'in {LABELS_CSV} with different labels'
        elif age is None:
            reading.skipped[path] = f'an age in {LABELS_CSV} that is no number from 0 to {OLDEST}'
        elif gender is None:
            reading.skipped[path] = f'a gender in {LABELS_CSV} that is not 0, 1, m, f, male, female'
        else:
            reading.faces[path] = age, gender
    if missing:
        reading.notes.append(
            f'{len(missing)} lines of {table} name no image, the first {missing[0]}.'
        )
    return reading


# ------------------------------------------------------------------------------- tables


def to_age(text):
    """Return an age in whole years from a table's cell, None where it is none."""
    try:
        age = float(text)
    except ValueError:
        return None
    return int(age) if 0 <= age <= OLDEST else None


def to_gender(text):
    """Return 0 for male, 1 for female from a table's cell, None where it is neither."""
    word = text.strip().lower()
    return 0 if word in MALE else 1 if word in FEMALE else None


def fold_person(name):
    """Return a person's name without accents, case, underscores and the like."""
    decomposed = unicodedata.normalize('NFKD', name.casefold())
    plain = ''.join(c for c in decomposed if not unicodedata.combining(c)).translate(_PLAIN)
    return ' '.join(re.findall(r'[^\W_]+', plain))


def _add_person(reading, path, age, person, genders):
    """Add a face whose gender is that of a person in a table."""
    if genders and person not in genders:
        reading.skipped[path] = f'a person who is not in {GENDERS_CSV}'
    else:
        reading.faces[path] = age, genders.get(person)


def _read_genders(folder, column, example, to_key):
    """Read genders.csv.

    Args:
        column: that tells the persons.
        example: of a person.
        to_key: function from such a cell to the key of the person.

    Returns:
        genders: dict from keys to genders.
        lacking: what to supply where there are none, a sentence, or ''.
    """
    table, genders = os.path.join(folder, GENDERS_CSV), {}
    if os.path.isfile(table):
        for line, row in _read_table(table, (column, 'gender')):
            gender = to_gender(row['gender'])
            if gender is None:
                raise InputError(
                    f'{table}, line {line}: the gender {row["gender"]!r} is not 0, 1, m, f, male '
                    'or female.'
                )
            if genders.setdefault(to_key(row[column]), gender) != gender:
                raise InputError(f'{table}, line {line}: {row[column]!r} has both genders.')
    lacking = (
        ''
        if genders
        else (
            f'The genders of the faces in {folder} are in no file name: supply {table} with the '
            f'columns {column},gender and a line for each person, as {example},male (README, "Data '
            'sets").'
        )
    )
    return genders, lacking


def list_tables(folder):
    """Return the paths of the tables in a folder that a reader may read."""
    tables = [os.path.join(folder, name) for name in (LABELS_CSV, GENDERS_CSV, CACD_MAT)]
    return [table for table in tables if os.path.isfile(table)] + _find_morph_csv(folder)


def _find_morph_csv(folder):
    """Return the paths of MORPH's tables, morph*.csv."""
    names = (name for name in os.listdir(folder) if re.fullmatch('morph.*[.]csv', name.lower()))
    return [os.path.join(folder, name) for name in sorted(names)]


def _read_table(path, columns):
    """Read a table with a header; comma, semicolon or tab between the cells.

    Args:
        columns: names that the header must have, in any case and order.

    Yields:
        line: number of the line, from 1.
        row: dict from the names in columns to the cells, without blanks around them.

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
    elif _is_utf8(data):
        text = data.decode('utf-8-sig')
    else:  # what spreadsheets write in the west
        text = data.decode('cp1252', 'replace')
    header = next(iter(text.splitlines()), '')
    rows = csv.reader(io.StringIO(text, newline=''), delimiter=max(',;\t', key=header.count))
    try:
        names = [name.strip().lower() for name in next(rows, [])]
        if lacking := [name for name in columns if name not in names]:
            raise InputError(
                f'{path} has no column {", ".join(lacking)}: its first line must name the columns '
                f'{",".join(columns)}.'
            )
        places = {name: names.index(name) for name in columns}
        for row in rows:
            if any(row):
                cells = {name: row[i].strip() if i < len(row) else '' for name, i in places.items()}
                yield rows.line_num, cells
    except csv.Error as error:
        raise InputError(f'{path} cannot be read, line {rows.line_num}: {error}.') from error


def _is_utf8(text):
    """Whether bytes, or a file name that was decoded from bytes, are in UTF-8."""
    try:
        text.decode() if isinstance(text, bytes) else text.encode()
    except UnicodeError:
        return False
    return True


def _fold(name):
    """Return a file name by which others are found that differ in case or in Unicode's form."""
    return unicodedata.normalize('NFC', name).casefold()


def _to_key(name):
    """Return a path within the data set as it is looked for: with / on every system."""
    return unicodedata.normalize('NFC', posixpath.normpath(name.replace('\\', '/')))


READERS = {
    'utkface': read_utkface,
    'fgnet': read_fgnet,
    'morph': read_morph,
    'cacd': read_cacd,
    'csv': read_labels_csv,
}
# By which names a data set without a table is known; of equals the first.
_FITTING = {
    'morph': _MORPH.fullmatch,
    'cacd': _CACD.fullmatch,
    'fgnet': _FGNET.fullmatch,
    'utkface': parse_name,
}
