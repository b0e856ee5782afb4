"""Two layers fitted to functionals: the mean of small networks side by side, each with other weights to begin with."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier

from affectd.arrays import Array, Float64
from affectd.recognition.layers import Layers, bounded

_N_NETS, _N_UNITS = 2, 12
_STRENGTH = 1.0  # what scikit-learn calls alpha
_FEWEST_STEPS = 300
_BATCH = 256
_RATE = 2e-3

Draw = Callable[[np.random.Generator], Float64]
"""Gives what the clips are in the next epoch ``(n_clips, N_FUNCTIONALS)``, as `Layers.logits` takes them."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What layers for one use are fitted with."""

    share: float
    """How much of the logits that fit is taken."""
    prior: float
    """How much of what labels owe to being frequent is taken from them."""
    epochs: int
    """Or more, where clips are few."""

    def settings(self) -> dict[str, Any]:
        """Return all numbers, for the card."""
        numbers = {"nets": _N_NETS, "units": _N_UNITS, "strength": _STRENGTH, "batch": _BATCH, "rate": _RATE}
        return dataclasses.asdict(self) | numbers


def fit_layers(draw: Draw, emotions: Array, weights: Float64, labels: Sequence[str], fit: Fit) -> Layers:
    """Fit layers for a network with these labels, of which they do not raise or lower those that no clip has.

    Parameters
    ----------
    emotions, weights
        Of the clips, ``(n_clips,)``.
    """
    known = np.unique(emotions)
    nets = [_fitted(draw, emotions, weights, fit, seed) for seed in range(_N_NETS)]
    # Of two labels scikit-learn tells the difference alone.
    both = np.array([[-0.5, 0.5]]) if len(known) == 2 else np.eye(len(known))
    outer = np.concatenate([net.coefs_[1] for net in nets]) @ both / _N_NETS
    bias = np.mean([net.intercepts_[1] for net in nets], 0) @ both
    bias -= fit.prior * np.log([weights[emotions == emotion].sum() for emotion in known])
    columns = [labels.index(label) for label in known]

    def among(values: Float64) -> Array:
        """Give the outputs ``(..., n_known)`` their places among all labels, ``(..., n_labels)``."""
        found = np.zeros((*values.shape[:-1], len(labels)), np.float16)
        found[..., columns] = fit.share * (values - values.mean(-1, keepdims=True))
        return found

    return Layers(
        hidden=np.concatenate([net.coefs_[0] for net in nets], 1).astype(np.float16),
        hidden_bias=np.concatenate([net.intercepts_[0] for net in nets]).astype(np.float16),
        outer=among(outer),
        outer_bias=among(bias),
    )


def _fitted(draw: Draw, emotions: Array, weights: Float64, fit: Fit, seed: int) -> MLPClassifier:
    generator, n_clips = np.random.default_rng(seed), len(emotions)
    net = MLPClassifier(
        (_N_UNITS,), alpha=_STRENGTH, batch_size=min(_BATCH, n_clips), learning_rate_init=_RATE, random_state=seed
    )
    for _ in range(max(fit.epochs, math.ceil(_FEWEST_STEPS / math.ceil(n_clips / _BATCH)))):
        net.partial_fit(bounded(draw(generator)), emotions, classes=np.unique(emotions), sample_weight=weights)
    return net
