"""Noise tracking and subtraction on mel bands, and level normalization: candidates for the device.

Causal, NumPy alone, a few operations a frame. Whether they help is what `robustness` measures; they move to
`affectd` when they do.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from affectd.arrays import Float32, Float64

FrontEnd = Literal["as it is", "denoised", "level normalized"]
FRONT_ENDS: tuple[FrontEnd, ...] = ("as it is", "denoised", "level normalized")
"""What `robustness` puts between microphone and network, by name; the first is what is shipped."""

NOISE_SECONDS = 1.5
"""Noise is the lowest smoothed power of this many last seconds: a voice falls silent in every band within it."""

SMOOTHING_FRAMES = 5
BIAS_DB = 3.0
"""The minimum of a fluctuating power lies below its mean by about this much."""

FLOOR_DB = -12.0
"""How far a band is lowered at most; more would carve holes where the noise is misjudged."""

TARGET_DBFS = -20.0


def denoise(bands: Float32, frame_rate: float) -> Float32:
    """Subtract what is always there from each band.

    R. Martin, "Noise power spectral density estimation based on optimal smoothing and minimum statistics", 2001,
    with a moving average instead of optimal smoothing; subtraction after S. Boll, "Suppression of acoustic noise in
    speech using spectral subtraction", 1979.

    Parameters
    ----------
    bands
        ``(n_frames, n_bands)`` dB; each frame is changed by those before it alone.
    """
    power = np.power(10.0, bands / 10.0)
    smooth = _trailing(power, SMOOTHING_FRAMES).mean(axis=-1)
    noise = _trailing(smooth, round(NOISE_SECONDS * frame_rate)).min(axis=-1) * 10 ** (BIAS_DB / 10)
    gain = np.maximum(1.0 - noise / np.maximum(power, 1e-20), 10 ** (FLOOR_DB / 10))
    return np.asarray(bands + 10.0 * np.log10(gain), np.float32)


def normalize_level(level: Float32, bands: Float32) -> tuple[Float32, Float32]:
    """Bring the loudest frame of a whole recording to `TARGET_DBFS`: the best that a slow gain control can do."""
    change = np.float32(TARGET_DBFS) - level.max()
    return level + change, bands + change


def _trailing(rows: Float64, n: int) -> Float64:
    """View the last ``n`` rows up to each row, ``(n_rows, n_columns, n)``; before the first there are copies of it."""
    padded = np.concatenate([np.repeat(rows[:1], n - 1, axis=0), rows])
    return sliding_window_view(padded, n, axis=0)
