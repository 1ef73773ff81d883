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


def held_out(name: str) -> bool:
    """Whether a face is held out of training, to measure on: one in HELD_OUT, pseudo-randomly.

    The choice depends only on the file's base name, not on the other files in the data set. A
    training leaves out all other faces of the same photos too, see `pipeline.load_data_set`.
    """
    digest = hashlib.sha256(files.base_name(name).encode()).hexdigest()
    return int(digest, 16) % HELD_OUT == 0


def parse_age_upper(text: str) -> tuple[int, ...]:
    """Return the last year of each age group but the last, from '5,10,...', or raise InputError."""
    upper = _years(text)
    rising = all(a < b for a, b in itertools.pairwise(upper))
    if not (upper and rising and upper[0] >= 1):
        raise InputError(
            f'{text[:100]!r} are no upper limits of age groups: pass whole numbers of '
            f'years from 1 to {tables.OLDEST}, each larger than the one before, such as '
            f'{",".join(map(str, AGE_UPPER))}.'
        )
    return upper


def parse_ages(text: str) -> tuple[int, ...]:
    """Return ages in years from '5,30,65'; raise an InputError for anything else."""
    if not (ages := _years(text)):
        raise InputError(
            f'{text!r} are no ages: pass whole numbers of years from 0 to {tables.OLDEST}, such as '
            '5,30,65.'
        )
    return ages


def _years(text):
    """Return a tuple of the whole numbers in a text, () unless they are from 0 to OLDEST."""
    try:
        years = tuple(map(int, text.split(',')))
    except ValueError:
        return ()
    return years if min(years) >= 0 and max(years) <= tables.OLDEST else ()


def age_names(age_upper: tuple[int, ...] = AGE_UPPER) -> tuple[str, ...]:
    """Return the names of the age groups: 0-5, 6-10, ..., over 70."""
    spans = itertools.pairwise((-1, *age_upper))
    return (*(f'{last + 1}-{upper}' for last, upper in spans), f'over {age_upper[-1]}')


def age_group(age: float, age_upper: tuple[int, ...] = AGE_UPPER) -> int:
    """Return the index of the group of an age in years: 0-5 -> 0, 6-10 -> 1, ..., over 70 -> 9."""
    return bisect.bisect_left(age_upper, age)


def one_hot(index, depth: int) -> np.ndarray:
    """Return labels float32 [B, depth], 1 at each index and -1 elsewhere, from indices [B]."""
    return np.where(np.asarray(index)[:, None] == np.arange(depth), 1, -1).astype(np.float32)


def age_centres(age_upper: tuple[int, ...] = AGE_UPPER) -> np.ndarray:
    """Return the central year of each age group, float array [L]: 2.5 of 0-5, 8 of 6-10, ..."""
    spans = itertools.pairwise((-1, *age_upper))
    closed = [(last + 1 + upper) / 2 for last, upper in spans]
    return np.array([*closed, age_upper[-1] + LAST_GROUP_CENTRE])


def age_label(years, age_upper: tuple[int, ...] = AGE_UPPER) -> np.ndarray:
    """Return labels of ages in years, between those of the age groups.

    The label of a group's central year is `one_hot` of that group; between two centres the labels
    change linearly. Below the first centre and above the last they are constant. Years [...] have
    labels float32 [..., L] in [-1, 1], for L age groups.
    """
    centres = age_centres(age_upper)
    groups = np.arange(len(centres))
    place = np.interp(years, centres, groups)[..., None]
    return (2 * np.maximum(1 - np.abs(place - groups), 0) - 1).astype(np.float32)


def glide_years(age_upper: tuple[int, ...] = AGE_UPPER) -> range:
    """Return the years of an animation's frames, from the first group's centre to the last's."""
    centres = age_centres(age_upper).astype(int)
    return range(centres[0], centres[-1] + 1, YEARS_PER_FRAME)


def list_faces(
    folder: str,
    hold_out: bool = False,
    reader: str | None = None,
    age_upper: tuple[int, ...] = AGE_UPPER,
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """List the labelled faces of a data set; warn of pictures and lines that are left out.

    With hold_out those are left out for which `held_out` is true; the reader is one of
    flag_types.READERS, by default what `readers.read` chooses. Returns N paths sorted by name, age
    groups and genders, 0 male, 1 female, int32 arrays.
    """
    _, reading = readers.read(folder, reader)
    require_labels(folder, reading)
    if skipped := reading.skipped:
        examples = {}  # from each reason to its first picture
        for path, reason in skipped.items():
            examples.setdefault(reason, os.path.basename(path))
        reasons = '; '.join(f'{reason}, such as {path!r}' for reason, path in examples.items())
        count = len(skipped) + len(reading.faces)
        text = f'{len(skipped)} of {count} images in {folder} skipped: {reasons}.'
        warnings.warn(text, stacklevel=2)
    paths = [path for path in reading.faces if not (hold_out and held_out(path))]
    ages, genders = np.array([reading.faces[path] for path in paths], np.int32).reshape(-1, 2).T
    return paths, np.searchsorted(age_upper, ages).astype(np.int32), genders


def cells(ages: np.ndarray, genders: np.ndarray) -> np.ndarray:
    """Return a number for each pair of labels: int array [N], of ages [N, L] and genders [N, 2]."""
    return np.argmax(ages, axis=1) * 2 + np.argmax(genders, axis=1)


def require_batches(folder: str, count: int, size_batch: int) -> None:
    """Raise an InputError if a data set has too few faces for the samples and one batch."""
    if count < 2 * size_batch:
        raise InputError(
            f'{folder} holds {count} faces, too few for batches of {size_batch} (samples and one '
            f'batch take {2 * size_batch}): take smaller batches, or add faces.',
            **({'batch_size': count // 2} if count > 3 else {}),
        )


def require_labels(folder: str, reading: readers.Reading) -> None:
    """Raise an InputError, which says what to do, if `readers.read` found no faces to train on."""
    if not reading.faces:
        reasons = '; '.join(dict.fromkeys(reading.skipped.values()))
        raise InputError(
            f'No image in {folder} has a label ({reasons}): name them as UTKFace does, '
            '25_0_....jpg for a man of 25, or list them in '
            f'{os.path.join(folder, tables.LABELS_CSV)} with the columns file,age,gender '
            '(data/README.md).'
        )
    if reading.lacking:
        raise InputError(reading.lacking)
