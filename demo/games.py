"""Two games with the photos of two people: python -m demo.games morph A B, and kids A B.

morph turns one person into the other: the code, the age and the gender all glide. Age and gender
are told by names as UTKFace has them, 23_0_me.jpg for a man of 23, or guessed. Writes a strip,
morph_<A>_<B>.png, and an animation, .gif.

kids shows children that the two might have: each component of a child's code is taken at random
from that of one of the two. Writes kids_<A>_<B>.png.
"""

import os
import warnings

import numpy as np

import face_aging
from data import console, files, flag_types, labels
from demo import likeness, portraits, strips
from demo.portraits import Portrait

FRAMES = 25  # of the animation, one way
STRIP_STEP = 3  # frames from one face on the strip to the next: nine of them
MOST_CHILDREN = 100  # children in a picture


def morph(
    model: face_aging.FaceAging, first: Portrait, second: Portrait
) -> tuple[tuple[np.ndarray, list], tuple[list, list]]:
    """Turn one face into another: return the images and titles of an animation and of a strip.

    The animation's are float32 [FRAMES, S, S, C] in [-1, 1] and the ages; its ends are
    reconstructions. The strip has some of them between the two photos.
    """
    second_share = np.linspace(0, 1, FRAMES)
    shares = np.stack([1 - second_share, second_share], axis=1)
    z = shares @ np.concatenate([first.people.z, second.people.z])
    years = shares @ [first.age, second.age]
    genders = shares @ labels.one_hot([first.gender, second.gender], 2)
    faces = model.generate(z, labels.age_label(years, model.age_upper), genders)
    faces = portraits.with_levels(faces, shares @ [first.levels, second.levels])
    faces, titles = faces.astype(np.float32), [f'{year:.0f}' for year in years]
    images = [first.image, *faces[::STRIP_STEP], second.image]
    return (faces, titles), (images, ['input', *titles[::STRIP_STEP], 'input'])


def kids(
    model: face_aging.FaceAging, first: Portrait, second: Portrait, count: int, seed: int
) -> tuple[list, list]:
    """Make children of two people, of the youngest age group; a seed makes the same again.

    Returns the images and titles of a picture of two rows: the first of the two people and all
    children as boys, then the second and the same as girls.
    """
    one, other = first.people.z[0], second.people.z[0]
    from_one = np.random.RandomState(seed).randint(0, 2, [count, len(one)]) == 1
    z = np.where(from_one, one, other)
    youngest = labels.one_hot([0], model.num_categories)
    genders = labels.one_hot([0] * count + [1] * count, 2)
    faces = model.generate(np.concatenate([z, z]), youngest, genders)
    boys, girls = np.split(portraits.with_levels(faces, (first.levels + second.levels) / 2), 2)
    numbers = range(1, count + 1)
    titles = ['input', *(f'boy {k}' for k in numbers), 'input', *(f'girl {k}' for k in numbers)]
    return [first.image, *boys, second.image, *girls], titles


def warning(first: Portrait, second: Portrait) -> str:
    """Return a sentence on faces that a game cannot mix well, or ''."""
    people = {'first': first, 'second': second}
    turned = [name for name, person in people.items() if not portraits.is_frontal(person)]
    if not turned:
        return ''
    return (
        f'The {" and the ".join(turned)} face is turned to the side, so that mouths come out '
        'smeared: take a photo from the front.'
    )


@console.one_sentence()
def main(argv=None):
    parser = flag_types.Parser('python -m demo.games', __doc__)
    parser.add_argument('game', choices=['morph', 'kids'])
    parser.add_argument('photos', type=flag_types.path, nargs=2, metavar='PHOTO', help='of a face')
    count, seed = flag_types.integer(1, MOST_CHILDREN), flag_types.integer(0, 2**32 - 1)
    parser.add_argument('--count', type=count, default=10, help='of the children (%(default)s)')
    parser.add_argument('--seed', type=seed, default=1, help='of the children (%(default)s)')
    flag_types.add_model(parser)
    portraits.add_out(parser)
    args = parser.parse_args(argv)
    model = face_aging.open_trained(args.savedir, args.age_groups)
    method = likeness.open_aging(model, 0, 0)  # codes are mixed as they are
    people, named = [], []
    for path in args.photos:
        photo = portraits.open_photo(path)
        portraits.require_face(photo, path)
        people.append(portraits.portray(method, photo, name=path))
        named += portraits.named(people[-1], path)
    if said := warning(*people):
        warnings.warn(said, stacklevel=2)
    folder = portraits.result_folder(args)
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, '_'.join([args.game, *files.unique_names(args.photos)]))
    if args.game == 'morph':
        animation, strip = morph(model, *people)
        strips.save_strip(*strip, f'{path}.png')
        strips.save_gif(*animation, f'{path}.gif')
        portraits.say_named(named)
        console.say(f'Wrote {path}.png and .gif')
    else:
        children = kids(model, *people, args.count, args.seed)
        strips.save_strip(*children, f'{path}.png', rows=2)
        console.say(f'Wrote {path}.png')


if __name__ == '__main__':
    main()
