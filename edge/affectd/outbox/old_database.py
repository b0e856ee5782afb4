"""The events that wait in the SQLite database of an older version."""

from __future__ import annotations

import errno
import logging
import sqlite3
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path


def take_over(path: Path, write: Callable[[list[tuple[int, bytes]]], bool]) -> None:
    """Hand the events to `write` and delete the database, or set it aside if it is damaged; OSError: not now."""
    events, damage = dict[int, bytes](), ""
    for order in ("ASC", "DESC"):  # up to the damage, and from the end back to it
        try:
            with closing(sqlite3.connect(path, timeout=0)) as database:
                database.execute("PRAGMA writable_schema=ON")  # lets SQLite open a file that is too short
                # By the name that SQLite has for the key: a damaged schema may have another one, or no key.
                query = f"SELECT rowid AS number, payload, crc FROM events ORDER BY rowid {order}"
                for sequence, payload, checksum in database.execute(query):
                    number = sequence.to_bytes(8, "big", signed=True)
                    if isinstance(payload, bytes) and checksum == zlib.crc32(payload, zlib.crc32(number)):
                        events[sequence] = payload
                    else:
                        damage = "an event in it is damaged"
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF  # the higher bits are details
            if code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_ERROR):
                raise OSError(errno.EAGAIN if code == sqlite3.SQLITE_BUSY else errno.EIO, str(error)) from error
            damage = str(error)
    if write(sorted(events.items())):
        if damage:
            path.replace(path.with_name(path.name + ".broken"))
            message = "%s was damaged (%s); %d events in it could be saved"
            logging.getLogger(__name__).warning(message, path, damage, len(events))
        for name in (path.name, path.name + "-journal"):
            path.with_name(name).unlink(missing_ok=True)
