#!/usr/bin/env bash
# Pillow's BICUBIC is one filter in resize() and another, sharper one in transform() and rotate().
#
# Packages: pillow 13.0.0, numpy 2.4.6 (Python 3.11).
# Expected: enlarged to twice its size, a picture is the same by Image.resize and by the affine
#   Image.transform with the same Resampling.BICUBIC, but for its last bits.
# Happens: of the cubic filters with one parameter a (Keys 1981) resize takes a = -0.5 and transform
#   a = -1. The latter rings twice as much at an edge and amplifies fine grain. BILINEAR is the same
#   in both.
# Seen on 2026-11-30, floats, enlarged to twice the size:
#   an edge from 0 to 1: resize -0.070 to 1.070, transform -0.141 to 1.141
#   weights of a pixel: resize -0.023 -0.070 0.227 0.867 0.867 0.227 -0.070 -0.023
#   weights of a pixel: transform -0.047 -0.141 0.297 0.891 0.891 0.297 -0.141 -0.047
#   grain of deviation 1: resize 0.810, transform 0.905
#   largest difference by BILINEAR: 0.000
# Who meets it: whoever aligns faces by transform() for a network that saw resized ones, or replaces
#   a transform without rotation by the faster resize(), as we did.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --quiet pillow==13.0.0 numpy==2.4.6
"$work/env/bin/python" - <<'PYTHON'
import sys

import numpy as np
from PIL import Image

BICUBIC, BILINEAR = Image.Resampling.BICUBIC, Image.Resampling.BILINEAR


def enlarged(array, filter):
    """Return a square array at twice its size, by resize and by transform."""
    picture = Image.fromarray(array.astype(np.float32))
    size = 2 * len(array), 2 * len(array)
    twice = [0.5, 0, 0, 0, 0.5, 0]
    ways = picture.resize(size, filter), picture.transform(size, Image.AFFINE, twice, filter)
    return [np.asarray(way, np.float64)[8:-8, 8:-8] for way in ways]  # without the borders


edge = np.tile(np.arange(40) >= 20, (40, 1))
edges = enlarged(edge, BICUBIC)
said = [f'{x.min():.3f} to {x.max():.3f}' for x in edges]
print(f'an edge from 0 to 1: resize {said[0]}, transform {said[1]}')

line = np.tile(np.arange(40) == 20, (40, 1))
weights = [x[32, 29:37] for x in enlarged(line, BICUBIC)]
for name, values in zip(('resize', 'transform'), weights, strict=True):
    print(f'weights of a pixel: {name} ' + ' '.join(f'{value:.3f}' for value in values))

grain = np.random.default_rng(0).normal(size=(400, 400))
deviations = [x.std() for x in enlarged(grain, BICUBIC)]
print('grain of deviation 1: resize {:.3f}, transform {:.3f}'.format(*deviations))
one, other = enlarged(grain, BILINEAR)
print(f'largest difference by BILINEAR: {np.abs(one - other).max():.3f}')

overshoot = [-x.min() for x in edges]
if not (
    np.abs(overshoot[1] - 2 * overshoot[0]) < 0.001
    and overshoot[0] > 0.05
    and deviations[1] > 1.1 * deviations[0]
    and np.abs(one - other).max() < 0.001
):
    sys.exit('Changed.')
PYTHON
