"""Programs around the model, and the pictures and faces that they made."""

import data  # noqa: F401  before any program here imports TensorFlow: it makes its start quiet
