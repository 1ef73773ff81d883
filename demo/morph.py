"""Turn one person into another: python -m demo.morph A B.

The code, the age and the gender all glide from those of photo A to those of photo B. How old they
are and as whom they are shown is read from names as UTKFace has them, 23_0_me.jpg for a man of 23,
or else from --ages and --genders. Writes a strip, morph_<A>_<B>.png, and an animation, .gif, to
SAVEDIR/test.
"""

import argparse

import numpy as np

from data import console, files, flag_types, labels, readers
from demo import aging, photos

FRAMES = 25  # of the animation, one way
STRIP_STEP = 3  # frames from one face on the strip to the next: nine of them


def morph(model, first, second, ages, genders, count=FRAMES):
    """Turn one face into another.

    Args:
        model: a FaceAging, trained.
        first, second: [S, S, C], uint8 or float in [-1, 1], faces that lie as in UTKFace.
        ages: years of both.
        genders: of both, 0 male, 1 female.
        count: N.

    Returns:
        float32 array [N, S, S, C] in [-1, 1]; the first and the last are reconstructions.
    """
    shares = _shares(count)
    return photos.generate(
        model,
        shares @ photos.encode(model, [first, second]),
        labels.age_label(shares @ ages, model.age_upper),
        shares @ labels.one_hot(genders, 2),
    )


def _shares(count):
    """Return the shares of both people in each face, [N, 2]."""
    second = np.linspace(0, 1, count)
    return np.stack([1 - second, second], axis=1)


def read_labels(paths, ages=None, genders=None):
    """Return the ages in years and the genders, 0 male, 1 female, of two people.

    Args:
        paths: of their photos, of which the names tell what is not given.
        ages, genders: of both, as '30,60' and 'male,female'.

    Raises:
        InputError: these are no two ages or genders, or a name doesn't tell what is not given.
    """
    named = [readers.parse_name(path) for path in paths]
    if None in named and not (ages and genders):
        path = paths[named.index(None)]
        raise console.InputError(
            f'The name of {path} tells no age and gender, such as 23_0_me.jpg of a man of 23: '
            'pass those of both people, such as --ages 30,60 --genders male,female.'
        )
    ages = labels.parse_ages(ages) if ages else [age for age, _ in named]
    words = genders.split(',') if genders else [labels.GENDER_NAMES[gender] for _, gender in named]
    if len(ages) != 2 or len(words) != 2 or not {*words} <= {*labels.GENDER_NAMES}:
        raise console.InputError(
            'A morph is of two people: pass two ages and two genders, such as --ages 30,60 '
            '--genders male,female.'
        )
    return ages, [labels.GENDER_NAMES.index(word) for word in words]


@console.one_sentence()
def main(argv=None):
    parser = argparse.ArgumentParser(prog='python -m demo.morph', description=__doc__)
    parser.add_argument('photos', type=flag_types.path, nargs=2, metavar='PHOTO', help='of a face')
    parser.add_argument('--ages', help='of both, in years, such as 30,60; default: from the names')
    parser.add_argument('--genders', help='of both, such as male,female; default: from the names')
    photos.add_arguments(parser)
    words = parser.parse_args(argv)
    ages, genders = read_labels(words.photos, words.ages, words.genders)
    model = photos.open_model(words)
    images = photos.open_faces(words.photos, model)
    faces = morph(model, *images, ages, genders)
    years = [f'{age:.0f}' for age in _shares(len(faces)) @ ages]
    path = photos.result_path(model, 'morph', *files.unique_names(words.photos))
    strip = [images[0], *faces[::STRIP_STEP], images[1]]
    aging.save_strip(strip, ['input', *years[::STRIP_STEP], 'input'], path + '.png')
    aging.save_gif(faces, years, path + '.gif')
    print(f'Wrote {path}.png and .gif')


if __name__ == '__main__':
    main()
