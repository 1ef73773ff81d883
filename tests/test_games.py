"""The games: one person turned into another, and children of two; photos that they open."""

import functools
import pathlib
import warnings
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from data import detector, labels
from demo import games, likeness, photos, portraits, strips
from demo.page.studio import Studio
from tests import test_photos
from tests.test_photos import MAN, WOMAN, frames_of


@pytest.fixture
def pair(bundled):
    """The portraits of two people."""
    method = likeness.AgingMethod(bundled, None, 0, 0)
    shown = [portraits.open_photo(str(path)) for path in (MAN, WOMAN)]
    names = '23_0_me.jpg', '52_1_you.jpg'
    pairs = zip(shown, names, strict=True)
    return [portraits.portray(method, photo, name=name) for photo, name in pairs]


# ------------------------------------------------------------------------------ functions


def test_a_morph_goes_from_one_reconstruction_to_the_other(bundled, pair):
    (faces, titles), _ = games.morph(bundled, *pair)
    age, gender = labels.age_label([23, 52]), labels.one_hot([0, 1], 2)
    codes = np.concatenate([portrait.people.z for portrait in pair])
    levels = np.stack([portrait.levels for portrait in pair])
    ends = portraits.with_levels(bundled.G([codes, age, gender]).numpy(), levels)
    assert faces.shape == (25, 32, 32, 3) and faces.dtype == np.float32
    np.testing.assert_allclose(faces[[0, -1]], ends, atol=1e-5)
    assert titles[::8] == ['23', '33', '42', '52']


def test_code_age_and_gender_of_a_morph_glide(bundled, pair):
    with mock.patch.object(bundled, 'generate', wraps=bundled.generate) as generate:
        games.morph(bundled, *pair)
    z, ages, genders = generate.call_args.args
    share = np.linspace(0, 1, 25)[:, None]
    one, other = (portrait.people.z for portrait in pair)
    np.testing.assert_allclose(z, (1 - share) * one + share * other, atol=1e-6)
    np.testing.assert_allclose(ages, labels.age_label(np.linspace(23, 52, 25)), atol=1e-5)
    np.testing.assert_allclose(genders, np.hstack([1 - 2 * share, 2 * share - 1]), atol=1e-6)


def test_children_have_each_component_of_one_of_the_two(bundled, pair):
    with mock.patch.object(bundled, 'generate', wraps=bundled.generate) as generate:
        images, titles = games.kids(bundled, *pair, count=60, seed=3)
    z, ages, genders = generate.call_args.args
    assert len(images) == len(titles) == 122
    assert titles[59:63] == ['boy 59', 'boy 60', 'input', 'girl 1']
    one, other = (portrait.people.z for portrait in pair)
    from_one = z == one
    assert (from_one | (z == other)).all()
    assert 0.4 < from_one.mean() < 0.6
    assert len(np.unique(z[:60], axis=0)) == 60
    np.testing.assert_array_equal(z[:60], z[60:])  # the same children
    np.testing.assert_array_equal(genders, labels.one_hot([0] * 60 + [1] * 60, 2))
    np.testing.assert_array_equal(ages, labels.one_hot([0], 10))


# --------------------------------------------------------------------------- command line


def written():
    """Return the paths of all files that were added to the working directory."""
    paths = (path for path in pathlib.Path().rglob('*') if path.is_file())
    return sorted(str(path) for path in paths if path.parts[0] != 'bundled')


def start(game, *words):
    """Start demo.photos, or a game."""
    words = [str(word) for word in words]
    photos.main(words) if game == 'photos' else games.main([game, *words])


error_of = functools.partial(test_photos.error_of, start=start)


def test_the_program_morph(bundled, pair):
    games.main(['morph', str(MAN), str(WOMAN)])
    name = 'save/test/morph_23_0_madeup004_52_1_madeup007'
    assert written() == [name + '.gif', name + '.png']
    (faces, ages), _ = games.morph(bundled, *pair)
    shown = [pair[0].image, *faces[::3], pair[1].image]
    with Image.open(name + '.png') as strip:
        expected = strips.draw_strip(shown, ['input', *ages[::3], 'input'])
        np.testing.assert_array_equal(strip, expected)
    frames, _ = frames_of(name + '.gif')
    assert len(frames) == 48
    assert np.abs(frames[0] - frames[24]).max() > 50  # two people, two ages


def test_the_program_kids(bundled, pair):
    games.main(['kids', str(MAN), str(WOMAN), '--count', '3', '--seed', '7'])
    (name,) = written()
    assert name == 'save/test/kids_23_0_madeup004_52_1_madeup007.png'
    images, titles = games.kids(bundled, *pair, 3, seed=7)
    np.testing.assert_array_equal(images[::4], [portrait.image for portrait in pair])
    with Image.open(name) as picture:
        np.testing.assert_array_equal(picture, strips.draw_strip(images, titles, rows=2))


def test_an_age_that_is_given_counts_in_place_of_the_names(bundled, pair):
    assert (pair[1].age, pair[1].age_is, pair[1].gender_is) == (52, 'named', 'named')
    method = likeness.AgingMethod(bundled, None, 0, 0)
    told = portraits.portray(method, pair[1].photo, name='52_1_you.jpg', age=30)
    assert (told.age, told.gender, told.age_is, told.gender_is) == (30, 1, 'given', 'named')


def test_a_half_profile_is_named(bundled, monkeypatch, recwarn):
    """By the nose, 0.35 of the eyes' distance beside the middle; 0.25 is still from the front."""
    monkeypatch.setattr(detector, 'lie_in_place', lambda faces: np.ones(len(faces), bool))
    sides = iter([0.25, 0.35] * 2)

    def locate(faces):
        places = np.array([[[0.3, 0.3], [0.7, 0.3], [0, 0.5], [0.35, 0.7], [0.65, 0.7]]])
        places[:, 2, 0] = 0.5 + 0.35 * next(sides)
        return places, np.ones(1)

    monkeypatch.setattr(detector, 'locate', locate)
    games.main(['kids', str(MAN), str(WOMAN)])
    said = [str(w.message) for w in recwarn if 'turned to the side' in str(w.message)]
    assert len(said) == 1 and said[0].startswith('The second face is turned to the side, so that')
    studio = Studio(likeness.AgingMethod(bundled, None, 0, 0))
    pair = [studio.open_photo(path.read_bytes(), path.name) for path in (MAN, WOMAN)]
    assert said[0] in studio.make_children(*pair, 1)[0]


@pytest.mark.parametrize(
    'words', [['photos', MAN], ['morph', MAN, WOMAN], ['kids', MAN, WOMAN]], ids=str
)
def test_a_program_ends_by_a_sentence(bundled, monkeypatch, words):
    """Where results cannot be written; Pillow's warnings are shown plainly."""
    monkeypatch.setattr(warnings, 'formatwarning', lambda *_: 'code')
    pathlib.Path('save').mkdir()
    pathlib.Path('save/test').touch()
    said = error_of(*words)
    assert said == '\n\tsave/test cannot be used (File exists): mend that, or name another path.'
    assert warnings.formatwarning('Odd.', UserWarning, 'a.py', 1) == '\tWarning: Odd.\n'


def test_a_photo_without_a_face(bundled):
    Image.new('RGB', (300, 200), (90, 120, 90)).save('30_1_wall.png')
    assert 'No face is found in 30_1_wall.png: ' in error_of('morph', MAN, '30_1_wall.png')
    said = error_of('morph', '30_1_no.png', MAN)
    assert '30_1_no.png cannot be read' in said and said.endswith(': name a picture.')
    assert written() == ['30_1_wall.png']
