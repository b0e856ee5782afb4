"""Augmentation of log-mel bands, fresh for every clip of every batch.

These work where there is no waveform (CREMA-D as log-mels) and cost microseconds.
Bands are decibels of power, ``(n_frames, n_mels)`` float32; only differences
matter, since the front end refers each context to its own maximum.
"""

from __future__ import annotations

import numpy as np

from affectd.arrays import Float32
from affectd.features.mel import warping

DECIBEL_TO_NEPER = np.float32(np.log(10.0) / 10.0)
_MOST_MASKED = 16  # bands, and frames


def stretch(bands: Float32, factor: float) -> Float32:
    """Make the clip ``factor`` times as long by linear interpolation between frames.

    Examples
    --------
    >>> stretch(np.zeros((100, 64), np.float32), 1.1).shape
    (110, 64)
    """
    position = np.linspace(0, len(bands) - 1, max(2, round(len(bands) * factor)))
    below = np.minimum(position.astype(np.intp), len(bands) - 2)
    weight = (position - below).astype(np.float32)[:, None]
    lower, upper = bands[below], bands[below + 1]
    upper -= lower
    upper *= weight
    stretched: Float32 = lower + upper
    return stretched


def warp(bands: Float32, factor: float) -> Float32:
    """Move band ``k`` to ``k / factor``: a longer or shorter vocal tract; see `affectd.features.mel.warping`."""
    # A product with a matrix of two diagonals is faster than gathering columns.
    warped: Float32 = bands @ warping(bands.shape[1], factor)
    return warped


def tilt(bands: Float32, decibel: float, rng: np.random.Generator) -> Float32:
    """Color the clip with a smooth random curve, as another microphone and room would."""
    knots = np.cumsum(rng.normal(0.0, decibel, 9))
    n_mels = bands.shape[1]
    curve = np.interp(np.linspace(0, 8, n_mels), np.arange(9), knots - knots.mean())
    colored: Float32 = bands + curve.astype(np.float32)
    return colored


def roll_off(bands: Float32, first_band: int, decibel: float) -> Float32:
    """Let the bands from ``first_band`` on fall to ``decibel`` below, as before the end of a converter's pass band."""
    attenuation = np.interp(np.arange(bands.shape[1]), [first_band - 1, bands.shape[1] - 1], [0.0, decibel])
    return bands - attenuation.astype(np.float32)


def band_limit(bands: Float32, first_band: int, last_band: int, decibel: float) -> Float32:
    """Attenuate what is outside of two bands by ``decibel`` more with each band, 60 at most, as a telephone does."""
    k = np.arange(bands.shape[1])
    outside = np.maximum(first_band - k, 0) + np.maximum(k - last_band, 0)
    return bands - np.minimum(outside * decibel, 60.0).astype(np.float32)


def add_noise(bands: Float32, noise: Float32, snr_db: float) -> Float32:
    """Add the powers of noise bands of the same shape at a signal-to-noise ratio of the means."""
    speech, added = np.exp(bands * DECIBEL_TO_NEPER), np.exp(noise * DECIBEL_TO_NEPER)
    gain = speech.mean() / added.mean() * np.float32(10.0 ** (-snr_db / 10))
    sum_: Float32 = np.log(speech + gain * added)
    return sum_ / DECIBEL_TO_NEPER


def mask(bands: Float32, rng: np.random.Generator) -> Float32:
    """Blank one random range of bands and one of frames with the clip's mean.

    D. Park et al., "SpecAugment: a simple data augmentation method for automatic speech recognition", 2019.
    """
    masked = bands.copy()
    n_frames, n_mels = bands.shape
    width = int(rng.integers(0, min(_MOST_MASKED, n_mels // 2) + 1))
    first = int(rng.integers(0, n_mels - width + 1))
    masked[:, first : first + width] = bands.mean()
    width = int(rng.integers(0, min(_MOST_MASKED, n_frames // 4) + 1))
    first = int(rng.integers(0, n_frames - width + 1))
    masked[first : first + width] = bands.mean()
    return masked


def crop(bands: Float32, n_frames: int, rng: np.random.Generator) -> Float32:
    """Cut a random run of ``n_frames`` frames; a shorter clip is returned whole."""
    first = int(rng.integers(0, max(0, len(bands) - n_frames) + 1))
    return bands[first : first + n_frames]
