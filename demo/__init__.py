"""Programs around the model, and the pictures and faces that they made."""

import os

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # TensorFlow calls a missing GPU an error
