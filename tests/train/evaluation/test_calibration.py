"""Calibration against simulated networks whose honesty is known."""

from __future__ import annotations

import numpy as np
import pytest

from affectd_train.evaluation.calibration import (
    calibration_figures,
    coverage,
    cross_fitted,
    expected_calibration_error,
    reliability,
)

LABELS = ("angry", "calm", "happy", "sad")


def simulated(n: int, sharpness: float, speakers: int = 5) -> list[dict[str, object]]:
    """Predictions whose probabilities are honest when ``sharpness`` is 1, too sure above."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (n, len(LABELS)))
    honest = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = [LABELS[rng.choice(len(LABELS), p=row)] for row in honest]
    shown = honest**sharpness / (honest**sharpness).sum(1, keepdims=True)
    return [
        {"speaker": str(i % speakers), "truth": t, "int8": dict(zip(LABELS, row, strict=True))}
        for i, (t, row) in enumerate(zip(truth, shown, strict=True))
    ]


def test_the_error_of_a_case_worked_by_hand() -> None:
    sure = np.array([0.95, 0.95, 0.55, 0.55])
    right = np.array([True, False, True, False])
    # Two bins of two: |0.95 - 0.5| and |0.55 - 0.5|, each counted half.
    assert expected_calibration_error(sure, right) == pytest.approx(0.5 * 0.45 + 0.5 * 0.05)
    assert [b["n"] for b in reliability(sure, right)] == [2, 2]


def test_certainty_itself_has_a_bin() -> None:
    assert reliability(np.array([1.0]), np.array([True])) == [{"probability": 1.0, "right": 1.0, "n": 1}]


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 2.5])
def test_temperature_makes_any_network_honest(sharpness: float) -> None:
    figures = calibration_figures(simulated(4000, sharpness))
    assert figures["ece"] < 0.03
    assert figures["recordings"] == 4000


def test_the_temperature_of_a_speaker_does_not_depend_on_that_speaker() -> None:
    cases = simulated(400, 1.0, speakers=4)
    mine = [case for case in cross_fitted(cases) if case["speaker"] == "0"]
    liar = [case | {"truth": "sad"} if case["speaker"] == "0" else case for case in cases]
    assert mine == [
        case | {"truth": before["truth"]}
        for case, before in zip((c for c in cross_fitted(liar) if c["speaker"] == "0"), mine, strict=True)
    ]
    others = [case["int8"] for case in cross_fitted(cases) if case["speaker"] == "1"]
    assert others != [case["int8"] for case in cross_fitted(liar) if case["speaker"] == "1"]


def test_answers_get_better_as_fewer_are_given() -> None:
    cases = simulated(2000, 1.0)
    curve = calibration_figures(cases)["coverage"]
    accuracy = [point["weighted"] for point in curve]
    assert curve[-1]["coverage"] == 1.0
    assert accuracy[1] > accuracy[9] > accuracy[-1]
    thresholds = [point["threshold"] for point in curve]
    assert thresholds == sorted(thresholds, reverse=True)


def test_the_coverage_curve_of_a_case_worked_by_hand() -> None:
    sure = np.linspace(1.0, 0.05, 20)
    right = np.arange(20) < 10
    truth = np.array(["a", "b"] * 10)
    curve = {point["coverage"]: point for point in coverage(sure, right, truth)}
    assert curve[0.5]["weighted"] == 1.0
    assert curve[1.0]["weighted"] == pytest.approx(0.5)
    assert curve[0.75]["weighted"] == pytest.approx(10 / 15)
    assert curve[0.5]["threshold"] == pytest.approx(sure[9])


def test_what_was_not_heard_has_no_probability() -> None:
    cases = simulated(100, 1.0)
    assert calibration_figures([*cases, cases[0] | {"int8": {}}])["recordings"] == 100
