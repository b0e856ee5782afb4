"""How times, shares and labels are written for people."""

from __future__ import annotations

from affectd.recognition.smoothing import UNCERTAIN
from affectd.stdio import printable
from affectd.timeline.summary import Segment, Timeline

OF_WORDS = ("sounds", "best guess")
"""Columns of words; the others are of numbers and times."""


def recording(timeline: Timeline) -> str:
    """Return the name of the recording."""
    return "standard input" if timeline.path == "-" else printable(timeline.path)


def clock(seconds: float, decimals: int = 0) -> str:
    """Return a position in a recording.

    Examples
    --------
    >>> clock(4.6, 1), clock(3725.0), clock(59.96, 1)
    ('0:04.6', '1:02:05', '1:00.0')
    """
    units = round(seconds * 10**decimals)
    whole, part = divmod(units, 10**decimals)
    hours, minutes, second = whole // 3600, whole // 60 % 60, whole % 60
    text = f"{hours}:{minutes:02}:{second:02}" if hours else f"{minutes}:{second:02}"
    return f"{text}.{part:0{decimals}}" if decimals else text


def place(timeline: Timeline, seconds: float, decimals: int = 0) -> str:
    """Return the time of day at so many seconds if it is known, else the position in the recording."""
    of_day = timeline.clock(seconds)
    if of_day is None:
        return clock(seconds, decimals)
    text = of_day.isoformat(sep=" ", timespec="milliseconds")[11:23]
    return text[: 9 + decimals] if decimals else text[:8]


def sound(segment: Segment) -> str:
    """Return how a segment sounds."""
    return segment.label if segment.is_certain else f"{UNCERTAIN} (best guess {segment.best_guess})"


def percent(share: float) -> str:
    """Return a share as a whole percentage.

    Examples
    --------
    >>> percent(0.126), percent(0.0), percent(0.001)
    ('13 %', '0 %', '<1 %')
    """
    return "<1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def signed(value: float | None) -> str:
    """Return a valence or arousal; a model with labels of its own has none."""
    return "" if value is None else f"{value:+.2f}"


def has_affect(timeline: Timeline) -> bool:
    """Return whether valence and arousal are known; a model with labels of its own has neither."""
    return timeline.whole.affect()["arousal"] is not None


def headline(timeline: Timeline) -> str:
    """Return how long it is, how much of that is speech, and how it sounds on the whole."""
    speech = timeline.whole.speech_seconds
    text = f"{clock(timeline.seconds)} long, {clock(speech)} of it speech"
    if timeline.began is not None:
        text = f"began {timeline.began.isoformat(sep=' ', timespec='seconds')}, {text}"
    if not speech:
        return text
    shares = ", ".join(f"{label} {percent(timeline.whole.share(label))}" for label in timeline.shown_labels)
    return f"{text}: {shares}"
