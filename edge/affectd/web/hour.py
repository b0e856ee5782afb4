"""What was believed in the last hour, as segments of the open gate, in little memory."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from typing import Any

HOUR_SECONDS = 3600.0
# Traces touch; more lies between two utterances.
_TOUCH_SECONDS = 1e-3
_N_VALUES = 5  # of a segment: start, end, number of the label, probability, arousal
_NONE = math.nan
# Old segments are removed many at a time, because the rest of the array moves.
_MOST_OLD = 256


class Hour:
    """Joins the traces of one stream, in their order, into segments of one label.

    The probability and the arousal of a segment are the means over its time.

    Examples
    --------
    >>> hour = Hour()
    >>> for start, p in ((0.0, 0.5), (0.25, 0.7)):
    ...     hour.push({"start_seconds": start, "end_seconds": start + 0.25, "gate_open": True, "label": "sad",
    ...                "probability": p, "arousal": None})
    >>> hour.segments()
    [{'start_seconds': 0.0, 'end_seconds': 0.5, 'label': 'sad', 'probability': 0.6, 'arousal': None}]
    """

    def __init__(self) -> None:
        self._values = array("d")
        self._labels: list[str | None] = [None]
        self._now_seconds = 0.0

    def push(self, trace: Mapping[str, Any]) -> None:
        """Take the next trace."""
        start, end = trace["start_seconds"], trace["end_seconds"]
        self._now_seconds = end
        if not trace["gate_open"]:
            return
        label = self._number(trace["label"])
        means = [_NONE if trace[name] is None else trace[name] for name in ("probability", "arousal")]
        values = self._values
        if values and values[-3] == label and abs(start - values[-4]) <= _TOUCH_SECONDS:
            # Neighbors of one label both have a probability, or neither has.
            before, added = values[-4] - values[-5], end - start
            for place, value in zip((-2, -1), means, strict=True):
                values[place] = (values[place] * before + value * added) / (before + added)
            values[-4] = end
            return
        self._forget()
        values.extend((start, end, label, *means))

    def segments(self) -> list[dict[str, Any]]:
        """Return the segments that end in the last hour, disjoint and in order."""
        values = self._values
        return [
            {
                "start_seconds": round(values[i], 3),
                "end_seconds": round(values[i + 1], 3),
                "label": self._labels[int(values[i + 2])],
                "probability": _shown(values[i + 3], 4),
                "arousal": _shown(values[i + 4], 3),
            }
            for i in range(0, len(values), _N_VALUES)
            if values[i + 1] > self._now_seconds - HOUR_SECONDS
        ]

    def _forget(self) -> None:
        old = _N_VALUES * _MOST_OLD
        if len(self._values) > old and self._values[old + 1] <= self._now_seconds - HOUR_SECONDS:
            del self._values[:old]

    def _number(self, label: str | None) -> int:
        if label not in self._labels:
            self._labels.append(label)
        return self._labels.index(label)


def _shown(value: float, digits: int) -> float | None:
    return None if math.isnan(value) else round(value, digits)
