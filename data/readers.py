"""Readers of the data sets' layouts: they find ages and genders in file names and tables."""

import dataclasses
import os
import posixpath
import re
import unicodedata
import warnings

from data import tables
from data.console import InputError
from data.files import base_name, list_images, name_in

# Of UTKFace's names only the first two fields count: some lack the race or are mistyped later. A
# number with zeros before it is a person's, or a picture's; 5_1_2024 is a day.
_DAY = r'(?:[1-9]|[12]\d|3[01])_1_(?:19|20)\d\d(?!\d)'
_UTKFACE = re.compile(rf'(?!{_DAY})(?P<age>0|[1-9]\d{{0,2}})_(?P<gender>[01])(?!\d).*', re.DOTALL)
_WITH_RACE = re.compile(r'\d{1,3}_[01]_([0-4])_')
_FGNET = re.compile(r'(?P<person>\d{1,4})A(?P<age>\d{1,3})[a-z]?\.\w+', re.IGNORECASE)
_MORPH = re.compile(r'\d+_\d+(?P<gender>[MF])(?P<age>\d{1,3})\.\w+', re.IGNORECASE)
_CACD = re.compile(r'(?P<age>\d{1,3})_(?![01]_)(?P<person>.*[^\W\d_].*)_\d+\.\w+')
# By these a data set without a table is recognised; the first of equals wins.
_PATTERNS = {'morph': _MORPH, 'cacd': _CACD, 'fgnet': _FGNET, 'utkface': _UTKFACE}
# Letters that Unicode does not decompose into a plain letter and an accent.
_PLAIN = str.maketrans({'ø': 'o', 'ł': 'l', 'đ': 'd', 'ð': 'd', 'æ': 'ae', 'œ': 'oe'})


@dataclasses.dataclass
class Reading:
    """The result of a reader."""

    # From paths to (age in years, gender); gender is 0 for male, 1 for female, None if unknown.
    faces: dict = dataclasses.field(default_factory=dict)
    skipped: dict = dataclasses.field(default_factory=dict)  # from paths without a label to reasons
    lacking: str = ''  # a sentence that says what the user must supply before training, or ''


def read(folder: str, name: str | None = None) -> tuple[str, Reading]:
    """Read the labels of a data set, sub-folders included, by one of READERS.

    By default by the one whose table is in the folder, first of all labels.csv; without a table, by
    the one that most names fit. Returns its name, and its Reading, sorted by path.
    """
    listed = list_images(folder, recursive=True)
    paths = [path for path in listed if path.encode(errors='replace').decode() == path]
    chosen = name or _choose(folder, paths)
    reading = READERS[chosen](folder, paths)
    if not name and chosen == 'utkface' and 0 < len(reading.faces) < len(reading.skipped):
        warnings.warn(
            f'{len(reading.faces)} names of {len(paths)} in {folder} have an age and gender as in '
            'UTKFace: most have not, so the numbers may mean something else.',
            stacklevel=2,
        )
    foreign = {*listed}.difference(paths)
    reading.skipped |= dict.fromkeys(foreign, 'a name that is not in UTF-8')
    return chosen, reading


def _choose(folder, paths):
    if os.path.isfile(os.path.join(folder, tables.LABELS_CSV)):
        return 'csv'
    if tables.find_morph_csv(folder):
        return 'morph'
    if os.path.isfile(os.path.join(folder, tables.CACD_MAT)):
        return 'cacd'

    def count(reader):
        return sum(bool(_PATTERNS[reader].fullmatch(base_name(path))) for path in paths)

    best = max(_PATTERNS, key=count)
    return best if count(best) else 'utkface'


def parse_name(path: str) -> tuple[int, int] | None:
    """Return (age in years, gender: 0 male, 1 female) from UTKFace's age_gender_race_time.jpg.

    None if the name has no age up to tables.OLDEST and gender.
    """
    match = _UTKFACE.fullmatch(base_name(path))
    age = tables.to_age(match['age']) if match else None
    return None if age is None else (age, int(match['gender']))


def parse_race(path: str) -> int:
    """Return the race in a file name of UTKFace, an index of labels.RACE_NAMES, or -1."""
    match = _WITH_RACE.match(base_name(path))
    return int(match[1]) if match else -1


def read_utkface(folder, paths):
    """UTKFace: 26_1_3_20170117195459275.jpg.chip.jpg is age_gender_race_time."""
    return _read_names(paths, _UTKFACE, 'no age and gender at the start of the name')


def read_fgnet(folder, paths):
    """FGNET: 001A43a.JPG is person, age and a letter; genders.csv has the gender of each person."""
    genders, lacking = _read_genders(folder, paths, _FGNET, 'person', '001')
    reason = "not FGNET's name, person A age, such as 001A02.JPG"
    return _read_names(paths, _FGNET, reason, genders=genders, lacking=lacking)


