"""The baseline of a place: its formula, what it learns from, and the same in blocks of any size."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affectd.config.sections import Config
from affectd.errors import UsageError
from affectd.pipeline import run
from affectd.recognition.baseline import Baseline, Placed
from affectd.recognition.classifier import Classifier
from affectd.recognition.head import BaselineSpec, Head
from kept import Repeatable
from sounds import CONVERSATION, as_int16, gain, noise, silence, syllables
from tiny_model import BASELINE, LABELS, place_model, tiny_model

START = np.float32([1.0, -2.0])
SPREAD = np.float32([0.5, 2.0])


def head(**spec: float) -> Head:
    return Head(
        weights=np.eye(2, 4, dtype=np.float32),
        bias=np.zeros(4, np.float32),
        baseline=START,
        spread=SPREAD,
        spec=BaselineSpec(**{**BASELINE, **spec}),
    )


def said(x: float, y: float) -> np.ndarray:
    """An embedding so many spreads from the mean of the training."""
    return START + SPREAD * np.float32([x, y])


def learn(baseline: Baseline, embedding: np.ndarray, at_hours: float = 0.0, **changes: Any) -> bool:
    heard = {"speech_seconds": 4.0, "speech_ratio": 0.7, **changes}
    return baseline.learn(embedding, at_hours=at_hours, **heard)


Utterance = tuple[float, tuple[float, float], float, float]
"""Hours since the one before, the embedding in spreads, seconds of speech, share of speech."""


def reference(spec: dict[str, float], utterances: list[Utterance]) -> tuple[list[float], float]:
    """The baseline and how settled it is, from the whole past each time, with Python's own numbers."""
    start, spread = START.tolist(), SPREAD.tolist()

    def distance(a: list[float], b: list[float]) -> float:
        return math.sqrt(sum(((p - q) / s) ** 2 for p, q, s in zip(a, b, spread, strict=True)) / len(a))

    past: list[tuple[float, float, list[float]]] = []  # when, weight, embedding
    baseline, settled, now = start, 0.0, 0.0
    for passed, steps, seconds, ratio in utterances:
        now += passed
        embedding = said(*steps).tolist()
        if seconds < spec["least_seconds"] or ratio < spec["least_speech_ratio"] or seconds == 0:
            continue
        if distance(embedding, start) > spec["far_distance"]:
            continue
        weight = min(seconds, spec["utterance_seconds"])
        if (away := distance(embedding, baseline)) > spec["near_distance"]:
            weight *= spec["near_distance"] / away
        past.append((now, weight, embedding))
        left = [(w * 0.5 ** ((now - when) / spec["half_life_hours"]), e) for when, w, e in past]
        total = sum(w for w, _ in left)
        prior = spec["prior_seconds"]
        baseline = [(prior * m + sum(w * e[i] for w, e in left)) / (prior + total) for i, m in enumerate(start)]
        settled = total / (prior + total)
    return baseline, settled


steps = st.floats(-12, 12, width=32)
utterances = st.lists(
    st.tuples(st.floats(0, 30), st.tuples(steps, steps), st.floats(0, 60), st.floats(0, 1)), max_size=30
)


@given(utterances=utterances, prior=st.floats(1, 1000), half_life=st.floats(0.01, 1000))
def test_the_formula_is_that_of_a_weighted_mean_over_all_that_was_heard(
    utterances: list[Utterance], prior: float, half_life: float
) -> None:
    spec = {**BASELINE, "prior_seconds": prior, "half_life_hours": half_life}
    baseline, now = Baseline(head(**spec)), 0.0
    for passed, moved, seconds, ratio in utterances:
        now += passed
        learn(baseline, said(*moved), now, speech_seconds=seconds, speech_ratio=ratio)
    expected, settled = reference(spec, utterances)
    assert baseline.value.dtype == np.float32
    np.testing.assert_allclose(baseline.value, expected, rtol=2e-5, atol=2e-5)
    assert baseline.settled == pytest.approx(settled, abs=1e-5)
    assert 0 <= baseline.settled < 1


