"""Damaged pictures: drawn faces that were cut, flipped, renamed or inflated; a seed decides all."""

import io
import os
import struct
import zlib

import numpy as np
from PIL import Image

from tests import draw_faces

FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP', 'GIF', 'TIFF')
SUFFIXES = ('.jpg', '.png', '.webp', '.bmp', '.gif', '.tif')
MODES = ('1', 'L', 'LA', 'P', 'RGBA')
HUGE = (20_000, 50_000)  # pixels, the sides of bombs


def encode(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return bytearray(file.getvalue())


def whole(face, random):
    return encode(face, random.choice(FORMATS))


def truncated(face, random):
    data = whole(face, random)
    return data[: random.randint(len(data))]


def bit_flipped(face, random):
    data = whole(face, random)
    for place in random.randint(0, len(data), random.randint(1, 30)):
        data[place] ^= 1 << random.randint(8)
    return data


def header_flipped(face, random):
    data = whole(face, random)
    for place in random.randint(0, 64, 3):
        data[place] = random.randint(256)
    return data


def zeroed(face, random):
    data = whole(face, random)
    start = random.randint(len(data))
    return data[:start] + bytes(len(data) - start)


def animated(face, random):
    frames = [face.rotate(90 * i) for i in range(3)]
    format = random.choice(['GIF', 'WEBP', 'PNG'])
    return encode(frames[0], format, save_all=True, append_images=frames[1:])


def deep(face, random):
    """16 bits of grey."""
    pixels = np.asarray(face.convert('L')).astype(np.uint16) * random.randint(1, 257)
    return encode(Image.fromarray(pixels), 'PNG')


def claim(data, width, height):
    """Write another size into the header of a PNG or BMP, in place."""
    if data[:2] == b'BM':
        data[18:26] = struct.pack('<II', width, height)
    else:
        data[16:24] = struct.pack('>II', width, height)
        data[29:33] = struct.pack('>I', zlib.crc32(data[12:29]))


def bomb(face, random):
    """A few bytes, or some hundred thousand, that claim to be a huge picture."""
    width, height = random.choice(HUGE, 2)
    data = encode(face, random.choice(FORMATS))
    if data[:2] in (b'\x89P', b'BM'):
        claim(data, width, height)
    elif data[:2] == b'\xff\xd8':
        start = data.index(b'\xff\xc0')
        data[start + 5 : start + 9] = struct.pack('>HH', height, width)
    elif data[:4] == b'RIFF':
        data[26:30] = b'\xff\x3f\xff\x3f'  # 16,383 each, WEBP's most
    elif data[:4] == b'II*\0':
        (start,) = struct.unpack_from('<I', data, 4)
        for entry in range(start + 2, start + 2 + 12 * data[start], 12):
            tag = struct.unpack_from('<H', data, entry)[0]
            if tag in (256, 257):  # width and height, as 32 bits
                value = width if tag == 256 else height
                struct.pack_into('<HII', data, entry + 2, 4, 1, value)
    else:  # GIF: the screen and its first frame
        data[6:10] = struct.pack('<HH', width, height)
        start = data.index(b',', 13 + 3 * 2 ** ((data[10] & 7) + 1))
        data[start + 5 : start + 9] = struct.pack('<HH', width, height)
    return data


def odd_header(face, random):
    """No pixels, or a side that is none."""
    width, height = random.choice([0, 2**32 - 1]), random.choice([0, 1, 2**31 - 1])
    data = encode(face, random.choice(['PNG', 'BMP']))
    claim(data, width, height)
    return data


KINDS = {
    'whole': whole,
    'truncated': truncated,
    'bit_flipped': bit_flipped,
    'header_flipped': header_flipped,
    'zeroed': zeroed,
    'empty': lambda face, random: b'',
    'blank': lambda face, random: bytes(random.randint(1, 5000)),
    'text': lambda face, random: b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n',
    # Formats that Pillow reads, but that are not those of faces.
    'other_format': lambda face, random: encode(face, random.choice(['PCX', 'TGA', 'PPM', 'EPS'])),
    'garbage_behind': lambda face, random: whole(face, random) + random.bytes(1000),
    'animated': animated,
    'deep': deep,
    'other_mode': lambda face, random: encode(face.convert(random.choice(MODES)), 'PNG'),
    'transparent': lambda face, random: encode(face.quantize(64), 'PNG', transparency=3),
    'cmyk': lambda face, random: encode(face.convert('CMYK'), 'JPEG'),
    'bomb': bomb,
    'odd_header': odd_header,
}
READABLE = ('whole', 'garbage_behind', 'animated', 'deep', 'other_mode', 'transparent', 'cmyk')
UNREADABLE = ('empty', 'blank', 'text', 'other_format', 'bomb', 'odd_header')
# So many whole ones between the others that more than half can be read.
ENOUGH_TO_TRAIN = (*KINDS, *('whole',) * 6)


def kind_of(name):
    return os.path.basename(name).split('_', 2)[2].split('.')[0].rstrip('0123456789')


def make_damaged(folder, count, seed=0, kinds=ENOUGH_TO_TRAIN):
    """Write `count` pictures, of the kinds in turn, with labels and kind in the names, a list."""
    random = np.random.RandomState(seed)
    faces = [draw_faces.draw_face(draw_faces.CENTRES[i], 0, seed=i) for i in range(10)]
    os.makedirs(folder, exist_ok=True)
    names = []
    for i in range(count):
        age, kind = i % 10, kinds[i % len(kinds)]
        data = KINDS[kind](faces[age], random)
        suffix = random.choice(SUFFIXES)  # of any format: often the wrong one
        names.append(f'{draw_faces.CENTRES[age]}_{i // 10 % 2}_{kind}{i:04d}{suffix}')
        with open(os.path.join(folder, names[-1]), 'wb') as file:
            file.write(data)
    return names
