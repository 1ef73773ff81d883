#!/usr/bin/env bash
# After training, a layer in SpectralNormalization does not have the spectral norm 1.
#
# Packages: tensorflow-cpu 2.21.0, keras 3.15.1, numpy 2.4.6 (Python 3.11).
# Expected: the wrapper keeps the largest singular value of the kernel near 1 wherever the layer is
#   used, and the gradient is that of the normalised layer, as in the paper: at a right angle to the
#   kernel.
# Happens: it divides the kernel in place, before a training step only. The optimizer's step comes
#   after that, so every prediction and every saved file uses a kernel that is not normalised; the
#   gradient does not know the division, and can go along the kernel alone.
# Seen on 2026-11-29, a Dense layer trained to give three times its input, SGD of 0.5:
#   spectral norm after fit: 1.59
#   a call with training=True: 1.00, and the same input is now predicted differently by 1.85
#   cosine of gradient and kernel: -0.99
# Who meets it: whoever wraps a discriminator for a GAN and uses or measures it outside of a
#   training step.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --quiet tensorflow-cpu==2.21.0 keras==3.15.1 numpy==2.4.6
TF_CPP_MIN_LOG_LEVEL=2 KERAS_BACKEND=tensorflow "$work/env/bin/python" - <<'PYTHON'
import sys

import keras
import numpy as np
import tensorflow as tf

keras.utils.set_random_seed(0)
x = np.random.default_rng(0).standard_normal((64, 4)).astype(np.float32)
wrapper = keras.layers.SpectralNormalization(
    keras.layers.Dense(4, use_bias=False), power_iterations=10
)
model = keras.Sequential([keras.Input((4,)), wrapper])
model.compile(keras.optimizers.SGD(0.5), 'mse')
model.fit(x, 3 * x, epochs=5, verbose=0)


def norm():
    return np.linalg.svd(wrapper.layer.kernel.numpy(), compute_uv=False)[0]


trained = norm()
before = model.predict(x, verbose=0)
with tf.GradientTape() as tape:
    loss = tf.reduce_mean((model(x, training=True) - 3 * x) ** 2)
gradient = tape.gradient(loss, wrapper.layer.kernel.value).numpy()
kernel = wrapper.layer.kernel.numpy()
called = norm()
moved = np.abs(model.predict(x, verbose=0) - before).max()
cosine = (gradient * kernel).sum() / np.linalg.norm(gradient) / np.linalg.norm(kernel)
print(f'spectral norm after fit: {trained:.2f}')
print(
    f'a call with training=True: {called:.2f},'
    f' and the same input is now predicted differently by {moved:.2f}'
)
print(f'cosine of gradient and kernel: {cosine:.2f}')
if trained < 1.3 or abs(called - 1) > 0.02 or moved < 0.5 or abs(cosine) < 0.2:
    sys.exit('Changed.')
PYTHON
