"""From a Keras file, a SavedModel or a TFLite file of others to one int8 network for the device."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from affectd.arrays import Float32
from affectd.errors import AffectdError, DataError
from affectd.stdio import quiet
from affectd_train.foreign.kinds import KERAS, SAVED_MODEL

_AGAIN = "save the network as a Keras file (network.save('mine.keras')), or as a TFLite file without optimizations"


def read_tflite(path: Path, kind: str, n_frames: int | None) -> bytes:
    """Return a network of any kind as the content of a TFLite file, of one context at a time, not quantized here.

    Parameters
    ----------
    n_frames
        Where a Keras network leaves open how many frames it takes.

    Raises
    ------
    DataError
        If it cannot be read or converted; the message says why.
    """
    try:
        if kind == KERAS:
            return _from_keras(path, n_frames)
        return _from_saved_model(path) if kind == SAVED_MODEL else path.read_bytes()
    except AffectdError:
        raise
    except Exception as error:  # Keras and TensorFlow raise many kinds, also OSError for what is damaged
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(f"TensorFlow cannot convert this {kind} ({shortened(error)}); {_AGAIN}") from error


def quantized(content: bytes, contexts: Iterable[Float32]) -> bytes:
    """Turn a float TFLite file into an int8 one; contexts, of the shape of its input without the 1, show the ranges.

    Raises
    ------
    DataError
        If TensorFlow cannot do it.
    """
    import tensorflow as tf
    from tensorflow.lite.python.convert import mlir_quantize
    from tensorflow.lite.python.optimize.calibrator import Calibrator

    def representative() -> Iterable[list[Float32]]:
        for context in contexts:
            yield [context[None].astype(np.float32)]

    try:
        with quiet():
            calibrated = Calibrator(content).calibrate(representative)
            result: bytes = mlir_quantize(calibrated, input_data_type=tf.int8, output_data_type=tf.int8)
    except Exception as error:
        raise DataError(f"TensorFlow cannot turn this network into int8 ({shortened(error)}); {_AGAIN}") from error
    return result


def answers(content: bytes, contexts: Float32) -> Float32:
    """Run a float TFLite file: the outputs ``(n, n_outputs)`` of contexts ``(n, ...)``."""
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        interpreter = Interpreter(model_content=content)
        interpreter.allocate_tensors()
        source, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
        outputs = []
        for context in contexts:
            interpreter.set_tensor(source, context[None].astype(np.float32))
            interpreter.invoke()
            outputs.append(interpreter.get_tensor(result)[0])
    return np.stack(outputs)


def shortened(error: Exception) -> str:
    """Return what a library says in one short line."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 200 else f"{words[:200]}..."


def _from_keras(path: Path, n_frames: int | None) -> bytes:
    from affectd_train.backend import keras
    from affectd_train.export.quantize import converter_of

    with quiet():
        network = keras.models.load_model(path, compile=False)
    shapes = network.input_shape
    if not isinstance(shapes, tuple):
        raise DataError(f"the network has {len(shapes)} inputs, expected one")
    shape = list(shapes[1:])
    if len(shape) > 1 and None in shape and n_frames is not None:
        shape[shape.index(None)] = n_frames
    if None in shape:
        raise DataError("the network takes any number of frames; --frames N says how many the device gives it")
    return _converted(converter_of(network, shape))


def _from_saved_model(path: Path) -> bytes:
    import tensorflow as tf

    with quiet():
        converter = tf.lite.TFLiteConverter.from_saved_model(str(path))
    return _converted(converter)


def _converted(converter: Any) -> bytes:
    with quiet():
        content: bytes = converter.convert()
    return content
