"""What the page knows, and the state it tells."""

from __future__ import annotations

import json
import select
from itertools import count
from typing import Any

import pytest

from affectd.recognition.model_file import find_model, read_model
from affectd.web.hub import _BATCH, Hub
from affectd.web.state import State, card_facts


def status(state: str, reason: str = "heard", **about: Any) -> dict[str, Any]:
    return {"type": "status", "id": "1", "state": state, "reason": reason, **about}


def trace(end: float, **about: Any) -> dict[str, Any]:
    line = {"type": "trace", "start_seconds": end - 0.25, "end_seconds": end, "gate_open": True, "label": "sad"}
    return {**line, "probability": 0.5, "arousal": -0.1, **about}


def emotion(number: int) -> dict[str, Any]:
    return {"type": "emotion", "id": str(number), "label": "sad"}


def told(message: bytes) -> tuple[str, Any]:
    kind, data, *rest = message.decode().split("\n")
    assert rest == ["", ""]
    return kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def is_woken(hub: Hub) -> bool:
    poll = select.poll()
    poll.register(hub.waker, select.POLLIN)
    return bool(poll.poll(0))


@pytest.fixture
def now() -> list[float]:
    return [100.0]


@pytest.fixture
def hub(now: list[float]) -> Hub:
    return Hub(30.0, clock=lambda: now[0])


def test_the_snapshot_has_what_came_before(hub: Hub) -> None:
    assert told(hub.snapshot('{"a": 1}')) == (
        "snapshot",
        {"state": {"a": 1}, "trace": None, "events": [], "hour": [], "now_seconds": 0.0},
    )
    for number in range(120):
        hub.write(emotion(number))
    hub.write(trace(0.25))
    hub.write(trace(0.5))
    hub.write(trace(0.75, gate_open=False, label=None, probability=None, arousal=None))
    hub.take()
    _, snapshot = told(hub.snapshot("null"))
    assert [event["id"] for event in snapshot["events"]] == [str(number) for number in range(20, 120)]
    assert snapshot["trace"]["end_seconds"] == snapshot["now_seconds"] == 0.75
    about = {"label": "sad", "probability": 0.5, "arousal": -0.1}
    assert snapshot["hour"] == [{"start_seconds": 0.0, "end_seconds": 0.5, **about}]


def test_lines_become_messages_in_order_and_reach_every_listener(now: list[float]) -> None:
    heard: list[Any] = []
    hub = Hub(listeners=[heard.append])
    lines = [emotion(1), trace(0.25), status("healthy")]
    for line in lines:
        hub.write(line)
    assert list(map(told, hub.take())) == [("event", lines[0]), ("trace", lines[1]), ("event", lines[2])]
    assert heard == lines
    assert hub.take() == []


def test_text_of_others_ends_no_message_early(hub: Hub) -> None:
    hub.write(status("healthy", text="one\n\nevent: state\ndata: {}\r\n\u2028"))
    (message,) = hub.take()
    assert message.count(b"\n") == 3
    assert told(message)[1]["text"] == "one\n\nevent: state\ndata: {}\r\n\u2028"


def test_the_thread_of_the_page_is_woken_for_a_stream_at_once_and_else_for_a_batch(hub: Hub) -> None:
    for number in range(_BATCH - 1):
        hub.write(emotion(number))
    assert not is_woken(hub)
    hub.write(emotion(_BATCH))
    assert is_woken(hub)
    watched = Hub()
    watched.is_watched = True
    watched.write(emotion(1))
    assert is_woken(watched)


def test_lines_that_are_never_taken_do_not_fill_the_memory(hub: Hub) -> None:
    for number in range(10_000):
        hub.write(emotion(number))
    messages = hub.take()
    assert len(messages) < 5000
    assert told(messages[-1])[1]["id"] == "9999"


def test_it_is_alive_by_the_rule_of_the_watchdog(hub: Hub, now: list[float]) -> None:
    """A block counts when the next one is asked for, and an empty one counts too."""
    blocks = hub.heard(iter([b"sound", b""]))
    assert not hub.is_alive
    next(blocks)
    assert not hub.is_alive, "it is not processed yet"
    next(blocks)
    assert hub.is_alive
    now[0] += 30.0
    assert hub.is_alive
    now[0] += 0.1
    assert not hub.is_alive
    assert next(blocks, None) is None
    assert hub.is_alive


