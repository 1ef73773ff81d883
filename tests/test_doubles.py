"""Finding pictures of the same photo."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from data import doubles
from tests import draw_faces


def find(*images):
    return doubles.find(np.stack([doubles.thumbnail(image) for image in images])).tolist()


def face(seed, size=200):
    return draw_faces.draw_face(35, seed % 2, seed).resize([size, size])


def compressed(image):
    file = io.BytesIO()
    image.save(file, 'JPEG', quality=15)
    return Image.open(file)


def framed(image):
    image = image.copy()
    image.paste(0, (0, 0, 200, 12))
    image.paste(0, (0, 0, 12, 200))
    return image


@pytest.mark.parametrize(
    'change',
    [
        compressed,
        framed,
        lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        lambda image: framed(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
        lambda image: image.resize([64, 64]),
        lambda image: image.convert('L'),
        lambda image: image.filter(ImageFilter.GaussianBlur(4)),
        lambda image: ImageEnhance.Brightness(image).enhance(1.3),
        lambda image: ImageEnhance.Contrast(image).enhance(0.5),
    ],
)
def test_a_changed_copy_is_found(change):
    one, other, third = face(1), face(2), face(3)
    assert find(one, other, change(one), third, change(third)) == [0, 1, 0, 3, 3]


def test_other_people_are_other_photos():
    assert find(*map(face, range(100))) == [*range(100)]


def test_flat_pictures_are_like_no_other():
    images = [Image.new('L', [200, 200], grey) for grey in (0, 0, 128)]
    shade = np.arange(200 * 200).reshape(200, 200) // 10_000  # four levels
    images += [Image.fromarray((grey + shade).astype(np.uint8)) for grey in (0, 50, 100)]
    assert find(*images) == [*range(6)]


def test_blocks_and_chains():
    """More than a block of pictures, with copies across blocks, and one in each of them."""
    count = 2 * doubles.BLOCK + 5
    thumbnails = np.random.RandomState(0).randint(0, 256, [count, 32, 32]).astype(np.uint8)
    copies = [3, doubles.BLOCK, count - 1]
    thumbnails[copies] = thumbnails[3]
    thumbnails[[7, doubles.BLOCK + 9]] = thumbnails[[7, 7]][:, :, ::-1]
    photos = doubles.find(thumbnails)
    assert [group.tolist() for group in doubles.groups(photos)] == [copies, [7, doubles.BLOCK + 9]]
    assert len(np.unique(photos)) == count - 3


def test_a_choice_is_spread_over_the_photo():
    photos = np.array([0, 1, 0, 1, 4])
    chosen = np.arange(5) == 3
    assert doubles.spread(photos, chosen).tolist() == [False, True, False, True, False]


def test_copies_of_copies_are_one_photo():
    """Each is like the next, but the first not like the last."""
    first, last = (np.asarray(face(seed), float) for seed in (1, 3))
    shares = np.linspace(0, 1, 6)
    images = [first * (1 - share) + last * share for share in shares]
    images = [Image.fromarray(image.astype(np.uint8)) for image in images]
    assert find(*images) == [0] * 6
    assert find(images[0], images[-1]) == [0, 1]
