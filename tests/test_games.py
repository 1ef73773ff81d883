"""The games: one face at all ages, one person turned into another, children of two."""

import functools
import pathlib
import re
import sys
import warnings

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import ops
from data import console, detector, labels, pictures
from demo import aging, kids, likeness, morph, photos
from face_aging import FaceAging
from tests.conftest import TINY
from tests.test_main import ROOT
from tests.test_own_photo import BAND, faces_of, frames_of

MADE_UP = ROOT / 'demo' / 'faces'
MAN, WOMAN = MADE_UP / '23_0_madeup004.jpg', MADE_UP / '52_1_madeup007.jpg'


@pytest.fixture
def model(vivid):
    return vivid()


@pytest.fixture(scope='module')
def pair():
    """Two faces, float32 [2, 32, 32, 3] in [-1, 1]."""
    return np.stack([ops.load_image(path, 32) for path in (MAN, WOMAN)])


class Recorder:
    """Stands in for a model, and remembers what it was to generate."""

    num_categories, age_upper = 10, labels.AGE_UPPER

    def __init__(self):
        self.codes = np.linspace(-1, 1, 100).reshape(2, 50).astype(np.float32)
        self.batches = []

    def E(self, images):
        return tf.constant(self.codes[: len(images)])

    def G(self, inputs):
        self.batches.append([np.asarray(values) for values in inputs])
        return tf.zeros([len(inputs[0]), 2, 2, 3])

    @property
    def inputs(self):
        return [np.concatenate(values) for values in zip(*self.batches, strict=True)]


# ------------------------------------------------------------------------------ functions


def test_aging(model, pair):
    image = pair[1]
    plain = likeness.Aging(None, 0, 0)
    faces = aging.age(model, image, [5, 30, 65], 1, plain)
    z = np.repeat(model.E(image[None]), 3, axis=0)
    expected = model.G([z, labels.age_label([5, 30, 65]), labels.one_hot([1] * 3, 2)])
    assert faces.shape == (3, 32, 32, 3) and faces.dtype == np.float32
    np.testing.assert_allclose(faces, expected, atol=1e-5)
    as_bytes = ops.image_grid(image[None])
    np.testing.assert_allclose(aging.age(model, as_bytes, [5, 30, 65], 1, plain), faces, atol=1e-4)


def test_a_morph_goes_from_one_reconstruction_to_the_other(model, pair):
    faces = morph.morph(model, *pair, ages=(23, 52), genders=(0, 1), count=4)
    age, gender = labels.age_label([23, 52]), labels.one_hot([0, 1], 2)
    ends = model.G([model.E(pair).numpy(), age, gender])
    assert faces.shape == (4, 32, 32, 3) and faces.dtype == np.float32
    np.testing.assert_allclose(faces[[0, -1]], ends, atol=1e-5)


def test_code_age_and_gender_of_a_morph_glide():
    recorder = Recorder()
    morph.morph(recorder, *np.zeros([2, 2, 2, 3]), ages=(10, 70), genders=(1, 0), count=61)
    z, ages, genders = recorder.inputs
    share = np.linspace(0, 1, 61)[:, None]
    one, other = recorder.codes
    np.testing.assert_allclose(z, (1 - share) * one + share * other, atol=1e-6)
    np.testing.assert_allclose(ages, labels.age_label(range(10, 71)), atol=1e-5)
    np.testing.assert_allclose(genders, np.hstack([2 * share - 1, 1 - 2 * share]), atol=1e-6)


def test_children_have_each_component_of_one_of_the_two():
    recorder = Recorder()
    faces = kids.kids(recorder, *np.zeros([2, 2, 2, 3]), count=60, seed=3)
    z, ages, genders = recorder.inputs
    assert len(faces) == 120
    one, other = recorder.codes
    from_one = z == one
    assert (from_one | (z == other)).all()
    assert 0.4 < from_one.mean() < 0.6
    assert len(np.unique(z[:60], axis=0)) == 60
    np.testing.assert_array_equal(z[:60], z[60:])  # the same children
    np.testing.assert_array_equal(genders, labels.one_hot([0] * 60 + [1] * 60, 2))
    np.testing.assert_array_equal(ages, labels.one_hot([0] * 120, 10))


