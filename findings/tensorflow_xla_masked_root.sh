#!/usr/bin/env bash
# The gradient of a masked square root is 0 without XLA and NaN with it: jit_compile=True destroys a
# network that trained well.
#
# Packages: tensorflow-cpu 2.21.0, keras 3.15.1, numpy 2.4.6 (Python 3.11).
# Expected: tf.where(mask, tf.sqrt(x), 0.0) has a NaN gradient where x is 0 or less, masked or not,
#   which is a known trap; it springs at the first step, with and without XLA.
# Happens: TensorFlow's own kernel for the gradient of sqrt gives 0 where 0 arrives, so a masked
#   sqrt or tf.norm works on a CPU, eagerly and in a graph. XLA multiplies 0 by infinity. Of x **
#   0.5, a logarithm and a quotient the gradient is NaN either way.
# Seen on 2026-11-29, the gradient for masked places, eagerly, in a graph, by XLA:
#   sqrt of 0: 0.0, 0.0, nan
#   sqrt of -1: 0.0, 0.0, nan
#   tf.norm of zeros: 0.0, 0.0, nan
#   0 ** 0.5: nan, nan, nan
#   sqrt of 0, with 1 in its place below the root: 0.0, 0.0, 0.0
#   Dense weight after a step of fit with a masked distance: jit_compile=False 0.93,
#     jit_compile=True nan
# Who meets it: whoever trains with a distance between landmarks, some of them missing, or a
#   gradient penalty, and compiles the step to make it faster.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --quiet tensorflow-cpu==2.21.0 keras==3.15.1 numpy==2.4.6
TF_CPP_MIN_LOG_LEVEL=3 "$work/env/bin/python" - 2>"$work/log" <<'PYTHON' ||
import sys

import keras
import numpy as np
import tensorflow as tf


def gradients(function, x):
    """Return the gradient of the masked function at x: eagerly, in a graph and by XLA."""

    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            masked = tf.where(x > 2, function(x), 0.0)
        return tape.gradient(masked, x)

    ways = [step] + [tf.function(step, jit_compile=xla, autograph=False) for xla in (False, True)]
    return [float(way(tf.constant(x))) for way in ways]


seen = {
    'sqrt of 0': gradients(tf.sqrt, 0.0),
    'sqrt of -1': gradients(tf.sqrt, -1.0),
    'tf.norm of zeros': gradients(lambda x: tf.norm(tf.stack([x, x])), 0.0),
    '0 ** 0.5': gradients(lambda x: x**0.5, 0.0),
    'sqrt of 0, with 1 in its place below the root': gradients(
        lambda x: tf.sqrt(tf.where(x > 2, x, 1.0)), 0.0
    ),
}
for name, values in seen.items():
    print(f'{name}: {", ".join(map(str, values))}')


def distance(true, predicted):
    """Return the mean distance of the points, where there are any."""
    squares = tf.reduce_sum(tf.square(true - predicted), axis=-1)
    return tf.reduce_mean(tf.where(squares > 0, tf.sqrt(squares), 0.0))


points = np.float32([[0, 0], [1, 0]])
weights = []
for xla in (False, True):
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(2, use_bias=False, kernel_initializer='ones')]
    )
    model.compile(keras.optimizers.SGD(0.2), loss=distance, jit_compile=xla)
    model.fit(points, np.zeros_like(points), verbose=0)
    weights.append(float(model.get_weights()[0][0, 0]))
print(
    'Dense weight after a step of fit with a masked distance:'
    f' jit_compile=False {weights[0]:.2f}, jit_compile=True {weights[1]:.2f}'
)
nan = float('nan')
wanted = [[0, 0, nan]] * 3 + [[nan] * 3, [0] * 3]
if not (
    np.array_equal(list(seen.values()), wanted, equal_nan=True)
    and np.isfinite(weights[0])
    and np.isnan(weights[1])
):
    sys.exit('Changed.')
PYTHON
  { cat "$work/log" && exit 1; }
