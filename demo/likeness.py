"""Ages that show, people who stay: the mathematics of --age_shift and --likeness.

G(E(x), age, gender) has two faults. The code z = E(x) still says how old the person is, and G
listens to it more than to the age label: `shift_age` replaces that age. And fifty numbers do not
hold a person: `lay_over` keeps the photo and adds only the change. Both work on any trained model.
"""

import argparse
import os
import typing
import warnings

import numpy as np
from scipy import ndimage

import face_aging
from data import labels, tables
from data.console import InputError
from init_model import checkpoints, savedir
from init_model import codes as code_statistics

# Of strips, animations and whole photos: 95% of the people that they were chosen on are recognised.
# With 1 and 1 as many are, and over 70 they look as old, but old people hardly become children.
AGE_SHIFT, LIKENESS = 0.6, 0.7
MOST_AGE_SHIFT = 2.0  # beyond it faces fall apart
AGE_RANK = 4  # directions of z in which ages differ: with more of them people are lost
# Years from which on an overshoot counts in full. In a small child it makes dark holes of the eyes,
# in a young adult shadows around the face.
OVERSHOOT_FROM = 40
# Part of the change's colour that is laid over: more turns lips pink and noses red, less leaves
# grey hair and pale skin out.
COLOUR = 0.3
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # of R, G and B (ITU-R BT.601)
FACE = 0.2  # of the width, from each side to the middle of the face, where its tone is measured
GREY = 0.02  # mean range of R, G and B in [-1, 1] up to which a photo is grey: what JPEG adds
TRUST_BLUR = 3 / 128  # of the width: deviation of the Gaussian over which errors are averaged
TRUST_ERROR = 0.3  # of pixels in [-1, 1]: a mean error from which on little of the change is used


class Aging(typing.NamedTuple):
    """How people are shown at other ages.

    Attributes:
        codes: the model's Codes, None where it has none.
        age_shift, likeness: see `shift_age` and `lay_over`.
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


def open_aging(model, age_shift=None, likeness=None):
    """Return the `Aging` of a model; where no values are given, the best ones.

    Without Codes the best age_shift is 0; a warning says how to make them.

    Args:
        model: a FaceAging that has restored its weights by `load_trained`.

    Raises:
        InputError: an age_shift is given, but there are no Codes; or they are damaged.
    """
    folder = os.path.join(model.save_dir, savedir.CHECKPOINT)
    if not checkpoints.is_in(folder):
        folder = face_aging.INIT_MODEL
    codes = code_statistics.read(folder, model.num_categories, model.num_z_channels)
    if codes is None and age_shift != 0:
        need = (
            f'The statistics of codes that an age shift needs are not in {folder}: make them with '
            f'{code_statistics.COMMAND} --savedir {model.save_dir} --dataset UTKFace'
        )
        if age_shift:
            raise InputError(f'{need}, or pass 0.', age_shift=0)
        warnings.warn(f'{need}. Ages show less without.', stacklevel=2)
        age_shift = 0
    age_shift = AGE_SHIFT if age_shift is None else age_shift
    return Aging(codes, age_shift, LIKENESS if likeness is None else likeness)


# ----------------------------------------------------------------------------------- codes


def whitening(covariance):
    """Return W [Z, Z], lower triangular, with W C W' = I for a covariance C [Z, Z]."""
    return np.linalg.inv(np.linalg.cholesky(np.asarray(covariance, np.float64)))


def age_projection(codes):
    """Return P [Z, Z], the projection of codes on the AGE_RANK directions in which ages differ.

    P = W^-1 U'U W: the rows of U [AGE_RANK, Z] are the first right singular vectors of the
    whitened means of the age groups, of both genders together, centred.

    Args:
        codes: an init_model.codes.Codes.
    """
    W = whitening(codes.covariance)
    means = codes.mean.mean(axis=1) @ W.T
    U = np.linalg.svd(means - means.mean(axis=0), full_matrices=False)[2][:AGE_RANK]
    return np.linalg.solve(W, U.T @ U @ W)


def shift_age(codes, z, ages, genders, age_shift, age_upper=labels.AGE_UPPER):
    """Replace the age that codes carry: z - t * P (z - mu), with P of `age_projection`.

    mu is the mean code of the target's age and gender, mixed as the labels are. t is age_shift;
    what it has beyond 1 counts in full from OVERSHOOT_FROM years on, in proportion below.

    Args:
        codes: an init_model.codes.Codes.
        z: float array [..., Z].
        ages, genders: labels of the target, [..., L] and [..., 2] in [-1, 1].
        age_shift: 0 leaves z as it is; with 1 its age is mu's, with more it overshoots.
        age_upper: last year of each age group but the last.

    Returns:
        float32 array [..., Z].
    """
    ages, genders = ((1 + np.asarray(label, np.float64)) / 2 for label in (ages, genders))
    mu = np.einsum('...l,...s,lsz->...z', ages, genders, codes.mean)
    years = (ages @ labels.age_centres(age_upper))[..., None]
    t = min(age_shift, 1) + max(age_shift - 1, 0) * np.clip(years / OVERSHOOT_FROM, 0, 1)
    return (z - t * ((z - mu) @ age_projection(codes).T)).astype(np.float32)


