"""Valence and arousal: the mean of published ratings, weighted by probability."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectd.recognition.affect import COORDINATES, affect
from affectd.recognition.model_file import find_model, read_model

RATINGS = np.array([
    # pleasure, arousal: Russell and Mehrabian, 1977, table 4, but for the first row
    [0.00, 0.00],  # neutral
    [0.68, -0.46],  # relaxed
    [0.81, 0.51],  # happy
    [-0.63, -0.27],  # sad
    [-0.51, 0.59],  # angry
    [-0.64, 0.60],  # fearful
    [-0.60, 0.35],  # disgusted
    [0.40, 0.67],  # surprised
])  # fmt: skip
LABELS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")

WEIGHTS = st.lists(st.floats(0, 1), min_size=8, max_size=8).filter(lambda weights: sum(weights) > 1e-3)


def spread(weights: list[float]) -> dict[str, float]:
    return dict(zip(LABELS, (np.array(weights) / sum(weights)).tolist(), strict=True))


def test_each_label_alone_lies_where_people_rated_the_word() -> None:
    for label, (valence, arousal) in zip(LABELS, RATINGS.tolist(), strict=True):
        assert affect({label: 1.0}) == {"valence": valence, "arousal": arousal}


@given(WEIGHTS)
def test_any_answer_lies_between_the_labels_as_a_product_of_matrices_has_it(weights: list[float]) -> None:
    probabilities = spread(weights)
    found = affect(probabilities)
    assert list(found.values()) == pytest.approx(np.array([*probabilities.values()]) @ RATINGS, abs=6e-4)
    for value, rated in zip(found.values(), RATINGS.T, strict=True):
        assert value is not None
        assert -1 <= rated.min() - 1e-9 <= value <= rated.max() + 1e-9 <= 1


@given(WEIGHTS)
def test_probabilities_whose_last_digits_are_rounded_away_stay_in_the_bounds_of_the_schema(
    weights: list[float],
) -> None:
    found = affect({label: round(p, 4) for label, p in spread(weights).items()})
    assert all(value is not None and -1 <= value <= 1 for value in found.values())


@given(WEIGHTS, st.permutations(LABELS))
def test_the_order_of_the_labels_does_not_matter(weights: list[float], order: list[str]) -> None:
    probabilities = spread(weights)
    turned = {label: probabilities[label] for label in order}
    assert list(affect(turned).values()) == pytest.approx([*affect(probabilities).values()], abs=1.1e-3)


@given(WEIGHTS, st.text().filter(lambda name: name not in LABELS), st.floats(0, 1))
def test_a_label_of_which_nothing_is_known_leaves_both_open_however_improbable(
    weights: list[float], name: str, probability: float
) -> None:
    assert affect({**spread(weights), name: probability}) == {"valence": None, "arousal": None}


def test_without_speech_both_are_open() -> None:
    assert affect({}) == {"valence": None, "arousal": None}


def test_every_label_of_the_model_in_use_has_coordinates() -> None:
    assert set(read_model(find_model()).labels) <= COORDINATES.keys()
