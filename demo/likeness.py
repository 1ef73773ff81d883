"""Ages that show, people who stay: the mathematics of --age_shift and --likeness.

G(E(x), age, gender) has two faults. The code z = E(x) still says how old the person is, and G
listens to it more than to the age label: `age_code.shift_age` replaces that age. And fifty numbers
do not hold a person: `lay_over` keeps the photo and adds only the change. Both work on any trained
model.
"""

import argparse
import functools
import math
import typing
import warnings

import numpy as np
from scipy import ndimage

import face_aging
from data import detector, tables
from data.console import InputError
from demo import age_code
from init_model import codes as code_statistics

# Of strips, animations and whole photos, chosen on one half of the held-out people.
AGE_SHIFT, LIKENESS = 0.6, 0.2
MOST_AGE_SHIFT = 2.0  # beyond it faces fall apart
# Part of the change's colour that is laid over: more turns lips pink and noses red, less leaves
# grey hair and pale skin out.
COLOUR = 0.3
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # of R, G and B (ITU-R BT.601)
FACE = 0.2  # of the width, from each side to the middle of the face, where its tone is measured
GREY = 0.02  # mean range of R, G and B in [-1, 1] up to which a photo is grey: what JPEG adds
# How much less likely an error of a reconstruction, the mean of absolute differences of pixels in
# [-1, 1], makes its labels: a logarithm. With 0 the genders of 71% of 160 held-out people are
# guessed right, with 400 of 84%, with 1600 of 80%.
ERROR_ODDS = 400
# Of the width: deviation of the Gaussian that takes the speckles out of what is generated.
SPECKLES = 0.8 / 128
# Of the width: deviation of the Gaussian that parts what is coarse, which is mixed, from what is
# fine, which stays the photo's.
DETAIL = 2 / 128
# The photo's fine detail is scaled as the model scales waves between two Gaussians of these
# deviations, averaged over a third, in parts of the width: a child loses the wrinkles of a photo.
TEXTURE, TEXTURE_BLUR = (1 / 128, 4 / 128), 4 / 128
TEXTURE_SCALE = 0.5, 1.2  # at least, at most
MOST_CONTRAST = 1.3  # factor of that of generated faces, where the model takes more from a photo
EYES_KEPT, MOUTH_KEPT = 0.8, 0.6  # parts of the change that are left out in the middle of each
EYE_SIZE, MOUTH_SIZE = (0.1, 0.06), (0.15, 0.07)  # of the width: of the Gaussians around them
# A rounded ellipse in parts of the width, from EDGE of whose radius on the change fades out.
FACE_CENTRE, FACE_RADIUS, FACE_POWER, FACE_EDGE = (0.5, 0.52), (0.5, 0.62), 3, 0.86
DETAIL_FROM = 0.2  # likeness from which on all this counts in full; at 0 the paper's method is left
TRUST_BLUR = 3 / 128  # of the width: deviation of the Gaussian over which errors are averaged
TRUST_ERROR = 0.3  # of pixels in [-1, 1]: a mean error from which on little of the change is used


class Aging(typing.NamedTuple):
    """How people are shown at other ages.

    Attributes:
        codes: the model's Codes, None where it has none.
        age_shift, likeness: see `age_code.shift_age` and `lay_over`.
    """

    codes: code_statistics.Codes | None
    age_shift: float
    likeness: float

    def of(self, people, ages, genders):
        """Return the arguments of `show` after the model."""
        return self.codes, people, ages, genders, self.age_shift, self.likeness


def add_arguments(parser):
    """Add what a program that shows people at other ages asks."""
    parser.add_argument('--age', type=_number(0, tables.OLDEST), help='own, where it is known')
    shift = _number(0, MOST_AGE_SHIFT)
    parser.add_argument('--age_shift', type=shift, help="as main.py's")
    parser.add_argument('--likeness', type=_number(0, 1), help="as main.py's")


def _number(low, high):
    """Return a parser of numbers from low to high, for argparse."""

    def number(word):
        if not low <= float(word) <= high:  # nan is not either
            raise argparse.ArgumentTypeError(f'{word} is not from {low} to {high}')
        return float(word)

    return number


