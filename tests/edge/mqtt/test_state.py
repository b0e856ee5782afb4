"""The current state: what a row of events amounts to."""

from __future__ import annotations

import json
from importlib import resources

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectd.mqtt.state import CurrentState

SCHEMA = json.loads(resources.files("affectd.mqtt").joinpath("state.schema.json").read_text("utf-8"))
DEAF = ("alarmed", "recovering", "escalated", "failed", "muted")


def emotion(phase: str, label: str, second: int = 0, probability: float = 0.5) -> dict[str, object]:
    time = f"2026-11-20T06:33:{second:02d}.000Z"
    felt = {"valence": round(probability - 1, 4), "arousal": None if label == "calm" else probability}
    return {"type": "emotion", "phase": phase, "label": label, "probability": probability, **felt, "time": time}


def status(state: str) -> dict[str, object]:
    return {"type": "status", "state": state, "reason": "heard", "time": "2026-11-20T06:34:00.000Z"}


def after(*events: dict[str, object]) -> dict[str, object]:
    state = CurrentState("kitchen")
    for event in events:
        state.push(event)
    payload = json.loads(state.payload())
    jsonschema.Draft202012Validator(SCHEMA).validate(payload)
    return payload


def test_before_the_first_event_nothing_is_known() -> None:
    nothing = {
        "label": None,
        "probability": None,
        "since": None,
        "speaking": False,
        "microphone": None,
        "valence": None,
        "arousal": None,
        "delivery": None,
    }
    assert after() == {"schema": 2, "device": "kitchen", **nothing, "refused": [], "events_dropped": {}}


def test_what_is_not_about_the_microphone_changes_nothing_of_it() -> None:
    other = {**status("alarmed"), "part": "file", "reason": "stalled"}
    state = after(status("healthy"), emotion("start", "calm"), other)
    assert (state["microphone"], state["speaking"]) == ("healthy", True)


def test_what_came_of_a_model_stays_also_without_a_microphone() -> None:
    refused = {**status("alarmed"), "part": "model", "reason": "refused", "why": "signature"}
    delivery = {"state": "alarmed", "reason": "refused", "why": "signature"}
    assert after(status("healthy"), refused)["delivery"] == delivery
    assert after(refused, status("failed"))["delivery"] == delivery


def test_it_has_the_label_of_the_last_emotion_event_and_its_probability() -> None:
    state = after(status("healthy"), emotion("start", "calm", 1), emotion("change", "sad", 2, 0.7321))
    assert state == {
        "schema": 2,
        "device": "kitchen",
        "label": "sad",
        "probability": 0.7321,
        "valence": -0.2679,
        "arousal": 0.7321,
        "since": "2026-11-20T06:33:02.000Z",
        "speaking": True,
        "microphone": "healthy",
        "delivery": None,
        "refused": [],
        "events_dropped": {},
    }


def test_after_the_end_the_label_of_the_utterance_stays_and_there_is_no_speech() -> None:
    state = after(emotion("start", "calm", 1), emotion("end", "happy", 9))
    assert (state["label"], state["speaking"], state["since"]) == ("happy", False, "2026-11-20T06:33:09.000Z")


def test_a_label_that_is_said_again_is_so_since_it_was_said_first() -> None:
    state = after(emotion("start", "calm", 1), emotion("end", "calm", 5), emotion("start", "calm", 8, 0.9))
    assert (state["since"], state["probability"]) == ("2026-11-20T06:33:01.000Z", 0.9)
    returned = after(emotion("start", "calm", 1), emotion("change", "sad", 5), emotion("end", "calm", 8))
    assert returned["since"] == "2026-11-20T06:33:08.000Z"


@pytest.mark.parametrize("wrong", DEAF)
def test_who_hears_nothing_has_no_label(wrong: str) -> None:
    state = after(status("healthy"), emotion("start", "calm"), status(wrong))
    assert state["label"] is state["probability"] is state["since"] is None
    assert state["valence"] is state["arousal"] is None
    assert state["speaking"] is False
    assert state["microphone"] == wrong


@pytest.mark.parametrize("wrong", DEAF)
def test_what_ends_because_the_microphone_was_lost_does_not_bring_its_label_back(wrong: str) -> None:
    lost = (status("healthy"), emotion("start", "calm"), status(wrong), emotion("end", "calm"))
    assert after(*lost)["label"] is None
    assert after(*lost, status("healthy"))["label"] is None
    again = after(*lost, status("healthy"), emotion("start", "calm", 30))
    assert (again["label"], again["since"], again["microphone"]) == ("calm", "2026-11-20T06:33:30.000Z", "healthy")


def test_a_healthy_microphone_changes_no_label() -> None:
    assert after(emotion("start", "calm"), status("healthy"))["label"] == "calm"


def test_a_degraded_microphone_still_hears() -> None:
    state = after(emotion("start", "calm"), status("degraded"), emotion("change", "sad", 5))
    assert (state["label"], state["microphone"]) == ("sad", "degraded")


def test_it_says_whether_an_event_changed_it() -> None:
    state = CurrentState("kitchen")
    assert state.push(status("healthy"))
    assert not state.push(status("healthy"))
    assert state.push(emotion("start", "calm"))
    assert not state.push(emotion("start", "calm"))
    assert state.push(emotion("end", "calm"))
    assert state.push(status("alarmed"))
    assert not state.push(emotion("end", "calm"))


EVENTS = st.one_of(
    st.builds(
        emotion,
        st.sampled_from(["start", "change", "end"]),
        st.text(min_size=1),
        st.integers(0, 59),
        st.floats(0, 1).map(lambda p: round(p, 4)),
    ),
    st.builds(status, st.sampled_from(["healthy", *DEAF])),
)


@given(st.lists(EVENTS))
def test_any_row_of_events_gives_a_state_that_obeys_its_schema(events: list[dict[str, object]]) -> None:
    state = CurrentState("kitchen")
    for event in events:
        before = state.payload()
        assert state.push(event) == (state.payload() != before)
        jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(state.payload()))
    last = next((event["state"] for event in reversed(events) if event["type"] == "status"), None)
    assert json.loads(state.payload())["microphone"] == last
