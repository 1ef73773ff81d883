"""From a picture's file to a face: what may be opened, and how it becomes 8-bit pixels."""

import contextlib
import os
import stat
import threading
import warnings

import numpy as np
from PIL import Image, ImageOps

from data.console import InputError

FORMATS = ('BMP', 'GIF', 'JPEG', 'PNG', 'WEBP')  # Pillow opens others by starting programs
# The largest picture that is decoded. More is a mistake or an attack, not a face.
MAX_PIXELS = 90_000_000
MAX_SIDE = 65_535  # pixels, JPEG's; a resize to a small square takes memory by the side's length
MAX_FILE_BYTES = 400_000_000  # some formats are read into memory as a whole
LARGE_PICTURE = 16_000_000  # pixels; above, pictures are decoded one at a time
_ONE_LARGE = threading.Lock()
# Pillow's own limit, for pictures that others open: it only warns of what has up to twice of it.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.simplefilter('ignore', Image.DecompressionBombWarning)


class UnreadableError(InputError):
    """A file cannot be read as a picture; `reason` says why, in a few words."""

    def __init__(self, image_path, reason):
        super().__init__(
            f'{image_path} cannot be read as an image ({reason}): replace or remove it.'
        )
        self.reason = reason


@contextlib.contextmanager
def open_picture(image_path, is_gray=False, as_seen=False):
    """Decode a picture; while a large one is in use, no other is decoded.

    Args:
        image_path: a file of any of FORMATS, whatever its name; of an animation, the first frame.
        is_gray: True for luminance, False for RGB. Transparency is dropped. Grey of 16 bits is
            stretched over the 8, so that the darkest becomes 0 and the brightest 255.
        as_seen: turn it as its EXIF data say, and show transparency white.

    Yields:
        PIL image of mode L or RGB.

    Raises:
        UnreadableError: the file is missing, damaged, no picture or too large.
    """
    mode = 'L' if is_gray else 'RGB'
    with contextlib.ExitStack() as stack:
        try:
            if not stat.S_ISREG(os.stat(image_path).st_mode):  # a pipe would be waited for
                raise ValueError('no file')
            if os.path.getsize(image_path) > MAX_FILE_BYTES:
                raise ValueError(f'more than {MAX_FILE_BYTES:,} bytes')
            with Image.open(image_path, formats=FORMATS) as image:
                width, height = image.size
                if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
                    raise Image.DecompressionBombError
                if width * height > LARGE_PICTURE:
                    stack.enter_context(_ONE_LARGE)
                image.load()
            if as_seen:
                image = ImageOps.exif_transpose(image)
            if image.mode.startswith('I'):
                image = _from_16_bits(image)
            if as_seen and image.has_transparency_data:
                image = image.convert('RGBA')
                image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
            if image.mode != mode:
                image = image.convert(mode)
        except Exception as error:  # Pillow's decoders raise almost anything on damaged data
            raise UnreadableError(image_path, _reason(error)) from error
        yield image


def _reason(error):
    """Return in a few words why a picture cannot be read."""
    if isinstance(error, Image.UnidentifiedImageError):
        return 'no picture of a known format'
    if isinstance(error, Image.DecompressionBombError):
        return f'more than {MAX_PIXELS:,} pixels, or than {MAX_SIDE:,} on a side'
    text = getattr(error, 'strerror', None) or str(error) or type(error).__name__
    return text.splitlines()[0]


def _from_16_bits(image):
    """Stretch grey of 16 bits over 8; Pillow's own conversion makes white of all above 255."""
    pixels = np.asarray(image)
    low, high = int(pixels.min()), int(pixels.max())
    return Image.fromarray(_stretch(np.arange(low, high + 1), low, high)[pixels - low])


def _stretch(values, low, high):
    """Scale values so that those from low to high become 0 to 255, rounding half up; uint8."""
    span = max(high - low, 1)
    return (((values - low) * 510 + span) // (2 * span)).clip(0, 255).astype(np.uint8)


def read_photo(image_path):
    """Read a picture as people see it: turned as its EXIF data say, transparency shown white.

    Returns:
        uint8 array [H, W, 3]; of an animation, the first frame.

    Raises:
        UnreadableError: as `open_picture`.
    """
    with open_picture(image_path, as_seen=True) as image:
        return np.asarray(image)


def read_face(image_path, image_size=128, is_gray=False):
    """Read a picture as the original did, in 8 bits.

    Its values are stretched so that the darkest becomes 0 and the brightest 255 (a side effect
    of `scipy.misc.imresize` that the published weights were trained on), then it is resized
    with antialiasing, without regard to its aspect ratio.

    Args:
        image_path, is_gray: as `open_picture` takes them.
        image_size: S, the height and width of the result.

    Returns:
        uint8 array [S, S], or [S, S, 3] in colour.

    Raises:
        UnreadableError: as `open_picture`.
    """
    with open_picture(image_path, is_gray) as image:
        return to_face(image, image_size)


def to_face(image, image_size=128):
    """Stretch and resize a PIL image of mode L or RGB as `read_face` does; return the array."""
    extrema = np.ravel(image.getextrema()).tolist()
    table = _stretch(np.arange(256), min(extrema), max(extrema)).tolist()
    image = image.point(table * len(image.getbands()))
    return np.asarray(image.resize((image_size, image_size), Image.Resampling.BILINEAR))
