"""Pictures and folders as one finds them: damaged, huge, vanishing, oddly named."""

import io
import json
import os
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import tensorflow as tf
from PIL import ExifTags, Image, ImageFile

import init_model
from data import console, files, pictures, pipeline, tables
from tests import damage, draw_faces
from tests.test_face_aging import assert_same, weights_of

pytestmark = pytest.mark.usefixtures('no_init_model', 'eagerly')
FACE = draw_faces.draw_face(25, 1, seed=0)
FORMATS = {'JPEG': 'jpg', 'PNG': 'png', 'WEBP': 'webp', 'BMP': 'bmp', 'GIF': 'gif', 'TIFF': 'tif'}
# What shells, patterns, formats and addresses treat in their own ways.
ODD_NAME = 'ü 漢 [a-z]*? %s %d {0} $HOME ~ #&;\'"\\ \n.'


@pytest.fixture
def warned():
    """The warnings' texts, each as often as it is given."""
    with warnings.catch_warnings(record=True) as recorded:
        warnings.simplefilter('always', UserWarning)
        warnings.filterwarnings('ignore', 'Even though the `tf.config')
        yield lambda: [str(warning.message) for warning in recorded]


def save(path, image, **options):
    image.save(path, **options)
    return path


# ------------------------------------------------------------------------- kinds of pictures


def test_modes_of_pictures(tmp_path):
    """All are read as what they show: the same face, as a plain picture of it is."""

    def read(image, name='other.png', **options):
        return pictures.read_face(save(tmp_path / name, image, **options), 32).astype(int)

    colours, grey = read(FACE), read(FACE.convert('L'))
    other = FACE.rotate(90)
    for name in ('a.gif', 'a.webp', 'a.png'):
        first = read(FACE, name)
        animated = read(FACE, name, save_all=True, append_images=[other, other])
        assert abs(animated - first).mean() < 3
    np.testing.assert_array_equal(read(FACE.convert('RGBA')), colours)
    clear = FACE.copy()
    clear.putalpha(0)
    np.testing.assert_array_equal(read(clear), colours)
    palette = FACE.quantize(32)
    np.testing.assert_array_equal(read(palette, transparency=3), read(palette.convert('RGB')))
    np.testing.assert_array_equal(read(FACE.convert('1')), read(FACE.convert('1').convert('RGB')))
    cmyk = read(FACE.convert('CMYK'), 'c.jpg', quality=100, subsampling=0)
    assert abs(cmyk - read(FACE.convert('CMYK').convert('RGB'))).mean() < 2
    for factor in (1, 16, 257):  # 8, 12 and 16 bits of 16
        deep = Image.fromarray(np.asarray(FACE.convert('L')).astype(np.uint16) * factor)
        np.testing.assert_array_equal(read(deep), grey)
        assert pictures.read_face(save(tmp_path / 'deep.png', deep), 32, is_gray=True).shape == (
            32,
            32,
        )