def guess_labels(codes, z):
    """Guess ages and genders from codes: how likely each is if codes are normal in every cell.

    Args:
        codes: an init_model.codes.Codes.
        z: float array [N, Z].

    Returns:
        ages, genders: labels, float32 [N, L] and [N, 2] in [-1, 1]: 2p - 1 of the probabilities p.
    """
    W = whitening(codes.covariance)
    offsets = (z[:, None] - codes.mean.reshape(1, -1, z.shape[1])) @ W.T  # [N, 2L, Z]
    logits = -(offsets**2).sum(axis=-1) / 2
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    odds = (odds / odds.sum(axis=1, keepdims=True)).reshape(len(z), *codes.mean.shape[:2])
    return tuple(np.float32(2 * odds.sum(axis=axis) - 1) for axis in (2, 1))


# ---------------------------------------------------------------------------------- photos


class People(typing.NamedTuple):
    """Photos of N people, and what a model makes of them as they are.

    Attributes:
        images: float32 array [N, S, S, C] in [-1, 1], the photos.
        z: float32 array [N, Z], their codes.
        reconstructions: float32 array [N, S, S, C], G of the codes at their own ages and genders.
        weight: float32 array [N, S, S, 1], see `trust`.
    """

    images: np.ndarray
    z: np.ndarray
    reconstructions: np.ndarray
    weight: np.ndarray


def look_at(model, codes, images, years=None, gender=None):
    """Return the `People` in photos.

    Args:
        model: a FaceAging, trained.
        codes: its Codes, or None.
        images: float32 array [N, S, S, C] in [-1, 1].
        years, gender: of all of them, in years and 0 male, 1 female. What is not given is guessed,
            from the codes or, where there are no Codes, as what reconstructs a photo best.
    """
    images = np.asarray(images, np.float32)
    z = model.E(images).numpy()
    if years is None or gender is None:
        guess = best_labels(model, images, z) if codes is None else guess_labels(codes, z)
    ages = guess[0] if years is None else labels.age_label([years] * len(z), model.age_upper)
    genders = guess[1] if gender is None else labels.one_hot([gender] * len(z), 2)
    reconstructions = generate(model, z, ages, genders)
    return People(images, z, reconstructions, trust(images, reconstructions))


def best_labels(model, images, z):
    """Return the labels, [N, L] and [N, 2], of the age group and gender that fit photos best."""
    cells = list(np.ndindex(model.num_categories, 2))
    ages = labels.one_hot([group for group, _ in cells], model.num_categories)
    genders = labels.one_hot([gender for _, gender in cells], 2)
    errors = [
        np.abs(generate(model, np.tile(code, [len(cells), 1]), ages, genders) - image)
        for code, image in zip(z, images, strict=True)
    ]
    best = np.array([error.mean(axis=(1, 2, 3)).argmin() for error in errors])
    return ages[best], genders[best]


def generate(model, z, ages, genders):
    """Return the faces, float32 [N, S, S, C] in [-1, 1], of codes and labels [N, ...]."""
    at_once = face_aging.GENERATED_AT_ONCE
    starts = range(0, len(z), at_once)
    faces = [model.G([x[i : i + at_once] for x in (z, ages, genders)]).numpy() for i in starts]
    return np.concatenate(faces)


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
    `weight` w and likeness l

        (1 - l) * y + l * (x + w * d)

    where d is y - r with COLOUR of its colours, and without its mean over the face: a skin keeps
    its tone. A grey photo gets no colours.

    Args:
        people: People, N photos.
        generated: float array [..., N, S, S, C] in [-1, 1], the model's faces of them at a target.
        likeness: from 0, which leaves `generated` as it is, to 1, the photo with the change.

    Returns:
        float32 array [..., N, S, S, C] in [-1, 1].
    """
    if likeness == 0:
        return generated
    change = generated - people.reconstructions
    if change.shape[-1] == 3:
        light = (change @ LUMINANCE)[..., None]
        colour = COLOUR * is_coloured(people.images)[:, None, None, None]
        change = light + colour * (change - light)
    edge = round(FACE * change.shape[-2])
    face = (..., slice(edge, -edge), slice(edge, -edge), slice(None))
    weight, axes = people.weight, (-3, -2)
    tone = (weight * change)[face].sum(axes, keepdims=True) / weight[face].sum(axes, keepdims=True)
    laid_over = people.images + weight * (change - tone)
    mixed = (1 - likeness) * generated + likeness * laid_over
    return np.clip(mixed, -1, 1).astype(np.float32)


def is_coloured(images):
    """Return whether photos [N, S, S, 3] in [-1, 1] are more than grey, bool array [N]."""
    return np.ptp(images, axis=-1).mean(axis=(1, 2)) > GREY


def show(model, codes, people, ages, genders, age_shift, likeness):
    """Show people at ages, as genders.

    Args:
        model: a FaceAging, trained.
        codes: its Codes; may be None where age_shift is 0.
        people: People, N photos, as from `look_at`; where likeness is 0 only the codes count.
        ages, genders: labels of the target in [-1, 1], [..., N, L] and [..., N, 2], or what
            NumPy broadcasts to these.
        age_shift, likeness: see `shift_age` and `lay_over`. With both 0 the faces are those of
            G(E(x), age, gender).

    Returns:
        float32 array [..., N, S, S, C] in [-1, 1].
    """
    shape = np.broadcast_shapes(people.z.shape[:-1], ages.shape[:-1], genders.shape[:-1])
    z = people.z
    if age_shift:
        z = shift_age(codes, z, ages, genders, age_shift, model.age_upper)
    rows = [
        np.broadcast_to(x, [*shape, x.shape[-1]]).reshape(-1, x.shape[-1])
        for x in (z, ages, genders)
    ]
    generated = generate(model, *rows)
    return lay_over(people, generated.reshape(*shape, *generated.shape[1:]), likeness)
