"""Events that wait for the broker: they survive the process and a power cut, and wear no SD card while all is well.

An event is in one of three places:

========= ==================================== =======================================================
place     what it survives                     when it is there
========= ==================================== =======================================================
runtime   the process: a file in memory        at once, `put` writes it; until it is delivered
disk      a power cut: a file that is synced   undelivered for `grace_seconds`, or there is no connection
memory    nothing                              the file for the runtime cannot be written, or there is none
========= ==================================== =======================================================

`put` touches no disk and shares no lock with anything that does; a disk that hangs stops only the voice's thread.
Every event has a sequence, its place in the order. From one place to another it is written first and removed
afterwards, so that death in between leaves it in both; they are told apart by the sequence.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from affectd.event_file import Row
from affectd.event_places import FilePlace, MemoryPlace

_log = logging.getLogger(__name__)

_BATCH = 256
# What was delivered need not leave the disk at once: if the power fails, it is delivered again.
_TIDY_SECONDS = 1.0


class Outbox:
    """A bounded queue of events, oldest first, that drops the oldest when it is full.

    Nothing here raises because of a disk: what cannot be written stays in memory, a warning says so once, and
    it is tried again every minute.

    Parameters
    ----------
    state : Path or None
        The folder on a disk; None: nothing survives a power cut.
    runtime : Path or None
        The folder in memory; None: what is not on the disk yet dies with the process.
    max_events, max_bytes : int
        How many events are kept, and how many bytes of payload. `put` holds what is not on the disk to this,
        `settle` all of it.
    grace_seconds : float
        How long an event may be undelivered, while there is a connection, before it is written to the disk.
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
        grace_seconds: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_events, self._max_bytes = max_events, max_bytes
        self._grace_seconds, self._clock = grace_seconds, clock
        # The first is for the disk and never waited for by `put`; whoever takes both takes it first.
        self._disk_lock, self._lock = threading.Lock(), threading.Lock()
        self._disk = FilePlace(state, durable=True, clock=clock)
        self._runtime = FilePlace(runtime, durable=False, clock=clock)
        self._memory = MemoryPlace()
        self.n_dropped = 0
        self._n_opened = 0
        self._tidy_at = -float("inf")
        self._told: dict[str, str] = {}
        self._n_dropped_told, self._is_full = 0, False
        self._runtime.open(create=True)
        # The time, so that sequences rise even if nothing is left of the last run.
        self._sequence = max(time.time_ns() // 1000, self._runtime.newest)
        self._open_disk()
        self._drop_surplus()  # what was delivered just before a death may be on the disk still
        self._tell()

    def put(self, payload: str) -> None:
        """Take an event; any thread may, and it waits for no disk."""
        # A lone surrogate becomes the escape that JSON has for it.
        data = payload.encode("utf-8", "backslashreplace")
        with self._lock:
            if len(data) > self._max_bytes:
                self.n_dropped += 1
                return
            self._sequence += 1
            row = Row(self._sequence, self._clock(), data)
            if self._memory.count or not self._runtime.write([row]):
                self._memory.add(row)
            self._make_room()

    def pending(self, after: int, n: int) -> list[tuple[int, str]]:
        """Return up to `n` events that follow the sequence `after`, oldest first, with their sequences.

        Ask from 0 again whenever nothing is in flight: events on a disk that was away may come back.
        """
        with self._disk_lock:
            rows = self._disk.read(after, n)
            with self._lock:
                rows += self._waiting(after, n)
        found = {row.sequence: row.payload for row in rows}
        return [(sequence, found[sequence].decode()) for sequence in sorted(found)[:n]]

    def delivered(self, sequences: Iterable[int]) -> None:
        """Forget these events; those on the disk are removed from it by the next `settle`."""
        sequences = list(sequences)
        with self._disk_lock:
            self._disk.forget(sequences)
            with self._lock:
                self._forget(sequences)

    def settle(self, connected: bool) -> None:
        """Bring to the disk what has to be there, and off it what does not; call it every second or so."""
        with self._disk_lock:
            now = self._clock()
            self._settle(now - (self._grace_seconds if connected else 0.0), now)
            self._tell()

    def close(self) -> None:
        """Bring everything to the disk and let go of the files."""
        with self._disk_lock:
            self._disk.hurry()
            self._runtime.hurry()
            now = self._clock()
            self._settle(now, now)
            self._tell()
            with self._lock:
                if self._memory.count:
                    _log.warning("%d events that nobody could take are lost", self._memory.count)
                if self._runtime.count == 0:
                    self._runtime.remove()
                self._runtime.close()
                self._disk.close()

    def __len__(self) -> int:
        """Return how many events wait."""
        return self._disk.count + self._runtime.count + self._memory.count

    @property
    def n_bytes(self) -> int:
        """How many bytes the payloads of all waiting events have."""
        return self._disk.size + self._runtime.size + self._memory.size

    @property
    def on_disk(self) -> int:
        """How many of the events would survive a power cut."""
        return self._disk.count

    def _make_room(self) -> None:
        """Drop the oldest of what is not on the disk; if there is anything older on it, `settle` drops that too."""
        for place in (self._runtime, self._memory):
            n = self._runtime.count + self._memory.count - self._max_events
            n_bytes = self._runtime.size + self._memory.size - self._max_bytes
            if n > 0 or n_bytes > 0:
                self.n_dropped += place.forget_oldest(n, n_bytes)
        if self._runtime.has_gone:
            self._runtime.write()

    def _settle(self, limit: float, now: float) -> None:
        """Move what was made at `limit` or before."""
        self._settle_memory()
        self._open_disk()
        n = self._drop_surplus()
        while self._disk.may_write and (rows := self._due(limit, now)):
            self._disk.open(create=True)
            if not self._disk.write(rows):
                return
            with self._lock:
                self._forget([row.sequence for row in rows])
        if self._disk.count == 0:
            self._disk.remove()
        elif self._disk.has_gone and (n or now >= self._tidy_at):  # what was dropped must not come back
            self._tidy_at = now + _TIDY_SECONDS
            self._disk.write()

    def _drop_surplus(self) -> int:
        """Drop the oldest of what is on the disk until there is no more than may be; return how many."""
        n = self._disk.forget_oldest(len(self) - self._max_events, self.n_bytes - self._max_bytes)
        with self._lock:
            self.n_dropped += n
        return n

    def _due(self, limit: float, now: float) -> list[Row]:
        """Return some of the events that have to go to the disk."""
        # One made later than now was made before a restart of the machine.
        with self._lock:
            if not any(not limit < row.made <= now for row in self._waiting(0, 1)):
                return []
            return [row for row in self._waiting(0, _BATCH) if not limit < row.made <= now]

    def _settle_memory(self) -> None:
        """Bring what is in memory to the file for the runtime, if that works now."""
        with self._lock:
            self._runtime.open(create=True)
            self._runtime.shrink()
        while True:
            with self._lock:
                rows = self._memory.read(0, _BATCH)
                if not rows or not self._runtime.write(rows):
                    return
                self._memory.forget([row.sequence for row in rows])

    def _waiting(self, after: int, n: int) -> list[Row]:
        """Return up to `n` events that are not on the disk."""
        rows = self._runtime.read(after, n)
        return rows + self._memory.read(after, n - len(rows))

    def _forget(self, sequences: list[int]) -> None:
        """Remove these from where they need not be."""
        self._memory.forget(sequences)
        self._runtime.forget(sequences)
        if self._runtime.has_gone:
            self._runtime.write()

    def _open_disk(self) -> None:
        """Open the file on the disk, if there is one; finish the move that may have been cut off when it was closed."""
        self._disk.open(create=False)
        if self._disk.n_opened == self._n_opened:
            return
        self._n_opened = self._disk.n_opened
        with self._lock:
            self._sequence = max(self._sequence, self._disk.newest)
            oldest = self._waiting(0, 1)
        if oldest:
            on_disk_too = self._disk.sequences(oldest[0].sequence - 1)
            with self._lock:
                self._forget(on_disk_too)

    def _tell(self) -> None:
        """Log what has changed since the last time, a line for each."""
        without = {
            "disk": "events are not safe from a power cut",
            "runtime": "an event just made is lost if the process dies",
        }
        for name, place in (("disk", self._disk), ("runtime", self._runtime)):
            if place.trouble and place.trouble != self._told.get(name):
                _log.warning("the outbox cannot use %s: %s; %s", place.folder, place.trouble, without[name])
            elif not place.trouble and self._told.get(name):
                _log.info("the outbox can use %s again", place.folder)
            self._told[name] = place.trouble
        is_dropping = self.n_dropped > self._n_dropped_told
        has_room = len(self) <= self._max_events / 2 and self.n_bytes <= self._max_bytes / 2
        if is_dropping and not self._is_full:
            _log.warning("the outbox is full; events are being dropped, the oldest first")
            self._is_full = True
        elif self._is_full and has_room and not is_dropping:
            _log.info("the outbox has room again; %d events were dropped since the start", self.n_dropped)
            self._is_full = False
        self._n_dropped_told = self.n_dropped