def test_pictures_are_turned_once(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # a quarter, to the right
    wide = FACE.resize((6, 3)).resize((60, 30))  # smooth, so that JPEG changes it little
    for name in ('a.jpg', 'a.png', 'a.tif'):
        path = save(tmp_path / name, wide, exif=exif)
        photo = pictures.read_photo(path).astype(int)
        assert abs(photo - np.asarray(wide.rotate(-90, expand=True))).mean() < 5
        face = pictures.read_face(path, 60).astype(int)
        upright = save(tmp_path / f'upright_{name}', wide.rotate(-90, expand=True))
        assert abs(face - pictures.read_face(upright, 60)).mean() < 5


def test_damaged_exif_costs_the_turn(tmp_path):
    path = save(tmp_path / 'a.png', FACE, exif=b'Exif\0\0garbage')
    np.testing.assert_array_equal(pictures.read_photo(path), np.asarray(FACE))
    plain = save(tmp_path / 'plain.png', FACE)
    np.testing.assert_array_equal(pictures.read_face(path), pictures.read_face(plain))


@pytest.mark.parametrize(('kind', 'high'), [(np.int32, 2**31 - 1), (np.float32, 1)])
def test_more_than_16_bits(tmp_path, kind, high):
    """32 bits would take a table of 4 billion values."""
    path = save(tmp_path / 'a.tif', Image.fromarray(np.array([[0, high]], kind)))
    with pytest.raises(pictures.UnreadableError, match='more than 16 bits a pixel'):
        pictures.read_face(path)


@pytest.mark.parametrize('format', FORMATS)
def test_bombs_are_refused_by_their_headers(tmp_path, monkeypatch, format):
    monkeypatch.setattr(damage, 'FORMATS', (format,))
    monkeypatch.setattr(ImageFile.ImageFile, 'load', lambda _: pytest.fail('decoded'))
    for seed in range(4):
        data = damage.bomb(FACE, np.random.RandomState(seed))
        (tmp_path / 'bomb.jpg').write_bytes(data)
        assert len(data) < 50_000
        with pytest.raises(
            pictures.UnreadableError, match=r'bomb\.jpg .* \(more than 90,000,000 pixel'
        ):
            pictures.read_face(tmp_path / 'bomb.jpg')


def test_the_largest_pictures(tmp_path, monkeypatch):
    reading = tmp_path / 'a.png'
    save(reading, Image.new('L', (70_000, 1)))
    with pytest.raises(pictures.UnreadableError, match='than 65,535 on a side'):
        pictures.read_face(reading)
    save(reading, Image.new('L', (65_535, 1)))
    assert pictures.read_face(reading, 32).shape == (32, 32, 3)
    monkeypatch.setattr(pictures, 'MAX_FILE_BYTES', os.path.getsize(reading) - 1)
    with pytest.raises(pictures.UnreadableError, match=r'more than \d+ bytes'):
        pictures.read_face(reading)


def test_large_pictures_are_decoded_one_at_a_time(tmp_path, monkeypatch):
    path = save(tmp_path / 'a.png', FACE)
    with pictures.open_picture(path):
        assert not pictures._ONE_LARGE.locked()
    monkeypatch.setattr(pictures, 'LARGE_PICTURE', FACE.width * FACE.height - 1)
    with pictures.open_picture(path):
        assert pictures._ONE_LARGE.locked()
    assert not pictures._ONE_LARGE.locked()
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(pictures.UnreadableError):
        pictures.read_face(path)
    assert not pictures._ONE_LARGE.locked()


def test_what_is_no_file(tmp_path):
    for make in (os.mkdir, os.mkfifo, lambda path: os.symlink('/dev/zero', path)):
        path = tmp_path / f'{len(os.listdir(tmp_path))}.jpg'
        make(path)
        with pytest.raises(pictures.UnreadableError, match=r'\.jpg .* \(no file\)'):
            pictures.read_face(path)
    with pytest.raises(pictures.UnreadableError, match=r'No such file.*\): name a picture'):
        pictures.read_face(tmp_path / 'nowhere.jpg')


@pytest.mark.parametrize('format', ['EPS', 'PCX'])
def test_only_the_formats_of_faces_are_opened(tmp_path, monkeypatch, format):
    """Pillow would start Ghostscript for one of them."""
    monkeypatch.setattr(subprocess, 'Popen', lambda *_, **__: pytest.fail('a program'))
    file = io.BytesIO()
    FACE.save(file, format)
    (tmp_path / 'a.jpg').write_bytes(file.getvalue())
    with pytest.raises(pictures.UnreadableError, match='no picture'):
        pictures.read_face(tmp_path / 'a.jpg')


# -------------------------------------------------------------------------------- decoding


@pytest.mark.parametrize('cache', pipeline.CACHES)
def test_unreadable_files_are_left_out_and_named(faces, monkeypatch, warned, cache):
    paths, allocated, allocate = files.list_images(str(faces)), [], pipeline._allocate
    monkeypatch.setattr(
        pipeline, '_allocate', lambda *args: allocated.append(allocate(*args)) or allocated[0]
    )
    expected = [pictures.read_face(path, 32) for path in paths]
    bad = [0, 5, 6, 13]
    for i in bad:
        open(paths[i], 'w').close()
    images, kept, unreadable = pipeline.decode_faces(paths, 32, cache=cache)
    (text,) = warned()
    assert text.startswith('4 of 14 images are unreadable and left out')
    assert unreadable == {paths[i]: 'no picture of a known format' for i in bad}
    for i in range(14):
        assert text.count(f'{paths[i]!r}: no picture') == (i in bad)
    assert list(kept) == [i for i in range(14) if i not in bad]
    assert len(images) == 10 and images.shape == (10, 32, 32, 3)
    np.testing.assert_array_equal(images, [expected[i] for i in kept])
    allocated[0][:] = 7
    assert (images[:] == 7).all()  # they are no copy, for which there may be no memory


def test_of_many_only_the_first_are_named(faces, warned):
    paths = files.list_images(str(faces))
    bad = [str(faces / f'nowhere{i:02d}.jpg') for i in range(25)]
    _, _, unreadable = pipeline.decode_faces(bad + paths, 32, most_unreadable=0.9)
    lines = warned()[0].splitlines()
    assert len(lines) == 22 and lines[-1].strip() == '... and 5 more'
    assert list(unreadable) == bad


def test_too_many_unreadable_files(faces, warned):
    paths = files.list_images(str(faces))
    for path in paths[:7]:
        open(path, 'w').close()
    assert len(pipeline.decode_faces(paths, 32)[0]) == 7
    open(paths[7], 'w').close()
    with pytest.raises(
        console.InputError, match='8 of 14 images are unreadable, too many'
    ) as error:
        pipeline.decode_faces(paths, 32)
    assert paths[0] in str(error.value) and '\n' not in str(error.value)
    assert len(pipeline.decode_faces(paths, 32, most_unreadable=1)[0]) == 6
    with pytest.raises(console.InputError, match='8 of 8 images'):
        pipeline.decode_faces(paths[:8], 32, most_unreadable=1)
    with pytest.raises(console.InputError, match='1 of 7 images'):
        pipeline.decode_faces(paths[7:], 32, most_unreadable=0)


def test_lack_of_memory_is_no_fault_of_a_picture(faces, monkeypatch, warned):
    """Else a face would be left out of the training, and the user told to remove it."""
    paths = files.list_images(str(faces))

    def fail(image):
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, 'load', fail)
    with pytest.raises(MemoryError):
        pictures.read_face(paths[0])
    with pytest.raises(tf.errors.ResourceExhaustedError) as error:
        pipeline.decode_faces(paths, 32)
    assert console.is_lack_of_memory(error.value)
    assert not warned()


