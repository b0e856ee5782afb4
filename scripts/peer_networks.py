"""The networks of the peers in `benchmark_peers.py`: LIGHT-SERNET, a large product, openWakeWord's feature models."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from affectd.recognition.classifier import RUNTIMES
from affectd.stdio import quiet

N_FRAMES = (3 * 16000 - 1024) // 256 + 1


def interpreted(runtime: str, tflite: bytes) -> tuple[Callable[[], object], Any]:
    """Return a function that runs a network as affectd's classifier does, and its interpreter."""
    with quiet():
        interpreter = importlib.import_module(f"{RUNTIMES[runtime]}.interpreter").Interpreter(
            model_content=tflite, num_threads=1
        )
        interpreter.allocate_tensors()
    given, answer = interpreter.get_input_details()[0], interpreter.get_output_details()[0]["index"]
    data = np.random.default_rng(0).integers(-128, 128, given["shape"]).astype(np.int8)

    def run() -> Any:
        interpreter.set_tensor(given["index"], data)
        interpreter.invoke()
        return interpreter.get_tensor(answer)

    return run, interpreter


def macs(interpreter: Any) -> float:
    """Return the number of multiply-accumulates of convolutions and dense layers."""
    total = 0
    shapes = {tensor["index"]: tensor["shape"] for tensor in interpreter.get_tensor_details()}
    for operator in interpreter._get_ops_details():
        if operator["op_name"] in ("CONV_2D", "FULLY_CONNECTED", "DEPTHWISE_CONV_2D"):
            weights, output = shapes[operator["inputs"][1]], shapes[operator["outputs"][0]]
            per_output = weights[1:3] if operator["op_name"] == "DEPTHWISE_CONV_2D" else weights[1:]
            total += int(np.prod(output)) * int(np.prod(per_output))
    return total


def light_sernet() -> bytes:
    """Build LIGHT-SERNET for 3 s and 8 classes and quantize it; untrained, because the cost is the same.

    Source: A. Aftab, A. Morsali, S. Ghaemmaghami and B. Champagne, "LIGHT-SERNET: A lightweight fully convolutional
    neural network for speech emotion recognition", ICASSP 2022, figure 1 and section 2.
    """
    import keras

    given = keras.Input((N_FRAMES, 40, 1), batch_size=1)

    def block(x: Any, filters: int, kernel: tuple[int, int], pool: tuple[int, int] | None) -> Any:
        x = keras.layers.Conv2D(filters, kernel, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
        return x if pool is None else keras.layers.AveragePooling2D(pool, padding="same")(x)

    # Three paths: along time, along frequency, along both.
    x = keras.layers.Concatenate()([block(given, 32, kernel, (2, 2)) for kernel in ((11, 1), (1, 9), (3, 3))])
    for filters, pool in ((64, (2, 2)), (96, (2, 2)), (128, (2, 1)), (160, (2, 1))):
        x = block(x, filters, (3, 3), pool)
    x = keras.layers.GlobalAveragePooling2D()(block(x, 320, (1, 1), None))
    return converted(keras.Model(given, keras.layers.Dense(8, activation="softmax")(x)))


def product() -> bytes:
    """Build one large int8 product, 1024 x 1024 x 1024, as a convolution of 1 x 1."""
    import keras

    given = keras.Input((32, 32, 1024), batch_size=1)
    return converted(keras.Model(given, keras.layers.Conv2D(1024, 1, use_bias=False)(given)))


def converted(network: Any) -> bytes:
    """Turn a Keras model into a full-int8 TFLite file."""
    import tensorflow as tf

    random = np.random.default_rng(0)
    with quiet():
        converter = tf.lite.TFLiteConverter.from_keras_model(network)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        shape = network.inputs[0].shape
        converter.representative_dataset = lambda: ([random.normal(size=shape).astype(np.float32)] for _ in range(4))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        return bytes(converter.convert())


def open_wake_word(pcm: Any) -> Callable[[], object]:
    """Return a function that runs openWakeWord's two feature models over sound, 80 ms at a time."""
    found = importlib.util.find_spec("openwakeword")
    if found is None or found.origin is None:
        raise ImportError("No module named 'openwakeword'")
    onnx = importlib.import_module("onnxruntime")
    options = onnx.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    models = Path(found.origin).parent / "resources" / "models"
    if not models.is_dir():
        raise ImportError("this version of openwakeword has no models inside; 0.4.0 has")
    mel, embedding = (
        onnx.InferenceSession(str(models / f"{name}.onnx"), options, providers=["CPUExecutionProvider"])
        for name in ("melspectrogram", "embedding_model")
    )
    step, overlap, n_rows = 1280, 480, 76
    mel_input, embedding_input = mel.get_inputs()[0].name, embedding.get_inputs()[0].name

    def features() -> None:
        rows = np.ones((n_rows, 32), np.float32)
        for start in range(overlap, len(pcm) - step + 1, step):
            block = pcm[np.newaxis, start - overlap : start + step].astype(np.float32)
            new = mel.run(None, {mel_input: block})[0].squeeze() / 10 + 2
            rows = np.concatenate([rows, new])[-n_rows:]
            embedding.run(None, {embedding_input: rows[np.newaxis, :, :, np.newaxis]})

    return features
