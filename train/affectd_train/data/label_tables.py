"""Recordings whose labels stand in tables, ``labels.csv`` or ``labels.jsonl``, and not in the names of their files.

Its columns: ``file``, a path inside of the folder of the table; ``speaker``; ``gender``, female or male or nothing;
``language``; ``start`` and ``end`` of a part of the file, in seconds; ``emotion``, a word for one of the labels, or
``other:NAME`` for what is none of ours. Any order will do, further columns are not read, and only `Form.needed` must
be there. Speakers whose names differ in case alone, in what does not show, or as 1 and 1.0 do, are one.
"""

from __future__ import annotations

import bisect
import math
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from affectd.errors import DataError
from affectd.folders import Skipped, walk
from affectd_train.data.clips import Clip
from affectd_train.data.labels import LABEL_OF_CODE
from affectd_train.data.recordings import find_damage
from affectd_train.data.speakers import same
from affectd_train.data.table_rows import Row, rows
from affectd_train.folders import no_audio

TABLE = "labels.csv"
NEEDED = ("file", "speaker", "emotion")
OTHER = "other:"
_NO_NAME = frozenset(("nan", "NaN", "<NA>", "None", "null", "NULL", "N/A", "#N/A"))
"""What programs write of an empty cell; as a speaker, it would be one whom many people are taken for."""


@dataclass(frozen=True)
class Form:
    """How tables may be written, and what their words mean."""

    corpus: str
    label: Callable[[str], str]  # from the word for an emotion; raises ValueError for what is none
    labels: str  # all of them, in words
    damage: Callable[[Path, float, float], str | None]  # of a file from one second to another: why it is of no use
    needed: tuple[str, ...] = NEEDED


class Span(NamedTuple):
    """What a row takes of a file, in seconds, and the place of the row."""

    start: float
    end: float
    table: Path
    line: int


def read_table(corpus: str, folder: Path) -> tuple[list[Clip], list[Skipped]]:
    """Read the clips that the table of a corpus lists, or those in the folders in it; see `read_tables`.

    None without a table.
    """
    codes = LABEL_OF_CODE[corpus]

    def label(word: str) -> str:
        if (code := word.lower()) not in codes:
            raise ValueError(f"emotion {word!r} is none of {', '.join(codes)} in {corpus}, nor {OTHER}NAME")
        return codes[code]

    files, unread = walk(folder)
    tables = [path for path in files if path.name.lower() == TABLE]
    tables = [path for path in tables if path.parent == folder] or tables  # a copy of the corpus may lie in it
    if not tables:
        return [], [*unread, *(Skipped(path, f"without a {TABLE}") for path in files)]
    form = Form(corpus, label, "the eight labels", lambda path, start, end: find_damage(path))
    return read_tables(tables, files, unread, form)


def read_tables(
    tables: Sequence[Path], files: Sequence[Path], unread: Iterable[Skipped], form: Form
) -> tuple[list[Clip], list[Skipped]]:
    """Read the clips that tables list, and everything of the files that is left out.

    A recording that is missing or damaged is left out. A row that cannot be right is an error: what else in the table
    is wrong would not show.

    Raises
    ------
    DataError
        If a table is none, lacks a column or has a row that cannot be right; the message names file and line.
    """
    clips: list[Clip] = []
    skipped: list[Skipped] = []
    spans: dict[Path, list[Span]] = {}
    speakers: dict[str, str] = {}  # names as they are compared -> as they are first written
    found = _by_name(files)
    for table in tables:
        for line, row in rows(table, form.needed):
            try:
                path = _found(row["file"], table.parent, found)
                span = Span(*_seconds(row), table, line)
                _add(span, spans.setdefault(path, []), row["file"])
                speaker = _visible(row.get("speaker", ""))
                speaker = "" if speaker in _NO_NAME else speaker
                row["speaker"] = speakers.setdefault(same(speaker), speaker)
                clip = _clip(form, path, row, span)
            except ValueError as error:
                raise DataError(f"{table}, line {line}: {error}") from None
            if clip is None:
                skipped.append(Skipped(path, f"{row['emotion'].removeprefix(OTHER)} is none of {form.labels}"))
            elif damage := form.damage(path, span.start, span.end):
                skipped.append(Skipped(path, f"{damage} (line {line} of {table.name})"))
            else:
                clips.append(clip)
    names = " or ".join(sorted({table.name for table in tables}))
    unlisted = (path for path in files if path not in tables and path not in spans)
    skipped += [Skipped(path, no_audio(path) or f"not in {names}") for path in unlisted]
    return clips, [*skipped, *(other for other in unread if other.path not in spans)]