@pytest.mark.parametrize('reader', ['read_cacd_mat', 'load'])
def test_lack_of_memory_is_no_damage_of_a_table_or_of_weights(tmp_path, monkeypatch, reader):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr('scipy.io.loadmat', fail)
    monkeypatch.setattr('zipfile.ZipFile', fail)
    with pytest.raises(MemoryError):
        if reader == 'load':
            init_model.load(os.path.dirname(init_model.__file__))
        else:
            tables.read_cacd_mat(tmp_path / 'meta.mat')


# -------------------------------------------------------------------- training and testing


def test_training_is_that_of_the_readable_faces(tiny, faces, tmp_path, warned):
    model = tiny()
    model.train(num_epochs=1)
    shutil.copytree(faces, tmp_path / 'more')
    (tmp_path / 'more' / '0_0_a.jpg').write_bytes(b'no picture')
    (tmp_path / 'more' / '30_1_b.jpg').touch()
    other = tiny(dataset_name='more', save_dir=str(tmp_path / 'other'))
    other.train(num_epochs=1)
    assert_same(weights_of(model), weights_of(other))
    named = [text for text in warned() if 'unreadable' in text]
    assert len(named) == 1 and '2 of 16' in named[0]


def test_too_few_readable_faces(tiny, faces, tmp_path, warned):
    for path in sorted(faces.iterdir())[:3]:
        path.write_bytes(b'')
    with pytest.raises(console.InputError, match='holds 11 faces, too few for batches of 6'):
        tiny(size_batch=6).train(num_epochs=1)
    assert not (tmp_path / 'save' / 'checkpoint').exists()


def test_testing_goes_on_with_the_readable_faces(tiny, faces, tmp_path, warned):
    tiny().save_checkpoint()
    model = tiny(is_training=False)
    photos = tmp_path / 'photos'
    photos.mkdir()
    good = sorted(faces.iterdir())[:2]
    for i in range(5):
        (photos / f'bad{i}.jpg').write_bytes(b'')
    for path in good:
        shutil.copy(path, photos)
    model.custom_test(str(photos))
    assert '5 of 7 images are unreadable' in warned()[0]
    written = np.asarray(Image.open(tmp_path / 'save' / 'test' / 'test_input.png'))
    expected = [pictures.read_face(path, 32) for path in good]
    np.testing.assert_array_equal(written[:32], np.concatenate(expected, 1))


def test_names_that_are_not_in_utf8(tiny, faces, tmp_path, warned):
    tiny().save_checkpoint()
    photos = tmp_path / 'photos'
    photos.mkdir()
    name = os.fsencode(photos) + b'/\xff\xe9.jpg'
    shutil.copy(next(faces.iterdir()), name)
    shutil.copy(next(faces.iterdir()), photos)
    os.close(os.open(name.replace(b'\xff', b'\xfe'), os.O_CREAT))
    tiny(is_training=False).custom_test(str(photos))
    assert Image.open(tmp_path / 'save' / 'test' / 'test_input.png').width == 2 * 32
    assert '1 of 3 images' in warned()[0]


