#!/usr/bin/env bash
# cv2.imread gives None for a TIFF that lies on its side, cv2.imdecode reads and turns the same
# file; an AVIF is turned by neither.
#
# Packages: opencv-python-headless 5.0.0.93, pillow 13.0.0, numpy 2.4.6 (Python 3.11). OpenCV 4.13
#   did the same.
# Expected: OpenCV heeds the orientation in every format alike; a file that imdecode reads is read
#   by imread.
# Happens: the reader for TIFF turns the picture itself, into a matrix of another shape than imread
#   had made ready, and imread gives up with a line on stderr; mirrored or upside down, the shape
#   stays and all is well. Of an AVIF the turn is passed over, although its container makes it part
#   of the picture. JPEG, PNG and WebP are turned by both.
# Seen on 2026-11-29, a picture of 60 x 40 saved by Pillow with Orientation 6, width x height:
#   Pillow:   JPEG 40 x 60, PNG 40 x 60, WEBP 40 x 60, AVIF 40 x 60, TIFF 40 x 60
#   imdecode: JPEG 40 x 60, PNG 40 x 60, WEBP 40 x 60, AVIF 60 x 40, TIFF 40 x 60
#   imread:   JPEG 40 x 60, PNG 40 x 60, WEBP 40 x 60, AVIF 60 x 40, TIFF None
#   orientations of a TIFF that imread reads: 1, 2, 3, 4
# Who meets it: whoever keeps photos as TIFF or AVIF with their EXIF data: the one looks like a
#   damaged file, in the other no face is found.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --quiet opencv-python-headless==5.0.0.93 pillow==13.0.0 \
  numpy==2.4.6
OPENCV_LOG_LEVEL=OFF "$work/env/bin/python" - "$work" <<'PYTHON'
import sys

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageOps

folder = sys.argv[1]


def save(name, orientation):
    """Save a picture of 60 x 40 with this orientation, and return its path."""
    path = f'{folder}/photo.{name}'
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.new('RGB', (60, 40), 'red').save(path, exif=exif)
    return path


def size(array):
    return 'None' if array is None else '{1} x {0}'.format(*array.shape)


readers = {'Pillow': {}, 'imdecode': {}, 'imread': {}}
for name in ('jpeg', 'png', 'webp', 'avif', 'tiff'):
    path = save(name, 6)
    with Image.open(path) as picture:
        upright = np.asarray(ImageOps.exif_transpose(picture))
    decoded = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    for reader, array in zip(readers, (upright, decoded, cv2.imread(path)), strict=True):
        readers[reader][name.upper()] = size(array)
for reader, sizes in readers.items():
    print(f'{reader + ":":9} {", ".join(f"{name} {text}" for name, text in sizes.items())}')
read = [number for number in range(1, 9) if cv2.imread(save('tiff', number)) is not None]
print(f'orientations of a TIFF that imread reads: {", ".join(map(str, read))}')

turned = ['40 x 60'] * 3
if [list(sizes.values()) for sizes in readers.values()] != [
    [*turned, '40 x 60', '40 x 60'],
    [*turned, '60 x 40', '40 x 60'],
    [*turned, '60 x 40', 'None'],
] or read != [1, 2, 3, 4]:
    sys.exit('Changed.')
PYTHON
