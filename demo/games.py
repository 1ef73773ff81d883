"""Two games with the photos of two people: python -m demo.games morph A B, and kids A B.

morph turns one person into the other: the code, the age and the gender all glide. How old they are
and as whom they are shown is said by --ages and --genders, or by names as UTKFace has them,
23_0_me.jpg for a man of 23, or guessed. Writes a strip, morph_<A>_<B>.png, and an animation, .gif.

kids shows children that the two might have: each component of a child's code is taken at random
from that of one of the two. Writes kids_<A>_<B>.png.
"""

import os
import typing

import numpy as np

import face_aging
from data import console, files, flag_types, labels
from demo import likeness, portraits, strips

FRAMES = 25  # of the animation, one way
STRIP_STEP = 3  # frames from one face on the strip to the next: nine of them
MOST_CHILDREN = 100  # children in a picture

Portrait = portraits.Portrait


# ---------------------------------------------------------------------------------- morph


def morph(
    model: face_aging.FaceAging,
    first: Portrait,
    second: Portrait,
    ages: typing.Sequence[float],
    genders: typing.Sequence[int],
    count: int = FRAMES,
) -> np.ndarray:
    """Turn one face into another.

    Args:
        model: trained.
        first, second: the two people.
        ages: years of both.
        genders: of both, 0 male, 1 female.
        count: N.

    Returns:
        float32 array [N, S, S, C] in [-1, 1]; the first and the last are reconstructions.
    """
    shares = _shares(count)
    z = shares @ np.concatenate([first.people.z, second.people.z])
    years = labels.age_label(shares @ ages, model.age_upper)
    return model.generate(z, years, shares @ labels.one_hot(genders, 2))


def _shares(count):
    """Return the shares of both people in each face, [N, 2]."""
    second = np.linspace(0, 1, count)
    return np.stack([1 - second, second], axis=1)


def morph_strip(
    first: Portrait, second: Portrait, faces: np.ndarray, ages: typing.Sequence[float]
) -> tuple[list, list, list]:
    """Return the images and titles of a morph's strip, and the titles of all its faces."""
    years = [f'{age:.0f}' for age in _shares(len(faces)) @ ages]
    images = [first.image, *faces[::STRIP_STEP], second.image]
    return images, ['input', *years[::STRIP_STEP], 'input'], years


# ----------------------------------------------------------------------------------- kids


def kids(
    model: face_aging.FaceAging, first: Portrait, second: Portrait, count: int, seed: int
) -> np.ndarray:
    """Make children of two people, of the youngest age group.

    Args:
        model: trained.
        first, second: the two people.
        count: N.
        seed: of the choices; the same one makes the same children.

    Returns:
        float32 array [2 * N, S, S, C] in [-1, 1]: all as boys, then the same as girls.
    """
    one, other = first.people.z[0], second.people.z[0]
    from_one = np.random.RandomState(seed).randint(0, 2, [count, len(one)]) == 1
    z = np.where(from_one, one, other)
    youngest = labels.one_hot([0], model.num_categories)
    genders = labels.one_hot([0] * count + [1] * count, 2)
    return model.generate(np.concatenate([z, z]), youngest, genders)


def kids_strip(first: Portrait, second: Portrait, faces: np.ndarray) -> tuple[list, list]:
    """Return the images and titles of a picture of children: a row of boys, one of girls."""
    boys, girls = np.split(faces, 2)
    numbers = range(1, len(boys) + 1)
    titles = ['input', *(f'boy {k}' for k in numbers), 'input', *(f'girl {k}' for k in numbers)]
    return [first.image, *boys, second.image, *girls], titles


# -------------------------------------------------------------------------------- program


def _open(args):
    """Return the model, the portraits of both photos and the path of the result without suffix."""
    model = face_aging.open_trained(args.savedir, args.age_groups)
    method = likeness.open_aging(model, 0, 0)  # codes are mixed as they are
    people, names = [], files.unique_names(args.photos)
    for path, name in zip(args.photos, names, strict=True):
        photo = portraits.open_photo(path)
        portraits.require_face(photo, path)
        age, gender = portraits.known(name)
        people.append(portraits.portray(method, photo, 0, name, age, gender))
    folder = portraits.result_folder(args)
    os.makedirs(folder, exist_ok=True)
    return model, people, os.path.join(folder, '_'.join([args.game, *names]))


def _play_morph(args):
    ages = labels.parse_ages(args.ages) if args.ages else None
    words = args.genders.split(',') if args.genders else labels.GENDER_NAMES
    if len(ages or words) != 2 or len(words) != 2 or not {*words} <= {*labels.GENDER_NAMES}:
        raise console.InputError(
            'A morph is of two people: pass two ages and two genders.',
            ages='30,60',
            genders='male,female',
        )
    model, people, path = _open(args)
    genders = [labels.GENDER_NAMES.index(word) for word in words]
    genders = genders if args.genders else [person.gender for person in people]
    ages = ages or [person.age for person in people]
    faces = morph(model, *people, ages, genders)
    images, titles, years = morph_strip(*people, faces, ages)
    strips.save_strip(images, titles, path + '.png')
    strips.save_gif(faces, years, path + '.gif')
    console.say(f'Wrote {path}.png and .gif')


def _play_kids(args):
    model, people, path = _open(args)
    faces = kids(model, *people, args.count, args.seed)
    strips.save_strip(*kids_strip(*people, faces), path + '.png', rows=2)
    console.say(f'Wrote {path}.png')


@console.one_sentence(flags=('ages', 'genders'))
def main(argv=None):
    parser = flag_types.Parser('python -m demo.games', __doc__)
    games = parser.add_subparsers(dest='game', required=True)
    turn = games.add_parser('morph', help='turn one person into another')
    turn.set_defaults(play=_play_morph)
    turn.add_argument('--ages', help='of both, in years, such as 30,60')
    turn.add_argument('--genders', help='of both, such as male,female')
    make = games.add_parser('kids', help='show children that the two might have')
    make.set_defaults(play=_play_kids)
    make.add_argument(
        '--count',
        type=flag_types.integer(1, MOST_CHILDREN),
        default=10,
        help='of the children (%(default)s)',
    )
    make.add_argument(
        '--seed',
        type=flag_types.integer(0, 2**32 - 1),
        default=1,
        help='of the choices (%(default)s)',
    )
    for game in (turn, make):
        game.add_argument(
            'photos', type=flag_types.path, nargs=2, metavar='PHOTO', help='of a face'
        )
        flag_types.add_model(game)
        portraits.add_out(game)
    args = parser.parse_args(argv)
    args.play(args)


if __name__ == '__main__':
    main()
