"""The journal: a file of events that is only appended to. In memory is kept where the events that still wait lie in it.

Each line is ``CHECKSUM SEQUENCE PAYLOAD``: an event, or, with a payload of the single byte 254, the note that the event
of this sequence waits no more. A damaged line costs only itself. When more than half of the file is of events that wait
no more, it is written anew. What is written survives the process, and a power cut if the journal is durable. The file
stays open, so what another program deletes, renames or replaces is written anew. No method raises because of a disk.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain, islice
from pathlib import Path

from affectd.files import check_regular, open_private, private_folder, write_whole

_log = logging.getLogger(__name__)

_GONE, _LINE_FEED = b"\xfe", b"\xff"  # which UTF-8 does not have
_OVERHEAD, _SMALL_BYTES = 27, 65536  # of a line beside the payload, of a file that is not yet rewritten
_MOST_BYTES = 1 << 20  # of a line: many times an event, and of a damaged file, which may have no line feed, a piece
_RETRY_SECONDS = 60.0
_WORDS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EROFS: "it is read-only",
    errno.EAGAIN: "another affectd is using it",
    errno.EIO: "reading or writing failed",
}


class Journal:
    """The events of the file ``outbox.journal`` in a folder.

    Events that the file cannot take are held in memory, and written when it can again; without a folder all are.

    Parameters
    ----------
    folder : Path or None
        Where the file is.
    durable : bool
        Whether what is written must survive a power cut (``fsync``).
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, folder: Path | None, *, durable: bool, clock: Callable[[], float]) -> None:
        self.folder, self._durable, self._clock = folder, durable, clock
        self._path = (folder or Path()) / "outbox.journal"
        self._new = self._path.with_suffix(".journal.new")
        self.trouble = self.told = ""  # why the file could not be used, and what the log says about it
        self.try_at, self._lock, self._file = -float("inf"), -1, -1  # the lock is the folder, opened
        self.held: dict[int, bytes] = {}  # what the file could not take
        self.gone: list[int] = []  # what waits no more, which the file does not say yet
        self._clear()

    def open(self, *, create: bool) -> bool:
        """Lock the folder and read the file, unless that is done already; return whether it was done now.

        Without `create`, a folder without a file stays as it is.
        """
        if self.folder is None or self._clock() < self.try_at:
            return False
        n_before = self.count
        if self._lock >= 0:
            if not self._was_changed():
                if not self._is_in_place():
                    self.write()
                return False
            self.close()
        old = self.folder / "outbox.sqlite"
        with self._attempt():
            if create:
                private_folder(self.folder)
            elif not (self._path.exists() or old.exists()):
                return False
            for path in (self._path, self._new, old):
                with suppress(FileNotFoundError):
                    check_regular(path.stat())
            self._load()
            if n_lost := max(0, n_before - self.count):
                _log.warning("%s was changed by another program; %d events in it are lost", self._path, n_lost)
            if self._n_bad or not self.count:
                self.write()
            if old.exists():
                from affectd.outbox.old_database import take_over  # SQLite takes 2 MB of memory

                take_over(old, self.write)
            return True
        self.close()
        return False

    def read(self, after: int, n: int, until: int = 2**63 - 1) -> list[tuple[int, bytes]]:
        """Return up to `n` events that follow `after`, not beyond `until`, oldest first."""
        with self._attempt():
            return list(islice(self._waiting(after, until), n)) if self.count else []
        self.close()  # the next `open` finds out what is left
        return []

    def add(self, sequence: int, payload: bytes) -> None:
        """Take an event: into the file if that works, else into memory."""
        if self.held or not self.write([(sequence, payload)]):
            self.held[sequence] = payload
            self._enter(sequence, -1, len(payload))

    def forget(self, sequences: Iterable[int]) -> list[int]:
        """Remove these events, and return which of them were there; the next `write` notes it in the file."""
        removed = [one for one in sequences if self._remove(one)]
        self.gone += [one for one in removed if self.held.pop(one, None) is None]
        return removed

    def drop(self, most: int, most_bytes: int) -> int:
        """Forget the oldest until there are no more than this; return how many."""
        before = self.count
        while self.count and (self.count > most or self.size > most_bytes):
            self.forget([self.sequences[self._first]])
        return before - self.count

    def write(self, events: Sequence[tuple[int, bytes]] = ()) -> bool:
        """Append `events`, and notes of what was removed; return whether it worked.

        After a failure the file is left alone for a minute: until then this returns False at once.
        """
        if self._lock < 0 or self._clock() < self.try_at:
            return False
        lines = [*(_line(one, _GONE) for one in self.gone), *(_line(*event) for event in events)]
        file_bytes = self._end + sum(map(len, lines))
        waiting_bytes = self.size + _OVERHEAD * (self.count + len(events)) + sum(len(payload) for _, payload in events)
        # Not after trouble, which may be that the disk is full.
        is_mostly_gone = file_bytes > max(_SMALL_BYTES, 2 * waiting_bytes) and not self.trouble
        anew = self._n_bad or (waiting_bytes and (self.held or is_mostly_gone or not self._is_in_place()))
        is_new_file = anew or not self._end
        with self._attempt():
            if anew:
                self._rewrite(lines)
            elif waiting_bytes:
                self._store(lines, self._path, self._end)
                for line in lines:
                    self._take(line)
            else:
                self._path.unlink(missing_ok=True)
                self._keep(-1)
                self._clear()
            self.gone, self.trouble = [], ""
            if self._durable and self._end and is_new_file:
                with self._attempt():  # if not, all is there, but may have no name after a power cut
                    os.fsync(self._lock)
            return True
        return False

    @property
    def n_unsaved(self) -> int:
        """How many events are in no file that could be opened again."""
        return len(self.held) if self._is_in_place() else self.count

    def close(self) -> None:
        """Unlock the folder; events that are only in the file are not known until the next `open`."""
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1
        self._keep(-1)
        self._clear()

    def _keep(self, file: int) -> None:
        """Keep this file open, and no more the one before."""
        if self._file >= 0:
            os.close(self._file)
        self._file = file

    def _was_changed(self) -> bool:
        """Return whether another program has written to the file that is open, or cut it off."""
        try:
            return self._end > 0 and os.fstat(self._file).st_size != self._end
        except OSError:
            return True

    def _is_in_place(self) -> bool:
        """Return whether the file that is open still has its name, if there is one."""
        try:
            return not self._end or os.path.samestat(os.stat(self._path), os.fstat(self._file))
        except FileNotFoundError:
            return False
        except OSError:  # of the disk, which a write will tell
            return True

    def _clear(self) -> None:
        # 20 bytes for an event in the file, in the order of the sequences; those before `first` wait no more.
        self._columns = self.sequences, self._offsets, self._sizes = array("q"), array("q"), array("i")
        self.count = self.size = self._first = self._end = self._n_bad = 0
        for sequence, payload in self.held.items():
            self._enter(sequence, -1, len(payload))

    def _enter(self, sequence: int, offset: int, size: int) -> None:
        at = bisect_left(self.sequences, sequence, self._first)
        if sequence not in self.sequences[at : at + 1]:
            for column, value in zip(self._columns, (sequence, offset, size), strict=True):
                column.insert(at, value)
            self.count, self.size = self.count + 1, self.size + size

    def _remove(self, sequence: int) -> bool:
        at = bisect_left(self.sequences, sequence, self._first)
        if sequence not in self.sequences[at : at + 1]:
            return False
        self.count, self.size = self.count - 1, self.size - self._sizes[at]
        if at == self._first:
            self._first += 1
        else:
            del self.sequences[at], self._offsets[at], self._sizes[at]
        return True

    def _take(self, line: bytes) -> None:
        if line[26:-1] == _GONE:
            self._remove(int(line[9:25], 16))
        else:
            self._enter(int(line[9:25], 16), self._end, len(line) - _OVERHEAD)
        self._end += len(line)

    def _load(self) -> None:
        self._lock, line = os.open(self._path.parent, os.O_RDONLY), b"\n"
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                self._keep(os.open(self._path, os.O_RDONLY | os.O_CLOEXEC))
                with open(self._file, "rb", closefd=False) as lines:
                    for line in iter(partial(lines.readline, _MOST_BYTES), b""):
                        if line.endswith(b"\n") and line == _sealed(line[9:-1]):
                            self._take(line)
                        else:
                            self._n_bad, self._end = self._n_bad + 1, self._end + len(line)
        except OSError:
            self.close()  # what is known only in part must not be rewritten
            raise
        # If the process or the power ended in the middle of it, the last line is a part of one.
        self._is_damaged = self._n_bad > (line[-1:] != b"\n" and b"\0" not in line)
        for sequence in self.gone:
            self._remove(sequence)

    def _waiting(self, after: int, until: int = 2**63 - 1) -> Iterator[tuple[int, bytes]]:
        for at in range(*(bisect_right(self.sequences, limit, self._first) for limit in (after, until))):
            payload = self.held.get(sequence := self.sequences[at])
            if payload is None:
                line = os.pread(self._file, self._sizes[at] + _OVERHEAD, self._offsets[at])
                payload = line[26:-1].replace(_LINE_FEED, b"\n")
                if line != _line(sequence, payload):
                    raise OSError(errno.EIO, "damaged")
            yield sequence, payload

    def _rewrite(self, lines: Iterable[bytes]) -> None:
        """Put a file with what waits, and these lines, in the place of the old one."""
        new, broken, is_in_place = self._new, self._path.with_suffix(".journal.broken"), self._is_in_place()
        try:
            private_folder(new.parent)
            self._store(chain((_line(*event) for event in self._waiting(0)), lines), new, 0)
            if self._is_damaged:
                _log.warning("%s was damaged; %d events in it could be saved", self._path, self.count)
                with suppress(OSError):  # a file system without links: the damaged file is not kept
                    broken.unlink(missing_ok=True)
                    os.link(self._path, broken)
            os.replace(new, self._path)
        except OSError:
            with suppress(OSError):
                new.unlink()
            raise
        if not is_in_place:
            _log.warning("%s was deleted or replaced; the %d events in it are written anew", self._path, self.count)
        self.held.clear()
        self.close()
        self._load()

    def _store(self, lines: Iterable[bytes], path: Path, end: int) -> None:
        """Append lines to a file of `end` bytes; if that is 0, it is made or emptied first."""
        lines = iter(lines)
        file = open_private(path, os.O_RDWR | (os.O_APPEND if end else os.O_TRUNC))
        try:
            while data := b"".join(islice(lines, 256)):
                write_whole(file, data)
            if self._durable:
                os.fsync(file)
        finally:
            if path == self._path:
                self._keep(file)
            else:
                os.close(file)

    @contextmanager
    def _attempt(self) -> Iterator[None]:
        """End the ``with`` block at an `OSError`, which is noted; what was half written is taken out of the file."""
        try:
            yield
        except OSError as error:
            self.trouble = _WORDS.get(error.errno or 0, error.strerror or str(error))
            self.try_at = self._clock() + _RETRY_SECONDS
            if not self._end:
                self.close()
                return
            try:
                if os.fstat(self._file).st_size > self._end:
                    os.ftruncate(self._file, self._end)
            except OSError:  # the next `write` writes all anew
                self._n_bad += 1


def _sealed(body: bytes) -> bytes:
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _line(sequence: int, payload: bytes) -> bytes:
    return _sealed(b"%016x %s" % (sequence, payload.replace(b"\n", _LINE_FEED)))
