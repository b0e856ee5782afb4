"""Does the network know what it does not know? Of speakers it never heard, at a temperature fitted without them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectd_train.evaluation.predictions import Prediction, answer

N_BINS = 10


def cross_fitted(predictions: Sequence[Prediction], network: str) -> list[Prediction]:
    """Sharpen or soften every speaker's predictions with the temperature that suits all the others best.

    One temperature fitted on the very recordings it is judged on would flatter it.

    Parameters
    ----------
    predictions
        Made with temperature 1; with a single speaker they stay as they are.
    """
    speakers = sorted({p["speaker"] for p in predictions})
    if len(speakers) < 2:
        return list(predictions)
    temperatures = {
        speaker: calibrate([p | {"int8": p[network]} for p in predictions if p["speaker"] != speaker])
        for speaker in speakers
    }
    return [p | {network: soften(p[network], temperatures[p["speaker"]])} for p in predictions]


def soften(probabilities: dict[str, float], temperature: float) -> dict[str, float]:
    """Divide the logits behind probabilities by a temperature."""
    powers = {label: max(p, 1e-4) ** (1 / temperature) for label, p in probabilities.items()}
    total = sum(powers.values())
    return {label: power / total for label, power in powers.items()}


def calibration_figures(predictions: Sequence[Prediction], network: str = "int8") -> dict[str, Any]:
    """Compute the expected calibration error, the reliability diagram and the coverage curve, cross-fitted.

    Recordings in which the gate heard no speech have no probability and are left out.

    Returns
    -------
    ``ece``; ``reliability``: per bin of the best label's probability its mean, how many of the answers were right and
    how many there were; ``coverage``: how right the answers are, and how right unweighted by class, when the least
    certain ones are called ``uncertain``.
    """
    heard = [p for p in cross_fitted([p for p in predictions if p[network]], network) if p[network]]
    sure = np.array([max(p[network].values()) for p in heard])
    right = np.array([answer(p, network) == p["truth"] for p in heard])
    truth = np.array([p["truth"] for p in heard])
    return {
        "network": network,
        "temperature": "of each speaker fitted on all the others",
        "recordings": len(heard),
        "ece": expected_calibration_error(sure, right),
        "reliability": reliability(sure, right),
        "coverage": coverage(sure, right, truth),
    }


def reliability(sure: NDArray[Any], right: NDArray[Any]) -> list[dict[str, float]]:
    """Compare probability and share of right answers in `N_BINS` bins of equal width; empty ones are left out."""
    bins = np.minimum((sure * N_BINS).astype(int), N_BINS - 1)
    return [
        {"probability": float(sure[bins == b].mean()), "right": float(right[bins == b].mean()), "n": int(n)}
        for b in range(N_BINS)
        if (n := (bins == b).sum())
    ]


def expected_calibration_error(sure: NDArray[Any], right: NDArray[Any]) -> float:
    """Mean distance between probability and share of right answers, each bin counted by its answers.

    C. Guo et al., "On calibration of modern neural networks", 2017, eq. 3.
    """
    bins = reliability(sure, right)
    return sum(b["n"] * abs(b["probability"] - b["right"]) for b in bins) / max(1, len(sure))


def coverage(sure: NDArray[Any], right: NDArray[Any], truth: NDArray[Any]) -> list[dict[str, float]]:
    """Draw the line of ``uncertain`` so that 5, 10, ... 100 % of the recordings are answered."""
    order = np.argsort(-sure, kind="stable")
    curve = []
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
    """Find the temperature that makes the probabilities of held-out speakers honest.

    C. Guo et al., "On calibration of modern neural networks", 2017: minimize the negative log-likelihood.

    Parameters
    ----------
    predictions
        Made with temperature 1, of clips nobody trained on.
    """
    from scipy.optimize import minimize_scalar

    heard = [p for p in predictions if p["int8"]]
    labels = list(heard[0]["int8"])
    logits = np.log(np.array([[max(p["int8"][label], 1e-4) for label in labels] for p in heard]))
    truth = np.array([labels.index(p["truth"]) for p in heard])

    def cost(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        scaled -= np.log(np.exp(scaled).sum(1, keepdims=True))
        return float(-scaled[np.arange(len(truth)), truth].mean())

    return float(np.exp(minimize_scalar(cost, bounds=(-2.0, 2.0), method="bounded").x))


def uncertain_threshold(predictions: Sequence[Prediction], temperature: float, coverage: float = 0.5) -> float:
    """Find the probability that the best label of this share of held-out clips exceeds.

    With every second acted recording named, noise is named none, and everyday speech no more than a few times an hour.
    """
    best = []
    for prediction in predictions:
        if prediction["int8"]:
            powers = np.array([max(p, 1e-4) for p in prediction["int8"].values()]) ** (1 / temperature)
            best.append(powers.max() / powers.sum())
    return float(np.quantile(best, 1 - coverage))
