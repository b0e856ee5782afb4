"""Events counted and timed against scripts written beforehand; robustness of a network that is what it is."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affectd.config.sections import Config
from affectd.errors import DataError, NoInputError
from affectd.features.spec import FeatureSpec
from affectd.recognition.model_file import write_model
from affectd_train.data.corpora import read_corpus
from affectd_train.data.everyday_speech import trained_on
from affectd_train.evaluation.behavior import behavior
from affectd_train.evaluation.denoise import FRONT_ENDS
from affectd_train.evaluation.event_rates import configured, event_rates, listen, speech_for_tests
from affectd_train.evaluation.predictions import about, write_predictions
from affectd_train.evaluation.robustness import bars, clipped_apart, folds, robustness
from affectd_train.evaluation.transitions import Detections, Joined, count, detections, join, spoken
from fake_network import FakeNetwork
from sounds import noise, silence, syllables
from tiny_corpora import ravdess, voice, write
from tiny_model import tiny_model

TALK = np.concatenate([silence(0.5), 0.2 * syllables(3.0), silence(1.5)]).astype(np.float32)


def test_named_events_are_counted_by_the_hour() -> None:
    rates = event_rates({"a": TALK, "b": TALK}, FakeNetwork("h"), Config())  # type: ignore[arg-type]
    assert rates["labels"] == {"happy": 2}
    hours = 2 * len(TALK) / 16000 / 3600
    assert rates["named_per_hour"] == pytest.approx(2 / hours, rel=1e-3)
    assert rates["named_with_ends_per_hour"] == rates["events_per_hour"] == pytest.approx(4 / hours, rel=1e-3)


def test_uncertain_is_no_named_event_and_silence_none_at_all() -> None:
    sure = configured(uncertain=0.9)
    rates = event_rates({"a": TALK}, FakeNetwork("h"), sure)  # type: ignore[arg-type]
    assert rates["labels"] == {"uncertain": 1}
    assert rates["named_per_hour"] == rates["named_with_ends_per_hour"] == 0
    assert event_rates({"a": silence(5.0)}, FakeNetwork("h"), Config())["events_per_hour"] == 0  # type: ignore[arg-type]


def test_speech_is_split_by_name_and_nothing_else(evaluation: Path) -> None:
    network = FakeNetwork()
    network.model.card = {}
    halves = speech_for_tests(evaluation, network)["speech"]  # type: ignore[arg-type]
    assert 0 < len(halves) < 4
    assert speech_for_tests(evaluation, network)["speech"].keys() == halves.keys()  # type: ignore[arg-type]
    assert not any(trained_on(Path(name)) for name in halves)
    everything = [path.name for path in (evaluation / "speech").iterdir()]
    assert sum(trained_on(Path(name)) for name in everything) == len(everything) - len(halves)


def event(phase: str, seconds: float, label: str) -> Mapping[str, Any]:
    return {"phase": phase, "end_seconds": seconds, "label": label}


JOINED = Joined(np.zeros(12 * 16000, np.float32), (0.0, 4.0, 8.0), ("sad", "happy", "angry"))


def test_transitions_of_a_case_worked_by_hand() -> None:
    heard = [
        event("start", 1.0, "sad"),
        event("change", 2.0, "calm"),  # false
        event("change", 4.5, "happy"),  # found, right
        event("change", 9.5, "fearful"),  # noticed too late, and wrong
        event("end", 12.0, "happy"),
    ]
    result = detections(JOINED, heard)
    assert result == Detections(transitions=2, changes=3, found=1, right=1, delays=[0.5, 1.5])
    figures = count([result])
    assert figures["precision"] == pytest.approx(1 / 3)
    assert figures["recall"] == pytest.approx(1 / 2)
    assert figures["f1"] == pytest.approx(2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2))
    assert figures["noticed"] == 1.0
    assert figures["right"] == 0.5
    assert figures["median_delay_seconds"] == 1.0


def test_a_new_utterance_announces_a_change_only_with_another_label() -> None:
    heard = [
        event("start", 1.0, "sad"),
        event("end", 4.1, "sad"),
        event("start", 4.6, "happy"),
        event("end", 8.0, "happy"),
        event("start", 8.5, "happy"),
    ]
    assert detections(JOINED, heard).delays == [pytest.approx(0.6)]
    assert detections(JOINED, heard).changes == 1


def test_a_silent_device_finds_nothing() -> None:
    figures = count([detections(JOINED, [])])
    assert figures["f1"] == figures["noticed"] == 0
    assert figures["median_delay_seconds"] is None


def test_the_time_of_a_change_is_that_of_the_sound() -> None:
    # Six classifications of calm, then happy: no event can come before the sound it was made from.
    samples = np.concatenate([silence(0.5), 0.2 * syllables(8.0)]).astype(np.float32)
    events = listen(samples, FakeNetwork("c" * 12 + "h"), Config())  # type: ignore[arg-type]
    change = next(e for e in events if e["phase"] == "change")
    assert 0.5 + 12 * 0.256 < change["end_seconds"] < 0.5 + 12 * 0.256 + 2.5


def test_joined_recordings_leave_no_pause_and_never_repeat_an_emotion(tmp_path: Path) -> None:
    ravdess(tmp_path, actors=(1,))
    clips = read_corpus("ravdess", tmp_path / "ravdess").clips
    joined = join(clips, FeatureSpec(), seed=1)
    np.testing.assert_array_equal(joined.samples, join(clips[::-1], FeatureSpec(), seed=1).samples)
    assert len(joined.emotions) == len(joined.starts_seconds) == 6
    assert all(a != b for a, b in zip(joined.emotions, joined.emotions[1:], strict=False))
    with pytest.raises(ValueError, match="at least two emotions"):
        join([clip for clip in clips if clip.emotion == "sad"], FeatureSpec(), seed=1)


def test_silence_around_speech_is_cut_and_speech_is_not() -> None:
    cut = spoken(np.concatenate([silence(1.0), voice(300.0, 2.0), silence(1.0)]), FeatureSpec())
    assert 1.7 * 16000 < len(cut) < 2.6 * 16000


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as an evaluation leaves it, of one fold, and data beside it."""
    root = tmp_path_factory.mktemp("evaluation")
    ravdess(root, actors=(1, 2))
    clips = read_corpus("ravdess", root / "ravdess").clips
    (root / "run/fold-1").mkdir(parents=True)
    write_model(root / "run/fold-1/affectd.tflite", tiny_model())
    tested = [about(clip) | {"int8": {}, "float": {}} for clip in clips if clip.speaker == "ravdess-02"]
    write_predictions(root / "run/fold-1/predictions.jsonl", tested)
    write(root / "noise/car/hum.wav", 0.2 * noise("hum", 2.0))
    for name in ("one", "two", "three", "four"):  # an odd checksum has one of them at least
        write(root / f"speech/{name}.wav", TALK)
    return root


