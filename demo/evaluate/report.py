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
    tables = []
    for title, names, members in (
        ('all', ['all'], np.zeros(len(measured), int)),
        ('age', labels.age_names(age_upper), people.ages),
        ('gender', labels.GENDER_NAMES, people.genders),
        ('race in UTKFace', labels.RACE_NAMES, people.races),
    ):
        lines = []
        for i, name in enumerate(names):
            chosen = measured[members == i]
            if len(chosen):
                l1, psnr, ssim = chosen.mean(axis=0, dtype=np.float64)
                l1 = _text(l1, '.4f', measures.confidence(chosen[:, 0]))
                lines.append([name, str(len(chosen)), l1, f'{psnr:.2f}', f'{ssim:.4f}'])
        if lines:
            tables.append(_table([title, 'faces', 'L1', 'PSNR (dB)', 'SSIM'], lines))
    return '\n\n'.join(tables)


def ageing(generated: dict, age_upper: Sequence[int]) -> str:
    """Return a Markdown table of `measures.ageing`, and of the real faces in it."""
    titles = 'swing', 'adult swing', 'rising', 'rank correlation'
    lines = []
    for name, row in (('real faces', generated['real_faces']), ('generated', generated)):
        years = _texts([*row['judged_age'], row['swing'], row['adult_swing']], '.1f')
        rising = _text(row.get('rising', np.nan), '.0%')
        lines.append([name, *years, rising, _text(row['rank_correlation'], '.2f')])
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
    lines = [
        [name, _text(of['distance'], '.3f'), _text(of['same_person'], '.0%')]
        for name, of in (
            ('its reconstruction', row['reconstructions']),
            ('generated at all ages', row),
            ('other people of its age group and gender', row['different_people']),
        )
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
    accepts = zip(names, row['false_accepts'], strict=True)
    lines = [[name, *_texts(shares, '.0%')] for name, shares in accepts]
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
        swing = _text(row['adult_swing']['mean'], '.1f', row['adult_swing']['error'])
        distance = _text(row['distance']['mean'], '.3f', row['distance']['error'])
        lines.append([f'{name}{note}', str(row['faces']), swing, distance])
    return _table(['people', 'faces', 'adult swing', 'identity: distance'], lines)


def judge(rows: list[dict]) -> str:
    """Return a Markdown table of `judge.errors`."""
    titles = 'age', 'faces', 'mean age', 'mean judged age', 'mean absolute error', 'gender right'
    lines = []
    for row in rows:
        years = _texts([row['mean_age'], row['judged_age'], row['mean_error']], '.1f')
        lines.append([row['group'], str(row['faces']), *years, _text(row['gender'], '.0%')])
    return _table(titles, lines)


def _table(titles, lines):
    """Return a Markdown table of lists of strings, the first column to the left."""
    rule = ['---', *['--:'] * (len(titles) - 1)]
    rows = [f'| {" | ".join(cells)} |' for cells in lines]
    return '\n'.join([f'| {" | ".join(titles)} |', f'|{"|".join(rule)}|', *rows])


def _by_target(row, rows, age_upper):
    """Return a table by target age of rows (name, key, format), with a last column for all."""
    lines = [[name, *_texts([*row['by_target'][key], row[key]], spec)] for name, key, spec in rows]
    return _table(['shown as', *labels.age_names(age_upper), 'all'], lines)


def _texts(values, spec):
    return [_text(value, spec) for value in values]


def _text(value, spec, error=np.nan):
    text = '' if np.isnan(value) else format(value, spec)
    return text if np.isnan(error) else f'{text} ± {error:{spec}}'
