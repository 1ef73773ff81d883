"""The strips and animations of one's own photos: ages in years, one gender."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

import ops
from data import files, labels, pictures, pipeline
from demo import aging, likeness
from tests.test_main import ROOT

GENDERS = ('female', 'male')
BAND = 5  # height of the title above a face of 32 x 32

pytestmark = pytest.mark.usefixtures('no_init_model')


@pytest.fixture
def folder(tmp_path, drawn_faces):
    """tmp_path/photos with two pictures."""
    (tmp_path / 'photos').mkdir()
    for name, path in zip(('me.jpg', 'you.jpg'), sorted(drawn_faces.iterdir()), strict=False):
        shutil.copy(path, tmp_path / 'photos' / name)
    return tmp_path / 'photos'


def written(tmp_path):
    return sorted(path.name for path in (tmp_path / 'save' / 'test').iterdir())


def faces_of(picture):
    """Return the faces of a strip, without their titles, and the titles, both [N, H, 32, 3]."""
    pixels = np.asarray(picture.convert('RGB')).astype(int)
    columns = np.stack(np.split(pixels, pixels.shape[1] // 32, axis=1))
    return columns[:, BAND:], columns[:, :BAND]


def frames_of(path):
    """Return the frames of an animation, and how long each is shown, in ms."""
    with Image.open(path) as image:
        assert image.info['loop'] == 0  # for ever
        frames, durations = [], []
        for i in range(image.n_frames):
            image.seek(i)
            frames.append(np.asarray(image.convert('RGB')).astype(int))
            durations.append(image.info['duration'])
    return np.stack(frames), durations


def generated(model, path, gender, ages):
    """Return the faces of a picture by the labels of ages, uint8 [A, 32, 32, 3]."""
    z = np.repeat(model.E(ops.load_image(path, 32)[None]), len(ages), axis=0)
    faces = model.G([z, ages, labels.one_hot([gender] * len(ages), 2)])
    return ops.image_grid(faces, size_frame=(len(ages), 1)).reshape(len(ages), 32, 32, 3)


def write(model, folder, **settings):
    """Write the strips and animations of a folder's photos, by the paper's method."""
    paths, faces = pipeline.read_folder(str(folder), 32, model.num_input_channels)
    plain = likeness.AgingMethod(model, None, 0, 0)
    return aging.write(model, files.unique_names(paths), faces, method=plain, **settings)


# ------------------------------------------------------------------------------- pictures


def test_titles_stand_above_the_images():
    images = np.random.RandomState(0).uniform(-1, 1, (3, 60, 60, 3))
    for channels in (3, 1):
        pixels = aging.titled(images[..., :channels], ['', '0-5', 25])
        assert pixels.shape == (3, 70, 60, channels) and pixels.dtype == np.uint8
        below = ops.image_grid(images[..., :channels], size_frame=(3, 1))
        np.testing.assert_array_equal(pixels[:, 10:].reshape(below.shape), below)
        assert (pixels[0, :10] == 255).all()
        for title in pixels[1:, :10]:
            assert title.min() < 100 and (title == 255).mean() > 0.5
            across = np.flatnonzero((title < 200).any(axis=(0, 2)))
            assert abs(across.mean() - 30) < 4  # in the middle


def test_the_longest_title_of_an_age_group_fits():
    (band,) = aging.titled(np.zeros([1, 128, 128, 3]), ['over 100'])[:, :21]
    assert (band[:, [0, -1]] == 255).all() and (band[[0, -1]] == 255).all()


@pytest.mark.parametrize('channels', [1, 3])
def test_an_animation_goes_there_and_back(tmp_path, channels):
    grey = np.linspace(-1, 1, 5)[:, None, None, None]
    aging.save_gif(np.broadcast_to(grey, [5, 48, 48, channels]), range(5), tmp_path / 'a.gif')
    frames, durations = frames_of(tmp_path / 'a.gif')
    assert frames.shape == (8, 56, 48, 3)
    shades = [0, 64, 128, 191, 255, 191, 128, 64]
    np.testing.assert_allclose(frames[:, 8:].mean(axis=(1, 2, 3)), shades, atol=2)
    assert durations == [800, 100, 100, 100, 800, 100, 100, 100]


def test_an_animation_of_bright_skin_has_no_patches(tmp_path):
    """Its smooth shades stay apart; a palette not made for them would have a dozen of them."""
    across, down = np.meshgrid(np.linspace(0, 1, 96), np.linspace(0, 1, 96))
    skin = np.stack([0.6 + 0.4 * across, 0.3 + 0.4 * across * down, 0.2 * down], axis=-1)
    images = np.stack([skin, skin * 0.9, skin * 0.8])
    aging.save_gif(images, ['', '', ''], tmp_path / 'a.gif')
    frames, _ = frames_of(tmp_path / 'a.gif')
    expected = aging.titled(images, ['', '', ''])
    assert np.abs(frames[:3] - expected).max() <= 8
    assert len(np.unique(frames[0].reshape(-1, 3), axis=0)) > 60


# ------------------------------------------------------------------------------ the test


def test_strips_are_the_input_and_the_age_groups(vivid, folder, tmp_path):
    model = vivid()
    write(model, folder)
    assert written(tmp_path) == [f'ages_{n}_{g}.png' for n in ('me', 'you') for g in GENDERS]
    groups = labels.one_hot(range(10), 10)
    for name in ('me', 'you'):
        for gender, word in enumerate(('male', 'female')):
            with Image.open(tmp_path / f'save/test/ages_{name}_{word}.png') as strip:
                faces, titles = faces_of(strip)
            path = folder / f'{name}.jpg'
            assert faces.shape == (11, 32, 32, 3)
            np.testing.assert_array_equal(faces[0], pictures.read_face(path, 32))
            np.testing.assert_allclose(faces[1:], generated(model, path, gender, groups), atol=1)
            words = aging.titled(np.zeros([11, 32, 32, 3]), ['input', *labels.age_names()])
            np.testing.assert_array_equal(titles, words[:, :BAND])


@pytest.mark.filterwarnings('ignore:.*No face lies as in UTKFace')
@pytest.mark.parametrize('align', [False, True])
def test_each_photo_is_decoded_once(tiny_main, vivid, tmp_path, monkeypatch, align):
    vivid()
    shutil.copytree(ROOT / 'demo' / 'faces', tmp_path / 'photos')
    opened, open_image = [], Image.open

    def count(path, *args, **settings):
        opened.append(os.path.basename(path))
        return open_image(path, *args, **settings)

    monkeypatch.setattr(Image, 'open', count)
    words = (
        f'--is_train False --testdir {tmp_path}/photos --savedir {tmp_path}/save --align {align}'
    )
    tiny_main(*words.split())
    assert sorted(opened) == sorted(path.name for path in (tmp_path / 'photos').glob('*.jpg'))


@pytest.mark.filterwarnings('ignore:.*No face lies as in UTKFace')
def test_chosen_ages_gender_and_animation(tiny_main, vivid, folder, tmp_path):
    model = vivid()
    words = f'--is_train False --testdir {folder} --savedir {tmp_path}/save'
    plain = '--age_shift 0 --likeness 0'  # the paper's method
    tiny_main(*f'{words} {plain} --gender female --ages 70,4,30 --gif True'.split())
    names = [f'ages_{name}_female.{suffix}' for name in ('me', 'you') for suffix in ('gif', 'png')]
    assert written(tmp_path) == [*names, 'test_as_female.png', 'test_input.png']
    with Image.open(tmp_path / 'save/test/test_as_female.png') as grid:
        assert grid.size == (64, 320)  # the age groups, as ever
    with Image.open(tmp_path / 'save/test/ages_you_female.png') as strip:
        faces, titles = faces_of(strip)
    path = folder / 'you.jpg'
    expected = generated(model, path, 1, labels.age_label([70, 4, 30]))
    np.testing.assert_allclose(faces[1:], expected, atol=1)
    words = aging.titled(np.zeros([4, 32, 32, 3]), ['input', '70', '4', '30'])
    np.testing.assert_array_equal(titles, words[:, :BAND])

    frames, _ = frames_of(tmp_path / 'save/test/ages_you_female.gif')
    years = [*range(2, 81, 3)]
    there_and_back = years + years[-2:0:-1]
    assert frames.shape == (len(there_and_back), BAND + 32, 32, 3)
    expected = aging.titled(
        generated(model, path, 1, labels.age_label(there_and_back)),
        there_and_back,
        image_value_range=(0, 255),
    )
    assert np.abs(frames - expected).mean() < 8  # of 256 colours


def test_progress_counts_every_strip(vivid, folder, capsys):
    write(vivid(), folder, years=(5, 30), gif=True)
    assert '4/4' in capsys.readouterr().err.splitlines()[-1].split('\r')[-1]


def test_pictures_of_one_name_do_not_overwrite_each_other(vivid, folder, tmp_path):
    with Image.open(folder / 'you.jpg') as image:
        image.save(folder / 'me.png')
    model = vivid()
    write(model, folder, genders=('male',))
    paths = [os.path.basename(path) for path in files.list_images(str(folder))]
    assert paths == ['me.jpg', 'me.png', 'you.jpg']
    for name, path in zip(('me', 'me_2', 'you'), paths, strict=True):
        with Image.open(tmp_path / f'save/test/ages_{name}_male.png') as strip:
            faces, _ = faces_of(strip)
        np.testing.assert_array_equal(faces[0], pictures.read_face(folder / path, 32))


def test_other_age_groups_and_grey_pictures(vivid, folder, tmp_path):
    model = vivid(age_upper=(18, 40), num_input_channels=1)
    write(model, folder, gif=True)
    with Image.open(tmp_path / 'save/test/ages_me_male.png') as strip:
        assert strip.size == (4 * 32, BAND + 32) and strip.mode == 'L'
    frames, _ = frames_of(tmp_path / 'save/test/ages_me_female.gif')
    assert len(frames) == 2 * len(range(9, 51, 3)) - 2
