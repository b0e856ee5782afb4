"""Events that wait for the broker: they survive the process and a power cut, without wearing out an SD card.

There are two journals. An event is first put into the one in the runtime folder, which is in memory and survives the
process. If it is not delivered soon, `Outbox.settle` moves it to the one on the disk, which survives a power cut. It is
written there before it is removed from the other, so after a crash in between it is in both, with the same sequence.
`put` uses no disk, and no lock that is held while a disk is used.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from affectd.outbox.journal import Journal

_log = logging.getLogger(__name__)

# A thread that is busy with the disk for longer is not waited for.
_BUSY_SECONDS = 0.1
# So long an event may be undelivered, while there is a connection, before it is written to the disk.
_GRACE_SECONDS = 2.0


class Outbox:
    """A bounded queue of events, oldest first, that drops the oldest when it is full.

    Nothing raises because of a disk: what cannot be written stays in memory, is told once and tried every minute.
    While `settle` hangs with a disk, what is in memory can be delivered all the same, before what is on the disk.

    Parameters
    ----------
    state : Path or None
        The folder on a disk; None: nothing survives a power cut.
    runtime : Path or None
        The folder in memory; None: what is not on the disk yet dies with the process.
    max_events, max_bytes : int
        How many events are kept, and bytes of payload; `settle` drops what the disk has too many of.
    clock : callable
        Monotonic seconds; tests put their own here.

    Attributes
    ----------
    n_dropped : int
        How many events were dropped since the start.
    """

    def __init__(
        self,
        state: Path | None,
        runtime: Path | None,
        *,
        max_events: int,
        max_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_events, self._max_bytes = max_events, max_bytes
        self._clock = clock
        # The first is for the disk and never waited for by `put`; a thread that takes both takes it first.
        self._disk_lock, self._lock = threading.Lock(), threading.Lock()
        self._disk = Journal(state, durable=True, clock=clock)
        self._runtime = Journal(runtime, durable=False, clock=clock)
        self.n_dropped = self._n_dropped_told = self._sequence = 0
        # A sequence is the time of day when the event was made, in microseconds, or higher so that sequences rise.
        self._is_full, self._origin = False, time.time_ns() // 1000 - self._now()
        self._delivered: list[int] = []  # what the disk has not been told
        self._settle(-1)

    def put(self, payload: str) -> None:
        """Take an event; any thread may, and it waits for no disk."""
        data = payload.encode("utf-8", "backslashreplace")  # a lone surrogate becomes its escape in JSON
        with self._lock:
            if len(data) > self._max_bytes:
                self.n_dropped += 1
                return
            self.n_dropped += self._runtime.drop(self._max_events - 1, self._max_bytes - len(data))
            self._sequence = max(self._sequence + 1, self._origin + self._now())
            self._runtime.add(self._sequence, data)

    def pending(self, after: int, n: int) -> list[tuple[int, str]]:
        """Return up to `n` events after a sequence, oldest first, without those of a disk that is busy or away.

        Those may be older than what is returned: from 0 they come as soon as the disk goes on.
        """
        events = []
        if self._disk.count and self._disk_lock.acquire(timeout=_BUSY_SECONDS):
            try:
                events = self._disk.read(after, n)
            finally:
                self._disk_lock.release()
        with self._lock:
            events += self._runtime.read(after, n)
        return [(sequence, payload.decode()) for sequence, payload in sorted(events)[:n]]

    def delivered(self, sequences: Iterable[int]) -> None:
        """Forget these events; those on the disk are removed from it by the next `settle`."""
        sequences = list(sequences)
        self._delivered += sequences
        self._forget(sequences)
        if self._disk_lock.acquire(blocking=False):
            self._forget_delivered()
            self._disk_lock.release()

    def settle(self, connected: bool) -> None:
        """Move to the disk what waits for too long, remove from it what is delivered; to be called every second."""
        with self._disk_lock:
            self._settle(self._origin + self._now(_GRACE_SECONDS) if connected else 2**63)

    def close(self) -> None:
        """Move all events to the disk, and close the files."""
        with self._disk_lock:
            self._disk.try_at = self._runtime.try_at = -float("inf")
            self._settle(2**63)
            with self._lock:
                if n_lost := self._runtime.n_unsaved + self._disk.n_unsaved:
                    _log.warning("%d events that could not be written are lost", n_lost)
                self._runtime.close()
                self._disk.close()

    def __len__(self) -> int:
        """Return how many events wait."""
        return self._disk.count + self._runtime.count

    @property
    def n_bytes(self) -> int:
        """How many bytes the payloads of all waiting events have."""
        return self._disk.size + self._runtime.size

    @property
    def on_disk(self) -> int:
        """How many of the events would survive a power cut."""
        return self._disk.count

    @property
    def n_lost(self) -> int:
        """How many were dropped, or die with the process because no file could take them."""
        return self.n_dropped + len(self._runtime.held)

    def _now(self, ago: float = 0.0) -> int:
        return int((self._clock() - ago) * 1e6)

    def _forget_delivered(self) -> None:
        delivered, self._delivered = self._delivered, []
        self._disk.forget(delivered)

    def _settle(self, until: int) -> None:
        """Move the events up to this sequence, and log what has changed."""
        self._open(create=False)
        self._forget_delivered()
        with self._lock:
            most, most_bytes = self._max_events - self._runtime.count, self._max_bytes - self._runtime.size
            self.n_dropped += self._disk.drop(most, most_bytes)
        while self._clock() >= self._disk.try_at:
            with self._lock:
                events = self._runtime.read(0, 256, until)
            self._open(create=events != [])
            if not events or not self._disk.write(events):
                break
            moved = self._forget(sequence for sequence, _ in events)
            # What `put` has dropped while the disk was busy is counted, and must not be dropped there once more.
            self._disk.forget({sequence for sequence, _ in events}.difference(moved))
        self._forget_delivered()  # and what was delivered while the disk hung
        if self._disk.gone:
            self._disk.write()  # what was dropped must not come back
        self._tell()

    def _open(self, *, create: bool) -> None:
        """Open the files, and finish the move that may have been cut off when they were closed."""
        with self._lock:
            is_new = self._runtime.open(create=True)
            if self._runtime.held:
                self._runtime.write()
        if self._disk.open(create=create) or is_new:
            with self._lock:
                newest = max((*self._runtime.sequences[-1:], *self._disk.sequences[-1:]), default=0)
                self._origin = max(self._origin, newest + 1 - self._now())
            self._forget(self._disk.sequences)

    def _forget(self, sequences: Iterable[int]) -> list[int]:
        with self._lock:
            removed = self._runtime.forget(sequences)
            if self._runtime.gone:
                self._runtime.write()
        return removed

    def _tell(self) -> None:
        without = ("an event just made is lost if the process dies", "events are not safe from a power cut")
        for journal, what in zip((self._runtime, self._disk), without, strict=True):
            if journal.trouble and journal.trouble != journal.told:
                _log.warning("the outbox cannot use %s: %s; %s", journal.folder, journal.trouble, what)
            elif journal.told and not journal.trouble:
                _log.info("the outbox can use %s again", journal.folder)
            journal.told = journal.trouble
        is_dropping, self._n_dropped_told = self.n_dropped > self._n_dropped_told, self.n_dropped
        has_room = len(self) <= self._max_events / 2 and self.n_bytes <= self._max_bytes / 2
        if is_dropping and not self._is_full:
            _log.warning("the outbox is full; events are being dropped, the oldest first")
        elif self._is_full and has_room and not is_dropping:
            _log.info("the outbox has room again; %d events were dropped since the start", self.n_dropped)
        self._is_full = is_dropping or (self._is_full and not has_room)
