"""Cutting a signal into overlapping frames: a whole clip or a stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from affectd.arrays import Float32
from affectd.features.spec import FeatureSpec


def frame_clip(samples: Float32, spec: FeatureSpec) -> Float32:
    """Cut a whole clip into frames, a read-only view of shape (n_frames, window_length)."""
    samples = _samples(samples)
    if spec.preemphasis and samples.size:
        samples = _preemphasis(samples, spec.preemphasis, np.float32(0))
    count = spec.count_frames(samples.size)
    padded = np.zeros(max(0, (count - 1) * spec.hop_length + spec.window_length), dtype=np.float32)
    before = max(0, -spec.first_sample)
    inside = samples[max(0, spec.first_sample) :][: max(0, padded.size - before)]
    padded[before : before + inside.size] = inside
    return _strided(padded, spec, count)


class Framer:
    """Cuts a stream, in blocks of any length, into the same frames that `Mfcc.frames` cuts from the whole clip.

    Parameters
    ----------
    spec
        Length, hop and padding of the frames.

    Examples
    --------
    >>> framer = Framer(FeatureSpec(window_length=400, hop_length=160, n_fft=512))
    >>> framer.push(np.zeros(16000, np.float32)).shape, framer.flush().shape
    ((99, 400), (2, 400))
    """

    def __init__(self, spec: FeatureSpec) -> None:
        self._spec = spec
        self._kept = np.zeros(spec.n_fft + max(0, -spec.first_sample), dtype=np.float32)
        self.reset()

    def reset(self) -> None:
        """Begin a new stream."""
        self._n_kept = max(0, -self._spec.first_sample)
        self._kept[: self._n_kept] = 0
        self._skip = max(0, self._spec.first_sample)
        self._last = np.zeros(1, dtype=np.float32)
        self._n_samples = 0
        self._n_frames = 0

    def push(self, block: Float32) -> Float32:
        """Take the next samples and return the frames they complete.

        Parameters
        ----------
        block
            Samples, shape (n,), n >= 0.

        Returns
        -------
        ndarray, shape (k, window_length), float32
            Read-only; later pushes do not change it.
        """
        block = _samples(block)
        self._n_samples += block.size
        block = self._emphasize(block)
        joined = np.concatenate((self._kept[: self._n_kept], block[self._skip :]))
        self._skip -= min(self._skip, block.size)
        complete = (joined.size - self._spec.window_length) // self._spec.hop_length + 1
        # Without padding a frame needs n_fft samples, even if its window is shorter.
        return self._cut(joined, min(complete, self._spec.count_frames(self._n_samples) - self._n_frames))

    def flush(self) -> Float32:
        """End the stream: return its remaining frames, padded with zeros as the specification says."""
        count = self._spec.count_frames(self._n_samples) - self._n_frames
        missing = (count - 1) * self._spec.hop_length + self._spec.window_length - self._n_kept
        joined = np.concatenate((self._kept[: self._n_kept], np.zeros(max(0, missing), dtype=np.float32)))
        frames = self._cut(joined, count)
        self.reset()
        return frames

    def _emphasize(self, block: Float32) -> Float32:
        if not self._spec.preemphasis or not block.size:
            return block
        emphasized = _preemphasis(block, self._spec.preemphasis, self._last[0])
        self._last[0] = block[-1]
        return emphasized

    def _cut(self, joined: Float32, count: int) -> Float32:
        count = max(0, count)
        used = count * self._spec.hop_length
        rest = joined[used:]
        # If the hop is longer than the window, some samples are in no frame.
        self._skip += max(0, used - joined.size)
        self._n_kept = rest.size
        self._kept[: rest.size] = rest
        self._n_frames += count
        return _strided(joined, self._spec, count)


def _samples(samples: Float32) -> Float32:
    if samples.ndim != 1 or samples.dtype.kind != "f":
        raise ValueError(f"samples must be float32 of shape (n,), not {samples.dtype} of {samples.shape}")
    return samples.astype(np.float32, copy=False)


def _preemphasis(samples: Float32, coefficient: float, before: np.float32) -> Float32:
    # In float64, because differences of neighbors are small and would lose five bits in float32.
    emphasized = samples.astype(np.float64)
    emphasized[1:] -= coefficient * emphasized[:-1]
    emphasized[0] -= coefficient * float(before)
    return emphasized.astype(np.float32)


def _strided(samples: Float32, spec: FeatureSpec, count: int) -> Float32:
    return overlapping(samples, spec.window_length, spec.hop_length, max(0, count))


def overlapping(values: Float32, length: int, hop: int, count: int, first: int = 0) -> Float32:
    """View `values`, contiguous and of shape (n,), as `count` overlapping rows; row i begins at ``first + i * hop``.

    Raises
    ------
    TypeError, ValueError
        The last row would end beyond the last value.
    """
    # NumPy's sliding_window_view takes ten times as long, several times per stride.
    if not count:
        return np.empty((0, length), values.dtype)
    size = values.itemsize
    rows: Float32 = np.ndarray((count, length), values.dtype, values.data, first * size, (hop * size, size))
    rows.flags.writeable = False
    return rows


def frame_strides(blocks: Iterable[Float32], spec: FeatureSpec, wanted: Callable[[], int]) -> Iterator[Float32]:
    """Yield the frames ``(k, window_length)`` float32 of each stride, at the end of the stream those of the rest.

    Parameters
    ----------
    blocks
        Samples, (n,) float32 of any n.
    spec
        Length, hop and padding of the frames.
    wanted
        Returns how many samples the next stride has; asked when the frames of the one before have been used, for what
        is in them may decide it.
    """
    framer = Framer(spec)
    stride, filled = np.empty(wanted(), np.float32), 0
    for block in blocks:
        start = 0
        while start < len(block):
            taken = block[start : start + len(stride) - filled]
            stride[filled : filled + len(taken)] = taken
            filled += len(taken)
            start += len(taken)
            if filled == len(stride):
                yield framer.push(stride)
                stride, filled = np.empty(wanted(), np.float32), 0
    rest = framer.push(stride[:filled])
    yield np.concatenate([rest, framer.flush()])


class RecentFrames:
    """The last `n_frames` frames of a stream, kept until they are taken."""

    def __init__(self, n_frames: int, window_length: int) -> None:
        self._n_frames = n_frames
        self._nothing = np.empty((0, window_length), np.float32)
        self._parts: deque[Float32] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, frames: Float32) -> None:
        """Append ``(n, window_length)`` frames, which are not copied and must not change."""
        self._parts.append(frames)
        self._count += len(frames)
        while self._count - len(self._parts[0]) >= self._n_frames:
            self._count -= len(self._parts.popleft())

    def take(self, n: int) -> Float32:
        """Return the last `n` frames, or all if there are fewer, oldest first, and clear the buffer."""
        frames = self._parts[0] if len(self._parts) == 1 else np.concatenate([self._nothing, *self._parts])
        self._parts.clear()
        self._count = 0
        return frames[max(0, len(frames) - n) :]
