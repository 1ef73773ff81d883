"""Faces cut out of pictures, made-up ones, so that they lie as in UTKFace."""

import functools
import os
import pathlib
import shutil
import warnings

import keras
import numpy as np
import pytest
from PIL import Image

from data import align, console, detector, files, pictures, pipeline, tables
from tests.conftest import mark

ROOT = pathlib.Path(align.__file__).parents[1]
FACES = ROOT / 'demo' / 'faces'
# Of three of them, where the eyes are, seen by eye: x + iy in parts of width and height.
EYES = {
    '19_1_madeup003.jpg': (0.27 + 0.28j, 0.70 + 0.28j),
    '45_0_madeup006.jpg': (0.27 + 0.28j, 0.70 + 0.28j),
    '52_1_madeup007.jpg': (0.28 + 0.29j, 0.72 + 0.28j),
}
NAMES = [*EYES]
WANTED = detector.PLACES[:2] @ [1, 1j]  # where a crop has the eyes
TOLERANCE = 0.04  # of the crop's width


def paste(name, scale=1, angle=0, size=(600, 500), centre=300 + 250j):
    """Paste a face of 128 pixels, scaled and turned (degrees), into a larger picture.

    Returns:
        picture: PIL image.
        eyes: complex [2], where its eyes are in it.
    """
    face = Image.open(FACES / name).convert('RGBA')
    a = scale * np.exp(1j * np.radians(angle))
    b = centre - a * (64 + 64j)
    eyes = a * 128 * np.array(EYES[name]) + b
    pixels = max(1, round(128 * scale))
    face = face.resize([pixels, pixels], Image.Resampling.LANCZOS)
    c, shift = 1 / (a * 128 / pixels), -b / (a * 128 / pixels)
    rows = [c.real, -c.imag, shift.real, c.imag, c.real, shift.imag]
    layer = face.transform(size, Image.Transform.AFFINE, rows, Image.Resampling.BICUBIC)
    picture = Image.new('RGB', size, (110, 130, 120))
    picture.paste(layer, (0, 0), layer)
    return picture, eyes


def eyes_in_crops(picture):
    """Return complex [N, 2], where the eyes that the detector finds come to lie in the crops."""
    return [
        detector.similarity(face, detector.PLACES)
        for face in detector.find_faces(np.asarray(picture))
    ]


def assert_aligned(picture, eyes):
    """Assert that a picture has one face, and that cutting it out takes its eyes to UTKFace's."""
    ((a, b),) = eyes_in_crops(picture)
    assert np.abs(a * eyes + b - WANTED).max() < TOLERANCE


@pytest.mark.parametrize(
    ('name', 'scale', 'angle'),
    [
        (NAMES[0], 0.5, 0),
        (NAMES[1], 0.5, -30),
        (NAMES[2], 1, 30),
        (NAMES[0], 2, 15),
        (NAMES[1], 3, -30),
        (NAMES[2], 3, 0),
        (NAMES[0], 2, 90),  # a sideways picture without EXIF
        (NAMES[0], 2, -90),
    ],
)
def test_eyes_come_to_lie_as_in_utkface(name, scale, angle):
    assert_aligned(*paste(name, scale, angle))


def test_a_large_picture_is_searched_reduced(monkeypatch):
    picture, eyes = paste(NAMES[0], 2)
    seen, find = [], detector._find_upright
    monkeypatch.setattr(detector, '_find_upright', lambda x: seen.append(x.shape) or find(x))
    assert_aligned(picture.resize([3000, 2500]), 5 * eyes)
    assert seen == [(853, 1024, 3)]


def test_a_crop_holds_the_face_and_black_around():
    """The crop's pixels, against the face as it was before it was turned, scaled and pasted."""
    picture, _ = paste(NAMES[0], 3, 20, centre=330 + 130j)  # its top is cut off
    (face,) = detector.find_faces(np.asarray(picture))
    crop = detector.cut_out(np.asarray(picture), face, 128)
    assert crop.shape == (128, 128, 3) and crop.dtype == np.uint8
    face = np.asarray(Image.open(FACES / NAMES[0]).convert('RGB'), int)
    middle = np.s_[40:110, 30:100]
    assert np.abs(crop[middle] - face[middle]).mean() < 20 < face[middle].std()
    assert (crop[0] == 0).all(axis=-1).mean() > 0.5


def test_shrinking_is_antialiased():
    """Lines of a pixel, far below what the crop can show, come out as their mean."""
    pixels = np.zeros([2000, 2000, 3], np.uint8)
    pixels[:, ::2] = 255
    crop = detector.cut_out(pixels, detector.PLACES * 2000, 100)
    assert crop.min() > 110 and crop.max() < 145


def test_several_faces_the_largest_first():
    picture, eyes = paste(NAMES[1], 0.8, centre=150 + 250j)
    large, more_eyes = paste(NAMES[0], 1.5, size=(300, 500), centre=150 + 250j)
    picture.paste(large, (300, 0))
    both = eyes_in_crops(picture)
    assert len(both) == 2
    for (a, b), own in zip(both, (more_eyes + 300, eyes), strict=True):
        assert np.abs(a * own + b - WANTED).max() < TOLERANCE


