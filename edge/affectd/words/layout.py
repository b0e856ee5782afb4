"""Lines in columns, as wide as the terminal and no wider."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO

from affectd.stdio import printable, shortened, terminal_columns, width_of

_GAP = "  "
_LEAST = 12  # columns that what is cut keeps


@dataclass(frozen=True)
class Column:
    """A column of a table: its title, its width, and how it behaves.

    `is_right`: aligned to the right, as numbers are. `is_optional`: left out, the last one first, where there is no
    room. `is_elastic`: cut where there is still none.
    """

    title: str
    width: int
    is_right: bool = False
    is_optional: bool = False
    is_elastic: bool = False


class Layout:
    """Puts cells into columns.

    Parameters
    ----------
    columns : sequence of Column
        From left to right.
    room : int or None
        Columns of characters that there are; None: any number.

    Examples
    --------
    >>> layout = Layout([Column("NAME", 8, is_elastic=True), Column("LEVEL", 5, is_right=True)], None)
    >>> layout.line(["kitchen", "-20"])
    'kitchen     -20'
    """

    def __init__(self, columns: Sequence[Column], room: int | None) -> None:
        widths = [max(column.width, len(column.title)) for column in columns]
        shown = list(range(len(columns)))

        def missing() -> int:
            return sum(widths[i] for i in shown) + len(_GAP) * (len(shown) - 1) - (room or 0) if room else 0

        for i in reversed(range(len(columns))):
            if missing() > 0 and columns[i].is_optional:
                shown.remove(i)
        for i in shown:
            if missing() > 0 and columns[i].is_elastic:
                widths[i] = max(min(widths[i], _LEAST), widths[i] - missing())
        self._columns = [(i, columns[i], widths[i]) for i in shown]

    def line(self, cells: Sequence[str]) -> str:
        """Return a line of one cell for every column, without what a terminal would obey."""
        return _GAP.join(self._cell(cells[i], column, width) for i, column, width in self._columns).rstrip()

    def titles(self) -> str:
        """Return the line above the others."""
        return _GAP.join(self._cell(column.title, column, width) for _, column, width in self._columns).rstrip()

    def _cell(self, text: str, column: Column, width: int) -> str:
        cell = shortened(printable(text), width) if column.is_elastic else printable(text)
        space = " " * (width - width_of(cell))
        return space + cell if column.is_right else cell + space


def room(stream: TextIO) -> int | None:
    """Return how many characters fit into a line of this output; None if it is no terminal, and anything fits."""
    return terminal_columns(stream.fileno())


def facts(rows: Iterable[tuple[str, str]], room: int | None) -> Iterator[str]:
    """Yield lines of a name and what is to be said of it, the latter in as many lines as it needs."""
    import textwrap

    known = list(rows)
    indent = max(len(name) for name, _ in known) + len(_GAP)
    for name, said in known:
        wide = max(2 * _LEAST, (room or 100_000) - indent)
        lines = textwrap.wrap(printable(said), wide, break_on_hyphens=False) or [""]
        for i, line in enumerate(lines):
            yield f"{'' if i else name:<{indent}}{line}".rstrip()
