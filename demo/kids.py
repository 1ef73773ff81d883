"""Show children that two people might have: python -m demo.kids A B --count 10 --seed 1.

Each component of a child's code is taken at random from that of one of the two; the child is of the
youngest age group, and shown as a boy and as a girl. Writes kids_<A>_<B>.png to SAVEDIR/test.
"""

import argparse

import numpy as np

import ops
from data import console, files, flag_types, labels
from demo import aging, photos

MOST_CHILDREN = 100  # children in a picture


def kids(model, first, second, count, seed):
    """Make children of two faces.

    Args:
        model: a FaceAging, trained.
        first, second: [S, S, C], uint8 or float in [-1, 1], faces that lie as in UTKFace.
        count: N.
        seed: of the choices; the same one makes the same children.

    Returns:
        float32 array [2 * N, S, S, C] in [-1, 1]: all as boys, then the same as girls.
    """
    one, other = photos.encode(model, [first, second])
    from_one = np.random.RandomState(seed).randint(0, 2, [count, len(one)]) == 1
    z = np.where(from_one, one, other)
    youngest = labels.one_hot([0] * 2 * count, model.num_categories)
    genders = labels.one_hot([0] * count + [1] * count, 2)
    return photos.generate(model, np.concatenate([z, z]), youngest, genders)


@console.one_sentence()
def main(argv=None):
    parser = argparse.ArgumentParser(prog='python -m demo.kids', description=__doc__)
    parser.add_argument('photos', type=flag_types.path, nargs=2, metavar='PHOTO', help='of a face')
    parser.add_argument('--count', type=int, default=10, help='of the children (%(default)s)')
    parser.add_argument('--seed', type=int, default=1, help='of the choices (%(default)s)')
    photos.add_arguments(parser)
    words = parser.parse_args(argv)
    if not 1 <= words.count <= MOST_CHILDREN:
        parser.error(f'--count is from 1 to {MOST_CHILDREN}')
    if not 0 <= words.seed < 2**32:
        parser.error('--seed is from 0 to 4294967295')
    model = photos.open_model(words)
    images = photos.open_faces(words.photos, model)
    boys, girls = np.split(kids(model, *images, words.count, words.seed), 2)
    numbers = range(1, words.count + 1)
    rows = [images[0], *boys, images[1], *girls]
    titles = ['input', *(f'boy {k}' for k in numbers), 'input', *(f'girl {k}' for k in numbers)]
    path = photos.result_path(model, 'kids', *files.unique_names(words.photos)) + '.png'
    frame = 2, words.count + 1
    ops.save_batch_images(aging.titled(rows, titles), path, (0, 255), frame)
    print(f'Wrote {path}')


if __name__ == '__main__':
    main()
