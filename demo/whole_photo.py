"""Change faces in their photos, at the photos' own resolution.

The change that a model makes is smooth and 128 pixels wide. It is scaled up, turned and moved to
the face's place in the photo, and added there under a soft mask: skin, hair and background keep
their sharpness, and nothing is changed outside of the face's surroundings.
"""

import typing

import numpy as np
from PIL import Image
from scipy import ndimage

from data import detector
from demo import portraits

# The mask: a rounded square around a crop as UTKFace's, from whose centre to each side it is 1 up
# to MASK_CORE and 0 from MASK_EDGE on, in parts of the crop's width. There hair and ears end.
MASK_CORE, MASK_EDGE = 0.42, 0.6
MASK_POWER = 4  # 2 is a circle, more is squarer
BAND = 256  # rows of a photo that are changed at a time: bounds the memory
SUFFIXES = {'JPEG': 'jpg', 'PNG': 'png'}  # of the formats in which photos are written
# A JPEG's further loss cannot be seen; a PNG takes a sixth of the time of the usual level.
QUALITY, COMPRESSION = 95, 1


def change_face(pixels: np.ndarray, portrait: portraits.Portrait, face: np.ndarray):
    """Change a portrait's face in its photo, in place, into how `portraits.show` shows it."""
    add_change(pixels, portrait.landmarks, (face - portrait.image) * 127.5)


def add_change(pixels: np.ndarray, landmarks: np.ndarray, change: np.ndarray):
    """Add a change of a face to its photo [H, W, 3], in place.

    The change is float [S, S, 3], in levels of the photo: what is to be added to the face
    as `detector.cut_out` cuts it out, scaled to [S, S].
    """
    size = len(change)
    # A photo's point z = x + iy lies at a z + b in the face.
    a, b = detector.similarity(landmarks, detector.PLACES * size)
    margin = int(np.ceil((MASK_EDGE - 0.5) * size)) + 2  # pixels; beyond its edge nothing changes
    change = np.pad(change, [(margin, margin), (margin, margin), (0, 0)], 'edge')
    if abs(a) > 1:  # the face is smaller there: blurred, or it would alias
        blur = abs(a) / 2
        change = ndimage.gaussian_filter(change, (blur, blur, 0), mode='nearest')
    change = change * _mask(size, margin)[:, :, None]
    channels = [Image.fromarray(x) for x in np.moveaxis(change, -1, 0).astype(np.float32)]
    # No corner of the rounded square is farther from its centre than 1.2 of half its width.
    centre, reach = (size / 2 * (1 + 1j) - b) / a, 1.2 * MASK_EDGE * size / abs(a)
    low = np.clip([centre.real - reach, centre.imag - reach], 0, pixels.shape[1::-1]).astype(int)
    high = np.clip([centre.real + reach, centre.imag + reach], 0, pixels.shape[1::-1]).astype(int)
    for top in range(low[1], high[1], BAND):
        band = pixels[top : min(top + BAND, high[1]), low[0] : high[0]]
        origin = a * complex(low[0], top) + b + margin * (1 + 1j)
        place = [a.real, -a.imag, origin.real, a.imag, a.real, origin.imag]
        for i, channel in enumerate(channels):
            added = channel.transform(
                band.shape[1::-1], Image.Transform.AFFINE, place, Image.Resampling.BICUBIC
            )
            band[:, :, i] = np.clip(np.rint(band[:, :, i] + added), 0, 255)


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
