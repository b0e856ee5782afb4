"""Keras without what TensorFlow prints at its start: every module that needs Keras takes it from here."""

from __future__ import annotations

import os
import sys

from affectd.stdio import quiet

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors still come through
with quiet():
    import keras
    from keras import layers, ops

    if keras.backend.backend() == "tensorflow":
        import tensorflow

        tensorflow.config.list_physical_devices()  # where there is no GPU, looking for one is reported as an error
        # Its logger was made with the standard error of `quiet`, which is closed by now.
        for handler in tensorflow.get_logger().handlers:
            handler.stream = sys.__stderr__

__all__ = ["keras", "layers", "ops"]
