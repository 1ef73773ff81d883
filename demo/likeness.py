"""Ages that show, people who stay: the mathematics of --age_shift and --likeness.

G(E(x), age, gender) has two faults. The code z = E(x) still says how old the person is, and G
listens to it more than to the age label: `shift_age` replaces that age. And fifty numbers do not
hold a person: `lay_over` keeps the photo and adds only the change. Arrays here may also be inputs
of a network, see `AgingMethod.network`.
"""

import argparse
import dataclasses
import functools
import typing
import warnings

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from scipy import ndimage

import face_aging
from data import detector, flag_types, labels
from data.console import InputError
from init_model import codes as code_statistics

# Of strips, animations and whole photos, chosen on one half of the held-out people.
AGE_SHIFT, LIKENESS = 1.2, 0.35
MOST_AGE_SHIFT = 2.0  # beyond it faces fall apart
AGE_RANK = 4  # directions of z in which ages differ: with more of them people are lost
# Years from which on an overshoot counts in full. In a small child it makes dark holes of the eyes,
# in a young adult shadows around the face.
OVERSHOOT_FROM = 40
# How much less likely an error of a reconstruction, a mean of absolute differences, makes its
# labels. With 0 the genders of 71% of 160 people are guessed right, with 400 84%, with 1600 80%.
ERROR_ODDS = 400
# The change is STRENGTH times that of the person, of which a part is replaced by that of the mean
# face of the person's age and gender: people are known better by it, and it has less mottle.
STRENGTH, PROTOTYPE = 1.6, 0.6
# Part of the change's colour that is laid over: more turns lips pink and noses red, less leaves
# grey hair and pale skin out.
COLOUR = 0.3
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # of R, G and B (ITU-R BT.601)
GREY = 0.02  # mean range of R, G and B in [-1, 1] up to which a photo is grey: what JPEG adds
# Deviations of Gaussians, in parts of the width: of the one that takes the speckles out of what is
# generated, and of the one that parts what is coarse, which is mixed, from the photo's detail.
SPECKLES, DETAIL = 0.8 / 128, 2 / 128
# The photo's fine detail is scaled as the model scales waves between two Gaussians of these
# deviations, averaged over a third, in parts of the width: a child loses the wrinkles of a photo.
TEXTURE, TEXTURE_BLUR = (1 / 128, 4 / 128), 4 / 128
TEXTURE_SCALE = 0.5, 1.2  # at least, at most
EYES_KEPT, MOUTH_KEPT = 0.8, 0.8  # parts of the change that are left out in the middle of each
EYE_SIZE, MOUTH_SIZE = (0.12, 0.075), (0.15, 0.07)  # of the width: of the Gaussians around them
# A rounded ellipse in parts of the width; from EDGE of its radius on the change fades out. It gets
# narrower towards the chin, by JAW of its width.
FACE_CENTRE, FACE_RADIUS, FACE_POWER, FACE_EDGE, JAW = (0.5, 0.52), (0.5, 0.62), 3, 0.86, 0.3
DETAIL_FROM = 0.2  # likeness from which on all this counts in full; at 0 the paper's method is left
TRUST_BLUR = 3 / 128  # of the width: deviation of the Gaussian over which errors are averaged
TRUST_ERROR = 0.3  # of pixels in [-1, 1]: a mean error from which on little of the change is used
# Parts of the radius of the ellipse above between which the outline of a face begins, and what
# little of the change is used from there: an error, and a difference from the skin. This is a mean
# over a Gaussian of the deviation SKIN_BLUR, in parts of the width.
OUTLINE, OUTLINE_ERROR, SKIN, SKIN_BLUR = (0.7, 1), 0.25, 0.3, 0.1


class Basis(typing.NamedTuple):
    """What `lay_over` needs of N photos and their reconstructions, computed once; float32."""

    weight: np.ndarray  # [N, S, S, 1], see `trust`
    colours: np.ndarray  # [N, 1, 1, 1], see `_colours`
    smooth: np.ndarray  # [N, S, S, C], the reconstructions without speckles, in these colours
    texture: np.ndarray  # [N, S, S, 1], see `_texture_energy`


class People(typing.NamedTuple):
    """Photos of N people, and what a model makes of them as they are; float32."""

    images: np.ndarray  # [N, S, S, C] in [-1, 1], the photos
    z: np.ndarray  # [N, Z], their codes
    ages: np.ndarray  # [N, L], their labels, known or guessed
    genders: np.ndarray  # [N, 2]
    reconstructions: np.ndarray  # [N, S, S, C], G of all three
    basis: Basis