def test_every_fold_is_tested_on_its_own_strangers(evaluation: Path) -> None:
    clips = read_corpus("ravdess", evaluation / "ravdess").clips
    ((model, tested),) = folds(evaluation / "run", clips)
    assert model.labels == tiny_model().labels
    assert {clip.speaker for clip in tested} == {"ravdess-02"}
    with pytest.raises(NoInputError, match="affectd-train evaluate"):
        folds(evaluation, clips)


@pytest.mark.parametrize("change", ["emotion", "speaker", "content"])
def test_a_recording_that_changed_since_the_evaluation_is_no_strangers(evaluation: Path, change: str) -> None:
    clips = read_corpus("ravdess", evaluation / "ravdess").clips
    last = clips[-1]
    if change == "content":  # what another one was, on which the network of the fold was trained
        sound = last.path.read_bytes()
        last.path.write_bytes(clips[0].path.read_bytes())
    else:
        clips[-1] = replace(last, **{change: "ravdess-01" if change == "speaker" else "calm"})
    try:
        with pytest.raises(DataError, match=rf"{last.path.name}: not as \S+ was tested on it"):
            folds(evaluation / "run", clips)
    finally:
        if change == "content":
            last.path.write_bytes(sound)


def test_robustness_of_a_network(evaluation: Path) -> None:
    clips = read_corpus("ravdess", evaluation / "ravdess").clips
    figures = robustness(evaluation / "run", clips, evaluation, every=2)
    assert figures == json.loads((evaluation / "run/robustness.json").read_text())
    assert (figures["every"], figures["recordings"], figures["corpora"]) == (2, 8, ["ravdess"])
    rows = {(row["group"], row["name"]): row for row in figures["conditions"]}
    clean = rows["clean", "clean"]
    for front_end in FRONT_ENDS:
        assert clean[front_end]["same_label"] == 1.0
    # Gain cancels in the front end, so that moderate ones change nothing.
    for gain in ("-20 dB", "-10 dB"):
        assert rows["gain", gain]["as it is"]["same_label"] == 1.0
        assert rows["gain", gain]["clipped"] == 0
    assert rows["gain", "+10 dB"]["clipped"] == 0, "the voices peak at -10 dBFS"
    assert rows["gain", "-20 dB"]["level normalized"]["unheard"] == 0.0
    assert figures["bars"]["labels that a gain of -20 to +10 dB changes, worst gain"] <= 1.0


