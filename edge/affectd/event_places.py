"""Where events can wait: in a file that may fail at any time, or in memory.

Nothing here raises because of a disk.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

from affectd.event_file import BrokenFileError, EventFile, Row, is_broken, reason, remove
from affectd.event_mending import open_or_mend

_log = logging.getLogger(__name__)

_NAME = "outbox.sqlite"
_RETRY_SECONDS = 60.0
_FAILURES = (OSError, sqlite3.Error, BrokenFileError)


class FilePlace:
    """A file of events in a folder, either of which may be unusable for a time.

    Parameters
    ----------
    folder : Path or None
        Where the file is; None: this place does not exist, and takes nothing.
    durable : bool
        Whether what it takes survives a power cut.
    clock : callable
        Monotonic seconds.

    Attributes
    ----------
    trouble : str
        Why the last attempt to use it failed, in words; empty if it did not.
    n_opened : int
        How often the file was opened; each time there may be something in it that nobody knew of.
    """

    def __init__(self, folder: Path | None, *, durable: bool, clock: Callable[[], float]) -> None:
        self.folder, self.trouble, self.n_opened = folder, "", 0
        self._durable, self._clock = durable, clock
        self._file: EventFile | None = None
        # Events that are forgotten but still in the file, with their sizes; the next `write` removes them.
        self._gone: dict[int, int] = {}
        self._gone_size = 0
        self._open_at = self._write_at = -float("inf")
        self._damage = ""

    @property
    def count(self) -> int:
        """How many events there are."""
        file = self._file
        return file.count - len(self._gone) if file else 0

    @property
    def size(self) -> int:
        """How many bytes their payloads have."""
        file = self._file
        return file.size - self._gone_size if file else 0

    @property
    def newest(self) -> int:
        """The highest sequence that was ever in the file since it was opened; 0 if none."""
        return self._file.newest if self._file else 0

    @property
    def has_gone(self) -> bool:
        """Whether events are forgotten that are still in the file."""
        return bool(self._gone)

    @property
    def may_write(self) -> bool:
        """Whether `write` would try."""
        return self.folder is not None and self._clock() >= self._write_at

    def open(self, *, create: bool) -> None:
        """Open the file if it is closed and time to try."""
        if self._file or self.folder is None or self._clock() < self._open_at:
            return
        path = self.folder / _NAME
        try:
            if not path.exists():
                self._damage = ""
                if not create:
                    return
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file, mended = open_or_mend(path, durable=self._durable, damage=self._damage)
            self._damage = ""
            gone, self._gone, self._gone_size = list(self._gone), {}, 0
            self._let_go(self._file.sizes(gone))
        except _FAILURES as error:
            self._fail(error)
            self.trouble = reason(error)
            self._open_at = self._write_at = self._clock() + _RETRY_SECONDS
            return
        if mended:
            _log.warning("%s", mended)
        self.n_opened += 1

    def read(self, after: int, n: int) -> list[Row]:
        """Return up to `n` events that follow `after`, oldest first."""
        for _ in range(2):  # a file that turns out to be damaged is mended, and has something to say after all
            if self._file and self.count:
                rows = (row for row in self._file.read(after) if row.sequence not in self._gone)
                try:
                    return list(islice(rows, n))
                except _FAILURES as error:
                    self._fail(error)
                    self.open(create=False)
        return []

    def sequences(self, after: int) -> list[int]:
        """Return all sequences in the file that follow `after`."""
        try:
            return [sequence for sequence, _ in self._file.sizes(after=after)] if self._file else []
        except _FAILURES as error:
            self._fail(error)
            return []

    def forget(self, sequences: Sequence[int]) -> None:
        """Let these be gone, for everybody but the file."""
        if self._file and self.count:
            try:
                self._let_go(self._file.sizes(sequences))
            except _FAILURES as error:
                self._fail(error)  # they come twice

    def forget_oldest(self, n: int, n_bytes: int) -> int:
        """Forget the oldest until `n` events and `n_bytes` are gone; return how many."""
        n_gone = 0
        if self._file and (n > 0 or n_bytes > 0):
            try:
                for sequence, size in self._file.sizes():
                    if n <= n_gone and n_bytes <= 0:
                        break
                    if sequence not in self._gone:
                        self._let_go([(sequence, size)])
                        n_gone, n_bytes = n_gone + 1, n_bytes - size
            except _FAILURES as error:
                self._fail(error)
        return n_gone

    def write(self, rows: Sequence[Row] = ()) -> bool:
        """Add `rows`, remove what is gone, and return whether it worked; after a failure nothing does for a minute."""
        if not self.may_write:
            return False
        if self.trouble:  # a file that was opened on a disk that could not be written to stays so
            self.close()
            self.open(create=False)
        if self._file is None:
            return False
        try:
            self._file.write(rows, self._gone)
        except _FAILURES as error:
            self._fail(error)
            self.open(create=False)  # to read on
            return False
        self._all_gone()
        return True

    def remove(self) -> None:
        """Delete the file, in which nothing is left."""
        if self._file and self.folder and self.may_write:
            self.close()
            try:
                remove(self.folder / _NAME)
            except OSError as error:
                self._fail(error)
            else:
                self._all_gone()

    def shrink(self) -> None:
        """Give back a part of the room that removed events took."""
        if self._file and not self.trouble:
            try:
                self._file.shrink()
            except _FAILURES as error:
                self._fail(error)

    def hurry(self) -> None:
        """Try again now what was to be tried again later."""
        self._open_at = self._write_at = -float("inf")

    def close(self) -> None:
        """Let go of the file."""
        file, self._file = self._file, None
        if file:
            file.close()

    def _let_go(self, sizes: Iterable[tuple[int, int]]) -> None:
        for sequence, size in sizes:
            self._gone_size += size - self._gone.get(sequence, 0)
            self._gone[sequence] = size

    def _all_gone(self) -> None:
        """Note that the file is as it should be."""
        self._gone, self._gone_size = {}, 0
        self.trouble = ""

    def _fail(self, error: Exception) -> None:
        """Note the trouble, and let `open` have a new look at the file: nobody knows what became of it."""
        self.close()
        if is_broken(error):
            self._damage = reason(error)
        else:
            self.trouble = reason(error)
            self._write_at = self._clock() + _RETRY_SECONDS


class MemoryPlace:
    """Events in memory; they die with the process."""

    def __init__(self) -> None:
        self._rows: OrderedDict[int, Row] = OrderedDict()
        self.size = 0

    @property
    def count(self) -> int:
        """How many events there are."""
        return len(self._rows)

    def add(self, row: Row) -> None:
        """Take an event."""
        self._rows[row.sequence] = row
        self.size += len(row.payload)

    def read(self, after: int, n: int) -> list[Row]:
        """Return up to `n` events that follow `after`, oldest first."""
        return list(islice((row for sequence, row in self._rows.items() if sequence > after), n))

    def forget(self, sequences: Iterable[int]) -> None:
        """Remove these."""
        for sequence in sequences:
            row = self._rows.pop(sequence, None)
            self.size -= len(row.payload) if row else 0

    def forget_oldest(self, n: int, n_bytes: int) -> int:
        """Remove the oldest until `n` events and `n_bytes` are gone; return how many."""
        n_gone = 0
        while self._rows and (n > n_gone or n_bytes > 0):
            row = self._rows.popitem(last=False)[1]
            self.size -= len(row.payload)
            n_gone, n_bytes = n_gone + 1, n_bytes - len(row.payload)
        return n_gone
