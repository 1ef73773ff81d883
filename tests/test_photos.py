"""People's photos: strips, animations, whole photos, the table; one pass a photo."""

import concurrent.futures
import csv
import os
import pathlib
import re
import shutil
import sys
import threading
import weakref
from unittest import mock

import av
import numpy as np
import pytest
from PIL import Image, ImageOps, ImageSequence

import ops
from data import detector, files, labels, limits, pictures
from demo import likeness, photos, portraits, strips, whole_photo
from face_aging import FaceAging
from tests.conftest import mark
from tests.test_align import NAMES, paste
from tests.test_data import PATIENCE
from tests.test_main import ROOT
from tests.test_whole_photo import landmarks_at, places

MADE_UP = ROOT / 'demo' / 'faces'
MAN, WOMAN = MADE_UP / '23_0_madeup004.jpg', MADE_UP / '52_1_madeup007.jpg'
PLAIN = '--age_shift 0 --likeness 0'.split()  # the paper's method
GENDERS = ('female', 'male')
TILE = whole_photo.TILE
BAND = round(TILE / 6)  # height of the title above a face


def run(*words):
    photos.main([str(word) for word in words])


def error_of(*words, start=run):
    """Return the sentence with which the program ends."""
    with pytest.raises(SystemExit) as exit:
        start(*words)
    assert isinstance(exit.value.code, str)  # then the status is 1
    assert re.fullmatch(r'[^\n]+[^.\n]\.', exit.value.code.strip())
    return exit.value.code


def written(folder='save/test'):
    """Return the names of the results in a folder, but the table."""
    return sorted({path.name for path in pathlib.Path(folder).iterdir()} - {photos.TABLE})


def rows_of(folder='save/test'):
    with open(f'{folder}/{photos.TABLE}', encoding='utf-8', newline='') as file:
        return [*csv.DictReader(file)]


