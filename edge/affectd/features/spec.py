"""The parameters of the front end, which are stored in the model file."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

import numpy as np

# What the arrays of the front end are made from; beyond these they no longer fit a small board.
_MOST_SAMPLES = 16_384
_MOST_BANDS = 512
_MOST = 1e12
_N_CHROMA = 12
# Fields that model files of before do not have: at these values they are not written, so those files stay as they are.
_LATER: dict[str, Any] = {
    "deltas": "none",
    "delta_width": 9,
    "mel": "none",
    "pitch": "none",
    "pitch_fmin": 65.0,
    "pitch_fmax": 500.0,
    "rms": "none",
    "zero_crossings": "none",
    "chroma": "none",
}


@dataclass(frozen=True, kw_only=True)
class FeatureSpec:
    """The parameters of the front end: of an MFCC, and of further columns beside it; the defaults are affectd's.

    They can reproduce ``librosa.feature.mfcc`` (type 2, orthonormal DCT, zero padding) and
    ``python_speech_features.mfcc``. Of the further columns all are off by default.

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
        Factor applied to the samples: 1.0, or 32768.0 for features defined on 16-bit integers.
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
        Band energy at 0 dB: ``"one"``, or ``"max"``, the largest of the context, so that gain cancels.
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
    deltas
        Derivatives of every coefficient, in its unit per frame and per frame squared: ``"first"``, or ``"second"`` for
        the first and the second.
    delta_width
        Frames that one derivative is taken over, an odd number.
    mel
        The mel bands themselves: ``"log"`` in the unit of `log`, ``"power"`` in units of ``full_scale ** 2``; both
        with `reference` and `top_db` as the cepstra have them.
    pitch
        Fundamental frequency by YIN: ``"hertz"``, or ``"semitones"`` above `pitch_fmin`.
    pitch_fmin, pitch_fmax
        Where the pitch is looked for, Hz.
    rms
        Root mean square of the frame: ``"linear"`` (1.0 is full scale), or ``"decibel"`` (at least -120 dBFS). With
        ``reference="max"`` relative to the loudest frame of the context, and cut off at `top_db` below it.
    zero_crossings
        ``"rate"``: changes of sign per sample of the frame, 0 to 1.
    chroma
        Strength of the twelve pitch classes from C on, the strongest being 1: sums of ``"power"`` or ``"magnitude"``.

    Notes
    -----
    The order of the columns is that of `columns`: MFCCs, their first, then their second derivatives, mel bands, pitch,
    RMS, zero crossings, chroma. ``docs/training.md`` says which call of librosa gives which.

    Only pitch, zero crossings and chroma, and what is relative to the context's maximum, are the same at any gain.

    Raises
    ------
    ValueError
        A value is impossible; the message begins with the name of the field.

    Examples
    --------
    >>> spec = FeatureSpec(sample_rate=8000, fmax=4000.0)
    >>> spec.n_bands, spec.count_frames(8000)
    (128, 32)
    >>> FeatureSpec(fmax=9000.0)
    Traceback (most recent call last):
    ValueError: fmax = 9000.0 must not exceed half of 16000 Hz
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
    deltas: Literal["none", "first", "second"] = "none"
    delta_width: int = 9
    mel: Literal["none", "log", "power"] = "none"
    pitch: Literal["none", "hertz", "semitones"] = "none"
    pitch_fmin: float = 65.0
    pitch_fmax: float = 500.0
    rms: Literal["none", "linear", "decibel"] = "none"
    zero_crossings: Literal["none", "rate"] = "none"
    chroma: Literal["none", "power", "magnitude"] = "none"

    def __post_init__(self) -> None:
        """Refuse impossible values, naming the field."""
        hints = get_type_hints(FeatureSpec)
        for name in (field.name for field in fields(self)):
            object.__setattr__(self, name, _checked(name, getattr(self, name), hints[name]))
        tiny = float(np.finfo(np.float32).tiny)
        rules = (
            ("sample_rate", 1 <= self.sample_rate <= 384_000, "must be at least 1 Hz, at most 384000 Hz"),
            ("window_length", self.window_length >= 1, "must be at least 1 sample"),
            ("hop_length", 1 <= self.hop_length <= _MOST_SAMPLES, f"must lie in 1 to {_MOST_SAMPLES} samples"),
            ("n_fft", self.n_fft >= self.window_length, f"must hold window_length = {self.window_length}"),
            ("n_fft", self.n_fft <= _MOST_SAMPLES, f"must be at most {_MOST_SAMPLES} samples"),
            ("pad_end", not (self.pad_end and self.center), "needs center = false"),
            ("preemphasis", 0 <= self.preemphasis <= 1, "must lie in 0 to 1"),
            ("full_scale", 1e-6 <= self.full_scale <= 2.0**31, "must be positive, from 1e-06 to 2147483648"),
            ("n_mels", 1 <= self.n_mels <= _MOST_BANDS, f"must be at least 1, at most {_MOST_BANDS}"),
            ("fmin", 0 <= self.fmin < self.fmax, f"must lie in 0 Hz to fmax = {self.fmax:g} Hz"),
            ("fmax", 2 * self.fmax <= self.sample_rate, f"must not exceed half of {self.sample_rate} Hz"),
            ("log_floor", tiny <= self.log_floor <= 1, f"must lie in {tiny:.3g} to 1"),
            ("fmax", self.fmax - self.fmin >= 1, f"must be 1 Hz or more above fmin = {self.fmin:g} Hz"),
            ("top_db", self.top_db is None or 0 < self.top_db <= 1000, "must be positive, at most 1000, or null"),
            ("n_mfcc", 0 <= self.n_mfcc <= self.n_mels, f"must lie in 1 to n_mels = {self.n_mels}"),
            ("n_mfcc", self.n_columns > 0, f"must lie in 1 to n_mels = {self.n_mels}, or there are no columns"),
            ("energy", not self.energy or self.n_mfcc > 0, "needs n_mfcc of 1 or more"),
            ("lifter", self.lifter == 0 or 1e-3 <= self.lifter <= 10_000, "must be 0, or from 0.001 to 10000"),
            ("deltas", self.deltas == "none" or self.n_mfcc > 0, "needs n_mfcc of 1 or more"),
            ("delta_width", 3 <= self.delta_width <= 99 and self.delta_width % 2, "must be odd, from 3 to 99 frames"),
            *self._pitch_rules(),
        )
        for name, good, rule in rules:
            if not good:
                raise ValueError(f"{name} = {reprlib.repr(getattr(self, name))} {rule}")

    def _pitch_rules(self) -> Iterator[tuple[str, bool, str]]:
        if self.pitch == "none":
            return
        longest = max(1, self.window_length - 1)
        yield "pitch_fmin", 0 < self.pitch_fmin < self.pitch_fmax, f"must lie in 0 Hz to {self.pitch_fmax:g} Hz"
        yield "pitch_fmax", 2 * self.pitch_fmax <= self.sample_rate, f"must not exceed half of {self.sample_rate} Hz"
        # One period of the lowest pitch has to fit into the frame.
        lowest = self.sample_rate / longest
        yield "pitch_fmin", self.pitch_fmin > lowest, f"must be above sample_rate / (window_length - 1) = {lowest:g} Hz"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as values JSON can hold, without those of further columns that are at their default."""
        return {name: value for name, value in asdict(self).items() if name not in _LATER or value != _LATER[name]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FeatureSpec:
        """Build a specification from the result of `to_dict`.

        Raises
        ------
        ValueError
            A key is unknown or missing, or a value impossible; the message begins with its name.
        """
        known = {field.name for field in fields(cls)}
        for name in sorted(values.keys() - known):
            raise ValueError(f"{name[:60]} is not a field of the feature specification")
        for name in sorted(known - values.keys() - _LATER.keys()):
            raise ValueError(f"{name} is missing from the feature specification")
        return cls(**values)

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length

    @property
    def columns(self) -> dict[str, int]:
        """How many columns of each kind there are, in their order; kinds without any are left out."""
        n_deltas = ("none", "first", "second").index(self.deltas)
        counts = {
            "mfcc": self.n_mfcc,
            "delta": self.n_mfcc if n_deltas else 0,
            "delta_delta": self.n_mfcc if n_deltas == 2 else 0,
            "mel": self.n_mels if self.mel != "none" else 0,
            **self.frame_columns,
        }
        return {name: count for name, count in counts.items() if count}

    @property
    def frame_columns(self) -> dict[str, int]:
        """Those of `columns` that are computed from the frame and not from its mel bands."""
        counts = {"pitch": 1, "rms": 1, "zero_crossings": 1, "chroma": _N_CHROMA}
        return {name: count for name, count in counts.items() if getattr(self, name) != "none"}

    @property
    def n_columns(self) -> int:
        """Columns of the network's input: `n_mfcc`, if there are MFCCs alone."""
        return sum(self.columns.values())

    @property
    def n_bands(self) -> int:
        """Columns of `affectd.features.mfcc.Mfcc.bands`: mel bands, log energy if `energy` is set, `frame_columns`."""
        return self.n_mels + self.energy + sum(self.frame_columns.values())

    @property
    def first_sample(self) -> int:
        """Index of the first sample under frame 0's window; negative where padding precedes the signal."""
        if self.pad_end:
            return 0
        return (self.n_fft - self.window_length) // 2 - (self.n_fft // 2 if self.center else 0)

    def center_seconds(self, frame: int) -> float:
        """Return the time of a frame: where the center of its window lies, seconds from the first sample."""
        return (self.first_sample + self.window_length / 2) / self.sample_rate + frame / self.frame_rate

    def count_frames(self, n_samples: int) -> int:
        """Return how many frames a signal of `n_samples` samples has; none for an empty one."""
        if n_samples < 1:
            return 0
        if self.pad_end:
            return 1 + max(0, -((self.window_length - n_samples) // self.hop_length))
        whole = n_samples - self.n_fft + (2 * (self.n_fft // 2) if self.center else 0)
        return 0 if whole < 0 else 1 + whole // self.hop_length


def _checked(name: str, value: Any, hint: Any) -> Any:
    """Return `value` as the type the field declares, or raise ValueError naming the field."""
    kinds = get_args(hint) or (hint,)
    if value is None and type(None) in kinds:
        return None
    if float in kinds:
        if type(value) not in (int, float) or not abs(value) <= _MOST:  # false for NaN, exact for large integers
            raise ValueError(f"{name} = {reprlib.repr(value)} must be a finite number")
        return float(value)
    if hint in (int, bool):
        if type(value) is not hint:
            raise ValueError(
                f"{name} = {reprlib.repr(value)} must be {'a whole number' if hint is int else 'a boolean'}"
            )
        return value
    choices = [choice for kind in kinds for choice in get_args(kind) or (kind,)]
    # Compare types too, because 1 == True == 1.0 in Python.
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise ValueError(f"{name} = {reprlib.repr(value)} must be one of {choices}")
    return value
