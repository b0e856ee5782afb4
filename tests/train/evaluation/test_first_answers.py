"""Delays and labels of utterances against events written beforehand; a stream with a network that is a script."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affectd.config.sections import Config
from affectd.recognition.baseline import Placed
from affectd.recognition.model_file import write_model
from affectd.recognition.smoothing import UNCERTAIN
from affectd_train.cli import main
from affectd_train.data.corpora import read_corpus
from affectd_train.evaluation import first_answers
from affectd_train.evaluation.event_rates import listen
from affectd_train.evaluation.first_answers import Answered, Stream, answered, figures, in_turn
from fake_network import FakeNetwork
from tiny_corpora import canceled, ravdess
from tiny_model import tiny_model, voice_model


def event(phase: str, start: float, end: float, label: str) -> dict[str, Any]:
    return {"phase": phase, "start_seconds": start, "end_seconds": end, "label": label}


STREAM = Stream(np.zeros(0, np.float32), ((1.0, 3.0, "neutral"), (5.0, 7.0, "sad"), (9.0, 11.0, "angry")))
EVENTS = [
    event("start", 0.9, 1.7, UNCERTAIN),
    event("change", 0.9, 2.7, "calm"),
    event("end", 0.9, 3.4, "calm"),
    event("start", 9.1, 9.9, UNCERTAIN),
    event("end", 9.1, 11.4, UNCERTAIN),
]


def test_delays_and_labels_of_a_case_worked_by_hand() -> None:
    first, second = answered("a", STREAM, EVENTS, {"calm": "neutral"})
    assert (first.truth, first.named, first.end) == ("neutral", "neutral", "neutral")
    assert (first.delay_seconds, first.named_seconds) == (pytest.approx(0.7), pytest.approx(1.7))
    assert (second.truth, second.named, second.end) == ("angry", UNCERTAIN, UNCERTAIN)
    assert answered("a", STREAM, EVENTS, {})[0].named == "calm"


def test_figures_of_a_case_worked_by_hand() -> None:
    rows = [
        Answered("a", "sad", 0.5, 0.5, "sad", "sad"),
        Answered("a", "sad", 0.7, 1.1, "angry", "sad"),
        Answered("b", "sad", 0.9, float("inf"), UNCERTAIN, UNCERTAIN),
        Answered("b", "sad", 0.8, 0.9, "angry", "angry"),
    ]
    found = figures(rows, 2)
    assert (found["delay_seconds"], found["named_seconds"]) == (0.75, 0.9)
    assert (found["first"]["named"], found["first"]["precision"]) == (0.75, pytest.approx(1 / 3))
    assert found["end"]["precision"] == pytest.approx(2 / 3)
    assert found["first"]["precision_interval"] == (0.0, 0.5), "speaker b alone, and speaker a alone"
    assert figures([], 2)["first"]["precision"] is None


def test_a_stream_of_recordings_is_heard_utterance_by_utterance(tmp_path: Path) -> None:
    ravdess(tmp_path, actors=(1,))
    clips = read_corpus("ravdess", tmp_path / "ravdess").clips
    network: Any = FakeNetwork("h")
    stream = in_turn(clips, 16000, network)
    np.testing.assert_array_equal(stream.samples, in_turn(clips[::-1], 16000, network).samples)
    rows = answered("ravdess-01", stream, listen(stream.samples, network, Config()), {})
    assert rows
    assert {(row.named, row.end) for row in rows} == {("happy", "happy")}
    assert all(0 < row.delay_seconds == row.named_seconds < 2 for row in rows)


def test_the_command_prints_the_figures_and_draws_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ravdess(tmp_path, actors=(1,))
    canceled(tmp_path / "ravdess/Actor_01/03-01-01-01-01-01-01.wav")
    write_model(tmp_path / "tiny.tflite", tiny_model())
    arguments = ["answers", "--data", str(tmp_path), "--model", str(tmp_path / "tiny.tflite")]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    printed = json.loads(out)
    assert "ravdess: skipped 03-01-01-01-01-01-01.wav: has channels that cancel each other out" in err
    assert printed == json.loads((tmp_path / "out/answers.json").read_text())
    delays = [row["delay_seconds"] for row in printed["ravdess"][:4]]
    assert delays == sorted(delays), "the more classifications, the later"
    assert (tmp_path / "out/answers.png").read_bytes().startswith(b"\x89PNG")


def test_each_speaker_is_heard_by_a_device_that_learns_from_nothing_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ravdess(tmp_path, actors=(1, 2))
    write_model(tmp_path / "voice.tflite", voice_model())
    devices = []

    def heard(samples: Any, device: Placed, config: Config) -> Any:
        assert device.baseline.settled == 0
        devices.append(device)
        return listen(samples, device, config)

    monkeypatch.setattr(first_answers, "listen", heard)
    clips = read_corpus("ravdess", tmp_path / "ravdess").clips
    first_answers.first_answers(tmp_path / "voice.tflite", clips, tmp_path)
    assert len(devices) == 2 * len(first_answers.COUNTS)
    assert all(device.baseline.settled > 0 for device in devices)
