"""Measure a model on faces left out of training: python -m demo.evaluate.

Of the data set the faces are measured for which `data.labels.held_out` is true, one in 20 by name,
but none of which one of the other faces, those trained on, shows the same photo. They tell of new
faces only where the model was not trained on these. Others are read only to compare with, where an
age group has few. Printed, as Markdown tables:

reconstruction: each face goes through E and G with its own age and gender. The mean absolute
    difference L1 of pixels in [-1, 1], with the 95% confidence of this mean, PSNR in dB, and SSIM,
    for all and for each group of people.
ageing: --faces people of each age group and gender, each at all ages: how old does `demo.judge`
    take them to be?
detail: are the faces as sharp as the photos, and does the border stay?
identity: does a network that tells people apart take them for the same person?
recognition: is a face nearest to its own photo, and nearer than other people are?
gender: of those shown as the other gender, how many does the judge take for it?
fairness: do the people of both genders and of all races age as much, and stay the same as well?

demo/README.md says what each number means, and what the keys of the --json file are.
"""

import argparse
import csv
import functools
import json
import os
import pathlib

import numpy as np
import tensorflow as tf
from PIL import Image

import face_aging
from data import console, files, labels, pictures, pipeline, readers
from data.console import InputError, Progress
from demo import detail, judge, likeness, measures, recognition, report, subjects
from init_model import codes


def measure(reconstruct, faces, ages, genders, size_batch):
    """Compare faces with their reconstructions, with a progress bar.

    Args:
        reconstruct: function of images float32 [B, S, S, C] in [-1, 1], and their labels ages
            [B, num_categories] and genders [B, 2], to images like them.
        faces: uint8 array [N, S, S, C].
        ages, genders: labels of all, float32 [N, ...].
        size_batch: most images at a time.

    Returns:
        float32 array [N, 3], measures.RECONSTRUCTION; the PSNR of a perfect one is infinite.
    """
    rows = []
    with Progress(total=len(faces), desc='Measuring', unit=' faces') as progress:
        for first in range(0, len(faces), size_batch):
            batch = slice(first, first + size_batch)
            image = pipeline.to_float(faces[batch])
            face = reconstruct(image, ages[batch], genders[batch])
            l1 = tf.reduce_mean(tf.abs(image - face), [1, 2, 3])
            # SSIM compares local means, so that it asks where black lies: at 0.
            image, face = image / 2 + 0.5, face / 2 + 0.5
            psnr = tf.image.psnr(image, face, max_val=1)
            ssim = tf.image.ssim(image, face, max_val=1)
            rows.append(tf.stack([l1, psnr, ssim], axis=1).numpy())
            progress.update(len(image))
    return np.concatenate(rows)


def plain(model):
    """Return the paper's method for `measures.generate`: G(E(x), age, gender)."""

    def method(images):
        z = model.E(images)
        return lambda *shown: model.G([z, *map(tf.convert_to_tensor, shown)])

    return method


def shifted(model, aging):
    """Return the method of a likeness.Aging for `measures.generate`."""

    def method(images):
        people = likeness.look_at(model, aging.codes, images)
        return lambda ages, genders: likeness.show(model, *aging.of(people, ages, genders))

    return method


def open_method(model, age_shift, strength):
    """Return the method of --age_shift and --likeness: the paper's where both are 0.

    Args:
        model: a FaceAging, trained.
        age_shift, strength: see likeness.shift_age and likeness.lay_over.

    Raises:
        InputError: an age shift, but no statistics.
    """
    if not age_shift and not strength:
        return plain(model)
    statistics = codes.of(model)
    if statistics is None and age_shift:
        raise InputError(
            f'{model.weights_dir} has no statistics of codes, which an age shift needs: make them '
            f'with {codes.command(model.weights_dir)}.'
        )
    return shifted(model, likeness.Aging(statistics, age_shift, strength))


