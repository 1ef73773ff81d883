"""Age shift and likeness: the formulas, and what they leave as it is."""

import keras
import numpy as np
import pytest
from scipy import ndimage

from data import labels
from demo import likeness
from init_model import codes

L, Z = 10, 50


@pytest.fixture(scope='module')
def statistics():
    """Codes of cells whose ages lie along a curve of three directions, apart from the genders."""
    random = np.random.RandomState(0)
    groups, genders = np.repeat(np.arange(L), 60), np.tile([0, 1], L * 30)
    curve = np.stack([groups, (groups - 5) ** 2 / 5, (groups % 3)], axis=1)
    z = curve @ random.normal(size=(3, Z)) / 9 + genders[:, None] * random.normal(size=Z)
    return codes.measure(
        z + random.normal(size=z.shape) @ np.diag(np.r_[:Z] + 1) / 50, groups, genders, L
    )


def arrays(function):
    """Return a function of arrays whose results are arrays too, not tensors."""
    return lambda *args: keras.tree.map_structure(np.asarray, function(*args))


lay_over, possible_labels = arrays(likeness.lay_over), arrays(likeness.possible_labels)
shift_age, trust = arrays(likeness.shift_age), arrays(likeness.trust)


def target(group, gender, count=1):
    return labels.one_hot([group] * count, L), labels.one_hot([gender] * count, 2)


# -------------------------------------------------------------------------------------- codes


def test_the_age_of_a_code_becomes_the_targets(statistics):
    z = np.random.RandomState(1).uniform(-1, 1, (4, Z))
    P = likeness.age_projection(statistics)
    np.testing.assert_allclose(P @ P, P, atol=1e-9)
    assert np.trace(P) == pytest.approx(likeness.AGE_RANK)
    shifted = shift_age(statistics, z, *target(7, 1, 4), 1)
    mean = statistics.mean[7, 1]
    np.testing.assert_allclose(P @ shifted.T, np.tile(P @ mean, [4, 1]).T, atol=1e-5)
    rest = np.eye(Z) - P
    np.testing.assert_allclose(rest @ shifted.T, rest @ z.T, atol=1e-5)


def test_how_far_a_code_is_shifted(statistics):
    z = np.random.RandomState(1).uniform(-1, 1, (4, Z)).astype(np.float32)
    steps = [shift_age(statistics, z, *target(2, 0, 4), t) for t in (0, 1, 1.5)]
    np.testing.assert_array_equal(steps[0], z)
    # Of what is beyond 1, a part by the target's age counts: 13 is the central year of group 2.
    part = 1 + 0.5 * 13 / likeness.OVERSHOOT_FROM
    np.testing.assert_allclose(steps[2] - z, part * (steps[1] - z), atol=1e-5)
    steps = [shift_age(statistics, z, *target(7, 0, 4), t) for t in (1, 1.5)]
    np.testing.assert_allclose(steps[1] - z, 1.5 * (steps[0] - z), atol=1e-5)
    # Ages between two groups are between the codes of both.
    between = labels.age_label([30.5], labels.AGE_UPPER)
    genders = labels.one_hot([0], 2)
    middle = shift_age(statistics, z, between, genders, 1)
    ends = [shift_age(statistics, z, *target(group, 0), 1) for group in (4, 5)]
    np.testing.assert_allclose(middle, (ends[0] + ends[1]) / 2, atol=1e-5)


def test_age_and_gender_are_guessed_from_codes(vivid, statistics):
    cells = list(np.ndindex(L, 2))
    z = np.array([statistics.mean[cell] for cell in cells])
    ages, genders, odds = map(np.stack, possible_labels(vivid(), statistics, z))
    np.testing.assert_array_equal(genders, np.stack([labels.one_hot([s] * 20, 2) for s in (0, 1)]))
    np.testing.assert_allclose((ages + 1).sum(axis=-1), 2, atol=1e-5)
    likelier = odds.argmax(axis=0)
    groups = ages[likelier, np.arange(len(z))].argmax(axis=1)
    assert [*zip(groups, likelier, strict=True)] == cells


