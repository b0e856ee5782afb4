"""Convolutions are matrices to Muon, and everything else is AdamW's."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from affectd_train.training.muon import Muon


def variable(values: np.ndarray, name: str) -> keras.Variable:
    return keras.Variable(values.astype(np.float32), name=name)


def moved(start: np.ndarray, gradient: np.ndarray, name: str = "kernel") -> np.ndarray:
    """How far one step goes."""
    value = variable(start, name)
    optimizer = Muon(0.01, weight_decay=0.0, adam_weight_decay=0.0, exclude_layers=["logits"])
    optimizer.apply([keras.ops.convert_to_tensor(gradient.astype(np.float32))], [value])
    return np.asarray(keras.ops.convert_to_numpy(value)) - start


def test_a_step_of_a_kernel_has_equal_singular_values_against_the_gradient() -> None:
    rng = np.random.default_rng(0)
    gradient = rng.normal(size=(5, 12, 24)) * np.geomspace(1, 30, 24)  # some directions far steeper than others
    step = moved(np.zeros((5, 12, 24)), gradient).reshape(60, 24)
    u, s, v = np.linalg.svd(gradient.reshape(60, 24), full_matrices=False)
    # Five iterations bring singular values to between 0.7 and 1.2; the scale is that of AdamW's steps.
    scale = 0.01 * 0.2 * np.sqrt(60)
    found = np.diag(u.T @ -step @ v.T) / scale
    assert found.min() > 0.6
    assert found.max() < 1.3
    assert s.max() / s.min() > 10


def test_a_kernel_is_moved_like_the_matrix_it_is() -> None:
    rng = np.random.default_rng(1)
    start, gradient = rng.normal(size=(2, 3, 4, 8))
    np.testing.assert_allclose(
        moved(start, gradient), moved(start.reshape(12, 8), gradient.reshape(12, 8)).reshape(3, 4, 8), atol=1e-5
    )


@pytest.mark.parametrize(("shape", "name"), [((8,), "beta"), ((6, 8), "logits/kernel")])
def test_vectors_and_excluded_layers_are_adams(shape: tuple[int, ...], name: str) -> None:
    rng = np.random.default_rng(2)
    gradient = rng.normal(size=shape)
    # The first step of Adam is the rate in the direction of the sign.
    np.testing.assert_allclose(
        moved(np.zeros(shape), gradient, name.replace("/", "_")), -0.01 * np.sign(gradient), rtol=1e-3
    )


def test_a_network_that_was_saved_with_it_goes_on(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((6, 3)), keras.layers.Conv1D(4, 3), keras.layers.Flatten()])
    network.compile(Muon(0.01), loss="mse")
    x, y = np.random.default_rng(3).normal(size=(2, 8, 6, 3))
    network.train_on_batch(x, y[:, :4, 0].repeat(4, axis=1))
    network.save(tmp_path / "network.keras")
    again = keras.models.load_model(tmp_path / "network.keras")
    for one in (network, again):
        one.train_on_batch(x, y[:, :4, 0].repeat(4, axis=1))
    for ours, theirs in zip(network.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