@dataclasses.dataclass(eq=False)
class AgingMethod:
    """Shows people at other ages, by a trained model.

    With age_shift and likeness 0 the faces are those of G(E(x), age, gender).
    """

    model: face_aging.FaceAging
    codes: code_statistics.Codes | None  # of the model; without them age_shift must be 0
    age_shift: float  # see `shift_age`
    likeness: float  # see `lay_over`

    @functools.cached_property
    def prototypes(self) -> np.ndarray:
        """The mean face of each age group and gender, float32 [2L, S * S * C]; needs Codes.

        It is G of their mean code: a prototype, as those of Rowland and Perrett (1995).
        """
        groups, genders = np.divmod(np.arange(2 * self.model.num_categories), 2)
        z = self.codes.mean.reshape(len(groups), -1)
        ages = labels.one_hot(groups, self.model.num_categories)
        faces = self.model.generate(z, ages, labels.one_hot(genders, 2))
        return faces.reshape(len(faces), -1)

    def look_at(
        self, images: np.ndarray, years: float | None = None, gender: int | None = None
    ) -> People:
        """Return the `People` in photos [N, S, S, C] in [-1, 1].

        Years and gender (0 male, 1 female) are of all of them. What is not given is guessed: of the
        labels that are possible the ones that reconstruct a photo best count, together with the
        odds that the codes tell.
        """
        images = np.asarray(images, np.float32)
        z = self.model.encode(images)
        ages, genders, odds = possible_labels(self.model, self.codes, z, years, gender)
        faces = self.model.generate(z, np.stack(ages), np.stack(genders))
        people = _likeliest(images, z, ages, genders, odds, faces)
        return keras.tree.map_structure(np.asarray, people)

    def show(
        self,
        people: People,
        ages: np.ndarray,
        genders: np.ndarray,
        age_shift: float | None = None,
        likeness: float | None = None,
    ) -> np.ndarray:
        """Show N people at ages, as genders: float32 array [..., N, S, S, C] in [-1, 1].

        Ages and genders are labels of the target, [..., N, L] and [..., N, 2], or what NumPy
        broadcasts to these; age_shift and likeness are by default those of the method.
        """
        age_shift = self.age_shift if age_shift is None else age_shift
        likeness = self.likeness if likeness is None else likeness
        z = shift_age(self.codes, people.z, ages, genders, age_shift, self.model.age_upper)
        generated = self.model.generate(z, ages, genders)
        if not likeness:
            return generated
        prototype = self._prototype_change(people, ages, genders)
        return self._lay_over(people, generated, np.float32(likeness), prototype).numpy()

    @functools.cached_property
    def _lay_over(self):  # for any number of people and targets, but one size of faces
        return tf.function(lay_over, autograph=False, reduce_retracing=True)

    def _prototype_change(self, people, ages, genders):
        """Return what changes from the mean face of people's age and gender to the target's."""
        if self.codes is None:
            return None
        own = _of_cells(self.prototypes, people.ages, people.genders)
        change = _of_cells(self.prototypes, ages, genders) - own
        return ops.reshape(change, [*_sizes(change)[:-1], *people.images.shape[1:]])

    def network(self, E: keras.Model, G: keras.Model) -> keras.Model:
        """Return this method, by copies of E and G, from image, age and gender to a face."""
        image = keras.Input(E.input.shape[1:], name='image')
        age = keras.Input([self.model.num_categories], name='age')
        gender = keras.Input([2], name='gender')
        z = E(image)
        ages, genders, odds = possible_labels(self.model, self.codes, z)
        faces = [G([z, *own]) for own in zip(ages, genders, strict=True)]
        people = _likeliest(image, z, ages, genders, odds, faces)
        shifted = shift_age(self.codes, z, age, gender, self.age_shift, self.model.age_upper)
        face = G([shifted, age, gender])
        if self.likeness:
            prototype = self._prototype_change(people, age, gender)
            face = lay_over(people, face, self.likeness, prototype)
        return keras.Model([image, age, gender], face, name='face')


def add_strength(parser: argparse.ArgumentParser, default: float | None = None):
    """Add --age_shift and --likeness; without a default for both they are the best ones."""
    best = (AGE_SHIFT, LIKENESS) if default is None else (default, default)
    parser.add_argument(
        '--age_shift',
        type=flag_types.number(0, MOST_AGE_SHIFT),
        default=default,
        help=f"how far the age in the code is replaced by the target's, from 0, not at all, to "
        f'{MOST_AGE_SHIFT:g} ({best[0]})',
    )
    parser.add_argument(
        '--likeness',
        type=flag_types.number(0, 1),
        default=default,
        help='how much of the photo stays, from 0, nothing, to 1, everything but the change '
        f'({best[1]})',
    )