def test_what_fits_best_is_the_guess(vivid, statistics):
    model = vivid()
    z = model.E(random_images(0, 2))
    model.E = lambda _: z
    alike = statistics._replace(mean=np.repeat(statistics.mean[:, :1], 2, axis=1))
    for groups, own in (([0, 9], [1, 0]), ([5, 3], [1, 1])):
        ages, genders = labels.one_hot(groups, L), labels.one_hot(own, 2)
        images = model.G([z.numpy(), ages, genders]).numpy()
        people = likeness.AgingMethod(model, None, 0, 0).look_at(images)
        np.testing.assert_array_equal(people.ages, ages)
        np.testing.assert_array_equal(people.genders, genders)
        np.testing.assert_allclose(people.reconstructions, images, atol=1e-5)
        # And where the codes tell no gender.
        year = labels.age_centres()[groups[0]]
        people = likeness.AgingMethod(model, alike, 0, 0).look_at(images, year)
        np.testing.assert_array_equal(people.genders[0], genders[0])


# ------------------------------------------------------------------------------------- photos


def some_people(images, reconstructions, weight=1):
    """Return people whom the model understands, whatever it makes of them."""
    known, unknown = likeness.study(images, images), None
    basis = likeness.study(images, reconstructions)._replace(weight=weight * known.weight)
    return likeness.People(images, unknown, unknown, unknown, reconstructions, basis)


def random_images(seed, count=2, channels=3):
    shape = count, 32, 32, channels
    return np.random.RandomState(seed).uniform(-0.5, 0.5, shape).astype(np.float32)


@pytest.mark.parametrize('channels', [1, 3])
def test_without_a_change_the_photo_stays(channels):
    x, r = (random_images(seed, channels=channels) for seed in range(2))
    np.testing.assert_allclose(lay_over(some_people(x, r), r, 1), x, atol=1e-6)
    y = random_images(2, channels=channels)
    shown = lay_over(some_people(x, r, weight=1e-20), y, 1)
    np.testing.assert_allclose(shown, x, atol=1e-6)
    assert np.abs(lay_over(some_people(x, r), y, 1) - x).mean() > 0.05


def test_likeness_changes_faces_steadily():
    """Towards 0 to what was generated, and from DETAIL_FROM on in equal steps."""
    x, r, y = (random_images(seed) / 3 for seed in range(3))  # nothing is clipped
    people = some_people(x, r)
    np.testing.assert_allclose(lay_over(people, y, 1e-6), y, atol=1e-5)
    low, middle, high = (lay_over(people, y, part) for part in (0.4, 0.7, 1))
    np.testing.assert_allclose(middle, (low + high) / 2, atol=1e-6)


def noise(period, seed=0):
    """Waves of about a period in pixels, a float array [1, 128, 128, 3] with a deviation of 0.1."""
    white = np.random.RandomState(seed).normal(size=[1, 128, 128, 1])
    waves = ndimage.gaussian_filter(white, period / 6, axes=(1, 2))
    waves -= ndimage.gaussian_filter(white, period / 3, axes=(1, 2))
    return np.repeat(waves * 0.1 / waves.std(), 3, axis=-1).astype(np.float32)


def test_fine_detail_is_the_photos():
    """It stays where the model changes nothing, and what the model adds of its own is left out."""
    x, made = noise(3), noise(3, seed=1)
    own = noise(20, seed=2)
    shown = lay_over(some_people(x, own), own + made, 0.25)[0] - own[0]
    shown = (shown - ndimage.gaussian_filter(shown, 3, axes=(0, 1)))[16:-16, 16:-16].ravel()
    photo, of_model = (image[0, 16:-16, 16:-16].ravel() for image in (x, made))
    assert np.corrcoef(shown, photo)[0, 1] > 0.9
    assert abs(np.corrcoef(shown, of_model)[0, 1]) < 0.3


def test_the_surroundings_stay():
    """At the sides and in the corners, where background and clothes are, the photo is left."""
    x, r, y = noise(8), noise(20, seed=1), noise(20, seed=2) + 0.3
    change = np.abs(lay_over(some_people(x, r), y, 0.25) - x)[0]
    border = change[:, :6].mean(), change[:, -6:].mean(), change[:12, :12].mean()
    border += change[105:, :24].mean(), change[105:, -24:].mean()  # beside the chin
    assert max(border) < 0.2 * change[40:110, 30:98].mean()


