"""The envelope of a waveform of any length, in the same memory."""

from __future__ import annotations

import numpy as np

from affectd.arrays import Float32

MOST_COLUMNS = 32768
"""An envelope has at most as many columns, and at least half as many if it is not short; 0.13 s each in an hour."""
_FIRST_SAMPLES = 64


class Envelope:
    """The loudest sample of each column of a waveform; a column holds more samples the longer it becomes.

    Examples
    --------
    >>> envelope = Envelope()
    >>> envelope.push(np.float32([0.1, -0.5, 0.2]))
    >>> envelope.columns().tolist(), envelope.column_samples
    ([0.5], 64)
    """

    def __init__(self) -> None:
        self._peaks = np.zeros(MOST_COLUMNS, np.float32)
        self._n = 0
        self.column_samples = _FIRST_SAMPLES

    def push(self, block: Float32) -> None:
        """Take the next samples, ``(n,)``."""
        if not len(block):
            return
        while self._n + len(block) > MOST_COLUMNS * self.column_samples:
            self._peaks[: MOST_COLUMNS // 2] = np.maximum(self._peaks[::2], self._peaks[1::2])
            self._peaks[MOST_COLUMNS // 2 :] = 0
            self.column_samples *= 2
        column, begun = divmod(self._n, self.column_samples)
        starts = np.arange(-begun, len(block), self.column_samples)
        starts[0] = 0
        peaks = np.maximum.reduceat(np.abs(block), starts)
        columns = self._peaks[column : column + len(peaks)]
        np.maximum(columns, peaks, out=columns)
        self._n += len(block)

    def columns(self) -> Float32:
        """Return the largest magnitude of each column, ``(n,)``; the last one may be of fewer samples."""
        return self._peaks[: -(-self._n // self.column_samples)].copy()
