"""Status events: changes of state of the microphone, written between two blocks of sound."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from affectd.arrays import Float32
from affectd.events.event import Event
from affectd.events.sinks import Sink


class Reports:
    """Keeps status events until they can be written between two blocks, where no signal interrupts the writing."""

    def __init__(self, make_event: Callable[..., Event]) -> None:
        self._make_event = make_event
        self._waiting: deque[Event] = deque()

    def __call__(self, state: str, reason: str, figure: float | None = None) -> None:
        """Take a report of `affectd.audio.supervisor.Supervisor`, and what was measured if it is degraded."""
        self._waiting.append(self._make_event(*((state, reason) if figure is None else (state, reason, figure))))

    def between(self, blocks: Iterable[Float32], sink: Sink) -> Iterator[Float32]:
        """Pass blocks on, and write the events reported meanwhile."""
        for block in blocks:
            self._write(sink)
            yield block
        self._write(sink)

    def _write(self, sink: Sink) -> None:
        while self._waiting:
            sink.write(self._waiting.popleft())
