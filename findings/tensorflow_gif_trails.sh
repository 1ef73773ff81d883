#!/usr/bin/env bash
# tf.io.decode_gif never wipes: in a transparent animation every frame keeps what the frames before
# it showed.
#
# Packages: tensorflow-cpu 2.21.0, keras 3.15.1, pillow 12.3.0, numpy 2.4.6 (Python 3.11).
# Expected: a GIF whose frames say "restore to background" (disposal 2) looks the same for
#   TensorFlow as for Pillow: a square that moves is one square in each frame.
# Happens: TensorFlow lays each frame over the one before and heeds no disposal: the square leaves a
#   trail, and a test with frames that are not transparent does not show it.
# Seen on 2026-11-29, pixels of a square of 4 x 4 that moves by its own width:
#   Pillow:     16, 16, 16, 16, 16
#   TensorFlow: 16, 32, 48, 64, 80
# Who meets it: whoever reads stickers or animations with a transparent ground by tf.io.decode_gif
#   or tf.io.decode_image.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --quiet tensorflow-cpu==2.21.0 keras==3.15.1 \
  pillow==12.3.0 numpy==2.4.6
TF_CPP_MIN_LOG_LEVEL=2 "$work/env/bin/python" - "$work/square.gif" <<'PYTHON'
import sys

import numpy as np
import tensorflow as tf
from PIL import Image, ImageSequence

path = sys.argv[1]
frames = []
for i in range(5):
    frame = np.zeros((24, 24, 4), np.uint8)
    frame[4 * i : 4 * i + 4, 4:8] = 255, 200, 20, 255
    frames.append(Image.fromarray(frame))
frames[0].save(path, save_all=True, append_images=frames[1:], duration=100, disposal=2)

with Image.open(path) as animation:
    pillow = [np.asarray(frame.convert('RGBA')) for frame in ImageSequence.Iterator(animation)]
with open(path, 'rb') as file:
    contents = file.read()
seen = {
    'Pillow': [int((frame[..., 3] > 0).sum()) for frame in pillow],
    'TensorFlow': [
        int((frame[..., 0] > 200).sum()) for frame in tf.io.decode_gif(contents).numpy()
    ],
    'decode_image': [
        int((frame[..., 0] > 200).sum()) for frame in tf.io.decode_image(contents).numpy()
    ],
}
for reader in ('Pillow', 'TensorFlow'):
    print(f'{reader + ":":11} {", ".join(map(str, seen[reader]))}')
trail = [16, 32, 48, 64, 80]
if seen != {'Pillow': [16] * 5, 'TensorFlow': trail, 'decode_image': trail}:
    sys.exit('Changed.')
PYTHON
