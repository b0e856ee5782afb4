"""A timeline as text: for people, for programs, and for the programs in which speech is annotated and subtitled.

Sources: the manual of Praat, "TextGrid file formats"; the manual of Audacity, "Importing and Exporting Labels"; W3C,
WebVTT: The Web Video Text Tracks Format, 2019; audformat's segmented tables (``file``, ``start``, ``end``, in seconds).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from affectd.events.sinks import as_line
from affectd.recognition.smoothing import UNCERTAIN
from affectd.stdio import printable, width_of
from affectd.timeline.summary import Period, Segment, Timeline
from affectd.timeline.words import OF_WORDS, has_affect, headline, percent, place, recording, signed, sound


def table(timeline: Timeline, *, is_first: bool) -> str:
    """Return columns for people to read."""
    head = f"{recording(timeline)}: {headline(timeline)}\n"
    affect = ("valence", "arousal") if has_affect(timeline) else ()
    if timeline.periods:
        labels = timeline.shown_labels
        names = ("from", "to", "speech", *labels, "best guess", *affect)
        rows: list[Sequence[str]] = [
            (
                place(timeline, period.start_seconds),
                place(timeline, period.end_seconds),
                f"{period.speech_seconds:.0f} s",
                *(percent(period.share(label)) if period.speech_seconds else "" for label in labels),
                period.best_guess or "",
                *(signed(period.affect()[name]) for name in affect),
            )
            for period in timeline.periods
        ]
    else:
        names = ("from", "to", "sounds", "probability", *affect)
        rows = [
            (
                place(timeline, segment.start_seconds, 1),
                place(timeline, segment.end_seconds, 1),
                sound(segment),
                percent(segment.probability),
                *(signed(getattr(segment, name)) for name in affect),
            )
            for segment in timeline.segments
        ]
    lines = "".join(f"  {line}\n" for line in _columns([names, *rows])) if rows else ""
    return ("" if is_first else "\n") + head + ("\n" + lines if lines else "")


def _columns(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Yield lines whose columns are aligned: words to the left, numbers and times to the right."""
    widths = [max(map(width_of, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = []
        for name, cell, width in zip(rows[0], row, widths, strict=True):
            space = " " * (width - width_of(cell))
            cells.append(cell + space if name in OF_WORDS else space + cell)
        yield "  ".join(cells).rstrip()


def csv_rows(timeline: Timeline, *, is_first: bool) -> str:
    """Return a row for each segment, or each period, as audformat, pandas and spreadsheets read them."""
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n").writerow
    times = [] if timeline.began is None else ["time"]
    path = printable(timeline.path)

    def time(row: Segment | Period) -> list[str]:
        of_day = timeline.clock(row.start_seconds)
        return [] if of_day is None else [of_day.isoformat(timespec="milliseconds")]

    if timeline.periods:
        labels = (*timeline.labels, UNCERTAIN)
        if is_first:
            write(["file", "start", "end", *times, "speech_seconds", *labels, "valence", "arousal", "best_guess"])
        for period in timeline.periods:
            shares = [round(period.share(label), 4) for label in labels]
            speech = round(period.speech_seconds, 3)
            about = [*time(period), speech, *shares, *period.affect().values(), period.best_guess]
            write([path, round(period.start_seconds, 3), round(period.end_seconds, 3), *about])
        return out.getvalue()
    if is_first:
        write(["file", "start", "end", *times, "label", "best_guess", "probability", "valence", "arousal"])
    for segment in timeline.segments:
        about = [segment.label, segment.best_guess, segment.probability, segment.valence, segment.arousal]
        write([path, segment.start_seconds, segment.end_seconds, *time(segment), *about])
    return out.getvalue()


def json_line(timeline: Timeline, *, is_first: bool) -> str:
    """Return one JSON object on a line of its own."""
    labels = [*timeline.labels, UNCERTAIN]
    found: dict[str, Any] = {
        "schema": 1,
        "type": "timeline",
        "path": timeline.path,
        "began": None if timeline.began is None else timeline.began.isoformat(timespec="milliseconds"),
        "seconds": timeline.seconds,
        **_shares(timeline.whole, labels),
        "segments": [asdict(segment) for segment in timeline.segments],
    }
    if timeline.periods:
        found["periods"] = [
            {
                "start_seconds": round(period.start_seconds, 3),
                "end_seconds": round(period.end_seconds, 3),
                **_shares(period, labels),
            }
            for period in timeline.periods
        ]
    return as_line({**found, "model": timeline.model}) + "\n"


def _shares(period: Period, labels: Sequence[str]) -> dict[str, Any]:
    return {
        "speech_seconds": round(period.speech_seconds, 3),
        "shares": {label: round(period.share(label), 4) for label in labels},
        "best_guess": period.best_guess,
        **period.affect(),
    }


def audacity(timeline: Timeline, *, is_first: bool) -> str:
    """Return a label track of Audacity: start, end and text, between tabs."""
    rows = ((f"{s.start_seconds:.6f}", f"{s.end_seconds:.6f}", printable(sound(s))) for s in timeline.segments)
    return "".join("\t".join(row) + "\n" for row in rows)


def vtt(timeline: Timeline, *, is_first: bool) -> str:
    """Return WebVTT, which players show as subtitles."""
    escaped = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
    cues = (
        f"\n{_stamp(s.start_seconds)} --> {_stamp(s.end_seconds)}\n"
        + "".join(escaped.get(c, c) for c in printable(sound(s)))
        + "\n"
        for s in timeline.segments
    )
    return "WEBVTT\n" + "".join(cues)


def _stamp(seconds: float) -> str:
    whole, part = divmod(round(1000 * seconds), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}.{part:03}"


def textgrid(timeline: Timeline, *, is_first: bool) -> str:
    """Return a TextGrid of Praat, in two tiers: what the device would name, and the best guess for all speech."""
    tiers = {
        "emotion": [s.label for s in timeline.segments],
        "best guess": [s.best_guess for s in timeline.segments],
    }
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {timeline.seconds}",
        "tiers? <exists>",
        f"size = {len(tiers)}",
        "item []:",
    ]
    for number, (name, texts) in enumerate(tiers.items(), 1):
        intervals = list(_without_gaps(timeline, texts))
        lines += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f'        name = "{name}"',
            "        xmin = 0",
            f"        xmax = {timeline.seconds}",
            f"        intervals: size = {len(intervals)}",
        ]
        for k, (start, end, text) in enumerate(intervals, 1):
            quoted = printable(text).replace('"', '""')
            lines += [
                f"        intervals [{k}]:",
                f"            xmin = {start}",
                f"            xmax = {end}",
                f'            text = "{quoted}"',
            ]
    return "\n".join(lines) + "\n"


def _without_gaps(timeline: Timeline, texts: Iterable[str]) -> Iterable[tuple[float, float, str]]:
    """Yield intervals that cover the recording, as Praat wants them: without text where nothing is said."""
    end = 0.0
    for segment, text in zip(timeline.segments, texts, strict=True):
        if segment.start_seconds > end:
            yield end, segment.start_seconds, ""
        yield segment.start_seconds, segment.end_seconds, text
        end = segment.end_seconds
    if end < timeline.seconds or not timeline.segments:
        yield end, timeline.seconds, ""
