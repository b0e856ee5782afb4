"""How people sound now, for those who ask now and have not followed the events.

It is made from the events alone and published on the topic ``state``, retained; ``state.schema.json`` beside this
module describes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

SCHEMA = 1


@dataclass(frozen=True)
class _State:
    label: str | None = None
    probability: float | None = None
    since: str | None = None
    speaking: bool = False
    microphone: str | None = None


class CurrentState:
    """What the last events amount to.

    One thread may push while others read: what they read is always one whole state.

    Parameters
    ----------
    device : str
        The name of this device.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._state = _State()

    def push(self, event: Mapping[str, Any]) -> bool:
        """Take an event; return whether the state is another one now."""
        before = self._state
        self._state = _after_status(before, event) if event["type"] == "status" else _after_emotion(before, event)
        return self._state != before

    def payload(self) -> str:
        """Return the state as JSON."""
        return json.dumps({"schema": SCHEMA, "device": self._device, **vars(self._state)}, ensure_ascii=False)


def _after_status(state: _State, event: Mapping[str, Any]) -> _State:
    if event["state"] == "healthy":
        return replace(state, microphone="healthy")
    # Who hears nothing does not know how people sound, not even how they did a moment ago.
    return _State(microphone=event["state"])


def _after_emotion(state: _State, event: Mapping[str, Any]) -> _State:
    if state.microphone not in (None, "healthy"):
        # What ends now was heard before the microphone was lost.
        return state
    return replace(
        state,
        label=event["label"],
        probability=event["probability"],
        since=state.since if event["label"] == state.label else event["time"],
        speaking=event["phase"] != "end",
    )