def faces_of(name):
    """Return the faces of a strip, without their titles, and the titles, both [N, H, TILE, 3]."""
    with Image.open(f'save/test/ages_{name}.png') as strip:
        pixels = np.asarray(strip.convert('RGB')).astype(int)
    columns = np.stack(np.split(pixels, pixels.shape[1] // TILE, axis=1))
    return columns[:, BAND:], columns[:, :BAND]


def assert_strip(name, expected, words):
    """Assert that a strip shows these faces behind its input, and these titles on all of them."""
    faces, titles = faces_of(name)
    np.testing.assert_allclose(faces[1:], expected, atol=1)
    drawn = strips.titled(np.zeros([len(words), TILE, TILE, 3]), words)
    np.testing.assert_array_equal(titles, drawn[:, :BAND])


def frames_of(path):
    """Return the frames of an animation, and how long each is shown, in ms."""
    with Image.open(path) as image:
        assert image.info['loop'] == 0  # for ever
        frames, durations = [], []
        for frame in ImageSequence.Iterator(image):
            frames.append(np.asarray(frame.convert('RGB')).astype(int))
            durations.append(frame.info['duration'])
    return np.stack(frames), durations


def generated(model, path, gender, ages):
    """Return the faces of a picture by the labels of ages, as on strips, [A, TILE, TILE, 3]."""
    z = np.repeat(model.E(ops.load_image(path, 32)[None]), len(ages), axis=0)
    faces = model.G([z, ages, labels.one_hot([gender] * len(ages), 2)]).numpy()
    pixels = pictures.read_photo(path)
    faces = np.round(pixels.min() + (faces + 1) / 2 * np.ptp(pixels)).astype(np.uint8)
    return np.stack([enlarged(face) for face in faces])


def enlarged(face):
    return np.asarray(Image.fromarray(face).resize([TILE, TILE], Image.Resampling.BICUBIC))


# ------------------------------------------------------------------ strips and animations


def test_titles_stand_above_the_images():
    images = np.random.RandomState(0).uniform(-1, 1, (3, 60, 60, 3))
    pixels = strips.titled(images, ['', '0-5', 25])
    assert pixels.shape == (3, 70, 60, 3) and pixels.dtype == np.uint8
    below = ops.image_grid(images, size_frame=(3, 1))
    np.testing.assert_array_equal(pixels[:, 10:].reshape(below.shape), below)
    assert (pixels[0, :10] == 255).all()
    for title in pixels[1:, :10]:
        assert title.min() < 100 and (title == 255).mean() > 0.5
        across = np.flatnonzero((title < 200).any(axis=(0, 2)))
        assert abs(across.mean() - 30) < 4  # in the middle
    (longest,) = strips.titled(np.zeros([1, 128, 128, 3]), ['over 100'])[:, :21]
    assert (longest[:, [0, -1]] == 255).all() and (longest[[0, -1]] == 255).all()


def test_an_animation_goes_there_and_back(tmp_path):
    grey = np.linspace(-1, 1, 5)[:, None, None, None]
    strips.save_gif(np.broadcast_to(grey, [5, 48, 48, 3]), range(5), tmp_path / 'a.gif')
    frames, durations = frames_of(tmp_path / 'a.gif')
    assert frames.shape == (8, 56, 48, 3)
    shades = [0, 64, 128, 191, 255, 191, 128, 64]
    np.testing.assert_allclose(frames[:, 8:].mean(axis=(1, 2, 3)), shades, atol=2)
    assert durations == [800, 100, 100, 100, 800, 100, 100, 100]


def test_a_video_goes_there_and_back_in_its_own_colours(tmp_path):
    """Sides are even, and colours are marked: untagged, browsers take them by two matrices."""
    shades = [(200, 120, 90), (90, 120, 200), (120, 120, 120)]
    frames = [np.full([41, 61, 3], shade, np.uint8) for shade in shades]
    with open(tmp_path / 'a.mp4', 'wb') as file:
        strips.save_video(frames, file)
    with av.open(tmp_path / 'a.mp4') as video:
        stream = video.streams.video[0]
        assert (stream.average_rate, stream.width, stream.height) == (10, 60, 40)
        read = [frame.to_ndarray(format='rgb24') for frame in video.decode(stream)]
        context = stream.codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc) == (6, 6, 6)
    order = [*[0] * 8, 1, *[2] * 8, 1]
    assert len(read) == len(order)
    for found, index in zip(read, order, strict=True):
        np.testing.assert_allclose(found.mean(axis=(0, 1)), shades[index], atol=3)


# ---------------------------------------------------------------------------------- faces


def test_strips_are_the_input_and_the_age_groups(bundled):
    run(MAN, *PLAIN)
    assert written() == [f'ages_23_0_madeup004_{gender}.png' for gender in GENDERS]
    for gender, word in enumerate(labels.GENDER_NAMES):
        name = f'23_0_madeup004_{word}'
        error = np.abs(faces_of(name)[0][0] - enlarged(pictures.read_photo(MAN)))
        assert error.mean() < 1 and error.max() < 30
        groups = generated(bundled, MAN, gender, labels.one_hot(range(10), 10))
        assert_strip(name, groups, ['input', *labels.age_names()])


@pytest.mark.filterwarnings('ignore:The statistics of')
def test_age_shift_and_likeness_are_the_best_ones_by_default(bundled):
    run(MAN, '--gender', 'female', '--age', '40')
    run(MAN, '--gender', 'female', '--age', '40', '--age_shift', 0, '--out', 'given')
    run(MAN, '--gender', 'female', '--age', '40', *PLAIN, '--out', 'plain')
    one, same, plain = (
        pathlib.Path(folder, 'ages_23_0_madeup004_female.png').read_bytes()
        for folder in ('save/test', 'given', 'plain')
    )
    assert one == same != plain  # without statistics the best age shift is 0
    assert 'Try --age_shift 0.' in error_of(MAN, '--age_shift', 1)


def test_chosen_ages_gender_and_animation(bundled):
    run(WOMAN, *PLAIN, *'--gender female --ages 70,4,30 --gif'.split())
    name = 'save/test/ages_52_1_madeup007_female'
    assert written() == [os.path.basename(name) + suffix for suffix in ('.gif', '.png')]
    expected = generated(bundled, WOMAN, 1, labels.age_label([70, 4, 30]))
    assert_strip('52_1_madeup007_female', expected, ['input', '70', '4', '30'])

    frames, _ = frames_of(name + '.gif')
    years = [*range(2, 81, 3)]
    there_and_back = years + years[-2:0:-1]
    assert frames.shape == (len(there_and_back), BAND + TILE, TILE, 3)
    shown = generated(bundled, WOMAN, 1, labels.age_label(there_and_back))
    expected = strips.titled(shown, there_and_back)
    assert np.abs(frames - expected).mean() < 8  # of 256 colours


def test_a_face_in_a_photo_is_cut_out_as_for_a_training(bundled):
    """Also from a photo that only EXIF turns, and from a square one."""
    picture, _ = paste(NAMES[0], 2, 10)
    square, exif = picture.resize([500, 500]), Image.Exif()
    square.save('square.png')
    exif[0x0112] = 6
    picture.rotate(90, expand=True).save('turned.png', exif=exif)
    run('.', *PLAIN, '--gender', 'male')
    for name, seen in (('square', square), ('turned', picture)):
        faces, _ = faces_of(f'{name}_male')
        (landmarks,) = detector.find_faces(np.asarray(seen))
        np.testing.assert_array_equal(faces[0], detector.cut_out(np.asarray(seen), landmarks, TILE))


def test_a_dull_photo_is_shown_as_it_is(bundled):
    """The model takes it with its contrast stretched; nobody should think it was changed."""
    pixels = pictures.read_photo(MAN).astype(float)
    dull = np.uint8((pixels - pixels.min()) / np.ptp(pixels) * 120 + 60)
    Image.fromarray(dull).save('dull.png')
    run('dull.png', *PLAIN, '--gender', 'male')
    faces, _ = faces_of('dull_male')
    assert np.abs(faces[0] - enlarged(dull)).mean() < 1
    assert faces.min() >= 55 and faces.max() <= 185  # enlarged edges swing a little


def test_a_strip_is_as_sharp_as_the_photo(bundled):
    """But by the paper's method, which paints every pixel."""
    sharp, _ = paste(NAMES[0], 3)
    noise = np.random.RandomState(0).randint(-20, 20, np.shape(sharp))
    Image.fromarray(np.uint8(np.clip(np.asarray(sharp) + noise, 0, 255))).save('sharp.png')
    for words in (['--age_shift', 0], PLAIN):
        run('sharp.png', '--gender', 'male', *words)
        faces, _ = faces_of('sharp_male')
        fine = np.diff(faces, 2, axis=2).std(axis=(1, 2, 3))
        assert all(fine[1:] > 0.9 * fine[0]) == ('--likeness' not in words)


# --------------------------------------------------------------------- one pass, one table


@pytest.fixture
def folder(tmp_path):
    """tmp_path/photos: a photo of two people, one of one, and a face as in UTKFace."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    two, _ = paste(NAMES[1], 0.8, centre=150 + 250j)
    two.paste(paste(NAMES[0], 1.5, size=(300, 500), centre=150 + 250j)[0], (300, 0))
    two.save(folder / 'two.png')
    paste(NAMES[0], 2, 10)[0].save(folder / 'me.png')
    shutil.copy(MAN, folder)
    return folder


def test_each_photo_is_searched_once_and_each_face_encoded_once(
    bundled, folder, monkeypatch, capsys
):
    # The made-up face lies as in UTKFace: it is not searched for.
    counts = {'list_images': 1, 'open_picture': 3, 'find_faces': 2, 'encode': 4}
    spies = []
    for owner, name in zip((files, pictures, detector, FaceAging), counts, strict=True):
        function = getattr(owner, name)
        spies.append(mock.create_autospec(function, side_effect=function))
        monkeypatch.setattr(owner, name, spies[-1])
    run('photos', '--gif', '--whole_photo', '--video', '--age_shift', 0)
    assert [spy.call_count for spy in spies] == [*counts.values()]
    assert all(len(call.args[1]) == 1 for call in spies[-1].call_args_list)  # faces
    assert len(written()) == 4 * 2 * (1 + 1 + 3 + 1)
    said = capsys.readouterr().out.splitlines()[-2]
    assert said.startswith(
        '\t4 faces in 3 photos: 8 strips, 16 animations, 24 photos in save/test;'
    )


def test_few_photos_are_in_memory_however_many_there_are(bundled, folder, monkeypatch):
    """One is opened while the one before it is shown, and the one before that is drawn."""
    for k in range(4):
        shutil.copy('photos/two.png', f'photos/two_{k}.png')
    held, open_photo = [], portraits.open_photo

    def watch(path):
        assert sum(pixels() is not None for pixels in held) <= 2
        photo = open_photo(path)
        held.append(weakref.ref(photo.pixels))
        return photo

    monkeypatch.setattr(portraits, 'open_photo', watch)
    run('photos', '--whole_photo', '--age_shift', 0)
    assert len(held) == 7


@pytest.mark.usefixtures('find_marks', 'bundled')
def test_a_photo_is_drawn_while_the_next_one_is_shown(tmp_path, monkeypatch):
    for name in ('a.png', 'b.png'):
        mark(tmp_path / 'photos' / name, 1)
    shown, drawn, show = [threading.Event(), threading.Event()], [], portraits.show

    def watch(*args):
        shown[shown[0].is_set()].set()
        return show(*args)

    monkeypatch.setattr(portraits, 'show', watch)
    monkeypatch.setattr(strips, 'save_strip', lambda *_: drawn.append(shown[1].wait(PATIENCE)))
    run('photos', '--gender', 'male', '--age_shift', 0)
    assert drawn == [True, True]


def test_without_memory_pictures_are_drawn_one_at_a_time(bundled, monkeypatch):
    pools, start = [], concurrent.futures.ThreadPoolExecutor
    monkeypatch.setattr(limits, 'available_memory', lambda: 0)
    monkeypatch.setattr(
        concurrent.futures, 'ThreadPoolExecutor', lambda count: pools.append(count) or start(count)
    )
    run(MAN, '--age_shift', 0)
    assert pools == [1, 1]  # that opens photos, those that draw


def test_a_picture_that_a_thread_cannot_write(bundled):
    os.makedirs('save/test/ages_23_0_madeup004_male.png')
    message = 'madeup004_male.png cannot be used (Is a directory)'
    assert message in error_of(MAN, '--age_shift', 0)


def test_the_table(bundled, folder, capsys):
    shutil.copy('photos/two.png', 'photos/7_1_two.png')
    run('photos', '--whole_photo', '--age_shift', 0)
    said = 'Names told who is in 1 of the photos, such as photos/23_0_madeup004.jpg: 23 years old, '
    assert f'{said}male. Rename photos' in capsys.readouterr().out
    rows = rows_of()
    assert [(row['file'], row['face']) for row in rows] == [
        ('photos/23_0_madeup004.jpg', '1'),
        ('photos/7_1_two.png', '1'),
        ('photos/7_1_two.png', '2'),
        ('photos/me.png', '1'),
        ('photos/two.png', '1'),
        ('photos/two.png', '2'),
    ]
    known, *same, _, large, small = rows
    assert {row['gender_is'] for row in same} == {'guessed'}  # of two people the name tells none
    own = ('age', 'age_is', 'gender', 'gender_is')
    assert [known[key] for key in own] == ['23', 'named', 'male', 'named']
    assert (large['age_is'], small['gender_is']) == ('guessed', 'guessed')
    place = [int(known[key]) for key in ('x', 'y', 'width', 'turned')]
    assert place == [64, 64, 128, 0]
    for row, expected in ((large, (450, 250, 192, 0)), (small, (150, 250, 102, 0))):
        place = [int(row[key]) for key in ('x', 'y', 'width', 'turned')]
        np.testing.assert_allclose(place, expected, atol=8)
    names = [name for row in rows for name in row['written'].split('; ')]
    assert sorted(names) == written()
    assert 'photo_two_2_male_65.png' in small['written']
    shutil.copy('photos/me.png', '=1+1.png')
    run('=1+1.png', '--age', 34)
    (row,) = rows_of()
    assert row['file'] == './=1+1.png'  # no formula
    assert (row['age'], row['age_is'], row['gender_is']) == ('34', 'given', 'guessed')


def test_weights_and_results_are_two_folders(bundled, tiny, capsys):
    run(MAN, '--out', 'a/b', '--age_shift', 0)
    assert 'No checkpoint in save/checkpoint yet: the weights in' in capsys.readouterr().out
    assert len(written('a/b')) == 2 and not os.path.exists('save')
    tiny(is_training=False, save_dir='mine').save_checkpoint()
    run(MAN, '--savedir', 'mine', '--age_shift', 0)
    assert 'Restored mine/checkpoint/model-0' in capsys.readouterr().out
    run(MAN, '--savedir', 'mine', '--out', 'c', '--age_shift', 0)
    assert written('mine/test') == written('c')


# ---------------------------------------------------------------------------------- names


def names_of(folder='save/test'):
    """Return the faces' names in the strips of a folder."""
    return [name[5:-9] for name in written(folder) if name.startswith('ages_')]


@pytest.mark.usefixtures('find_marks', 'bundled')
def test_names_of_faces(tmp_path):
    """By their photos, counted where there are several; none takes the place of another."""
    counts = {'one.jpg': 1, 'two.jpg': 2, 'a.jpg': 1, 'A.png': 2, 'b.jpg': 2, 'b_1.jpg': 1}
    counts |= {'many.png': 10, 'x' * 45 + '.jpg': 2, 'x' * 40 + '.jpg': 1}
    for name, count in counts.items():
        mark(tmp_path / 'photos' / name, count)
    run('photos', '--gender', 'male', '--whole_photo', '--ages', '5', '--age_shift', 0)
    expected = ['A_1', 'A_2', 'a_2_2', 'b_1', 'b_2', 'b_1_2', 'one', 'two_1', 'two_2']
    expected += [f'many_{k:02}' for k in range(1, 11)]
    expected += ['x' * 40, 'x' * 40 + '_2_1', 'x' * 40 + '_2_2']
    assert sorted(names_of()) == sorted(expected)
    whole = [name[6:-11] for name in written() if name.startswith('photo_')]
    assert sorted(whole) == sorted(expected)


# ------------------------------------------------------------------------------- failures


@pytest.mark.usefixtures('find_marks', 'bundled')
def test_photos_without_a_face_are_named_and_left_out(tmp_path):
    for name, count in (('a.png', 1), ('none.png', 0), ('z.png', 2)):
        mark(tmp_path / 'photos' / name, count)
    for k in range(4):
        (tmp_path / 'photos' / f'bad{k}.jpg').write_text('no picture')
    with pytest.warns(UserWarning) as warned:
        run('photos', '--age_shift', 0, '--gender', 'male')
    said = [str(warning.message) for warning in warned]
    assert [f'bad{k}.jpg cannot be read' in said[k] for k in range(3)] == [True] * 3
    assert said[3:] == ['2 more pictures have no face, or cannot be read.']
    assert names_of() == ['a', 'z_1', 'z_2']


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['none.png'], 'No face was found in none.png: take one with faces from the front'),
        (['both'], 'No face was found in both (2 pictures): take one with faces'),
        (['both/text.jpg'], 'both/text.jpg cannot be read as an image'),
        (['nowhere'], 'There is no folder or picture nowhere: name one that is there.'),
        (['empty'], 'tif, tiff, webp files there.'),
        (['none.png', '--ages', 'old'], "'old' are no ages"),
        (['none.png', '--savedir', 'other'], 'There is no trained model in other/checkpoint'),
    ],
)
def test_where_nothing_can_be_done(bundled, words, message):
    for folder in ('both', 'empty'):
        os.mkdir(folder)
    for path in ('none.png', 'both/none.png'):
        Image.new('RGB', [64, 48]).save(path)
    pathlib.Path('both/text.jpg').write_text('no picture')
    assert message in error_of(*words, '--likeness', '0.2')
    left = {path.name for path in pathlib.Path().iterdir()}
    assert left == {'both', 'empty', 'none.png', 'bundled'}