def test_a_seed_makes_the_same_children(model, pair):
    first, again, other = (kids.kids(model, *pair, count=3, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


def test_faces_in_bytes_and_in_floats_may_be_mixed():
    class Echo:
        def E(self, images):
            return tf.reshape(images, [len(images), -1])

    as_bytes = np.random.RandomState(0).randint(0, 256, [2, 4, 4, 3], np.uint8)
    as_floats = as_bytes.astype(np.float32) * 2 / 255 - 1
    expected = photos.encode(Echo(), [*as_bytes])
    assert expected.dtype == np.float32 and expected.min() < -0.9 < 0.9 < expected.max()
    for images in ([*as_floats], [as_bytes[0], as_floats[1]], [as_floats[0], as_bytes[1]]):
        np.testing.assert_allclose(photos.encode(Echo(), images), expected, atol=1e-6)
    doubles = [as_bytes[0], as_floats[1].astype(float)]
    np.testing.assert_allclose(photos.encode(Echo(), doubles), expected, atol=1e-6)


# -------------------------------------------------------------------------------- photos


def test_a_face_is_taken_out_of_a_photo_unless_it_lies_as_it_should(model, pair, tmp_path):
    other = MADE_UP / '19_1_madeup003.jpg'
    with Image.open(MAN) as small, Image.open(other) as large:
        photo = Image.new('RGB', (700, 500), (90, 120, 90))
        photo.paste(small.resize((100, 100)), (20, 30))
        photo.paste(large.resize((300, 300)), (350, 150))
    photo.save(tmp_path / 'photo.png')
    images = photos.open_faces([MAN, tmp_path / 'photo.png'], model)
    assert images.shape == (2, 32, 32, 3) and images.dtype == np.float32
    np.testing.assert_array_equal(images[0], pair[0])
    (expected,) = photos.open_faces([other], model)
    assert np.abs(images[1] - expected).mean() < 0.1 < np.abs(images[1] - pair[0]).mean()


def test_a_photo_taken_sideways(model, pair, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned to the right
    with Image.open(MAN) as image:
        image.rotate(90).save(tmp_path / 'me.png', exif=exif)
    (image,) = photos.open_faces([tmp_path / 'me.png'], model)
    np.testing.assert_array_equal(image, pair[0])


def test_photos_in_grey(tiny):
    model = tiny(is_training=False, num_input_channels=1)
    (image,) = photos.open_faces([MAN], model)
    np.testing.assert_array_equal(image[..., 0], ops.load_image(MAN, 32, is_gray=True))


# --------------------------------------------------------------------------- command line


@pytest.fixture
def folder(tmp_path, model, monkeypatch):
    """The working directory of programs with a tiny model, which comes from box/ in it."""
    monkeypatch.setattr('face_aging.FaceAging', functools.partial(FaceAging, **TINY))
    (tmp_path / 'save').rename(tmp_path / 'box')
    monkeypatch.setattr('face_aging.INIT_MODEL', 'box/checkpoint')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written():
    """Return the paths of all files that were added to the working directory."""
    paths = (path for path in pathlib.Path().rglob('*') if path.is_file())
    return sorted(str(path) for path in paths if path.parts[0] != 'box')


def error_of(main, *words):
    """Return the sentence with which a program ends."""
    with pytest.raises(SystemExit) as exit:
        main([str(word) for word in words])
    assert isinstance(exit.value.code, str)  # then the status is 1
    assert re.fullmatch(r'[^\n]+[^.\n]\.', exit.value.code.strip())
    return exit.value.code


def test_the_program_aging(folder, model, pair):
    aging.main([str(MAN)])
    assert written() == [
        f'save/test/ages_23_0_madeup004_{gender}.{suffix}'
        for gender in ('female', 'male')
        for suffix in ('gif', 'png')
    ]
    for gender, word in enumerate(labels.GENDER_NAMES):
        with Image.open(f'save/test/ages_23_0_madeup004_{word}.png') as strip:
            faces, titles = faces_of(strip)
        np.testing.assert_array_equal(faces[0], pictures.read_face(MAN, 32))
        own = {'own_age': 23, 'own_gender': 0}  # by the name
        expected = aging.age(model, pair[0], labels.age_centres(), gender, **own)
        np.testing.assert_allclose(
            np.concatenate(faces[1:]), ops.image_grid(expected, size_frame=(10, 1)), atol=1
        )
        words = aging.titled(np.zeros([11, 32, 32, 3]), ['input', *labels.age_names()])
        np.testing.assert_array_equal(titles, words[:, :BAND])
        frames, _ = frames_of(f'save/test/ages_23_0_madeup004_{word}.gif')
        assert len(frames) == 52


def test_ages_and_gender_of_the_program_aging(folder):
    aging.main([str(MAN), '--ages', '5,65', '--gender', 'female'])
    name = 'save/test/ages_23_0_madeup004_female'
    assert written() == [name + '.gif', name + '.png']
    assert Image.open(name + '.png').size == (3 * 32, BAND + 32)
    assert "'old' are no ages" in error_of(aging.main, MAN, '--ages', 'old')


def test_the_program_morph(folder, model, pair):
    morph.main([str(MAN), str(WOMAN)])
    name = 'save/test/morph_23_0_madeup004_52_1_madeup007'
    assert written() == [name + '.gif', name + '.png']
    with Image.open(name + '.png') as strip:
        faces, titles = faces_of(strip)
    expected = morph.morph(model, *pair, (23, 52), (0, 1))
    assert len(faces) == 11
    ends = ops.image_grid(expected[[0, -1]], size_frame=(2, 1)).reshape(2, 32, 32, 3)
    np.testing.assert_allclose(faces[[1, -2]], ends, atol=1)
    for end, path in ((0, MAN), (-1, WOMAN)):
        np.testing.assert_array_equal(faces[end], pictures.read_face(path, 32))
    words = aging.titled(np.zeros([2, 32, 32, 3]), ['23', '52'])
    np.testing.assert_array_equal(titles[[1, -2]], words[:, :BAND])
    frames, _ = frames_of(name + '.gif')
    assert len(frames) == 48
    assert np.abs(frames[0] - frames[24]).max() > 50  # two people, two ages


def test_the_program_kids(folder, model, pair):
    kids.main([str(MAN), str(WOMAN), '--count', '3', '--seed', '7'])
    (name,) = written()
    assert name == 'save/test/kids_23_0_madeup004_52_1_madeup007.png'
    with Image.open(name) as picture:
        assert picture.size == (4 * 32, 2 * (BAND + 32))
        rows = [faces_of(picture.crop([0, y, 128, y + BAND + 32]))[0] for y in (0, BAND + 32)]
    expected = kids.kids(model, *pair, 3, seed=7)
    for row, parent, children in zip(rows, (MAN, WOMAN), np.split(expected, 2), strict=True):
        np.testing.assert_array_equal(row[0], pictures.read_face(parent, 32))
        children = ops.image_grid(children, size_frame=(3, 1)).reshape(3, 32, 32, 3)
        np.testing.assert_allclose(row[1:], children, atol=1)


@pytest.mark.parametrize('words', ['--count 0', '--count 1000', '--seed -1'])
def test_mistaken_words_for_kids(folder, words, capsys):
    with pytest.raises(SystemExit) as exit:
        kids.main([str(MAN), str(WOMAN), *words.split()])
    assert exit.value.code == 2
    assert words.split()[0] in capsys.readouterr().err


def test_who_is_who_in_a_morph():
    named = ['a/23_0_x.jpg', 'b/52_1_y.jpg']
    assert morph.read_labels(named) == ([23, 52], [0, 1])
    assert morph.read_labels(named, ages='3,60') == ((3, 60), [0, 1])
    assert morph.read_labels(named, genders='female,male') == ([23, 52], [1, 0])
    given = 'me.jpg', 'you.jpg'
    assert morph.read_labels(given, '3,60', 'female,female') == ((3, 60), [1, 1])
    for ages, genders in ((None, None), ('3,60', None), (None, 'male,male')):
        with pytest.raises(
            console.InputError, match=r'me\.jpg tells no age .* --ages 30,60 --gend'
        ):
            morph.read_labels(['52_1_y.jpg', 'me.jpg'], ages, genders)
    for ages, genders in (('3', 'male,male'), ('3,4,5', 'male,male'), ('3,4', 'male,men')):
        with pytest.raises(
            console.InputError, match='of two people: pass two ages and two genders'
        ):
            morph.read_labels(given, ages, genders)


def test_age_groups_of_ones_own(folder, vivid):
    vivid(save_dir='three', age_upper=(18, 40))
    aging.main([str(MAN), '--savedir', 'three', '--age_groups', '18,40', '--gender', 'male'])
    with Image.open('three/test/ages_23_0_madeup004_male.png') as strip:
        _, titles = faces_of(strip)
    words = aging.titled(np.zeros([4, 32, 32, 3]), ['input', '0-18', '19-40', 'over 40'])
    np.testing.assert_array_equal(titles, words[:, :BAND])


def test_the_checkpoint_comes_before_init_model(folder, tiny, capsys):
    tiny(is_training=False, save_dir='save').save_checkpoint()
    aging.main([str(MAN), '--gender', 'male'])
    assert 'Restored save/checkpoint/model-0' in capsys.readouterr().out


def test_without_a_model_nothing_is_written(folder, monkeypatch):
    monkeypatch.setattr('face_aging.INIT_MODEL', 'nowhere')
    assert 'There is no trained model in save/checkpoint' in error_of(kids.main, MAN, WOMAN)
    assert written() == []


@pytest.mark.parametrize(('game', 'people'), [(aging, 1), (morph, 2), (kids, 2)])
def test_a_game_ends_by_a_sentence(folder, monkeypatch, capsys, game, people):
    """Where results cannot be written, and after Ctrl-C; Pillow's warnings are shown plainly."""

    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(warnings, 'formatwarning', lambda *_: 'code')
    photo_paths = [str(MAN), str(WOMAN)][:people]
    pathlib.Path('save').mkdir()
    pathlib.Path('save/test').touch()
    said = error_of(game.main, *photo_paths)
    assert said == '\n\tsave/test cannot be used (File exists): mend that, or name another path.'
    assert warnings.formatwarning('Odd.', UserWarning, 'a.py', 1) == '\tWarning: Odd.\n'
    monkeypatch.setattr(photos, 'open_model', stop)
    with pytest.raises(SystemExit) as exit:
        game.main(photo_paths)
    assert exit.value.code == 130
    assert capsys.readouterr().err.endswith('\n\tStopped.\n')


def test_a_photo_without_a_face(folder):
    Image.new('RGB', (300, 200), (90, 120, 90)).save('30_1_wall.png')
    assert 'No face is found in 30_1_wall.png: ' in error_of(morph.main, MAN, '30_1_wall.png')
    said = error_of(morph.main, '30_1_no.png', MAN)
    assert '30_1_no.png cannot be read' in said and said.endswith(': name a picture.')
    assert written() == ['30_1_wall.png']


@pytest.mark.parametrize(('game', 'photos'), [(aging, [MAN]), (morph, [MAN, WOMAN])])
def test_no_name_of_a_folder(folder, capsys, game, photos):
    with pytest.raises(SystemExit, match='2'):
        game.main([*map(str, photos), '--savedir', ''])
    assert '--savedir: this names no file or folder' in capsys.readouterr().err and written() == []


@pytest.fixture
def no_detector(monkeypatch):
    for name in [name for name in sys.modules if name.split('.')[0] == 'mtcnn']:
        monkeypatch.setitem(sys.modules, name, None)
    detector._stage.cache_clear()
    detector._detector.cache_clear()


def test_games_without_a_detector(folder, no_detector):
    assert error_of(aging.main, MAN).startswith('\n\tTo find faces a detector is needed: install')


def test_a_plain_test_without_a_detector(folder, no_detector, tiny_main, tmp_path):
    with pytest.raises(SystemExit, match='To find faces a detector is needed: install'):
        tiny_main('--is_train', 'False', '--testdir', MAN)
