"""Measure what ages that show cost in likeness: python -m demo.frontier.

Held-out people are shown at all ages with several values of age_shift and likeness. The values are
to be chosen on one half of the people and reported on the other: a table for each half is printed,
and a figure of the second half is written. It shows how many years older people are judged over 70
than at 21 to 30, over the share of faces that a network takes for the person in the photo. Needs
demo/requirements.txt.
"""

import argparse
import os
import typing

import numpy as np
from matplotlib.figure import Figure

from data import console, labels, pipeline
from demo import judge, likeness, measures, photos, report, subjects

SHIFTS = 0, 0.6, 1, 1.5  # age_shift: a line each
LIKENESSES = 0, 0.4, 0.6, 0.8, 1  # the points of a line
IDENTITY_AT = slice(None, None, 3)  # age groups: descriptors take most of the time
COLOURS = '#9aa3ab', '#8fb4d9', '#2f6fab', '#30363d'
PUBLISHED = 23.3  # years, the adult swing of the ten faces in the authors' published picture


class Point(typing.NamedTuple):
    """A pair of values, and what was measured of N people.

    Attributes:
        age_shift, likeness: see demo.likeness.
        judged: float array [N, L], judged ages at each target age.
        distances: float array [N, T], of descriptors between photo and face, at some of them.
    """

    age_shift: float
    likeness: float
    judged: np.ndarray
    distances: np.ndarray

    def summary(self, people, adult):
        """Return the adult swing in years, and the shares that rise and that are recognised."""
        ageing = measures.ageing(self.judged[people], adult)
        recognised = np.mean(self.distances[people] < measures.SAME_PERSON)
        return ageing['adult_swing'], ageing['rising'], float(recognised)


def measure(model, codes, faces, genders, judge_age, describe):
    """Measure all pairs of values.

    Args:
        model: a FaceAging, trained.
        codes: its Codes.
        faces: uint8 array [N, S, S, C].
        genders: int array [N], 0 male, 1 female.
        judge_age, describe: a judge.Judge and a measures.Descriptor.

    Returns:
        list of Points.
        float array [N], distances of the reconstructions from the photos.
    """
    people = likeness.look_at(model, codes, pipeline.to_float(faces))
    photos = describe(faces)
    own = describe(measures.to_bytes(people.reconstructions))
    ages = labels.one_hot(np.arange(model.num_categories), model.num_categories)[:, None]
    genders = labels.one_hot(genders, 2)
    points = []
    for shift in SHIFTS:
        generated = likeness.show(model, codes, people, ages, genders, shift, 0)
        for strength in LIKENESSES:
            shown = np.stack(  # an age at a time: all at once take gigabytes
                [measures.to_bytes(likeness.lay_over(people, row, strength)) for row in generated]
            )
            judged = np.stack([judge_age(row)[0] for row in shown], axis=1)
            some = shown[IDENTITY_AT]
            described = describe(some.reshape(-1, *faces.shape[1:]))
            distances = described.reshape(len(some), len(faces), -1) - photos
            distances = np.linalg.norm(distances, axis=-1).T
            points.append(Point(shift, strength, judged, distances))
    return points, np.linalg.norm(own - photos, axis=-1)


def table(points, people, adult):
    """Return a Markdown table: the measures of some people, an index of arrays, at each Point."""
    lines = [
        '| age_shift | likeness | adult swing | rising | recognised |',
        '|--:|--:|--:|--:|--:|',
    ]
    for point in points:
        swing, rising, recognised = point.summary(people, adult)
        lines.append(
            f'| {point.age_shift} | {point.likeness} | {swing:.1f} | {rising:.0%} '
            f'| {recognised:.0%} |'
        )
    return '\n'.join(lines)


def draw(points, reconstructions, people, adult):
    """Draw the adult swing over the share of recognised faces; arguments as for `table`.

    Args:
        reconstructions: float array [N], distances of the reconstructions.
    """
    figure = Figure([9, 5.6], dpi=120, layout='constrained')
    axes = figure.subplots()
    for shift, colour in zip(SHIFTS, COLOURS, strict=True):
        line = [point for point in points if point.age_shift == shift]
        swing, _, recognised = np.transpose([point.summary(people, adult) for point in line])
        axes.plot(100 * recognised, swing, 'o-', color=colour, label=f'age_shift {shift}')
        for point, x, y in zip(line, recognised, swing, strict=True):
            place = {'xytext': (5, 5), 'textcoords': 'offset points'}
            axes.annotate(f'{point.likeness}', (100 * x, y), **place, color=colour, fontsize=8)
            if (point.age_shift, point.likeness) == (likeness.AGE_SHIFT, likeness.LIKENESS):
                axes.plot(100 * x, y, 'o', color='#c0504d', markersize=10, label='the defaults')
            if (point.age_shift, point.likeness) == (0, 0):
                axes.annotate("the paper's method", (100 * x, y), **{**place, 'xytext': (8, -14)})
    share = 100 * np.mean(reconstructions[people] < measures.SAME_PERSON)
    axes.axvline(share, color='#3f8f5f', linestyle=':', label='its reconstructions, at the own age')
    axes.axhline(PUBLISHED, color='#c0504d', linestyle=':', label="the authors' published picture")
    axes.set(xlim=(0, 101), xlabel='faces recognised as the person in the photo (%)')
    axes.set_ylabel('adult swing (years)')
    axes.set_title('Points are values of likeness', fontsize=10)
    axes.grid(color='#e6e8ea')
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(frameon=False)
    return figure


@console.one_sentence()
def main(argv=None):
    parser = argparse.ArgumentParser(prog='python -m demo.frontier', description=__doc__)
    photos.add_arguments(parser)
    parser.add_argument(
        '--datadir', type=console.path, default='data', help='folder of the data sets'
    )
    parser.add_argument(
        '--dataset', type=console.path, default='UTKFace', help='folder of the faces in DATADIR'
    )
    parser.add_argument('--faces', type=int, default=8, help='people of each age group and gender')
    parser.add_argument(
        '--judge', type=console.path, default=judge.HERE, help='folder of the judge; default: demo'
    )
    parser.add_argument(
        '--out',
        type=console.path,
        default='demo/frontier.png',
        help='figure to write (%(default)s)',
    )
    words = parser.parse_args(argv)
    model = photos.open_model(words)
    codes = likeness.open_aging(model, likeness.AGE_SHIFT).codes
    folder = os.path.join(words.datadir, words.dataset)
    (paths, faces, ages, genders, _), _ = subjects.read(model, folder)
    chosen = subjects.choose(paths, ages * 2 + genders, words.faces)
    judge_age, describe = judge.load(words.judge), measures.Descriptor()
    points, own = measure(model, codes, faces[chosen], genders[chosen], judge_age, describe)
    adult = labels.age_group(measures.ADULT, model.age_upper)
    halves = {'To choose on': slice(0, None, 2), 'To report': slice(1, None, 2)}  # by name
    for title, people in halves.items():
        print(f'\n### {title}: {len(chosen[people])} people\n\n{table(points, people, adult)}')
    report.save_plot(draw(points, own, halves['To report'], adult), words.out)


if __name__ == '__main__':
    main()
