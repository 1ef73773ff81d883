"""What copies of photos in a data set mean: how far their labels differ, and which face to keep."""

import itertools
import os
import shlex
import warnings

import numpy as np

from data import doubles
from data.labels import age_group

FAR = 10  # years between two labels of a photo
DIFFERENCES = (
    'pairs',
    'age differs',
    'years apart',
    f'over {FAR} years',
    'age group differs',
    'gender differs',
)


def warn(folder, photos, ages, genders):
    """Warn of photos that are there more than once; say how to leave one face of each.

    Args:
        folder: of the data set.
        photos: int array [N], as from `doubles.find`.
        ages, genders: int arrays [N], as from `labels.list_faces`.
    """
    copies = doubles.groups(photos)
    if not copies:
        return
    differing = sum(len({(ages[i], genders[i]) for i in copy}) > 1 for copy in copies)
    datadir, name = os.path.split(os.path.normpath(folder))
    command = shlex.join(
        ['python', '-m', 'data.check', name, '--datadir', datadir or '.', '--csv', 'True']
    )
    warnings.warn(
        f'{len(copies):,} photos in {folder} are there more than once, as '
        f'{sum(map(len, copies)):,} faces, {differing:,} of them with different age groups or '
        f'genders: {command} keeps one face of each.',
        stacklevel=3,
    )


def describe(copies, contents, known, age_upper):
    """Return a text on the photos that are there more than once.

    Args:
        copies: list of int arrays, as from `doubles.groups`.
        contents: int array [N], as from `check.find_photos`.
        known: list of N labels, (age, gender).
        age_upper: last year of each age group but the last.
    """
    alike = sum(len(set(contents[copy])) == 1 for copy in copies)
    differing = sum(len({known[i] for i in copy}) > 1 for copy in copies)
    numbers = np.array(
        [
            (age, age_group(age, age_upper), -1 if gender is None else gender)
            for age, gender in known
        ]
    )
    return (
        f'{len(copies):,} photos are there more than once, as {sum(map(len, copies)):,} faces; '
        f'{alike:,} of them as identical files only. In {differing:,} the labels differ:\n\n'
        + compare_labels(copies, contents, numbers)
    )


def compare_labels(copies, contents, labels):
    """Return a Markdown table: how far the labels of two faces of one photo differ.

    Args:
        copies: list of int arrays, as from `doubles.groups`.
        contents: int array [N], equal for files of the same content.
        labels: int array [N, 3], age in years, age group, and gender, -1 if unknown.
    """
    identical, other = np.zeros(len(DIFFERENCES), int), np.zeros(len(DIFFERENCES), int)
    for copy in copies:
        for place, i in enumerate(copy[:-1]):  # one by one, so that a large group takes no memory
            rest = copy[place + 1 :]
            is_same = contents[rest] == contents[i]
            identical += _count(labels[rest[is_same]] - labels[i])
            other += _count(labels[rest[~is_same]] - labels[i])
    lines = [
        f'| two faces of one photo | {" | ".join(DIFFERENCES)} |',
        '|---' + '|--:' * len(DIFFERENCES) + '|',
    ]
    for name, counts in (
        ('identical files', identical),
        ('other copies', other),
        ('all', identical + other),
    ):
        pairs, age, years, *shares = counts
        cells = [f'{count / max(pairs, 1):.0%}' for count in (age, *shares)]
        cells.insert(1, f'{years / max(pairs, 1):.1f}')
        lines.append(f'| {name} | {pairs:,} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def _count(differences):
    """Return the numbers of DIFFERENCES, an int array, of the labels of pairs, int [P, 3]."""
    years = np.abs(differences[:, 0])
    age, group, gender = np.count_nonzero(differences, axis=0)
    return np.array([len(years), age, years.sum(), np.count_nonzero(years > FAR), group, gender])


def lines(copies, contents, names, most):
    """Return a line for each photo: its files' names, = between identical ones, ~ between others.

    Args:
        copies: list of int arrays, as from `doubles.groups`.
        contents: int array [N], as from `check.find_photos`.
        names: list of N names.
        most: number of names on a line; None for all.
    """
    found = []
    for copy in copies:
        copy = copy[np.argsort(contents[copy], kind='stable')]
        words = [names[copy[0]]]
        for before, i in itertools.pairwise(copy[:most]):
            words += ['=' if contents[before] == contents[i] else '~', names[i]]
        if most and len(copy) > most:
            words.append(f'... and {len(copy) - most:,} more')
        found.append(' '.join(words))
    return found


def choose_clean(faces, readable, copies):
    """Return the readable faces, of each photo one, a dict from paths to labels.

    The first face of a photo gets the median of its ages, in whole years, and the gender of most;
    a photo with as many of both genders is left out.

    Args:
        faces: dict from N paths to labels, (age, gender).
        readable: the paths that can be read.
        copies: list of int arrays, as from `doubles.groups`.
    """
    paths = [*faces]
    clean = {path: faces[path] for path in readable}
    for copy in copies:
        first, *others = (paths[i] for i in copy)
        ages, genders = zip(*(faces[paths[i]] for i in copy), strict=True)
        women, men = genders.count(1), genders.count(0)
        clean[first] = int(np.median(ages)), int(women > men)
        for path in others if women != men else (first, *others):
            del clean[path]
    return clean
