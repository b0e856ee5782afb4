"""How fast samples come, against the clock."""

from __future__ import annotations

import math

_WINDOW_SECONDS = 6.0
# Buffers that have filled before the start come at once.
_FIRST_SECONDS = 2.0
_OFF, _EXACT = 0.05, 0.03
# Far faster it is no sound card but a recording, and far slower it has stalled.
_SLOWEST, _FASTEST = 0.1, 2.7
# A machine that was busy gets less and then more; a wrong clock is as wrong in the next seconds.
_STEADY = 0.04
# Of a source that is not waited for, the speed is that of its reader.
_WAITED = 0.25


class Pace:
    """Compares the number of samples with the time that they took, window by window.

    Attributes
    ----------
    ratio : float
        Rate measured in the last window / `sample_rate`.
    verdict : bool or None
        Whether it was wrong, in that window and the one before; None if that cannot be told.
    """

    def __init__(self, sample_rate: int) -> None:
        self.ratio = 1.0
        self.verdict: bool | None = None
        self._sample_rate = sample_rate
        self.reset()

    def reset(self) -> None:
        """Start afresh after an interruption."""
        self._since: float | None = None
        self._is_started = False
        self._before = 0.0
        self._n_samples = 0
        self._waited_seconds = 0.0

    def push(self, n_samples: int, now: float, waited_seconds: float = math.inf) -> float:
        """Note samples that came at a time of a monotonic clock, after so many seconds of waiting for them.

        Returns the seconds of the window that ends now, or 0 while it goes on.
        """
        if self._since is None:
            self._since = now
            return 0.0
        # The samples of a window are those after its beginning, so a burst that begins it does not count.
        self._n_samples += n_samples
        self._waited_seconds += waited_seconds
        passed = now - self._since
        if passed < (_WINDOW_SECONDS if self._is_started else _FIRST_SECONDS):
            return 0.0
        if self._is_started:
            self._end(passed)
        else:
            passed = 0.0
        self._since, self._is_started = now, True
        self._n_samples, self._waited_seconds = 0, 0.0
        return passed

    def _end(self, passed: float) -> None:
        before, self._before = self._before, 0.0
        self.verdict = None
        if self._waited_seconds < _WAITED * passed:
            return
        self.ratio = self._before = self._n_samples / self._sample_rate / passed
        off = abs(self.ratio - 1)
        if off < _EXACT:
            self.verdict = False
        elif off > _OFF and _SLOWEST < self.ratio < _FASTEST and abs(self.ratio - before) < _STEADY * self.ratio:
            self.verdict = True
