"""From a picture's file to a face: what may be opened, and how it becomes 8-bit pixels."""

import contextlib
import io
import os
import stat
import threading
import warnings

import numpy as np
from PIL import Image, ImageOps

from data.console import InputError, is_lack_of_memory

# Pillow starts programs to open some other formats. So pictures are read by Pillow itself: imageio
# cannot limit the formats, nor does it show the size of a picture before decoding it.
FORMATS = ('BMP', 'GIF', 'JPEG', 'PNG', 'TIFF', 'WEBP')
# The largest picture that is decoded; a larger one is a mistake or an attack.
MAX_PIXELS = 90_000_000
MAX_SIDE = 65_535  # pixels, the limit of JPEG; resizing takes memory in proportion to the side
MAX_FILE_BYTES = 400_000_000  # some formats are read into memory as a whole
LARGE_PICTURE = 16_000_000  # pixels; larger pictures are decoded one at a time
_ONE_LARGE = threading.Lock()
# Pillow's own limit, for pictures that other libraries open; up to twice the limit it only warns.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.simplefilter('ignore', Image.DecompressionBombWarning)
warnings.filterwarnings('ignore', module='PIL')  # on damaged metadata; they do not name the file


class UnreadableError(InputError):
    """A file cannot be read as a picture; `reason` is a phrase that says why."""

    def __init__(self, image_path, reason):
        cure = 'replace or remove it' if os.path.isfile(image_path) else 'name a picture'
        super().__init__(f'{image_path} cannot be read as an image ({reason}): {cure}.')
        self.reason = reason


@contextlib.contextmanager
def open_picture(image_path, is_gray=False, on_white=False):
    """Decode a picture and turn it as its EXIF data say; only one large picture at a time.

    It is a file in one of FORMATS, whatever its name, or its content, bytes; of an animation, the
    first frame is read. 16-bit grey is stretched to 8 bits: the darkest pixel becomes 0, the
    brightest 255. Transparency is dropped, or put `on_white`. Yields a PIL image of mode L or RGB
    with the file's format.
    """
    mode = 'L' if is_gray else 'RGB'
    with contextlib.ExitStack() as stack:
        try:
            if isinstance(image_path, bytes):
                file, size, image_path = io.BytesIO(image_path), len(image_path), 'The upload'
            else:
                if not stat.S_ISREG(os.stat(image_path).st_mode):  # reading a pipe would wait
                    raise ValueError('no file')
                file, size = image_path, os.path.getsize(image_path)
            if size > MAX_FILE_BYTES:
                raise ValueError(f'more than {MAX_FILE_BYTES:,} bytes')
            with Image.open(file, formats=FORMATS) as image:
                width, height = image.size
                if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
                    raise Image.DecompressionBombError
                if width * height > LARGE_PICTURE:
                    stack.enter_context(_ONE_LARGE)
                image.load()
            file_format = image.format
            _turn(image)
            if image.mode.startswith(('I', 'F')):
                image = _from_16_bits(image)
            if on_white and image.has_transparency_data:
                image = image.convert('RGBA')
                image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
            if image.mode != mode:
                image = image.convert(mode)
            image.format = file_format
        except Exception as error:  # Pillow's decoders raise almost anything on damaged data
            if is_lack_of_memory(error):
                raise
            raise UnreadableError(image_path, _reason(error)) from error
        yield image


def _reason(error):
    if isinstance(error, Image.UnidentifiedImageError):
        return 'no picture of a known format'
    if isinstance(error, Image.DecompressionBombError):
        return f'more than {MAX_PIXELS:,} pixels, or than {MAX_SIDE:,} on a side'
    text = getattr(error, 'strerror', None) or str(error) or type(error).__name__
    return text.splitlines()[0]


def _turn(image):
    """Turn a picture as its EXIF data say; leave it as it is if they are damaged."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception as error:  # of almost any kind
        if is_lack_of_memory(error):
            raise


def _from_16_bits(image):
    """Stretch 16-bit grey to 8 bits; Pillow's own conversion turns all values over 255 white."""
    pixels = np.asarray(image)
    low, high = int(pixels.min()), int(pixels.max())
    if image.mode == 'F' or high - low >= 2**16:  # as TIFF can have
        raise ValueError('more than 16 bits a pixel')
    return Image.fromarray(_stretch(np.arange(low, high + 1), low, high)[pixels - low])


def _stretch(values, low, high):
    """Scale values so that low becomes 0 and high 255; round half up, clip, return uint8."""
    span = max(high - low, 1)
    return (((values - low) * 510 + span) // (2 * span)).clip(0, 255).astype(np.uint8)


def read_photo(image_path):
    """Read a picture like `open_picture`, on white if transparent, as a uint8 array [H, W, 3]."""
    with open_picture(image_path, on_white=True) as image:
        return np.asarray(image)


def read_face(image_path, image_size=128, is_gray=False):
    """Read a picture as the original program did, in 8 bits, but turned as its EXIF data say.

    Its values are stretched so that the darkest becomes 0 and the brightest 255: a side effect of
    `scipy.misc.imresize`, with which the published weights were trained. Then it is resized with
    antialiasing, whatever its aspect ratio.

    Args:
        image_path, is_gray: as `open_picture` takes them.
        image_size: S, the height and width of the result.

    Returns:
        uint8 array [S, S], or [S, S, 3] in colour.
    """
    with open_picture(image_path, is_gray) as image:
        return to_face(image, image_size)


def to_face(image, image_size=128):
    """Stretch and resize a PIL image of mode L or RGB as `read_face` does; return the array."""
    extrema = np.ravel(image.getextrema()).tolist()
    table = _stretch(np.arange(256), min(extrema), max(extrema)).tolist()
    image = image.point(table * len(image.getbands()))
    return np.asarray(image.resize((image_size, image_size), Image.Resampling.BILINEAR))
