"""Does the network know what it does not know? Of speakers it never heard, at a temperature fitted without them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from affectd.arrays import Array
from affectd_train.evaluation.predictions import Prediction, Probabilities, best_label

N_BINS = 10
N_GROUPS = 10
_LOWEST = 1e-4  # predictions are rounded to it, and the logarithm of 0 is none

OF_SPEAKERS = "of each speaker fitted on all the others"
OF_GROUPS = "of each tenth of the recordings, and each speaker who is known, fitted on all the others"


class Bin(TypedDict):
    """The answers of about the same probability: its mean, the share of right ones, how many there are."""

    probability: float
    right: float
    n: int


class Covered(TypedDict):
    """The accuracy of answers at least as probable as a threshold; ``coverage`` is their share of all."""

    coverage: float
    threshold: float
    weighted: float
    unweighted: float


class Calibration(TypedDict):
    """Part of ``metrics.json``; ``ece`` is the expected calibration error, ``temperature`` says how it was fitted."""

    network: str
    temperature: str
    recordings: int
    ece: float
    reliability: list[Bin]
    coverage: list[Covered]


def cross_fitted(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Sharpen or soften every speaker's predictions with the temperature that suits all the others best.

    One temperature fitted on the very recordings it is judged on would flatter it. Predictions are those of the int8
    network at temperature 1; of a single speaker they stay as they are. Recordings whose speakers are not known are
    dealt out to `N_GROUPS` groups that stand for speakers.
    """
    groups = [p["speaker"] or str(number % N_GROUPS) for number, p in enumerate(predictions)]
    if len(set(groups)) < 2:
        return list(predictions)
    others = {
        group: [p for p, its in zip(predictions, groups, strict=True) if its != group] for group in sorted(set(groups))
    }
    fitted = {group: calibrate(theirs) for group, theirs in others.items()}
    return [p | {"int8": soften(p["int8"], fitted[group])} for p, group in zip(predictions, groups, strict=True)]


def soften(probabilities: Probabilities, temperature: float) -> Probabilities:
    """Divide the logits behind probabilities by a temperature.

    Examples
    --------
    >>> softened = soften({"calm": 0.9, "sad": 0.1}, temperature=2.0)
    >>> {label: round(p, 3) for label, p in softened.items()}
    {'calm': 0.75, 'sad': 0.25}
    """
    powers = {label: max(p, _LOWEST) ** (1 / temperature) for label, p in probabilities.items()}
    total = sum(powers.values())
    return {label: power / total for label, power in powers.items()}


def calibration_figures(predictions: Sequence[Prediction]) -> Calibration:
    """Compute the calibration error, the reliability diagram and the coverage curve of the int8 network, cross-fitted.

    Recordings in which the gate heard no speech have no probability and are left out.
    """
    heard = cross_fitted([p for p in predictions if p["int8"]])
    sure = np.array([max(p["int8"].values()) for p in heard])
    truth = np.array([p["truth"] for p in heard])
    right = np.array([best_label(p["int8"]) for p in heard]) == truth
    return {
        "network": "int8",
        "temperature": OF_SPEAKERS if all(p["speaker"] for p in heard) else OF_GROUPS,
        "recordings": len(heard),
        "ece": expected_calibration_error(sure, right),
        "reliability": reliability(sure, right),
        "coverage": coverage(sure, right, truth),
    }


def reliability(sure: Array, right: Array) -> list[Bin]:
    """Compare probability and share of right answers in `N_BINS` bins of equal width; empty ones are left out."""
    bins = np.minimum((sure * N_BINS).astype(int), N_BINS - 1)
    return [
        {"probability": float(sure[bins == b].mean()), "right": float(right[bins == b].mean()), "n": int(n)}
        for b in range(N_BINS)
        if (n := (bins == b).sum())
    ]


def expected_calibration_error(sure: Array, right: Array) -> float:
    """Mean distance between probability and share of right answers, each bin counted by its answers.

    C. Guo et al., "On calibration of modern neural networks", 2017, eq. 3.

    Examples
    --------
    >>> expected_calibration_error(np.array([0.75, 0.75]), np.array([True, False]))
    0.25
    """
    bins = reliability(sure, right)
    return sum(b["n"] * abs(b["probability"] - b["right"]) for b in bins) / max(1, len(sure))


