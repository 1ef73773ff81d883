"""Change a face in its photo, at the photo's own resolution.

What the model changes is smooth and 128 pixels wide. It is scaled up, turned and shifted to where
the face lies in the photo, and added there under a soft mask: skin, hair and background keep their
sharpness.
"""

import numpy as np
from scipy import ndimage

from data import detector

# Half-axes of the mask's ellipse, in parts of a crop's width and height, from its centre. UTKFace's
# crops end at the chin and above the forehead, so that it reaches a little beyond them.
MASK = 0.58, 0.62
MASK_CORE = 0.6  # part of the half-axes within which the change counts fully
BAND = 256  # rows of the photo that are changed at a time, which bounds the memory


def add_change(pixels, landmarks, change):
    """Add a change of a face to its photo, in place.

    Args:
        pixels: uint8 array [H, W, 3], the photo; writable.
        landmarks: float array [5, 2], (x, y) of the face in it, as from `detector.find_faces`.
        change: float array [S, S, 3], in units of the photo's pixels, what is to be added to the
            face as `detector.cut_out` cuts it out, scaled to [S, S].
    """
    size = len(change)
    a, b = detector.similarity(
        landmarks, detector.PLACES * size
    )  # a photo's pixel z lies at a z + b
    if abs(a) > 1:  # scaled down: blurred, lest it alias
        change = ndimage.gaussian_filter(change, (abs(a) / 2, abs(a) / 2, 0), mode='nearest')
    spline = ndimage.spline_filter1d(
        ndimage.spline_filter1d(change, axis=0, mode='nearest'), axis=1, mode='nearest'
    )
    reach = max(MASK) * size * np.sqrt(2) / abs(a)
    centre = (size / 2 * (1 + 1j) - b) / a
    left, right = (int(np.clip(centre.real + r, 0, pixels.shape[1])) for r in (-reach, reach + 1))
    top, bottom = (int(np.clip(centre.imag + r, 0, pixels.shape[0])) for r in (-reach, reach + 1))
    for first in range(top, bottom, BAND):
        band = pixels[first : min(first + BAND, bottom), left:right]
        y, x = np.mgrid[: band.shape[0], : band.shape[1]] + 0.5  # centres of the pixels
        z = a * (x + left + 1j * (y + first)) + b
        mask = mask_at(z.real / size, z.imag / size)
        for channel in range(3):
            added = ndimage.map_coordinates(
                spline[..., channel], [z.imag - 0.5, z.real - 0.5], mode='nearest', prefilter=False
            )
            value = band[..., channel] + mask * added
            band[..., channel] = np.where(
                mask, np.clip(np.round(value), 0, 255), band[..., channel]
            )


def mask_at(x, y):
    """Return how much of a change counts at places of a crop, from 1 at its core to 0.

    Args:
        x, y: float arrays, in parts of the crop's width and height.
    """
    radius = np.hypot((x - 0.5) / MASK[0], (y - 0.5) / MASK[1])
    fade = np.clip((1 - radius) / (1 - MASK_CORE), 0, 1)
    return fade * fade * (3 - 2 * fade)
