"""What `affectd classify` found, as text and as rows of CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from affectd.recognition.smoothing import UNCERTAIN
from affectd.stdio import width_of
from affectd.words.emotions import cells, columns, duration
from affectd.words.layout import Column, Layout
from affectd.words.rows import Rows, with_labels

_FIELDS = (
    *("path", "label", "probability", "probabilities", "seconds", "speech_seconds", "valence", "arousal"),
    "uncertain",
)


def writer(
    labels: Iterable[str], *, is_text: bool, paths: Iterable[str], room: int | None, show: Callable[[str], None]
) -> Callable[[Mapping[str, Any]], None]:
    """Return what shows each recording, classified by a model with these labels, as a line.

    Text for people in aligned columns, of all `paths` together `room` wide at most; else rows of CSV.
    """
    if is_text:
        return _text(tuple(labels), paths, room, show)
    rows = Rows(with_labels(_FIELDS, labels))
    show(rows.titles())
    return lambda found: show(rows.line(found))


def _text(
    labels: tuple[str, ...], paths: Iterable[str], room: int | None, show: Callable[[str], None]
) -> Callable[[Mapping[str, Any]], None]:
    layout = Layout(
        [
            Column("RECORDING", max(map(width_of, paths), default=0), is_elastic=True),
            *columns(labels),
            Column("SPEECH", len("12:34.5"), is_right=True),
            Column("LENGTH", len("12:34.5"), is_right=True),
        ],
        room,
    )
    is_first = True

    def write(found: Mapping[str, Any]) -> None:
        nonlocal is_first
        if is_first:  # above nothing it would say nothing
            show(layout.titles())
            is_first = False
        label = UNCERTAIN if found["uncertain"] else found["label"]
        times = (duration(found["speech_seconds"]), duration(found["seconds"]))
        show(layout.line([found["path"], *cells(label, found, labels), *times]))

    return write
