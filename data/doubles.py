"""Find pictures of the same photo, however large, compressed, mirrored, bright or framed.

Two pictures are compared by the low frequencies of their luminance, the higher ones weighted up:
faces differ in these, while size, compression and light change them little. Towards the border
pixels count less, so that a frame or a black corner does not hide a copy. UTKFace's pairs around
SAME were looked at by eye: beyond it they are one photo, but for some babies on white; from 0.88 up
to it most are too, for example pictures cut out a little aside.
"""

import itertools
import os
import shlex
import warnings

import numpy as np
from PIL import Image

from data.console import Progress

SIDE = 32  # pixels, height and width of a thumbnail
FREQUENCIES = 16  # of the cosine transform, in height and in width
WEIGHT = 1.5  # power of the frequency by which it is weighted
SAME = 0.9  # correlation from which two pictures are taken for the same photo
FLAT = 2  # grey levels: with a smaller deviation a picture is like no other
BLOCK = 512  # pictures that are compared at once with as many others; more leave the caches


def room(count: int) -> np.ndarray:
    """Return an array for the thumbnails of `count` pictures, black ones."""
    return np.zeros([count, SIDE, SIDE], np.uint8)


def thumbnail(image: Image.Image) -> np.ndarray:
    """Return a PIL image of mode L or RGB as uint8 array [SIDE, SIDE], its luminance."""
    return np.asarray(image.convert('L').resize((SIDE, SIDE), Image.Resampling.BOX))


def find(thumbnails: np.ndarray) -> np.ndarray:
    """Group pictures by photo, with a progress bar where they are many.

    Each is compared with each: 23,086 take 2.5 seconds on two cores, and ten times as many a
    hundred times as long. Returns [N], for each thumbnail the index of the first of its photo.
    """
    photos = np.arange(len(thumbnails))
    even, odd = _describe(thumbnails)
    starts = range(0, len(thumbnails), BLOCK)
    blocks = [*itertools.combinations_with_replacement(starts, 2)]
    for a, b in Progress(blocks, 'Comparing', unit=' blocks', disable=len(blocks) < 2):
        one, other = slice(a, a + BLOCK), slice(b, b + BLOCK)
        alike, turned = even[one] @ even[other].T, odd[one] @ odd[other].T
        alike += np.abs(turned, out=turned)  # in a mirrored picture the odd part is negative
        first, second = np.nonzero(alike > SAME)
        _join(photos, first + a, second + b)
    return photos


def _join(photos, first, second):
    """Make one photo, in place, of the photos of each pair of pictures, indices [P]."""
    while (photos[first] != photos[second]).any():
        low, high = np.sort([photos[first], photos[second]], axis=0)
        np.minimum.at(photos, high, low)
        while (photos[photos] != photos).any():
            photos[:] = photos[photos]


def spread(photos: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return a bool array [N], whether one of the same photo is chosen, from such an array."""
    return np.isin(photos, photos[chosen])


def groups(photos: np.ndarray) -> list[np.ndarray]:
    """Return the photos that are there more than once, int arrays of ascending indices."""
    order = np.argsort(photos, kind='stable')
    starts = np.flatnonzero(np.diff(photos[order])) + 1
    return [group for group in np.split(order, starts) if len(group) > 1]


def warn(folder: str, photos: np.ndarray) -> None:
    """Warn of photos of a data set that are there more than once; say how to keep one of each."""
    if copies := groups(photos):
        datadir, name = os.path.split(os.path.normpath(folder))
        words = ['python', '-m', 'data.check', name, '--datadir', datadir or '.', '--csv', 'True']
        warnings.warn(
            f'{len(copies):,} photos in {folder} are there more than once, as '
            f'{sum(map(len, copies)):,} faces: {shlex.join(words)} keeps one face of each.',
            stacklevel=3,
        )


def _describe(thumbnails):
    """Return the even and odd halves of descriptors [N, ...] of length 1, 0 for flat pictures."""
    frequencies = np.arange(FREQUENCIES)
    place = (np.arange(SIDE) + 0.5) / SIDE
    cosines = np.cos(np.pi * frequencies[:, None] * place) * np.sqrt(2 / SIDE)
    cosines[0] /= np.sqrt(2)
    cosines = cosines.astype(np.float32)
    window = np.sqrt(np.sin(np.pi * place)).astype(np.float32)
    window = window[:, None] * window
    weights = np.hypot(frequencies[:, None], frequencies) ** np.float32(WEIGHT)  # 0 for the mean
    even, odd = (np.zeros([len(thumbnails), FREQUENCIES**2 // 2], np.float32) for _ in range(2))
    for first in range(0, len(thumbnails), BLOCK):
        block = slice(first, first + BLOCK)
        pixels = thumbnails[block].astype(np.float32)
        pixels -= (pixels * window).sum(axis=(1, 2), keepdims=True) / window.sum()
        waves = cosines @ (pixels * window) @ cosines.T
        waves[:, 0, 0] = 0
        is_flat = np.linalg.norm(waves, axis=(1, 2), keepdims=True) < FLAT * SIDE
        waves *= weights
        length = np.linalg.norm(waves, axis=(1, 2), keepdims=True)
        waves /= np.where(is_flat, np.inf, length)
        even[block] = waves[:, :, 0::2].reshape(len(waves), -1)
        odd[block] = waves[:, :, 1::2].reshape(len(waves), -1)
    return even, odd
