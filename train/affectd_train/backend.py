"""Keras without what TensorFlow prints at its start: every module that needs Keras takes it from here."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from affectd.stdio import quiet
from affectd_train.stored import check, reading

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
        # Every network is compiled once. It counts those of one process together, and takes the folds of an evaluation
        # for one function that is compiled again and again.
        tensorflow.get_logger().addFilter(lambda record: "tf.function retracing" not in record.getMessage())

__all__ = ["keras", "layers", "load_network", "ops"]


def load_network(path: Path, remedy: str, custom_objects: dict[str, Any] | None = None) -> keras.Model:
    """Read a Keras file, with its optimizer if it has one and `custom_objects` says its loss.

    Raises
    ------
    NoInputError, DataError
        If it cannot be opened; if it is damaged. The message ends with `remedy`.
    """
    with reading(path, remedy):
        network = keras.models.load_model(path, custom_objects=custom_objects, compile=custom_objects is not None)
        check(all(np.isfinite(weight).all() for weight in network.get_weights()), "weights that are not finite")
    return network
