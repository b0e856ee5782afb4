"""Parts for going through a recording of any length in constant memory, of `classify`, `timeline` and training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from affectd.arrays import Float32
from affectd.features.framing import frame_strides
from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec
from affectd.recognition.model_file import ModelFile
from affectd.recognition.vad import RangeLimiter, band_level


def heard(blocks: Iterable[Float32], mfcc: Mfcc, stride_frames: int) -> Iterator[tuple[Float32, Float32, Float32]]:
    """Yield the log mel energies and levels of a recording, stride by stride, and last what is left of the levels.

    Parameters
    ----------
    blocks
        Mono samples in [-1, 1] at the rate of ``mfcc.spec``, (n,) float32 of any n; the result does not depend on it.
    mfcc
        Computes the energies.
    stride_frames
        Frames of one stride.

    Yields
    ------
    bands : (k, n_bands) float32
        Of the next k frames.
    level : (k,) float32
        Their levels, dBFS, from `band_level`.
    limited : (m,) float32
        The next levels, raised as `RangeLimiter` does, for the gate. They come later: m is not k.
    """
    for frames, level, limited in levels(blocks, mfcc.spec, stride_frames):
        yield mfcc.bands(frames), level, limited


def levels(
    blocks: Iterable[Float32], spec: FeatureSpec, stride_frames: int
) -> Iterator[tuple[Float32, Float32, Float32]]:
    """Yield what `heard` does, with the frames ``(k, window_length)`` of each stride in place of their bands."""
    limiter = RangeLimiter(spec.frame_rate)
    for frames in frame_strides(blocks, spec, lambda: stride_frames * spec.hop_length):
        level = band_level(frames, spec.sample_rate)
        yield frames, level, limiter.push(level)
    yield np.empty((0, spec.window_length), np.float32), np.empty(0, np.float32), limiter.flush()


def context_columns(bands: Float32, model: ModelFile, mfcc: Mfcc) -> Float32:
    """Return the columns of one context, not normalized, of bands ``(n, n_bands)``, n from 1 to ``n_frames``."""
    if model.hearing is None:
        return mfcc.cepstra(padded(bands, mfcc, model.n_frames))
    from affectd.recognition.whole import hear_bands  # only for a file that hears in this way

    return hear_bands(bands, model, mfcc)


def padded(bands: Float32, mfcc: Mfcc, n_frames: int) -> Float32:
    """Return the last of bands ``(n, n_bands)`` as a new context ``(n_frames, n_bands)``, behind silence if need be."""
    bands = bands[-n_frames:]
    context = np.full((n_frames, mfcc.spec.n_bands), mfcc.fill, np.float32)
    context[n_frames - len(bands) :] = bands
    return context


class Counted:
    """Blocks that are counted while they are iterated over.

    Examples
    --------
    >>> counted = Counted([np.zeros(3, np.float32), np.zeros(4, np.float32)])
    >>> sum(map(len, counted)), counted.n_samples
    (7, 7)
    """

    def __init__(self, blocks: Iterable[Float32]) -> None:
        self._blocks = blocks
        self.n_samples = 0

    def __iter__(self) -> Iterator[Float32]:
        for block in self._blocks:
            self.n_samples += len(block)
            yield block


class Kept:
    """Rows of a stream by their number, some of which have been dropped."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, Any]] = []
        self._most = 0
        self.n = 0

    def push(self, rows: Any) -> None:
        """Append an array of rows, which must not change."""
        if len(rows):
            self._parts.append((self.n, rows))
            self.n += len(rows)

    def take(self, first: int, stop: int) -> Any:
        """Return rows `first` to `stop`, none of which has been dropped."""
        parts = (rows[max(0, first - n) : stop - n] for n, rows in self._parts if n < stop and n + len(rows) > first)
        return np.concatenate([*parts])

    def drop(self, recent: int, first: int = 0, stop: int = 0) -> None:
        """Drop all arrays but those with rows from `recent` on, or from `first` to `stop`."""
        if len(self._parts) < self._most:  # not each time, for short arrays
            return
        self._parts = [
            (n, rows) for n, rows in self._parts if n + len(rows) > recent or (n < stop and n + len(rows) > first)
        ]
        self._most = 2 * len(self._parts)
