"""Finding out that sound of up to some seconds is delivered over and over."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from affectd.arrays import Int16

SHORTEST_SECONDS = 0.9
"""Shorter loops are what a hanging sound card delivers; `affectd.audio.liveness.Repetition` finds them."""
LONGEST_SECONDS = 6.0

_NEEDLE = 32
# A piece of few values, as of a quiet card, occurs again by chance.
_FEWEST_VALUES = 8
_FEWEST_CHANGES = 100
_SEARCH_SECONDS = 3
# So long after a loop it is searched every second, to tell soon that it has ended.
_ALERT_SECONDS = 15
# Resampling may round some samples differently in each turn.
_TOLERANCE = 0.02


class Loops:
    """Compares each second of 16-bit sound with the seconds before it; only the low bytes are kept.

    The sound of a working microphone never repeats, because its noise does not; so a loop is sought every
    `_SEARCH_SECONDS`, and in every second for a while after one.
    """

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._heard: deque[bytes] = deque(maxlen=math.ceil(LONGEST_SECONDS) + 1)
        self._lag = 0
        self._since_loop = _ALERT_SECONDS
        self.seconds = 0.0
        """The period of the last loop found."""

    def reset(self) -> None:
        """Forget what was heard, because some is missing."""
        self._heard.clear()
        self._lag = 0

    def push(self, second: Int16, loudest: int, n_changes: int) -> bool | None:
        """Take the next second and return whether it is a loop; None if that cannot be told.

        Parameters
        ----------
        second : ndarray of int16, shape (sample_rate,)
            The samples.
        loudest : int
            Where the loudest of them is: that piece is the least likely to occur by chance.
        n_changes : int
            How many samples differ from the one before.
        """
        self._heard.append(second.astype(np.uint8).tobytes())
        self._since_loop += 1
        if n_changes < _FEWEST_CHANGES:
            return None
        if self._lag and self._repeats(n_changes):
            return True
        self._lag = 0
        if self._since_loop > _ALERT_SECONDS and self._since_loop % _SEARCH_SECONDS:
            return None
        return self._search(loudest, n_changes)

    def _search(self, loudest: int, n_changes: int) -> bool | None:
        heard = b"".join(self._heard)
        n = self._sample_rate
        start = len(heard) - n + min(max(0, loudest - _NEEDLE // 2), n - _NEEDLE)
        needle = heard[start : start + _NEEDLE]
        if len(set(needle)) < _FEWEST_VALUES:
            self._since_loop -= 1  # again in the next second
            return None
        found = heard.rfind(needle, 0, start + _NEEDLE - 1)
        self._lag = start - found if found >= 0 else 0
        if not 0 < self._lag <= len(heard) - n:
            self._lag = 0
            return False
        if self._lag < SHORTEST_SECONDS * n:
            self._lag = 0
            return None
        return self._repeats(n_changes)

    def _repeats(self, n_changes: int) -> bool:
        heard = np.frombuffer(b"".join(self._heard), np.uint8)
        n = self._sample_rate
        n_different = int(np.count_nonzero(heard[-n:] != heard[-n - self._lag : -self._lag]))
        if n_different > _TOLERANCE * n_changes:
            return False
        self._since_loop = 0
        self.seconds = self._lag / n
        return True
