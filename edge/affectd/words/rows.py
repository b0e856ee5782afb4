"""Results as rows of CSV, one a line, each number in a column of its own."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from affectd.stdio import printable


class Rows:
    """Makes rows of records, which may hold fewer fields than there are columns.

    A record in a record has its fields in columns such as ``probabilities.happy``.

    Examples
    --------
    >>> rows = Rows(["label", "probabilities.sad", "level_dbfs"])
    >>> rows.titles()
    'label,probabilities.sad,level_dbfs'
    >>> rows.line({"label": "sad", "probabilities": {"sad": 0.9}, "level_dbfs": None})
    'sad,0.9,'
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = list(columns)

    def titles(self) -> str:
        """Return the first row: the names of the columns."""
        return row(self._columns)

    def line(self, record: Mapping[str, object]) -> str:
        """Return a row."""
        found = dict(flat(record))
        return row(found.get(column, "") for column in self._columns)


def row(cells: Iterable[str]) -> str:
    """Return a row of CSV as of RFC 4180, on one line of printable characters."""
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow([printable(cell) for cell in cells])
    return out.getvalue()


def flat(record: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield all that a record holds, each with where it is found: fields and numbers of a list, joined by dots.

    A list of names or numbers is one text, with spaces between them.
    """
    for name, value in record.items():
        if isinstance(value, list | tuple) and any(isinstance(item, list | tuple | dict) for item in value):
            value = {str(number): item for number, item in enumerate(value)}
        if isinstance(value, Mapping):
            yield from ((f"{name}.{below}", text) for below, text in flat(value))
        elif isinstance(value, list | tuple):
            yield name, " ".join(_text(item) for item in value)
        else:
            yield name, _text(value)


def with_labels(columns: Iterable[str], labels: Iterable[str]) -> list[str]:
    """Return columns, with one for every label in place of ``probabilities``."""
    names = tuple(labels)
    return [
        below
        for column in columns
        for below in ([f"{column}.{name}" for name in names] if column == "probabilities" else [column])
    ]


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
