"""Smoothing: waits, averages, sticks to a label, admits when it does not know."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affectd.config.sections import SmoothingConfig
from affectd.recognition.smoothing import UNCERTAIN, Answer, Smoother

LABELS = ("angry", "calm", "happy")
STRIDE = 0.25
THRESHOLD = 0.5
CONFIG = SmoothingConfig(
    average_seconds=0.0, minimum_count=2, hysteresis=0.1, patience=2, dwell_seconds=1.0, uncertain=None
)


def smoother(**changes: float) -> Smoother:
    values = {name: getattr(CONFIG, name) for name in CONFIG.__dataclass_fields__}
    return Smoother(SmoothingConfig(**{**values, **changes}), LABELS, STRIDE, THRESHOLD)


def favor(label: str, probability: float = 0.9) -> np.ndarray:
    rest = (1 - probability) / (len(LABELS) - 1)
    return np.array([probability if name == label else rest for name in LABELS], np.float32)


def labels(smooth: Smoother, stream: list[np.ndarray]) -> list[str | None]:
    answers = [smooth.push(probabilities) for probabilities in stream]
    return [answer.label if answer else None for answer in answers]


ANGRY, CALM, HAPPY = (favor(label) for label in LABELS)
FLAT = np.full(3, 1 / 3, np.float32)


def test_there_is_no_answer_before_the_minimum_count() -> None:
    assert labels(smoother(minimum_count=3), [CALM] * 4) == [None, None, "calm", "calm"]


def test_an_utterance_too_short_for_an_answer_has_none_at_its_end() -> None:
    short = smoother(minimum_count=3)
    labels(short, [CALM] * 2)
    assert short.overall() is None
    short.push(CALM)
    assert short.overall() is not None


def test_a_new_label_must_lead_patience_times_in_a_row() -> None:
    stream = [CALM] * 6 + [ANGRY, CALM, ANGRY, ANGRY, ANGRY]
    assert labels(smoother(patience=2), stream)[6:] == ["calm", "calm", "calm", "angry", "angry"]
    assert labels(smoother(patience=3), stream)[6:] == ["calm", "calm", "calm", "calm", "angry"]


def test_patience_counts_the_same_rival_only() -> None:
    stream = [CALM] * 6 + [ANGRY, HAPPY, ANGRY, HAPPY]
    assert set(labels(smoother(), stream)[6:]) == {"calm"}


def test_a_new_label_must_lead_by_the_hysteresis() -> None:
    close = np.array([0.52, 0.46, 0.02], np.float32)
    clear = np.array([0.54, 0.43, 0.03], np.float32)
    assert labels(smoother(), [CALM] * 6 + [close] * 9)[-1] == "calm"
    assert labels(smoother(), [CALM] * 6 + [clear] * 9)[-1] == "angry"


def test_a_label_stays_for_the_dwell() -> None:
    stream = [CALM] * 2 + [ANGRY] * 10
    changed = labels(smoother(patience=1, dwell_seconds=1.0), stream).index("angry")
    assert changed == 1 + 4, "first answer at index 1, four strides of 0.25 s later"


def test_the_answer_is_the_mean_of_the_last_average_seconds() -> None:
    smooth = smoother(average_seconds=1.0, minimum_count=4)
    answer = None
    for probabilities in [ANGRY, CALM, CALM, CALM, HAPPY]:
        answer = smooth.push(probabilities)
    assert answer is not None
    assert answer.probabilities == pytest.approx(
        dict(zip(LABELS, np.mean([CALM, CALM, CALM, HAPPY], axis=0).tolist(), strict=True))
    )
    assert answer.label == "calm"


def test_below_the_threshold_the_answer_is_uncertain_with_the_best_probability() -> None:
    smooth = smoother()
    smooth.push(favor("calm", 0.45))
    answer = smooth.push(favor("calm", 0.45))
    assert answer is not None
    assert (answer.label, answer.probability) == (UNCERTAIN, pytest.approx(0.45))


def test_leaving_a_label_for_uncertain_takes_the_same_lead() -> None:
    assert labels(smoother(), [CALM] * 6 + [favor("calm", 0.45)] * 9)[-1] == "calm", "0.05 below the threshold"
    assert labels(smoother(), [CALM] * 6 + [FLAT] * 9)[-1] == UNCERTAIN
    assert labels(smoother(), [FLAT] * 6 + [favor("calm", 0.55)] * 9)[-1] == UNCERTAIN
    assert labels(smoother(), [FLAT] * 6 + [favor("calm", 0.65)] * 9)[-1] == "calm"


def test_overall_counts_every_classification_alike() -> None:
    smooth = smoother()
    stream = [CALM] * 3 + [ANGRY] * 7 + [FLAT]
    for probabilities in stream:
        smooth.push(probabilities)
    overall = smooth.overall()
    assert overall is not None
    mean = dict(zip(LABELS, np.mean(stream, axis=0, dtype=np.float64), strict=True))
    assert overall == Answer("angry", pytest.approx(mean["angry"]), pytest.approx(mean))


def test_an_utterance_keeps_the_label_it_earned() -> None:
    smooth = smoother()
    stream = [CALM] * 3 + [FLAT] * 30
    assert labels(smooth, stream)[-1] == UNCERTAIN
    overall = smooth.overall()
    assert overall is not None
    assert overall.label == "calm"
    assert overall.probability == pytest.approx(np.mean(stream, axis=0)[1], abs=1e-6)
    assert overall.probability < THRESHOLD


def test_an_utterance_that_was_never_named_gets_no_name_at_its_end() -> None:
    patient = smoother(patience=30)
    stream = [FLAT] * 2 + [CALM] * 20
    assert {*labels(patient, stream)} == {None, UNCERTAIN}
    overall = patient.overall()
    assert overall is not None
    assert overall.label == UNCERTAIN
    assert overall.probability > THRESHOLD, "calm is probable on the whole, but was not said"


def test_the_first_answer_waits_for_speech_and_later_ones_do_not() -> None:
    smooth = smoother(minimum_count=2)
    heard = [True, False, False, True, False]
    answers = [smooth.push(CALM, is_speech) for is_speech in heard]
    assert [answer.label if answer else None for answer in answers] == [None, None, None, "calm", "calm"]
    assert smoother(minimum_count=1).push(CALM, False) is None


vectors = st.lists(st.floats(-6, 6), min_size=3, max_size=3).map(
    lambda logits: (np.exp(logits) / np.exp(logits).sum()).astype(np.float32)
)
configs = st.builds(
    SmoothingConfig,
    average_seconds=st.floats(0, 2),
    minimum_count=st.integers(1, 5),
    hysteresis=st.floats(0, 0.5),
    patience=st.integers(1, 4),
    dwell_seconds=st.floats(0, 3),
)


@settings(deadline=None)
@given(config=configs, stream=st.lists(vectors, max_size=60))
def test_whatever_comes_the_label_never_changes_faster_than_the_dwell(
    config: SmoothingConfig, stream: list[np.ndarray]
) -> None:
    smooth = Smoother(config, LABELS, STRIDE, THRESHOLD)
    said = labels(smooth, stream)
    assert said[: config.minimum_count - 1] == [None] * min(len(stream), config.minimum_count - 1)
    assert None not in said[config.minimum_count - 1 :]
    changes = [i for i in range(config.minimum_count, len(said)) if said[i] != said[i - 1]]
    begun = [config.minimum_count - 1, *changes]
    for earlier, later in zip(begun, changes, strict=False):
        assert (later - earlier) * STRIDE >= config.dwell_seconds
        assert later - earlier >= config.patience


@settings(deadline=None)
@given(config=configs, stream=st.lists(vectors, max_size=40))
def test_whatever_comes_the_probability_is_that_of_the_label(config: SmoothingConfig, stream: list[np.ndarray]) -> None:
    smooth = Smoother(config, LABELS, STRIDE, THRESHOLD)
    for answer in [*(smooth.push(p) for p in stream), smooth.overall()]:
        if answer is None:
            continue
        assert list(answer.probabilities) == list(LABELS)
        assert math.isclose(sum(answer.probabilities.values()), 1, abs_tol=1e-5)
        if answer.label == UNCERTAIN:
            assert answer.probability == max(answer.probabilities.values())
        else:
            assert answer.probability == answer.probabilities[answer.label]


@settings(deadline=None)
@given(config=configs, before=st.lists(vectors, max_size=20), stream=st.lists(vectors, max_size=20))
def test_after_reset_nothing_of_the_past_counts(
    config: SmoothingConfig, before: list[np.ndarray], stream: list[np.ndarray]
) -> None:
    used, fresh = (Smoother(config, LABELS, STRIDE, THRESHOLD) for _ in range(2))
    for probabilities in before:
        used.push(probabilities)
    used.reset()
    assert [used.push(p) for p in stream] == [fresh.push(p) for p in stream]
    assert used.overall() == fresh.overall()


@settings(deadline=None)
@given(config=configs, stream=st.lists(st.tuples(vectors, st.booleans()), max_size=40))
def test_whatever_comes_the_end_has_the_best_of_the_labels_that_were_given(
    config: SmoothingConfig, stream: list[tuple[np.ndarray, bool]]
) -> None:
    smooth = Smoother(config, LABELS, STRIDE, THRESHOLD)
    answers = [smooth.push(probabilities, is_speech) for probabilities, is_speech in stream]
    given_labels = {answer.label for answer in answers if answer}
    overall = smooth.overall()
    assert (overall is None) == (not given_labels)
    if overall is not None:
        mean = np.mean([probabilities for probabilities, _ in stream], axis=0, dtype=np.float64)
        assert list(overall.probabilities.values()) == pytest.approx(mean.tolist())
        named = given_labels - {UNCERTAIN}
        assert (overall.label in named) if named else (overall.label == UNCERTAIN)
        assert all(overall.probabilities[overall.label] >= overall.probabilities[label] for label in named)
