"""A file of events that is damaged: what can be read from it is saved, and a new one begins.

Cards that lose power while they write, or wear out, return nonsense or nothing for a part of a file.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from affectd.event_file import (
    SELECT,
    BrokenFileError,
    EventFile,
    Row,
    connect,
    is_broken,
    is_intact,
    reason,
    remove,
    sync_directory,
)


def open_or_mend(path: Path, *, durable: bool, damage: str = "") -> tuple[EventFile, str]:
    """Return the file at `path` and an empty text, or what was done because it was damaged.

    A damaged file is replaced by a new one with all events that can still be read; the damaged one is kept beside
    it as ``*.broken``, in the place of an older one.

    Parameters
    ----------
    path : Path
        The file.
    durable : bool
        As for `EventFile`.
    damage : str
        What is wrong with the file, if that is known already; some damage is found only by reading the events.

    Raises
    ------
    OSError, sqlite3.Error
        It cannot be opened or replaced.
    """
    if not damage:
        try:
            return EventFile(path, durable=durable), ""
        except (sqlite3.Error, BrokenFileError) as error:
            if not is_broken(error):
                raise
            damage = reason(error)
    rows = _salvage(path)
    new, broken = path.with_name(path.name + ".new"), path.with_name(path.name + ".broken")
    remove(new)
    beginning = EventFile(new, durable=durable)
    try:
        beginning.write(rows, {})
    finally:
        beginning.close()
    # An old journal, if it could not be played back into the old file, must not be into the new one.
    path.with_name(path.name + "-journal").unlink(missing_ok=True)
    broken.unlink(missing_ok=True)
    with suppress(OSError):  # a file system without links: the damaged file is not kept
        os.link(path, broken)
    os.replace(new, path)  # at no moment there is no file: what was saved is in one of them
    if durable:
        sync_directory(path.parent)
    return EventFile(path, durable=durable), f"{path} was damaged ({damage}); {len(rows)} events in it could be saved"


def _salvage(path: Path) -> list[Row]:
    """Return the intact events of a damaged file: up to the damage, and from the end back to it."""
    rows: dict[int, Row] = {}
    with suppress(sqlite3.Error), closing(connect(path)) as db:
        db.execute("PRAGMA writable_schema=ON")  # lets SQLite open a file that is too short
        for order in ("ASC", "DESC"):
            with suppress(sqlite3.Error):
                for row in db.execute(f"{SELECT} ORDER BY sequence {order}"):
                    if order == "DESC" and row[0] in rows:
                        break
                    if is_intact(row):
                        rows[row[0]] = Row(*row[:3])
    return [rows[sequence] for sequence in sorted(rows)]
