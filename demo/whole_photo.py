"""Change faces in their photos, at the photos' own resolution.

The change that a model makes is smooth and 128 pixels wide. It is scaled up, turned and moved to
the face's place in the photo, and added there under a soft mask: skin, hair and background keep
their sharpness, and nothing is changed outside of the face's surroundings.
"""

import concurrent.futures
import typing

import numpy as np
from PIL import Image
from scipy import ndimage

import ops
from data import detector, limits
from demo import likeness, portraits

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


def change_face(pixels: np.ndarray, portrait: portraits.Portrait, face: np.ndarray):
    """Change a portrait's face in its photo, in place, into how `portraits.show` shows it."""
    add_change(pixels, portrait.landmarks, (face - portrait.image) * 127.5)


def change_photo(
    people: list[portraits.Portrait], faces: list[np.ndarray]
) -> typing.Iterator[np.ndarray]:
    """Yield a photo N times, uint8 [H, W, 3], with its people as `portraits.show` shows each."""
    for shown in zip(*faces, strict=True):
        pixels = people[0].photo.pixels.copy()
        for portrait, face in zip(people, shown, strict=True):
            change_face(pixels, portrait, face)
        yield pixels


def show_tiles(
    method: likeness.AgingMethod,
    portrait: portraits.Portrait,
    years: typing.Sequence[float],
    gender: str,
    age_shift: float | None = None,
    strength: float | None = None,
) -> np.ndarray:
    """Show a face as it is in its photo, then at N ages: uint8 [1 + N, TILE, TILE, 3].

    The arguments are those of `portraits.show`. What is finer than the model's pixels is the
    photo's, but with likeness 0, which is the paper's method.
    """
    faces = portraits.show(method, portrait, years, gender, age_shift, strength)
    crop = detector.cut_out(portrait.photo.pixels, portrait.landmarks, TILE)
    tiles = np.repeat(crop[None], 1 + len(faces), axis=0)
    for tile, face in zip(tiles[1:], faces, strict=True):
        if method.likeness if strength is None else strength:
            add_change(tile, detector.PLACES * TILE, (face - portrait.image) * 127.5)
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
    rows, columns = surroundings(landmarks, pixels.shape)

    def change_band(top):
        band = pixels[top : min(top + BAND, rows.stop), columns]
        origin = a * complex(columns.start, top) + b + margin * (1 + 1j)
        place = [a.real, -a.imag, origin.real, a.imag, a.real, origin.imag]
        for i, channel in enumerate(channels):
            added = channel.transform(
                band.shape[1::-1], Image.Transform.AFFINE, place, Image.Resampling.BICUBIC
            )
            band[:, :, i] = np.clip(np.rint(band[:, :, i] + added), 0, 255)

    with concurrent.futures.ThreadPoolExecutor(limits.cpu_count()) as pool:
        list(pool.map(change_band, range(rows.start, rows.stop, BAND)))  # raises their errors


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
