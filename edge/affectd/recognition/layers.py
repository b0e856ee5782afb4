"""A small network on functionals, in float, whose logits are added to those of the int8 network.

A voice has up to two of them (`affectd.recognition.voice`): ``relative`` for a voice that is known, ``stranger`` for
one that is not. Their arrays lie in ``golden.npz`` beside those of the voice, under the names of `ARRAYS`, those of
``relative`` with ``relative_`` before them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import erf, sqrt

import numpy as np

from affectd.arrays import Array, Float16, Float64
from affectd.errors import ModelFileError
from affectd.features.functionals import N_FUNCTIONALS
from affectd.recognition.checks import Checks, finite, is_array

ARRAYS = ("hidden", "hidden_bias", "outer", "outer_bias")
STRANGER, RELATIVE = "", "relative_"
"""How the names of the arrays begin."""
_MOST_UNITS = 256
# In units of the spread; what is farther is a fault of the sound rather than another voice.
_FARTHEST = 4.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Layers:
    """Two layers with a rectifier between them, on functionals divided by the spread of those of the training.

    Parameters
    ----------
    hidden : (N_FUNCTIONALS, n_units) float16
    hidden_bias : (n_units,) float16
    outer : (n_units, n_labels) float16
    outer_bias : (n_labels,) float16
    """

    hidden: Float16
    hidden_bias: Float16
    outer: Float16
    outer_bias: Float16

    def logits(self, away: Array) -> Float64:
        """Return what is added to the logits ``(n_labels,)`` of the network.

        ``away`` ``(N_FUNCTIONALS,)`` are the functionals minus a baseline, divided by the spread of the training.
        """
        # float64, as the head.
        units = np.maximum(bounded(away) @ self.hidden + self.hidden_bias, 0.0)
        return np.asarray(units @ self.outer + self.outer_bias, np.float32).astype(np.float64)

    def slopes(self) -> Float64:
        """Return the mean derivative of the logits with respect to `away`, ``(N_FUNCTIONALS, n_labels)``.

        The mean is over standard normal `away`, which functionals nearly are. The derivative of a rectifier is 1 above
        0 and 0 below, so its mean is the probability of being above 0.
        """
        lengths = np.maximum(np.sqrt(np.sum(self.hidden.astype(np.float64) ** 2, axis=0)), 1e-6)
        above = [0.5 + 0.5 * erf(ratio / sqrt(2.0)) for ratio in (self.hidden_bias / lengths).tolist()]
        return np.asarray(self.hidden * above @ self.outer, np.float64)

    def checks(self, n_labels: int, prefix: str) -> Checks:
        """Yield what `affectd.recognition.checks.require` takes."""
        shape = self.hidden.shape if isinstance(self.hidden, np.ndarray) else ()
        n = shape[1] if len(shape) == 2 else 1
        expected = f"float16 ({N_FUNCTIONALS}, 1 to {_MOST_UNITS})"
        is_valid = is_array(self.hidden, np.float16, N_FUNCTIONALS, n) and 1 <= n <= _MOST_UNITS
        yield f"golden.{prefix}hidden", is_valid, expected, self.hidden
        for name, shape in (("hidden_bias", (n,)), ("outer", (n, n_labels)), ("outer_bias", (n_labels,))):
            array = getattr(self, name)
            yield f"golden.{prefix}{name}", is_array(array, np.float16, *shape), f"float16 {shape}", array
        for name in ARRAYS:
            yield from finite(f"golden.{prefix}{name}", getattr(self, name))

    def arrays(self, prefix: str) -> dict[str, Array]:
        """Return what lies in ``golden.npz``, by names that begin so."""
        return {prefix + name: getattr(self, name) for name in ARRAYS}


def bounded(away: Array) -> Float64:
    """Clip what `Layers` are given, ``(..., N_FUNCTIONALS)``, to the range they were trained on."""
    return np.asarray(np.clip(away, -_FARTHEST, _FARTHEST), np.float64)


def take_layers(arrays: dict[str, Array], prefix: str) -> Layers | None:
    """Take the arrays whose names begin so out of those of ``golden.npz``; None where there are none.

    Raises
    ------
    ModelFileError
        Some are missing.
    """
    names = [prefix + name for name in ARRAYS]
    found = [name for name in names if name in arrays]
    if not found:
        return None
    if len(found) < len(names):
        raise ModelFileError(f"golden: expected the arrays {', '.join(names)} together; found {', '.join(found)}")
    return Layers(**{name: arrays.pop(prefix + name) for name in ARRAYS})
