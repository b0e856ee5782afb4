"""Finding out that sound of up to some seconds is delivered over and over."""

from __future__ import annotations

import numpy as np

from affectd.arrays import Int16

SHORTEST_SECONDS = 0.9
"""Shorter loops are what a hanging sound card delivers; `affectd.audio.liveness.Repetition` finds them."""
LONGEST_SECONDS = 6.0

_NEEDLE = 32
# A piece of few values, as of a quiet card, occurs again by chance.
_FEWEST_VALUES = 8
_FEWEST_CHANGES = 100
# Resampling may round some samples differently in each turn.
_TOLERANCE = 0.02


class Loops:
    """Compares each second of 16-bit sound with the seconds before it; only the low bytes are kept.

    The sound of a working microphone never repeats, because its noise does not.
    """

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._heard = bytearray()
        self.seconds = 0.0
        """The period of the last loop found."""

    def reset(self) -> None:
        """Forget what was heard, because some is missing."""
        self._heard.clear()

    def push(self, second: Int16, loudest: int, n_changes: int) -> bool | None:
        """Take the next second and return whether it is a loop; None if that cannot be told.

        Parameters
        ----------
        second : ndarray of int16, shape (n,)
            The samples.
        loudest : int
            Where the loudest of them is: that piece is the least likely to occur by chance.
        n_changes : int
            How many samples differ from the one before.
        """
        n = len(second)
        self._heard += second.astype(np.uint8).tobytes()
        del self._heard[: -round((LONGEST_SECONDS + 1) * self._sample_rate)]
        start = len(self._heard) - n + min(max(0, loudest - _NEEDLE // 2), n - _NEEDLE)
        needle = self._heard[start : start + _NEEDLE]
        if n_changes < _FEWEST_CHANGES or len(set(needle)) < _FEWEST_VALUES:
            return None
        found = self._heard.rfind(needle, 0, start + _NEEDLE - 1)
        lag = start - found
        if found < 0 or len(self._heard) < n + lag:
            return False
        if lag < SHORTEST_SECONDS * self._sample_rate:
            return None
        heard = np.frombuffer(self._heard, np.uint8)
        n_different = np.count_nonzero(heard[-n:] != heard[-n - lag : -lag])
        del heard  # the buffer cannot be resized while it is looked at
        self.seconds = lag / self._sample_rate
        return bool(n_different <= _TOLERANCE * n_changes)
