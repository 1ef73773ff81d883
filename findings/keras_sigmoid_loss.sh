#!/usr/bin/env bash
# Behind a Reshape, a network that ends in a sigmoid has another loss and no gradient.
#
# Packages: tensorflow-cpu 2.21.0, keras 3.15.1, numpy 2.4.6 (Python 3.11).
# Expected: BinaryCrossentropy() sees probabilities, so the same probabilities have the same loss
#   and gradient, whether a Reshape, a Flatten or a slice lies between the sigmoid and the loss or
#   not.
# Happens: Keras writes the logits onto the tensor that a sigmoid returns, as a Python attribute,
#   and the loss takes them where it finds them. Any operation after the sigmoid loses the
#   attribute: then the loss clips the probabilities at 1e-7, and a network that is surely wrong
#   learns nothing.
# Seen on 2026-11-29, for logits of 100 and -40 with labels 0 and 1, then for a logit of 20 with
#   label 0:
#   sigmoid:          probabilities 1.0, 4.2e-18, 1.0; loss 70.0; then loss 20.0, gradient of the
#     bias 1.0
#   sigmoid, Reshape: probabilities 1.0, 4.2e-18, 1.0; loss 16.03; then loss 15.94, gradient of the
#     bias 0.0
# Who meets it: whoever ends a discriminator in Dense(1, activation="sigmoid") and shapes the answer
#   afterwards, or copies a tensor of probabilities before the loss.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --quiet tensorflow-cpu==2.21.0 keras==3.15.1 numpy==2.4.6
TF_CPP_MIN_LOG_LEVEL=2 KERAS_BACKEND=tensorflow "$work/env/bin/python" - <<'PYTHON'
import sys

import keras
import numpy as np


def network(*after):
    """Return a network whose probability is the sigmoid of its input."""
    last = keras.layers.Dense(1, kernel_initializer='ones', activation='sigmoid')
    model = keras.Sequential([keras.Input((1,)), last, *after])
    model.compile(keras.optimizers.SGD(1.0), keras.losses.BinaryCrossentropy())
    return model


def loss_and_step(model, logits, labels):
    """Return the loss and by how much one step of SGD moves the bias."""
    logits = np.array(logits, np.float32)[:, None]
    labels = np.array(labels, np.float32)[:, None]
    loss = model.train_on_batch(logits, labels)
    return round(float(loss), 2), round(0.0 - float(model.layers[0].bias.numpy()[0]), 3)


seen = {}
for name, after in (('sigmoid', []), ('sigmoid, Reshape', [keras.layers.Reshape((1,))])):
    both = loss_and_step(network(*after), [100, -40], [0, 1])
    one = loss_and_step(network(*after), [20], [0])
    probabilities = network(*after).predict(np.float32([[100], [-40], [20]]), verbose=0).ravel()
    seen[name] = both[0], one[0], one[1]
    print(
        f'{name + ":":17} probabilities {", ".join(f"{p:#.2g}" for p in probabilities)};'
        f' loss {both[0]};'
        f' then loss {one[0]}, gradient of the bias {one[1]}'
    )

if seen != {'sigmoid': (70.0, 20.0, 1.0), 'sigmoid, Reshape': (16.03, 15.94, 0.0)}:
    sys.exit('Changed.')
PYTHON
