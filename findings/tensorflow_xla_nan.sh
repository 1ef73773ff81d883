#!/usr/bin/env bash
# Compiled by XLA, the largest of some numbers is never NaN: a check for NaN by reduce_max passes.
#
# Packages: tensorflow-cpu 2.21.0, keras 3.15.1, numpy 2.4.6 (Python 3.11).
# Expected: a NaN among the numbers makes the maximum NaN, in NumPy and in TensorFlow with and
#   without jit_compile; so one reduce_max over gradients or activations tells whether all is well.
# Happens: on a CPU, XLA's reduction compares, and every comparison with NaN is false, so the NaN is
#   passed over. Of NaN alone the maximum is -inf and the minimum inf. argmax differs, too. The same
#   model therefore predicts NaN before and finite numbers after jit_compile=True. Max pooling loses
#   the NaN either way: four of them become the lowest float without XLA and -inf with it, and a
#   ReLU makes 0 of that.
# Seen on 2026-11-29:
#   reduce_max of [1, nan]: nan, with XLA 1.0; reduce_min: nan, with XLA 1.0; reduce_sum: nan, with
#     XLA nan
#   argmax of [1, nan]: 0, with XLA 1
#   MaxPooling2D of one nan and three ones: 1.0, with XLA 1.0; of four nan, then ReLU: 0.0, with XLA
#     0.0
#   model ending in GlobalMaxPooling2D, an input of nan and ones: predicts nan, with jit_compile 1.0
# Who meets it: whoever stops a training, skips a step or scales a loss by the largest gradient, and
#   compiles the step; whoever looks for NaN in what a network with max pooling returns.
#   tf.reduce_all(tf.math.is_finite(x)) is right everywhere.
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

nan = float('nan')


def both(function, numbers):
    """Return what the function gives for the numbers, without and with XLA."""
    numbers = tf.constant(numbers)
    return [
        float(np.ravel(tf.function(function, jit_compile=xla, autograph=False)(numbers))[0])
        for xla in (False, True)
    ]


pair = [1.0, nan]
largest, smallest = both(tf.reduce_max, pair), both(tf.reduce_min, pair)
total, place = both(tf.reduce_sum, pair), both(tf.argmax, pair)
print(
    f'reduce_max of [1, nan]: {largest[0]}, with XLA {largest[1]};'
    f' reduce_min: {smallest[0]}, with XLA {smallest[1]};'
    f' reduce_sum: {total[0]}, with XLA {total[1]}'
)
print(f'argmax of [1, nan]: {place[0]:.0f}, with XLA {place[1]:.0f}')

picture = np.ones((1, 2, 2, 1), np.float32)
picture[0, 0, 0, 0] = nan
pool = keras.layers.MaxPooling2D(2)
some = both(pool, picture)
every = both(lambda x: tf.nn.relu(pool(x)), np.full_like(picture, nan))
print(
    f'MaxPooling2D of one nan and three ones: {some[0]}, with XLA {some[1]};'
    f' of four nan, then ReLU: {every[0]}, with XLA {every[1]}'
)

model = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.GlobalMaxPooling2D()])
predicted = []
for xla in (False, True):
    model.compile(loss='mse', jit_compile=xla)
    predicted.append(float(model.predict(picture, verbose=0)[0, 0]))
print(
    'model ending in GlobalMaxPooling2D, an input of nan and ones:'
    f' predicts {predicted[0]}, with jit_compile {predicted[1]}'
)

finite = both(lambda x: tf.cast(tf.reduce_all(tf.math.is_finite(x)), tf.float32), pair)
seen = [largest, smallest, total, place, some, every, predicted, finite]
wanted = [[nan, 1], [nan, 1], [nan, nan], [0, 1], [1, 1], [0, 0], [nan, 1], [0, 0]]
if not np.array_equal(seen, wanted, equal_nan=True):
    sys.exit('Changed.')
PYTHON
  { cat "$work/log" && exit 1; }
