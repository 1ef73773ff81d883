"""The tables of demo.evaluate and its judge, from their numbers."""

import json
import pathlib
from collections.abc import Sequence

import numpy as np

from data import labels
from data.console import InputError
from demo.evaluate import measures


def table(
    title: str, names: Sequence[str], members: Sequence[np.ndarray], measured: np.ndarray
) -> str:
    """Return a Markdown table of means, a row for each group that has a face.

    Args:
        title: of the first column.
        names: list of the groups' names.
        members: for each group a bool array [N], its faces.
        measured: float32 array [N, 3], as from `measure` in demo.evaluate.
    """
    lines = []
    for name, chosen in zip(names, members, strict=True):
        if count := np.count_nonzero(chosen):
            l1, psnr, ssim = measured[chosen].mean(axis=0, dtype=np.float64)
            error = _error(measures.confidence(measured[chosen, 0]), 4)
            lines.append([name, str(count), f'{l1:.4f}{error}', f'{psnr:.2f}', f'{ssim:.4f}'])
    return _table([title, 'faces', 'L1', 'PSNR (dB)', 'SSIM'], lines)


def reconstruction(
    measured: np.ndarray,
    ages: np.ndarray,
    genders: np.ndarray,
    races: np.ndarray,
    age_upper: Sequence[int] = labels.AGE_UPPER,
) -> str:
    """Return the tables: all faces, by age group, by gender, by both, and by race.

    Args:
        measured: float32 array [N, 3], as from `measure` in demo.evaluate.
        ages, genders: int arrays [N], age groups, and indices of labels.GENDER_NAMES.
        races: int array [N], indices of labels.RACE_NAMES, -1 where unknown.
        age_upper: last year of each age group but the last.
    """
    age_names = labels.age_names(age_upper)
    by_age = [ages == i for i in range(len(age_names))]
    by_gender = [genders == i for i in range(len(labels.GENDER_NAMES))]
    both = [
        (f'{age}, {gender}', of_age & of_gender)
        for age, of_age in zip(age_names, by_age, strict=True)
        for gender, of_gender in zip(labels.GENDER_NAMES, by_gender, strict=True)
    ]
    tables = [
        table('all', ['all'], [ages >= 0], measured),
        table('age', age_names, by_age, measured),
        table('gender', labels.GENDER_NAMES, by_gender, measured),
        table('age, gender', *zip(*both, strict=True), measured),
    ]
    if (races >= 0).any():
        by_race = [races == i for i in range(len(labels.RACE_NAMES))]
        tables.append(table('race in UTKFace', labels.RACE_NAMES, by_race, measured))
    if unknown := np.count_nonzero(races < 0):
        tables.append(f'{unknown} of {len(races)} faces have no race in their names.')
    return '\n\n'.join(tables)


def ageing(rows: dict[str, dict], age_upper: Sequence[int] = labels.AGE_UPPER) -> str:
    """Return a Markdown table of judged ages.

    Args:
        rows: dict from the names of methods to dicts as from `measures.ageing`.
        age_upper: last year of each age group but the last.
    """
    titles = 'swing', 'adult swing', 'rising', 'rank correlation'
    lines = []
    for name, row in rows.items():
        years = *row['judged_age'], row['swing'], row['adult_swing']
        rising, correlation = _percent(row.get('rising')), _number(row['rank_correlation'], 2)
        lines.append([name, *(_number(x, 1) for x in years), rising, correlation])
    return _table(['judged age', *labels.age_names(age_upper), *titles], lines)


def detail(row: dict, age_upper: Sequence[int] = labels.AGE_UPPER) -> str:
    """Return a Markdown table of `measures.detail`."""
    rows = [
        ("sharpness, by the input's", 'sharpness', _hundredths),
        ("energy of 3 to 8 pixels, by real faces'", 'band_energy', _hundredths),
        ("contrast, by the input's", 'contrast', _hundredths),
        ('change at the border (of 255)', 'border_change', _tenths),
        ('border changed by more than 10', 'border_changed', _percent),
    ]
    return _by_target(row, rows, age_upper)


def identity(row: dict, age_upper: Sequence[int] = labels.AGE_UPPER) -> str:
    """Return Markdown tables of `measures.identity`."""
    limit = f'under {row["limit"]}'
    rows = [('distance', 'distance', _thousandths), (limit, 'same_person', _percent)]
    compared = {
        'its reconstruction': row['reconstructions'],
        'generated at all ages': row,
        'other people of its age group and gender': row['different_people'],
    }
    lines = [
        [name, _thousandths(of['distance']), _percent(of['same_person'])]
        for name, of in compared.items()
    ]
    titles = ['compared with the input', 'distance', limit]
    return f'{_by_target(row, rows, age_upper)}\n\n{_table(titles, lines)}'


