"""Status events: changes of state of the microphone and of where events go, written between two blocks of sound."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from affectd.arrays import Float32
from affectd.events.event import Event
from affectd.events.sinks import Sink

# A status event goes where it may not be taken either: a part that changes all the time must not multiply events.
_PART_SECONDS = 60.0


class MakeEvent(Protocol):
    """The interface of `affectd.events.event.EventMaker.status`."""

    def __call__(self, state: str, reason: str, **about: object) -> Event:
        """Make an event."""


class Reports:
    """Keeps status events until they can be written between two blocks, where no signal interrupts the writing."""

    def __init__(self, make_event: MakeEvent, clock: Callable[[], float] = time.monotonic) -> None:
        self._make_event, self._clock = make_event, clock
        self._waiting: deque[Event] = deque()
        self._parts: dict[str, dict[str, object]] = {}  # what is to be told, the newest of each part
        self._told: dict[str, tuple[float, tuple[object, ...]]] = {}

    def __call__(self, state: str, reason: str, figure: float | None = None) -> None:
        """Take a report of `affectd.audio.supervisor.Supervisor`, and what was measured if it is degraded."""
        self._waiting.append(self._make_event(state, reason, **({} if figure is None else {"figure": figure})))

    def part(self, part: str, state: str, reason: str, **about: object) -> None:
        """Take the state of another part; any thread. It is told when it has changed, once a minute at most."""
        self._parts[part] = {"part": part, "state": state, "reason": reason, **about}

    def between(self, blocks: Iterable[Float32], sink: Sink) -> Iterator[Float32]:
        """Pass blocks on, and write the events reported meanwhile."""
        for block in blocks:
            self._write(sink)
            yield block
        self._write(sink)

    def _write(self, sink: Sink) -> None:
        for part, about in self._parts.copy().items():
            # Not how many events were dropped, which makes no other event of it.
            kind = about["state"], about["reason"], about.get("refused") or [], about.get("why"), about.get("sequence")
            told_at, told = self._told.get(part, (-_PART_SECONDS, ("healthy", "heard", [], None, None)))
            if kind != told and self._clock() - told_at >= _PART_SECONDS:
                self._told[part] = self._clock(), kind
                self._waiting.append(self._make_event(**about))  # type: ignore[arg-type]
        while self._waiting:
            sink.write(self._waiting.popleft())
