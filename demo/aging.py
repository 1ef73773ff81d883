"""Show a photo at all ages: python -m demo.aging PHOTO.

Writes a strip, ages_<name>_male.png, and an animation, ages_<name>_male.gif, to SAVEDIR/test, and
both for female.
"""

import argparse

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import ops
from data import console, files, flag_types, labels, readers
from demo import likeness, photos

TITLE_BAND = 1 / 6  # height of a title's band, as a part of the picture's width
TITLE_FONT = 2 / 3  # height of its letters, as a part of the band's: 14 pixels at 128 a face
FRAME_MS, END_FRAME_MS = 100, 800  # how long an animation shows a frame, and its first and last


def age(model, image, years, gender, method=None, own_age=None, own_gender=None):
    """Show a face at ages.

    Args:
        model: a FaceAging, trained.
        image: [S, S, C], uint8 or float in [-1, 1], a face that lies as in UTKFace.
        years: N ages.
        gender: 0 male, 1 female.
        method: a likeness.Aging, by default the best one.
        own_age, own_gender: of the person, if they are known.

    Returns:
        float32 array [N, S, S, C] in [-1, 1].
    """
    method = method or likeness.open_aging(model)
    images = photos.to_float(image)[None]
    ages = labels.age_label(years, model.age_upper)[:, None]
    own = own_age, own_gender
    target = ages, labels.one_hot([gender], 2)
    return likeness.look_and_show(model, method, images, *target, *own)[1][:, 0]


def all_ages(model, method, own_age=None):
    """Return a function for `FaceAging.custom_test` that shows faces as `age` does.

    Args:
        model, method, own_age: as for `age`.
    """

    def show(images, genders):
        ages = labels.one_hot(np.arange(model.num_categories), model.num_categories)[:, None]
        return likeness.look_and_show(model, method, images, ages, genders, own_age)[1]

    return show


def write(
    model,
    names,
    images,
    genders=labels.GENDER_NAMES,
    years=None,
    gif=False,
    method=None,
    own_age=None,
):
    """Write a strip of each face and its ages, ages_<name>_<gender>.png, to save_dir/test.

    Args:
        model: a FaceAging, trained.
        names: N names of the faces; such as UTKFace's, 23_0_me, tell the own ages and genders.
        images: N faces, as for `age`.
        genders: those of labels.GENDER_NAMES that the faces are shown as.
        years: ages on the strip; by default the age groups.
        gif: also write ages_<name>_<gender>.gif, an animation through the ages and back.
        method, own_age: as for `age`.

    Returns:
        paths of the strips and animations, without their suffixes.
    """
    method = method or likeness.open_aging(model)
    titles = ['input', *(years or labels.age_names(model.age_upper))]
    years = years or labels.age_centres(model.age_upper)
    ages = labels.age_label(years, model.age_upper)[:, None]
    glide = labels.glide_years(model.age_upper)
    gliding = labels.age_label(glide, model.age_upper)[:, None]
    shown_as = labels.one_hot([labels.GENDER_NAMES.index(gender) for gender in genders], 2)
    paths = []
    with console.Progress(total=len(names) * len(genders), desc='Aging', unit=' faces') as progress:
        for name, image in zip(names, images, strict=True):
            image = photos.to_float(image)
            own = known(name, own_age)
            target = ages, shown_as
            people, faces = likeness.look_and_show(model, method, image[None], *target, *own)
            for k, gender in enumerate(genders):
                path = photos.result_path(model, 'ages', name, gender)
                save_strip([image, *faces[:, k]], titles, path + '.png')
                if gif:
                    frames = likeness.show(model, *method.of(people, gliding, shown_as[k : k + 1]))
                    save_gif(frames[:, 0], glide, path + '.gif')
                paths.append(path)
                progress.update()
    return paths


def known(name, own_age=None):
    """Return the own age and gender of a person by the name of a photo, None for the unknown."""
    age, gender = readers.parse_name(name) or (None, None)
    return age if own_age is None else own_age, gender


# ------------------------------------------------------------------ strips and animations


def titled(images, titles, image_value_range=(-1, 1)):
    """Put a title above each image, black on white.

    Args:
        images: array [N, H, W, C] within image_value_range.
        titles: N strings or numbers.
        image_value_range: (value of black, value of white).

    Returns:
        uint8 array [N, H + TITLE_BAND * W, W, C].
    """
    images = np.asarray(images)
    pixels = ops.image_grid(images, image_value_range, size_frame=(len(images), 1))
    pixels = pixels.reshape(images.shape)
    width = pixels.shape[2]
    height = round(width * TITLE_BAND)
    font = ImageFont.load_default(height * TITLE_FONT)
    bands = []
    for title in titles:
        band = Image.new('L', (width, height), 'white')
        ImageDraw.Draw(band).text((width / 2, height / 2), str(title), 'black', font, anchor='mm')
        bands.append(np.asarray(band))
    bands = np.repeat(np.stack(bands)[..., None], pixels.shape[3], axis=3)
    return np.concatenate([bands, pixels], axis=1)


def save_strip(images, titles, save_path):
    """Write images [N, H, W, C] in [-1, 1] as one row, each `titled`; return its pixels."""
    return ops.save_batch_images(titled(images, titles), save_path, (0, 255), (1, len(images)))


def save_gif(images, titles, save_path):
    """Write images [N, H, W, C] in [-1, 1], each `titled`, as an endless animation, to and fro."""
    frames = titled(images, titles)
    frames = frames.squeeze(-1) if frames.shape[-1] == 1 else frames
    # The 256 colours that fit all frames best, chosen from a quarter of the pixels; with a standard
    # palette bright skin falls into patches. No dithering: it flickers and takes half as much space
    # again.
    palette = Image.fromarray(np.concatenate(frames[:, ::2, ::2])).convert('RGB')
    palette = palette.quantize(256, kmeans=1)
    frames = [
        Image.fromarray(frame).convert('RGB').quantize(palette=palette, dither=Image.Dither.NONE)
        for frame in frames
    ]
    durations = [FRAME_MS] * len(frames)
    durations[0] = durations[-1] = END_FRAME_MS
    frames, durations = frames + frames[-2:0:-1], durations + durations[-2:0:-1]
    with console.naming(save_path):
        frames[0].save(
            save_path, 'GIF', save_all=True, append_images=frames[1:], duration=durations, loop=0
        )


@console.one_sentence()
def main(argv=None):
    parser = argparse.ArgumentParser(prog='python -m demo.aging', description=__doc__)
    parser.add_argument('photo', type=flag_types.path, help='of a face')
    parser.add_argument(
        '--ages', help='years on the strip, such as 5,30,65; default: the age groups'
    )
    parser.add_argument('--gender', choices=[*labels.GENDER_NAMES, 'both'], default='both')
    likeness.add_arguments(parser)
    photos.add_arguments(parser)
    words = parser.parse_args(argv)
    years = words.ages and labels.parse_ages(words.ages)
    genders = labels.GENDER_NAMES if words.gender == 'both' else [words.gender]
    model = photos.open_model(words)
    method = likeness.open_aging(model, words.age_shift, words.likeness)
    images = photos.open_faces([words.photo], model)
    names = files.unique_names([words.photo])
    for path in write(model, names, images, genders, years, True, method, words.age):
        print(f'Wrote {path}.png and .gif')


if __name__ == '__main__':
    main()
