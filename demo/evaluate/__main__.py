"""Measure a model on faces left out of training: python -m demo.evaluate.

Of the data set the faces are measured for which `data.labels.held_out` is true, one in 20 by name,
but none of which one of the other faces, those trained on, shows the same photo. They tell of new
faces only where the model was not trained on these. Others are read only to compare with, where an
age group has few. Printed, as Markdown tables:

reconstruction: each face goes through E and G with its own age and gender. The mean absolute
    difference L1 of pixels in [-1, 1], with the 95% confidence of this mean, PSNR in dB, and SSIM,
    for all and for each group of people.
ageing: --faces people of each age group and gender, each at all ages: how old does the judge of
    `demo.evaluate.judge` take them to be?
detail: are the faces as sharp as the photos, and does the border stay?
identity: does a network that tells people apart take them for the same person?
recognition: is a face nearest to its own photo, and nearer than other people are?
gender: of those shown as the other gender, how many does the judge take for it?
fairness: do the people of both genders and of all races age as much, and stay the same as well?

demo/README.md says what each number means, and what the keys of the --json file are.
"""

import csv
import json
import os
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from PIL import Image

import face_aging
from data import console, files, flag_types, labels, pictures, pipeline
from data.console import InputError
from demo import likeness
from demo.evaluate import judge, measures, report, subjects


def measure(
    reconstruct: Callable, faces: np.ndarray, ages: np.ndarray, genders: np.ndarray, size_batch: int
) -> np.ndarray:
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

    def compare(face, age, gender):
        image = pipeline.to_float(face)
        made = reconstruct(image, age, gender)
        l1 = tf.reduce_mean(tf.abs(image - made), [1, 2, 3])
        # SSIM compares local means, so that it asks where black lies: at 0.
        image, made = image / 2 + 0.5, made / 2 + 0.5
        psnr = tf.image.psnr(image, made, max_val=1)
        ssim = tf.image.ssim(image, made, max_val=1)
        return tf.stack([l1, psnr, ssim], axis=1)

    return pipeline.in_batches(
        compare, faces, ages, genders, size_batch=size_batch, title='Measuring'
    )


def plain(model: face_aging.FaceAging) -> Callable:
    """Return the paper's method for `measures.generate`: G(E(x), age, gender)."""

    def method(images):
        z = model.E(images)
        return lambda *shown: model.G([z, *map(tf.convert_to_tensor, shown)])

    return method


def shifted(aging: likeness.AgingMethod) -> Callable:
    """Return the method of age shift and likeness for `measures.generate`."""

    def method(images):
        people = aging.look_at(images)
        return lambda ages, genders: aging.show(people, ages, genders)

    return method


def open_method(model: face_aging.FaceAging, age_shift: float, strength: float) -> Callable:
    """Return the method of --age_shift and --likeness: the paper's where both are 0.

    Raises:
        InputError: an age shift, but no statistics of the model's codes.
    """
    if not age_shift and not strength:
        return plain(model)
    return shifted(likeness.open_aging(model, age_shift, strength))


def evaluate(
    model: face_aging.FaceAging,
    held_out: subjects.People,
    real: subjects.People,
    method: Callable,
    judge_age: judge.Judge,
    describe: measures.Descriptor | None,
    count: int,
    size_batch: int,
) -> tuple[np.ndarray, dict]:
    """Measure a model on held-out faces; see demo/README.md for each number.

    Args:
        model: a FaceAging, trained.
        held_out, real: subjects.People, as from `subjects.read`.
        method: see `measures.generate`.
        judge_age: a judge.Judge.
        describe: a measures.Descriptor, or None: then identity is left out.
        count: most people of each age group and gender for all but the reconstructions.
        size_batch: most faces at a time.

    Returns:
        measured: float32 array [N, 3], measures.RECONSTRUCTION of each face.
        results: dict of dicts, as it goes into the JSON file.
    """
    faces = held_out.faces
    ages = labels.one_hot(held_out.ages, model.num_categories)
    genders = labels.one_hot(held_out.genders, 2)
    measured = measure(
        lambda image, age, gender: method(image)(age, gender), faces, ages, genders, size_batch
    )
    results = {'reconstruction': measures.reconstruction(measured, held_out.ages)}

    adult = labels.age_group(measures.ADULT, model.age_upper)
    real_ages, female = judge_age(faces)
    chosen = subjects.choose(held_out.paths, held_out.cells, count)
    aged, own, other = measures.generate(
        method, faces[chosen], ages[chosen], genders[chosen], size_batch
    )
    judged, _ = judge_age(_as_one(aged))
    judged = judged.reshape(aged.shape[:2])
    real_faces = measures.real_ageing(real_ages, held_out.ages, model.num_categories, adult)
    results['ageing'] = measures.ageing(judged, adult) | {'real_faces': real_faces}
    results['detail'] = measures.detail(aged, faces[chosen], real.faces, real.ages)
    _, own_female = judge_age(own)
    _, other_female = judge_age(other)
    results['gender'] = measures.gender(
        female[chosen], own_female, other_female, held_out.genders[chosen]
    )

    distances = None
    if describe:
        parts, distances = identity(describe, real, chosen, own, aged)
        results |= parts
    of_gender, of_race = held_out.genders[chosen], held_out.races[chosen]
    groups = {name: of_gender == i for i, name in enumerate(labels.GENDER_NAMES)}
    groups |= {name: of_race == i for i, name in enumerate(labels.RACE_NAMES)}
    results['fairness'] = measures.fairness(judged[:, -1] - judged[:, adult], distances, groups)
    return measured, results