def open_aging(
    model: face_aging.FaceAging, age_shift: float | None = None, likeness: float | None = None
) -> AgingMethod:
    """Return the `AgingMethod` of a model with weights; where no values are given, the best ones.

    Without Codes the best age_shift is 0, a warning says how to make them, and another one that is
    given raises an InputError.
    """
    try:
        codes = code_statistics.of(model)
        need = (
            'The statistics of codes that an age shift needs are not in '
            f'{model.weights_dir}: make them ({code_statistics.command(model.weights_dir)}).'
        )
    except code_statistics.OtherWeightsError as error:
        codes, need = None, str(error)
    if codes is None and age_shift != 0:
        if age_shift:
            raise InputError(need, age_shift=0)
        warnings.warn(f'{need} Ages show less without.', stacklevel=2)
        age_shift = 0
    age_shift = AGE_SHIFT if age_shift is None else age_shift
    return AgingMethod(model, codes, age_shift, LIKENESS if likeness is None else likeness)


# ---------------------------------------------------------------------- the age in the code


def _whitening(covariance):
    """Return W [Z, Z], lower triangular, with W C W' = I for a covariance C [Z, Z]."""
    return np.linalg.inv(np.linalg.cholesky(np.asarray(covariance, np.float64)))


def age_projection(codes):
    """Return P [Z, Z], the projection of codes on the AGE_RANK directions in which ages differ.

    P = W^-1 U'U W: the rows of U [AGE_RANK, Z] are the first right singular vectors of the
    whitened means of the age groups, of both genders together, centred.
    """
    W = _whitening(codes.covariance)
    means = codes.mean.mean(axis=1) @ W.T
    U = np.linalg.svd(means - means.mean(axis=0), full_matrices=False)[2][:AGE_RANK]
    return np.linalg.solve(W, U.T @ U @ W)


def shift_age(codes, z, ages, genders, age_shift, age_upper=labels.AGE_UPPER):
    """Replace the age that codes z [..., Z] carry: z - t * P (z - mu), with P of `age_projection`.

    mu is the mean code of the target's age and gender, mixed as their labels, [..., L] and
    [..., 2], are. t is age_shift; what it has beyond 1 counts in full from OVERSHOOT_FROM years on,
    in proportion below. With 1 the age is mu's, with more it overshoots; 0 leaves z as it is.
    """
    if age_shift == 0:
        return z
    mu = _of_cells(codes.mean.reshape(-1, codes.mean.shape[-1]), ages, genders)
    years = ops.matmul((1 + ages) / 2, np.float32(labels.age_centres(age_upper))[:, None])
    overshoot = max(age_shift - 1, 0) * ops.clip(years / OVERSHOOT_FROM, 0, 1)
    projection = age_projection(codes).T.astype(np.float32)
    return z - (min(age_shift, 1) + overshoot) * ops.matmul(z - mu, projection)


def _of_cells(values, ages, genders):
    """Return the mean of values [2L, D], by age group, then gender, mixed as labels: [..., D]."""
    weights = (1 + ages[..., :, None]) / 2 * (1 + genders[..., None, :]) / 2
    return ops.matmul(ops.reshape(weights, [*_sizes(weights)[:-2], len(values)]), values)


def _log_odds(codes, z):
    """Return how likely each age group and gender is for codes that are normal in every cell.

    float32 [N, L, 2], the logarithms of the probabilities, up to a constant for each code.
    """
    W = _whitening(codes.covariance).T.astype(np.float32)
    means = codes.mean.reshape(-1, len(W)) @ W  # [2L, Z]
    offsets = ops.matmul(z, W)[:, None] - means
    odds = -ops.sum(offsets**2, axis=-1) / 2
    return ops.reshape(odds, [-1, *codes.mean.shape[:2]])


def possible_labels(model, codes, z, years=None, gender=None):
    """Return what the own ages and genders of people with codes z [N, Z] may be, K for each.

    Of each gender, with Codes, one age: 2p - 1 of the probabilities p that the code tells for this
    gender. Without, all age groups. What is known of all people is given as for `look_at`. Returns
    labels, K times [N, L] and [N, 2], and how likely the codes make each, K logarithms [N].
    """
    zeros = ops.zeros_like(z[:, :1])
    possible = []
    for own in range(2) if gender is None else [gender]:
        likely = zeros if codes is None else _log_odds(codes, z)[..., own]
        if years is not None:
            ages = [labels.age_label([years], model.age_upper)]
        elif codes is None:
            ages = labels.one_hot(np.arange(model.num_categories), model.num_categories)
        else:
            ages = [2 * ops.softmax(likely, axis=1) - 1]
        label, odds = zeros + labels.one_hot([own], 2), ops.logsumexp(likely, axis=1)
        possible += [(zeros + age, label, odds) for age in ages]
    return tuple(zip(*possible, strict=True))


