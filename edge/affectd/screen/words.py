"""What is heard, in words for people; used on the screen and in plain lines alike."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from affectd.audio.condition import SENTENCES
from affectd.audio.mends import MENDS
from affectd.recognition.smoothing import UNCERTAIN
from affectd.screen.checked import number, shares, text

_PHASES = {"start": "begins", "change": "changes", "end": "ended"}
_FAULTS = {
    "stalled": "delivers no sound",
    "constant": "delivers one value all the time",
    "repeated": "delivers the same piece of sound over and over",
    "missing": "no such device",
    "busy": "in use by another program",
    "refused": "cannot be opened",
    "asked": "closed by a command",
}
_STATES = {
    "healthy": "healthy",
    "degraded": "unfit sound",
    "alarmed": "fault",
    "recovering": "open again, no sound yet",
    "escalated": "fault for more than 30 s",
    "failed": "fault for more than 10 minutes",
    "muted": "closed by a command",
}


def percent(share: float) -> str:
    """Return a share of 1 as a percentage, four characters wide or more."""
    return f"{100 * share:2.0f} %"


def verdict(label: str | None, probability: float | None, probabilities: Mapping[str, float]) -> str:
    """Return a label and how probable it is; of an uncertain one the best guess.

    Examples
    --------
    >>> verdict("sad", 0.8, {"sad": 0.8, "calm": 0.2})
    'sad 80 %'
    >>> verdict("uncertain", 0.5, {"sad": 0.5, "calm": 0.3})
    'uncertain, best guess sad 50 %'
    """
    if label is None:
        return ""
    shown = "" if probability is None else f" {percent(probability)}"
    if label != UNCERTAIN:
        return f"{label}{shown}"
    best = max(probabilities, key=probabilities.__getitem__, default="")
    return f"{label}, best guess {best}{shown}" if best else f"{label}{shown}"


def event(message: Mapping[str, Any]) -> str:
    """Return an event as a sentence; empty if it is of an unknown kind."""
    if message.get("type") == "status":
        return status(message)
    if message.get("type") != "emotion":
        return ""
    phase, probabilities = text(message, "phase"), shares(message, "probabilities")
    said = verdict(text(message, "label"), number(message, "probability"), probabilities)
    start, end = number(message, "start_seconds"), number(message, "end_seconds")
    lasted = f", {end - start:.1f} s" if phase == "end" and start is not None and end is not None else ""
    return f"{_PHASES.get(phase or '', 'is'):7s} {said}{lasted}"


def status(message: Mapping[str, Any]) -> str:
    """Return a status event as a sentence: about the microphone, or the part that it names."""
    part = text(message, "part")
    if part:
        said = [text(message, key) or "" for key in ("state", "reason", "why")]
        return f"{part.replace('_', ' ')}: {', '.join(filter(None, said)).replace('_', ' ')}"
    return f"microphone: {condition(message)}"


def condition(message: Mapping[str, Any]) -> str:
    """Return the state of the microphone."""
    state, reason = text(message, "state") or "", text(message, "reason") or ""
    said = _STATES.get(state, state)
    if state in ("healthy", "muted", "recovering"):
        return said
    return f"{said} ({reason if state == 'degraded' else _FAULTS.get(reason, reason)})"


def hint(message: Mapping[str, Any]) -> str:
    """Return what a degraded microphone does, and what to do about it; empty if it is not degraded."""
    reason, figure = text(message, "reason") or "", number(message, "figure")
    if text(message, "state") != "degraded" or reason not in SENTENCES:
        return ""
    # Without the figure, which an older device may leave out.
    said = SENTENCES[reason].format(figure) if figure is not None else reason
    return f"The microphone {said}: {MENDS[reason]}."


def clock(message: Mapping[str, Any]) -> str:
    """Return the local time of day of an event, ``12:34:56``; empty if it has none."""
    try:
        return datetime.fromisoformat(text(message, "time") or "").astimezone().strftime("%H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return ""


def duration(seconds: float) -> str:
    """Return a stream time.

    Examples
    --------
    >>> duration(75.4), duration(7384)
    ('1:15', '2:03:04')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