@pytest.mark.parametrize("what", ["robustness", "behavior"])
def test_what_cannot_be_written_is_said_before_anything_is_heard(
    evaluation: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    clips = read_corpus("ravdess", evaluation / "ravdess").clips
    measure = {
        "robustness": lambda: robustness(evaluation / "run", clips, evaluation),
        "behavior": lambda: behavior(evaluation / "run", evaluation / "run/fold-1/affectd.tflite", clips, evaluation),
    }
    opened = os.open

    def refuse(file: Path, *how: int) -> int:
        if str(file).endswith(".lock"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(file))
        return opened(file, *how)

    for module in ("robustness", "behavior"):
        name = f"affectd_train.evaluation.{module}._figures"
        monkeypatch.setattr(name, lambda *_: pytest.fail("it was heard"))
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match=rf"Read-only file system: '.*/{what}\.json'"):
        measure[what]()


def test_the_bars_are_read_from_the_right_rows() -> None:
    def row(group: str, name: str, share: float, same: float) -> dict[str, Any]:
        figures = {"unweighted": share, "share of clean": share, "same_label": same, "unheard": 0.0}
        apart = {"clipped": 1, "same_label_clipped": 0.0, "same_label_unclipped": same + 0.005}
        return {"group": group, "name": name} | dict.fromkeys(FRONT_ENDS, figures) | apart

    rows = [
        row("clean", "clean", 1.0, 1.0),
        row("noise car", "10 dB", 0.9, 0.9),
        row("noise car", "0 dB", 0.1, 0.1),
        row("noise rain", "10 dB", 0.8, 0.8),
        row("gain", "-30 dB", 0.5, 0.5),
        row("gain", "+10 dB", 1.0, 0.98),
    ]
    mean, worst, gain, unclipped = bars(rows).values()
    assert mean == pytest.approx(0.85)
    assert worst == pytest.approx(0.8)
    assert gain == pytest.approx(0.02)
    assert unclipped == pytest.approx(0.015)


def test_recordings_that_clip_are_counted_apart() -> None:
    clean, loud = ["sad", "sad", "calm", "calm"], ["sad", "calm", "calm", "calm"]
    assert clipped_apart(loud, clean, [True, True, False, False]) == {
        "clipped": 2,
        "same_label_clipped": 0.5,
        "same_label_unclipped": 1.0,
    }
    assert clipped_apart(loud, clean, [True] * 4)["same_label_unclipped"] is None
    assert clipped_apart(loud, clean, [False] * 4)["same_label_clipped"] is None


def test_behavior_compares_settings(evaluation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"as shipped": Config(), "patience 1": configured(patience=1)}
    monkeypatch.setattr("affectd_train.evaluation.behavior.SETTINGS", settings)
    monkeypatch.setattr("affectd_train.evaluation.event_rates.THRESHOLDS", (0.0, 1.0))
    model = evaluation / "run/fold-1/affectd.tflite"
    clips = read_corpus("ravdess", evaluation / "ravdess").clips
    figures = behavior(evaluation / "run", model, clips, evaluation)
    assert figures == json.loads((evaluation / "run/behavior.json").read_text())
    assert set(figures["transitions"]) == {"as shipped", "patience 1"}
    assert figures["transitions"]["as shipped"]["transitions"] == 2 * 5
    never, always = figures["everyday"]["by_threshold"][1], figures["everyday"]["by_threshold"][0]
    assert never["speech"] == 0 < always["speech"]
    assert figures["everyday"]["noise car"]["events_per_hour"] == 0


def test_nothing_to_listen_to_all_day_is_said_before_the_hours_of_transitions(
    evaluation: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clips = read_corpus("ravdess", evaluation / "ravdess").clips
    monkeypatch.setattr("affectd_train.evaluation.behavior.transition_figures", None)  # not called
    with pytest.raises(NoInputError, match="neither speech nor noise"):
        behavior(evaluation / "run", evaluation / "run/fold-1/affectd.tflite", clips, tmp_path)


def test_settings_are_those_of_the_device_but_for_what_is_named() -> None:
    assert configured() == Config()
    config = configured(stride_frames=8, patience=4)
    assert (config.model.stride_frames, config.smoothing.patience) == (8, 4)
    assert config.smoothing == replace(Config().smoothing, patience=4)
