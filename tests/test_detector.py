"""How pictures are given to the detector: mtcnn 1.0 misreads lists, paths and turned files."""

import keras  # noqa: F401
import numpy as np
import pytest
from mtcnn import stages
from PIL import ExifTags, Image

from data import align, pictures
from demo import portraits
from tests.test_align import NAMES, paste


@pytest.fixture
def photos(tmp_path):
    """tmp_path/photos: two photos of different sizes, which only EXIF turns upright."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # a quarter, to the right
    sizes = {'30_0_a.png': (400, 300), '20_1_b.webp': (300, 500)}
    for (name, size), face in zip(sizes.items(), NAMES, strict=False):
        picture, _ = paste(face, size=size, centre=complex(*size) / 2)
        picture.rotate(90, expand=True).save(folder / name, exif=exif, lossless=True)
    return folder


@pytest.fixture
def given(monkeypatch):
    """What the detector's first network is given, a list of pixels [H, W, 3]."""
    seen, propose = [], stages.StagePNet.__call__

    def spy(self, images_normalized, **others):
        seen.extend(np.asarray(images_normalized) * 128 + 127.5)
        return propose(self, images_normalized=images_normalized, **others)

    monkeypatch.setattr(stages.StagePNet, '__call__', spy)
    return seen


def align_a_data_set(folder):
    assert align.align_folder(str(folder), f'{folder}_aligned') == 2


def open_photos(folder):
    for path in sorted(folder.iterdir()):
        assert len(portraits.open_photo(str(path)).landmarks) == 1


def upload_to_the_page(folder):
    for path in sorted(folder.iterdir()):
        assert len(portraits.open_photo(path.read_bytes()).landmarks) == 1


WAYS = [align_a_data_set, open_photos, upload_to_the_page]


@pytest.mark.parametrize('search', WAYS)
def test_the_detector_gets_upright_arrays_one_by_one(photos, given, search):
    search(photos)
    assert {image.shape for image in given} == {(300, 400, 3), (500, 300, 3)}
    for path in photos.iterdir():
        upright = pictures.read_photo(path)
        assert any(np.array_equal(upright, image) for image in given)
