"""A network of two or three labels is the same function, without a layer that crashes an interpreter for 32-bit ARM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from affectd.arrays import Float32
from affectd.personal.last_layer import without_last_layer
from affectd_train.backend import keras, load_network
from affectd_train.export.quantize import convert_int8
from affectd_train.training.fit import save
from affectd_train.training.network import build_network, deployed


def outputs(content: bytes, contexts: Float32) -> Float32:
    """What an int8 network says of normalized contexts, in real numbers."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (into,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()
    (in_scale, in_zero), (scale, zero) = into["quantization"], out["quantization"]
    heard = []
    for context in contexts:
        steps = np.clip(np.round(context / in_scale) + in_zero, -128, 127).astype(np.int8)
        interpreter.set_tensor(into["index"], steps[None])
        interpreter.invoke()
        heard.append(scale * (interpreter.get_tensor(out["index"])[0].astype(np.float32) - zero))
    return np.array(heard)


@pytest.mark.parametrize("n_labels", [2, 3])
def test_what_personalize_takes_off_is_the_layer_that_gives_each_logit_twice(n_labels: int) -> None:
    keras.utils.set_random_seed(n_labels)
    network = deployed(build_network(32, 8, n_labels))
    random = np.random.default_rng(0)
    contexts = random.normal(size=(16, 32, 8)).astype(np.float32)
    layer = network.get_layer("logits_twice")
    halves = random.normal(size=(208, 2 * n_labels)).astype(np.float32), random.normal(size=2 * n_labels)
    layer.set_weights(halves)  # unlike each other, so that their mean and no other is right
    content = convert_int8(network, contexts)
    rest = without_last_layer(content)
    assert rest.weights.shape == (208, n_labels)
    logits = outputs(rest.tflite, contexts) @ rest.weights + rest.bias
    expected = network.predict_on_batch(contexts)
    assert np.abs(logits - expected).max() < 0.1 * np.ptp(expected)


@pytest.mark.parametrize("n_labels", [2])
def test_few_labels_have_no_small_layer(n_labels: int, tmp_path: Path) -> None:
    keras.utils.set_random_seed(n_labels)
    network = build_network(32, 8, n_labels, n_hints=5)
    contexts = np.random.default_rng(0).normal(size=(16, 32, 8)).astype(np.float32)
    expected = network.predict_on_batch(contexts)[:, :n_labels]
    save(deployed(network), tmp_path / "float.keras")
    small = load_network(tmp_path / "float.keras", "")
    assert np.allclose(small.predict_on_batch(contexts), expected, atol=1e-5)

    content = convert_int8(small, contexts)
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    layers = {t["index"]: t["shape"] for t in interpreter.get_tensor_details()}
    dense = [op for op in interpreter._get_ops_details() if op["op_name"] == "FULLY_CONNECTED"]
    assert min(int(layers[op["outputs"][0]][-1]) for op in dense) >= 4
    (out,) = interpreter.get_output_details()
    assert list(out["shape"]) == [1, n_labels]
    heard = outputs(content, contexts)
    assert np.abs(heard - expected).max() < 0.15 * np.ptp(expected) + 3 * out["quantization"][0]
