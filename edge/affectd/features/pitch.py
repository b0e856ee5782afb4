"""Fundamental frequency of frames."""

from __future__ import annotations

import math

import numpy as np

from affectd.arrays import Array, Float32, Float64
from affectd.features.spec import FeatureSpec

_THRESHOLD = 0.1
_TINY = np.finfo(np.float64).tiny


class Yin:
    """Finds the pitch of every frame from its own samples, voiced or not.

    Notes
    -----
    Agrees with ``librosa.yin`` of float64 samples, and like it computes in float64; but where all periods fit equally
    well, as in a frame of one sample, this is the shortest, and librosa's any. In silence, where there is no pitch, it
    is that of the shortest period in both.

    References
    ----------
    A. de Cheveigne and H. Kawahara, "YIN, a fundamental frequency estimator for speech and music", Journal of the
    Acoustical Society of America 111(4), 2002, steps 1 to 5.

    Examples
    --------
    >>> tone = np.sin(2 * np.pi * 200 / 16000 * np.arange(1024)).astype(np.float32)
    >>> yin = Yin(FeatureSpec(pitch="hertz"))
    >>> yin(tone[np.newaxis], tone).round(-1).tolist()
    [[200.0]]
    """

    def __init__(self, spec: FeatureSpec) -> None:
        self._spec = spec
        self._least = math.floor(spec.sample_rate / spec.pitch_fmax)
        self._most = min(math.ceil(spec.sample_rate / spec.pitch_fmin), spec.window_length - 1)
        # Long enough that no lag that is looked at wraps around.
        self._size = 1 << (spec.window_length + self._most - 1).bit_length()

    def __call__(self, frames: Float32, _: Array) -> Float64:
        """Return the pitch of frames ``(n, window_length)``: ``(n, 1)`` float64, in the unit of the specification."""
        normalized = self._normalized(frames.astype(np.float64))
        trough = np.zeros(normalized.shape, bool)
        inner = normalized[:, 1:-1]
        trough[:, 1:-1] = (inner < normalized[:, :-2]) & (inner <= normalized[:, 2:])
        trough[:, 0] = normalized[:, 0] < normalized[:, 1]
        trough[:, -1] = normalized[:, -1] < normalized[:, -2]
        trough &= normalized < _THRESHOLD
        chosen = np.where(trough.any(axis=1), trough.argmax(axis=1), normalized.argmin(axis=1))
        hertz = self._spec.sample_rate / (self._least + chosen + _shift(normalized, chosen))
        pitch = hertz if self._spec.pitch == "hertz" else 12 * np.log2(hertz / self._spec.pitch_fmin)
        return np.asarray(pitch[:, np.newaxis])

    def _normalized(self, frames: Float64) -> Float64:
        """Return the cumulative mean normalized difference (equation 8) of every period that is looked at."""
        most = self._most
        spectrum = np.fft.rfft(frames, self._size)
        correlation = np.fft.irfft(spectrum.real**2 + spectrum.imag**2, self._size)[:, : most + 1]
        left_out = np.cumsum(np.square(frames[:, :most]), axis=1)
        left_out[:, 0] = 0  # as in librosa
        difference = 2 * (correlation[:, :1] - correlation[:, 1:]) - left_out
        mean = np.cumsum(difference, axis=1) / np.arange(1, most + 1)
        looked_at = slice(self._least - 1, most)
        normalized = difference[:, looked_at] / (mean[:, looked_at] + _TINY)
        # Of periods that fit equally well the shortest is to win, on every processor: rounding would choose.
        rounded: Float64 = np.round(normalized, 9)
        return rounded


def _shift(values: Float64, chosen: Array) -> Float64:
    """Return how far the vertex of the parabola through a column and its neighbors is from it, 0 at the ends."""
    rows = np.arange(len(values))
    middle = np.clip(chosen, 1, values.shape[1] - 2)
    before, here, after = values[rows, middle - 1], values[rows, middle], values[rows, middle + 1]
    curvature, slope = after + before - 2 * here, (after - before) / 2
    is_near = (np.abs(slope) < np.abs(curvature)) & (middle == chosen)
    return np.where(is_near, -slope / np.where(is_near, curvature, 1), 0.0)
