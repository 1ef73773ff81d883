"""Readers of the data sets' layouts: they find ages and genders in file names and tables.

A reader is a function that takes a folder and its pictures and returns a Reading. `read` chooses
the reader that fits a folder.
"""

import collections
import dataclasses
import os
import posixpath
import re
import unicodedata

from data import tables
from data.console import InputError
from data.files import base_name, list_images, name_in
from data.tables import (
    CACD_MAT,
    GENDER_WORDS,
    GENDERS_CSV,
    LABELS_CSV,
    OLDEST,
    SHOWN,
    fold_name,
    to_age,
    to_gender,
)

# Of UTKFace's names only the first two fields count: some lack the race or are mistyped later.
_UTKFACE = re.compile(r'(\d{1,3})_([01])(?!\d)')
_WITH_RACE = re.compile(r'\d{1,3}_[01]_([0-4])_')
_UTKFACE_PATTERN = re.compile(r'\d{1,3}_[01]_[0-4]_(\d+)\.jpg(\.chip\.jpg)?')
_FGNET = re.compile(r'(\d{1,4})A(\d{1,3})[a-z]?\.\w+', re.IGNORECASE)
_MORPH = re.compile(r'\d+_\d+([MF])(\d{1,3})\.\w+', re.IGNORECASE)
_CACD = re.compile(r'(\d{1,3})_(?![01]_)(.*[^\W\d_].*)_\d+\.\w+')
# Letters that Unicode does not decompose into a plain letter and an accent.
_PLAIN = str.maketrans({'ø': 'o', 'ł': 'l', 'đ': 'd', 'ð': 'd', 'æ': 'ae', 'œ': 'oe'})


@dataclasses.dataclass
class Reading:
    """The result of a reader.

    Attributes:
        faces: dict from a picture's path to (age in years, gender); gender is 0 for male, 1 for
            female, None if unknown.
        skipped: dict from the path of a picture without a label to the reason.
        odd: dict from the path of a face to a phrase that says why its label is doubtful.
        notes: list of sentences, warnings for the user.
        lacking: a sentence that says what the user must supply before training, or ''.
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
        name: of the reader, a key of READERS. By default the one whose table is in
            the folder, first of all labels.csv; without a table, the one that most names fit.

    Returns:
        name: of the reader.
        reading: Reading, sorted by path.

    Raises:
        InputError: there is no such folder or no picture in it, or a table cannot be read.
    """
    paths, foreign = list_images(folder, recursive=True), []
    if not tables.is_utf8('/'.join(paths)):
        foreign = [path for path in paths if not tables.is_utf8(path)]
        paths = [path for path in paths if tables.is_utf8(path)]
    if name is None:
        name = _choose(folder, paths)
    reading = READERS[name](folder, paths)
    reading.skipped |= dict.fromkeys(foreign, 'a name that is not in UTF-8')
    return name, reading


def _choose(folder, paths):
    """Return the name of the reader that fits a folder."""
    if os.path.isfile(os.path.join(folder, LABELS_CSV)):
        return 'csv'
    if tables.find_morph_csv(folder):
        return 'morph'
    if os.path.isfile(os.path.join(folder, CACD_MAT)):
        return 'cacd'
    names = [base_name(path) for path in paths]
    fitting = {name: sum(map(bool, map(fits, names))) for name, fits in _FITTING.items()}
    return max(fitting, key=fitting.get) if any(fitting.values()) else 'utkface'


# ------------------------------------------------------------------------------ UTKFace


def parse_name(path):
    """Return (age in years, gender: 0 male, 1 female) from UTKFace's age_gender_race_time.jpg.

    None if the name has no age up to OLDEST and gender.
    """
    match = _UTKFACE.match(base_name(path))
    age = to_age(match[1]) if match else None
    return None if age is None else (age, int(match[2]))