def _likeliest(images, z, ages, genders, odds, faces):
    """Return `People`, of each person the one of K `possible_labels` whose face fits best.

    The faces are K times float32 [N, S, S, C], G of the codes and labels.
    """
    best, best_fit = (ages[0], genders[0], faces[0]), np.float32(-np.inf)
    for age, gender, odd, face in zip(ages, genders, odds, faces, strict=True):
        fit = odd - ERROR_ODDS * ops.mean(ops.abs(face - images), axis=(1, 2, 3))
        better = fit > best_fit
        best = [
            ops.where(ops.reshape(better, [-1] + [1] * (len(new.shape) - 1)), new, old)
            for new, old in zip((age, gender, face), best, strict=True)
        ]
        best_fit = ops.maximum(fit, best_fit)
    return People(images, z, *best, study(images, best[2]))


# ------------------------------------------------------------------------------ the photo


def study(images, reconstructions):
    """Return the `Basis` of photos and their reconstructions, [N, S, S, C]."""
    weight = trust(images, reconstructions) * _changed(images.shape[-2])
    colours = _colours(images, reconstructions)
    smooth = _with_colour(_blur(reconstructions, SPECKLES), colours)
    texture = _texture_energy(reconstructions)
    return Basis(weight, colours, smooth, texture)


def trust(images, reconstructions):
    """Say where a change belongs into photos: 1 there, towards 0 elsewhere, [N, S, S, 1].

    exp(-(e / TRUST_ERROR)^2 - o ((e / OUTLINE_ERROR)^2 + (s / SKIN)^2)), where e is the error of
    the reconstruction, averaged over a Gaussian, s what a pixel differs by from the skin next to
    it in the middle of the face, both means of absolute values over the colours, and o is 1 at
    the outline of a face and beyond: there hair, clothes and background stay as they are.
    """
    outline = _beyond(images.shape[-2], *OUTLINE)
    middle = ops.ones_like(images) * (1 - outline) ** 3
    skin = _blur(images * middle, SKIN_BLUR) / (_blur(middle, SKIN_BLUR) + 1e-6)
    unlike, error = (
        ops.mean(ops.abs(x), axis=-1, keepdims=True)
        for x in (_blur(images, SPECKLES) - skin, images - reconstructions)
    )
    error = _blur(error, TRUST_BLUR)
    doubt = (error / OUTLINE_ERROR) ** 2 + (unlike / SKIN) ** 2
    return ops.exp(-((error / TRUST_ERROR) ** 2) - doubt * outline)


def lay_over(people, generated, likeness, prototype=None):
    """Lay the change that a model makes over photos, and leave the rest of them as it is.

    A model's faults are in both pictures that it makes of a person, g (`generated`) at the target
    and r (`reconstructions`) as they are: their difference is the ageing. A part of it is replaced
    by p (`prototype`), what differs between the mean faces of both ages. With the photo x, its
    weight w, see `study`, and the likeness l,

        y    = r + STRENGTH * ((1 - PROTOTYPE) * (g - r) + PROTOTYPE * p)
        full = x + w * (y - r)
        mix  = x + w * (l * (y - r) + (1 - l) * (y - x))
        show = coarse(mix) + t * (full - coarse(full))

    where y - r and y - x have COLOUR of their colours, and what is added to x is without its mean
    over the face: a skin keeps its tone. A grey photo gets no colours. From y and r speckles are
    blurred away. The coarse part, a Gaussian, is mixed; the fine part is the photo's, scaled where
    w is large by t: by how much the model changes the texture.

    All are float32 [..., N, S, S, C] in [-1, 1]. Towards likeness 0 g is left as it is; without p
    y is r + STRENGTH * (g - r).
    """
    photos, own = people.images, people.reconstructions
    weight, colours, smooth_own, texture = people.basis
    change = generated - own
    if prototype is not None:
        change = (1 - PROTOTYPE) * change + PROTOTYPE * prototype
    made = own + STRENGTH * change
    smooth = _with_colour(_blur(made, SPECKLES), colours)
    change, whole = (_with_colour(smooth - x, COLOUR) for x in (smooth_own, photos))
    full = photos + _without_tone(change, weight)
    mix = photos + _without_tone(change * likeness + whole * (1 - likeness), weight)
    scale = ops.clip(ops.sqrt(_texture_energy(made) / texture), *TEXTURE_SCALE)
    fine = full - _blur(full, DETAIL)
    shown = _blur(mix, DETAIL) + (1 + weight * (scale - 1)) * fine
    part = ops.minimum(ops.ones_like(weight[:, :1, :1]) * likeness / DETAIL_FROM, 1)
    return ops.clip(shown * part + generated * (1 - part), -1, 1)


