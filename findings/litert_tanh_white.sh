#!/usr/bin/env bash
# A picture from an int8 model is never white: its tanh ends at 0.992, so 254 is the brightest grey.
#
# Packages: tensorflow-cpu 2.21.0, keras 3.15.1, ai-edge-litert 2.3.0, numpy 2.4.6 (Python 3.11).
# Expected: the converter measures the range of the output on the representative data and covers it,
#   ends included.
# Happens: for tanh and sigmoid LiteRT prescribes the steps, 1/128 and 1/256, whatever was measured.
#   The largest int8 then stands for 127/128 and 255/256; the lower end is exact. Black stays black,
#   white becomes 254, and 1.0 never comes.
# Seen on 2026-11-29, inputs of -9 and 9:
#   tanh: float model -1.00000 1.00000, int8 model -1.00000 0.99219, as grey values 0.0 254.0
#   sigmoid: float model 0.00012 0.99988, int8 model 0.00000 0.99609, as grey values 0.0 254.0
# Who meets it: whoever brings a generator or a mask to a phone and tests for white, 255 or 1.0.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --quiet tensorflow-cpu==2.21.0 keras==3.15.1 \
  ai-edge-litert==2.3.0 numpy==2.4.6
TF_CPP_MIN_LOG_LEVEL=2 KERAS_BACKEND=tensorflow "$work/env/bin/python" - <<'PYTHON'
import contextlib
import io
import sys
import warnings

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

INPUTS = np.array([[-9.0, 9.0]], np.float32)
warnings.simplefilter('ignore')


def quantised(model):
    """Return the model with weights and activations in int8 and float inputs and outputs."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([INPUTS * i / 50] for i in range(51))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    with contextlib.redirect_stdout(io.StringIO()):
        return converter.convert()


def run(contents):
    interpreter = Interpreter(model_content=contents)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]['index'], INPUTS)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]['index'])[0]


def numbers(values, digits):
    return ' '.join(f'{value:.{digits}f}' for value in values)


seen = []
for activation in ('tanh', 'sigmoid'):
    x = keras.Input((2,))
    layer = keras.layers.Dense(2, kernel_initializer='identity', activation=activation)
    model = keras.Model(x, layer(x))
    exact = model(INPUTS).numpy()[0]
    int8 = run(quantised(model))
    grey = (int8 + 1) * 127.5 if activation == 'tanh' else int8 * 255
    seen.append((float(int8[1]), round(float(grey[1]), 1)))
    print(
        f'{activation}: float model {numbers(exact, 5)}, int8 model {numbers(int8, 5)},'
        f' as grey values {numbers(grey, 1)}'
    )
if seen != [(127 / 128, 254.0), (255 / 256, 254.0)]:
    sys.exit('Changed.')
PYTHON
