"""The table of an archive: Parquet files in a folder, each whole or not there, each recording in exactly one of them.

`_broken` beside them is a table of its own, and `_archive.json` says what was asked. Readers of Parquet leave out names
that begin with an underscore.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.compute
import pyarrow.parquet

from affectd.errors import DataError, UnavailableError, UsageError
from affectd_train.archive.worker import BROKEN, UNHEARD
from affectd_train.files import write_json, written_whole
from affectd_train.stored import check

_PART_SECONDS = 30.0
"""What is lost at most of the work of all workers when this process is killed."""

_PART_ROWS = 200_000
_BROKEN_SCHEMA = pyarrow.schema([("path", pyarrow.string()), ("reason", pyarrow.string())])


class Table:
    """Takes rows and writes them in parts; `done` are the recordings that are in it already."""

    def __init__(self, folder: Path, schema: pyarrow.Schema) -> None:
        self._answers = _Parts(folder, schema, folder / "_partial")
        self._broken = _Parts(folder / "_broken", _BROKEN_SCHEMA, folder / "_partial")
        self.done = self._answers.paths() | self._broken.paths()
        self._due = time.monotonic() + _PART_SECONDS
        self.n_broken = self._broken.n_recordings

    def add(self, rows: pyarrow.Table) -> None:
        """Take all rows of some recordings, as a worker returned them."""
        is_broken = pyarrow.compute.is_valid(rows[BROKEN])
        broken = rows.filter(is_broken).select(["path", BROKEN]).rename_columns(["path", "reason"])
        self._answers.add(rows.filter(pyarrow.compute.invert(is_broken)).drop_columns([BROKEN, UNHEARD]))
        self._broken.add(broken)
        self.n_broken += len(broken)
        if time.monotonic() >= self._due or self._answers.n_rows + self._broken.n_rows >= _PART_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        self._answers.flush()
        self._broken.flush()
        self._due = time.monotonic() + _PART_SECONDS


class _Parts:
    """The parts of one table.

    Interrupted anywhere, `flush` may be called again: it writes the same rows under the same name.
    """

    def __init__(self, folder: Path, schema: pyarrow.Schema, partial: Path) -> None:
        self._folder, self._schema, self._partial = folder, schema, partial
        folder.mkdir(exist_ok=True)
        self._parts = sorted(folder.glob("part-*.parquet"))
        if other := next((part for part in self._parts if not part.stem.removeprefix("part-").isdecimal()), None):
            raise DataError(f"{other}: not a part of this table, but perhaps a copy of one; move it away")
        self._number = 1 + max((int(part.stem.removeprefix("part-")) for part in self._parts), default=-1)
        self._waiting: list[pyarrow.Table] = []
        self.n_rows = self.n_recordings = 0
        if not self._parts:  # a table without rows is one too, and no reader has to ask
            self._waiting.append(schema.empty_table())
            self.flush()

    def paths(self) -> set[str]:
        """Return the recordings in all parts."""
        found: set[str] = set()
        for part in self._parts:
            try:
                found.update(pyarrow.parquet.read_table(part, columns=["path"], partitioning=None)["path"].to_pylist())
            except (pyarrow.ArrowException, OSError) as error:
                raise DataError(f"{part}: damaged ({error}); delete it, and its recordings are heard again") from error
        self.n_recordings = len(found)
        return found

    def add(self, rows: pyarrow.Table) -> None:
        if len(rows):
            self._waiting.append(rows)
            self.n_rows += len(rows)

    def flush(self) -> None:
        if not self._waiting:
            return
        name = f"part-{self._number:06}.parquet"
        # Beside, for a reader takes every file in the folder for a part.
        self._partial.mkdir(exist_ok=True)
        with written_whole(self._partial / name) as beside:
            pyarrow.parquet.write_table(pyarrow.concat_tables(self._waiting).cast(self._schema), beside)
        os.replace(self._partial / name, self._folder / name)
        self._waiting = []
        self._number, self.n_rows = self._number + 1, 0


@contextmanager
def opened(folder: Path, schema: pyarrow.Schema, asked: dict[str, Any]) -> Iterator[Table]:
    """Open the table in a folder, or begin one; at the end, however it comes, what waits is written.

    Raises
    ------
    UsageError
        If there is something else in the folder, or a table of answers to another question than `asked`.
    UnavailableError
        If another process writes to it.
    DataError
        If a part is damaged.
    """
    about = folder / "_archive.json"
    if not about.exists() and _holds_other(folder):
        raise UsageError(f"{folder}: holds something else than such a table; name a new folder")
    if not about.exists():
        write_json(about, asked)
    elif (before := _read(about)) != asked:
        key = next(key for key in asked if before.get(key) != asked[key])
        other = f"{key}: {before.get(key)}, not {asked[key]}"
        raise UsageError(f"{folder}: a table of other answers ({other}); name a new folder")
    with about.open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UnavailableError(f"{folder}: another affectd-train archive writes to it") from None
        shutil.rmtree(folder / "_partial", ignore_errors=True)
        table = Table(folder, schema)
        try:
            yield table
        finally:
            table.flush()
            shutil.rmtree(folder / "_partial", ignore_errors=True)


def _holds_other(folder: Path) -> bool:
    if not folder.is_dir():
        return folder.exists()
    return any(not one.name.startswith("_archive") for one in folder.iterdir())


def _read(about: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(about.read_bytes())
        check(isinstance(found, dict), "not an object")
        return found
    except ValueError as error:
        raise DataError(f"{about}: damaged ({error})") from error
