#!/usr/bin/env bash
# For two unlike pictures tf.image.ssim_multiscale is 0 and its gradient is NaN in every pixel.
#
# Packages: tensorflow-cpu 2.21.0, keras 3.15.1, numpy 2.4.6 (Python 3.11).
# Expected: a finite gradient that leads towards the other picture, or zeros.
# Happens: where the contrast of two pictures runs opposite, the similarity of one scale is below
#   zero; it is set to 0 and raised to a power below 1. The slope of that power at 0 is infinite,
#   times the 0 of the step before: NaN. One scale out of five suffices, and one such picture of a
#   batch spoils the gradient of all weights. tf.image.ssim is fine.
# Seen on 2026-11-29:
#   a picture against itself, darker: MS-SSIM 0.995, NaN in 0% of the gradient
#   a picture against its negative: MS-SSIM 0.000, NaN in 100% of the gradient; SSIM -0.966, NaN
#     in 0%
# Who meets it: whoever trains a generator with MS-SSIM: its first pictures are unlike the true
#   ones.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --quiet tensorflow-cpu==2.21.0 keras==3.15.1 numpy==2.4.6
TF_CPP_MIN_LOG_LEVEL=2 "$work/env/bin/python" - <<'PYTHON'
import sys

import numpy as np
import tensorflow as tf

picture = tf.constant(np.random.default_rng(0).random((1, 192, 192, 3)).astype(np.float32))


def measure(metric, other):
    """Return the likeness of the two pictures and the share of NaN in its gradient."""
    with tf.GradientTape() as tape:
        tape.watch(other)
        likeness = metric(picture, other, max_val=1.0)
    gradient = tape.gradient(likeness, other).numpy()
    return float(likeness[0]), float(np.isnan(gradient).mean())


darker, nan_darker = measure(tf.image.ssim_multiscale, picture * 0.9)
print(
    f'a picture against itself, darker: MS-SSIM {darker:.3f},'
    f' NaN in {nan_darker:.0%} of the gradient'
)
negative, nan_negative = measure(tf.image.ssim_multiscale, 1 - picture)
plain, nan_plain = measure(tf.image.ssim, 1 - picture)
print(
    f'a picture against its negative: MS-SSIM {negative:.3f},'
    f' NaN in {nan_negative:.0%} of the gradient;'
    f' SSIM {plain:.3f}, NaN in {nan_plain:.0%}'
)
if negative != 0 or (nan_darker, nan_negative, nan_plain) != (0, 1, 0):
    sys.exit('Changed.')
PYTHON
