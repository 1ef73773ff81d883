#!/usr/bin/env bash
# Under MirroredStrategy fit refuses a batch that the replicas cannot share evenly, if it is the
# first.
#
# Packages: tensorflow-cpu 2.21.0, keras 3.15.1, numpy 2.4.6 (Python 3.11). The replicas are two
#   halves of one CPU.
# Expected: 9 faces are shared as 5 and 4, or one sentence says that the batch must be even.
# Happens: to learn the shape of its input, Keras adds the first batches of the replicas, face to
#   face, with AddN, which wants equal sizes: fit and evaluate end with AddN's complaint. predict
#   takes the same 9 faces; so does fit when a batch of 8 came before them. On three
#   replicas 64 faces are refused in the same way and 63 are taken.
# Seen on 2026-11-29:
#   fit: batches of 8: fine; of 9: InvalidArgumentError, of AddN; of 8, then 1: fine
#   evaluate: batches of 8: fine; of 9: InvalidArgumentError, of AddN; of 8, then 1: fine
#   predict: batches of 8: fine; of 9: fine; of 8, then 1: fine
# Who meets it: whoever moves a training from one or two GPUs to three, or has fewer faces than a
#   batch.
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
halves = [tf.config.LogicalDeviceConfiguration(), tf.config.LogicalDeviceConfiguration()]
tf.config.set_logical_device_configuration(tf.config.list_physical_devices('CPU')[0], halves)
strategy = tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'])
faces = np.ones((9, 4), np.float32)
ages = np.ones((9, 1), np.float32)


def attempt(method, count, batch):
    """Return how a fresh network takes the faces: "fine" or the name of the error."""
    with strategy.scope():
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile('sgd', 'mse')
    data = [faces[:count]] if method == 'predict' else [faces[:count], ages[:count]]
    try:
        getattr(model, method)(*data, batch_size=batch, verbose=0)
    except tf.errors.InvalidArgumentError as error:
        return f'{type(error).__name__}, of AddN' if 'AddN' in str(error) else type(error).__name__
    return 'fine'


seen = {}
for method in ('fit', 'evaluate', 'predict'):
    seen[method] = [attempt(method, 8, 8), attempt(method, 9, 9), attempt(method, 9, 8)]
    print(
        f'{method}: batches of 8: {seen[method][0]}; of 9: {seen[method][1]};'
        f' of 8, then 1: {seen[method][2]}'
    )
refused = ['fine', 'InvalidArgumentError, of AddN', 'fine']
if seen != {'fit': refused, 'evaluate': refused, 'predict': ['fine', 'fine', 'fine']}:
    sys.exit('Changed.')
PYTHON
