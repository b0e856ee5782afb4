"""From float weights to a TFLite file in which everything is int8."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from affectd.arrays import Float32
from affectd.errors import DataError
from affectd.stdio import quiet
from affectd_train.backend import keras, load_network
from affectd_train.files import needed, written_whole
from affectd_train.stored import again, check, reading, sound

ALLOWED_DTYPES = (np.int8, np.int32)
"""int32 holds the biases (scale = input scale x weight scale) and the shapes of reshapes."""


COARSER = 3
"""How much longer the steps of the output are than 256 of them would allow.

Rounding inside of the network moves the output by more than the shortest steps: those say nothing, and interpreters
that round differently here and there do not agree on them."""


_ATTEMPTS = 10
"""Of a recurrent network TensorFlow leaves some operators in float, up to once in four times, at random."""


class NotInteger(DataError):
    """The converted network is not int8 throughout; nothing was written."""


def convert_int8(network: keras.Model, contexts: Iterable[Float32], coarser: int = COARSER) -> bytes:
    """Quantize a network after training: int8 weights per channel, int8 activations, int8 input and output.

    A few hundred normalized contexts, ``(n_frames, n_columns)`` float32, show the range of each tensor. `coarser` is
    what the steps of the output are multiplied by; see `COARSER`.

    Source: B. Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only
    inference", 2018.

    Raises
    ------
    NotInteger
        If any operator works on something else than int8; the message names it.
    """
    import tensorflow as tf

    def representative() -> Iterable[list[Float32]]:
        for context in contexts:
            yield [context[None].astype(np.float32)]

    converter = converter_of(network, network.input_shape[1:])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    with warnings.catch_warnings():
        # "Statistics for quantized inputs were expected": they come from the representative data.
        warnings.filterwarnings("ignore", "Statistics for quantized inputs", UserWarning)
        with quiet():  # it prints the signature of the network and its own settings
            content = until_int8(converter.convert)
    return finished(content, coarser)


def until_int8(convert: Callable[[], bytes]) -> bytes:
    """Convert a network, again if need be, until it is int8 throughout; raise `NotInteger` if it never is."""
    for left in reversed(range(_ATTEMPTS)):
        content = convert()
        try:
            check_int8(content)
            break
        except NotInteger:
            if not left:
                raise
    return content


def converter_of(network: keras.Model, shape: Sequence[int]) -> Any:
    """Make a TFLite converter of a network for one context of this shape at a time, as the device classifies them.

    By way of a SavedModel, as `from_keras_model` goes, the same file takes five times as long, and a temporary folder.
    """
    import tensorflow as tf  # not at the top: only conversion needs it, training runs on any Keras backend

    one = tf.function(lambda x: network(x, training=False), autograph=False)
    function = one.get_concrete_function(tf.TensorSpec((1, *shape), tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], network)
    converter.experimental_lower_to_saved_model = False
    return converter


def finished(content: bytes, coarser: int) -> bytes:
    """Make the steps of the output coarser, and take the names off the tensors.

    The names are a twentieth of the file, and the device knows tensors by their places.
    """
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    flatbuffer_utils.strip_strings(model)
    (network,) = model.subgraphs
    (logits,) = network.outputs
    steps = network.tensors[logits].quantization  # biases, which have steps of input and weights, stay as they are
    steps.scale, steps.zeroPoint = coarser * steps.scale, 0 * steps.zeroPoint
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def check_int8(content: bytes) -> None:
    """Raise `NotInteger` unless every tensor of every operator is int8 (int32 for biases and shapes).

    Dynamic-range files pass for int8 with a careless check: their weights are int8,
    their activations float32. So each operator's own tensors are looked at.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # Without delegates, so that the operators are those of the file.
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    tensors = {t["index"]: t for t in interpreter.get_tensor_details()}
    faults = []
    for operator in interpreter._get_ops_details():
        for index in [*operator["inputs"], *operator["outputs"]]:
            if index < 0:  # an optional input that is not there
                continue
            name, dtype = tensors[index]["name"], tensors[index]["dtype"]
            if dtype not in ALLOWED_DTYPES:
                faults.append(f"{operator['op_name']} has the {np.dtype(dtype).name} tensor {name!r}")
    if faults:
        raise NotInteger(f"{len(faults)} tensors are not int8: {'; '.join(faults[:3])}")


def quantize(run: Path) -> Path:
    """Convert ``run/float.keras`` to ``run/int8.tflite``; a file newer than its source is left alone.

    Raises
    ------
    NoInputError
        If nothing was fitted in ``run``.
    DataError
        If what was fitted there is damaged.
    """
    source, result = needed(run / "float.keras", "fit"), run / "int8.tflite"
    newer = result.exists() and result.stat().st_mtime > source.stat().st_mtime
    if not (newer and sound(result, lambda path: check_int8(path.read_bytes()))):
        network = load_network(source, again("fit"))
        contexts = representative(needed(run / "representative.npy", "fit"), network.input_shape[1:])
        content = convert_int8(without_head(network), contexts)
        with written_whole(result) as beside:
            beside.write_bytes(content)
    return result


def without_head(network: keras.Model) -> keras.Model:
    """Return the part of a network that the interpreter runs: up to its layer ``embedding``, if it has one."""
    names = [layer.name for layer in network.layers]
    return keras.Model(network.input, network.get_layer("embedding").output) if "embedding" in names else network


def representative(path: Path, shape: tuple[int, ...]) -> Float32:
    """Read the contexts that show the ranges: ``(n, n_frames, n_columns)``."""
    with reading(path, again("fit")):
        contexts: Float32 = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False).astype(np.float32)
        check(contexts.ndim == 3 and contexts.shape[1:] == shape and len(contexts) > 0, "contexts of another shape")
        check(bool(np.isfinite(contexts).all()), "values that are not finite")
    return contexts