def test_eyes_change_least():
    x, r, y = 0 * noise(8), noise(20, seed=1), noise(20, seed=2)
    change = np.abs(lay_over(some_people(x, r), y, 1) - x)[0].mean(axis=-1)
    eye = change[33:42, 33:43].mean()
    assert eye < 0.5 * change[48:80, 30:98].mean()


def test_a_grey_photo_stays_grey():
    x, r, y = map(random_images, range(3))
    grey = np.repeat(x[..., :1], 3, axis=-1)
    for part in (likeness.DETAIL_FROM, 1):
        shown = lay_over(some_people(grey, r), y, part)
        assert np.ptp(shown, axis=-1).max() < 1e-6
    assert np.ptp(lay_over(some_people(x, r), y, 1) - x, axis=-1).max() > 0.01


@pytest.mark.parametrize('part', [0.5, 1])
def test_a_skin_keeps_its_tone(part):
    x, r, y = (random_images(seed) / 3 for seed in range(3))
    shown = lay_over(some_people(x, r), y, part)
    np.testing.assert_allclose(lay_over(some_people(x, r), y + 0.2, part), shown, atol=1e-5)
    middle = shown[:, 6:-6, 6:-6].mean(axis=(1, 2))
    np.testing.assert_allclose(middle, x[:, 6:-6, 6:-6].mean(axis=(1, 2)), atol=0.01)


def test_what_the_model_does_not_understand_is_left():
    x = 0 * random_images(0)
    r = x.copy()
    r[:, :12] += 1.5  # of the rows above, it errs badly
    weight = trust(x, r)
    assert weight[:, :9].max() < 0.01 and weight[:, 20:].min() > 0.99
    assert (trust(x, x) == 1).all()


def test_what_is_no_skin_at_the_outline_of_a_face_stays():
    """Hair and background next to it; brows and eyes are in its middle."""
    x = np.full([1, 128, 128, 3], 0.3, np.float32)
    x[:, :, 116:] = x[:, :8] = -0.7  # beside the cheek, and above the forehead
    x[:, 30:40, 32:96] = -0.7
    weight = trust(x, x)[0, ..., 0]
    assert weight[30:100, 119:].max() < 0.2 and weight[0, 40:90].max() < 0.3
    assert weight[22:98, 40:88].min() > 0.9 and weight[50:90, 20:98].min() > 0.9


# -------------------------------------------------------------------------------------- model


def test_without_both_it_is_the_papers_method(vivid):
    model = vivid()
    images = random_images(0, 3)
    people = likeness.AgingMethod(model, None, 0, 0).look_at(images, years=30, gender=0)
    ages, genders = labels.one_hot(np.arange(L), L), labels.one_hot([1], 2)
    shown = likeness.AgingMethod(model, None, 0, 0).show(people, ages[:, None], genders)
    expected = model.generate_ages(model.encode(images), labels.one_hot([1] * 3, 2))
    np.testing.assert_array_equal(shown, expected)


@pytest.mark.parametrize('with_codes', [True, False])
def test_as_a_network_the_method_is_the_same(vivid, statistics, with_codes):
    model = vivid()
    codes = statistics if with_codes else None
    method = likeness.AgingMethod(model, codes, 1.2 if with_codes else 0, 0.5)
    images, (ages, genders) = random_images(0, 3), target(8, 1, 3)
    shown = method.show(method.look_at(images), ages, genders)
    network = method.network(model.E, model.G)
    np.testing.assert_allclose(network([images, ages, genders]), shown, atol=1e-5)


def test_a_part_of_the_change_is_that_of_mean_faces():
    """What these change is laid over, also where the model changes nothing in this person."""
    x, r, change = 0 * noise(8), noise(20, seed=1), noise(20, seed=2)
    none = lay_over(some_people(x, r), r, 1, 0 * change)
    part = lay_over(some_people(x, r), r, 1, change)
    whole = lay_over(some_people(x, r), r + change, 1, change)
    assert np.std(part - none) > 0.02
    np.testing.assert_allclose((whole - none) * likeness.PROTOTYPE, part - none, atol=0.05)
    np.testing.assert_allclose(lay_over(some_people(x, r), r + change, 1), whole, atol=1e-5)