@pytest.mark.parametrize('size', [(1, 1), (1, 3000), (300, 200)])
def test_no_face(size):
    assert detector.find_faces(np.full([*size[::-1], 3], 99, np.uint8)).shape == (0, 5, 2)


def test_keras_policy_does_not_reach_the_detector():
    pixels = np.asarray(paste(NAMES[0])[0])
    expected = detector.find_faces(pixels)
    detector._stage.cache_clear()
    keras.config.set_dtype_policy('mixed_bfloat16')
    np.testing.assert_array_equal(detector.find_faces(pixels), expected)
    assert keras.config.dtype_policy().name == 'mixed_bfloat16'


# ----------------------------------------------------------------------------- reading


def test_transparency_shows_white(photo, tmp_path):
    picture, alpha = Image.fromarray(photo), np.full(photo.shape[:2], 255, np.uint8)
    alpha[:, 30:] = 0
    clear = picture.copy()
    clear.putalpha(Image.fromarray(alpha))
    clear.save(tmp_path / 'a.png')
    pixels = pictures.read_photo(tmp_path / 'a.png')
    np.testing.assert_array_equal(pixels[:, :30], photo[:, :30])
    assert (pixels[:, 30:] == 255).all()
    picture = picture.convert('P')
    picture.save(tmp_path / 'p.png', transparency=picture.getpixel((0, 0)))
    assert (pictures.read_photo(tmp_path / 'p.png')[0, 0] == 255).all()


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())


# ----------------------------------------------------------------- a data set: data.align


LABELLED = [
    '25_0_0_2017.jpg',
    'images/001A43a.JPG',
    'Album2/009055_1M54.JPG',
    '53_Robin_Williams_0001.jpg',
    'other/30_1_x.webp',
    'other/30_1_x.png',
    'other/30_1_x.bmp',
    'other/30_1_x.gif',
]


def run(*words):
    align.main([*map(str, words)])


@pytest.fixture
def raw(tmp_path, find_marks):
    """A folder of pictures with labels in their names, two faces in each, and one without."""
    for name in LABELLED:
        mark(tmp_path / 'raw' / name, 2)
    mark(tmp_path / 'raw' / '40_1_none.jpg', 0)
    return tmp_path / 'raw'


def test_a_data_set_keeps_names_and_tables(raw, tmp_path, capsys):
    names = ('labels.csv', 'genders.csv', 'morph_x.csv', tables.CACD_MAT)
    for table in names:
        (raw / table).write_text(table)
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'labels.csv').write_text('mine')
    with pytest.warns(UserWarning, match=r'No face was found in .*40_1_none\.jpg: '):
        run(raw, tmp_path / 'out')
    assert files_in(tmp_path / 'out') == sorted([*LABELLED, *names])
    assert (tmp_path / 'out' / 'genders.csv').read_text() == 'genders.csv'
    assert (tmp_path / 'out' / 'labels.csv').read_text() == 'mine'
    kinds = {'.jpg': 'JPEG', '.webp': 'WEBP', '.png': 'PNG', '.bmp': 'BMP', '.gif': 'GIF'}
    for name in LABELLED:
        with Image.open(tmp_path / 'out' / name) as image:
            assert image.size == (200, 200)
            assert image.format == kinds[pathlib.Path(name).suffix.lower()]
    assert 'has 8 faces, 200 x 200 pixels each' in capsys.readouterr().out


