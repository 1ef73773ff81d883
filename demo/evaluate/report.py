"""The tables of demo.evaluate and its judge, from their numbers."""

from collections.abc import Sequence

import numpy as np

from data import labels
from demo.evaluate import measures
from demo.evaluate.subjects import People


def reconstruction(measured: np.ndarray, people: People, age_upper: Sequence[int]) -> str:
    """Return Markdown tables of means: of all faces, by age group, by gender, and by race.

    measured is [N, 3], measures.RECONSTRUCTION of each of the people.
    """
    everyone = np.zeros(len(measured), int)
    tables = [
        _means(title, names, members, measured)
        for title, names, members in (
            ('all', ['all'], everyone),
            ('age', labels.age_names(age_upper), people.ages),
            ('gender', labels.GENDER_NAMES, people.genders),
            ('race in UTKFace', labels.RACE_NAMES, people.races),
        )
        if (members >= 0).any()
    ]
    if unknown := np.count_nonzero(people.races < 0):
        tables.append(f'{unknown} of {len(measured)} faces have no race in their names.')
    return '\n\n'.join(tables)


def _means(title, names, members, measured):
    """Return a table with a row for each group, an index of names, that has a face."""
    lines = []
    for i, name in enumerate(names):
        chosen = measured[members == i]
        if len(chosen):
            l1, psnr, ssim = chosen.mean(axis=0, dtype=np.float64)
            error = _error(measures.confidence(chosen[:, 0]), '.4f')
            lines.append([name, str(len(chosen)), f'{l1:.4f}{error}', f'{psnr:.2f}', f'{ssim:.4f}'])
    return _table([title, 'faces', 'L1', 'PSNR (dB)', 'SSIM'], lines)


def ageing(rows: dict[str, dict], age_upper: Sequence[int]) -> str:
    """Return a Markdown table of dicts as from `measures.ageing`, by the names of their rows."""
    titles = 'swing', 'adult swing', 'rising', 'rank correlation'
    lines = []
    for name, row in rows.items():
        years = *row['judged_age'], row['swing'], row['adult_swing']
        rising, correlation = row.get('rising', np.nan), row['rank_correlation']
        cells = [*(_text(x, '.1f') for x in years), _text(rising, '.0%'), _text(correlation, '.2f')]
        lines.append([name, *cells])
    return _table(['judged age', *labels.age_names(age_upper), *titles], lines)


def detail(row: dict, age_upper: Sequence[int]) -> str:
    """Return a Markdown table of `measures.detail`."""
    rows = [
        ("sharpness, by the input's", 'sharpness', '.2f'),
        ("energy of 3 to 8 pixels, by real faces'", 'band_energy', '.2f'),
        ("contrast, by the input's", 'contrast', '.2f'),
        ('change at the border (of 255)', 'border_change', '.1f'),
        ('border changed by more than 10', 'border_changed', '.0%'),
    ]
    return _by_target(row, rows, age_upper)


def identity(row: dict, age_upper: Sequence[int]) -> str:
    """Return Markdown tables of `measures.identity`."""
    limit = f'under {row["limit"]}'
    rows = [('distance', 'distance', '.3f'), (limit, 'same_person', '.0%')]
    compared = {
        'its reconstruction': row['reconstructions'],
        'generated at all ages': row,
        'other people of its age group and gender': row['different_people'],
    }
    lines = [
        [name, _text(of['distance'], '.3f'), _text(of['same_person'], '.0%')]
        for name, of in compared.items()
    ]
    titles = ['compared with the input', 'distance', limit]
    return f'{_by_target(row, rows, age_upper)}\n\n{_table(titles, lines)}'


def recognition(row: dict, age_upper: Sequence[int]) -> str:
    """Return Markdown tables of `measures.recognition`."""
    rows = [
        (f'found first among {row["people"]} people', 'found_first', '.0%'),
        ('recognised at 1% false accepts', 'recognised', '.0%'),
    ]
    names = labels.age_names(age_upper)
    lines = [
        [name, *(_text(share, '.0%') for share in shares)]
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
    lines = [[name, _text(row[key], '.0%')] for key, name in names.items()]
    return _table(['the judge takes', 'share'], lines)


def fairness(rows: dict[str, dict]) -> str:
    """Return a Markdown table of `measures.fairness`."""
    lines = []
    for name, row in rows.items():
        note = ' (too small a group)' if row['too_small'] else ''
        cells = [
            _text(row[key]['mean'], spec) + _error(row[key]['error'], spec)
            for key, spec in (('adult_swing', '.1f'), ('distance', '.3f'))
        ]
        lines.append([f'{name}{note}', str(row['faces']), *cells])
    return _table(['people', 'faces', 'adult swing', 'identity: distance'], lines)


def judge(rows: list[dict]) -> str:
    """Return a Markdown table of `judge.errors`."""
    titles = 'age', 'faces', 'mean age', 'mean judged age', 'mean absolute error', 'gender right'
    lines = []
    for row in rows:
        years = [_text(row[key], '.1f') for key in ('mean_age', 'judged_age', 'mean_error')]
        lines.append([row['group'], str(row['faces']), *years, _text(row['gender'], '.0%')])
    return _table(titles, lines)


def _table(titles, lines):
    """Return a Markdown table of lists of strings, the first column to the left."""
    rule = ['---', *['--:'] * (len(titles) - 1)]
    rows = [f'| {" | ".join(cells)} |' for cells in lines]
    return '\n'.join([f'| {" | ".join(titles)} |', f'|{"|".join(rule)}|', *rows])


def _by_target(row, lines, age_upper):
    """Return a table by target age of lines (title, key, format), with a last column for all."""
    titles = 'shown as', *labels.age_names(age_upper), 'all'
    cells = [
        [title, *(_text(x, spec) for x in [*row['by_target'][key], row[key]])]
        for title, key, spec in lines
    ]
    return _table(titles, cells)


def _text(value, spec):
    return '' if np.isnan(value) else format(value, spec)


def _error(value, spec):
    return '' if value is None else f' ± {value:{spec}}'
