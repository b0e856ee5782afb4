"""Sample rate conversion of a stream with NumPy alone.

Source of the filter: J. F. Kaiser, Nonrecursive digital filter design using the I0-sinh window function,
1974 (length and beta from the attenuation); of the polynomial form: C. W. Farrow, A continuously variable digital
delay element, 1988.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from affectd.arrays import Float32, Float64

# Relative to half of the lower rate: flat up to 0.92, at least 60 dB (designed for 80) down from 1.0 on, so that
# nothing aliases. 0.92 is about what the resamplers that made the training recordings use.
PASSBAND = 0.92
ATTENUATION_DB = 80.0
_BETA = 0.1102 * (ATTENUATION_DB - 8.7)
_HALF_LENGTH = math.ceil((ATTENUATION_DB - 7.95) / (2.285 * (1 - PASSBAND) * math.pi) / 2)

# Samples computed at once. With one shape for every matrix product the rounding, and so the output, does not depend
# on the block lengths of the input. It delays a live stream by up to one batch.
_BATCH = 512
_ROW = 32
# OpenBLAS computes products up to this size in one thread; on busy cores several threads are many times slower.
_MAX_PRODUCT = 1 << 18
# Up to this many phases the coefficients are tabulated (about half a MB); above, they are polynomials (10 kB).
_MAX_PHASES = 160
_DEGREE = 7


class Resampler:
    """Resamples a mono stream, block by block, and removes the delay of the filter.

    A clip of n samples becomes ceil(n * rate_out / rate_in) samples, the first at time 0. The output does not depend
    on the lengths of the blocks.

    Rates are in Hz, at least 1, else ValueError. The pass band reaches to 0.92 of half the lower one.

    Examples
    --------
    >>> resampler = Resampler(48000, 16000)
    >>> second = np.ones(48000, np.float32)
    >>> len(resampler.push(second)) + len(resampler.flush())
    16000
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        if rate_in < 1 or rate_out < 1:
            raise ValueError(f"sample rates must be at least 1 Hz, got {rate_in} and {rate_out}")
        divisor = math.gcd(rate_in, rate_out)
        self._up, self._down = rate_out // divisor, rate_in // divisor
        self._half = math.ceil(_HALF_LENGTH * max(1.0, rate_in / rate_out))
        self._cutoff = (1 + PASSBAND) / 2 * min(1.0, rate_out / rate_in)
        if self._up <= _MAX_PHASES:
            self._tabulate()
        else:
            self._fit_polynomials()
        # Room for several batches, so that the unread rest is rarely moved to the front.
        self._buffer = np.zeros(8 * self._span, np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget all samples; the next block is the start of a new stream."""
        self._buffer[: self._half - 1] = 0
        self._start = 0
        self._end = self._half - 1
        self._phase = 0
        self._n_in = 0
        self._n_out = 0

    def push(self, block: Float32) -> Float32:
        """Take a block of any length, float32 of shape (n,), and return the samples it completes."""
        if self._up == self._down:
            return block.astype(np.float32, copy=False)
        self._n_in += len(block)
        batches = self._feed(block)
        self._n_out += len(batches)
        return batches

    def flush(self) -> Float32:
        """Return the remaining samples of the stream, as if silence followed, and reset."""
        n_missing = -(-self._n_in * self._up // self._down) - self._n_out
        tail = np.zeros(0, np.float32)
        while len(tail) < n_missing:
            tail = np.concatenate([tail, self._feed(np.zeros(self._span, np.float32))])
        self.reset()
        return tail[:n_missing]

    def _feed(self, block: Float32) -> Float32:
        batches = []
        while len(block):
            if self._end == len(self._buffer):
                unread = self._buffer[self._start : self._end].copy()
                self._start, self._end = 0, len(unread)
                self._buffer[: self._end] = unread
            taken = block[: len(self._buffer) - self._end]
            self._buffer[self._end : self._end + len(taken)] = taken
            self._end += len(taken)
            block = block[len(taken) :]
            while self._end - self._start >= self._span:
                samples = self._buffer[self._start : self._start + self._span]
                batches.append(self._table_batch(samples) if self._rows else self._polynomial_batch(samples))
        return np.concatenate(batches) if batches else np.zeros(0, np.float32)

    def _kernel(self, time: Float64) -> Float64:
        """Impulse response at a time in input samples, |time| <= half."""
        window = np.i0(_BETA * np.sqrt(1 - (time / self._half) ** 2)) / np.i0(_BETA)
        response: Float64 = self._cutoff * np.sinc(self._cutoff * time) * window
        return response

    def _tabulate(self) -> None:
        """Few phases: put several periods of them side by side into one matrix."""
        n_row = self._up * -(-_ROW // self._up)
        self._row_advance = n_row // self._up * self._down
        position = np.arange(n_row) * self._down
        first = position // self._up
        taps = np.arange(2 * self._half)
        time = taps - (self._half - 1) - (position % self._up / self._up)[:, None]
        table = np.zeros((n_row, first[-1] + len(taps)), np.float32)
        np.put_along_axis(table, first[:, None] + taps, self._kernel(time).astype(np.float32), axis=1)
        self._table = np.ascontiguousarray(table.T)
        self._rows = max(1, min(-(-_BATCH // n_row), _MAX_PRODUCT // table.size))
        self._span = (self._rows - 1) * self._row_advance + len(self._table)
        self._gathered = np.empty((self._rows, len(self._table)), np.float32)

    def _table_batch(self, samples: Float32) -> Float32:
        # BLAS takes no overlapping rows; copying is faster than the path NumPy takes without BLAS.
        np.copyto(self._gathered, sliding_window_view(samples, len(self._table))[:: self._row_advance])
        self._start += self._rows * self._row_advance
        output: Float32 = (self._gathered @ self._table).ravel()
        return output

    def _fit_polynomials(self) -> None:
        """Many phases: fit every tap by a polynomial of the phase, -1..1, at Chebyshev nodes."""
        self._rows = 0
        nodes = np.cos(np.pi * (np.arange(_DEGREE + 1) + 0.5) / (_DEGREE + 1))
        taps = np.arange(2 * self._half)
        values = self._kernel(taps - (self._half - 1) - (nodes[:, None] + 1) / 2)
        self._table = np.linalg.solve(np.vander(nodes), values).T.astype(np.float32)
        n_batch = min(_BATCH, max(1, _MAX_PRODUCT // self._table.size))
        self._steps = np.arange(n_batch, dtype=np.int64) * self._down
        self._span = (self._up - 1 + int(self._steps[-1])) // self._up + len(taps)

    def _polynomial_batch(self, samples: Float32) -> Float32:
        # Integers, so that the position stays exact however long the stream.
        position = self._phase + self._steps
        phases = (position % self._up) * (2 / self._up) - 1
        powers = np.vander(phases, _DEGREE + 1).astype(np.float32)
        windows = sliding_window_view(samples, len(self._table))[position // self._up]
        advance, self._phase = divmod(self._phase + len(self._steps) * self._down, self._up)
        self._start += advance
        output: Float32 = np.einsum("nd,nd->n", windows @ self._table, powers)
        return output


def resample_blocks(blocks: Iterable[Float32], rate_in: int, rate_out: int) -> Iterator[Float32]:
    """Yield the mono blocks of a whole stream at another rate, and the flushed rest."""
    resampler = Resampler(rate_in, rate_out)
    for block in blocks:
        yield resampler.push(block)
    yield resampler.flush()