@pytest.mark.filterwarnings('ignore:No face')
def test_a_second_run_does_what_is_missing(raw, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    run(raw, out)
    before = (out / LABELLED[0]).read_bytes()
    (out / LABELLED[1]).unlink()
    mark(raw / '50_0_late.jpg', 1)
    mark(raw / LABELLED[0], 1, colour=200)
    looked_at = []
    read = pictures.read_photo
    monkeypatch.setattr(
        pictures, 'read_photo', lambda path: looked_at.append(os.path.basename(path)) or read(path)
    )
    run(raw, out)
    assert sorted(looked_at) == ['001A43a.JPG', '40_1_none.jpg', '50_0_late.jpg']
    assert (out / LABELLED[0]).read_bytes() == before
    assert files_in(out) == sorted([*LABELLED, '50_0_late.jpg'])


def test_a_crop_that_is_killed_does_not_count(raw, tmp_path, monkeypatch, capsys):
    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr('os.replace', die)
    with pytest.raises(SystemExit) as ended:
        run(raw, tmp_path / 'out')
    assert ended.value.code == 130
    assert capsys.readouterr().err.endswith(
        '\n\tStopped. Started again, it does what is missing.\n'
    )
    with pytest.raises(console.InputError, match='No images'):
        files.list_images(str(tmp_path / 'out'), recursive=True)


@pytest.mark.parametrize(
    ('source', 'dest', 'message'),
    [
        ('raw', 'raw', 'must not lie in one another'),
        ('raw', 'raw/crops', 'must not lie in one another'),
        ('raw/images', 'raw', 'must not lie in one another'),
        ('nowhere', 'out', 'There is no folder'),
        ('none', 'out', r'No face was found in .*a\.jpg: take one with faces'),
        ('text', 'out', r'a\.jpg cannot be read as an image'),
        ('text/a.jpg', 'out', r'a\.jpg is a file: name the folder of the pictures'),
        ('raw', 'text/a.jpg', r'a\.jpg cannot be used \(File exists\): mend that'),
        ('raw', 'text/a.jpg/out', r'a\.jpg/out cannot be used \(Not a directory\): mend that'),
    ],
)
def test_where_nothing_can_be_done(raw, tmp_path, source, dest, message):
    mark(tmp_path / 'none' / 'a.jpg', 0)
    (tmp_path / 'text').mkdir()
    (tmp_path / 'text' / 'a.jpg').write_text('a text')
    before = files_in(raw)
    with pytest.raises(SystemExit, match=message) as error:
        run(tmp_path / source, tmp_path / dest)
    assert '\n' not in error.value.code.strip()
    assert files_in(raw) == before


def test_in_parallel(tmp_path, monkeypatch):
    """Two processes; the pictures are too small for faces, or none."""
    monkeypatch.setattr(align, 'FACES_PER_WORKER', 1)
    monkeypatch.setattr('data.limits.cpu_count', lambda: 2)
    for i in range(3):
        mark(tmp_path / 'raw' / f'{i}.png', 0)
    shutil.copy(FACES / NAMES[0], tmp_path / 'raw')
    with pytest.warns(UserWarning, match=r'No face was found in .*2\.png'):
        assert align.align_folder(str(tmp_path / 'raw'), str(tmp_path / 'out')) == 1
    assert files_in(tmp_path / 'out') == [NAMES[0]]


def test_a_worker_that_the_system_ends(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(align, 'FACES_PER_WORKER', 1)
    monkeypatch.setattr('data.limits.cpu_count', lambda: 2)
    monkeypatch.setattr(align, '_prepare_worker', functools.partial(os._exit, 9))
    with pytest.raises(SystemExit, match='lack of memory: close other programs') as error:
        run(raw, tmp_path / 'out')
    assert '\n' not in error.value.code.strip()


def test_unreadable_pictures_among_others(raw, tmp_path):
    """They are named, and looked at again."""
    for k in range(4):
        (raw / f'9_1_bad{k}.jpg').write_text('no picture')
    for _ in range(2):
        with pytest.warns(UserWarning) as warned:
            count = align.align_folder(str(raw), str(tmp_path / 'out'))
        said = [str(warning.message) for warning in warned]
        assert count == len(LABELLED)
        assert '40_1_none.jpg: take' in said[0] and 'bad1.jpg cannot be read' in said[2]
        assert said[3] == '2 more pictures have no face, or cannot be read.'
    assert files_in(tmp_path / 'out') == sorted(LABELLED)


# ------------------------------------------------------------------ the warning, and main.py


def warn(path):
    paths = files.list_images(str(path))
    align.warn_of_unaligned(paths, pipeline.decode_faces(paths)[0])


def test_faces_that_lie_well_need_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        warn(FACES)


def test_the_warning_names_pictures_and_cure(tmp_path):
    for name in (*NAMES, 'd.jpg'):
        paste(NAMES[0], 1, 20)[0].save(tmp_path / name)
    shutil.copy(FACES / NAMES[0], tmp_path / 'well.jpg')
    with pytest.warns(UserWarning) as warned:
        warn(tmp_path)
    ((message,),) = [[str(warning.message) for warning in warned]]
    assert all(name in message for name in (*NAMES, ' and 1 more', 'python -m data.align'))


@pytest.mark.parametrize(
    'moved', [{'scale': 0.6}, {'scale': 1.5}, {'angle': 20}, {'centre': 89 + 64j}]
)
def test_what_is_warned_of(tmp_path, moved):
    paste(NAMES[0], size=(128, 128), **{'centre': 64 + 64j, **moved})[0].save(tmp_path / 'a.png')
    with pytest.warns(UserWarning, match=r'a\.png: cut it out'):
        warn(tmp_path / 'a.png')


@pytest.mark.parametrize('source', ['photos', 'photos/me.png'])
def test_a_test_warns_of_photos(tiny_main, tiny, tmp_path, source):
    tiny().save_checkpoint()
    (tmp_path / 'photos').mkdir()
    paste(NAMES[0], 2, 10)[0].save(tmp_path / 'photos' / 'me.png')
    words = ['--is_train', 'False', '--savedir', tmp_path / 'save', '--testdir']
    with pytest.warns(UserWarning, match=r'me\.png: cut it out by python -m data\.align, else'):
        tiny_main(*words, tmp_path / source)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        tiny_main(*words, FACES / NAMES[0])
