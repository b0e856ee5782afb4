"""Events: what is in them, and that they obey the schema in the package."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affectd.board import clock_synchronized
from affectd.events.event import EventMaker, Utterance, event_schema
from affectd.events.sinks import JsonLines
from affectd.recognition.model_file import model_id
from affectd.recognition.smoothing import Answer
from tiny_model import LABELS, draft_model

MODEL = draft_model()
ANSWER = Answer("calm", 0.70001, {"angry": 0.2, "calm": 0.70001, "happy": 0.09999})


def valid(event: dict) -> None:
    jsonschema.Draft202012Validator(event_schema()).validate(event)


def utterance(samples: np.ndarray) -> Utterance:
    made = Utterance(1.25)
    made.push(samples.reshape(-1, 1000).astype(np.float32), np.ones(len(samples) // 1000, bool))
    made.end_seconds = 2.5
    return made


def test_an_event_has_every_field_of_its_contract() -> None:
    maker = EventMaker("kitchen", MODEL, clock=lambda: 1_700_000_000.9876)
    square = np.tile([0.1, -0.1], 1000)
    event = maker.emotion("start", ANSWER, utterance(square))
    valid(event)
    identity = event.pop("id")
    assert len(identity) == 36
    assert event.pop("clock_synchronized") in (True, False, None)
    assert event == {
        "schema": 2,
        "type": "emotion",
        "phase": "start",
        "time": "2023-11-14T22:13:20.987Z",
        "device": "kitchen",
        "label": "calm",
        "probability": 0.7,
        "probabilities": {"angry": 0.2, "calm": 0.7, "happy": 0.1},
        "valence": 0.455,  # 0.2 * -0.51 + 0.7 * 0.68 + 0.1 * 0.81
        "arousal": -0.153,  # 0.2 * 0.59 + 0.7 * -0.46 + 0.1 * 0.51
        "start_seconds": 1.25,
        "end_seconds": 2.5,
        "level_dbfs": -20.0,
        "speech_ratio": 1.0,
        "model": model_id(MODEL),
    }


def test_a_status_event_has_every_field_of_its_contract() -> None:
    event = EventMaker("kitchen", MODEL, clock=lambda: 1_700_000_000.9876).status("alarmed", "stalled")
    valid(event)
    assert len(event.pop("id")) == 36
    assert event.pop("clock_synchronized") in (True, False, None)
    assert event == {
        "schema": 2,
        "type": "status",
        "time": "2023-11-14T22:13:20.987Z",
        "device": "kitchen",
        "state": "alarmed",
        "reason": "stalled",
    }
    degraded = EventMaker("kitchen", MODEL).status("degraded", "quiet", figure=-41.3)
    valid(degraded)
    assert degraded["figure"] == -41.3
    for wrong in ({"state": "ill"}, {"reason": "bad luck"}):
        with pytest.raises(jsonschema.ValidationError):
            valid({**event, "id": "1", "clock_synchronized": None, **wrong})
    for field in ("state", "reason"):
        with pytest.raises(jsonschema.ValidationError, match=field):
            valid({"id": "1", "clock_synchronized": None, **{k: v for k, v in event.items() if k != field}})


def test_the_schema_itself_is_valid_and_refuses_what_lacks_a_field() -> None:
    jsonschema.Draft202012Validator.check_schema(event_schema())
    event = EventMaker("kitchen", MODEL).emotion("end", ANSWER, utterance(np.ones(1000)))
    for field in event:
        with pytest.raises(jsonschema.ValidationError, match=field):
            valid({key: value for key, value in event.items() if key != field})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("phase", "begin"),
        ("type", "emotions"),
        ("probability", 1.1),
        ("probabilities", {"calm": -0.1}),
        ("level_dbfs", math.inf),
        ("valence", -1.1),
        ("arousal", 1.1),
        ("time", "2026-11-20 04:31:19"),
        ("time", "2026-11-20T04:31:19+01:00"),
        ("device", "two words"),
        ("start_seconds", -1),
    ],
)
def test_the_schema_refuses_impossible_values(field: str, value: object) -> None:
    event = EventMaker("kitchen", MODEL).emotion("end", ANSWER, utterance(np.ones(1000)))
    with pytest.raises(jsonschema.ValidationError):
        valid({**event, field: value})


def test_a_label_that_is_not_known_leaves_valence_and_arousal_open() -> None:
    answer = Answer("hungry", 0.8, {"hungry": 0.8, "calm": 0.2})
    event = EventMaker("kitchen", MODEL).emotion("end", answer, utterance(np.ones(1000)))
    valid(event)
    assert (event["valence"], event["arousal"]) == (None, None)


def test_digital_silence_has_no_level_and_dc_is_silence() -> None:
    for samples in (np.zeros(2000), np.full(2000, 0.25)):
        event = EventMaker("kitchen", MODEL).emotion("end", ANSWER, utterance(samples))
        valid(event)
        assert event["level_dbfs"] is None


def test_level_is_the_rms_of_everything_pushed_so_far() -> None:
    noise = np.random.default_rng(0).standard_normal(50_000).astype(np.float32) * 0.05
    made = Utterance(0.0)
    for part in np.split(noise.reshape(-1, 500), 10):
        made.push(part, np.zeros(len(part), bool))
    assert made.level_dbfs == pytest.approx(20 * math.log10(noise.std()), abs=0.02)


def test_speech_ratio_is_the_share_of_active_frames() -> None:
    made = Utterance(0.0)
    assert made.speech_ratio == 0.0
    made.push(np.ones((4, 10), np.float32), np.array([True, True, False, False]))
    made.push(np.ones((1, 10), np.float32), np.array([True]))
    assert made.speech_ratio == pytest.approx(0.6)


def test_identities_are_unique_across_makers() -> None:
    makers = [EventMaker("kitchen", MODEL) for _ in range(2)]
    events = [maker.emotion("end", ANSWER, utterance(np.ones(1000))) for maker in makers for _ in range(50)]
    assert len({event["id"] for event in events}) == 100


@settings(deadline=None)
@given(
    logits=st.lists(st.floats(-20, 20), min_size=3, max_size=3),
    seconds=st.floats(0, 1e9),
    peak=st.floats(0, 1, width=32),
)
def test_any_event_obeys_the_schema_and_survives_json(logits: list[float], seconds: float, peak: float) -> None:
    weights = np.exp(logits) / np.exp(logits).sum()
    probabilities = dict(zip(LABELS, weights.tolist(), strict=True))
    label = max(probabilities, key=probabilities.__getitem__)
    made = Utterance(seconds)
    made.push(np.array([[peak, -peak]], np.float32), np.array([True]))
    answer = Answer(label, probabilities[label], probabilities)
    event = EventMaker("kitchen", MODEL).emotion("change", answer, made)
    stream = io.StringIO()
    JsonLines(stream).write(event)
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert line.endswith("\n")
    assert json.loads(line) == event
    valid(json.loads(line))
    assert event["probabilities"][event["label"]] == event["probability"]


def test_model_id_follows_the_network() -> None:
    assert model_id(MODEL) == model_id(draft_model(temperature=2.0))
    assert model_id(MODEL) != model_id(draft_model(tflite=MODEL.tflite + b"\0"))


def test_the_kernel_says_whether_the_clock_is_synchronized_or_nothing() -> None:
    assert clock_synchronized() in (True, False, None)


def test_where_the_kernel_must_not_be_asked_the_mark_of_the_time_service_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "timesync"
    monkeypatch.setattr("affectd.board._TIMESYNC", folder)
    monkeypatch.setattr("affectd.board._adjtimex", lambda: lambda: -1)
    assert clock_synchronized() is None
    folder.mkdir()
    assert clock_synchronized() is False
    (folder / "synchronized").touch()
    assert clock_synchronized() is True