def coverage(sure: Array, right: Array, truth: Array) -> list[Covered]:
    """Draw the line of ``uncertain`` so that 5, 10, ... 100 % of the recordings are answered."""
    if not len(sure):
        return []
    order = np.argsort(-sure, kind="stable")
    curve: list[Covered] = []
    for share in np.linspace(0.05, 1.0, 20):
        answered = order[: max(1, round(share * len(order)))]
        recalls = [right[answered][truth[answered] == label].mean() for label in np.unique(truth[answered])]
        curve.append(
            {
                "coverage": round(float(share), 2),
                "threshold": float(sure[answered[-1]]),
                "weighted": float(right[answered].mean()),
                "unweighted": float(np.mean(recalls)),
            }
        )
    return curve


def calibrate(predictions: Sequence[Prediction]) -> float:
    """Find the temperature at which the probabilities of the int8 network are those of being right.

    Predictions are made with temperature 1, of clips that were not trained on.
    C. Guo et al., "On calibration of modern neural networks", 2017: minimize the negative log-likelihood.

    Examples
    --------
    Always 0.9 sure, and right in three of four: too sure.

    >>> cases = [{"truth": truth, "int8": {"calm": 0.9, "sad": 0.1}} for truth in ("calm", "calm", "calm", "sad")]
    >>> round(calibrate(cases), 2)
    2.0
    """
    from scipy.optimize import minimize_scalar

    heard = [p for p in predictions if p["int8"]]
    if not heard:
        return 1.0
    labels = list(heard[0]["int8"])
    logits = np.log(np.array([[max(p["int8"][label], _LOWEST) for label in labels] for p in heard]))
    truth = np.array([labels.index(p["truth"]) for p in heard])

    def cost(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        scaled -= np.log(np.exp(scaled).sum(1, keepdims=True))
        return float(-scaled[np.arange(len(truth)), truth].mean())

    return float(np.exp(minimize_scalar(cost, bounds=(-2.0, 2.0), method="bounded").x))


SURE_ABROAD = 0.7
"""How much of what is named on corpora that were not trained on shall be right."""


def fit_threshold(
    predictions: Sequence[Prediction], temperature: float, coverage: float = 0.5, precision: float = 0.0
) -> float:
    """Find the probability below which a label is ``uncertain``.

    It is the lowest one at which no more than the share `coverage` of held-out clips is named and at least the share
    `precision` of these is right, each corpus counting the same; if there is none, the one at which a twentieth is
    named. With half of the acted recordings named, noise is never named, and everyday speech a few times an hour.
    """
    heard = [p for p in predictions if p["int8"]]
    best = np.array([max(soften(p["int8"], temperature).values()) for p in heard])
    right = np.array([best_label(p["int8"]) == p["truth"] for p in heard])
    _, corpus, sizes = np.unique([p["corpus"] for p in heard], return_inverse=True, return_counts=True)
    weights = 1 / sizes[corpus]
    threshold = 1.0
    for share in np.arange(coverage, 0.049, -0.01):
        threshold = float(np.quantile(best, 1 - share))
        named = best >= threshold
        if np.average(right[named], weights=weights[named]) >= precision:
            break
    return threshold


def device_settings(
    predictions: Sequence[Prediction], stranger_share: float, precision: float = 0.0
) -> tuple[float, float]:
    """Find the temperature of a device and its threshold of ``uncertain``, from what it answers to strangers.

    Both are those that fit the answers where strangers are not doubted: the doubt comes on top of that.

    Parameters
    ----------
    predictions
        At temperature 1, with the doubt.
    stranger_share
        That of the voices, see `affectd.recognition.voice.VoiceSpec`; 1 without.
    precision
        See `fit_threshold`.
    """
    fitting = calibrate(predictions)
    return fitting / stranger_share, fit_threshold(predictions, fitting, precision=precision)


def named_at(predictions: Sequence[Prediction], temperature: float, threshold: float) -> tuple[float, float | None]:
    """Return the share of recordings that are named at a threshold, and the share of these whose label is right."""
    named = [p for p in predictions if p["int8"] and max(soften(p["int8"], temperature).values()) >= threshold]
    right = sum(best_label(p["int8"]) == p["truth"] for p in named)
    return len(named) / max(1, len(predictions)), right / len(named) if named else None
