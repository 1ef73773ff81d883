"""Make up faces with a trained model: python -m demo.blend SAVEDIR.

Each is generated from the blended codes of two to four people of one age group and gender, so that
it is nobody's face.
"""

import argparse
import os
import re

import numpy as np
from PIL import Image

import ops
from data import console, labels, pipeline
from face_aging import FaceAging

FACES, SET = 10, 300  # how many are made to test on, and as a data set
PEOPLE = (2, 3, 4)  # in one face
MAX_SHARE = 2  # how often the least share of a person in a face goes into the largest
OLDEST_MADE_UP = 90  # years, in the group over 70
SIZE_BATCH = 50  # faces encoded or generated at once
JPEG_QUALITY = 92  # of the JPEG: 300 faces stay below 3 MB
MADE_UP = re.compile(r'\d+_[01]_madeup\d{3}\.jpg')  # the names that this program gives


def choose_people(groups, genders, wanted, random):
    """Choose the people of each face, and their shares in it.

    Args:
        groups, genders: int arrays [P], age group and gender of the people there are.
        wanted: list of N (age group, gender), of the faces to be made up.
        random: np.random.Generator.

    Returns:
        people: list of N int arrays, indices of the people.
        shares: list of N float arrays, positive, with sum 1.

    Raises:
        InputError: there are fewer than two people of a wanted age group and gender.
    """
    people, shares = [], []
    for group, gender in wanted:
        members = np.flatnonzero((groups == group) & (genders == gender))
        if len(members) < PEOPLE[0]:
            first, last = years_of(group)
            raise console.InputError(
                f'A blend takes {PEOPLE[0]} faces of each age group and gender, but there are '
                f'{len(members)} {("male", "female")[gender]} ones of {first} to {last} years: '
                'take a larger data set.'
            )
        count = min(random.choice(PEOPLE), len(members))
        people.append(random.choice(members, count, replace=False))
        share = random.uniform(1, MAX_SHARE, count)
        shares.append(share / share.sum())
    return people, shares


def blend(codes, people, shares):
    """Blend codes: the mean of those of some people, weighted by their shares.

    Args:
        codes: float array [P, num_z_channels], in (-1, 1).
        people, shares: of the N blends, as from `choose_people`.

    Returns:
        float32 array [N, num_z_channels], in (-1, 1).
    """
    pairs = zip(people, shares, strict=True)
    return np.stack([share @ codes[who] for who, share in pairs]).astype(np.float32)


def make_faces(model, data_set, wanted, random):
    """Make up faces with a trained FaceAging.

    Args:
        data_set: (paths, age groups, genders) of the people, as from `labels.list_faces`.
        wanted, random: as `choose_people` takes them.

    Returns:
        uint8 array [N, S, S, C].
    """
    paths, groups, genders = data_set
    people, shares = choose_people(groups, genders, wanted, random)
    chosen = np.unique(np.concatenate(people))  # all that has to be decoded
    faces, _, _ = pipeline.decode_faces(
        [paths[i] for i in chosen], model.size_image, model.num_input_channels, most_unreadable=0
    )
    codes = in_batches('Encoding', lambda face: model.E(pipeline.to_float(face)), faces)
    z = blend(codes, [np.searchsorted(chosen, who) for who in people], shares)
    groups, genders = zip(*wanted, strict=True)
    ages, genders = labels.one_hot(groups, model.num_categories), labels.one_hot(genders, 2)
    made = in_batches('Generating', lambda *batch: model.G([*batch]), z, ages, genders)
    return np.stack([ops.image_grid(face[None]) for face in made])


def in_batches(title, network, *inputs):
    """Run a network over inputs [N, ...] with a progress bar; return its outputs [N, ...]."""
    starts = range(0, len(inputs[0]), SIZE_BATCH)
    batches = ([x[i : i + SIZE_BATCH] for x in inputs] for i in starts)
    progress = console.Progress(batches, title, len(starts), unit='batch')
    return np.concatenate([network(*batch).numpy() for batch in progress])


def years_of(group):
    """Return the first and the last year of an age group."""
    return (0, *(last + 1 for last in labels.AGE_UPPER))[group], (
        *labels.AGE_UPPER,
        OLDEST_MADE_UP,
    )[group]


def write_faces(folder, faces, wanted, random):
    """Write faces [N, S, S, C] in place of those that the program wrote there before.

    The names are as the data sets' are: age (a year of the age group), gender, and what it is.
    """
    os.makedirs(folder, exist_ok=True)
    for name in filter(MADE_UP.fullmatch, os.listdir(folder)):
        os.remove(os.path.join(folder, name))
    for i, (face, (group, gender)) in enumerate(zip(faces, wanted, strict=True)):
        age = random.integers(*years_of(group), endpoint=True)
        path = os.path.join(folder, f'{age}_{gender}_madeup{i:03d}.jpg')
        with console.naming(path):
            Image.fromarray(face).save(path, quality=JPEG_QUALITY)


@console.one_sentence()
def main(argv=None):
    parser = argparse.ArgumentParser(prog='python -m demo.blend', description=__doc__)
    parser.add_argument('savedir', type=console.path, help="the trained model's --savedir")
    parser.add_argument(
        '--datadir', type=console.path, default='data', help='folder of the data sets (%(default)s)'
    )
    parser.add_argument(
        '--dataset', type=console.path, default='UTKFace', help='the people (%(default)s)'
    )
    parser.add_argument(
        '--out_faces', type=console.path, default='demo/faces', help='for ten faces (%(default)s)'
    )
    parser.add_argument(
        '--out_set', type=console.path, default='data/demo', help='for the data set (%(default)s)'
    )
    parser.add_argument('--seed', type=int, default=2017, help='of all choices (%(default)s)')
    arguments = parser.parse_args(argv)
    random = np.random.default_rng(arguments.seed)
    ages = len(labels.AGE_UPPER) + 1
    wanted = [(i % ages, i % 2) for i in range(FACES)]
    wanted += [(i % ages, i // ages % 2) for i in range(SET)]
    data_set = labels.list_faces(os.path.join(arguments.datadir, arguments.dataset))
    model = FaceAging(is_training=False, save_dir=arguments.savedir)
    if not model.load_checkpoint():
        raise console.InputError(
            f'There is no trained model in {arguments.savedir}/checkpoint: train one first, '
            'and name the folder that was its --savedir.'
        )
    faces = make_faces(model, data_set, wanted, random)
    write_faces(arguments.out_faces, faces[:FACES], wanted[:FACES], random)
    write_faces(arguments.out_set, faces[FACES:], wanted[FACES:], random)
    print(f'Wrote {FACES} faces to {arguments.out_faces} and {SET} to {arguments.out_set}')


if __name__ == '__main__':
    main()