def _composed(name: str) -> str:
    """Return a name with umlauts as one letter, for some systems write them as two."""
    return unicodedata.normalize("NFC", name)


def _folded(name: str) -> str:
    """Return a name without case, as Windows takes it, and without spaces around it, which tables do not keep."""
    return "/".join(part.strip() for part in _composed(name).casefold().split("/"))


_FORMS: tuple[Callable[[str], str], ...] = (str, _composed, _folded)


def _by_name(files: Sequence[Path]) -> list[dict[str, Path]]:
    """Name files in each of `_FORMS`, where one file alone has that name."""
    found = []
    for form in _FORMS:
        names = [form(str(path)) for path in files]
        alike = Counter(names)
        found.append({name: path for name, path in zip(names, files, strict=True) if alike[name] == 1})
    return found


def _found(name: str, folder: Path, files: Sequence[Mapping[str, Path]]) -> Path:
    """Return the file of a name; names as Windows writes them have other slashes."""
    for written in (name, name.replace("\\", "/")):
        path = _path(written, folder)
        for form, named in zip(_FORMS, files, strict=True):
            if there := named.get(form(str(path))):
                return there
    return path


def _path(name: str, folder: Path) -> Path:
    if not name:
        raise ValueError("no file")
    _check_text("file", name, "surrogateescape")  # names of files may be no text, but have bytes
    inside = PurePosixPath(name)
    for whole in (os.path.abspath, os.path.realpath) if inside.is_absolute() else ():
        if inside.is_relative_to(whole(folder)):
            inside = inside.relative_to(whole(folder))
    if inside.is_absolute() or ".." in inside.parts:
        raise ValueError(f"{name} leads out of the folder")
    return folder / inside


def _visible(name: str) -> str:
    """Return a name without what does not show: who is written in two ways would be on both sides of a split."""
    shown = (c for c in name if c.isspace() or unicodedata.category(c) not in ("Cc", "Cf"))
    return unicodedata.normalize("NFC", " ".join("".join(shown).split()))


def _check_text(column: str, value: str, errors: str = "strict") -> None:
    try:
        value.encode("utf-8", errors)  # JSON can hold halves of letters
    except UnicodeEncodeError:
        raise ValueError(f"{column} {value!r} is no text") from None
    if "\0" in value:
        raise ValueError(f"{column} {value!r} is no text")


def _seconds(row: Row) -> tuple[float, float]:
    """Return start and end of the part of a file that a row is about; nothing there is the whole file."""
    found = []
    for column, whole in (("start", 0.0), ("end", math.inf)):
        text = row.get(column, "")
        try:
            value = float(text.replace(",", ".")) if text else whole
        except ValueError:
            raise ValueError(f"{column} {text!r} is no number of seconds") from None
        if not (0 <= value < math.inf or not text):
            raise ValueError(f"{column} {text} must be 0 or more seconds")
        found.append(value)
    start, end = found
    if end <= start:
        raise ValueError(f"start {start:g} is not before end {end:g}")
    return start, end


def _add(span: Span, others: list[Span], name: str) -> None:
    """Put the span of a row between those of the same file, of which none may overlap."""
    place = bisect.bisect(others, span)
    for other in others[max(0, place - 1) : place + 1]:
        if span.start < other.end and other.start < span.end:
            where = f"line {other.line}" + ("" if other.table == span.table else f" of {other.table}")
            is_same = span[:2] == other[:2]
            raise ValueError(f"{name} is also in {where}" if is_same else f"{name} overlaps with {where}")
    others.insert(place, span)


def _clip(form: Form, path: Path, row: Row, span: Span) -> Clip | None:
    """Return the clip that a row describes, or None where its emotion is none of ours."""
    speaker, gender, emotion = row["speaker"], row.get("gender", "").lower(), row["emotion"]
    for column, value in (("speaker", speaker), ("emotion", emotion)):
        _check_text(column, value)
    if not speaker and "speaker" in form.needed:
        raise ValueError("no speaker")
    if gender not in ("female", "male", ""):
        raise ValueError(f"gender {gender!r} is neither female nor male nor empty")
    if emotion.startswith(OTHER) and emotion != OTHER:
        return None
    who = speaker and f"{form.corpus}-{speaker}"
    fields = (form.corpus, path, who, gender, form.label(emotion), "")
    return Clip(*fields, start_seconds=span.start, end_seconds=span.end)
