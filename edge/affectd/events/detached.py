"""A sink in its own thread: one that hangs blocks neither the sound, nor the other sinks, nor the end."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from typing import TypeVar

from affectd.errors import AffectdError, UnavailableError
from affectd.events.sinks import AsLine, Several, Sink, as_line
from affectd.stdio import write_when_ready, writing_results

_log = logging.getLogger(__name__)
_Block = TypeVar("_Block")

# After a signal, so that the whole process ends within a second.
_STOP_SECONDS = 0.5
_POLL_SECONDS = 0.05
_REPORT_SECONDS = 10.0
# A reader that takes nothing for longer does not hold up the other sinks.
_SLOW_SECONDS = 5.0


class Detached:
    """Passes events on in its own thread; of those that wait, the oldest is dropped when there is no room.

    Its ``with`` block ends when all events are written, or after `end_seconds`, or soon after a signal.

    Parameters
    ----------
    name : str
        Of the sink, in the log.
    sink : Sink
        Where the events go.
    max_events : int
        How many may wait.
    patience_seconds : float
        How long `write` waits for room before it drops; 0 where sound would be lost meanwhile. Not again until the
        sink has taken an event.
    end_seconds : float
        How long the end waits.
    is_alone : bool
        Whether there is no other sink: then a failure is raised by the next call instead of logged.
    stopped_at : callable
        Returns when a signal came, in monotonic seconds; infinite: not yet.
    report : callable
        Gets a reason and a sentence: ``stalled`` when the sink hangs, again now and then while it does, ``refused``
        when it fails, ``heard`` and no sentence when it goes on.
    """

    def __init__(
        self,
        name: str,
        sink: Sink,
        *,
        max_events: int = 1000,
        patience_seconds: float = 0.0,
        end_seconds: float = 2.0,
        is_alone: bool = False,
        stopped_at: Callable[[], float] = lambda: math.inf,
        report: Callable[[str, str], None] = lambda reason, sentence: None,
    ) -> None:
        self._name, self._max_events, self._is_alone = name, max_events, is_alone
        self._patience_seconds, self._end_seconds = patience_seconds, end_seconds
        self._stopped_at, self._report = stopped_at, report
        self._several = Several([(name, sink)])
        self._sink: Sink = sink if is_alone else self._several
        self._changed = threading.Condition()
        self._waiting: deque[Mapping[str, object]] = deque()
        self._closing = False
        self._failure: Exception | None = None
        self._n_dropped = self._dropped_before = self._missed_before = 0
        self._report_at = 0.0
        self._reported = "heard"
        self._thread = threading.Thread(target=self._pass_on, name=name, daemon=True)
        self._thread.start()

    @property
    def n_dropped(self) -> int:
        """How many events the sink did not get, since the start."""
        return self._n_dropped + self._several.n_missed

    @property
    def _hangs(self) -> bool:
        return self._n_dropped > self._dropped_before

    def __enter__(self) -> Detached:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        until = time.monotonic() + (self._end_seconds if kind is None else _STOP_SECONDS)
        while self._thread.is_alive() and time.monotonic() < min(until, self._stopped_at() + _STOP_SECONDS):
            self._thread.join(_POLL_SECONDS)
        with self._changed:
            left = len(self._waiting)
            self._n_dropped += left
        if left:
            _log.warning("%d events did not reach %s before the end", left, self._name)
        if kind is None and self._is_alone:
            self._raise_failure()

    def write(self, event: Mapping[str, object]) -> None:
        """Take one event.

        Raises
        ------
        BrokenPipeError
            The reader has closed the pipe.
        AffectdError, OSError, ValueError
            A sink that is alone has failed.
        """
        with self._changed:
            self._raise_failure()
            if len(self._waiting) >= self._max_events and not self._hangs:
                self._wait_for_room()
            if len(self._waiting) >= self._max_events:
                self._drop_oldest()
            self._waiting.append(event)
            self._changed.notify_all()

    def between(self, blocks: Iterable[_Block]) -> Iterator[_Block]:
        """Pass blocks on; raises the failure of a sink that is alone without waiting for the next event."""
        for block in blocks:
            self._raise_failure()
            yield block

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _wait_for_room(self) -> None:
        until = time.monotonic() + self._patience_seconds
        while len(self._waiting) >= self._max_events and time.monotonic() < min(until, self._stopped_at()):
            # In short waits, because a signal does not end one.
            self._changed.wait(_POLL_SECONDS)
            self._raise_failure()

    def _drop_oldest(self) -> None:
        self._waiting.popleft()
        sentence = f"events do not reach {self._name}: it hangs, and {self._max_events} events wait for it"
        if not self._hangs:
            _log.warning("%s; the oldest are dropped", sentence)
        self._n_dropped += 1
        if self._reported != "stalled" or time.monotonic() >= self._report_at:
            self._report_at = time.monotonic() + _REPORT_SECONDS
            self._tell("stalled", f"{sentence}; {self.n_dropped} were dropped since the start")

    def _tell(self, reason: str, sentence: str) -> None:
        self._reported = reason
        self._report(reason, sentence)

    def _pass_on(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    if self._closing:
                        return
                    self._changed.wait()
                event = self._waiting.popleft()
                self._changed.notify_all()
            try:
                self._sink.write(event)
            except (AffectdError, OSError, ValueError) as error:
                with self._changed:
                    self._failure = error
                    self._waiting.clear()
                    self._changed.notify_all()
                return
            with self._changed:
                fails, self._missed_before = self._several.n_missed > self._missed_before, self._several.n_missed
                if self._hangs:
                    _log.info("events reach %s again; it missed %d", self._name, self._n_dropped - self._dropped_before)
                    self._dropped_before = self._n_dropped
                if fails and self._reported != "refused":
                    self._tell("refused", f"events do not reach {self._name}")
                elif not fails and self._reported != "heard":
                    self._tell("heard", "")


class Outputs:
    """The sinks of a run, each of them `Detached` until `stack` ends; standard output, if it is one, is the first.

    `is_alone`, of standard output, and `stopped_at` are as of `Detached`; `live` is whether sound would be lost while
    a sink is waited for; `report` gets the name of a sink, its `n_dropped`, and what `Detached` reports.
    """

    def __init__(
        self,
        stack: ExitStack,
        report: Callable[[str, int, str, str], None],
        stopped_at: Callable[[], float],
        *,
        is_alone: bool,
        live: bool,
    ) -> None:
        self._stack, self._report, self._stopped_at = stack, report, stopped_at
        self._is_alone = is_alone
        # A sink that is alone has all the time of its reader, for instance a pager; else the others must not wait long.
        self._patience_seconds = 0.0 if live else math.inf if is_alone else _SLOW_SECONDS
        self._shown: dict[str, Detached] = {}

    def start(self, name: str, sink: Sink, shown: str = "") -> Detached:
        """Start a sink by its name in telemetry, and how it is `shown` in the log if that is another."""
        is_printed = name == "standard output"
        detached = Detached(
            shown or name,
            sink,
            patience_seconds=self._patience_seconds,
            # The first one ends last, so that a slow reader is waited for when the other sinks have ended.
            end_seconds=math.inf if is_printed else 2.0,
            is_alone=self._is_alone and is_printed,
            stopped_at=self._stopped_at,
            # When something is told, the sink has dropped something, and so is there.
            report=lambda reason, sentence: self._report(name, detached.n_dropped, reason, sentence),
        )
        self._shown[shown or name] = detached
        return self._stack.enter_context(detached)

    def raise_losses(self, n_unpublished: int) -> None:
        """Raise `UnavailableError` if a sink, or the broker for good, did not get all events; after their end."""
        missed = {**{shown: sink.n_dropped for shown, sink in self._shown.items()}, "the broker": n_unpublished}
        lost = [f"{n} did not reach {shown}" for shown, n in missed.items() if n]
        if lost:
            raise UnavailableError(f"Events are lost: {', '.join(lost)}.")


class Descriptor:
    """Writes one line an event to a file descriptor, without a buffer whose lock a blocked thread would hold.

    `as_line` makes the line: a JSON object, or what people or spreadsheets read.
    """

    def __init__(self, descriptor: int, as_line: AsLine = as_line) -> None:
        # Never closed: a thread that is blocked at the end may still hold it.
        self._descriptor = os.dup(descriptor)
        self._as_line = as_line
        self._is_torn = False

    def write(self, event: Mapping[str, object]) -> None:
        """Write an event on one line; raises what `affectd.events.sinks.JsonLines` raises."""
        data = (self._as_line(event) + "\n").encode("utf-8", "backslashreplace")
        if self._is_torn:  # end the half of a line that fitted on the disk, so that only that one is invalid
            data = b"\n" + data
        begin = self._position()
        try:
            with writing_results():
                write_when_ready(self._descriptor, data)
        except UnavailableError:
            self._is_torn = self._is_torn or self._position() != begin
            raise
        self._is_torn = False

    def _position(self) -> int:
        with suppress(OSError):  # a pipe or terminal has none, and is never full
            return os.lseek(self._descriptor, 0, os.SEEK_CUR)
        return 0
