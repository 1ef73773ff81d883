#!/usr/bin/env bash
# safetensors 0.8.0 saves a transposed NumPy array with its numbers in another order, without a
# word.
#
# Packages: safetensors 0.8.0 and 0.7.0, numpy 2.4.6 (Python 3.11).
# Expected: save_file writes the array that NumPy shows, or refuses it.
# Happens: 0.8.0 writes the memory behind the array and the shape beside it. A transposed kernel, a
#   slice with a step and an array in Fortran's order come back with the right shape, type and size,
#   and the wrong numbers. A transposed array in 0.7.0 came back right, so an update suffices to
#   spoil new files.
# Seen on 2026-11-29, [[0, 1, 2], [3, 4, 5]]:
#   0.7.0: .T comes back as [[0, 3], [1, 4], [2, 5]]; [:, ::2] as [[0, 2], [3, 5]]
#   0.8.0: .T comes back as [[0, 1], [2, 3], [4, 5]]; [:, ::2] as [[0, 1], [2, 3]]
# Who meets it: whoever carries kernels from TensorFlow to PyTorch by transpose() and keeps them as
#   safetensors.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/look.py" <<'PYTHON'
import sys

import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

path = sys.argv[1]
array = np.arange(6).reshape(2, 3)
save_file({'transposed': array.T, 'slice': array[:, ::2]}, path)
back = load_file(path)
print(
    f'{safetensors.__version__}: .T comes back as {back["transposed"].tolist()};'
    f' [:, ::2] as {back["slice"].tolist()}'
)
right = np.array_equal(back['transposed'], array.T) and np.array_equal(back['slice'], array[:, ::2])
if right != (safetensors.__version__ == '0.7.0'):
    sys.exit('Changed.')
PYTHON
for version in 0.7.0 0.8.0; do
  python3 -m venv "$work/$version"
  "$work/$version/bin/pip" install --quiet --quiet safetensors=="$version" numpy==2.4.6
  "$work/$version/bin/python" "$work/look.py" "$work/$version.safetensors"
done