def evaluate(model, held_out, real, method, judge_age, describe, count, size_batch):
    """Measure a model on held-out faces; see demo/README.md for each number.

    Args:
        model: a FaceAging, trained.
        held_out, real: what `subjects.read` returns.
        method: see `measures.generate`.
        judge_age: a judge.Judge.
        describe: a measures.Descriptor, or None: then identity is left out.
        count: most people of each age group and gender for all but the reconstructions.
        size_batch: most faces at a time.

    Returns:
        measured: float32 array [N, 3], measures.RECONSTRUCTION of each face.
        results: dict of dicts, as it goes into the JSON file.
    """
    paths, faces, ages, genders, races = held_out
    shown = labels.one_hot(ages, model.num_categories), labels.one_hot(genders, 2)
    measured = measure(lambda image, *own: method(image)(*own), faces, *shown, size_batch)
    results = {'reconstruction': measures.reconstruction(measured, ages)}

    adult = labels.age_group(measures.ADULT, model.age_upper)
    real_ages, female = judge_age(faces)
    chosen = subjects.choose(paths, ages * 2 + genders, count)
    aged, own, other = measures.generate(
        method, faces[chosen], *(x[chosen] for x in shown), size_batch
    )
    judged, _ = judge_age(_as_one(aged))
    judged = judged.reshape(aged.shape[:2])
    real_faces = measures.real_ageing(real_ages, ages, model.num_categories, adult)
    results['ageing'] = measures.ageing(judged, adult) | {'real_faces': real_faces}
    results['detail'] = detail.compare(aged, faces[chosen], *real[1:3])
    taken = female[chosen], judge_age(own)[1], judge_age(other)[1]
    results['gender'] = measures.gender(*taken, genders[chosen])

    distances = None
    if describe:
        parts, distances = identity(describe, real, chosen, own, aged)
        results |= parts
    groups = {name: genders[chosen] == i for i, name in enumerate(labels.GENDER_NAMES)}
    groups |= {name: races[chosen] == i for i, name in enumerate(labels.RACE_NAMES)}
    results['fairness'] = measures.fairness(judged[:, -1] - judged[:, adult], distances, groups)
    return measured, results


def identity(describe, real, chosen, own, aged):
    """Describe real and generated faces, and say whether these are the same people.

    Args:
        describe: a measures.Descriptor.
        real: see `evaluate`.
        chosen: int array [N], indices of the people among the real ones.
        own, aged: uint8 arrays of their faces, see `measures.generate`.

    Returns:
        dict of dicts, as for `evaluate`.
        distances: float array [N, L], between input and output.
    """
    _, faces, ages, genders, _ = real
    known = describe(faces)
    found = describe(np.concatenate([own, _as_one(aged)]))
    own, found = np.split(found, [len(chosen)])
    found = found.reshape(*aged.shape[:2], -1)
    alike = (ages * 2 + genders)[chosen]
    row, distances = measures.identity(known[chosen], found, own, alike)
    different = recognition.different_people(known, ages, genders, aged.shape[1])
    recognised = recognition.compare(known[chosen], found, ages[chosen], different)
    return {'identity': row, 'recognition': recognised}, distances


def _as_one(images):
    """[N, L, ...] -> [N * L, ...]."""
    return images.reshape(-1, *images.shape[2:])


def judge_grid(path, judge_age, num_ages, adult):
    """Judge the faces of a published picture: a row for each age group, the youngest on top.

    Args:
        path: of the picture; its square faces touch each other.
        judge_age: a judge.Judge.
        num_ages: number of rows.
        adult: index of the row where the adult swing starts.

    Returns:
        dict, as from `measures.ageing`.

    Raises:
        InputError: it cannot be read, or is no such grid.
    """
    with pictures.open_picture(path) as image:
        side = image.height / num_ages
        columns = round(image.width / side)
        if image.height < num_ages or abs(image.width / side - columns) > 0.1:
            raise InputError(
                f'{path} is {image.width} x {image.height} pixels, no grid of square faces in '
                f'{num_ages} rows: cut its margins off, or pass its --age_groups.'
            )
        boxes = [
            [column * side, row * side, (column + 1) * side, (row + 1) * side]
            for column in range(columns)
            for row in range(num_ages)
        ]
        size = [judge.SIZE, judge.SIZE]
        faces = [np.asarray(image.resize(size, Image.Resampling.BOX, box)) for box in boxes]
    judged, _ = judge_age(np.stack(faces))
    return measures.ageing(judged.reshape(columns, num_ages), adult)


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


