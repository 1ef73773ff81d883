#!/usr/bin/env bash
# A Keras model restored before its first call keeps its random weights, if it is a subclass without
# build().
#
# Packages: tensorflow-cpu 2.21.0, keras 3.15.1, numpy 2.4.6 (Python 3.11).
# Expected: tf.train.Checkpoint restores what does not exist yet as soon as it is made.
# Happens: that holds for a tf.Module, for an unbuilt Sequential and for a subclass whose build()
#   builds its layers. A subclass that leaves the building to its first call gets fresh weights
#   instead. Right after read() the check assert_existing_objects_matched() passes; only after the
#   first call does it raise.
# Seen on 2026-11-29, all weights in the checkpoint are 7:
#   tf.Module: 7 after the first call
#   Sequential: 7 after the first call
#   subclass with build(): 7 after the first call
#   subclass: not 7 after the first call
# Who meets it: whoever restores a subclassed model before it has seen a picture.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --quiet tensorflow-cpu==2.21.0 keras==3.15.1 numpy==2.4.6
TF_CPP_MIN_LOG_LEVEL=2 KERAS_BACKEND=tensorflow "$work/env/bin/python" - "$work" <<'PYTHON'
import logging
import sys

import keras
import numpy as np
import tensorflow as tf

folder = sys.argv[1]
logging.getLogger('tensorflow').setLevel(logging.ERROR)
PICTURE = tf.zeros((1, 2))


class Module(tf.Module):
    def __init__(self):
        super().__init__()
        self.kernel = None

    def __call__(self, x):
        if self.kernel is None:
            self.kernel = tf.Variable(tf.zeros((2, 3)))
        return x @ self.kernel


class Subclass(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(3, use_bias=False)

    def call(self, x):
        return self.dense(x)


class SubclassWithBuild(Subclass):
    def build(self, shape):
        self.dense.build(shape)
        self.built = True


def sequential():
    return keras.Sequential([keras.layers.Dense(3, use_bias=False)])


def raises(check):
    try:
        check()
    except AssertionError:
        return True
    return False


seen = {}
for name, make in (
    ('tf.Module', Module),
    ('Sequential', sequential),
    ('subclass with build()', SubclassWithBuild),
    ('subclass', Subclass),
):
    model = make()
    model(PICTURE)
    model.variables[0].assign(np.full((2, 3), 7.0))
    tf.train.Checkpoint(model=model).write(f'{folder}/checkpoint')
    fresh = make()
    status = tf.train.Checkpoint(model=fresh).read(f'{folder}/checkpoint')
    passes = not raises(status.assert_existing_objects_matched)
    fresh(PICTURE)
    restored = bool((fresh.variables[0].numpy() == 7).all())
    seen[name] = passes, restored, raises(status.assert_existing_objects_matched)
    print(f'{name}: {"7" if restored else "not 7"} after the first call')
good = True, True, False
if seen != {
    'tf.Module': good,
    'Sequential': good,
    'subclass with build()': good,
    'subclass': (True, False, True),
}:
    sys.exit(f'Changed: {seen}')
PYTHON
