"""Mel-frequency cepstral coefficients from NumPy alone, the same for training and for the device.

Three stages, so that a stream computes every frame once:

====================  ======================================  ==================================
stage                 shape, float32                          depends on
====================  ======================================  ==================================
`Mfcc.frames`         (n_samples,) -> (n_frames, window)      the samples under each frame
`Mfcc.bands`          -> (n_frames, n_bands), log mel energy  each row on its own frame alone
`Mfcc.cepstra`        -> (n_frames, n_mfcc)                   all rows of the context (reference)
====================  ======================================  ==================================
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

import numpy as np
import numpy.typing as npt

from affectd.framing import Framer, frame_clip
from affectd.mel import cosines, filter_bank, taper

__all__ = ["FeatureSpec", "Framer", "Mfcc"]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

# How many frames are windowed and transformed at once: the working set stays in a small core's L2 cache.
_BATCH = 32
# How many neighboring filters share one product: most of the bank is zeros, and this leaves most of them out.
_GROUP = 16
_NUMPY_2 = int(np.__version__.split(".")[0]) >= 2


@dataclass(frozen=True, kw_only=True)
class FeatureSpec:
    """Everything that decides what an MFCC is; the defaults are affectd's own front end.

    The fields are wide enough to reproduce ``librosa.feature.mfcc`` (type 2, orthonormal DCT, zero padding)
    and ``python_speech_features.mfcc``.

    Attributes
    ----------
    sample_rate
        Sampling rate of the input, Hz.
    window_length, hop_length
        Length of a frame and distance between two frames, samples.
    n_fft
        Transform length, samples; a shorter frame is padded with zeros.
    window
        Tapering function: ``"hann"``, ``"hamming"`` or ``"rectangular"``.
    periodic
        Whether the window is one period of its cosine (spectral analysis) or symmetric (filter design).
    center
        Whether frame t is centered on sample ``t * hop_length``, with ``n_fft // 2`` zeros at both ends.
    pad_end
        Whether zeros complete the last frame (python_speech_features); needs ``center=False``.
    preemphasis
        Coefficient c of ``y[t] = x[t] - c * x[t-1]`` over the whole signal; 0 leaves it out.
    full_scale
        What a full-scale sample (1.0) was called when the features were defined: 1.0, or 32768.0 for 16 bit.
    periodogram
        Whether the power spectrum is divided by ``n_fft``.
    n_mels
        Number of mel filters.
    fmin, fmax
        Lowest and highest band edge, Hz.
    htk
        Mel scale: ``2595 log10(1 + f / 700)`` if true, else Slaney's (linear below 1 kHz).
    mel_norm
        ``"slaney"`` gives every filter unit area, None gives it unit height.
    floor_bins
        Whether band edges are rounded down to an FFT bin (python_speech_features).
    log
        ``"decibel"`` is ``10 log10``, ``"natural"`` the natural logarithm.
    log_floor
        Smallest band energy, a power in units of ``full_scale ** 2``.
    replace_zeros
        Whether `log_floor` replaces exact zeros only (python_speech_features), not everything below it.
    reference
        Band energy called 0: ``"one"``, or ``"max"``, the largest of the context, so that gain cancels.
    top_db
        Dynamic range kept below the largest band energy of the context, dB; None keeps all.
    n_mfcc
        Number of cepstral coefficients, the zeroth included.
    lifter
        Length L of the sine lifter ``1 + L/2 sin(pi k / L)``; 0 leaves it out.
    lifter_start
        The k of the zeroth coefficient: 1 in librosa, 0 in python_speech_features and HTK.
    energy
        Whether the log of the frame's energy replaces the zeroth coefficient.

    Raises
    ------
    ValueError
        A value is impossible; the message begins with the name of the field.
    """

    sample_rate: int = 16000
    window_length: int = 1024
    hop_length: int = 256
    n_fft: int = 1024
    window: Literal["hann", "hamming", "rectangular"] = "hann"
    periodic: bool = True
    center: bool = True
    pad_end: bool = False
    preemphasis: float = 0.0
    full_scale: float = 1.0
    periodogram: bool = False
    n_mels: int = 128
    fmin: float = 0.0
    fmax: float = 8000.0
    htk: bool = False
    mel_norm: Literal["slaney"] | None = "slaney"
    floor_bins: bool = False
    log: Literal["decibel", "natural"] = "decibel"
    log_floor: float = 1e-14
    replace_zeros: bool = False
    reference: Literal["one", "max"] = "max"
    top_db: float | None = 50.0
    n_mfcc: int = 40
    lifter: float = 0.0
    lifter_start: Literal[0, 1] = 1
    energy: bool = False

    def __post_init__(self) -> None:
        """Refuse impossible values, naming the field."""
        hints = get_type_hints(FeatureSpec)
        for name in (field.name for field in fields(self)):
            object.__setattr__(self, name, _checked(name, getattr(self, name), hints[name]))
        tiny = float(np.finfo(np.float32).tiny)
        rules = (
            ("sample_rate", self.sample_rate >= 1, "must be at least 1 Hz"),
            ("window_length", self.window_length >= 1, "must be at least 1 sample"),
            ("hop_length", self.hop_length >= 1, "must be at least 1 sample"),
            ("n_fft", self.n_fft >= self.window_length, f"must hold window_length = {self.window_length}"),
            ("pad_end", not (self.pad_end and self.center), "needs center = false"),
            ("preemphasis", 0 <= self.preemphasis <= 1, "must lie in 0 to 1"),
            ("full_scale", self.full_scale > 0, "must be positive"),
            ("n_mels", self.n_mels >= 1, "must be at least 1"),
            ("fmin", 0 <= self.fmin < self.fmax, f"must lie in 0 Hz to fmax = {self.fmax:g} Hz"),
            ("fmax", self.fmax <= self.sample_rate / 2, f"must not exceed half of {self.sample_rate} Hz"),
            ("log_floor", tiny <= self.log_floor <= 1, f"must lie in {tiny:.3g} to 1"),
            ("top_db", self.top_db is None or self.top_db > 0, "must be positive or null"),
            ("n_mfcc", 1 <= self.n_mfcc <= self.n_mels, f"must lie in 1 to n_mels = {self.n_mels}"),
            ("lifter", self.lifter >= 0, "must not be negative"),
        )
        for name, good, rule in rules:
            if not good:
                raise ValueError(f"{name} = {getattr(self, name)!r} {rule}")

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as values JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FeatureSpec:
        """Build a specification from `to_dict`'s result.

        Raises
        ------
        ValueError
            A key is unknown or missing, or a value impossible; the message begins with its name.
        """
        known = {field.name for field in fields(cls)}
        for name in sorted(values.keys() - known):
            raise ValueError(f"{name} is not a field of the feature specification")
        for name in sorted(known - values.keys()):
            raise ValueError(f"{name} is missing from the feature specification")
        return cls(**values)

    @property
    def n_bands(self) -> int:
        """Columns of `Mfcc.bands`: the mel bands, then the log energy if it is asked for."""
        return self.n_mels + self.energy

    @property
    def first_sample(self) -> int:
        """Index of the first sample under frame 0's window; negative where padding precedes the signal."""
        if self.pad_end:
            return 0
        return (self.n_fft - self.window_length) // 2 - (self.n_fft // 2 if self.center else 0)

    def count_frames(self, n_samples: int) -> int:
        """Return how many frames a signal of `n_samples` samples has; none for an empty one."""
        if n_samples < 1:
            return 0
        if self.pad_end:
            return 1 + max(0, -((self.window_length - n_samples) // self.hop_length))
        whole = n_samples - self.n_fft + (2 * (self.n_fft // 2) if self.center else 0)
        return 0 if whole < 0 else 1 + whole // self.hop_length


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
        Log of `FeatureSpec.log_floor`: what `bands` gives for silence, and what pads a short context.

    Notes
    -----
    Holds scratch memory, so one instance serves one thread.

    Agrees with librosa 0.11 and python_speech_features 0.6 within 1e-3, except where they do not agree with
    themselves: a lifter of 128 multiplies librosa's own float32 rounding to 3e-3, and a band in which a
    periodic signal leaves exactly nothing holds the rounding noise of whichever FFT was used.
    With ``top_db=None`` the spectrum is taken in float64 (a few percent slower), else in float32; the cosine
    transform always sums in float64. Results are float32.

    References
    ----------
    S. B. Davis and P. Mermelstein, "Comparison of parametric representations for monosyllabic word
    recognition in continuously spoken sentences", IEEE Trans. ASSP 28(4), 1980, eq. 1.
    M. Slaney, "Auditory Toolbox, version 2", Interval Research Corporation, 1998 (mel scale, filter norm).
    S. Young et al., "The HTK Book", version 3.4, 2009, section 5.4 and eq. 5.12 (mel scale, lifter).
    """

    def __init__(self, spec: FeatureSpec) -> None:
        self.spec = spec
        self._unit = 10 / math.log(10) if spec.log == "decibel" else 1.0
        self.floor = math.log(spec.log_floor) * self._unit
        # No dynamic range hides rounding noise in weak bands if all of it is kept: transform in float64 then.
        self._dtype: Any = np.float32 if spec.top_db is not None else np.float64
        # The transform is asked to divide by n_fft, see below; a power of two leaves no trace.
        self._window = (taper(spec) * spec.full_scale * spec.n_fft).astype(self._dtype)
        self._power_scale = 1 / spec.n_fft if spec.periodogram else 1.0
        self._dct = cosines(spec)
        bins = spec.n_fft // 2 + 1
        self._windowed = np.zeros((_BATCH, spec.n_fft), dtype=self._dtype)
        self._spectrum = np.empty((_BATCH, bins), dtype=np.result_type(self._dtype, np.complex64))
        self._power = np.empty((_BATCH, bins), dtype=self._dtype)
        self._energy = np.empty((_BATCH, spec.n_bands), dtype=self._dtype)
        self._products = [
            (self._power[:, bins], weights, self._energy[:, filters])
            for filters, bins, weights in _grouped(filter_bank(spec) * self._power_scale, self._dtype)
        ]

    def __call__(self, samples: Float32) -> Float32:
        """Return the cepstra of a whole clip, shape (n_frames, n_mfcc), float32."""
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
            last column is the log of the frame's energy.

        Notes
        -----
        Rows do not influence one another, but BLAS picks its kernel by shape: to the last bit equal results
        need equal batch shapes too.
        """
        spec = self.spec
        bands = np.empty((len(frames), spec.n_bands), dtype=np.float32)
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

    def _energies(self, frames: Float32) -> npt.NDArray[Any]:
        n = len(frames)
        windowed, spectrum, power = self._windowed[:n], self._spectrum[:n], self._power[:n]
        np.multiply(frames, self._window, out=windowed[:, : self.spec.window_length])
        # NumPy 2 transforms float32 as such only if there is a norm to multiply with; without one it casts everything
        # to float64 and back. NumPy 1 always transforms in float64; storing into our own array casts back.
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
            What `loudest` gives for the whole context; by default these rows are the whole.

        Returns
        -------
        ndarray, shape (n, n_mfcc), float32
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
        # In float32 the sum of 128 bands at -100 dB is already wrong by 1e-3, and a lifter multiplies that. What one
        # row gives would also depend on how many are computed with it.
        cepstra: Float32 = (bands[:, : spec.n_mels].astype(np.float64) @ self._dct).astype(np.float32)
        if spec.energy:
            cepstra[:, 0] = bands[:, -1]
        return cepstra


def _grouped(bank: Float64, dtype: Any) -> list[tuple[slice, slice, npt.NDArray[Any]]]:
    """Split the bank into (filters, bins, weights of shape (bins, filters)) without most of its zeros."""
    groups = []
    for begin in range(0, len(bank), _GROUP):
        filters = slice(begin, min(begin + _GROUP, len(bank)))
        used = np.flatnonzero(bank[filters].any(axis=0))
        bins = slice(used[0], used[-1] + 1) if used.size else slice(0, 0)
        groups.append((filters, bins, np.ascontiguousarray(bank[filters, bins].T, dtype=dtype)))
    return groups


def _checked(name: str, value: Any, hint: Any) -> Any:
    """Return `value` as the type the field declares, or raise ValueError naming the field."""
    kinds = get_args(hint) or (hint,)
    if value is None and type(None) in kinds:
        return None
    if float in kinds:
        if type(value) not in (int, float) or not math.isfinite(value):
            raise ValueError(f"{name} = {value!r} must be a finite number")
        return float(value)
    if hint in (int, bool):
        if type(value) is not hint:
            raise ValueError(f"{name} = {value!r} must be {'a whole number' if hint is int else 'a boolean'}")
        return value
    choices = [choice for kind in kinds for choice in get_args(kind) or (kind,)]
    # 1 == True == 1.0 in Python, but not in the file that asks for one of them.
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise ValueError(f"{name} = {value!r} must be one of {choices}")
    return value