def read_morph(folder, paths):
    """MORPH II: Album2/009055_1M54.JPG is id_picture, sex and age; the csv overrides the name."""
    listed = {}
    for table in tables.find_morph_csv(folder):
        for _, row in tables.read_table(table, ('photo', 'gender', 'age')):
            if None not in (tables.to_age(row['age']), tables.to_gender(row['gender'])):
                listed[tables.fold_name(base_name(row['photo'].strip()))] = row
    reason = "not MORPH's name, id_picture sex age, such as 009055_1M54.JPG"
    return _read_names(paths, _MORPH, reason, listed)


def read_cacd(folder, paths):
    """CACD: 53_Robin_Williams_0001.jpg is age_name_number; genders.csv has the gender.

    If celebrity2000_meta.mat is there, its ages and people override those in the names.
    """
    genders, lacking = _read_genders(folder, paths, _CACD, 'name', 'Robin Williams')
    mat = os.path.join(folder, tables.CACD_MAT)
    listed = tables.read_cacd_mat(mat) if os.path.isfile(mat) else {}
    reason = "not CACD's name, age_name_number, such as 53_X_Y_0001.jpg"
    return _read_names(paths, _CACD, reason, listed, genders, lacking)


def _read_names(paths, pattern, reason, listed=None, genders=None, lacking=''):
    """Read labels from names; `listed`, from folded names to groups of the pattern, wins."""
    reading = Reading(lacking=lacking)
    for path in paths:
        name = unicodedata.normalize('NFC', base_name(path))
        match = pattern.fullmatch(name)
        found = match.groupdict() if match else {}
        found |= (listed or {}).get(tables.fold_name(name), {})
        age = tables.to_age(found.get('age', ''))
        person = _to_person(found.get('person', ''))
        if age is None:
            reading.skipped[path] = reason
        elif genders is None:
            reading.faces[path] = age, tables.to_gender(found['gender'])
        elif genders and person not in genders:
            reading.skipped[path] = f'a person who is not in {tables.GENDERS_CSV}'
        else:
            reading.faces[path] = age, genders.get(person)
    return reading


def read_labels_csv(folder, paths):
    """Any other data set: labels.csv in the folder has the columns file, age and gender."""
    table = os.path.join(folder, tables.LABELS_CSV)
    by_name = {name_in(folder, path): path for path in paths}
    by_key = {_to_key(name): path for name, path in by_name.items()}
    by_folded = {tables.fold_name(name): path for name, path in by_key.items()}

    def find(name):
        exact = by_name.get(name) or by_name.get(name.removeprefix('./'))
        key = _to_key(name.strip())
        return exact or by_key.get(key) or by_folded.get(tables.fold_name(key))

    labels = {path: set() for path in paths}
    strays = []
    for line, row in tables.read_table(table, ('file', 'age', 'gender'), find):
        path = find(row['file'])
        if path is None:
            strays.append(f'{row["file"][: tables.SHOWN]!r} in line {line}')
        else:
            labels[path].add((tables.to_age(row['age']), tables.to_gender(row['gender'])))
    if strays:
        text = f'{len(strays)} lines of {table} name no image, the first {strays[0]}.'
        warnings.warn(text, stacklevel=2)
    reading, name = Reading(), tables.LABELS_CSV
    for path, given in labels.items():
        age, gender = next(iter(given), (None, None))
        if not given:
            reading.skipped[path] = f'not in {name}'
        elif len(given) > 1:
            reading.skipped[path] = f'in {name} with different labels'
        elif age is None:
            reading.skipped[path] = f'an age in {name} that is no number from 0 to {tables.OLDEST}'
        elif gender is None:
            reading.skipped[path] = f'a gender in {name} that is not {tables.GENDER_WORDS}'
        else:
            reading.faces[path] = age, gender
    return reading


def _to_person(name):
    """Return a person's name in lower case, without accents, signs, and zeros before a number."""
    decomposed = unicodedata.normalize('NFKD', name.casefold())
    plain = ''.join(c for c in decomposed if not unicodedata.combining(c)).translate(_PLAIN)
    return ' '.join(re.findall(r'[^\W_]+', plain)).lstrip('0')


def _read_genders(folder, paths, pattern, column, example):
    """Return {person: gender} of genders.csv, and a sentence on what is lacking if empty, or ''."""
    table, genders = os.path.join(folder, tables.GENDERS_CSV), {}
    if os.path.isfile(table):
        matches = [pattern.fullmatch(base_name(path)) for path in paths]
        persons = {_to_person(match['person']) for match in matches if match}
        columns = column, 'gender'
        for line, row in tables.read_table(table, columns, lambda n: _to_person(n) in persons):
            gender = tables.to_gender(row['gender'])
            if gender is None:
                raise InputError(
                    f'{table}, line {line}: the gender {row["gender"][: tables.SHOWN]!r} is not '
                    f'{tables.GENDER_WORDS}.'
                )
            if genders.setdefault(_to_person(row[column]), gender) != gender:
                raise InputError(f'{table}, line {line}: {row[column]!r} has both genders.')
    if genders:
        return genders, ''
    return genders, (
        f'The genders of the faces in {folder} are in no file name: supply {table} with the '
        f'columns {column},gender and a line for each person, such as {example},male '
        '(data/README.md).'
    )


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