@pytest.mark.parametrize(
    ("state", "listens", "word"),
    [
        (None, True, "listening"),
        ("healthy", True, "listening"),
        ("degraded", True, "listening"),
        ("alarmed", False, "no sound"),
        ("recovering", False, "no sound"),
        ("escalated", False, "no sound"),
        ("failed", False, "no sound"),
        ("muted", False, "muted"),
    ],
)
def test_it_listens_while_sound_is_processed_that_a_microphone_delivers(
    hub: Hub, state: str | None, listens: bool, word: str
) -> None:
    if state is not None:
        hub.write(status(state, "some"))
    hub.take()
    assert (hub.is_listening, hub.word) == (False, "no sound"), "nothing is processed yet"
    list(hub.heard([b"sound"]))
    assert (hub.is_listening, hub.word) == (listens, word)


def test_the_microphone_is_that_of_the_last_status_event_about_it(hub: Hub) -> None:
    assert hub.microphone == {"state": None, "reason": None, "figure": None}
    hub.write(status("degraded", "quiet", figure=-70.5))
    hub.write(status("alarmed", "refused", part="broker", refused=["a"]))
    hub.take()
    assert hub.microphone == {"state": "degraded", "reason": "quiet", "figure": -70.5}
    hub.write(status("healthy"))
    hub.take()
    assert hub.microphone == {"state": "healthy", "reason": "heard", "figure": None}


@pytest.fixture
def facts() -> dict[str, Any]:
    return {"broker": {"connected": True, "refused": [], "outbox": 0}, "baseline": None}


@pytest.fixture
def state(hub: Hub, now: list[float], facts: dict[str, Any]) -> State:
    number = count()
    about = {"version": "1.0", "device": "kitchen", "model": "abc", "labels": ("happy", "sad"), "card": {"use": "all"}}
    return State(about, hub, lambda: dict(facts), lambda: {"number": next(number)}, clock=lambda: now[0])


def test_the_state_has_the_device_and_what_it_does(state: State, facts: dict[str, Any]) -> None:
    assert json.loads(json.dumps(state())) == {
        "schema": 1,
        "version": "1.0",
        "device": "kitchen",
        "model": "abc",
        "labels": ["happy", "sad"],
        "listening": False,
        "microphone": {"state": None, "reason": None, "figure": None},
        **facts,
        "telemetry": {"number": 0},
        "card": {"use": "all"},
    }


def test_however_often_it_is_asked_for_telemetry_is_of_a_second_at_least(state: State, now: list[float]) -> None:
    numbers = []
    for _ in range(30):
        numbers.append(state()["telemetry"]["number"])
        now[0] += 0.1
    assert numbers[-1] <= 3
    assert sorted(numbers) == numbers


def test_it_is_news_when_it_has_changed_at_most_once_a_second_and_every_five_seconds(
    state: State, now: list[float], facts: dict[str, Any]
) -> None:
    when = []
    for step in range(200):
        now[0] = 100.0 + step / 10
        if 80 <= step <= 110:
            facts["broker"] = {**facts["broker"], "outbox": step}
        if (news := state.news()) is not None:
            when.append(step)
            assert news["broker"] == facts["broker"]
    assert when == [0, 50, 80, 90, 100, 110, 160]


def test_of_the_card_there_is_what_people_ask_and_nothing_of_its_tables() -> None:
    facts = card_facts(read_model(find_model()).card)
    assert list(facts) == [
        "name", "use", "data", "elsewhere", "elsewhere_settled", "protocol", "accuracy", "accuracy_interval"
    ]  # fmt: skip
    assert "non-commercial" in facts["use"]
    assert {corpus["corpus"] for corpus in facts["data"]} >= {"RAVDESS", "TESS"}
    assert 1 / 8 < facts["elsewhere"] < facts["elsewhere_settled"] < facts["accuracy"]
    assert 0 < facts["accuracy_interval"][0] < facts["accuracy"] < facts["accuracy_interval"][1] < 1
    assert len(json.dumps(facts)) < 1100


@pytest.mark.parametrize("card", [{}, {"evaluation": None}, {"evaluation": {"int8": 0.5}}, {"evaluation": [1]}])
def test_a_card_of_another_kind_has_no_such_facts(card: dict[str, Any]) -> None:
    assert card_facts(card) == {}
