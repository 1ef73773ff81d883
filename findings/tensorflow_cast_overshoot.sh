#!/usr/bin/env bash
# tf.cast of 300.0 to uint8 is 255 in most places of an array and 44 in the rest.
#
# Packages: tensorflow-cpu 2.21.0, keras 3.15.1, numpy 2.4.6 (Python 3.11).
# Expected: equal numbers of one array become equal numbers: all wrapped (300 - 256 = 44, as in
#   NumPy) or all clipped.
# Happens: whole vectors of the processor are clipped, what is left over is wrapped. A test with ten
#   numbers sees wrapping, a picture of 64 x 64 only clipping; a picture whose size does not divide
#   gets a few black dots among the white at its end, and a large one, shared by threads, within. -3
#   becomes 0 or 253 alike; int8, uint16 and float16 do the same. With jit_compile all are clipped.
# Seen on 2026-11-29, on a processor with AVX-512, arrays full of 300.0:
#   10 numbers:      10 are 44, 0 are 255
#   70 numbers:      6 are 44, 64 are 255
#   64 x 64 x 3:     0 are 44, 12288 are 255
#   65 x 65 x 3:     3 are 44, 12672 are 255
#   65 x 65 x 3 by XLA: 0 are 44, 12675 are 255; by saturate_cast: 0 are 44, 12675 are 255
#   65 x 65 x 3 of -3:  3 are 253, 12672 are 0
#   1001 x 777 x 3 on two cores: 147 are 44, in 8 places (the script does not test this)
#   The sizes depend on the processor; the script tests that one array holds both.
# Who meets it: whoever makes pictures of a network's output by tf.cast(x * 127.5 + 127.5,
#   tf.uint8), or of a bicubic resize, and relies on what a small test showed. tf.saturate_cast is
#   right everywhere.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --quiet tensorflow-cpu==2.21.0 keras==3.15.1 numpy==2.4.6
TF_CPP_MIN_LOG_LEVEL=3 "$work/env/bin/python" - 2>"$work/log" <<'PYTHON' ||
import sys

import numpy as np
import tensorflow as tf


def cast(numbers):
    return tf.cast(numbers, tf.uint8)


def count(integers, wrapped, clipped):
    """Return how many of the integers are the one and the other."""
    integers = np.ravel(integers)
    counts = int((integers == wrapped).sum()), int((integers == clipped).sum())
    if sum(counts) != integers.size:
        sys.exit('Changed: there are other numbers, too.')
    return counts


def text(counts, wrapped=44, clipped=255):
    return f'{counts[0]} are {wrapped}, {counts[1]} are {clipped}'


seen = {}
for shape in ((10,), (70,), (64, 64, 3), (65, 65, 3)):
    name = ' x '.join(map(str, shape)) + (' numbers' if len(shape) == 1 else '')
    seen[name] = count(cast(tf.fill(shape, 300.0)), 44, 255)
    print(f'{name + ":":16} {text(seen[name])}')

white = tf.fill((65, 65, 3), 300.0)
xla = count(tf.function(cast, jit_compile=True, autograph=False)(white), 44, 255)
saturated = count(tf.saturate_cast(white, tf.uint8), 44, 255)
print(f'65 x 65 x 3 by XLA: {text(xla)}; by saturate_cast: {text(saturated)}')
dark = count(cast(tf.fill((65, 65, 3), -3.0)), 253, 0)
print(f'65 x 65 x 3 of -3:  {text(dark, 253, 0)}')

large = np.ravel(cast(tf.fill((1001, 777, 3), 300.0))) == 44
places = np.count_nonzero(np.diff(large.astype(int), prepend=0) == 1)
print(f'1001 x 777 x 3: {np.count_nonzero(large)} are 44, in {places} places')

if not (
    seen['10 numbers'] == (10, 0)
    and all(0 < counts[0] < counts[1] for counts in (seen['65 x 65 x 3'], dark))
    and xla[0] == saturated[0] == 0
):
    sys.exit('Changed.')
PYTHON
  { cat "$work/log" && exit 1; }
