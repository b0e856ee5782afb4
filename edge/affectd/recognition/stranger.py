"""What functionals as they are say of a voice that is not known: two layers that stand by the network.

Their logits are added to those of the network, as far as the voice is not known (`affectd.recognition.voice`). Its
arrays lie in ``golden.npz`` beside those of the voice, under the names of `ARRAYS`; a voice may do without them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from affectd.arrays import Array, Float16, Float32, Float64
from affectd.errors import ModelFileError
from affectd.features.functionals import N_FUNCTIONALS
from affectd.recognition.checks import Checks, is_array

ARRAYS = ("hidden", "hidden_bias", "outer", "outer_bias")
_MOST_UNITS = 256
# In units of the spread; what is farther is a fault of the sound rather than a stranger voice.
_FARTHEST = 4.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Stranger:
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

    def logits(self, away: Array) -> Float32:
        """Return what is added to the logits ``(n_labels,)`` of the network.

        ``away`` ``(N_FUNCTIONALS,)`` are the functionals minus the mean of the training, divided by its spread.
        """
        # float64, as the head.
        units = np.maximum(bounded(away) @ self.hidden + self.hidden_bias, 0.0)
        return np.asarray(units @ self.outer + self.outer_bias, np.float32)

    def checks(self, n_labels: int) -> Checks:
        """Yield what `affectd.recognition.checks.require` takes."""
        shape = self.hidden.shape if isinstance(self.hidden, np.ndarray) else ()
        n = shape[1] if len(shape) == 2 else 1
        expected = f"float16 ({N_FUNCTIONALS}, 1 to {_MOST_UNITS})"
        is_valid = is_array(self.hidden, np.float16, N_FUNCTIONALS, n) and 1 <= n <= _MOST_UNITS
        yield "golden.hidden", is_valid, expected, self.hidden
        for name, shape in (("hidden_bias", (n,)), ("outer", (n, n_labels)), ("outer_bias", (n_labels,))):
            array = getattr(self, name)
            yield f"golden.{name}", is_array(array, np.float16, *shape), f"float16 {shape}", array
        for name in ARRAYS:
            array = getattr(self, name)
            yield f"golden.{name}", bool(np.isfinite(array).all()), "finite numbers", array.tolist()

    def arrays(self) -> dict[str, Array]:
        """Return what lies in ``golden.npz``."""
        return {name: getattr(self, name) for name in ARRAYS}


def bounded(away: Array) -> Float64:
    """Return what a `Stranger` is given ``(..., N_FUNCTIONALS)``, without what is farther than it was trained on."""
    return np.asarray(np.clip(away, -_FARTHEST, _FARTHEST), np.float64)


def take_stranger(arrays: dict[str, Array]) -> Stranger | None:
    """Take the arrays out of those of ``golden.npz``; None where there are none.

    Raises
    ------
    ModelFileError
        Some are missing.
    """
    found = [name for name in ARRAYS if name in arrays]
    if not found:
        return None
    if len(found) < len(ARRAYS):
        raise ModelFileError(f"golden: expected the arrays {', '.join(ARRAYS)} together; found {', '.join(found)}")
    return Stranger(**{name: arrays.pop(name) for name in ARRAYS})