def identity(
    describe: measures.Descriptor,
    real: subjects.People,
    chosen: np.ndarray,
    own: np.ndarray,
    aged: np.ndarray,
) -> tuple[dict, np.ndarray]:
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
    known = describe(real.faces)
    found = describe(np.concatenate([own, _as_one(aged)]))
    own, found = np.split(found, [len(chosen)])
    found = found.reshape(*aged.shape[:2], -1)
    row, distances = measures.identity(known[chosen], found, own, real.cells[chosen])
    different = measures.different_people(known, real.ages, real.genders, aged.shape[1])
    recognised = measures.recognition(known[chosen], found, real.ages[chosen], different)
    return {'identity': row, 'recognition': recognised}, distances


def _as_one(images):
    """[N, L, ...] -> [N * L, ...]."""
    return images.reshape(-1, *images.shape[2:])


def judge_grid(path: str, judge_age: judge.Judge, num_ages: int, adult: int) -> dict:
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


def write_csv(path: str, held_out: subjects.People, measured: np.ndarray, age_upper: Sequence[int]):
    """Write a row for each face: name, age, gender, race, and measures.RECONSTRUCTION."""
    age_names = labels.age_names(age_upper)
    columns = held_out.paths, held_out.ages, held_out.genders, held_out.races
    with (
        files.replacing(path) as aside,
        open(aside, 'x', encoding='utf-8', newline='') as file,
    ):
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(['name', 'age', 'gender', 'race', *measures.RECONSTRUCTION])
        for face, age, gender, race, row in zip(*columns, measured, strict=True):
            race = labels.RACE_NAMES[race] if race >= 0 else ''
            names = age_names[age], labels.GENDER_NAMES[gender], race
            writer.writerow([os.path.basename(face), *names, *(f'{x:.6g}' for x in row)])


@console.one_sentence()
def main(argv=None):
    args = _parser().parse_args(argv)
    age_upper = labels.parse_age_upper(args.age_groups)
    beside = {pathlib.Path(path).stem: report.read_ageing(path, age_upper) for path in args.beside}
    judge_age = judge.load(args.judge)
    if args.grid:
        adult = labels.age_group(measures.ADULT, age_upper)
        row = judge_grid(args.grid, judge_age, len(age_upper) + 1, adult)
        print('\n' + report.ageing({os.path.basename(args.grid): row, **beside}, age_upper))
        return
    save_dir = args.savedir or face_aging.SAVE_DIR
    model = face_aging.FaceAging(is_training=False, save_dir=save_dir, age_upper=age_upper)
    if not model.load_checkpoint(None if args.savedir else face_aging.INIT_MODEL):
        raise InputError('There is no trained model to measure: name one with --savedir.')
    method = open_method(model, args.age_shift, args.likeness)
    folder = os.path.join(args.datadir, args.dataset)
    held_out, real = subjects.read(model, folder, args.labels, subjects.REAL)
    try:
        describe = measures.Descriptor()
    except InputError as error:
        describe, missing = None, error
    measured, results = evaluate(
        model, held_out, real, method, judge_age, describe, args.faces, args.batch
    )
    ages = {'real faces': results['ageing']['real_faces'], 'generated': results['ageing']}
    ages |= beside
    parts = {
        'Reconstruction': report.reconstruction(
            measured, held_out.ages, held_out.genders, held_out.races, age_upper
        ),
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
    if args.csv:
        write_csv(args.csv, held_out, measured, age_upper)
    if args.json:
        # What could not be measured is no number in Python, null in JSON.
        results = json.loads(json.dumps(results), parse_constant=lambda _: None)
        text = json.dumps(results, indent=1) + '\n'
        with files.replacing(args.json) as aside:
            pathlib.Path(aside).write_text(text, encoding='utf-8')


def _parser():
    parser = flag_types.Parser('python -m demo.evaluate', __doc__)
    flag_types.add_model(parser, default=None)
    flag_types.add_data_set(parser)
    parser.add_argument(
        '--batch',
        type=flag_types.integer(1, flag_types.MOST),
        default=100,
        help='faces at a time (%(default)s)',
    )
    parser.add_argument(
        '--faces',
        type=flag_types.integer(1, flag_types.MOST),
        default=12,
        help='people of each age group and gender for all but reconstruction (%(default)s)',
    )
    likeness.add_strength(parser, default=0)
    parser.add_argument(
        '--judge',
        type=flag_types.path,
        default=judge.HERE,
        help='folder of the judge; default: demo/evaluate',
    )
    path = {'type': flag_types.path, 'metavar': 'FILE'}
    parser.add_argument('--csv', **path, help='to write, with a row per face')
    parser.add_argument('--json', **path, help='to write, with all results')
    parser.add_argument(
        '--beside', **path, nargs='+', default=[], help='results of --json to show beside these'
    )
    parser.add_argument(
        '--grid', **path, help='judge only this picture of faces, a row for each age group'
    )
    return parser


if __name__ == '__main__':
    main()
