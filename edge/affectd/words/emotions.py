"""What was heard in a voice, in words: shared by events and recordings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from affectd.recognition.smoothing import UNCERTAIN
from affectd.stdio import width_of
from affectd.words.layout import Column

NO_SPEECH = "no speech"


def columns(labels: Iterable[str]) -> list[Column]:
    """Return the columns of `cells`."""
    width = _width(labels)
    return [
        Column("HEARD", width),
        Column("BEST GUESS", width + len(" 100 %")),
        Column("VALENCE  AROUSAL", 0, is_optional=True),
    ]


def cells(label: str | None, found: Mapping[str, Any], labels: Iterable[str]) -> list[str]:
    """Return a label, the best guess with its probability, valence and arousal.

    `found` is an event or a recording; `label` is what is said of it, None without speech. The best guess is the label
    of `found`, and of an ``uncertain`` event the most probable one.
    """
    if label is None:
        return [NO_SPEECH, "", ""]
    probabilities: Mapping[str, float] = found["probabilities"]
    guess: str = found["label"]
    if guess == UNCERTAIN:
        guess = max(probabilities, key=lambda name: probabilities[name])
    space = " " * (_width(labels) - width_of(guess))
    return [
        label,
        f"{guess}{space} {100 * probabilities[guess]:3.0f} %",
        # Adding 0 makes 0 of -0, which would look like a small negative number.
        "  ".join(
            "" if found[name] is None else f"{round(found[name], 2) + 0.0:+7.2f}" for name in ("valence", "arousal")
        ),
    ]


def _width(labels: Iterable[str]) -> int:
    return max(map(width_of, (*labels, UNCERTAIN, NO_SPEECH)))


def duration(seconds: float) -> str:
    """Return seconds as people read them.

    Examples
    --------
    >>> duration(4.592), duration(754.6), duration(3723)
    ('0:04.6', '12:34.6', '1:02:03')
    """
    tenths = round(10 * seconds)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest // 10:02}" if hours else f"{minutes}:{rest // 10:02}.{rest % 10}"
