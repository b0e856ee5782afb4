"""Mel-frequency cepstral coefficients with NumPy alone, for training and the device.

With further columns in the specification, `Mfcc` is a `affectd.features.columns.Columns`.

Three stages, so that a stream computes every frame once:

====================  ======================================  ==================================
stage                 shape, float32                          depends on
====================  ======================================  ==================================
`Mfcc.frames`         (n_samples,) -> (n_frames, window)      the samples under each frame
`Mfcc.bands`          -> (n_frames, n_bands), log mel energy  each row on its own frame alone
`Mfcc.cepstra`        -> (n_frames, n_columns)                all rows of the context (reference)
====================  ======================================  ==================================
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from affectd.arrays import Array, Float32, Float64
from affectd.features.framing import frame_clip
from affectd.features.mel import cosines, filter_bank, taper
from affectd.features.spec import FeatureSpec

# Frames transformed at once, so that the working set stays in the L2 cache of a small core.
_BATCH = 32
# Neighboring filters in one matrix product, which leaves out most zeros of the bank.
_GROUP = 16
_NUMPY_2 = int(np.__version__.split(".")[0]) >= 2


class Mfcc:
    """Computes the cepstra that a `FeatureSpec` describes.

    Parameters
    ----------
    spec
        What to compute.

    Attributes
    ----------
    spec : FeatureSpec
    floor : float
        Log of `FeatureSpec.log_floor`: the value of `bands` in silence.
    fill : float or ndarray, shape (n_bands,), float32
        The row of `bands` that pads a short context: `floor`, and of further columns what silence gives.
    is_whole : bool
        Whether `cepstra` needs all rows of a context, not only those that are wanted and the loudest band.

    Notes
    -----
    Holds scratch memory, so one instance serves one thread.

    Agrees with librosa 0.11 and python_speech_features 0.6 within 1e-3, with two exceptions: a lifter of 128
    multiplies librosa's float32 rounding to 3e-3, and bands in which a periodic signal has no energy hold the
    rounding noise of the FFT. With ``top_db=None`` the spectrum is taken in float64 (a few percent slower), else in
    float32; the cosine transform sums in float64. Results are float32.

    References
    ----------
    S. B. Davis and P. Mermelstein, "Comparison of parametric representations for monosyllabic word
    recognition in continuously spoken sentences", IEEE Trans. ASSP 28(4), 1980, eq. 1.
    M. Slaney, "Auditory Toolbox, version 2", Interval Research Corporation, 1998 (mel scale, filter norm).
    S. Young et al., "The HTK Book", version 3.4, 2009, section 5.4 and eq. 5.12 (mel scale, lifter).

    Examples
    --------
    >>> mfcc = Mfcc(FeatureSpec(n_mfcc=13))
    >>> tone = np.sin(2 * np.pi * 440 / 16000 * np.arange(16000)).astype(np.float32)
    >>> mfcc.bands(mfcc.frames(tone)).shape, mfcc(tone).shape
    ((63, 128), (63, 13))
    """

    is_whole = False

    def __new__(cls, spec: FeatureSpec) -> Mfcc:
        """Make what the specification asks for: those who compute its features need not know which columns it has."""
        if cls is Mfcc and spec.n_columns != spec.n_mfcc:
            # Only here: MFCCs alone must not cost memory for the others.
            from affectd.features.columns import Columns

            return object.__new__(Columns)
        return object.__new__(cls)

    def __init__(self, spec: FeatureSpec) -> None:
        self.spec = spec
        self._unit = 10 / math.log(10) if spec.log == "decibel" else 1.0
        self.floor = math.log(spec.log_floor) * self._unit
        self.fill: float | Float32 = self.floor
        # With the full dynamic range, rounding noise of float32 would show in weak bands.
        self._dtype: Any = np.float32 if spec.top_db is not None else np.float64
        # Times n_fft, because the transform divides by it (see below); exact for a power of two.
        self._window = (taper(spec) * spec.full_scale * spec.n_fft).astype(self._dtype)
        self._power_scale = 1 / spec.n_fft if spec.periodogram else 1.0
        self._dct = cosines(spec)
        bins = spec.n_fft // 2 + 1
        self._windowed = np.zeros((_BATCH, spec.n_fft), dtype=self._dtype)
        self._spectrum = np.empty((_BATCH, bins), dtype=np.result_type(self._dtype, np.complex64))
        self._power = np.empty((_BATCH, bins), dtype=self._dtype)
        self._n_logs = spec.n_mels + spec.energy
        self._energy = np.empty((_BATCH, self._n_logs), dtype=self._dtype)
        self._products = [
            (self._power[:, bins], weights, self._energy[:, filters])
            for filters, bins, weights in _grouped(filter_bank(spec) * self._power_scale, self._dtype)
        ]

    def __call__(self, samples: Float32) -> Float32:
        """Return the cepstra of a whole clip, shape (n_frames, n_columns), float32."""
        return self.cepstra(self.bands(self.frames(samples)))

    def frames(self, samples: Float32) -> Float32:
        """Cut a whole clip into frames.

        Parameters
        ----------
        samples
            Shape (n,), floating point, full scale at 1.0.

        Returns
        -------
        ndarray, shape (n_frames, window_length), float32
            A read-only view; neighboring frames share memory.
        """
        return frame_clip(samples, self.spec)

    def bands(self, frames: Float32) -> Float32:
        """Compute the log mel energies of frames, each row from its own frame alone.

        Parameters
        ----------
        frames
            Shape (n, window_length), as `frames` or `Framer` cut them.

        Returns
        -------
        ndarray, shape (n, n_bands), float32
            In `FeatureSpec.log` units relative to 1, floored at `floor`; with `FeatureSpec.energy` the
            next column is the log of the frame's energy. Then `FeatureSpec.frame_columns`.

        Notes
        -----
        BLAS picks its kernel by shape, so the last bit of a row depends on the number of rows.
        """
        spec = self.spec
        bands = np.empty((len(frames), self._n_logs), dtype=np.float32)
        for begin in range(0, len(frames), _BATCH):
            batch = frames[begin : begin + _BATCH]
            energy = self._energies(batch)
            if spec.replace_zeros:
                energy[energy == 0] = spec.log_floor
            else:
                np.maximum(energy, spec.log_floor, out=energy)
            np.log(energy, out=energy)
            np.multiply(energy, self._unit, out=bands[begin : begin + len(batch)], casting="same_kind")
        return bands

    def _energies(self, frames: Float32) -> Array:
        n = len(frames)
        windowed, spectrum, power = self._windowed[:n], self._spectrum[:n], self._power[:n]
        np.multiply(frames, self._window, out=windowed[:, : self.spec.window_length])
        # NumPy 2 transforms float32 in float32 only with a norm, else in float64; NumPy 1 always does in float64.
        if _NUMPY_2:
            np.fft.rfft(windowed, norm="forward", out=spectrum)
        else:
            spectrum[:] = np.fft.rfft(windowed, norm="forward")
        squares = spectrum.view(self._dtype)
        np.square(squares, out=squares)
        np.add(squares[:, ::2], squares[:, 1::2], out=power)
        energy = self._energy[:n]
        for some_power, weights, some_energy in self._products:
            np.matmul(some_power[:n], weights, out=some_energy[:n])
        if self.spec.energy:
            energy[:, -1] = power.sum(axis=1) * self._power_scale
        return energy

    def loudest(self, bands: Float32) -> np.float32:
        """Return the largest log mel energy of a context of shape (n, n_bands), n at least 1."""
        largest: np.float32 = bands[:, : self.spec.n_mels].max()
        return largest

    def cepstra(self, bands: Float32, loudest: np.float32 | None = None) -> Float32:
        """Compute the cepstra of one context, or of some of its rows, from its log mel energies.

        Parameters
        ----------
        bands
            Shape (n, n_bands), from `bands`; rows filled with `floor` count as silence.
        loudest
            The result of `loudest` for the whole context; by default that of these rows.

        Returns
        -------
        ndarray, shape (n, n_columns), float32
        """
        spec = self.spec
        if not len(bands):
            return np.empty((0, spec.n_mfcc), dtype=np.float32)
        if loudest is None:
            loudest = self.loudest(bands)
        if spec.top_db is not None:
            bands = np.maximum(bands, loudest - np.float32(spec.top_db / 10 * math.log(10) * self._unit))
        if spec.reference == "max":
            bands = bands - loudest
        # In float32 the sum of 128 bands at -100 dB has an error of 1e-3, and a row would depend on the number of rows.
        cepstra: Float32 = (bands[:, : spec.n_mels].astype(np.float64) @ self._dct).astype(np.float32)
        if spec.energy:
            cepstra[:, 0] = bands[:, -1]
        return cepstra


def _grouped(bank: Float64, dtype: Any) -> list[tuple[slice, slice, Array]]:
    """Split the bank into (filters, bins, weights of shape (bins, filters)) without most of its zeros."""
    groups = []
    for begin in range(0, len(bank), _GROUP):
        filters = slice(begin, min(begin + _GROUP, len(bank)))
        used = np.flatnonzero(bank[filters].any(axis=0))
        bins = slice(used[0], used[-1] + 1) if used.size else slice(0, 0)
        groups.append((filters, bins, np.ascontiguousarray(bank[filters, bins].T, dtype=dtype)))
    return groups
