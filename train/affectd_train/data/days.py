"""Simulated days of a voice: what a device hears, and learns from, before a recording that it is asked about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from affectd.arrays import Float64
from affectd.recognition.baseline import Baseline, Placed

LENGTHS = (20, 60, 200)
"""Seconds of speech after which a device is asked."""
PLAIN = ("neutral", "calm")
PLAIN_SHARE = 0.8
"""Share of the utterances of a day that are `PLAIN`: people are not moved all day long."""

Numbers = NDArray[np.intp]


class Day(NamedTuple):
    """A day, as the numbers of clips: `asked` are answered at its end; before, `plain` and `others` are heard."""

    asked: Numbers
    plain: Numbers
    others: Numbers

    def draw(self, generator: np.random.Generator) -> int:
        """Draw the number of the clip that is heard next."""
        is_plain = generator.random() < PLAIN_SHARE
        return int(
            generator.choice(self.plain if len(self.plain) and (is_plain or not len(self.others)) else self.others)
        )


def days(voices: Sequence[str], labels: Sequence[str], n_parts: int, generator: np.random.Generator) -> Iterator[Day]:
    """Divide the clips of each voice at random into parts; yield a day for each, in which the rest is heard before it.

    Parameters
    ----------
    voices, labels
        Of each clip. One name for all makes days of many voices.
    n_parts
        How many days a voice has; every clip is asked about in one of them.
    """
    names, is_plain = np.array(voices), np.isin(labels, PLAIN)
    for voice in np.unique(names):
        mine = np.flatnonzero(names == voice)
        part = generator.permutation(len(mine)) % n_parts
        for number in range(min(n_parts, len(mine))):
            rest = mine[part != number]
            yield Day(mine[part == number], rest[is_plain[rest]], rest[~is_plain[rest]])


def lived(
    day: Day,
    place: Baseline | Placed,
    noted: Float64,
    seconds: Float64,
    lengths: Sequence[int],
    generator: np.random.Generator,
) -> Iterator[int]:
    """Let a place, or a baseline alone, learn from a day; yield each of `lengths` once so much speech was heard.

    Parameters
    ----------
    noted : (n_clips, n)
        The mean of each clip, as `Baseline.learn` takes it.
    seconds : (n_clips,)
        How long each speaks, above 0.
    """
    heard = 0.0
    for length in lengths:
        while heard < length and len(day.plain) + len(day.others):
            number = day.draw(generator)
            place.learn(noted[number], speech_seconds=seconds[number], speech_ratio=1.0, at_hours=0.0)
            heard += seconds[number]
        yield length
