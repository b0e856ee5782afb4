"""Conversion: the file says what the float network says, and nothing but int8 is ever written."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from affectd.recognition.classifier import dequantize
from affectd.recognition.classifier import quantize as quantize_values
from affectd_train.export import quantize as quantizing
from affectd_train.export.quantize import COARSER, NotInteger, check_int8, convert_int8, converter_of, quantize
from affectd_train.training.network import build_network
from disks import small_disk

SHAPE = (60, 13)


def trained(n_labels: int) -> tuple[keras.Model, np.ndarray]:
    """A network that has learned to name the loudest of its first coefficients."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    label = rng.integers(0, n_labels, 256)
    x = rng.normal(0, 1, (256, *SHAPE)).astype(np.float32)
    x[np.arange(256), :, label] += 1.5
    y = np.eye(n_labels, dtype=np.float32)[label]
    network = build_network(*SHAPE, n_labels)
    network.compile(keras.optimizers.Adam(1e-3), loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    network.fit(x, y, epochs=4, verbose=0)
    return network, x


def test_int8_answers_as_float_does() -> None:
    network, x = trained(4)
    # All contexts: a product of a channel and its weight has a long tail, which the ranges of a hundred would cut off.
    interpreter = Interpreter(model_content=convert_int8(network, x))
    interpreter.allocate_tensors()
    source, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    assert source["dtype"] is np.int8
    assert result["dtype"] is np.int8
    assert source["shape"].tolist() == [1, *SHAPE]
    logits = []
    for context in x:
        interpreter.set_tensor(source["index"], quantize_values(context, *source["quantization"])[None])
        interpreter.invoke()
        logits.append(dequantize(interpreter.get_tensor(result["index"])[0], *result["quantization"]))
    wanted = network.predict(x, verbose=0)
    assert (np.argmax(logits, 1) == wanted.argmax(1)).mean() > 0.98
    assert np.abs(np.array(logits) - wanted).max() < 0.1 * np.abs(wanted).max()


def test_the_steps_of_the_logits_are_coarser_than_256_of_them_would_have_to_be() -> None:
    network, x = trained(4)
    content = convert_int8(network, x)
    (scale, zero_point), logits = Interpreter(model_content=content).get_output_details()[0]["quantization"], network(x)
    assert zero_point == 0
    assert scale == pytest.approx(COARSER * np.ptp(logits) / 255, rel=0.1)


def test_the_file_names_no_tensors_and_is_the_smaller_for_it() -> None:
    network, x = trained(4)
    content = convert_int8(network, x[:20])
    assert b"conv1d" not in content
    assert b"batch_normalization" not in content
    interpreter = Interpreter(model_content=content)
    assert {tensor["name"] for tensor in interpreter.get_tensor_details()} == {""}


def test_a_float_file_is_refused_with_the_operator_that_is_not_int8() -> None:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(build_network(*SHAPE, 4))
    with pytest.raises(NotInteger, match="CONV_2D has the float32 tensor"):
        check_int8(converter.convert())


def test_a_dynamic_range_file_is_refused_though_its_weights_are_int8() -> None:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(build_network(*SHAPE, 4))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    with pytest.raises(NotInteger, match="float32"):
        check_int8(converter.convert())


def test_a_recurrent_network_is_converted_until_it_is_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    network, x = build_network(*SHAPE, 4), np.random.default_rng(0).normal(0, 1, (4, *SHAPE)).astype(np.float32)
    in_float, whole = tf.lite.TFLiteConverter.from_keras_model(network).convert(), convert_int8(network, x)
    tries = []

    def at_random(*words: Any) -> Any:
        converter = converter_of(*words)
        convert = converter.convert

        def tried() -> bytes:
            tries.append(in_float if len(tries) < 2 else convert())
            return tries[-1]

        converter.convert = tried
        return converter

    monkeypatch.setattr(quantizing, "converter_of", at_random)
    assert convert_int8(network, x) == whole
    assert len(tries) == 3


def test_nothing_is_written_when_an_operator_has_no_int8_form(tmp_path: Path) -> None:
    source = keras.layers.Input(SHAPE)
    x = keras.layers.Conv1D(4, 3)(source)
    x = keras.ops.sin(x)
    network = keras.Model(source, keras.layers.GlobalAveragePooling1D()(x))
    network.save(tmp_path / "float.keras")
    np.save(tmp_path / "representative.npy", np.zeros((10, *SHAPE), np.float16))
    with pytest.raises((NotInteger, RuntimeError)):
        quantize(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["float.keras", "representative.npy"]


def test_it_needs_no_room_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = build_network(*SHAPE, 4), np.random.default_rng(0).normal(0, 1, (4, *SHAPE)).astype(np.float32)
    with small_disk(tmp_path / "small") as disk, monkeypatch.context() as patch:
        patch.setenv("TMPDIR", str(disk))
        patch.setattr(tempfile, "tempdir", str(disk))
        content = convert_int8(network, x)
    assert content == convert_int8(network, x)


def test_the_file_is_that_by_way_of_a_saved_model(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    network, x = build_network(*SHAPE, 4), np.random.default_rng(0).normal(0, 1, (4, *SHAPE)).astype(np.float32)
    content = convert_int8(network, x)

    def by_saved_model(network: keras.Model, shape: tuple[int, ...]) -> Any:
        one = keras.Input(shape, batch_size=1)
        return tf.lite.TFLiteConverter.from_keras_model(keras.Model(one, network(one, training=False)))

    monkeypatch.setattr(quantizing, "converter_of", by_saved_model)
    pairs = zip(content, convert_int8(network, x), strict=True)
    assert sum(a != b for a, b in pairs) == 1  # where the file says from which kind it was converted
