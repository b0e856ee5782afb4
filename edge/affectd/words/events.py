"""Events as text and as rows of CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from affectd.stdio import printable
from affectd.words.emotions import cells, columns, duration
from affectd.words.layout import Column, Layout
from affectd.words.rows import Rows, with_labels

_PARTS = {"standard_output": "standard output", "file": "the file of events"}


class Text:
    """Events as lines for people, `room` columns wide at most."""

    def __init__(self, room: int | None) -> None:
        self._room = room

    def of(self, labels: Sequence[str]) -> Callable[[Mapping[str, Any]], str]:
        """Return what makes a line of each event of a model with these labels, the first below the titles."""
        layout = Layout(
            [
                Column("TIME", len("22:14:05")),
                Column("AT", len("12:34.5"), is_right=True),
                Column("PHASE", len("change")),
                *columns(labels),
                Column("LEVEL", len("-24.8 dB"), is_right=True, is_optional=True),
            ],
            self._room,
        )
        titles = f"{layout.titles()}\n"

        def line(event: Mapping[str, Any]) -> str:
            nonlocal titles
            above, titles = titles, ""
            time = _local(event["time"])
            if event["type"] != "emotion":
                return f"{above}{time}  {_status(event)}"
            at, dbfs = duration(event["end_seconds"]), event["level_dbfs"]
            level = "" if dbfs is None else f"{dbfs:.1f} dB"
            return above + layout.line([time, at, event["phase"], *cells(event["label"], event, labels), level])

        return line

    def rest(self) -> str:
        """Return what is left to say at the end: nothing."""
        return ""


class Table:
    """Events as rows of CSV; `fields` are those of the schema of events."""

    def __init__(self, fields: Iterable[str]) -> None:
        self._fields = list(fields)
        self._titles = ""  # until they are given

    def of(self, labels: Sequence[str]) -> Callable[[Mapping[str, Any]], str]:
        """Return what makes a row of each event of a model with these labels, the first below the titles."""
        rows = Rows(with_labels(self._fields, labels))
        self._titles = rows.titles()

        def line(event: Mapping[str, Any]) -> str:
            above = f"{titles}\n" if (titles := self.rest()) else ""
            return above + rows.line(event)

        return line

    def rest(self) -> str:
        """Return the titles if there was no event: also an empty table has columns."""
        titles, self._titles = self._titles, ""
        return titles


def _status(event: Mapping[str, Any]) -> str:
    part = event.get("part", "microphone")
    about = _PARTS.get(part, f"the {part}")
    details = [event["reason"].replace("_", " "), *filter(None, [event.get("why")])]
    if "figure" in event:
        details.append(f"{event['figure']:g}")
    if event.get("refused"):
        details.append(" ".join(event["refused"]))
    if event.get("events_dropped"):
        details.append(f"{event['events_dropped']} events dropped")
    return printable(f"{about} is {event['state']}: {', '.join(details)}")


def _local(time: str) -> str:
    given = datetime.fromisoformat(time)
    with suppress(ValueError, OverflowError):  # TZ is of a day or more, or it is the first day that `datetime` knows
        given = given.astimezone()
    return given.strftime("%H:%M:%S")