def test_folders_of_any_name(tiny_main, faces, tmp_path, monkeypatch):
    home = tmp_path / ODD_NAME
    shutil.copytree(faces, home / 'sets' / ODD_NAME)
    monkeypatch.chdir(home)
    words = ['--dataset', ODD_NAME, '--datadir', 'sets', '--savedir', ODD_NAME, '--batch_size', 7]
    for epochs in (6, 7, 8):  # goes on from what it saved, and removes what it need not keep
        tiny_main(*words, '--epoch', epochs)
    tiny_main('--is_train', 'False', '--savedir', ODD_NAME, '--testdir', f'sets/{ODD_NAME}')
    save = home / ODD_NAME
    left = sorted(path.suffix for path in (save / 'checkpoint').glob('model-*'))
    assert left == ['.data-00000-of-00001'] * 2 + ['.index'] * 2
    assert len(list((save / 'samples').iterdir())) == 8
    assert (save / 'test' / 'test_as_male.png').exists() and list((save / 'summary').iterdir())
    assert sorted(os.listdir(home)) == ['sets', ODD_NAME]


# ------------------------------------------------------------------------------- fuzzing


def assert_right(names, unreadable):
    """Check what was left out of pictures by `damage.make_damaged`."""
    unreadable = {os.path.basename(path) for path in unreadable}
    for name in names:
        kind = damage.kind_of(name)
        if kind in damage.READABLE:
            assert name not in unreadable
        elif kind in damage.UNREADABLE:
            assert name in unreadable


@pytest.fixture
def left_out(monkeypatch):
    """The unreadable pictures that the calls of decode_faces have found, a list for each."""
    found, decode = [], pipeline.decode_faces

    def decode_faces(*args, **settings):
        decoded = decode(*args, **settings)
        found.append([*decoded[2]])
        return decoded

    monkeypatch.setattr(pipeline, 'decode_faces', decode_faces)
    return found


def test_a_few_damaged_pictures(tiny, tmp_path, warned, left_out):
    names = damage.make_damaged(tmp_path / 'faces', 2 * len(damage.ENOUGH_TO_TRAIN))
    models = [tiny(cache=cache, save_dir=str(tmp_path / cache)) for cache in pipeline.CACHES]
    for model in models:
        model.train(num_epochs=1)
    assert_same(*map(weights_of, models))
    tiny(is_training=False, save_dir=str(tmp_path / 'disk')).custom_test(str(tmp_path / 'faces'))
    assert left_out[0] == left_out[1] == left_out[2]
    assert_right(names, left_out[0])
    named = [text for text in warned() if 'unreadable' in text]
    for path in left_out[0]:
        assert [text.count(repr(path)) for text in named] == [1, 1, 1]


FUZZ = """
import json, resource, sys
from data import pipeline
from tests.conftest import TINY
from face_aging import FaceAging

folder, cache, savedir = sys.argv[1:]
settings = dict(TINY, size_batch=10, save_dir=savedir, data_dir=folder, dataset_name='faces')
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
found, decode = [], pipeline.decode_faces
def decode_faces(*args, **settings):
    found.append(decode(*args, **settings))
    return found[-1]
few = FaceAging(**dict(settings, dataset_name='few', save_dir=savedir + '_few'))
few.train(1, use_trained_model=False)
before = peak()
pipeline.decode_faces = decode_faces
if cache == 'test':
    FaceAging(is_training=False, **settings).custom_test(folder + '/faces')
else:
    FaceAging(cache=cache, **settings).train(1, use_trained_model=False)
faces, kept, unreadable = found[0]
print(json.dumps([len(kept), [*unreadable], peak() - before]))
"""


@pytest.mark.slow
def test_two_thousand_damaged_pictures(tmp_path):
    """Through training and testing, in processes of their own, whose memory is measured."""
    count = 2000 * len(damage.ENOUGH_TO_TRAIN) // (len(damage.KINDS) - 1) + 1
    names = damage.make_damaged(tmp_path / 'faces', count)
    assert sum(damage.kind_of(name) != 'whole' for name in names) >= 2000
    draw_faces.draw_data_set(tmp_path / 'few', 40)
    results = []
    for cache in (*pipeline.CACHES, 'test'):
        command = [sys.executable, '-c', FUZZ, tmp_path, cache, tmp_path / 'save']
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and 'Traceback' not in done.stderr, done.stderr[-3000:]
        results.append(json.loads(done.stdout.splitlines()[-1]))
    for kept, unreadable, growth in results:
        assert_right(names, unreadable)
        assert kept + len(unreadable) == count and unreadable == results[0][1]
        assert growth < 800  # MiB
