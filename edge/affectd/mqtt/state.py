"""The current state, for clients that have not followed the events.

Derived from the events and published on the topic ``state``, retained; ``state.schema.json`` describes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

SCHEMA = 2


@dataclass(frozen=True)
class _State:
    label: str | None = None
    probability: float | None = None
    valence: float | None = None
    arousal: float | None = None
    since: str | None = None
    speaking: bool = False
    microphone: str | None = None
    delivery: Mapping[str, Any] | None = None


class CurrentState:
    """The state after the last event; one thread may push while others read."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._state = _State()

    def push(self, event: Mapping[str, Any]) -> bool:
        """Take an event; return whether the state has changed."""
        before = self._state
        self._state = _after_status(before, event) if event["type"] == "status" else _after_emotion(before, event)
        return self._state != before

    def payload(self, refused: Iterable[str] = (), events_dropped: Mapping[str, int] | None = None) -> str:
        """Return the state as JSON.

        `refused` are the topics that the broker refuses, `events_dropped` how many events each other sink did not get.
        """
        state = {"schema": SCHEMA, "device": self._device, **vars(self._state)}
        return json.dumps(
            {**state, "refused": sorted(refused), "events_dropped": dict(events_dropped or {})}, ensure_ascii=False
        )


def _after_status(state: _State, event: Mapping[str, Any]) -> _State:
    if event.get("part") == "model":
        about = ("state", "reason", "why", "sequence", "model")
        return replace(state, delivery={key: event[key] for key in about if key in event})
    if "part" in event:  # not about the microphone
        return state
    if event["state"] in ("healthy", "degraded"):
        return replace(state, microphone=event["state"])
    # Without sound the label is unknown.
    return _State(microphone=event["state"], delivery=state.delivery)


def _after_emotion(state: _State, event: Mapping[str, Any]) -> _State:
    if state.microphone not in (None, "healthy", "degraded"):
        # The event is about sound before the fault.
        return state
    return replace(
        state,
        label=event["label"],
        probability=event["probability"],
        valence=event["valence"],
        arousal=event["arousal"],
        since=state.since if event["label"] == state.label else event["time"],
        speaking=event["phase"] != "end",
    )
