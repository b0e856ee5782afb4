"""The twelve pitch classes of frames."""

from __future__ import annotations

import numpy as np

from affectd.arrays import Array, Float32, Float64
from affectd.features.spec import FeatureSpec

_N = 12
_A4_HZ = 440.0
_CENTER_OCTAVE = 5.0
_WIDTH_OCTAVES = 2.0
_TINY = np.finfo(np.float32).tiny


class Chroma:
    """Sums the spectrum of every frame over each pitch class, C first; the strongest class is 1.

    Notes
    -----
    Agrees with ``librosa.feature.chroma_stft(..., tuning=0)``. By default librosa estimates the tuning from the whole
    recording, which a stream does not have.

    References
    ----------
    D. Ellis, "Chroma feature analysis and synthesis", 2007: Gaussian bumps on the logarithm of the frequency, weighted
    around octave 5.

    Examples
    --------
    >>> chroma = Chroma(FeatureSpec(chroma="power"))
    >>> power = np.zeros((1, 513), np.float32)
    >>> power[0, 28] = 1.0  # 437.5 Hz, an A
    >>> int(chroma(power, power).argmax())
    9
    """

    def __init__(self, spec: FeatureSpec) -> None:
        self._is_magnitude = spec.chroma == "magnitude"
        self._weights = _weights(spec)

    def __call__(self, _: Float32, power: Array) -> Float64:
        """Return the classes of power spectra ``(n, n_fft // 2 + 1)``, shape (n, 12), float64."""
        spectrum = np.sqrt(power) if self._is_magnitude else power
        classes: Float64 = spectrum.astype(np.float64) @ self._weights
        strongest = classes.max(axis=1, keepdims=True)
        return classes / np.where(strongest < _TINY, 1, strongest)


def _weights(spec: FeatureSpec) -> Float64:
    """Return the weight of every bin in every class, shape (n_fft // 2 + 1, 12)."""
    hertz = np.arange(1, spec.n_fft) * (spec.sample_rate / spec.n_fft)
    # In semitones above A0, which is 16 times lower than A4.
    semitones = _N * np.log2(hertz / (_A4_HZ / 16))
    # 0 Hz has no pitch; it is taken as one and a half octaves below the first bin.
    semitones = np.concatenate([semitones[:1] - 1.5 * _N, semitones])
    widths = np.append(np.maximum(np.diff(semitones), 1), 1)
    distance = np.remainder(semitones[:, np.newaxis] - np.arange(_N) + _N / 2 + 10 * _N, _N) - _N / 2
    weights: Float64 = np.exp(-0.5 * (2 * distance / widths[:, np.newaxis]) ** 2)
    weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
    weights *= np.exp(-0.5 * ((semitones / _N - _CENTER_OCTAVE) / _WIDTH_OCTAVES) ** 2)[:, np.newaxis]
    return np.roll(weights, -3, axis=1)[: spec.n_fft // 2 + 1]