def test_a_video_without_its_encoder(bundled, monkeypatch):
    """Is refused before a photo is opened."""
    monkeypatch.setitem(sys.modules, 'av', None)
    assert 'pip install -r demo/requirements.txt.' in error_of(MAN, '--video')
    assert not os.path.exists('save')


# --------------------------------------------------------------------------- whole photos


@pytest.fixture
def change(bundled, monkeypatch):
    """Write whole photos of a folder, with two faces found at the same places in each."""
    people = [landmarks_at((100, 120), 90), landmarks_at((280, 160), 70)]
    monkeypatch.setattr(detector, 'find_faces', lambda pixels: np.array(people))
    os.mkdir('photos')

    def write(word):
        words = '--ages 5,65 --gender female --likeness 1 --age_shift 0 --out out'
        run('photos', word, *words.split())
        names = [name for name in written('out') if name.startswith('photo_')]
        return {name: np.asarray(Image.open(f'out/{name}')).astype(int) for name in names}

    return write, [abs(places((300, 400), one) - 0.5 - 0.5j) for one in people]


def test_a_photo_of_two_people(change, bundled, photo):
    write, (first, second) = change
    Image.fromarray(photo).save('photos/we.png')
    changed_photos = write('--whole_photo')
    names = [f'photo_we_{k}_female_{a}.png' for k in (1, 2) for a in (5, 65)]
    assert sorted(changed_photos) == names
    far = whole_photo.MASK_EDGE * np.sqrt(2)
    for name, own, other in (('1_female_5', first, second), ('2_female_65', second, first)):
        changed = (changed_photos[f'photo_we_{name}.png'] != photo).any(axis=-1)
        assert not changed[own > far].any()  # to the pixel
        assert changed[own < 0.4].mean() > 0.5 and not changed[other < 0.4].any()

    it = portraits.open_photo('photos/we.png')
    face, (low, high) = portraits.cut_out(it, 1, 32)
    method = likeness.AgingMethod(bundled, None, 0, 1)
    people = method.look_at(face[None])
    ages, genders = labels.age_label([65]), labels.one_hot([1], 2)
    shown = method.show(people, ages, genders)
    expected = photo.copy()
    whole_photo.add_change(expected, it.landmarks[1], (shown[0] - face) * (high - low) / 2)
    np.testing.assert_allclose(changed_photos['photo_we_2_female_65.png'], expected, atol=1)


def test_a_photo_is_written_as_it_is_seen_and_in_its_format(change, photo):
    write, people = change
    exif = Image.Exif()
    exif[0x112] = 6  # turned by a quarter: seen 300 high, 400 wide
    Image.fromarray(np.rot90(photo)).save('photos/turned.JPG', exif=exif, quality=95)
    Image.fromarray(photo).save('photos/plain.bmp')
    changed_photos = write('--everyone')
    assert {name.rsplit('_')[1] + name[-4:] for name in changed_photos} == {
        'turned.jpg',
        'plain.png',
    }
    outside = np.min(people, axis=0) > whole_photo.MASK_EDGE * np.sqrt(2)
    seen = np.asarray(ImageOps.exif_transpose(Image.open('photos/turned.JPG'))).astype(int)
    turned = changed_photos['photo_turned_female_5.jpg']
    assert turned.shape == (300, 400, 3)
    assert np.abs(turned - seen)[outside].mean() < 6  # of noise, another loss of JPEG
    plain = changed_photos['photo_plain_female_5.png']
    np.testing.assert_array_equal(plain[outside], photo[outside])
