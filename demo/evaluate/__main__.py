"""Measure a model on faces left out of training: python -m demo.evaluate.

Of the data set the faces are measured for which `data.labels.held_out` is true, one in 20 by name,
but none of which one of the other faces, those trained on, shows the same photo; of a test set of
one's own, with --all, all faces. They tell of new faces only where the model was not trained on
these. Others are read only to compare with, where an age group has few.

Tables in Markdown are printed: how well faces are reconstructed, how old people look at all ages,
how sharp they are, whether they stay the same person and take the other gender, and whether this
holds for the people of both genders and of all races. demo/README.md says what each number means.
"""

import json
import os

import numpy as np
import tensorflow as tf

import face_aging
from data import console, files, flag_types, labels, pipeline
from demo import likeness
from demo.evaluate import judge, measures, report, subjects


def reconstruct(
    method: likeness.AgingMethod, faces: np.ndarray, ages: np.ndarray, genders: np.ndarray
) -> np.ndarray:
    """Compare faces uint8 [N, S, S, C] with how they are shown at their own labels.

    Returns float32 [N, 3], measures.RECONSTRUCTION; the PSNR of a perfect one is infinite.
    """

    def compare(face, age, gender):
        image = pipeline.to_float(face)
        made = method.show(method.look_at(image), age, gender)
        l1 = tf.reduce_mean(tf.abs(image - made), [1, 2, 3])
        # SSIM compares local means, so that it asks where black lies: at 0.
        image, made = image / 2 + 0.5, made / 2 + 0.5
        psnr = tf.image.psnr(image, made, max_val=1)
        ssim = tf.image.ssim(image, made, max_val=1)
        return tf.stack([l1, psnr, ssim], axis=1)

    return pipeline.in_batches(compare, faces, ages, genders, title='Measuring')


def generate(
    method: likeness.AgingMethod, faces: np.ndarray, ages: np.ndarray, genders: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Show faces, as `reconstruct` takes them, at all L ages: uint8 [N, L, S, S, C].

    Also at the own age with the own and with the other gender: each uint8 [N, S, S, C].
    """
    targets = labels.one_hot(np.arange(ages.shape[1]), ages.shape[1])

    def show_all(face, age, gender):
        people = method.look_at(pipeline.to_float(face))

        def show(age, gender):
            return np.round((method.show(people, age, gender) + 1) * 127.5).astype(np.uint8)

        aged = [show(target, gender) for target in targets]
        return np.stack(aged, axis=1), show(age, gender), show(age, -gender)

    return pipeline.in_batches(show_all, faces, ages, genders, title='Generating')


def evaluate(
    method: likeness.AgingMethod,
    held_out: subjects.People,
    real: subjects.People,
    judge_age: judge.Judge,
    describe: measures.Descriptor,
    count: int,
) -> tuple[np.ndarray, dict]:
    """Measure a method on up to `count` held-out people of each age group and gender.

    All of them are reconstructed; `real`, as from `subjects.read`, are only compared with. Returns
    float32 [N, 3], measures.RECONSTRUCTION of each face, and what goes into the JSON file.
    """
    num_ages = method.model.num_categories
    adult = labels.age_group(measures.ADULT, method.model.age_upper)
    ages, genders = labels.one_hot(held_out.ages, num_ages), labels.one_hot(held_out.genders, 2)
    measured = reconstruct(method, held_out.faces, ages, genders)
    real_ages, female = judge_age(held_out.faces)

    chosen = subjects.choose(held_out.paths, held_out.ages * 2 + held_out.genders, count)
    photos = held_out.faces[chosen]
    own_ages, own_genders = held_out.ages[chosen], held_out.genders[chosen]
    aged, own, other = generate(method, photos, ages[chosen], genders[chosen])
    all_aged = aged.reshape(-1, *photos.shape[1:])
    judged = judge_age(all_aged)[0].reshape(aged.shape[:2])
    shares = measures.gender(female[chosen], judge_age(own)[1], judge_age(other)[1], own_genders)

    known = describe(real.faces)  # those held out come first
    inputs = known[chosen]
    found = describe(all_aged).reshape(*aged.shape[:2], -1)
    distances = np.linalg.norm(found - inputs[:, None], axis=-1)
    rebuilt = np.linalg.norm(describe(own) - inputs, axis=-1)
    alike = measures.different_people(inputs, own_ages, own_genders, num_ages)
    alike = np.concatenate([row[i] for i, row in enumerate(alike)])
    different = measures.different_people(known, real.ages, real.genders, num_ages)

    groups = {name: own_genders == i for i, name in enumerate(labels.GENDER_NAMES)}
    groups |= {name: held_out.races[chosen] == i for i, name in enumerate(labels.RACE_NAMES)}
    real_faces = measures.real_ageing(real_ages, held_out.ages, num_ages, adult)
    return measured, {
        'reconstruction': measures.reconstruction(measured, held_out.ages),
        'ageing': measures.ageing(judged, adult) | {'real_faces': real_faces},
        'detail': measures.detail(aged, photos, real.faces, real.ages),
        'gender': shares,
        'fairness': measures.fairness(judged[:, -1] - judged[:, adult], distances, groups),
        'identity': measures.identity(distances, rebuilt, alike),
        'recognition': measures.recognition(inputs, found, own_ages, different),
    }


@console.one_sentence()
def main(argv=None):
    parser = flag_types.Parser('python -m demo.evaluate', __doc__)
    flag_types.add_model(parser)
    flag_types.add_data_set(parser)
    text = 'measure all faces: those of a test set of your own'
    parser.add_argument('--all', action='store_true', help=text)
    count = flag_types.integer(1, flag_types.MOST)
    text = 'people of each age group and gender for all but reconstruction (%(default)s)'
    parser.add_argument('--faces', type=count, default=12, help=text)
    likeness.add_strength(parser, default=0)
    text = 'folder of the judge; default: demo/evaluate'
    parser.add_argument('--judge', type=flag_types.path, default=judge.HERE, help=text)
    text = 'to write, with all results'
    parser.add_argument('--json', type=flag_types.path, metavar='FILE', help=text)
    args = parser.parse_args(argv)
    judge_age, describe = judge.load(args.judge), measures.Descriptor()
    model = face_aging.open_trained(args.savedir, args.age_groups)
    method = likeness.open_aging(model, args.age_shift, args.likeness)
    folder = os.path.join(args.datadir, args.dataset)
    held_out, real = subjects.read(model, folder, args.labels, args.all)
    measured, results = evaluate(method, held_out, real, judge_age, describe, args.faces)
    upper = model.age_upper
    for title, text in (
        ('Reconstruction', report.reconstruction(measured, held_out, upper)),
        ('Ageing', report.ageing(results['ageing'], upper)),
        ('Detail', report.detail(results['detail'], upper)),
        ('Gender', report.gender(results['gender'])),
        ('Fairness', report.fairness(results['fairness'])),
        ('Identity', report.identity(results['identity'], upper)),
        ('Recognition', report.recognition(results['recognition'], upper)),
    ):
        print(f'\n### {title}\n\n{text}')
    if args.json:
        # What could not be measured is no number in Python, null in JSON.
        results = json.loads(json.dumps(results), parse_constant=lambda _: None)
        with files.replacing(args.json) as aside, open(aside, 'w', encoding='utf-8') as file:
            print(json.dumps(results, indent=1), file=file)


if __name__ == '__main__':
    main()
