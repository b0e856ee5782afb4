"""What the page knows: taken from the thread of the sound without a wait, told to every stream in the same words."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from affectd.events.sinks import as_line
from affectd.web.hour import Hour

Message = bytes
"""One of server-sent events, with the empty line that ends it."""

HEARTBEAT: Message = b":\n\n"

_Block = TypeVar("_Block")

_MOST_EVENTS = 100
# While there is no stream, lines wait; then the thread of the page need not wake for each.
_BATCH = 16
# Beyond that the page has hung for minutes.
_MOST_ARRIVED = 4096
_HEARD = ("healthy", "degraded")
_NOT_YET: dict[str, Any] = {"state": None, "reason": None, "figure": None}


def message(kind: str, data: str) -> Message:
    """Return a message of this kind whose data is one line."""
    return f"event: {kind}\ndata: {data}\n\n".encode()


class Hub:
    """A listener of `affectd.run.serve`; all but `write` and `heard` belongs to the thread of the page.

    Parameters
    ----------
    is_alive_seconds : float
        After this long without a processed block no sound is processed, as the watchdog has it.
    listeners
        Get every line too, in the thread of the page.

    Attributes
    ----------
    waker : int
        A descriptor that is readable when lines wait.
    is_watched : bool
        Whether there are streams, which get each line at once.
    microphone : dict
        ``state``, ``reason`` and ``figure`` of its last status event; None before the first.
    now_seconds : float
        How far the stream was processed.
    """

    def __init__(
        self,
        is_alive_seconds: float = 30.0,
        listeners: Iterable[Callable[[Mapping[str, Any]], None]] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.waker = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.is_watched = False
        self.microphone = _NOT_YET
        self.now_seconds = 0.0
        self._is_alive_seconds, self._listeners, self._clock = is_alive_seconds, tuple(listeners), clock
        self._processed_at = -float("inf")
        self._arrived: deque[Mapping[str, Any]] = deque(maxlen=_MOST_ARRIVED)
        self._events: deque[str] = deque(maxlen=_MOST_EVENTS)
        self._trace = "null"
        self._hour = Hour()

    def write(self, line: Mapping[str, Any]) -> None:
        """Take an event, a status event or a trace, which nothing changes afterwards; never waits."""
        self._arrived.append(line)
        if self.is_watched or len(self._arrived) >= _BATCH:
            self.wake()

    def wake(self) -> None:
        """Let the thread of the page look; any thread."""
        os.eventfd_write(self.waker, 1)

    def heard(self, blocks: Iterable[_Block]) -> Iterator[_Block]:
        """Pass blocks on, and note when the next is asked for, because then the one before is processed."""
        for block in blocks:
            yield block
            self._processed_at = self._clock()

    @property
    def is_alive(self) -> bool:
        """Whether sound is processed, or the microphone at least looked for, by the rule of the watchdog."""
        return self._clock() - self._processed_at <= self._is_alive_seconds

    @property
    def is_listening(self) -> bool:
        """Whether sound is heard: it is processed, and the microphone is neither faulty nor muted."""
        return self.is_alive and self.microphone["state"] in (None, *_HEARD)

    @property
    def word(self) -> str:
        """Whether it listens, for everyone: ``listening``, ``muted`` or ``no sound``."""
        if self.is_listening:
            return "listening"
        return "muted" if self.is_alive and self.microphone["state"] == "muted" else "no sound"

    def take(self) -> list[Message]:
        """Take in all lines that wait; return them as messages, in order."""
        messages = []
        while self._arrived:
            messages.append(self._taken(self._arrived.popleft()))
        return messages

    def _taken(self, line: Mapping[str, Any]) -> Message:
        for listener in self._listeners:
            listener(line)
        text = as_line(line)
        if line["type"] == "trace":
            self._hour.push(line)
            self._trace, self.now_seconds = text, line["end_seconds"]
            return message("trace", text)
        if line["type"] == "status" and "part" not in line:
            self.microphone = {"state": line["state"], "reason": line["reason"], "figure": line.get("figure")}
        self._events.append(text)
        return message("event", text)

    def snapshot(self, state: str) -> Message:
        """Return the first message of a stream; `state` is an object in JSON."""
        # In one call: an hour may have thousands of segments.
        rest = as_line({"hour": self._hour.segments(), "now_seconds": round(self.now_seconds, 3)})
        events = ", ".join(self._events)
        return message(
            "snapshot", f'{{"state": {state}, "trace": {self._trace}, "events": [{events}], {rest.removeprefix("{")}'
        )