def open_aging(model, age_shift: float | None = None, likeness: float | None = None) -> Aging:
    """Return the `Aging` of a model; where no values are given, the best ones.

    Without Codes the best age_shift is 0; a warning says how to make them.

    Args:
        model: a FaceAging that has restored its weights.
        age_shift, likeness: see `Aging`.

    Raises:
        InputError: an age_shift is given, but there are no Codes of these weights; or they are
            damaged.
    """
    codes = None
    try:
        codes = code_statistics.of(model)
        need = (
            'The statistics of codes that an age shift needs are not in '
            f'{model.weights_dir}: make them ({code_statistics.command(model.weights_dir)}).'
        )
    except code_statistics.OtherWeightsError as error:
        need = str(error)
    if codes is None and age_shift != 0:
        if age_shift:
            raise InputError(need, age_shift=0)
        warnings.warn(f'{need} Ages show less without.', stacklevel=2)
        age_shift = 0
    age_shift = AGE_SHIFT if age_shift is None else age_shift
    return Aging(codes, age_shift, LIKENESS if likeness is None else likeness)


# ---------------------------------------------------------------------------------- photos


class People(typing.NamedTuple):
    """Photos of N people, and what a model makes of them as they are.

    Attributes:
        images: float32 array [N, S, S, C] in [-1, 1], the photos.
        z: float32 array [N, Z], their codes.
        ages, genders: float32 arrays [N, L] and [N, 2], their labels, known or guessed.
        reconstructions: float32 array [N, S, S, C], G of all three.
        weight: float32 array [N, S, S, 1], see `trust`.
    """

    images: np.ndarray
    z: np.ndarray
    ages: np.ndarray
    genders: np.ndarray
    reconstructions: np.ndarray
    weight: np.ndarray


def look_at(model, codes, images, years=None, gender=None):
    """Return the `People` in photos.

    Args:
        model: a FaceAging, trained.
        codes: its Codes, or None.
        images: float32 array [N, S, S, C] in [-1, 1].
        years, gender: of all of them, in years and 0 male, 1 female. What is not given is guessed:
            of the labels that are possible the ones that reconstruct a photo best count, together
            with the odds that the codes tell.
    """
    images = np.asarray(images, np.float32)
    z = model.E(images).numpy()
    ages, genders, odds = age_code.possible_labels(model, codes, z, years, gender)
    (faces,) = generate(model, (z, ages, genders))
    return _likeliest(images, z, ages, genders, odds, faces)


def look_and_show(model, aging, images, ages, genders, years=None, gender=None):
    """Return the `People` in photos and what `show` makes of them; all goes through G at once.

    Args:
        model, images, years, gender: as for `look_at`.
        aging: an Aging.
        ages, genders: of the target, as for `show`.
    """
    images = np.asarray(images, np.float32)
    z = model.E(images).numpy()
    *possible, odds = age_code.possible_labels(model, aging.codes, z, years, gender)
    target = age_code.shift_age(aging.codes, z, ages, genders, aging.age_shift, model.age_upper)
    own, faces = generate(model, (z, *possible), (target, ages, genders))
    people = _likeliest(images, z, *possible, odds, own)
    return people, lay_over(people, faces, aging.likeness)


def _likeliest(images, z, ages, genders, odds, faces):
    """Return People, of each person the one of K `age_code.possible_labels` whose face fits best.

    Args:
        images, z, ages, genders, odds: of `look_at` and `age_code.possible_labels`.
        faces: float array [K, N, S, S, C], G of the codes and labels.
    """
    errors = np.array([np.abs(face - images).mean(axis=(1, 2, 3)) for face in faces])
    best = (odds - ERROR_ODDS * errors).argmax(axis=0), np.arange(len(images))
    return People(images, z, ages[best], genders[best], faces[best], trust(images, faces[best]))