def test_it_starts_at_the_mean_of_the_training() -> None:
    baseline = Baseline(head())
    np.testing.assert_array_equal(baseline.value, START)
    assert baseline.settled == baseline.distance == 0
    assert baseline.learned.since is None


def test_it_moves_to_the_mean_of_the_place_by_how_much_was_heard() -> None:
    baseline = Baseline(head(prior_seconds=40.0, near_distance=5.0))
    for n in range(1, 200):
        assert learn(baseline, said(1.0, -1.0))
        assert baseline.settled == pytest.approx(4 * n / (40 + 4 * n))
        np.testing.assert_allclose(baseline.value, said(baseline.settled, -baseline.settled), rtol=1e-5)
    assert baseline.distance == pytest.approx(baseline.settled, rel=1e-4)


def test_one_long_utterance_counts_as_the_longest_that_counts() -> None:
    long, limit = Baseline(head(utterance_seconds=6.0)), Baseline(head(utterance_seconds=6.0))
    learn(long, said(1, 1), speech_seconds=900.0)
    learn(limit, said(1, 1), speech_seconds=6.0)
    assert long.learned.seconds == limit.learned.seconds == 6.0
    np.testing.assert_array_equal(long.value, limit.value)


def test_a_quarrel_moves_it_less_than_as_much_ordinary_speech() -> None:
    ordinary = [said(0.3, 0.2), said(0.1, 0.4), said(0.2, 0.3)] * 20
    baseline = Baseline(head(utterance_seconds=6.0))
    for embedding in ordinary:
        learn(baseline, embedding)
    before, settled = baseline.value.copy(), baseline.learned.seconds
    for _ in range(10):
        learn(baseline, said(6.0, 6.0), speech_seconds=60.0)
    assert baseline.learned.seconds - settled < 0.4 * 60.0  # of ten utterances of 6 s each
    moved = baseline.head.distance_between(baseline.value, before)
    assert moved < 0.1 * baseline.head.distance_between(said(6.0, 6.0), before)


@pytest.mark.parametrize(
    "heard",
    [
        {"speech_seconds": 0.29},
        {"speech_seconds": 0.0},
        {"speech_ratio": 0.19},
        {"embedding": said(12.0, 0.0)},
        {"embedding": np.full(2, np.nan)},
    ],
    ids=["short", "silent", "mostly pauses", "far", "no number"],
)
def test_what_is_hardly_speech_changes_nothing(heard: dict[str, Any]) -> None:
    baseline = Baseline(head())
    learn(baseline, said(1, 0), at_hours=1.0)
    before, value = baseline.learned, baseline.value.copy()
    assert not learn(baseline, **{"embedding": said(0.5, 0.5), "at_hours": 2.0, **heard})
    assert baseline.learned is before
    np.testing.assert_array_equal(baseline.value, value)
    assert learn(baseline, said(0.5, 0.5), at_hours=3.0)


def test_after_the_half_life_what_was_heard_counts_half() -> None:
    baseline = Baseline(head(half_life_hours=48.0))
    learn(baseline, said(1, 0), at_hours=0.0)
    learn(baseline, said(0, 0), at_hours=48.0)
    assert baseline.learned.seconds == pytest.approx(2.0 + 4.0)
    np.testing.assert_allclose(baseline.learned.offset, [0.5 * 2 / 6, 0], rtol=1e-6, atol=1e-9)


def test_time_that_goes_back_forgets_nothing() -> None:
    baseline = Baseline(head())
    learn(baseline, said(1, 0), at_hours=50.0)
    learn(baseline, said(1, 0), at_hours=0.0)  # another recording of the place
    assert baseline.learned.seconds == 8.0


def test_it_goes_on_from_what_was_learned_before() -> None:
    first = Baseline(head())
    learn(first, said(1, 0), now=123.0)
    second = Baseline(head(), first.learned)
    np.testing.assert_array_equal(second.value, first.value)
    assert second.settled == first.settled
    learn(second, said(1, 0), now=456.0)
    assert second.learned.since == 123.0


def test_a_model_without_a_head_has_no_baseline() -> None:
    with pytest.raises(UsageError, match="has no baseline"):
        Placed(Classifier(tiny_model()))


