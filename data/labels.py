"""Labels of faces: age groups and genders, from the ages and genders that data.readers finds."""

import bisect
import hashlib
import itertools
import os
import warnings

import numpy as np

from data import files, readers, tables
from data.console import InputError

AGE_UPPER = (5, 10, 15, 20, 30, 40, 50, 60, 70)  # last year of each age group but the last
GENDER_NAMES = ('male', 'female')
RACE_NAMES = ('White', 'Black', 'Asian', 'Indian', 'Others')  # numbered and named as in UTKFace
# Years from the last limit to the centre of the oldest group. In UTKFace the median age of the
# 1,193 faces over 70 is 80, of those over 60 it is 71, of those over 50 it is 61.
LAST_GROUP_CENTRE = 10
YEARS_PER_FRAME = 3  # of an animation: from 2 to 80 in 27 frames, below a megabyte
HELD_OUT = 20  # one face in this many is left out of training


def held_out(name):
    """Whether a face is held out of training, to measure on: one in HELD_OUT, pseudo-randomly.

    The choice depends only on the file's base name, not on the other files in the data set. A
    training leaves out all other faces of the same photos too, see `pipeline.load_data_set`.
    """
    digest = hashlib.sha256(files.base_name(name).encode()).hexdigest()
    return int(digest, 16) % HELD_OUT == 0


def parse_age_upper(text):
    """Return the last year of each age group but the last, a tuple, from '5,10,...'.

    Raises:
        InputError: these are not whole numbers from 1 to OLDEST, each larger than the one before.
    """
    try:
        upper = tuple(int(word) for word in text.split(','))
    except ValueError:
        upper = (0,)
    rising = all(a < b for a, b in itertools.pairwise(upper))
    if not (rising and upper[0] >= 1 and upper[-1] <= tables.OLDEST):
        raise InputError(
            f'{text[:100]!r} are no upper limits of age groups: pass whole numbers of '
            f'years from 1 to {tables.OLDEST}, each larger than the one before, such as '
            f'{format_age_upper(AGE_UPPER)}.'
        )
    return upper


def format_age_upper(age_upper):
    """Return the limits of age groups as text, the inverse of `parse_age_upper`."""
    return ','.join(map(str, age_upper))


def age_names(age_upper=AGE_UPPER):
    """Return the names of the age groups: 0-5, 6-10, ..., over 70."""
    spans = itertools.pairwise((-1, *age_upper))
    return (*(f'{last + 1}-{upper}' for last, upper in spans), f'over {age_upper[-1]}')


def age_group(age, age_upper=AGE_UPPER):
    """Return the index of the group of an age in years: 0-5 -> 0, 6-10 -> 1, ..., over 70 -> 9."""
    return bisect.bisect_left(age_upper, age)


def one_hot(index, depth):
    """Return labels float32 [B, depth], 1 at each index and -1 elsewhere, from indices [B]."""
    return np.where(np.asarray(index)[:, None] == np.arange(depth), 1, -1).astype(np.float32)


def age_centres(age_upper=AGE_UPPER):
    """Return the central year of each age group, float array [L]: 2.5 of 0-5, 8 of 6-10, ..."""
    spans = itertools.pairwise((-1, *age_upper))
    closed = [(last + 1 + upper) / 2 for last, upper in spans]
    return np.array([*closed, age_upper[-1] + LAST_GROUP_CENTRE])


def age_label(years, age_upper=AGE_UPPER):
    """Return labels of ages in years, between those of the age groups.

    The label of a group's central year is `one_hot` of that group; between two centres the labels
    change linearly. Below the first centre and above the last they are constant.

    Args:
        years: array [...].
        age_upper: last year of each age group but the last.

    Returns:
        float32 array [..., L] in [-1, 1], for L age groups.
    """
    centres = age_centres(age_upper)
    groups = np.arange(len(centres))
    place = np.interp(years, centres, groups)[..., None]
    return (2 * np.maximum(1 - np.abs(place - groups), 0) - 1).astype(np.float32)


