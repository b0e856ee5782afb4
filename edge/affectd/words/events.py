"""Events as text and as rows of CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from affectd.stdio import printable
from affectd.words.emotions import cells, columns, duration
from affectd.words.layout import Column, Layout
from affectd.words.rows import Rows, with_labels

Lines = Callable[[Mapping[str, Any]], str]
"""As of `affectd.events.sinks.AsLine`: an empty event gives the line above all others."""

_PARTS = {"standard_output": "standard output", "file": "the file of events"}


def as_text(names: Sequence[str], room: int | None) -> Lines:
    """Return what makes a line for people of an event of a model with these labels, `room` columns wide at most."""
    layout = Layout(
        [
            Column("TIME", len("22:14:05")),
            Column("AT", len("12:34.5"), is_right=True),
            Column("PHASE", len("change")),
            *columns(names),
            Column("LEVEL", len("-24.8 dB"), is_right=True, is_optional=True),
        ],
        room,
    )

    def line(event: Mapping[str, Any]) -> str:
        if not event:
            return layout.titles()
        time = _local(event["time"])
        if event["type"] != "emotion":
            return f"{time}  {_status(event)}"
        level = event["level_dbfs"]
        heard = cells(event["label"], event, names)
        at = duration(event["end_seconds"])
        return layout.line([time, at, event["phase"], *heard, "" if level is None else f"{level:.1f} dB"])

    return line


def as_rows(names: Sequence[str], fields: Iterable[str]) -> Lines:
    """Return what makes a row of an event of a model with these labels; `fields` are those of the schema of events."""
    rows = Rows(with_labels(fields, names))
    return lambda event: rows.line(event) if event else rows.titles()


def _status(event: Mapping[str, Any]) -> str:
    part = event.get("part", "microphone")
    about = _PARTS.get(part, f"the {part}")
    details = [event["reason"]]
    if "figure" in event:
        details.append(f"{event['figure']:g}")
    if event.get("refused"):
        details.append(" ".join(event["refused"]))
    if event.get("events_dropped"):
        details.append(f"{event['events_dropped']} events dropped")
    return printable(f"{about} is {event['state']}: {', '.join(details)}")


def _local(time: str) -> str:
    return datetime.fromisoformat(time).astimezone().strftime("%H:%M:%S")