def _sizes(x):
    """Return the shape of an array, or of a network's tensor, for `ops.reshape`."""
    return [-1 if size is None else size for size in x.shape]


def _blur(images, deviation):
    """Blur images [..., S, S, C] by a Gaussian, whose deviation is in parts of the width."""
    gaussian = _gaussian(images.shape[-2], deviation)
    channels = ops.matmul(ops.matmul(gaussian.T, ops.moveaxis(images, -1, -3)), gaussian)
    return ops.moveaxis(channels, -3, -1)


@functools.cache
def _gaussian(size, deviation):
    """Return the Gaussian along an axis as a matrix [size, size]; a row is multiplied by it."""
    unit = np.eye(size, dtype=np.float64)
    matrix = ndimage.gaussian_filter1d(unit, deviation * size, axis=0, mode='nearest')
    return matrix.T.astype(np.float32)


def _grey(images):
    """Return the luminance of images [..., C], [..., 1]."""
    return ops.sum(images * LUMINANCE, axis=-1, keepdims=True) if images.shape[-1] == 3 else images


def _with_colour(images, share):
    """Return images [..., N, S, S, C] with a share of their colours, a number or [N, 1, 1, 1]."""
    grey = _grey(images)
    return grey + share * (images - grey)


def _without_tone(change, weight):
    """Weight a change [..., N, S, S, C], and take its mean over the face out of it."""
    tone, face = (ops.sum(x, (-3, -2), keepdims=True) for x in (change * weight, weight))
    return (change - tone / face) * weight


def _texture_energy(images):
    """Return the local variance of waves as fine as TEXTURE, [..., S, S, 1]."""
    fine, coarse = (_blur(_grey(images), deviation) for deviation in TEXTURE)
    return ops.maximum(_blur((fine - coarse) ** 2, TEXTURE_BLUR), 0) + 1e-4


@functools.cache
def _changed(size):
    """Return which part of a change is made at each place, float32 [S, S, 1].

    None at the sides and in the corners, and less at the eyes and the mouth: there a model of 128
    pixels errs most, and people are known by them.
    """
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    left, right, _, *corners = detector.PLACES
    spots = [(left, EYE_SIZE, EYES_KEPT), (right, EYE_SIZE, EYES_KEPT)]
    spots.append((np.mean(corners, axis=0), MOUTH_SIZE, MOUTH_KEPT))
    parts = [
        part * np.exp(-(((x - at[0]) / width) ** 2) - ((y - at[1]) / height) ** 2)
        for at, (width, height), part in spots
    ]
    changed = (1 - np.max(parts, axis=0)).astype(np.float32)[..., None]
    return changed * (1 - _beyond(size, FACE_EDGE, 1))


@functools.cache
def _beyond(size, inner, outer):
    """Return what rises from 0 to 1 between two parts of the face's radius, float32 [S, S, 1]."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    places = np.abs([x - FACE_CENTRE[0], y - FACE_CENTRE[1]])
    places /= np.array(FACE_RADIUS)[:, None, None]
    places[0] /= 1 - JAW * np.clip((y - FACE_CENTRE[1]) / (1 - FACE_CENTRE[1]), 0, 1)
    radius = (places**FACE_POWER).sum(axis=0) ** (1 / FACE_POWER)
    rise = np.clip((radius - inner) / (outer - inner), 0, 1)
    return (rise * rise * (3 - 2 * rise)).astype(np.float32)[..., None]


def _colours(photos, reconstructions):
    """Return how much of its colours a model shows of photos, [N, 1, 1, 1] from 0, grey, to 1.

    Of a photo with hardly any it makes one with more.
    """
    own, made = (
        ops.mean(ops.max(x, -1) - ops.min(x, -1), axis=(1, 2)) for x in (photos, reconstructions)
    )
    share = ops.where(own > GREY, ops.minimum(own / ops.maximum(made, GREY), 1), 0)
    return ops.reshape(share, [-1, 1, 1, 1])
