"""What is known of a device: whatever it sends, and whenever it falls silent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectd.screen import words
from affectd.screen.layout import picture
from affectd.screen.view import View

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)
SHARES = ("probabilities", "smoothed")
NUMBERS = ("probability", "valence", "arousal", "start_seconds", "end_seconds", "level_dbfs", "figure")
OTHERS = ("device", "state", "time", "phase", "label", "gate_open", "reason", "part", "sentence")
FIELDS = (*SHARES, *NUMBERS, *OTHERS, "labels", "microphone", "events", "trace")
KINDS = ["trace", "state", "snapshot", "emotion", "status", "connection", "another"]


@given(st.lists(st.dictionaries(st.sampled_from(FIELDS), JSON), max_size=4), st.lists(st.sampled_from(KINDS)))
def test_no_message_of_another_device_is_obeyed_by_the_terminal(bodies: list[dict[str, Any]], kinds: list[str]) -> None:
    view = View("microphone", address="http://kitchen:8765")
    for body, kind in zip(bodies, kinds, strict=False):
        view.write({**body, "type": kind})
    for columns, rows in ((80, 24), (20, 5)):
        for line in picture(view, columns, rows):
            assert all(text.isprintable() for text, _ in line), line


def test_neither_the_labels_of_a_model_nor_a_file_nor_the_log_is_obeyed_by_the_terminal() -> None:
    view = View("a\x1b[2J.wav", ("sad\x1b[31m", "happy"), 0.5)
    line = {"type": "trace", "start_seconds": 0, "end_seconds": 1, "gate_open": True}
    view.write({**line, "smoothed": {"sad\x1b[31m": 0.9, "happy": 0.1}, "label": "sad\x1b[31m", "probability": 0.9})
    view.note("no \x1b[H")
    lines = picture(view, 80, 24)
    assert all(text.isprintable() for line in lines for text, _ in line)
    assert any("█" in text for text, _ in next(line for line in lines if line and line[0][0].startswith("sad")))


def test_a_snapshot_brings_state_events_and_the_last_trace() -> None:
    view = View("microphone", address="http://kitchen:8765")
    event = {"type": "emotion", "phase": "start", "label": "sad", "probability": 0.8, "probabilities": {"sad": 0.8}}
    trace = {"type": "trace", "start_seconds": 4.0, "end_seconds": 4.5, "gate_open": True, "level_dbfs": -20}
    microphone = {"state": "alarmed", "reason": "stalled", "figure": None}
    state = {"device": "kitchen", "labels": ["sad", "happy"], "microphone": microphone}
    snapshot = {"type": "snapshot", "state": state, "trace": trace, "events": [event], "hour": [], "now_seconds": 4.5}
    for _ in range(2):  # again after the connection was lost: events do not come twice
        view.write(snapshot)
        assert [said for _, said in view.happened] == ["begins  sad 80 %"]
    assert (view.device, view.labels, view.seconds, view.level_dbfs) == ("kitchen", ("sad", "happy"), 4.5, -20)
    assert words.condition(view.microphone) == "fault (delivers no sound)"


def test_a_page_that_falls_silent_is_not_shown_as_if_it_were_live() -> None:
    now = 100.0
    view = View("microphone", address="http://kitchen:8765", now=lambda: now)
    view.write({"type": "state", "device": "kitchen"})
    now = 107.0
    assert view.trouble() == ""
    now = 112.0
    assert view.trouble() == "nothing came for 12 s"
    view.write({"type": "state"})
    assert view.trouble() == ""


def test_while_the_connection_is_lost_nothing_is_shown_as_heard() -> None:
    view = View("microphone", address="http://kitchen:8765")
    view.write({"type": "trace", "start_seconds": 0, "end_seconds": 1, "gate_open": True, "level_dbfs": -20})
    view.write({"type": "connection", "sentence": "it does not answer; trying again"})
    assert view.level_dbfs is None
    assert view.is_open is None
    assert view.trouble() == "it does not answer; trying again"


def test_a_line_of_the_log_is_shown_for_some_seconds() -> None:
    now = 0.0
    view = View("microphone", now=lambda: now)
    view.note("too slow")
    assert view.latest_note() == "too slow"
    now = 11.0
    assert view.latest_note() == ""


def test_the_raw_probabilities_stay_until_the_network_runs_again_or_the_gate_shuts() -> None:
    view = View("microphone")
    line = {"type": "trace", "start_seconds": 0, "end_seconds": 1, "gate_open": True}
    view.write({**line, "probabilities": {"sad": 0.9}})
    view.write({**line, "probabilities": None})
    assert view.raw == {"sad": 0.9}
    view.write({**line, "probabilities": None, "gate_open": False})
    assert view.raw == {}


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"type": "status", "state": "healthy", "reason": "heard"}, "microphone: healthy"),
        ({"type": "status", "state": "degraded", "reason": "narrow"}, "microphone: unfit sound (narrow)"),
        ({"type": "status", "state": "alarmed", "reason": "missing"}, "microphone: fault (no such device)"),
        ({"type": "status", "part": "broker", "state": "alarmed", "reason": "refused"}, "broker: alarmed, refused"),
        ({"type": "test"}, ""),
    ],
)
def test_an_event_is_a_sentence(message: dict[str, Any], said: str) -> None:
    assert words.event(message) == said
