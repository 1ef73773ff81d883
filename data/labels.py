"""What a file name says of a face: UTKFace's `age_gender_race_time.jpg`."""

import bisect
import hashlib
import itertools
import os
import re
import warnings

import numpy as np

from ops import InputError

AGE_UPPER = (5, 10, 15, 20, 30, 40, 50, 60, 70)  # last year of each age group; the rest is older
AGE_NAMES = (
    *(f'{last + 1}-{upper}' for last, upper in itertools.pairwise((-1, *AGE_UPPER))),
    f'over {AGE_UPPER[-1]}',
)
GENDER_NAMES = ('male', 'female')
RACE_NAMES = ('White', 'Black', 'Asian', 'Indian', 'Others')  # as UTKFace numbers and calls them
HELD_OUT = 20  # one face in so many is left out of training
IMAGE_SUFFIXES = ('.bmp', '.gif', '.jpeg', '.jpg', '.png', '.webp')
# Only the first two fields count: some names of UTKFace lack the race, others are mistyped behind.
_LABELLED = re.compile(r'(\d{1,3})_([01])(?!\d)')
_WITH_RACE = re.compile(r'\d{1,3}_[01]_([0-4])_')


def parse_name(path):
    """Return (age in years, gender: 0 male, 1 female) from a file name, None if it has no label."""
    match = _LABELLED.match(_base_name(path))
    return (int(match[1]), int(match[2])) if match else None


def parse_race(path):
    """Return UTKFace's race, an index of RACE_NAMES, from a file name, None where it has none."""
    match = _WITH_RACE.match(_base_name(path))
    return int(match[1]) if match else None


def held_out(name):
    """Whether a face is left out of training, to measure on: one in HELD_OUT, by chance.

    It hangs on its file's base name alone, so it is the same whatever other files there are.
    """
    digest = hashlib.sha256(_base_name(name).encode()).hexdigest()
    return int(digest, 16) % HELD_OUT == 0


def age_group(age, age_upper=AGE_UPPER):
    """Return the index of the group of an age in years: 0-5 -> 0, 6-10 -> 1, ..., over 70 -> 9."""
    return bisect.bisect_left(age_upper, age)


def one_hot(index, depth):
    """Return labels float32 [B, depth], 1 at each index and -1 elsewhere, from indices [B]."""
    return np.where(np.asarray(index)[:, None] == np.arange(depth), 1, -1).astype(np.float32)


def list_images(folder):
    """Return the paths of a folder's pictures, sorted by name.

    Raises:
        InputError: no such folder, or no picture in it.
    """
    if not os.path.isdir(folder):
        raise InputError(
            f'There is no folder {folder}: put the images there (README, "Data sets").'
        )
    names = sorted(
        name
        for name in os.listdir(folder)
        if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith('.')
    )
    if not names:
        raise InputError(
            f'No images in {folder}: put {", ".join(s[1:] for s in IMAGE_SUFFIXES)} files there '
            '(README, "Data sets").'
        )
    return [os.path.join(folder, name) for name in names]


def list_faces(folder, hold_out=False):
    """List the labelled faces of a data set; warn once of the names that carry no label.

    Args:
        folder: of the data set.
        hold_out: leave out those of which `held_out` is true.

    Returns:
        paths: list of N, sorted by name.
        ages: int32 array [N], age groups.
        genders: int32 array [N], 0 male, 1 female.

    Raises:
        InputError: no such folder, or no labelled picture in it.
    """
    paths = list_images(folder)
    parsed = [parse_name(path) for path in paths]
    unlabelled = [path for path, label in zip(paths, parsed, strict=True) if label is None]
    faces = [(path, *label) for path, label in zip(paths, parsed, strict=True) if label]
    if not faces:
        raise InputError(
            f'No image name in {folder} begins with age and gender: '
            'name them as UTKFace does, 25_0_....jpg for a man of 25 (README, "Data sets").'
        )
    if unlabelled:
        warnings.warn(
            f'{len(unlabelled)} of {len(paths)} images in {folder} skipped: their names do not '
            f'begin with age and gender, as {os.path.basename(unlabelled[0])!r}.',
            stacklevel=2,
        )
    if hold_out:
        faces = [face for face in faces if not held_out(face[0])]
    groups = np.array([age_group(age) for _, age, _ in faces], np.int32)
    genders = np.array([gender for _, _, gender in faces], np.int32)
    return [path for path, _, _ in faces], groups, genders


def _base_name(path):
    """Return the name of a file without its folders; Windows' paths too."""
    return re.split(r'[/\\]', str(path))[-1]
