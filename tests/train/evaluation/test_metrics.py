"""Figures against hand-computed ones and scikit-learn's, and the interval against simulation."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, log_loss

from affectd_train.data.labels import LABELS
from affectd_train.data.speakers import age_group
from affectd_train.evaluation.calibration import calibrate, fit_threshold, named_at
from affectd_train.evaluation.metrics import metrics, speaker_bootstrap, unweighted_accuracy
from affectd_train.evaluation.predictions import read_predictions, write_predictions


def prediction(truth: str, heard: str, speaker: str = "a", sure: float = 0.6) -> dict[str, object]:
    rest = (1 - sure) / (len(LABELS) - 1)
    probabilities = {label: sure if label == heard else rest for label in LABELS}
    common = {"path": "x", "corpus": "ravdess", "speaker": speaker, "gender": "female" if speaker < "c" else "male"}
    return common | {"truth": truth, "int8": probabilities, "float": probabilities}


def test_unweighted_accuracy_is_the_mean_of_recalls() -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice(["a", "b", "c"], 500, p=[0.8, 0.15, 0.05])
    given = np.where(rng.random(500) < 0.5, truth, rng.choice(["a", "b", "c"], 500))
    assert unweighted_accuracy(truth, given) == pytest.approx(balanced_accuracy_score(truth, given))
    everything_a = np.full(500, "a")
    assert unweighted_accuracy(truth, everything_a) == pytest.approx(1 / 3)


def test_metrics_of_a_small_case_worked_by_hand() -> None:
    cases = [
        prediction("happy", "happy", "a"),
        prediction("happy", "sad", "a"),
        prediction("sad", "sad", "c"),
        prediction("sad", "sad", "d"),
    ]
    figures = metrics(cases, "by hand", n_resamples=50)  # type: ignore[arg-type]
    assert figures["int8"]["unweighted"] == pytest.approx(0.75)
    assert figures["int8"]["weighted"] == pytest.approx(0.75)
    assert figures["labels"] == ["happy", "sad"]
    assert figures["int8"]["confusion"] == [[1, 1], [0, 2]]
    assert figures["int8"]["per_class"]["sad"]["precision"] == pytest.approx(2 / 3)
    assert figures["int8"]["by_gender"] == {"female": 0.5, "male": 1.0}
    assert figures["same_label"] == 1.0
    assert figures["speakers"] == 3


def test_groups_are_shown_where_there_is_something_to_compare() -> None:
    cases = [
        prediction("happy", "happy", "emodb-09"),  # 21 years old
        prediction("sad", "happy", "emodb-14"),  # 35
        prediction("sad", "sad", "tess-oaf") | {"corpus": "tess"},  # 64
        prediction("sad", "happy", "ravdess-01"),  # not published
    ]
    figures = metrics(cases, "by hand", n_resamples=10)  # type: ignore[arg-type]
    assert figures["int8"]["by_age"] == {"20 to 29": 1.0, "30 to 59": 0.0, "60 and over": 1.0}
    assert figures["int8"]["by_corpus"] == {"ravdess": 0.5, "tess": 1.0}
    alone = metrics(cases[:1] + cases[3:], "by hand", n_resamples=10)["int8"]  # type: ignore[arg-type]
    assert not alone.keys() & {"by_age", "by_corpus"}


def test_every_speaker_whose_age_is_published_has_a_group() -> None:
    groups = Counter(age_group(f"cremad-{actor}") for actor in range(1001, 1092))
    assert groups == {"20 to 29": 34, "30 to 59": 51, "60 and over": 6}
    assert age_group("emodb-12") == "30 to 59"  # thirty
    assert [age_group(f"tess-{who}") for who in ("yaf", "oaf")] == ["20 to 29", "60 and over"]
    assert age_group("savee-dc") == age_group("ravdess-01") == ""


def test_a_recording_in_which_nothing_was_heard_counts_as_wrong() -> None:
    deaf = prediction("sad", "sad") | {"int8": {}}
    cases = [deaf, prediction("sad", "sad"), prediction("calm", "calm")]
    figures = metrics(cases, "deaf", n_resamples=10)  # type: ignore[arg-type]
    assert figures["int8"]["unweighted"] == pytest.approx(0.75)
    assert figures["float"]["unweighted"] == pytest.approx(1.0)


def test_the_interval_covers_what_new_speakers_would_give() -> None:
    # Speakers differ: each has a rate of being understood of his own, mean 0.6.
    rng = np.random.default_rng(0)

    def experiment() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        speakers = np.repeat(np.arange(20), 40)
        truth = np.tile(np.repeat(["a", "b"], 20), 20)
        rates = np.repeat(rng.uniform(0.3, 0.9, 20), 40)
        right = rng.random(800) < rates
        return truth, np.where(right, truth, np.where(truth == "a", "b", "a")), speakers

    covered = 0
    for _ in range(100):
        low, high = speaker_bootstrap(*experiment(), n_resamples=200)
        covered += low <= 0.6 <= high
    assert 85 <= covered <= 100


def test_memory_of_the_interval_grows_as_the_recordings_and_not_as_their_square() -> None:
    rng = np.random.default_rng(0)
    truth, given = rng.choice(["a", "b"], (2, 5000))
    unknown = np.array([f"own/{number}.wav" for number in range(5000)])  # each is a speaker of its own
    tracemalloc.start()
    try:
        low, high = speaker_bootstrap(truth, given, unknown, n_resamples=20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert low < unweighted_accuracy(truth, given) < high
    assert peak < 5000 * 5000


def test_calibration_finds_the_temperature_that_was_applied() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (4000, len(LABELS)))
    honest = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = [LABELS[rng.choice(len(LABELS), p=row)] for row in honest]
    sharpened = honest**2.0
    sharpened /= sharpened.sum(1, keepdims=True)
    cases = [
        prediction(t, "sad") | {"int8": dict(zip(LABELS, row, strict=True))}
        for t, row in zip(truth, sharpened, strict=True)
    ]
    temperature = calibrate(cases)  # type: ignore[arg-type]
    assert temperature == pytest.approx(2.0, rel=0.1)
    softened = sharpened ** (1 / temperature)
    softened /= softened.sum(1, keepdims=True)
    order = sorted(LABELS)
    columns = [LABELS.index(label) for label in order]
    assert log_loss(truth, softened[:, columns], labels=order) < log_loss(truth, sharpened[:, columns], labels=order)


def test_the_threshold_answers_the_wanted_share() -> None:
    rng = np.random.default_rng(0)
    cases = [prediction("sad", "sad", sure=float(s)) for s in rng.uniform(0.2, 1.0, 2000)]
    threshold = fit_threshold(cases, temperature=1.0, coverage=0.85)  # type: ignore[arg-type]
    assert threshold == pytest.approx(0.2 + 0.15 * 0.8, abs=0.02)


def test_the_threshold_rises_until_enough_is_right_in_each_corpus_alike() -> None:
    sure = np.linspace(0.2, 1.0, 1000)
    # Of one corpus all above 0.6 are right, of a rarer one only all above 0.9.
    cases = [prediction("sad", "sad" if p > 0.6 else "happy", sure=float(p)) for p in sure]
    rare = [prediction("sad", "sad" if p > 0.9 else "happy", sure=float(p)) | {"corpus": "rare"} for p in sure[::10]]
    both: Any = [*cases, *rare]
    assert fit_threshold(both, 1.0) == pytest.approx(0.6, abs=0.01)
    threshold = fit_threshold(both, 1.0, precision=0.75)  # 0.8: all of the one and half of the other
    assert threshold == pytest.approx(0.8, abs=0.01)
    share, right = named_at(both, 1.0, threshold)
    assert share == pytest.approx(0.25, abs=0.02)
    assert right == pytest.approx((250 + 12.5) / 275, abs=0.02)
    # Never right: a twentieth is named all the same, or the device would have nothing to say.
    never: Any = [prediction("sad", "happy", sure=float(p)) for p in sure]
    assert named_at(never, 1.0, fit_threshold(never, 1.0, precision=0.75)) == (pytest.approx(0.05, abs=0.002), 0)
    assert named_at(never, 1.0, 1.1) == (0.0, None)


def test_predictions_are_read_as_they_were_written(tmp_path: Path) -> None:
    cases = [prediction("sad", "happy"), prediction("calm", "calm")]
    write_predictions(tmp_path / "p.jsonl", cases)
    assert read_predictions(tmp_path / "p.jsonl") == cases
