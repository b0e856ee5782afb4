"""The head of a model file: from an embedding, minus a baseline, to logits.

The embedding is what the network gives, in format 5 with functionals after it; that of a `Voice` are functionals alone.
Its arrays lie in ``golden.npz`` under the names of `ARRAYS`; its numbers are ``baseline`` in ``spec.json``, and in
format 5 ``far_functionals``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from affectd.arrays import Array, Float32, Float64
from affectd.errors import ModelFileError
from affectd.features.functionals import N_FUNCTIONALS
from affectd.recognition.checks import LEAST, Checks, finite, is_array, is_number, within

ARRAYS = ("weights", "bias", "baseline", "spread")
# 64 to 256 are meant; more would cost time and memory at each classification.
_MOST_NUMBERS = 1024
# Twice as far, 1/256 of the logits is left. Not nothing: the best label stays the best.
_FALL = 8


@dataclass(frozen=True, kw_only=True)
class BaselineSpec:
    """How the baseline learns; training chooses the numbers. See `affectd.recognition.baseline` for the formula."""

    prior_seconds: float
    """The mean of the training counts as much as this many seconds of speech."""
    half_life_hours: float
    """After this long, speech counts half; hours of sound, not of the day."""
    utterance_seconds: float
    """An utterance counts at most as this many seconds of speech."""
    least_seconds: float
    """An utterance with less speech is not learned from."""
    least_speech_ratio: float
    """Nor is one in which less of the time is speech."""
    near_distance: float
    """An utterance farther than this from the baseline counts less: ``near_distance / distance``."""
    far_distance: float
    """An utterance farther than this from the mean of the training is none, and not learned from."""

    @property
    def moves(self) -> bool:
        """Whether a place is learned at all: that of a file for one voice stays where it is."""
        return self.prior_seconds < _RANGES["prior_seconds"][1]

    def checks(self) -> Checks:
        """Yield what `affectd.recognition.checks.require` takes."""
        yield from within("baseline", self, _RANGES)
        is_far = self.far_distance >= self.near_distance
        yield "baseline.far_distance", is_far, f"near_distance ({self.near_distance:g}) or more", self.far_distance


_RANGES: dict[str, tuple[float, float]] = {
    "prior_seconds": (1.0, 1e6),
    "half_life_hours": (0.01, 1e6),
    "utterance_seconds": (0.1, 3600.0),
    "least_seconds": (0.0, 3600.0),
    "least_speech_ratio": (0.0, 1.0),
    "near_distance": (1e-3, 1e6),
    "far_distance": (1e-3, 1e6),
}


@dataclass(frozen=True, eq=False, kw_only=True)
class Head:
    """A linear layer on the embedding minus the baseline; in format 5 the embedding ends in functionals.

    Parameters
    ----------
    weights : (n_embedding, n_labels) float32
    bias : (n_labels,) float32
    baseline : (n_embedding,) float32
        The mean embedding of the training, which the baseline of a place starts from.
    spread : (n_embedding,) float32
        The standard deviation of each number in the training, above 0: the unit of distances.
    spec : BaselineSpec
        How the baseline of a place learns.
    far_functionals : float, optional
        What is heard is doubted where its functionals are farther than this from the baseline above; None where the
        head sees none.
    """

    weights: Float32
    bias: Float32
    baseline: Float32
    spread: Float32
    spec: BaselineSpec
    far_functionals: float | None = None

    @property
    def n_embedding(self) -> int:
        """How many numbers the embedding has."""
        return len(self.baseline)

    def logits(self, embedding: Float32, baseline: Float32) -> Float32:
        """Return the logits ``(n_labels,)`` of an embedding where the baseline is this, each ``(n_embedding,)``."""
        # float64, so that they are the same to the last bits whatever NumPy computes products with.
        centered = embedding.astype(np.float64) - baseline
        return np.asarray(centered @ self.weights + self.bias, np.float32)

    def seen(self, output: Float32, functionals: Float32) -> Float32:
        """Return the embedding ``(n_embedding,)`` of a head that sees functionals: the network's output, then these.

        Functionals of no sound, NaN, are replaced by the mean of the training, so that they have no influence.
        """
        known = functionals if np.isfinite(functionals).all() else self.baseline[len(output) :]
        return np.concatenate([output, known])

    def doubted(self, logits: Array, seen: Array) -> Float32:
        """Return logits ``(..., n_labels)``, scaled down where functionals are farther than `far_functionals`.

        The functionals are at the end of `seen`, ``(..., n_embedding)``. So speech unlike all that the head was fitted
        to, such as that of another person or microphone, becomes ``uncertain``.
        """
        if self.far_functionals is None:
            return np.asarray(logits, np.float32)
        distance = functionals_distance(seen, self.baseline, self.spread)
        share = (self.far_functionals / np.maximum(distance, self.far_functionals)) ** _FALL
        return np.asarray(logits * share[..., np.newaxis], np.float32)

    def distance(self, embedding: Array) -> float:
        """Return how far an embedding ``(n_embedding,)`` is from the mean of the training.

        In units of the spread, the root of the mean square over the numbers: about 1 for what was trained on.
        """
        return self.distance_between(embedding, self.baseline)

    def distance_between(self, first: Array, second: Array) -> float:
        """Return the distance between two embeddings, as `distance`."""
        steps = (np.asarray(first, np.float64) - second) / self.spread
        return float(np.sqrt(np.mean(steps * steps)))

    def checks(self, n_labels: int) -> Checks:
        """Yield what `affectd.recognition.checks.require` takes."""
        n = self.weights.shape[0] if isinstance(self.weights, np.ndarray) and self.weights.ndim == 2 else 1
        yield (
            "golden.weights",
            is_array(self.weights, np.float32, n, n_labels),
            f"float32 (n, {n_labels})",
            self.weights,
        )
        yield "golden.weights", 1 <= n <= _MOST_NUMBERS, f"an embedding of 1 to {_MOST_NUMBERS} numbers", n
        for name, length in (("bias", n_labels), ("baseline", n), ("spread", n)):
            array = getattr(self, name)
            yield f"golden.{name}", is_array(array, np.float32, length), f"float32 ({length},)", array
        for name in ARRAYS:
            yield from finite(f"golden.{name}", getattr(self, name))
        least = float(self.spread.min())
        yield "golden.spread", least >= LEAST, f"numbers of at least {LEAST:g}", least
        far = self.far_functionals
        is_valid = far is None or (is_number(far) and 1e-3 <= far <= 1e6)
        yield "far_functionals", is_valid, "a number from 0.001 to 1e+06", far
        yield from self.spec.checks()

    def arrays(self) -> dict[str, Array]:
        """Return what lies in ``golden.npz``."""
        return {name: getattr(self, name) for name in ARRAYS}


def functionals_distance(seen: Array, mean: Array, spread: Array) -> Float64:
    """Return the distance ``(...)`` of the functionals, the last numbers of `seen`, from those of `mean`.

    `seen` is ``(..., n_embedding)``, `mean` and `spread` are ``(n_embedding,)``. It is the root of the mean square over
    the functionals, in units of the spread.
    """
    steps = (np.asarray(seen, np.float64) - mean)[..., -N_FUNCTIONALS:] / spread[-N_FUNCTIONALS:]
    return np.asarray(np.sqrt(np.mean(steps * steps, -1)))


def take_head(arrays: dict[str, Array], spec: BaselineSpec, far_functionals: float | None = None) -> Head:
    """Take the arrays of the head out of those of ``golden.npz``.

    Raises
    ------
    ModelFileError
        One is missing.
    """
    missing = [name for name in ARRAYS if name not in arrays]
    if missing:
        raise ModelFileError(f"golden: expected the arrays {', '.join(ARRAYS)} of the head; missing {missing}")
    return Head(spec=spec, far_functionals=far_functionals, **{name: arrays.pop(name) for name in ARRAYS})
