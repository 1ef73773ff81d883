#!/usr/bin/env bash
# In a parallel map of tf.data, a Keras layer with a seed gives two pictures the same random number,
# now and then.
#
# Packages: tensorflow-cpu 2.21.0, keras 3.15.1, numpy 2.4.6 (Python 3.11).
# Expected: a random layer with a seed gives each picture a number of its own and every run the same
#   ones; map() is deterministic by default, whatever num_parallel_calls says.
# Happens: the layer reads its state and moves it on in two steps. Two pictures mapped at the same
#   time can read the same state: they get the same number and a number of the series is left out,
#   and which pictures these are changes from run to run. map() keeps the order of the pictures
#   only. Without num_parallel_calls all is as expected.
# Seen on 2026-11-29, RandomBrightness(0.2, seed=1) over 1000 grey pictures:
#   one by one: 1000 different results, twice the same series
#   eight at a time: 995 different results, another series than one by one
#   How many differ varies; the script tests that, in at most thirty trials, some results are the
#     same.
# Who meets it: whoever augments in the input pipeline and wants to repeat a run. The layer's
#   documentation calls it safe to use inside a tf.data pipeline.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --quiet tensorflow-cpu==2.21.0 keras==3.15.1 numpy==2.4.6
TF_CPP_MIN_LOG_LEVEL=2 KERAS_BACKEND=tensorflow "$work/env/bin/python" - <<'PYTHON'
import logging
import sys

import keras
import numpy as np
import tensorflow as tf

logging.getLogger('tensorflow').setLevel(logging.ERROR)
COUNT = 1000
TRIALS = 30
pictures = np.full((COUNT, 2, 2, 3), 0.5, np.float32)


def series(parallel):
    """Return the brightness that a layer with a seed gave to each picture."""
    layer = keras.layers.RandomBrightness(0.2, value_range=(0, 1), seed=1)
    data = tf.data.Dataset.from_tensor_slices(pictures)
    data = data.map(lambda picture: layer(picture, training=True), num_parallel_calls=parallel)
    return [float(picture[0, 0, 0]) for picture in data.as_numpy_iterator()]


single = series(None)
again = series(None)
kinds = len(set(single))
print(
    f'one by one: {kinds} different results,'
    f' {"twice the same series" if single == again else "another series"}'
)
for _ in range(TRIALS):
    parallel = series(8)
    if len(set(parallel)) < kinds:
        break
print(
    f'eight at a time: {len(set(parallel))} different results,'
    f' {"the same series as" if parallel == single else "another series than"} one by one'
)
if single != again or parallel == single or len(set(parallel)) >= kinds:
    sys.exit('Changed.')
PYTHON
