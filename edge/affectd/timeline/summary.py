"""What a trace says in fewer lines: segments of one label each, and the shares of speech in each period."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from affectd.arrays import Float32
from affectd.events.trace import Trace
from affectd.recognition.affect import affect
from affectd.recognition.smoothing import UNCERTAIN, Smoother


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech that sounds one way."""

    start_seconds: float
    end_seconds: float
    label: str  # ``uncertain`` where no label is probable enough
    best_guess: str  # what it would be without the threshold; where `label` is certain, that one
    probability: float  # of the best guess, mean
    probabilities: dict[str, float]  # mean of every label
    valence: float | None
    arousal: float | None
    reason: str | None  # why it is uncertain: as in a trace

    @property
    def is_certain(self) -> bool:
        """Whether the device would name it."""
        return self.label != UNCERTAIN


@dataclass
class Period:
    """The speech between two times."""

    start_seconds: float
    end_seconds: float
    label_seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # of speech
    probability_seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # their integrals

    @property
    def speech_seconds(self) -> float:
        """How long the gate was open."""
        return sum(self.label_seconds.values())

    def share(self, label: str) -> float:
        """Return the part of the speech that has a label, 0 to 1; 0 without speech."""
        return self.label_seconds.get(label, 0.0) / self.speech_seconds if self.speech_seconds else 0.0

    @property
    def best_guess(self) -> str | None:
        """The label of the highest mean probability; None without speech."""
        return max(self.probability_seconds, key=self.probability_seconds.__getitem__, default=None)

    def affect(self) -> dict[str, float | None]:
        """Return the mean ``valence`` and ``arousal`` of the speech; None without speech."""
        total = sum(self.probability_seconds.values())
        return affect({label: p / total for label, p in self.probability_seconds.items()} if total else {})

    def add(self, line: Trace, seconds: float) -> None:
        """Add so many seconds of a line with the gate open."""
        self.label_seconds[label_of(line)] += seconds
        for label, probability in believed(line).items():
            self.probability_seconds[label] += probability * seconds


@dataclass
class Timeline:
    """A recording from its beginning to its end."""

    path: str
    model: str
    labels: tuple[str, ...]
    began: datetime | None  # if that is known
    seconds: float = 0.0
    segments: list[Segment] = field(default_factory=list)
    periods: list[Period] = field(default_factory=list)
    whole: Period = field(default_factory=lambda: Period(0.0, 0.0))
    envelope: Float32 | None = None  # (n,), the loudest sample of each column
    column_seconds: float = 0.0
    curve: array[float] = field(default_factory=lambda: array("f"))  # start, end, valence, arousal; of each line

    @property
    def shown_labels(self) -> list[str]:
        """The labels that occur, the longest first, and ``uncertain`` last."""
        seconds = self.whole.label_seconds
        return sorted(seconds, key=lambda label: (label == UNCERTAIN, -seconds[label]))

    def clock(self, seconds: float) -> datetime | None:
        """Return the time of day at so many seconds."""
        return None if self.began is None else self.began + timedelta(seconds=seconds)


def label_of(line: Trace) -> str:
    """Return the label of a line with the gate open; of an utterance too short for one, ``uncertain``."""
    return str(line["label"] or UNCERTAIN)


def believed(line: Trace) -> dict[str, float]:
    """Return the probabilities of a line with the gate open, smoothed if it has an answer."""
    probabilities: dict[str, float] = line["smoothed"] or line["probabilities"]
    return probabilities


def segments(lines: Iterable[Trace], guesses: Smoother) -> Iterator[Segment]:
    """Join lines with the gate open that follow each other and have one label, one best guess and one reason.

    `guesses` says when the best guess changes where the label is uncertain; its threshold is 0.
    """
    joined: Period | None = None
    joined_kind: tuple[str, str, str | None] = ("", "", None)
    for line in lines:
        best = label_of(line)
        if not line["gate_open"]:
            guesses.reset()
        elif (answer := guesses.push(np.array([*believed(line).values()], np.float32))) and best == UNCERTAIN:
            best = answer.label
        kind = (label_of(line), best, line["reason"])
        if joined is not None and kind != joined_kind:
            yield _segment(joined, *joined_kind)
            joined = None
        if line["gate_open"]:
            joined = joined or Period(line["start_seconds"], line["end_seconds"])
            joined.end_seconds = line["end_seconds"]
            joined.add(line, line["end_seconds"] - line["start_seconds"])
        joined_kind = kind
    if joined is not None:
        yield _segment(joined, *joined_kind)


def _segment(period: Period, label: str, best: str, reason: str | None) -> Segment:
    total = sum(period.probability_seconds.values())
    probabilities = {name: round(p / total, 4) for name, p in period.probability_seconds.items()}
    return Segment(
        period.start_seconds,
        period.end_seconds,
        label,
        best,
        probabilities[best],
        probabilities,
        **affect(probabilities),
        reason=reason,
    )


def add_to(periods: list[Period], line: Trace, period_seconds: float) -> None:
    """Add a line with the gate open to the period that it lies in, or to two; those that are missing are appended."""
    start, end = line["start_seconds"], line["end_seconds"]
    index = int(start // period_seconds)  # or one too low: a quotient is rounded
    while start < end:
        extend(periods, index + 1, period_seconds)
        stop = min(end, periods[index].end_seconds)
        if stop > start:
            periods[index].add(line, stop - start)
            start = stop
        index += 1


def extend(periods: list[Period], n: int, period_seconds: float) -> None:
    """Append empty periods until there are `n`."""
    while len(periods) < n:
        periods.append(Period(len(periods) * period_seconds, (len(periods) + 1) * period_seconds))
