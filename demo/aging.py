"""Show a photo at all ages: python -m demo.aging PHOTO.

Writes a strip, ages_<name>_male.png, and an animation, ages_<name>_male.gif, to SAVEDIR/test, and
both for female.
"""

import argparse

import ops
from data import console, files, labels
from demo import photos


def age(model, image, years, gender):
    """Show a face at ages.

    Args:
        model: a FaceAging, trained.
        image: [S, S, C], uint8 or float in [-1, 1], a face that lies as in UTKFace.
        years: N ages.
        gender: 0 male, 1 female.

    Returns:
        float32 array [N, S, S, C] in [-1, 1].
    """
    z = photos.encode(model, [image]).repeat(len(years), axis=0)
    ages = labels.age_label(years, model.age_upper)
    return photos.generate(model, z, ages, labels.one_hot([gender] * len(years), 2))


@console.one_sentence()
def main(argv=None):
    parser = argparse.ArgumentParser(prog='python -m demo.aging', description=__doc__)
    parser.add_argument('photo', help='of a face')
    parser.add_argument('--ages', help='years on the strip, as 5,30,65; default: the age groups')
    parser.add_argument('--gender', choices=[*labels.GENDER_NAMES, 'both'], default='both')
    photos.add_arguments(parser)
    words = parser.parse_args(argv)
    years = words.ages and labels.parse_ages(words.ages)
    model = photos.open_model(words)
    (image,) = photos.open_faces([words.photo], model)
    titles = ['input', *(years or labels.age_names(model.age_upper))]
    years = years or labels.age_centres(model.age_upper)
    glide = labels.glide_years(model.age_upper)
    (name,) = files.unique_names([words.photo])
    for gender, word in enumerate(labels.GENDER_NAMES):
        if words.gender in (word, 'both'):
            path = photos.result_path(model, 'ages', name, word)
            strip = [image, *age(model, image, years, gender)]
            ops.save_strip(strip, titles, path + '.png')
            ops.save_gif(age(model, image, glide, gender), glide, path + '.gif')
            print(f'Wrote {path}.png and .gif')


if __name__ == '__main__':
    main()