TALK = np.concatenate([CONVERSATION, as_int16(np.concatenate([silence(1.5), gain(syllables(2.2), -25)]))])


def listen(blocks: list[np.ndarray], spec: dict[str, float] | None = None) -> tuple[Repeatable, Placed]:
    kept = Repeatable()
    placed = Placed(Classifier(place_model({"far_distance": 1e6, **(spec or {})})))
    run(blocks, placed, kept, Config(), ended=placed.ended)
    return kept, placed


@settings(max_examples=8)
@given(sizes=st.lists(st.integers(0, 9000), min_size=1, max_size=12).filter(any))
def test_events_and_baseline_are_the_same_bit_for_bit_in_blocks_of_any_size(sizes: list[int]) -> None:
    expected, whole = listen([TALK])
    edges = itertools.accumulate(itertools.cycle(sizes))
    kept, cut = listen(np.split(TALK, list(itertools.takewhile(lambda edge: edge < len(TALK), edges))))
    assert kept == expected != []
    assert cut.baseline.learned.seconds == whole.baseline.learned.seconds > 1
    assert cut.baseline.value.tobytes() == whole.baseline.value.tobytes() != cut.baseline.head.baseline.tobytes()


def test_an_utterance_has_one_baseline_that_from_before_it() -> None:
    model = place_model({"far_distance": 1e6, "least_speech_ratio": 0.0, "least_seconds": 0.0})
    assert model.head is not None
    head, classifier = model.head, Classifier(model)
    before, moves, embeddings = head.baseline.copy(), [], []
    alone = Baseline(head)

    class Watched(Placed):
        def __call__(self, cepstra: np.ndarray) -> np.ndarray:
            embeddings.append(classifier.embed(cepstra))
            powers = np.exp(((embeddings[-1] - before) @ head.weights + head.bias) / model.temperature)
            answer = super().__call__(cepstra)
            np.testing.assert_allclose(answer, powers / powers.sum(), rtol=1e-4, atol=1e-7)
            return answer

    watched = Watched(classifier)

    def ended(utterance: Any) -> None:
        nonlocal before
        np.testing.assert_array_equal(watched.baseline.value, before)
        assert watched.ended(utterance)
        assert alone.learn(
            np.mean(embeddings, axis=0),
            speech_seconds=utterance.speech_frames / model.spec.frame_rate,
            speech_ratio=utterance.speech_ratio,
            at_hours=utterance.end_seconds / 3600,
        )
        np.testing.assert_allclose(watched.baseline.value, alone.value, rtol=1e-5)
        before = watched.baseline.value.copy()
        moves.append(before.tobytes())
        embeddings.clear()

    run([TALK], watched, Repeatable(), Config(), ended=ended)
    assert len(set(moves)) == len(moves) >= 3


def test_noise_leaves_it_where_it_is() -> None:
    for kind in ("white", "pink", "hum"):
        _, placed = listen([np.concatenate([silence(2), gain(noise(kind, 6), -10), silence(2)])])
        assert placed.baseline.learned.seconds == 0


def test_the_end_of_a_sound_is_the_end_of_an_utterance() -> None:
    kept, placed = listen([gain(syllables(3), -20)])
    assert kept[-1]["phase"] == "end"
    assert placed.baseline.learned.seconds > 0


def test_a_configuration_that_is_read_again_ends_an_utterance_once() -> None:
    counted: list[float] = []
    configs = iter([None, None, None, Config()])
    placed = Placed(Classifier(place_model()))
    sound = np.array_split(gain(syllables(6), -20), 40)
    run(
        sound,
        placed,
        Repeatable(),
        Config(),
        reloaded=lambda: next(configs, None),
        ended=lambda u: counted.append(u.end_seconds),
    )
    assert counted == sorted(set(counted))
    assert len(counted) == 2


def test_labels_and_embedding_may_differ_in_number() -> None:
    placed = Placed(Classifier(place_model()))
    assert len(placed.model.labels) != len(LABELS) == placed.model.n_outputs
