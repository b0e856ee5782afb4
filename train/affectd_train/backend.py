"""Keras without what TensorFlow prints at its start: every module that needs Keras takes it from here."""

from __future__ import annotations

import os

from affectd.stdio import quiet

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors still come through
with quiet():
    import keras
    from keras import layers, ops

    if keras.backend.backend() == "tensorflow":
        import tensorflow

        tensorflow.config.list_physical_devices()  # where there is no GPU, looking for one is reported as an error

__all__ = ["keras", "layers", "ops"]
