"""The rows of a table that people wrote: ``.csv`` with any of some separators, or ``.jsonl``, an object a line."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from affectd.errors import DataError, NoInputError
from affectd.files import read_file

Row = dict[str, str]

_MOST_BYTES = 1 << 30
_SEPARATORS = ",;\t"
"""Of the columns of a ``.csv``: the one that the first line has most of."""
_ONCE = ("speaker", "gender", "start", "end")
"""Columns that may be missing, but not twice: which of them is meant would not be known."""


def rows(table: Path, needed: Sequence[str]) -> Iterator[tuple[int, Row]]:
    """Yield every row by the lower-case names of its columns, and the number of the line it begins in.

    Parameters
    ----------
    needed
        Columns that every row must have.

    Raises
    ------
    DataError
        If the table is none, or lacks a column; the message names file and line.
    """
    text = read_text(table)
    return _objects(table, text, needed) if table.suffix.lower() == ".jsonl" else _csv(table, text, needed)


def read_text(table: Path) -> str:
    """Read UTF-8, or UTF-16 with its mark, as spreadsheets write it; every line then ends in a newline.

    Raises
    ------
    NoInputError
        If there is no such file.
    DataError
        If it is no text, which the message names with its line, or no regular file: a pipe would be waited for.
    """
    try:
        content = read_file(table, _MOST_BYTES)
    except FileNotFoundError:
        raise NoInputError(f"{table}: no such file") from None
    except OSError as error:
        raise DataError(f"{table}: cannot be read ({error.strerror})") from error
    encoding = encoding_of(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = 1 + content.count(b"\n", 0, error.start)
        kind = "UTF-16, as it says it is" if encoding == "utf-16" else "UTF-8: save it as CSV UTF-8"
        raise DataError(f"{table}, line {line}: not {kind}") from None
    if "\0" in text:
        line = 1 + text.count("\n", 0, text.index("\0"))
        raise DataError(f"{table}, line {line}: not text")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def encoding_of(content: bytes) -> str:
    """Name the encoding of a text: UTF-16 where it begins with its mark, as Windows writes it, else UTF-8."""
    return "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"


def _csv(table: Path, text: str, needed: Sequence[str]) -> Iterator[tuple[int, Row]]:
    first = next((line for line in text.split("\n") if line.strip()), "")
    if first.lower() in [f"sep={one}" for one in _SEPARATORS]:  # a line of Excel's, which tells it how to read the file
        separator, text = first[-1], text.replace(first, "", 1)
    else:
        separator = max(_SEPARATORS, key=first.count)
    reader = csv.reader(io.StringIO(text), strict=True, skipinitialspace=True, delimiter=separator)
    columns: list[str] = []
    line = 1
    try:
        for fields in reader:
            fields = [field.strip() for field in fields]
            if not any(fields):  # as spreadsheets leave of a row that was emptied
                pass
            elif not columns:
                columns = [name.lower() for name in fields]
                wrong = [name for name in needed if columns.count(name) != 1]
                if wrong := wrong or [name for name in _ONCE if columns.count(name) > 1]:
                    raise DataError(f"{table}, line {line}: needs one column {wrong[0]!r}, found {', '.join(columns)}")
            elif len(fields) == len(columns):
                yield line, dict(zip(columns, fields, strict=True))
            else:
                raise DataError(f"{table}, line {line}: has {len(fields)} fields, the first line {len(columns)}")
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{table}, line {line}: not a row of a table ({error})") from None
    if not columns:
        raise DataError(f"{table}, line 1: empty, expected the columns {', '.join(needed)}")


def _objects(table: Path, text: str, needed: Sequence[str]) -> Iterator[tuple[int, Row]]:
    is_empty = True
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        is_empty = False
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise DataError(f"{table}, line {number}: not an object of JSON")
        row = {}
        for key, value in found.items():
            name = key.strip().lower()
            if name in row:
                raise DataError(f"{table}, line {number}: {name!r} twice")
            row[name] = _field(value)
        if missing := [name for name in needed if name not in row]:
            raise DataError(f"{table}, line {number}: needs {missing[0]!r}, found {', '.join(row) or 'nothing'}")
        yield number, row
    if is_empty:
        raise DataError(f"{table}, line 1: empty, expected objects with {', '.join(needed)}")


def _field(value: object) -> str:
    """Return a value of JSON as a table has it; lists and objects stand in columns that are not read."""
    is_missing = value is None or value != value  # NaN, as pandas has it in place of an empty cell
    return "" if is_missing else str(value).strip()