def parse_race(path):
    """Return the race in a file name of UTKFace, 0 to 4, or None."""
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
    """FGNET: 001A43a.JPG is person, age and a letter; genders.csv has the gender of each person."""
    genders, lacking = _read_genders(folder, 'person', '001', _to_person)
    reading = Reading(lacking=lacking)
    for path in paths:
        match = _FGNET.fullmatch(base_name(path))
        age = to_age(match[2]) if match else None
        if age is None:
            reading.skipped[path] = "not FGNET's name, person A age, such as 001A02.JPG"
        else:
            _add_person(reading, path, age, _to_person(match[1]), genders)
    return reading


def _to_person(text):
    return text.lstrip('0') or '0'


# -------------------------------------------------------------------------------- MORPH


def read_morph(folder, paths):
    """MORPH II: Album2/009055_1M54.JPG is id_picture, sex and age; the csv overrides the name."""
    named = {}
    for path in paths:
        if match := _MORPH.fullmatch(base_name(path)):
            named[path] = to_age(match[2]), to_gender(match[1])
    listed = {}
    for table in tables.find_morph_csv(folder):
        for _, row in tables.read_table(table, ('photo', 'gender', 'age')):
            label = to_age(row['age']), to_gender(row['gender'])
            if None not in label:
                listed[fold_name(base_name(row['photo']))] = label
    reading = Reading()
    for path in paths:
        label = listed.get(fold_name(base_name(path)), named.get(path))
        if label is None or label[0] is None:
            reading.skipped[path] = "not MORPH's name, id_picture sex age, such as 009055_1M54.JPG"
            continue
        reading.faces[path] = label
        if named.get(path, label) != label:
            reading.odd[path] = "the csv's age or gender differs from the name's"
    if reading.odd:
        reading.notes.append(
            f'{len(reading.odd)} of {len(named)} names in {folder} disagree with the csv on age or '
            f'gender, such as {os.path.basename(next(iter(reading.odd)))!r}: the csv counts.'
        )
    return reading


# --------------------------------------------------------------------------------- CACD


def read_cacd(folder, paths):
    """CACD: 53_Robin_Williams_0001.jpg is age_name_number; genders.csv has the gender.

    If celebrity2000_meta.mat is there, its ages and people override those in the names.
    """
    genders, lacking = _read_genders(folder, 'name', 'Robin Williams', fold_person)
    mat = os.path.join(folder, CACD_MAT)
    known = tables.read_cacd_mat(mat) if os.path.isfile(mat) else {}
    reading = Reading(lacking=lacking)
    for path in paths:
        name = unicodedata.normalize('NFC', base_name(path))
        match = _CACD.fullmatch(name)
        age, person = known.get(fold_name(name), (None, None))
        if age is None and match:
            age = to_age(match[1])
        if age is None:
            reading.skipped[path] = "not CACD's name, age_name_number, such as 53_X_Y_0001.jpg"
            continue
        persons = [fold_person(text) for text in (person, match and match[2]) if text]
        person = next((person for person in persons if person in genders), None)
        _add_person(reading, path, age, person, genders)
        if match and age != int(match[1]):
            reading.odd[path] = f"{CACD_MAT}'s age differs from the name's"
    if reading.odd:
        reading.notes.append(
            f'{len(reading.odd)} of {len(paths)} names in {folder} disagree with {CACD_MAT} on the '
            f'age, such as {os.path.basename(next(iter(reading.odd)))!r}: the latter counts.'
        )
    return reading


# --------------------------------------------------------------------------- labels.csv


