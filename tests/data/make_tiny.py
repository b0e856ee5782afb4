"""Make the small networks beside this file; needs TensorFlow, which the tests that use them do not.

``tiny.tflite``        full int8, input (1, 8, 40), output (1, 3)
``tiny_float.tflite``  the same network in float32
``tiny_vector.tflite`` full int8, input (1, 40), output (1, 3)
``tiny_image.tflite``  full int8, input (1, 40, 8, 1), output (1, 3)
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

N_FRAMES, N_MFCC, N_LABELS = 8, 40, 3


def convert(network: keras.Model, int8: bool) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    if int8:
        random = np.random.default_rng(1)

        def clips() -> Iterator[list[np.ndarray]]:
            for _ in range(50):
                yield [random.standard_normal(network.input_shape).astype(np.float32)]

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = clips
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def main() -> None:
    keras.utils.set_random_seed(0)
    frames = keras.Input((N_FRAMES, N_MFCC), batch_size=1)
    x = keras.layers.Conv1D(4, 3, activation="relu")(frames)
    x = keras.layers.GlobalAveragePooling1D()(x)
    network = keras.Model(frames, keras.layers.Dense(N_LABELS)(x))
    folder = Path(__file__).parent
    (folder / "tiny.tflite").write_bytes(convert(network, int8=True))
    (folder / "tiny_float.tflite").write_bytes(convert(network, int8=False))
    vector = keras.Input((N_MFCC,), batch_size=1)
    x = keras.layers.Dense(8, activation="relu")(vector)
    network = keras.Model(vector, keras.layers.Dense(N_LABELS)(x))
    (folder / "tiny_vector.tflite").write_bytes(convert(network, int8=True))
    image = keras.Input((N_MFCC, N_FRAMES, 1), batch_size=1)
    x = keras.layers.Conv2D(4, 3, activation="relu")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    network = keras.Model(image, keras.layers.Dense(N_LABELS)(x))
    (folder / "tiny_image.tflite").write_bytes(convert(network, int8=True))


if __name__ == "__main__":
    main()
