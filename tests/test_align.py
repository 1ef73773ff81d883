"""Faces cut out of pictures, made-up ones, so that they lie as in UTKFace."""

import functools
import os
import pathlib
import shutil
import struct
import warnings
import zlib

import keras
import numpy as np
import pytest
from PIL import Image

from data import align, console, detector, files, pictures, pipeline, tables

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
    ],
)
def test_eyes_come_to_lie_as_in_utkface(name, scale, angle):
    assert_aligned(*paste(name, scale, angle))


@pytest.mark.parametrize('angle', [90, -90])
def test_a_sideways_picture_without_exif(angle):
    assert_aligned(*paste(NAMES[0], 2, angle))


def test_a_large_picture_is_searched_reduced(monkeypatch):
    picture, eyes = paste(NAMES[0], 2)
    seen = []
    detect = detector._detector().detect_faces
    monkeypatch.setattr(
        detector._detector(), 'detect_faces', lambda p, **o: seen.append(p.shape) or detect(p, **o)
    )
    assert_aligned(picture.resize([3000, 2500]), 5 * eyes)
    assert seen == [(853, 1024, 3)]


def test_a_crop_holds_the_face_and_black_around():
    """The crop's pixels, against the face as it was before it was turned, scaled and pasted."""
    picture, _ = paste(NAMES[0], 3, 20, centre=330 + 130j)  # its top is cut off
    (crop,) = align.align(np.asarray(picture), size=128)
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
    assert align.align(np.full([*size[::-1], 3], 99, np.uint8)) == []


def test_keras_policy_does_not_reach_the_detector():
    for cached in (detector._detector, detector._stage):
        cached.cache_clear()
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy('mixed_bfloat16')
    try:
        assert_aligned(*paste(NAMES[0]))
        assert keras.config.dtype_policy().name == 'mixed_bfloat16'
        assert detector._stage('ONet').model.compute_dtype == 'float32'
    finally:
        keras.config.set_dtype_policy(policy)


# ----------------------------------------------------------------------------- reading


@pytest.fixture
def picture():
    """A small picture, each of its corners of another grey."""
    grey = np.linspace(0, 255, 16).reshape(4, 4).astype(np.uint8).repeat(8, 0).repeat(10, 1)
    return Image.fromarray(np.tile(grey[..., None], 3))


def test_exif_turns(picture, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    picture.rotate(90, expand=True).save(tmp_path / 'a.png', exif=exif)
    np.testing.assert_array_equal(pictures.read_photo(tmp_path / 'a.png'), np.asarray(picture))


def test_transparency_shows_white(picture, tmp_path):
    clear = picture.copy()
    alpha = np.full([32, 40], 255, np.uint8)
    alpha[:, 30:] = 0
    clear.putalpha(Image.fromarray(alpha))
    clear.save(tmp_path / 'a.png')
    pixels = pictures.read_photo(tmp_path / 'a.png')
    np.testing.assert_array_equal(pixels[:, :30], np.asarray(picture)[:, :30])
    assert (pixels[:, 30:] == 255).all()
    picture.convert('P').save(
        tmp_path / 'p.png', transparency=picture.convert('P').getpixel((0, 0))
    )
    assert (pictures.read_photo(tmp_path / 'p.png')[0, 0] == 255).all()


def test_sixteen_bits_are_scaled(picture, tmp_path):
    grey = np.asarray(picture)[..., 0]
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / 'a.png')
    np.testing.assert_array_equal(pictures.read_photo(tmp_path / 'a.png'), np.asarray(picture))


def test_other_kinds(picture, tmp_path):
    picture.convert('CMYK').save(tmp_path / 'cmyk.jpg', quality=100)
    white = Image.new('RGB', picture.size, 'white')
    picture.save(tmp_path / 'moving.png', save_all=True, append_images=[white])
    picture.convert('L').save(tmp_path / 'grey.png')
    for name, error in (('cmyk.jpg', 4), ('moving.png', 0), ('grey.png', 0)):
        pixels = pictures.read_photo(tmp_path / name)
        assert np.abs(pixels.astype(int) - np.asarray(picture)).max() <= error


