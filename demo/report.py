"""The tables and the figure of demo.evaluate and demo.judge, from their numbers.

python -m demo.report 5.json 10.json --plot training.png shows how a training went: each file is
what `demo.evaluate --json` wrote of the model after so many epochs.
"""

import argparse
import csv
import json
import os
import pathlib

import numpy as np
from matplotlib.figure import Figure

from data import console, files, labels
from data.console import InputError
from demo import measures

COLOURS = '#30363d', '#2f6fab', '#c0504d', '#3f8f5f', '#8064a2', '#b8860b'  # of the lines


def table(title, names, members, measured):
    """Return a Markdown table of means, a row for each group that has a face.

    Args:
        title: of the first column.
        names: list of the groups' names.
        members: for each group a bool array [N], its faces.
        measured: float32 array [N, 3], as from `evaluate.measure`.
    """
    lines = [f'| {title} | faces | L1 | PSNR (dB) | SSIM |', '|---|--:|--:|--:|--:|']
    for name, chosen in zip(names, members, strict=True):
        if count := np.count_nonzero(chosen):
            l1, psnr, ssim = measured[chosen].mean(axis=0, dtype=np.float64)
            error = _error(measures.confidence(measured[chosen, 0]), 4)
            lines.append(f'| {name} | {count} | {l1:.4f}{error} | {psnr:.2f} | {ssim:.4f} |')
    return '\n'.join(lines)


