#!/usr/bin/env bash
# Read as grey, a PNG that says "sRGB" has other greys for TensorFlow than the same PNG without the
# note.
#
# Packages: tensorflow-cpu 2.21.0, keras 3.15.1, pillow 12.3.0, numpy 2.4.6 (Python 3.11).
# Expected: channels=1 weighs red, green and blue as tf.image.rgb_to_grayscale, Pillow and JPEG do;
#   a chunk that names the colour space changes no pixel, as it changes none with channels=3.
# Happens: decode_png leaves grey to libpng, and libpng computes it in linear light when it knows
#   the gamma: from an sRGB or gAMA chunk, not from a colour profile. Saturated colours become much
#   lighter. decode_image and so Keras' image_dataset_from_directory(color_mode="grayscale") do the
#   same; load_img does not. In a folder whose files come from several programs the colour of lips
#   and clothes means two things.
# Seen on 2026-11-29, red, green, blue, grey, skin and lips; the colours themselves are equal:
#   plain PNG:          76 149 29 128 161 102
#   sRGB chunk:         147 200 95 128 164 117
#   gAMA chunk:         147 200 95 128 164 117
#   sRGB as a profile:  76 149 29 128 161 102
#   sRGB chunk, dataset from directory: 147 200 95 128 164 117; load_img: 76 150 29 128 162 103
# Who meets it: whoever trains on grey faces from PNG files of mixed origin. Decoding three channels
#   and tf.image.rgb_to_grayscale are safe.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --quiet tensorflow-cpu==2.21.0 keras==3.15.1 \
  pillow==12.3.0 numpy==2.4.6
mkdir "$work/faces"
TF_CPP_MIN_LOG_LEVEL=3 "$work/env/bin/python" - "$work/faces" 2>"$work/log" <<'PYTHON' ||
import io
import struct
import sys

import keras
import numpy as np
import tensorflow as tf
from PIL import Image, ImageCms, PngImagePlugin

folder = sys.argv[1]
colours = np.array(
    [[255, 0, 0], [0, 255, 0], [0, 0, 255], [128, 128, 128], [200, 150, 120], [180, 70, 70]],
    np.uint8,
)[None]


def png(*chunks, **options):
    """Return the colours as PNG with these chunks."""
    notes = PngImagePlugin.PngInfo()
    for name, contents in chunks:
        notes.add(name, contents)
    file = io.BytesIO()
    Image.fromarray(colours).save(file, 'PNG', pnginfo=notes, **options)
    return file.getvalue()


def text(greys):
    return ' '.join(str(int(grey)) for grey in np.ravel(greys))


profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
marked = png((b'sRGB', b'\0'))
files = {
    'plain PNG': png(),
    'sRGB chunk': marked,
    'gAMA chunk': png((b'gAMA', struct.pack('>I', 45455))),
    'sRGB as a profile': png(icc_profile=profile),
}
seen = {}
for name, contents in files.items():
    seen[name] = text(tf.io.decode_png(contents, channels=1))
    print(f'{name + ":":19} {seen[name]}')
    if not np.array_equal(tf.io.decode_png(contents, channels=3), colours):
        sys.exit('Changed: the colours differ, too.')
    if text(tf.io.decode_image(contents, channels=1)) != seen[name]:
        sys.exit('Changed: decode_image differs.')

with open(f'{folder}/marked.png', 'wb') as file:
    file.write(marked)
batches = keras.utils.image_dataset_from_directory(
    folder, labels=None, color_mode='grayscale', image_size=(1, 6), interpolation='nearest',
    shuffle=False, verbose=False,
)  # fmt: skip
dataset = text(next(iter(batches)))
loaded = text(keras.utils.load_img(f'{folder}/marked.png', color_mode='grayscale'))
print(f'sRGB chunk, dataset from directory: {dataset}; load_img: {loaded}')

plain, light = '76 149 29 128 161 102', '147 200 95 128 164 117'
if list(seen.values()) != [plain, light, light, plain] or dataset != light:
    sys.exit('Changed.')
usual = np.array(plain.split(), int)
for others in (np.array(loaded.split(), int), np.ravel(tf.image.rgb_to_grayscale(colours))):
    if np.abs(others - usual).max() > 1:
        sys.exit('Changed: the other ways to grey.')
PYTHON
  { cat "$work/log" && exit 1; }
