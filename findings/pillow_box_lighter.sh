#!/usr/bin/env bash
# Halved by Pillow's BOX filter, a picture gets half a grey value lighter, every time.
#
# Packages: pillow 13.0.0, opencv-python-headless 5.0.0.93, numpy 2.4.6 (Python 3.11).
# Expected: a pixel of the result is the mean of four, rounded: at most 0.5 away and on average
#   equal.
# Happens: Pillow resizes rows, rounds, then columns, and rounds again, each time half up; with two
#   pixels at a time every other sum ends in a half. A pixel can be a whole value too light, never
#   too dark: the mean of 1, 0, 0 and 0 is 1. Halving again adds up. BILINEAR has a quarter of that,
#   BICUBIC and LANCZOS have none; Image.reduce() and OpenCV round once. On floats all is exact.
# Seen on 2026-11-29, a photo-like picture, mean grey value of the small picture minus the large
#   one's:
#   resized once to half: BOX +0.49, BILINEAR +0.12, BICUBIC +0.00, reduce(2) +0.12, OpenCV's area
#     +0.12
#   halved four times by BOX: +0.49, +0.98, +1.47, +1.97; as floats +0.00
#   error of a pixel of BOX: +0.00 to +1.00
#   of 1, 0, 0, 0: BOX 1, reduce(2) 0
# Who meets it: whoever builds a pyramid or small faces by BOX and compares brightness, or tests a
#   resizing against means of its own.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --quiet pillow==13.0.0 opencv-python-headless==5.0.0.93 \
  numpy==2.4.6
"$work/env/bin/python" - <<'PYTHON'
import sys

import cv2
import numpy as np
from PIL import Image

BOX, BILINEAR, BICUBIC = (Image.Resampling[name] for name in ('BOX', 'BILINEAR', 'BICUBIC'))
y, x = np.mgrid[:512, :512]
grain = np.random.default_rng(0).normal(0, 3, x.shape)
array = np.round(100 + 60 * np.sin(x / 37) + 50 * np.cos(y / 53) + grain).clip(0, 255)
array = array.astype(np.uint8)
picture = Image.fromarray(array)


def lighter(small):
    return float(np.mean(small, dtype=np.float64) - np.mean(array, dtype=np.float64))


def halved(picture, times):
    for _ in range(times):
        picture = picture.resize((picture.width // 2, picture.height // 2), BOX)
    return picture


box = picture.resize((256, 256), BOX)
once = {
    'BOX': box,
    'BILINEAR': picture.resize((256, 256), BILINEAR),
    'BICUBIC': picture.resize((256, 256), BICUBIC),
    'reduce(2)': picture.reduce(2),
    "OpenCV's area": cv2.resize(array, (256, 256), interpolation=cv2.INTER_AREA),
}
once = {way: lighter(small) for way, small in once.items()}
print('resized once to half: ' + ', '.join(f'{way} {more:+.2f}' for way, more in once.items()))

pyramid = [lighter(halved(picture, times)) for times in (1, 2, 3, 4)]
floats = lighter(halved(Image.fromarray(array.astype(np.float32)), 4))
print(
    f'halved four times by BOX: {", ".join(f"{more:+.2f}" for more in pyramid)};'
    f' as floats {floats:+.2f}'
)
error = np.asarray(box) - array.reshape(256, 2, 256, 2).mean((1, 3))
print(f'error of a pixel of BOX: {error.min():+.2f} to {error.max():+.2f}')
one = Image.fromarray(np.uint8([[1, 0], [0, 0]]))
ones = [np.asarray(small).item() for small in (one.resize((1, 1), BOX), one.reduce(2))]
print(f'of 1, 0, 0, 0: BOX {ones[0]}, reduce(2) {ones[1]}')

steps = np.diff([0, *pyramid])
if not (
    (np.abs(steps - 0.5) < 0.05).all()
    and abs(floats) < 0.001
    and [error.min(), error.max()] == [0, 1]
    and ones == [1, 0]
    and np.abs(np.array(list(once.values())[1:]) - [0.125, 0, 0.125, 0.125]).max() < 0.05
):
    sys.exit('Changed.')
PYTHON
