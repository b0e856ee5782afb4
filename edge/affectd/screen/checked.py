"""Fields of messages that another device sent, which may hold anything."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from affectd.stdio import printable

_MOST_TEXT = 200
_MOST_LABELS = 64


def text(message: Mapping[str, Any], key: str) -> str | None:
    """Return a text, short and without what a terminal would obey; None if it is none."""
    value = message.get(key)
    return printable(value[:_MOST_TEXT]) if isinstance(value, str) else None


def number(message: Mapping[str, Any], key: str) -> float | None:
    """Return a finite number; None if it is none."""
    return _number(message.get(key))


def shares(message: Mapping[str, Any], key: str) -> dict[str, float]:
    """Return the probabilities of labels, each from 0 to 1; empty if there are none."""
    value = message.get(key)
    if not isinstance(value, Mapping):
        return {}
    found = ((printable(str(label)[:_MOST_TEXT]), _number(share)) for label, share in value.items())
    return {label: min(1.0, max(0.0, share)) for label, share in found if share is not None} if _fits(value) else {}


def objects(message: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the JSON objects in a list; empty if there are none."""
    value = message.get(key)
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def part(message: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a JSON object; empty if there is none."""
    value = message.get(key)
    return value if isinstance(value, dict) else {}


def texts(message: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return the texts in a list, each as of `text`."""
    value = message.get(key)
    if not isinstance(value, list) or not _fits(value):
        return ()
    return tuple(printable(entry[:_MOST_TEXT]) for entry in value if isinstance(entry, str))


def _fits(value: Any) -> bool:
    return len(value) <= _MOST_LABELS


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an integer of thousands of digits
        return None