def generate(model, *inputs):
    """Return faces, float32 [..., S, S, C] in [-1, 1], for each of several inputs.

    Args:
        model: a FaceAging, trained.
        inputs: triples of codes [..., Z], ages [..., L] and genders [..., 2], which NumPy
            broadcasts.
    """
    shapes = [np.broadcast_shapes(*(x.shape[:-1] for x in triple)) for triple in inputs]
    rows = [
        np.concatenate(
            [
                np.broadcast_to(x, [*shape, x.shape[-1]]).reshape(-1, x.shape[-1])
                for x, shape in zip(column, shapes, strict=True)
            ]
        )
        for column in zip(*inputs, strict=True)
    ]
    at_once = face_aging.GENERATED_AT_ONCE
    starts = range(0, len(rows[0]), at_once)
    faces = np.concatenate([model.G([x[i : i + at_once] for x in rows]).numpy() for i in starts])
    parts = np.split(faces, np.cumsum([math.prod(shape) for shape in shapes])[:-1])
    return [
        part.reshape(*shape, *faces.shape[1:]) for part, shape in zip(parts, shapes, strict=True)
    ]


def trust(images, reconstructions):
    """Say where the model understands photos: 1 there, towards 0 where it errs.

    exp(-(e / TRUST_ERROR)^2), where e is the mean over the colours of the absolute error, averaged
    over a Gaussian.

    Args:
        images, reconstructions: float arrays [N, S, S, C] in [-1, 1].

    Returns:
        float32 array [N, S, S, 1] in (0, 1].
    """
    error = np.abs(images - reconstructions).mean(axis=-1, keepdims=True)
    blur = TRUST_BLUR * images.shape[1]
    error = ndimage.gaussian_filter(error, (0, blur, blur, 0), mode='nearest')
    return np.exp(-((error / TRUST_ERROR) ** 2)).astype(np.float32)


def lay_over(people, generated, likeness):
    """Lay the change that a model makes over photos, and leave the rest of them as it is.

    A model's faults are in both pictures that it makes of a person, y (`generated`) at the target
    and r (`reconstructions`) as they are: their difference is the ageing. With the photo x, its
    `weight` w, the likeness l, and k, which is 1 but for the eyes and the mouth, see `changed`,

        full = x + k * w * d
        mix  = full + (1 - l) * k * (y - full)
        show = coarse(mix) + t * (full - coarse(full))

    where d is y - r with COLOUR of its colours, and without its mean over the face: a skin keeps
    its tone. A grey photo gets no colours. From y and r speckles are blurred away, and y gets the
    contrast that r lacks. The coarse part, a Gaussian, is mixed; the fine part is the photo's,
    scaled by t, the `texture`, where the model understands the photo.
    Towards the border, by `face_mask`, the photo stays as it is.

    Args:
        people: People, N photos.
        generated: float array [..., N, S, S, C] in [-1, 1], the model's faces of them at a target.
        likeness: from 0, which leaves `generated` as it is, to 1, the photo with the change.

    Returns:
        float32 array [..., N, S, S, C] in [-1, 1].
    """
    if likeness == 0:
        return generated
    size, photos = generated.shape[-2], people.images
    weight = people.weight * changed(size)
    smooth, own = (
        _with_colour(_blur(x, SPECKLES), colours(photos, people.reconstructions))
        for x in (generated, people.reconstructions)
    )
    full = photos + _without_tone(_with_colour(smooth - own, COLOUR), weight)
    scale = 1 + weight * (texture(generated, people.reconstructions) - 1)
    clear = _without_haze(smooth, photos, people.reconstructions)
    # The Gaussian is linear: the coarse part of mix is that of full and of what is mixed in.
    shown = _blur((1 - likeness) * changed(size) * (clear - full), DETAIL)
    coarse = _blur(full, DETAIL)
    shown += coarse + scale * (full - coarse)
    shown = photos + face_mask(size) * (shown - photos)
    part = min(likeness / DETAIL_FROM, 1)
    shown = part * shown + (1 - part) * generated
    return np.clip(shown, -1, 1, out=shown)


def _blur(images, deviation):
    """Blur images [..., S, S, C] by a Gaussian, whose deviation is in parts of the width."""
    size = images.shape[-2]
    return ndimage.gaussian_filter(images, deviation * size, mode='nearest', axes=(-3, -2))


def _with_colour(images, share):
    """Return images [..., N, S, S, C] with a share of their colours, a number or one for each N."""
    if images.shape[-1] != 3:
        return images
    share = np.reshape(share, [-1, 1, 1])
    mix = share * np.eye(3) + (1 - share) * LUMINANCE[:, None]  # [N or 1, 3, 3]
    flat = images.reshape(*images.shape[:-3], -1, 3)
    return (flat @ mix.astype(np.float32)).reshape(images.shape)