def png_header(width, height):
    """Return a PNG that claims a size and has no pixels."""

    def chunk(kind, data):
        return (
            struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        )

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(b''))


@pytest.mark.parametrize('side', [20_000, 12_000])
def test_a_huge_header(tmp_path, side):
    (tmp_path / 'a.png').write_bytes(png_header(side, side))
    with pytest.raises(console.InputError, match=r'a\.png cannot be read .*90,000,000'):
        pictures.read_photo(tmp_path / 'a.png')


@pytest.mark.parametrize('content', [b'', b'a text', png_header(9, 9)])
def test_what_is_no_picture(tmp_path, content):
    (tmp_path / 'a.jpg').write_bytes(content)
    with pytest.raises(console.InputError, match=r'a\.jpg cannot be read as an image .*: replace'):
        pictures.read_photo(tmp_path / 'a.jpg')


# -------------------------------------------------------------------- a few pictures: --align


@pytest.fixture
def find_marks(monkeypatch):
    """Find faces of 50 x 50 pixels side by side, as many as the first pixel says."""

    def find(pixels):
        return np.array([detector.PLACES * 50 + [50 * k, 0] for k in range(pixels[0, 0, 0] // 50)])

    monkeypatch.setattr(detector, 'find_faces', find)


def mark(path, faces, colour=10):
    """Write a picture in which `find_marks` finds so many faces."""
    pixels = np.full([50, 50 * max(faces, 1), 3], colour, np.uint8)
    pixels[0, 0] = 50 * faces + 25
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, 'png')


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())


@pytest.mark.usefixtures('find_marks')
def test_names_of_crops(tmp_path):
    counts = {'one.jpg': 1, 'two.jpg': 2, 'a.jpg': 1, 'A.png': 2, 'b.jpg': 2, 'b_1.jpg': 1}
    counts |= {'none.jpg': 0, 'i_1.jpg': 1, 'i_2.jpg': 1}
    for name, count in counts.items():
        mark(tmp_path / 'raw' / name, count)
    (tmp_path / 'raw' / 'bad.png').write_text('no picture')
    with pytest.warns(UserWarning) as warned:
        align.align_pictures(str(tmp_path / 'raw'), str(tmp_path / 'out'))
    said = sorted(str(warning.message) for warning in warned)
    assert len(said) == 2 and 'bad.png cannot be read' in said[0]
    assert said[1].startswith('No face was found in ') and said[1].endswith('none.jpg.')
    assert files_in(tmp_path / 'out') == [
        'A_1.png',
        'A_2.png',
        'a_2_2.png',
        'b_1.png',
        'b_1_2.png',
        'b_2.png',
        'i_1.png',
        'i_2.png',
        'one.png',
        'two_1.png',
        'two_2.png',
    ]
    assert Image.open(tmp_path / 'out' / 'one.png').size == (200, 200)


@pytest.mark.usefixtures('find_marks')
def test_crops_are_named_as_pictures_are(tmp_path):
    for name in ('me.jpg', 'me.png', 'me_3.jpg'):
        mark(tmp_path / 'raw' / name, 1)
    crops = align.align_pictures(str(tmp_path / 'raw'), str(tmp_path / 'out'))
    names = files.unique_names(files.list_images(str(tmp_path / 'raw')))
    assert files.unique_names(crops) == names == ['me', 'me_2', 'me_3']


def test_ten_faces_of_a_picture_are_sorted_by_name(tmp_path, monkeypatch):
    mark(tmp_path / 'a.jpg', 0)
    crops = [np.full([2, 2, 3], k, np.uint8) for k in range(10)]
    monkeypatch.setattr(align, 'align', lambda pixels: crops)
    align.align_pictures(str(tmp_path / 'a.jpg'), str(tmp_path / 'out'))
    names = files_in(tmp_path / 'out')
    assert names == [f'a_{k:02}.png' for k in range(1, 11)]
    assert [Image.open(tmp_path / 'out' / name).getpixel((0, 0))[0] for name in names] == [
        *range(10)
    ]


@pytest.mark.usefixtures('find_marks')
def test_long_names_are_cut(tmp_path):
    """Of pictures that differ behind the cut only, each has crops of its own."""
    short, long = 'a' * 40, 'a' * 250
    for name in (short + '.jpg', long + 'b.jpg', long + '.jpg', 'x.jpg'):
        mark(tmp_path / 'raw' / name, 2)
    align.align_pictures(str(tmp_path / 'raw'), str(tmp_path / 'out'))
    bases = [short, short + '_2', short + '_3', 'x']
    crops = [f'{base}_{k}.png' for base in bases for k in (1, 2)]
    assert files_in(tmp_path / 'out') == sorted(crops)
    align.align_pictures(str(tmp_path / 'raw' / (long + '.jpg')), str(tmp_path / 'out'))
    assert files_in(tmp_path / 'out') == [short + '_1.png', short + '_2.png']


@pytest.mark.usefixtures('find_marks')
def test_crops_of_an_earlier_call_go(tmp_path):
    for name in ('old', 'new'):
        mark(tmp_path / name / f'{name}.jpg', 1)
    out = str(tmp_path / 'out')
    align.align_pictures(str(tmp_path / 'old'), out)
    align.align_pictures(str(tmp_path / 'new' / 'new.jpg'), out)
    assert files_in(tmp_path / 'out') == ['new.png']
    mark(tmp_path / 'none' / 'none.jpg', 0)
    with pytest.raises(console.InputError, match=r'No face was found in .*none'):
        align.align_pictures(str(tmp_path / 'none'), out)
    with pytest.raises(console.InputError, match='aligned already'):
        align.align_pictures(out, out)
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['new.png']


@pytest.mark.usefixtures('find_marks')
@pytest.mark.parametrize('source', ['out/mine', 'out/mine/a.png', 'link', 'links', 'out/.new'])
def test_pictures_in_the_folder_of_the_crops_are_refused(tmp_path, source):
    """Also those in a folder of their own there, and by links, which lead out of it or into it."""
    for name in ('mine/a.png', 'mine/b.jpg', '.new/c.png', 'd.png'):
        mark(tmp_path / 'out' / name, 1)
    (tmp_path / 'link').symlink_to(tmp_path / 'out' / 'mine')
    mark(tmp_path / 'links' / 'own.jpg', 1)
    (tmp_path / 'links' / 'z.png').symlink_to(tmp_path / 'out' / 'd.png')
    before = files_in(tmp_path / 'out')
    with pytest.raises(console.InputError, match=r'lies in .*out, .* aligned already, so do not'):
        align.align_pictures(str(tmp_path / source), str(tmp_path / 'out'))
    assert files_in(tmp_path / 'out') == before


@pytest.mark.usefixtures('find_marks')
def test_only_crops_are_removed(tmp_path):
    """From a folder behind a link too; a run that was killed left a crop aside."""
    mark(tmp_path / 'raw' / 'a.jpg', 1)
    for name in ('mine/a.png', 'b.jpg', 'old.png', '.new/half.png'):
        mark(tmp_path / 'real' / name, 1)
    (tmp_path / 'real' / 'folder.png').mkdir()
    (tmp_path / 'out').symlink_to('real')
    align.align_pictures(str(tmp_path / 'raw'), str(tmp_path / 'out'))
    assert files_in(tmp_path / 'real') == ['a.png', 'b.jpg', 'mine/a.png']
    assert (tmp_path / 'out').is_symlink()
    left = {path.name for path in (tmp_path / 'real').iterdir()}
    assert left == {'a.png', 'b.jpg', 'mine', 'folder.png'}


@pytest.mark.usefixtures('find_marks')
def test_crops_need_a_folder(tmp_path):
    mark(tmp_path / 'raw' / 'a.jpg', 1)
    (tmp_path / 'file').write_text('mine')
    (tmp_path / 'link').symlink_to('nowhere')
    for name in ('file', 'link'):
        with pytest.raises(console.InputError, match=f'{name} is not a folder: remove it'):
            align.align_pictures(str(tmp_path / 'raw'), str(tmp_path / name))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['file', 'link', 'raw']


@pytest.mark.usefixtures('find_marks')
def test_a_call_that_is_stopped_leaves_the_crops_before_it(tmp_path, monkeypatch):
    def stop(path):
        if path.endswith('b.jpg'):
            raise KeyboardInterrupt
        return read(path)

    for name in 'ab':
        mark(tmp_path / 'raw' / f'{name}.jpg', 1)
    mark(tmp_path / 'out' / 'old.png', 1)
    read = pictures.read_photo
    monkeypatch.setattr(pictures, 'read_photo', stop)
    for name in ('out', 'new'):
        with pytest.raises(KeyboardInterrupt):
            align.align_pictures(str(tmp_path / 'raw'), str(tmp_path / name))
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['old.png']
    assert not (tmp_path / 'new').exists()


def test_a_photo_that_the_camera_says_is_turned(tmp_path):
    """Held upside down, which the detector does not mind, but cut out it must stand."""
    photo, eyes = paste(NAMES[0], 2, 10)
    exif = Image.Exif()
    (tmp_path / 'raw').mkdir()
    for orientation, turn in ((6, 90), (8, -90), (3, 180)):
        exif[0x0112] = orientation
        path = tmp_path / 'raw' / f'{orientation}.png'
        photo.rotate(turn, expand=True).save(path, exif=exif)
    align.align_pictures(str(tmp_path / 'raw'), str(tmp_path / 'out'))
    ((a, b),) = eyes_in_crops(photo)
    assert np.abs(a * eyes + b - WANTED).max() < TOLERANCE
    (expected,) = align.align(np.asarray(photo))
    for name in ('3.png', '6.png', '8.png'):
        with Image.open(tmp_path / 'out' / name) as crop:
            np.testing.assert_array_equal(np.asarray(crop), expected)


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
    with pytest.warns(UserWarning, match=r'No face was found in .*40_1_none\.jpg\.'):
        run(raw, tmp_path / 'out')
    assert files_in(tmp_path / 'out') == sorted([*LABELLED, *names, 'no_face.txt'])
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
    pathlib.Path(files.path_aside(out / LABELLED[1])).write_bytes(
        b'half'
    )  # what a killed run leaves
    mark(raw / '50_0_late.jpg', 1)
    mark(raw / LABELLED[0], 1, colour=200)
    looked_at = []
    read = pictures.read_photo
    monkeypatch.setattr(
        pictures, 'read_photo', lambda path: looked_at.append(os.path.basename(path)) or read(path)
    )
    run(raw, out)
    assert sorted(looked_at) == ['001A43a.JPG', '50_0_late.jpg']
    assert (out / LABELLED[0]).read_bytes() == before
    assert files_in(out) == sorted([*LABELLED, '50_0_late.jpg', 'no_face.txt'])


def test_names_as_long_as_they_may_be(raw, tmp_path):
    names = ['1_0_' + 'a' * 246 + f'{k}.jpg' for k in (1, 2)]
    for name in names:
        mark(raw / name, 1)
    assert files.path_aside(raw / names[0]) != files.path_aside(raw / names[1])
    with pytest.warns(UserWarning, match='No face'):
        run(raw, tmp_path / 'out')
    assert {*names} < {*files_in(tmp_path / 'out')}


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
        ('none', 'out', r'No face was found in .*none \(1 pictures\)'),
        ('text', 'out', r'a\.jpg cannot be read as an image'),
        ('text/a.jpg', 'out', r'a\.jpg is a file: name the folder of the pictures'),
        ('raw', 'text/a.jpg', r'a\.jpg is not a folder: remove it'),
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
    with pytest.warns(UserWarning, match='No face was found in .*0.png, .*1.png, .*2.png'):
        assert align.align_folder(str(tmp_path / 'raw'), str(tmp_path / 'out')) == 1
    assert files_in(tmp_path / 'out') == [NAMES[0], 'no_face.txt']


def test_a_worker_that_the_system_ends(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(align, 'FACES_PER_WORKER', 1)
    monkeypatch.setattr('data.limits.cpu_count', lambda: 2)
    monkeypatch.setattr(align, '_prepare_worker', functools.partial(os._exit, 9))
    with pytest.raises(SystemExit, match='lack of memory: close other programs') as error:
        run(raw, tmp_path / 'out')
    assert '\n' not in error.value.code.strip()


def test_unreadable_pictures_among_others(raw, tmp_path):
    """They are named, not listed as without a face, and looked at again."""
    for k in range(4):
        (raw / f'9_1_bad{k}.jpg').write_text('no picture')
    for _ in range(2):
        with pytest.warns(UserWarning) as warned:
            count = align.align_folder(str(raw), str(tmp_path / 'out'))
        said = [str(warning.message) for warning in warned]
        assert count == len(LABELLED)
        assert [f'bad{k}.jpg cannot be read' in said[k] for k in range(3)] == [True] * 3
        assert said[3] == '4 pictures cannot be read.' and said[4].endswith('40_1_none.jpg.')
    assert files_in(tmp_path / 'out') == sorted([*LABELLED, 'no_face.txt'])
    assert (tmp_path / 'out' / 'no_face.txt').read_text() == '40_1_none.jpg\n'


# ------------------------------------------------------------------ the warning, and main.py


def test_faces_that_lie_well_need_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        align.warn_of_unaligned(*pipeline.read_folder(str(FACES)))


def test_the_warning_names_pictures_and_flag(tmp_path):
    for name in (*NAMES, 'd.jpg'):
        paste(NAMES[0], 1, 20)[0].save(tmp_path / name)
    shutil.copy(FACES / NAMES[0], tmp_path / 'well.jpg')
    with pytest.warns(UserWarning) as warned:
        align.warn_of_unaligned(*pipeline.read_folder(str(tmp_path)), 'pass --align True')
    ((message,),) = [[str(warning.message) for warning in warned]]
    assert all(name in message for name in (*NAMES, ' and 1 more', '--align True'))


@pytest.mark.parametrize(
    'moved', [{'scale': 0.6}, {'scale': 1.5}, {'angle': 20}, {'centre': 89 + 64j}]
)
def test_what_is_warned_of(tmp_path, moved):
    paste(NAMES[0], size=(128, 128), **{'centre': 64 + 64j, **moved})[0].save(tmp_path / 'a.png')
    with pytest.warns(UserWarning, match=r'a\.png: align it'):
        align.warn_of_unaligned(*pipeline.read_folder(str(tmp_path / 'a.png')))


@pytest.fixture
def trained(tiny, tmp_path):
    """tmp_path/save with a tiny model."""
    tiny().save_checkpoint()
    return tmp_path / 'save'


@pytest.mark.parametrize('source', ['photos', 'photos/me.png'])
def test_the_flag(tiny_main, trained, tmp_path, source):
    (tmp_path / 'photos').mkdir()
    paste(NAMES[0], 2, 10)[0].save(tmp_path / 'photos' / 'me.png')
    words = ['--is_train', 'False', '--testdir', tmp_path / source, '--savedir', trained]
    with pytest.warns(UserWarning, match=r'me\.png: pass --align True'):
        tiny_main(*words)
    assert not (trained / 'test' / 'aligned').exists()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        warnings.filterwarnings('ignore', '(?s).*statistics of codes')  # a tiny model has none
        tiny_main(*words, '--align', 'True')
    assert files_in(trained / 'test' / 'aligned') == ['me.png']
    with Image.open(trained / 'test' / 'test_input.png') as shown:
        crop = Image.open(trained / 'test' / 'aligned' / 'me.png').resize([32, 32])
        difference = np.asarray(shown.convert('RGB'), int)[:32, :32] - np.asarray(crop)
        assert np.abs(difference).mean() < 20


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        ([], 'No faces to test on'),
        (['--testdir', '{}/none.png'], r'No face was found in .*none\.png'),
        (['--testdir', '{}/text.jpg'], r'text\.jpg cannot be read as an image'),
        (['--testdir', '{}/nowhere'], 'There is no folder'),
    ],
)
def test_errors_of_the_flag(tiny_main, trained, tmp_path, words, message):
    Image.new('RGB', [64, 64]).save(tmp_path / 'none.png')
    (tmp_path / 'text.jpg').write_text('no picture')
    words = [word.format(tmp_path) for word in words]
    with pytest.raises(SystemExit, match=message) as error:
        tiny_main('--is_train', 'False', '--align', 'True', '--savedir', trained, *words)
    assert '\n' not in error.value.code.strip()
    assert files_in(trained / 'test') == []