def reconstruction(measured, ages, genders, races, age_upper=labels.AGE_UPPER):
    """Return the tables: all faces, by age group, by gender, by both, and by race.

    Args:
        measured: float32 array [N, 3], as from `evaluate.measure`.
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


def ageing(rows, age_upper=labels.AGE_UPPER):
    """Return a Markdown table of judged ages.

    Args:
        rows: dict from the names of methods to dicts as from `measures.ageing`.
        age_upper: last year of each age group but the last.
    """
    names = labels.age_names(age_upper)
    lines = [
        f'| judged age | {" | ".join(names)} | swing | adult swing | rising | rank correlation |',
        '|---' + '|--:' * (len(names) + 4) + '|',
    ]
    for name, row in rows.items():
        rising = '' if row.get('rising') is None else f'{row["rising"]:.0%}'
        cells = [*(_number(x, 1) for x in (*row['judged_age'], row['swing'], row['adult_swing']))]
        cells += [rising, _number(row['rank_correlation'], 2)]
        lines.append(f'| {name} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def identity(row, age_upper=labels.AGE_UPPER):
    """Return Markdown tables of `measures.identity`."""
    names, by_target = labels.age_names(age_upper), row['by_target']
    limit = f'under {row["limit"]}'
    lines = [
        f'| shown as | {" | ".join(names)} | all |',
        '|---' + '|--:' * (len(names) + 1) + '|',
        f'| distance | {" | ".join(_number(x, 3) for x in by_target["distance"])} | '
        f'{_number(row["distance"], 3)} |',
        f'| {limit} | {" | ".join(_percent(x) for x in by_target["same_person"])} | '
        f'{_percent(row["same_person"])} |',
        '',
        f'| compared with the input | distance | {limit} |',
        '|---|--:|--:|',
    ]
    for name, of in (
        ('its reconstruction', row['reconstructions']),
        ('generated at all ages', row),
        ('other people of its age group and gender', row['different_people']),
    ):
        lines.append(f'| {name} | {_number(of["distance"], 3)} | {_percent(of["same_person"])} |')
    return '\n'.join(lines)


def gender(row):
    """Return a Markdown table of `measures.gender`."""
    names = {
        'real_faces': 'real faces, for their gender',
        'own_gender': 'reconstructions, for their gender',
        'other_gender': 'shown as the other gender, for it',
        'male_to_female': 'men among these',
        'female_to_male': 'women among these',
    }
    lines = ['| the judge takes | share |', '|---|--:|']
    lines += [f'| {name} | {_percent(row[key])} |' for key, name in names.items()]
    return '\n'.join(lines)


def fairness(rows):
    """Return a Markdown table of `measures.fairness`."""
    lines = ['| people | faces | adult swing | identity: distance |', '|---|--:|--:|--:|']
    for name, row in rows.items():
        swing, distance = (
            '' if of is None else f'{of["mean"]:.{digits}f}' + _error(of['error'], digits)
            for of, digits in ((row['adult_swing'], 1), (row['distance'], 3))
        )
        note = ' (too small a group)' if row['too_small'] else ''
        lines.append(f'| {name}{note} | {row["faces"]} | {swing} | {distance} |')
    return '\n'.join(lines)


def judge(rows):
    """Return a Markdown table of `demo.judge.errors`."""
    lines = [
        '| age | faces | mean age | mean judged age | mean absolute error | gender right |',
        '|---|--:|--:|--:|--:|--:|',
    ]
    for row in rows:
        numbers = (f'{row[key]:.1f}' for key in ('mean_age', 'judged_age', 'mean_error'))
        cells = (row['group'], row['faces'], *numbers, f'{row["gender"]:.0%}')
        lines.append(f'| {" | ".join(map(str, cells))} |')
    return '\n'.join(lines)


def write_csv(path, held_out, measured, age_upper):
    """Write a row for each face: name, age, gender, race, and measures.RECONSTRUCTION."""
    age_names = labels.age_names(age_upper)
    paths, _, *known = held_out
    with (
        files.replacing(path) as aside,
        open(aside, 'x', encoding='utf-8', newline='') as file,
    ):
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(['name', 'age', 'gender', 'race', *measures.RECONSTRUCTION])
        for face, age, gender, race, row in zip(paths, *known, measured, strict=True):
            race = labels.RACE_NAMES[race] if race >= 0 else ''
            names = age_names[age], labels.GENDER_NAMES[gender], race
            writer.writerow([os.path.basename(face), *names, *(f'{x:.6g}' for x in row)])


def draw(rows, age_upper=labels.AGE_UPPER):
    """Draw judged age over target age.

    Args:
        rows, age_upper: as for `ageing`; real faces first.

    Returns:
        a matplotlib Figure.
    """
    figure = Figure([8, 5], dpi=120, layout='constrained')
    axes = figure.subplots()
    names = labels.age_names(age_upper)
    for i, (name, row) in enumerate(rows.items()):
        style = 'o--' if i == 0 else 'o-'
        axes.plot(names, row['judged_age'], style, color=COLOURS[i % len(COLOURS)], label=name)
    axes.set(xlabel='shown at the age of', ylabel='mean judged age (years)')
    axes.set_ylim(bottom=0)
    axes.grid(color='#e6e8ea')
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(frameon=False)
    return figure


def read_results(path, age_upper=None):
    """Return what --json of demo.evaluate wrote.

    Args:
        path: of the file.
        age_upper: last year of each age group but the last, which it must have; None for any.

    Raises:
        InputError: it is no such file, or of other age groups.
    """
    try:
        results = json.loads(pathlib.Path(path).read_text(encoding='utf-8'))
        judged = results['ageing']['judged_age']
        ageing({'': results['ageing']})
        over_time({0: results})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f'{path} is no file that --json wrote: name another one.') from error
    if age_upper and len(judged) != len(age_upper) + 1:
        raise InputError(f'{path} is of other age groups: name one of the same.')
    return results


def over_time(results):
    """Return a Markdown table of a training, a row for each dict of results, by epoch."""
    lines = [
        '| epochs | L1 | adult swing | rising | identity, plain | identity, reconstructions |',
        '|--:|--:|--:|--:|--:|--:|',
    ]
    for epoch, row in sorted(results.items()):
        ageing, identity = row['ageing'], row.get('identity') or {}
        cells = [
            f'{row["reconstruction"]["L1"]:.4f}',
            _number(ageing['adult_swing'], 1),
            _percent(ageing['rising']),
            _number(identity.get('distance'), 3),
            _number(identity.get('reconstructions', {}).get('distance'), 3),
        ]
        lines.append(f'| {epoch} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def draw_over_time(results):
    """Draw the L1, the adult swing and the identity of a training; arguments as for `over_time`.

    Returns:
        a matplotlib Figure.
    """
    epochs, rows = zip(*sorted(results.items()), strict=True)
    curves = {
        'L1 of reconstructions': [row['reconstruction']['L1'] for row in rows],
        'adult swing (years)': [row['ageing']['adult_swing'] for row in rows],
        'distance of descriptors': [(row.get('identity') or {}).get('distance') for row in rows],
    }
    figure = Figure([10, 3.4], dpi=120, layout='constrained')
    for axes, (name, values), colour in zip(
        figure.subplots(1, len(curves)), curves.items(), COLOURS, strict=False
    ):
        values = [np.nan if value is None else value for value in values]
        axes.plot(epochs, values, 'o-', color=colour)
        axes.set(xlabel='epochs', title=name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(color='#e6e8ea')
        axes.spines[['top', 'right']].set_visible(False)
    return figure


def save_plot(figure, path):
    """Write a matplotlib Figure as a PNG; it replaces a file at once."""
    with files.replacing(path) as aside:
        figure.savefig(aside, format='png')


def _number(value, digits):
    return '' if value is None or np.isnan(value) else f'{value:.{digits}f}'


def _percent(value):
    return '' if value is None or np.isnan(value) else f'{value:.0%}'


def _error(value, digits):
    return '' if value is None else f' ± {value:.{digits}f}'


@console.one_sentence()
def main(argv=None):
    parser = argparse.ArgumentParser(prog='python -m demo.report', description=__doc__)
    parser.add_argument('json', type=console.path, nargs='+', help='files, named by their epochs')
    parser.add_argument('--plot', metavar='PNG', type=console.path, help='to write')
    words = parser.parse_args(argv)
    results = {}
    for path in words.json:
        stem = pathlib.Path(path).stem
        if not stem.isdecimal():
            raise InputError(f'{path} tells no epoch: name it as after five epochs, 5.json.')
        results[int(stem)] = read_results(path)
    print(over_time(results))
    if words.plot:
        save_plot(draw_over_time(results), words.plot)


if __name__ == '__main__':
    main()
