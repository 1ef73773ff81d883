"""Measure a model on faces left out of training: python -m demo.evaluate.

Of the data set only the faces are read for which `data.labels.held_out` is true, one in 20 by name.
They tell of new faces only where the model was not trained on these. Printed, as Markdown tables:

reconstruction: each face goes through E and G with its own age and gender. The mean absolute
    difference L1 of pixels in [-1, 1], with the 95% confidence of this mean, PSNR in dB, and SSIM,
    for all and for each group of people.
ageing: --faces people of each age group and gender, each at all ages: how old does `demo.judge`
    take them to be?
identity: does a network that tells people apart take them for the same person?
gender: of those shown as the other gender, how many does the judge take for it?
fairness: do the people of both genders and of all races age as much, and stay the same as well?

demo/README.md says what each number means, and what the keys of the --json file are.
"""

import argparse
import csv
import hashlib
import json
import os

import numpy as np
import tensorflow as tf

import face_aging
from data import labels, pipeline, programs, readers
from demo import judge, measures
from ops import InputError, Progress

MEASURES = ('L1', 'PSNR', 'SSIM')


def measure(reconstruct, faces, ages, genders, size_batch):
    """Compare faces with their reconstructions, with a progress bar.

    Args:
        reconstruct: function of images float32 [B, S, S, C] in [-1, 1], and their labels ages
            [B, num_categories] and genders [B, 2], to images like them.
        faces: uint8 array [N, S, S, C].
        ages, genders: labels of all, float32 [N, ...].
        size_batch: most images at a time.

    Returns:
        float32 array [N, 3], MEASURES of each face; the PSNR of a perfect one is infinite.
    """
    rows = []
    with Progress(total=len(faces), desc='Measuring', unit=' faces') as progress:
        for first in range(0, len(faces), size_batch):
            batch = slice(first, first + size_batch)
            image = pipeline.to_float(faces[batch])
            face = reconstruct(image, *map(tf.convert_to_tensor, (ages[batch], genders[batch])))
            l1 = tf.reduce_mean(tf.abs(image - face), [1, 2, 3])
            psnr = tf.image.psnr(image, face, max_val=2)
            ssim = tf.image.ssim(image, face, max_val=2)
            rows.append(tf.stack([l1, psnr, ssim], axis=1).numpy())
            progress.update(len(image))
    return np.concatenate(rows)


def table(title, names, members, measured):
    """Return a Markdown table of means, a row for each group that has a face.

    Args:
        title: of the first column.
        names: list of the groups' names.
        members: for each group a bool array [N], its faces.
        measured: float32 array [N, 3], MEASURES.
    """
    lines = [f'| {title} | faces | L1 | PSNR (dB) | SSIM |', '|---|--:|--:|--:|--:|']
    for name, chosen in zip(names, members, strict=True):
        if count := np.count_nonzero(chosen):
            l1, psnr, ssim = measured[chosen].mean(axis=0, dtype=np.float64)
            error = ''
            if count > 1:
                deviation = measured[chosen, 0].std(ddof=1, dtype=np.float64)
                error = f' ± {1.96 * deviation / np.sqrt(count):.4f}'
            lines.append(f'| {name} | {count} | {l1:.4f}{error} | {psnr:.2f} | {ssim:.4f} |')
    return '\n'.join(lines)


def report(measured, ages, genders, races, age_upper=labels.AGE_UPPER):
    """Return the tables: all faces, by age group, by gender, by both, and by race.

    Args:
        measured: float32 array [N, 3], MEASURES.
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


def read_held_out(model, folder, reader=None):
    """Read the held-out faces of a data set.

    Args:
        model: a FaceAging, whose faces' size, channels and age groups count.
        folder: of a data set.
        reader: of the labels, as `labels.list_faces` takes it.

    Returns:
        paths: list of N.
        faces: uint8 array [N, S, S, C].
        ages, genders, races: int arrays [N], as `report` takes them.

    Raises:
        InputError: no such folder, no held-out face in it, most of them unreadable.
    """
    paths, ages, genders = labels.list_faces(folder, reader=reader, age_upper=model.age_upper)
    chosen = [i for i, path in enumerate(paths) if labels.held_out(path)]
    if not chosen:
        raise InputError(
            f'None of the {len(paths)} faces in {folder} is a held-out one: name a data set of '
            f'hundreds of faces, of which about one in {labels.HELD_OUT} is.'
        )
    faces, kept, _ = pipeline.decode_faces(
        [paths[i] for i in chosen], model.size_image, model.num_input_channels
    )
    chosen = [chosen[i] for i in kept]
    paths = [paths[i] for i in chosen]
    known = [readers.parse_race(path) for path in paths]
    races = np.array([-1 if race is None else race for race in known])
    return paths, faces, ages[chosen], genders[chosen], races


def choose(paths, cells, count):
    """Choose up to `count` faces of each cell, by their names: the same ones for every model.

    Args:
        paths: list of N.
        cells: int array [N].

    Returns:
        int array of indices, ascending.
    """
    digests = [hashlib.sha256(readers.base_name(path).encode()).hexdigest() for path in paths]
    taken = {}
    for i in sorted(range(len(paths)), key=digests.__getitem__):
        members = taken.setdefault(cells[i], [])
        if len(members) < count:
            members.append(i)
    return np.array(sorted(sum(taken.values(), [])))


def plain(model):
    """Return the paper's method for `measures.generate`: G(E(x), age, gender)."""

    def method(images):
        z = model.E(images).numpy()
        return lambda ages, genders: model.G([z, ages, genders])

    return method


@programs.one_sentence()
def main(argv=None):
    parser = argparse.ArgumentParser(prog='python -m demo.evaluate', description=__doc__)
    parser.add_argument('--savedir', help='of a training to measure; default: init_model')
    parser.add_argument('--datadir', default='data', help='folder of the data sets')
    parser.add_argument('--dataset', default='UTKFace', help='folder of the faces in DATADIR')
    parser.add_argument('--labels', choices=readers.READERS, help="as main.py's")
    parser.add_argument('--age_groups', help="as main.py's")
    parser.add_argument('--batch', type=int, default=100, help='faces at a time')
    parser.add_argument('--csv', metavar='FILE', help='to write, with a row per face')
    words = parser.parse_args(argv)
    if words.batch < 1:
        parser.error('--batch is at least 1')
    settings = {}
    if words.age_groups:
        settings['age_upper'] = labels.parse_age_upper(words.age_groups)
    save_dir = words.savedir or 'save'
    model = face_aging.FaceAging(is_training=False, save_dir=save_dir, **settings)
    if not model.load_checkpoint(None if words.savedir else face_aging.INIT_MODEL):
        raise InputError('There is no trained model to measure: name one with --savedir.')
    folder = os.path.join(words.datadir, words.dataset)
    print('\n' + evaluate(model, folder, words.batch, words.csv, words.labels))


if __name__ == '__main__':
    main()
