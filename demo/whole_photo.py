"""Change faces in their photos, at the photos' own resolution.

The change that a model makes is smooth and 128 pixels wide. It is scaled up, turned and moved to
the face's place in the photo, and added there under a soft mask: skin, hair and background keep
their sharpness, and nothing is changed outside of the face's surroundings.
"""

import functools
import typing

import numpy as np
from PIL import Image
from scipy import ndimage

import ops
from data import detector
from demo import portraits

# The mask: a rounded square around a crop as UTKFace's, from whose centre to each side it is 1 up
# to MASK_CORE and 0 from MASK_EDGE on, in parts of the crop's width. There hair and ears end.
MASK_CORE, MASK_EDGE = 0.42, 0.6
MASK_POWER = 4  # 2 is a circle, more is squarer
TILE = 256  # pixels, side of a face on a strip
SCREEN = 1280  # pixels, longer side of a photo in videos and on the page
BAND = 256  # rows of a photo that are changed at a time: bounds the memory
SUFFIXES = {'JPEG': 'jpg', 'PNG': 'png'}  # of the formats in which photos are written
# A JPEG's further loss cannot be seen; a PNG takes a sixth of the time of the usual level.
QUALITY, COMPRESSION = 95, 1


def change_photo(
    people: list[portraits.Portrait], faces: typing.Iterable[np.ndarray]
) -> np.ndarray:
    """Return a photo, uint8 [H, W, 3], with its people as `portraits.show` shows each."""
    pixels = people[0].photo.pixels.copy()
    for portrait, face in zip(people, faces, strict=True):
        add_change(pixels, portrait.landmarks, (face - portrait.image) * 127.5)
    return pixels


def draw_tiles(
    portrait: portraits.Portrait, faces: np.ndarray, keeps_photo: bool = True
) -> np.ndarray:
    """Return a face as it is in its photo, then as `portraits.show` shows it N times.

    uint8 [1 + N, TILE, TILE, 3]. What is finer than the model's pixels is the photo's, unless it
    is not kept: then the faces are those of the paper's method, scaled up.
    """
    crop = detector.cut_out(portrait.photo.pixels, portrait.landmarks, TILE)
    tiles = np.repeat(crop[None], 1 + len(faces), axis=0)
    own = portrait.image
    for tile, face in zip(tiles[1:], faces, strict=True):
        if keeps_photo:
            channels, margin = _fade_out((face - own) * 127.5)
            part = margin, margin, margin + len(face), margin + len(face)
            # Three times as quick as transform, and softer: findings/pillow_two_bicubics.sh.
            _add(tile, (x.resize([TILE, TILE], Image.Resampling.BICUBIC, part) for x in channels))
        else:
            made = Image.fromarray(ops.image_grid(face[None]))
            tile[:] = made.resize([TILE, TILE], Image.Resampling.BICUBIC)
    return tiles


def surroundings(landmarks: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the rows and columns of a photo [H, W, 3] in which `add_change` changes a face."""
    x, y, width, _ = portraits.place_of(landmarks)
    # No corner of the rounded square is farther from its centre than 1.2 of half its width.
    reach = 1.2 * MASK_EDGE * width
    left, right = np.clip([x - reach, x + reach], 0, shape[1]).astype(int)
    top, bottom = np.clip([y - reach, y + reach], 0, shape[0]).astype(int)
    return slice(top, bottom), slice(left, right)


def add_change(pixels: np.ndarray, landmarks: np.ndarray, change: np.ndarray):
    """Add a change of a face to its photo [H, W, 3], in place.

    The change is float [S, S, 3], in levels of the photo: what is to be added to the face
    as `detector.cut_out` cuts it out, scaled to [S, S].
    """
    # A photo's point z = x + iy lies at a z + b in the face.
    a, b = detector.similarity(landmarks, detector.PLACES * len(change))
    channels, margin = _fade_out(change, blur=abs(a) / 2 if abs(a) > 1 else 0)
    rows, columns = surroundings(landmarks, pixels.shape)
    for top in range(rows.start, rows.stop, BAND):
        band = pixels[top : min(top + BAND, rows.stop), columns]
        origin = a * complex(columns.start, top) + b + margin * (1 + 1j)
        place = [a.real, -a.imag, origin.real, a.imag, a.real, origin.imag]
        how = band.shape[1::-1], Image.Transform.AFFINE, place, Image.Resampling.BICUBIC
        _add(band, (channel.transform(*how) for channel in channels))


def _fade_out(change, blur=0):
    """Return a change [S, S, 3] with a margin in which it fades out: its channels, PIL images, and
    the margin in pixels.

    Where the face is smaller in the photo, it has to be blurred by a Gaussian, or it would alias.
    """
    margin = int(np.ceil((MASK_EDGE - 0.5) * len(change))) + 2  # beyond its edge nothing changes
    wide = np.pad(change, [(margin, margin), (margin, margin), (0, 0)], 'edge')
    if blur:
        wide = ndimage.gaussian_filter(wide, (blur, blur, 0), mode='nearest')
    wide = wide * _mask(len(change), margin)[:, :, None]
    return [Image.fromarray(x) for x in np.moveaxis(wide, -1, 0).astype(np.float32)], margin


def _add(pixels, channels):
    """Add the channels of a change, PIL images, to pixels [H, W, 3], in place."""
    for i, channel in enumerate(channels):
        pixels[:, :, i] = np.clip(np.rint(pixels[:, :, i] + channel), 0, 255)


@functools.cache
def _mask(size, margin):
    """Return the mask of a face of `size` pixels with a margin, float array."""
    x = np.abs((np.arange(-margin, size + margin) + 0.5) / size - 0.5)
    radius = (x[:, None] ** MASK_POWER + x**MASK_POWER) ** (1 / MASK_POWER)
    fade = np.clip((MASK_EDGE - radius) / (MASK_EDGE - MASK_CORE), 0, 1)
    return fade * fade * (3 - 2 * fade)


def save(file: str | typing.BinaryIO, pixels: np.ndarray, photo: portraits.Photo):
    """Write the changed pixels of a photo in its format, with its colour profile."""
    options = {'quality': QUALITY, 'compress_level': COMPRESSION, 'icc_profile': photo.profile}
    Image.fromarray(pixels).save(file, photo.format, **options)
