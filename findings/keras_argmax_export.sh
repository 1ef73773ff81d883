#!/usr/bin/env bash
# A Keras model that uses ops.argmax is exported to ONNX without a word, but no ONNX runtime opens it.
#
# Packages: tensorflow-cpu 2.21.0, keras 3.15.1, tf2onnx 1.17.0, onnx 1.23.2, onnxruntime 1.32.0,
#   numpy 2.4.6 (Python 3.11).
# Expected: argmax becomes ONNX's ArgMax, as max becomes ReduceMax; or the export fails.
# Happens: of floats, Keras' argmax first makes every -0.0 a tiny negative number, and finds it by its
#   sign bit. The Bitcast for this is written into the file, an operator that ONNX does not have.
# Seen on 2026-11-29:
#   max: opened, [3.]
#   argmax: exported, but it does not open: Bitcast is no operator of ONNX
# Who meets it: whoever exports a classifier that returns the class, or anything that chooses by a
#   score. Comparing scores with ops.where, one after the other, is exported well.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --quiet tensorflow-cpu==2.21.0 keras==3.15.1 \
    tf2onnx==1.17.0 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=
"$work/env/bin/python" - "$work" 2>"$work/stderr" <<'PYTHON'
import sys

import keras
import numpy as np
import onnxruntime

scores = np.array([[1, 3, 2]], np.float32)


def opened(name, function):
    """Export a model of one operation; return what ONNX Runtime makes of the file."""
    inputs = keras.Input([3], name='scores')
    model = keras.Model(inputs, function(inputs, axis=1))
    model(scores)
    path = f'{sys.argv[1]}/{name}.onnx'
    model.export(path, format='onnx', verbose=False)
    try:
        session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    except Exception as error:
        lacks = 'No Op registered for Bitcast' in str(error)
        return 'Bitcast is no operator of ONNX' if lacks else str(error)
    return session.run(None, {'scores': scores})[0]


largest, place = opened('max', keras.ops.max), opened('argmax', keras.ops.argmax)
print(f'max: opened, {largest}')
print(f'argmax: exported, but it does not open: {place}')
if place != 'Bitcast is no operator of ONNX' or largest != 3:
    sys.exit('Changed.')
PYTHON