def glide_years(age_upper=AGE_UPPER):
    """Return the years of an animation's frames, from the first group's centre to the last's."""
    centres = age_centres(age_upper).astype(int)
    return range(centres[0], centres[-1] + 1, YEARS_PER_FRAME)


def parse_ages(text):
    """Return ages in years, a tuple, from '5,30,65'.

    Raises:
        InputError: these are not whole numbers from 0 to OLDEST.
    """
    try:
        ages = tuple(int(word) for word in text.split(','))
    except ValueError:
        ages = ()
    if not ages or min(ages) < 0 or max(ages) > tables.OLDEST:
        raise InputError(
            f'{text!r} are no ages: pass whole numbers of years from 0 to {tables.OLDEST}, such as '
            '5,30,65.'
        )
    return ages


def list_faces(folder, hold_out=False, reader=None, age_upper=AGE_UPPER):
    """List the labelled faces of a data set; warn of pictures left out and of contradictions.

    Args:
        folder: of the data set, sub-folders included.
        hold_out: leave out the faces for which `held_out` is true.
        reader: of the labels, a key of readers.READERS; by default `readers.read` chooses it.
        age_upper: last year of each age group but the last.

    Returns:
        paths: list of N, sorted by name.
        ages: int32 array [N], age groups.
        genders: int32 array [N], 0 male, 1 female.

    Raises:
        InputError: there is no such folder, no labelled picture in it, or no table of genders.
    """
    name, reading = readers.read(folder, reader)
    for note in reading.notes:  # first, since they may say why there are no labels
        warnings.warn(note, stacklevel=2)
    require_labels(folder, name, reading)
    if reading.skipped:
        examples = {}  # from each reason to its first picture
        for path, reason in reading.skipped.items():
            examples.setdefault(reason, os.path.basename(path))
        reasons = '; '.join(f'{reason}, such as {path!r}' for reason, path in examples.items())
        count = len(reading.skipped) + len(reading.faces)
        warnings.warn(
            f'{len(reading.skipped)} of {count} images in {folder} skipped: {reasons}.',
            stacklevel=2,
        )
    faces = reading.faces.items()
    if hold_out:
        faces = [(path, label) for path, label in faces if not held_out(path)]
    groups = np.array([age_group(age, age_upper) for _, (age, _) in faces], np.int32)
    genders = np.array([gender for _, (_, gender) in faces], np.int32)
    return [path for path, _ in faces], groups, genders


def cells(ages, genders):
    """Return a number for each pair of labels: int array [N], of ages [N, L] and genders [N, 2]."""
    return np.argmax(ages, axis=1) * 2 + np.argmax(genders, axis=1)


def require_batches(folder, count, size_batch):
    """Raise an InputError if a data set has too few faces for the samples and one batch."""
    if count < 2 * size_batch:
        smaller = count // 2
        raise InputError(
            f'{folder} holds {count} faces, too few for batches of {size_batch} (samples and one '
            f'batch take {2 * size_batch}): '
            + ('take smaller batches, or add faces.' if smaller > 1 else 'add faces.'),
            **({'batch_size': smaller} if smaller > 1 else {}),
        )


def require_labels(folder, name, reading):
    """Raise an InputError, which says what to do, if a reading has no faces to train on.

    Args:
        folder: of the data set.
        name, reading: as from `readers.read`.
    """
    cure = (
        f'list the images in {os.path.join(folder, tables.LABELS_CSV)} with the columns '
        'file,age,gender (data/README.md).'
    )
    if not reading.faces and name == 'utkface':
        raise InputError(
            f'No image name in {folder} begins with age and gender: name them as UTKFace does, '
            f'25_0_....jpg for a man of 25, or {cure}'
        )
    if not reading.faces:
        reasons = '; '.join(dict.fromkeys(reading.skipped.values()))
        raise InputError(f'No image in {folder} has a label ({reasons}): mend that, or {cure}')
    if reading.lacking:
        raise InputError(reading.lacking)
