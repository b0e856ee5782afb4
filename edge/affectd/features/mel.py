"""The constant matrices of an MFCC: window, mel filters, DCT; and one that warps the bands to another vocal tract."""

from __future__ import annotations

import math

import numpy as np

from affectd.arrays import Array, Float32, Float64
from affectd.features.spec import FeatureSpec


def taper(spec: FeatureSpec) -> Float64:
    """Return the window, shape (window_length,), float64."""
    n = spec.window_length
    if spec.window == "rectangular" or n == 1:
        return np.ones(n)
    mean = 0.5 if spec.window == "hann" else 0.54
    return mean - (1 - mean) * np.cos(2 * np.pi * np.arange(n) / (n if spec.periodic else n - 1))


def cosines(spec: FeatureSpec) -> Float64:
    """Return the orthonormal type 2 DCT times the lifter, shape (n_mels, n_mfcc), float64."""
    n, k = spec.n_mels, np.arange(spec.n_mfcc)
    basis: Float64 = np.cos(np.pi / n * (np.arange(n)[:, None] + 0.5) * k) * math.sqrt(2 / n)
    basis[:, :1] = math.sqrt(1 / n)  # of a basis without columns nothing
    if spec.lifter:
        basis *= 1 + spec.lifter / 2 * np.sin(np.pi * (k + spec.lifter_start) / spec.lifter)
    return basis


def filter_bank(spec: FeatureSpec) -> Float64:
    """Return the triangular mel filters, shape (n_mels, n_fft // 2 + 1), float64."""
    edges = _edges(spec)
    points: Array = edges
    bins: Array = np.arange(spec.n_fft // 2 + 1) * (spec.sample_rate / spec.n_fft)
    if spec.floor_bins:
        points = np.floor((spec.n_fft + 1) * edges / spec.sample_rate)
        bins = np.arange(spec.n_fft // 2 + 1)
    low, center, high = points[:-2, None], points[1:-1, None], points[2:, None]
    # Where two rounded edges coincide the slope is not used; 1 avoids a division by 0.
    rising = (bins - low) / np.where(center > low, center - low, 1)
    falling = (high - bins) / np.where(high > center, high - center, 1)
    if spec.floor_bins:
        bank = np.where((low <= bins) & (bins < center), rising, 0.0)
        bank = np.where((center <= bins) & (bins < high), falling, bank)
    else:
        bank = np.maximum(0, np.minimum(rising, falling))
    if spec.mel_norm == "slaney":
        bank *= 2 / (edges[2:] - edges[:-2])[:, None]
    return bank


def mel_centers(spec: FeatureSpec) -> Float64:
    """Return the center frequency of every mel band, shape (n_mels,), Hz."""
    return _edges(spec)[1:-1]


def warping(n_mels: int, factor: float) -> Float32:
    """Return the matrix, shape (n_mels, n_mels), that moves band ``k`` to ``k / factor``, as another vocal tract does.

    N. Jaitly and G. Hinton, "Vocal Tract Length Perturbation (VTLP) improves speech recognition", 2013, with one linear
    piece on the mel scale.
    """
    position = np.clip(np.arange(n_mels) * factor, 0, n_mels - 1)
    below = np.minimum(position.astype(np.intp), n_mels - 2)
    weights = np.zeros((n_mels, n_mels), np.float32)
    band = np.arange(n_mels)
    weights[below, band] = 1 - (position - below)
    weights[below + 1, band] = position - below
    return weights


def _edges(spec: FeatureSpec) -> Float64:
    return _hertz(np.linspace(_mel(spec.fmin, spec.htk), _mel(spec.fmax, spec.htk), spec.n_mels + 2), spec.htk)


def _mel(hertz: float, htk: bool) -> float:
    if htk:
        return 2595 * float(np.log10(1 + hertz / 700.0))
    return hertz / (200 / 3) if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)


def _hertz(mel: Float64, htk: bool) -> Float64:
    if htk:
        return 700 * (10 ** (mel / 2595.0) - 1)
    return np.where(mel < 15, mel * (200 / 3), 1000 * np.exp((mel - 15) * (math.log(6.4) / 27)))
