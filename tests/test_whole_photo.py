"""Changes of faces in their photos: where they land, and that nothing else changes."""

import numpy as np
import pytest
from PIL import Image

from data import detector
from demo import portraits, whole_photo

SIZE = 128
SMOOTH = np.add.outer(np.arange(SIZE), np.arange(SIZE))[..., None] / SIZE * 40 - 40  # levels
SMOOTH = np.repeat(SMOOTH, 3, axis=2)


def landmarks_at(centre, width, degrees=0):
    """Return the landmarks of a face whose crop has this centre, width and turn in the photo."""
    turn = width * np.exp(1j * np.deg2rad(degrees))
    z = (detector.PLACES @ [1, 1j] - 0.5 - 0.5j) * turn + complex(*centre)
    return np.stack([z.real, z.imag], axis=-1)


def places(shape, landmarks):
    """Return where the pixels of a photo lie in a face's crop, complex, in parts of its width."""
    a, b = detector.similarity(landmarks, detector.PLACES)
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    return a * (x + 1j * y) + b


@pytest.mark.parametrize(
    ('centre', 'width', 'degrees'),
    [((200, 150), 150, 0), ((200, 150), 90, 25), ((10, 290), 200, -10), ((200, 150), 30, 0)],
)
def test_nothing_changes_outside_of_the_mask(photo, centre, width, degrees):
    landmarks = landmarks_at(centre, width, degrees)
    changed = photo.copy()
    whole_photo.add_change(changed, landmarks, np.full([SIZE, SIZE, 3], 30.0))
    z = places(photo.shape, landmarks) - 0.5 - 0.5j
    outside = np.maximum(abs(z.real), abs(z.imag)) > whole_photo.MASK_EDGE
    assert outside.any()
    np.testing.assert_array_equal(changed[outside], photo[outside])
    core = np.hypot(z.real, z.imag) < whole_photo.MASK_CORE
    np.testing.assert_array_equal(changed[core], photo[core] + 30)


@pytest.mark.parametrize('width', [64, 128, 190])
@pytest.mark.parametrize('degrees', [0, 20])
def test_the_change_lands_where_the_face_is(photo, width, degrees):
    """A change that is linear across the crop is linear across the face in the photo."""
    landmarks = landmarks_at((200, 150), width, degrees)
    changed = photo.copy()
    whole_photo.add_change(changed, landmarks, SMOOTH)
    z = places(photo.shape, landmarks)
    core = np.hypot(z.real - 0.5, z.imag - 0.5) < 0.4
    expected = (z.real + z.imag - 1 - 1 / SIZE) * 40
    found = changed.astype(float) - photo
    error = (found - expected[..., None])[core]
    assert np.abs(error).max() < 1.5 and abs(error.mean()) < 0.05  # half a pixel off: 0.16


def test_bands_have_no_seams(photo, monkeypatch):
    landmarks = landmarks_at((200, 150), 180, 5)
    whole, banded = photo.copy(), photo.copy()
    whole_photo.add_change(whole, landmarks, SMOOTH)
    monkeypatch.setattr(whole_photo, 'BAND', 7)
    whole_photo.add_change(banded, landmarks, SMOOTH)
    np.testing.assert_array_equal(banded, whole)


def test_profiles_stay_if_they_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(detector, 'find_faces', lambda pixels: np.empty([0, 5, 2]))
    profile = b'\0' * 16 + b'RGB ' + b'\0' * 100
    Image.new('RGB', (30, 20)).save(tmp_path / 'rgb.jpg', icc_profile=profile)
    grey = Image.new('L', (30, 20))
    more = {'save_all': True, 'append_images': [grey], 'icc_profile': b'\0' * 16 + b'GRAY'}
    grey.save(tmp_path / 'grey.jpg', 'MPO', **more)  # as of cameras that add a preview
    photo = portraits.open_photo(str(tmp_path / 'rgb.jpg'))
    assert (photo.format, photo.profile) == ('JPEG', profile)
    grey = portraits.open_photo(str(tmp_path / 'grey.jpg'))
    assert (grey.format, grey.profile) == ('JPEG', None)
    whole_photo.save(str(tmp_path / 'out.jpg'), photo.pixels, photo)
    with Image.open(tmp_path / 'out.jpg') as image:
        assert (image.format, image.info['icc_profile']) == ('JPEG', profile)
