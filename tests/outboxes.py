"""An outbox for tests, and what is done with it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
import zlib
from contextlib import closing
from pathlib import Path

from affectd.outbox.outbox import Outbox

NAME, OLD_NAME = "outbox.journal", "outbox.sqlite"
# For tests with thousands of changes, that would take minutes on a real disk.
IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
EVENT = '{"type": "emotion", "label": "happy", "note": "' + "x" * 550 + '"}'


class Clock:
    """Goes when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def opened(
    state: Path | None,
    runtime: Path | None,
    clock: Clock | None = None,
    *,
    max_events: int = 1000,
    max_bytes: int = 1_000_000,
) -> Outbox:
    return Outbox(state, runtime, max_events=max_events, max_bytes=max_bytes, clock=clock or time.monotonic)


def payloads(outbox: Outbox, n: int = 100_000) -> list[str]:
    return [payload for _, payload in outbox.pending(0, n)]


def put(outbox: Outbox, *events: str) -> None:
    for event in events:
        outbox.put(event)


def deliver(outbox: Outbox, n: int = 100_000) -> None:
    outbox.delivered([sequence for sequence, _ in outbox.pending(0, n)])


def died(*folders: Path) -> list[Path]:
    """Return copies of what a process that dies now would leave."""
    copies = []
    for folder in folders:
        copies.append(folder.with_name(folder.name + "-left"))
        shutil.rmtree(copies[-1], ignore_errors=True)
        if folder.exists():
            shutil.copytree(folder, copies[-1])
    return copies


def filled(folder: Path, n: int = 60) -> list[str]:
    """Leave `n` events in the file of this folder, and return them."""
    outbox = opened(folder, None)
    events = many(n)
    put(outbox, *events)
    outbox.close()
    return events


def old_database(folder: Path, events: list[str], first: int = 1) -> Path:
    """Leave events where an older version left them: in a database, with sequences from `first` on."""
    folder.mkdir(exist_ok=True)
    file = folder / OLD_NAME
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.execute("CREATE TABLE events (sequence INTEGER PRIMARY KEY, made REAL, crc INTEGER, payload BLOB)")
        database.execute("PRAGMA user_version=1")
        database.execute("BEGIN")
        insert_old(database, events, first)
        database.execute("COMMIT")
    return file


def insert_old(database: sqlite3.Connection, events: list[str], first: int) -> None:
    """Put events into a database as an older version did."""
    for sequence, payload in enumerate((event.encode() for event in events), first):
        checksum = zlib.crc32(payload, zlib.crc32(sequence.to_bytes(8, "big", signed=True)))
        row = (sequence, 1234.5, checksum, payload)
        database.execute("INSERT INTO events (sequence, made, crc, payload) VALUES (?, ?, ?, ?)", row)


def many(n: int) -> list[str]:
    """Return `n` events of all lengths."""
    return [f"{number:03} {EVENT[: 20 + 37 * number % 550]}" for number in range(n)]