@console.one_sentence()
def main(argv=None):
    parser = argparse.ArgumentParser(
        prog='python -m demo.evaluate',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_path = functools.partial(parser.add_argument, type=console.path)
    add_path('--savedir', help='of a training to measure; default: init_model')
    add_path('--datadir', default='data', help='folder of the data sets')
    add_path('--dataset', default='UTKFace', help='folder of the faces in DATADIR')
    parser.add_argument('--labels', choices=readers.READERS, help="as main.py's")
    parser.add_argument('--age_groups', help="as main.py's")
    parser.add_argument('--batch', type=int, default=100, help='faces at a time')
    parser.add_argument(
        '--faces',
        type=int,
        default=12,
        help='people of each age group and gender for all but reconstruction (%(default)s)',
    )
    add_path('--judge', default=judge.HERE, help='folder of the judge; default: demo')
    parser.add_argument('--age_shift', type=float, default=0, help="as main.py's (%(default)g)")
    parser.add_argument('--likeness', type=float, default=0, help="as main.py's (%(default)g)")
    add_path('--csv', metavar='FILE', help='to write, with a row per face')
    add_path('--json', metavar='FILE', help='to write, with all results')
    add_path('--plot', metavar='PNG', help='to write: judged age over target age')
    add_path('--beside', metavar='JSON', nargs='+', default=[], help='results to show beside these')
    add_path(
        '--grid', metavar='PNG', help='judge only this grid of faces, a row for each age group'
    )
    words = parser.parse_args(argv)
    if min(words.batch, words.faces) < 1:
        parser.error('--batch and --faces are at least 1')
    if not (0 <= words.age_shift <= likeness.MOST_AGE_SHIFT and 0 <= words.likeness <= 1):
        parser.error(
            f'--age_shift is from 0 to {likeness.MOST_AGE_SHIFT:g}, --likeness from 0 to 1'
        )
    age_upper = labels.parse_age_upper(words.age_groups) if words.age_groups else labels.AGE_UPPER
    beside = {
        pathlib.Path(path).stem: report.read_results(path, age_upper) for path in words.beside
    }
    beside_ages = {name: results['ageing'] for name, results in beside.items()}
    judge_age = judge.load(words.judge)
    if words.grid:
        adult = labels.age_group(measures.ADULT, age_upper)
        row = judge_grid(words.grid, judge_age, len(age_upper) + 1, adult)
        print('\n' + report.ageing({os.path.basename(words.grid): row, **beside_ages}, age_upper))
        return
    settings = {'save_dir': words.savedir or 'save', 'age_upper': age_upper}
    model = face_aging.FaceAging(is_training=False, **settings)
    if not model.load_checkpoint(None if words.savedir else face_aging.INIT_MODEL):
        raise InputError('There is no trained model to measure: name one with --savedir.')
    method = open_method(model, words.age_shift, words.likeness)
    held_out, real = subjects.read(
        model, os.path.join(words.datadir, words.dataset), words.labels, subjects.REAL
    )
    try:
        describe = measures.Descriptor()
    except InputError as error:
        describe, missing = None, error
    measured, results = evaluate(
        model, held_out, real, method, judge_age, describe, words.faces, words.batch
    )
    ages = {
        'real faces': results['ageing']['real_faces'],
        'generated': results['ageing'],
        **beside_ages,
    }
    details = {'generated': results['detail']}
    details |= {name: of['detail'] for name, of in beside.items() if 'detail' in of}
    parts = {
        'Reconstruction': report.reconstruction(measured, *held_out[2:], age_upper),
        'Ageing': report.ageing(ages, age_upper),
        'Detail': report.detail(results['detail'], age_upper),
        'Gender': report.gender(results['gender']),
        'Fairness': report.fairness(results['fairness']),
    }
    if describe:
        parts['Identity'] = report.identity(results['identity'], age_upper)
        parts['Recognition'] = report.recognition(results['recognition'], age_upper)
    else:
        parts['Identity'] = missing
    for title, text in parts.items():
        print(f'\n### {title}\n\n{text}')
    if words.csv:
        write_csv(words.csv, held_out, measured, age_upper)
    if words.json:
        # What could not be measured is no number in Python, null in JSON.
        results = json.loads(json.dumps(results), parse_constant=lambda _: None)
        text = json.dumps(results, indent=1) + '\n'
        with files.replacing(words.json) as aside:
            pathlib.Path(aside).write_text(text, encoding='utf-8')
    if words.plot:
        report.save_plot(report.draw(ages, details, age_upper), words.plot)


if __name__ == '__main__':
    main()