def read_labels_csv(folder, paths):
    """Any other data set: labels.csv in the folder has the columns file, age and gender."""
    table = os.path.join(folder, LABELS_CSV)
    reading, labels = Reading(), {}
    by_name = {_to_key(name_in(folder, path)): path for path in paths}
    by_folded = {fold_name(name): path for name, path in by_name.items()}
    contradicted, problems = set(), collections.defaultdict(list)
    no_age, no_gender = f'no number from 0 to {OLDEST}', f'not {GENDER_WORDS}'

    def note(problem, cell, line):
        problems[problem].append(f'{cell[:SHOWN]!r} in line {line}')

    for line, row in tables.read_table(table, ('file', 'age', 'gender')):
        name = _to_key(row['file'])
        path = by_name.get(name) or by_folded.get(fold_name(name))
        if path is None:
            note('name no image', row['file'], line)
            continue
        label = to_age(row['age']), to_gender(row['gender'])
        if label[0] is None:
            note(f'have an age that is {no_age}', row['age'], line)
        if label[1] is None:
            note(f'have a gender that is {no_gender}', row['gender'], line)
        if labels.setdefault(path, label) != label:
            contradicted.add(path)
    for path in paths:
        age, gender = labels.get(path, (None, None))
        if path not in labels:
            reading.skipped[path] = f'not in {LABELS_CSV}'
        elif path in contradicted:
            reading.skipped[path] = f'in {LABELS_CSV} with different labels'
        elif age is None:
            reading.skipped[path] = f'an age in {LABELS_CSV} that is {no_age}'
        elif gender is None:
            reading.skipped[path] = f'a gender in {LABELS_CSV} that is {no_gender}'
        else:
            reading.faces[path] = age, gender
    reading.notes += [
        f'{len(cells)} lines of {table} {problem}, the first {cells[0]}.'
        for problem, cells in problems.items()
    ]
    return reading


# ------------------------------------------------------------------------------- tables


def fold_person(name):
    """Return a person's name in lower case, without accents and with spaces between the words."""
    decomposed = unicodedata.normalize('NFKD', name.casefold())
    plain = ''.join(c for c in decomposed if not unicodedata.combining(c)).translate(_PLAIN)
    return ' '.join(re.findall(r'[^\W_]+', plain))


def _add_person(reading, path, age, person, genders):
    """Add a face to a reading, with the gender of its person from genders.csv."""
    if genders and person not in genders:
        reading.skipped[path] = f'a person who is not in {GENDERS_CSV}'
    else:
        reading.faces[path] = age, genders.get(person)


def _read_genders(folder, column, example, to_key):
    """Read genders.csv.

    Args:
        column: name of the column that identifies the person.
        example: a value in that column, for the message.
        to_key: function from a cell of that column to the key of the person.

    Returns:
        genders: dict from keys to genders.
        lacking: if there are none, a sentence that says what to supply, else ''.
    """
    table, genders = os.path.join(folder, GENDERS_CSV), {}
    if os.path.isfile(table):
        for line, row in tables.read_table(table, (column, 'gender')):
            gender = to_gender(row['gender'])
            if gender is None:
                raise InputError(
                    f'{table}, line {line}: the gender {row["gender"][:SHOWN]!r} is not '
                    f'{GENDER_WORDS}.'
                )
            if genders.setdefault(to_key(row[column]), gender) != gender:
                raise InputError(f'{table}, line {line}: {row[column]!r} has both genders.')
    lacking = (
        ''
        if genders
        else (
            f'The genders of the faces in {folder} are in no file name: supply {table} with the '
            f'columns {column},gender and a line for each person, such as {example},male '
            '(data/README.md).'
        )
    )
    return genders, lacking


def _to_key(name):
    """Return a normal form of a path within a data set, with / on every system."""
    return unicodedata.normalize('NFC', posixpath.normpath(name.replace('\\', '/')))


READERS = {
    'utkface': read_utkface,
    'fgnet': read_fgnet,
    'morph': read_morph,
    'cacd': read_cacd,
    'csv': read_labels_csv,
}
# Tests of file names, by which a data set without a table is recognised; the first of equals wins.
_FITTING = {
    'morph': _MORPH.fullmatch,
    'cacd': _CACD.fullmatch,
    'fgnet': _FGNET.fullmatch,
    'utkface': parse_name,
}
