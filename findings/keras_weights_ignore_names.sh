#!/usr/bin/env bash
# load_weights exchanges the heads of a network whose outputs are listed in another order.
#
# Packages: tensorflow-cpu 2.21.0, keras 3.15.1, numpy 2.4.6 (Python 3.11).
# Expected: both heads have a name, "age" and "gender", so each gets its own weights from the file,
#   or loading raises.
# Happens: the file knows them as layers/dense and layers/dense_1, numbered in the order of the
#   model's layers, and that order follows the list of outputs. [gender, age] instead of [age,
#   gender] gives the age's weights to the head named gender, without a word. Changing the order in
#   which the layers are made does nothing.
# Seen on 2026-11-29, saved with age = 1 and gender = 2 and outputs [age, gender]:
#   in the file: layers/dense, layers/dense_1
#   outputs ['age', 'gender'], made as ['gender', 'age']: age 1.0, gender 2.0
#   outputs ['gender', 'age'], made as ['age', 'gender']: age 2.0, gender 1.0
# Who meets it: whoever sorts or extends the outputs of a network with several heads of one shape
#   between training and use.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --quiet tensorflow-cpu==2.21.0 keras==3.15.1 numpy==2.4.6
export TF_CPP_MIN_LOG_LEVEL=2 KERAS_BACKEND=tensorflow
"$work/env/bin/python" - "$work/two_heads.weights.h5" <<'PYTHON'
import sys

import h5py
import keras
import numpy as np

path = sys.argv[1]


def network(made, listed):
    """Return a network with two named heads, made in one order and listed in another."""
    picture = keras.Input((2,))
    heads = {name: keras.layers.Dense(1, name=name)(picture) for name in made}
    return keras.Model(picture, [heads[name] for name in listed])


def weight(model, name):
    return float(model.get_layer(name).kernel.numpy()[0, 0])


trained = network(['age', 'gender'], ['age', 'gender'])
trained.get_layer('age').kernel.assign(np.full((2, 1), 1.0))
trained.get_layer('gender').kernel.assign(np.full((2, 1), 2.0))
trained.save_weights(path)
with h5py.File(path) as file:
    names = [f'layers/{name}' for name in file['layers'] if name.startswith('dense')]
print('in the file:', ', '.join(names))

seen = []
for made, listed in (
    (['gender', 'age'], ['age', 'gender']),
    (['age', 'gender'], ['gender', 'age']),
):
    model = network(made, listed)
    model.load_weights(path)
    seen.append((weight(model, 'age'), weight(model, 'gender')))
    print(f'outputs {listed}, made as {made}: age {seen[-1][0]}, gender {seen[-1][1]}')

if names != ['layers/dense', 'layers/dense_1'] or seen != [(1.0, 2.0), (2.0, 1.0)]:
    sys.exit('Changed.')
PYTHON