def recognition(row: dict, age_upper: Sequence[int] = labels.AGE_UPPER) -> str:
    """Return Markdown tables of `measures.recognition`."""
    rows = [
        (f'found first among {row["people"]} people', 'found_first', _percent),
        ('recognised at 1% false accepts', 'recognised', _percent),
    ]
    names = labels.age_names(age_upper)
    lines = [
        [name, *map(_percent, shares)]
        for name, shares in zip(names, row['false_accepts'], strict=True)
    ]
    titles = [f'different real people under {measures.SAME_PERSON}', *names]
    return f'{_by_target(row, rows, age_upper)}\n\n{_table(titles, lines)}'


def gender(row: dict) -> str:
    """Return a Markdown table of `measures.gender`."""
    names = {
        'real_faces': 'real faces, for their gender',
        'own_gender': 'reconstructions, for their gender',
        'other_gender': 'shown as the other gender, for it',
        'male_to_female': 'men among these',
        'female_to_male': 'women among these',
    }
    lines = [[name, _percent(row[key])] for key, name in names.items()]
    return _table(['the judge takes', 'share'], lines)


def fairness(rows: dict[str, dict]) -> str:
    """Return a Markdown table of `measures.fairness`."""
    lines = []
    for name, row in rows.items():
        swing, distance = (
            '' if of is None else f'{of["mean"]:.{digits}f}' + _error(of['error'], digits)
            for of, digits in ((row['adult_swing'], 1), (row['distance'], 3))
        )
        note = ' (too small a group)' if row['too_small'] else ''
        lines.append([f'{name}{note}', str(row['faces']), swing, distance])
    return _table(['people', 'faces', 'adult swing', 'identity: distance'], lines)


def judge(rows: list[dict]) -> str:
    """Return a Markdown table of `judge.errors`."""
    titles = 'age', 'faces', 'mean age', 'mean judged age', 'mean absolute error', 'gender right'
    lines = []
    for row in rows:
        numbers = (_tenths(row[key]) for key in ('mean_age', 'judged_age', 'mean_error'))
        lines.append([row['group'], str(row['faces']), *numbers, _percent(row['gender'])])
    return _table(titles, lines)


def _table(titles, lines):
    """Return a Markdown table of lists of strings, the first column to the left."""
    rule = ['---', *['--:'] * (len(titles) - 1)]
    rows = [f'| {" | ".join(cells)} |' for cells in lines]
    return '\n'.join([f'| {" | ".join(titles)} |', f'|{"|".join(rule)}|', *rows])


def _by_target(row, lines, age_upper):
    """Return a Markdown table by target age, with a last column for all.

    Args:
        row: dict of numbers, with one of lists of them by the same keys, by_target.
        lines: for each its title, its key and a function that formats a number.
        age_upper: last year of each age group but the last.
    """
    titles = 'shown as', *labels.age_names(age_upper), 'all'
    cells = [[title, *map(text, [*row['by_target'][key], row[key]])] for title, key, text in lines]
    return _table(titles, cells)


def read_ageing(path: str, age_upper: Sequence[int]) -> dict:
    """Return the ageing that --json of demo.evaluate wrote.

    Args:
        path: of the file.
        age_upper: last year of each age group but the last, which it must have.

    Raises:
        InputError: it is no such file, or of other age groups.
    """
    try:
        row = json.loads(pathlib.Path(path).read_text(encoding='utf-8'))['ageing']
        count = len(row['judged_age'])
        ageing({'': row}, age_upper)  # all numbers are there
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f'{path} is no file that --json wrote: name another one.') from error
    if count != len(age_upper) + 1:
        raise InputError(f'{path} is of other age groups: name one of the same.')
    return row


def _number(value, digits):
    return '' if value is None or np.isnan(value) else f'{value:.{digits}f}'


def _percent(value):
    return '' if value is None or np.isnan(value) else f'{value:.0%}'


def _tenths(value):
    return _number(value, 1)


def _hundredths(value):
    return _number(value, 2)


def _thousandths(value):
    return _number(value, 3)


def _error(value, digits):
    return '' if value is None else f' ± {value:.{digits}f}'