def _without_tone(change, weight):
    """Weight a change [..., N, S, S, C], and take its mean over the face out of it."""
    edge = round(FACE * change.shape[-2])
    face = (..., slice(edge, -edge), slice(edge, -edge), slice(None))
    change = weight * change
    axes = (-3, -2)
    tone = change[face].sum(axes, keepdims=True) / weight[face].sum(axes, keepdims=True)
    return change - weight * tone


def _without_haze(generated, photos, reconstructions):
    """Give generated faces the contrast that the model takes from photos [N, S, S, C]."""
    axes = (-3, -2, -1)
    own, photos = (x.std(axes, keepdims=True) for x in (reconstructions, photos))
    lost = np.clip(photos / np.maximum(own, 1e-3), 1, MOST_CONTRAST)
    mean = generated.mean(axes, keepdims=True)
    return mean + lost * (generated - mean)


def texture(generated, reconstructions):
    """Return by how much the model makes the texture of faces stronger or weaker.

    Args:
        generated: float array [..., N, S, S, C].
        reconstructions: float array [N, S, S, C].

    Returns:
        float32 array [..., N, S, S, 1] within TEXTURE_SCALE.
    """
    made, own = (_texture_energy(x) for x in (generated, reconstructions))
    return np.clip(np.sqrt(made / own), *TEXTURE_SCALE)


def _texture_energy(images):
    light = images @ LUMINANCE[:, None] if images.shape[-1] == 3 else images
    fine, coarse = (_blur(light, deviation) for deviation in TEXTURE)
    return _blur((fine - coarse) ** 2, TEXTURE_BLUR) + 1e-4


@functools.cache
def changed(size):
    """Return which part of a change is made at each place, float32 [S, S, 1]: less at the eyes.

    At the eyes and the mouth a model of 128 pixels errs most, and people are known by them.
    """
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    left, right, _, *corners = detector.PLACES
    spots = [(left, EYE_SIZE, EYES_KEPT), (right, EYE_SIZE, EYES_KEPT)]
    spots.append((np.mean(corners, axis=0), MOUTH_SIZE, MOUTH_KEPT))
    parts = [
        part * np.exp(-(((x - at[0]) / width) ** 2) - ((y - at[1]) / height) ** 2)
        for at, (width, height), part in spots
    ]
    return (1 - np.max(parts, axis=0)).astype(np.float32)[..., None]


@functools.cache
def face_mask(size):
    """Return 1 in the face and its hair, 0 at the sides and in the corners: float32 [S, S, 1]."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    places = np.abs([x - FACE_CENTRE[0], y - FACE_CENTRE[1]])
    places /= np.array(FACE_RADIUS)[:, None, None]
    radius = (places**FACE_POWER).sum(axis=0) ** (1 / FACE_POWER)
    fade = np.clip((1 - radius) / (1 - FACE_EDGE), 0, 1)
    return (fade * fade * (3 - 2 * fade)).astype(np.float32)[..., None]


def colours(photos, reconstructions):
    """Return how much of its colours a model shows of photos, float [N] from 0, grey, to 1.

    Of a photo with hardly any it makes one with more.

    Args:
        photos, reconstructions: float arrays [N, S, S, C] in [-1, 1].
    """
    own, made = (np.ptp(x, axis=-1).mean(axis=(1, 2)) for x in (photos, reconstructions))
    return np.where(own > GREY, np.minimum(own / np.maximum(made, GREY), 1), 0)


def show(model, codes, people, ages, genders, age_shift, likeness):
    """Show people at ages, as genders.

    Args:
        model: a FaceAging, trained.
        codes: its Codes; may be None where age_shift is 0.
        people: People, N photos, as from `look_at`; where likeness is 0 only the codes count.
        ages, genders: labels of the target in [-1, 1], [..., N, L] and [..., N, 2], or what
            NumPy broadcasts to these.
        age_shift, likeness: see `age_code.shift_age` and `lay_over`. With both 0 the faces are
            those of G(E(x), age, gender).

    Returns:
        float32 array [..., N, S, S, C] in [-1, 1].
    """
    z = age_code.shift_age(codes, people.z, ages, genders, age_shift, model.age_upper)
    (generated,) = generate(model, (z, ages, genders))
    return lay_over(people, generated, likeness)
