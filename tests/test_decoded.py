"""--cache FOLDER: decoded faces are kept for the next start, and only used where they are right."""

import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from data import doubles, pictures, pipeline
from tests import draw_faces


@pytest.fixture
def paths(tmp_path):
    draw_faces.draw_data_set(str(tmp_path / 'faces'), 12)
    paths = sorted(map(str, (tmp_path / 'faces').iterdir()))
    pathlib.Path(paths[3]).write_bytes(b'no picture')
    return paths


@pytest.fixture
def decode(paths, tmp_path, monkeypatch):
    """Returns a function that decodes into the cache; it counts the pictures decoded."""
    convert, count = pictures.to_face, []

    def counted(*args):
        count.append(args)
        return convert(*args)

    monkeypatch.setattr(pictures, 'to_face', counted)

    def decode(cache=str(tmp_path / 'cache')):
        count.clear()
        thumbnails = doubles.room(len(paths))
        with pytest.warns(UserWarning, match='1 of 12 images are unreadable'):
            faces, kept, unreadable = pipeline.decode_faces(
                paths, 32, cache=cache, thumbnails=thumbnails
            )
        assert [*unreadable] == [paths[3]]
        return faces[np.arange(len(faces))], kept, thumbnails, len(count)

    return decode


def test_the_second_start_decodes_nothing_and_has_the_same_faces(decode):
    expected = decode('memory')
    for decoded in (11, 0):
        *found, count = decode()
        assert count == decoded
        for one, other in zip(found, expected, strict=False):
            np.testing.assert_array_equal(one, other)


def test_a_changed_picture_is_decoded_anew(decode, paths):
    decode()
    Image.new('RGB', (32, 32), 'red').save(paths[0])
    faces, *_, count = decode()
    assert count == 11
    assert np.ptp(faces[0]) == 255  # the red one


def test_a_picture_of_another_time_is_decoded_anew(decode, paths):
    """It may have changed, though its size has not."""
    decode()
    os.utime(paths[0], ns=(0, os.stat(paths[0]).st_mtime_ns + 1_000_000_000))
    assert decode()[-1] == 11


def test_a_new_name_is_another_data_set(decode, paths):
    decode()
    paths[0] = str(pathlib.Path(paths[0]).rename(pathlib.Path(paths[0]).with_name('1_1_x.png')))
    assert decode()[-1] == 11


def test_a_picture_that_can_be_read_again_is_not_missed(decode, paths, tmp_path):
    decode()
    before = os.stat(paths[3])
    Image.new('RGB', (2, 2)).save(tmp_path / 'ok.bmp')
    data = (tmp_path / 'ok.bmp').read_bytes()
    (tmp_path / 'cache').rename(tmp_path / 'old')
    pathlib.Path(paths[3]).write_bytes(b'x' * len(data))
    decode()
    time = os.stat(paths[3]).st_mtime_ns
    pathlib.Path(paths[3]).write_bytes(data)  # of the same size, at the same time
    os.utime(paths[3], ns=(before.st_atime_ns, time))
    faces, _, _ = pipeline.decode_faces(paths, 32, cache=str(tmp_path / 'cache'))
    assert len(faces) == 12


@pytest.mark.parametrize('suffix', ['.faces', '.json'])
@pytest.mark.parametrize('damage', ['cut', 'flipped', 'empty'])
def test_a_damaged_cache_is_not_used(decode, tmp_path, suffix, damage):
    expected = decode()[0]
    [path] = (tmp_path / 'cache').glob('*' + suffix)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes({'cut': data[:-1], 'flipped': data, 'empty': b''}[damage])
    with pytest.warns(UserWarning, match='is not used'):
        faces, *_, count = decode()
    assert count == 11
    np.testing.assert_array_equal(faces, expected)
    assert decode()[-1] == 0


def test_trainings_share_the_faces_and_leave_them_as_they_are(decode, tmp_path):
    decode()
    [path] = (tmp_path / 'cache').glob('*.faces')
    before = path.read_bytes()
    with pytest.warns(UserWarning, match='unreadable'):
        faces, _, _ = pipeline.decode_faces(
            sorted(map(str, (tmp_path / 'faces').iterdir())), 32, cache=str(tmp_path / 'cache')
        )
    part = pipeline._part(faces, np.array([2, 5, 7]))
    part = pipeline._part(part, np.array([0, 2]))
    np.testing.assert_array_equal(part[np.arange(2)], faces[np.array([2, 7])])
    assert path.read_bytes() == before
