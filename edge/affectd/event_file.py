"""Events in an SQLite file, in the order in which they were made.

One process uses a file at a time, and has it locked for as long as it is open. Every row carries a checksum:
SQLite notices a damaged page only if the structure is hit, and nonsense must not be published.

Source: https://www.sqlite.org/pragma.html, https://www.sqlite.org/atomiccommit.html
"""

from __future__ import annotations

import errno
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

_VERSION = 1
_SPARE_PAGES = 64
_SHRINK_PAGES = 256
_CREATE = "CREATE TABLE events (sequence INTEGER PRIMARY KEY, made REAL, crc INTEGER, payload BLOB)"
SELECT = "SELECT sequence, made, payload, crc FROM events"
_BROKEN_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_ERROR)
_WORDS = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_BUSY: "another affectd is using it",
    sqlite3.SQLITE_IOERR: "reading or writing failed",
    sqlite3.SQLITE_CANTOPEN: "no file can be opened there",
}


class BrokenFileError(Exception):
    """The file is not what was written."""


class Row(NamedTuple):
    """One event: its place in the order, the monotonic time when it was made, and what to publish."""

    sequence: int
    made: float
    payload: bytes


class EventFile:
    """An open file of events.

    Every method but `close` may raise `sqlite3.Error` or `BrokenFileError`; then nothing is to be done with it but to
    close it, which undoes what was half done.

    Parameters
    ----------
    path : Path
        The file; it is made, for this user alone, if it does not exist.
    durable : bool
        Whether what `write` returned for survives a power cut. If not, it survives the process.

    Attributes
    ----------
    count, size : int
        How many events there are, and the bytes of their payloads.
    newest : int
        The highest sequence; 0 if there is none.

    Raises
    ------
    OSError, sqlite3.Error, BrokenFileError
        The file cannot be opened; `is_broken` tells whether its content is at fault.
    """

    def __init__(self, path: Path, *, durable: bool) -> None:
        is_new = not path.exists()
        if is_new:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._db = connect(path)
        try:
            self._prepare(durable)
            if is_new and durable:
                sync_directory(path.parent)
        except BaseException:
            self._db.close()
            raise

    def _prepare(self, durable: bool) -> None:
        execute = self._db.execute
        execute("PRAGMA cell_size_check=ON")
        execute("PRAGMA cache_size=-512")
        # With it the journal is overwritten instead of made anew for every transaction.
        execute("PRAGMA locking_mode=EXCLUSIVE")
        execute(f"PRAGMA synchronous={'EXTRA' if durable else 'OFF'}")
        if not durable:  # it lives long; the durable one is deleted as soon as it is empty
            execute("PRAGMA auto_vacuum=INCREMENTAL")
        with self._transaction():  # takes the lock
            version, n_tables = execute("PRAGMA user_version").fetchone()[0], self._n_tables()
            if (version, n_tables) == (0, 0):
                execute(_CREATE)
                execute(f"PRAGMA user_version={_VERSION}")
            elif version != _VERSION:
                raise BrokenFileError(f"it is of version {version}")
        self.count, self.size = execute("SELECT count(*), coalesce(sum(length(payload)), 0) FROM events").fetchone()
        self.newest = 0
        for order in ("ASC", "DESC"):  # what lies between has a sequence between theirs
            for row in execute(f"{SELECT} ORDER BY sequence {order} LIMIT 1").fetchall():
                self.newest = _checked(row).sequence

    def _n_tables(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN EXCLUSIVE")
        yield
        self._db.execute("COMMIT")

    def read(self, after: int = 0) -> Iterator[Row]:
        """Yield what follows `after`, oldest first; do not write meanwhile."""
        with closing(self._db.execute(f"{SELECT} WHERE sequence > ? ORDER BY sequence", (after,))) as found:
            for row in found:
                yield _checked(row)

    def sizes(self, sequences: Iterable[int] | None = None, *, after: int = 0) -> Iterator[tuple[int, int]]:
        """Yield sequence and bytes of those that are here: of all after `after`, oldest first, or of `sequences`."""
        select = "SELECT sequence, length(payload) FROM events WHERE sequence"
        if sequences is None:
            with closing(self._db.execute(f"{select} > ? ORDER BY sequence", (after,))) as found:
                yield from found
        else:
            for sequence in sequences:
                yield from self._db.execute(f"{select} = ?", (sequence,))

    def write(self, rows: Sequence[Row], without: dict[int, int]) -> None:
        """Add `rows` and remove the sequences of `without`, given with their sizes; both happen or neither."""
        with self._transaction():
            self._db.executemany("DELETE FROM events WHERE sequence = ?", ((sequence,) for sequence in without))
            self._db.executemany(
                "INSERT INTO events (sequence, made, payload, crc) VALUES (?, ?, ?, ?)",
                ((*row, _crc(row.sequence, row.payload)) for row in rows),
            )
        self.count += len(rows) - len(without)
        self.size += sum(len(row.payload) for row in rows) - sum(without.values())
        self.newest = max(self.newest, *(row.sequence for row in rows), 0)

    def shrink(self) -> None:
        """Give back a part of the room that removed events took."""
        if self._db.execute("PRAGMA freelist_count").fetchone()[0] > _SPARE_PAGES:
            # Not with `execute`, which asks for one step only: a page each.
            self._db.executescript(f"PRAGMA incremental_vacuum({_SHRINK_PAGES})")

    def close(self) -> None:
        """Let go of the file."""
        with suppress(sqlite3.Error):
            self._db.close()


def remove(path: Path) -> None:
    """Delete a file of events that is not open.

    Raises
    ------
    OSError
        It cannot be deleted.
    """
    path.with_name(path.name + "-journal").unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def is_broken(error: Exception) -> bool:
    """Return whether the content of the file is at fault, not the disk it is on."""
    return isinstance(error, BrokenFileError) or _code(error) in _BROKEN_CODES


def reason(error: Exception) -> str:
    """Return in words why a file cannot be used."""
    if isinstance(error, OSError):
        if error.errno == errno.EROFS:
            return _WORDS[sqlite3.SQLITE_READONLY]
        return error.strerror or str(error)
    return _WORDS.get(_code(error), str(error))


def connect(path: Path) -> sqlite3.Connection:
    """Open the file at `path` as it is."""
    # Autocommit: transactions are begun and ended in words. The threads that use it take turns by a lock.
    address = f"{path.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(address, uri=True, timeout=0, isolation_level=None, check_same_thread=False)


def is_intact(row: tuple[object, ...]) -> bool:
    """Return whether a row that `SELECT` found is what was written."""
    sequence, made, payload, crc = row
    return (
        isinstance(sequence, int)
        and isinstance(made, float)
        and isinstance(payload, bytes)
        and crc == _crc(sequence, payload)
    )


def _checked(row: tuple[int, float, bytes, int]) -> Row:
    if not is_intact(row):
        raise BrokenFileError("an event in it is damaged")
    return Row(*row[:3])


def _crc(sequence: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(sequence.to_bytes(8, "big", signed=True)))


def _code(error: Exception) -> int:
    """Return SQLite's primary code; the higher bits are details."""
    return getattr(error, "sqlite_errorcode", -1) & 0xFF


def sync_directory(path: Path) -> None:
    """Let the names in a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
