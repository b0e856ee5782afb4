"""Corpora whose labels stand in a table, ``labels.csv``, and not in the names of their files.

Its columns: ``file``, a path inside of the folder; ``speaker``; ``gender``, female or male or nothing; ``language``;
``emotion``, one of the corpus's labels, or ``other:NAME`` for what is none of ours. Any order will do, further columns
are not read, and ``gender`` and ``language`` may be missing.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from affectd.errors import DataError
from affectd.folders import Skipped, walk
from affectd_train.data.clips import Clip
from affectd_train.data.labels import LABEL_OF_CODE
from affectd_train.data.recordings import find_damage
from affectd_train.folders import AUDIO_SUFFIXES

TABLE = "labels.csv"
NEEDED = ("file", "speaker", "emotion")
OTHER = "other:"


def read_table(corpus: str, folder: Path) -> tuple[list[Clip], list[Skipped]]:
    """Read the clips that the table in a folder lists, and everything that is left out; none without a table.

    A recording that is missing or damaged is left out. A row that cannot be right is an error: what else in the table
    is wrong would not show.

    Raises
    ------
    DataError
        If the table is no table, lacks a column or has a row that cannot be right; the message names file and line.
    """
    files, unread = walk(folder)
    table = folder / TABLE
    if table not in files:
        return [], [*unread, *(Skipped(path, f"without a {TABLE}") for path in files)]
    clips: list[Clip] = []
    skipped: list[Skipped] = []
    line_of: dict[Path, int] = {}
    for line, row in _rows(table):
        try:
            path = _path(row["file"], folder)
            if path in line_of:
                raise ValueError(f"{row['file']} is also in line {line_of[path]}")
            line_of[path] = line
            clip = _clip(corpus, path, row)
        except ValueError as error:
            raise DataError(f"{table}, line {line}: {error}") from None
        if clip is None:
            skipped.append(Skipped(path, f"{row['emotion'].removeprefix(OTHER)} is none of the eight labels"))
        elif damage := find_damage(path):
            skipped.append(Skipped(path, f"{damage} (line {line} of {TABLE})"))
        else:
            clips.append(clip)
    for path in files:
        if path != table and path not in line_of:
            is_audio = path.suffix.lower() in AUDIO_SUFFIXES
            skipped.append(Skipped(path, f"not in {TABLE}" if is_audio else "not an audio file"))
    return clips, [*skipped, *(other for other in unread if other.path not in line_of)]


def _rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield every row by its column names, and the line it begins in."""
    reader = csv.reader(io.StringIO(_text(table)), strict=True, skipinitialspace=True)
    columns: list[str] = []
    line = 1
    try:
        for fields in reader:
            fields = [field.strip() for field in fields]
            if not columns:
                columns = [name.lower() for name in fields]
                if missing := [name for name in NEEDED if columns.count(name) != 1]:
                    raise DataError(
                        f"{table}, line {line}: needs one column {missing[0]!r}, found {', '.join(columns)}"
                    )
            elif len(fields) == len(columns):
                yield line, dict(zip(columns, fields, strict=True))
            elif fields:
                raise DataError(f"{table}, line {line}: has {len(fields)} fields, the first line {len(columns)}")
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{table}, line {line}: not a row of a table ({error})") from None
    if not columns:
        raise DataError(f"{table}, line 1: empty, expected the columns {', '.join(NEEDED)}")


def _text(table: Path) -> str:
    try:
        content = table.read_bytes()
        text = content.decode("utf-8-sig")  # as spreadsheets write it
    except UnicodeDecodeError as error:
        line = 1 + content.count(b"\n", 0, error.start)
        raise DataError(f"{table}, line {line}: not UTF-8") from None
    except OSError as error:
        raise DataError(f"{table}: cannot be read ({error.strerror})") from error
    if "\0" in text:
        line = 1 + text.count("\n", 0, text.index("\0"))
        raise DataError(f"{table}, line {line}: not text")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _path(name: str, folder: Path) -> Path:
    if not name:
        raise ValueError("no file")
    inside = PurePosixPath(name)
    if inside.is_absolute() or ".." in inside.parts:
        raise ValueError(f"{name} leads out of the folder")
    return folder / inside


def _clip(corpus: str, path: Path, row: dict[str, str]) -> Clip | None:
    """Return the clip that a row describes, or None where its emotion is none of ours."""
    speaker, gender, emotion = row["speaker"], row.get("gender", ""), row["emotion"]
    if not speaker:
        raise ValueError("no speaker")
    if gender not in ("female", "male", ""):
        raise ValueError(f"gender {gender!r} is neither female nor male nor empty")
    if emotion.startswith(OTHER) and emotion != OTHER:
        return None
    if emotion not in LABEL_OF_CODE[corpus]:
        labels = ", ".join(LABEL_OF_CODE[corpus])
        raise ValueError(f"emotion {emotion!r} is none of {labels} in {corpus}, nor {OTHER}NAME")
    return Clip(corpus, path, f"{corpus}-{speaker}", gender, LABEL_OF_CODE[corpus][emotion], "")
