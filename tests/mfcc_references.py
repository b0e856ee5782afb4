"""The two libraries that affectd's MFCCs must agree with, how they are called, and what they hear."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import python_speech_features
import soundfile
from python_speech_features import sigproc

from affectd.features.spec import FeatureSpec

EPSILON = float(np.finfo(np.float64).eps)

LIBROSA_SETTINGS: dict[str, dict[str, Any]] = {
    "defaults of librosa": {},
    "affectd's frames": {"n_fft": 1024, "hop_length": 256, "n_mfcc": 40},
    "8 kHz": {"sr": 8000, "n_fft": 512, "hop_length": 128, "n_mels": 40},
    "22.05 kHz": {"sr": 22050},
    "44.1 kHz": {"sr": 44100, "hop_length": 441},
    "48 kHz": {"sr": 48000, "n_mfcc": 13},
    "short window": {"n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 40, "n_mfcc": 13},
    "short odd window": {"n_fft": 512, "win_length": 401, "hop_length": 160, "n_mels": 26},
    "Hamming": {"n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 40, "window": "hamming"},
    "symmetric Hamming": {"n_fft": 1024, "hop_length": 256, "window": "hamming", "symmetric": True},
    "symmetric Hann": {"symmetric": True},
    "rectangular": {"n_fft": 1024, "hop_length": 300, "window": "rectangular"},
    "not centered": {"center": False},
    "not centered, short window": {"center": False, "n_fft": 512, "win_length": 401, "n_mels": 26},
    "odd transform": {"n_fft": 1023, "hop_length": 333},
    "fmin and fmax": {"fmin": 50, "fmax": 7000},
    "telephone band": {"fmin": 300, "fmax": 3400, "n_mels": 40},
    "HTK scale": {"htk": True},
    "HTK scale without norm": {"htk": True, "norm": None},
    "without norm": {"norm": None},
    "as many cepstra as bands": {"n_mels": 64, "n_mfcc": 64},
    "all 128": {"n_mfcc": 128},
    "lifter 22": {"lifter": 22},
    "lifter 22 of HTK": {"lifter": 22, "htk": True, "n_fft": 512, "n_mels": 26, "n_mfcc": 13},
    "hop longer than window": {"n_fft": 512, "win_length": 300, "hop_length": 700, "n_mels": 20},
}

PSF_SETTINGS: dict[str, dict[str, Any]] = {
    "defaults of python_speech_features": {},
    "16-bit integers": {"full_scale": 32768.0},
    "Hamming": {"window": "hamming"},
    "Hann": {"window": "hann"},
    "Hann on 16-bit integers": {"window": "hann", "full_scale": 32768.0},
    "8 kHz": {"samplerate": 8000, "nfft": 256},
    "44.1 kHz": {"samplerate": 44100, "nfft": 2048},
    "48 kHz": {"samplerate": 48000, "nfft": 1536},
    "window fills the transform": {"winlen": 0.032, "winstep": 0.016},
    "window fills the transform, no pre-emphasis": {"winlen": 0.032, "preemph": 0},
    "long transform": {"winlen": 0.02, "nfft": 1024},
    "transform of no power of two": {"nfft": 600},
    "40 filters": {"numcep": 20, "nfilt": 40},
    "80 filters": {"nfilt": 80, "numcep": 40, "nfft": 1024},
    "as many cepstra as filters": {"numcep": 26},
    "lowfreq and highfreq": {"lowfreq": 50, "highfreq": 7000},
    "telephone band": {"lowfreq": 300, "highfreq": 3400, "nfilt": 20},
    "no pre-emphasis": {"preemph": 0},
    "pre-emphasis 0.95": {"preemph": 0.95},
    "no lifter": {"ceplifter": 0},
    "lifter 40": {"ceplifter": 40, "numcep": 26},
    "c0 kept": {"appendEnergy": False},
    "c0 kept, Hamming, integers": {"appendEnergy": False, "window": "hamming", "full_scale": 32768.0},
    "64 ms": {"winlen": 0.064, "winstep": 0.016, "nfft": 1024, "window": "hamming"},
    "odd lengths": {"winlen": 0.0251, "winstep": 0.0097},
}

Reference = Callable[[np.ndarray], np.ndarray]


def like_librosa(
    *,
    sr: int = 16000,
    n_fft: int = 2048,
    hop_length: int = 512,
    win_length: int | None = None,
    window: Any = "hann",
    symmetric: bool = False,
    fmax: float | None = None,
    norm: Any = "slaney",
    n_mfcc: int = 20,
    **same: Any,
) -> tuple[FeatureSpec, Reference]:
    """Return the specification for a call of librosa.feature.mfcc, and that call."""
    length = win_length or n_fft
    taper = librosa.filters.get_window({"rectangular": "boxcar"}.get(window, window), length, fftbins=not symmetric)
    spec = FeatureSpec(
        sample_rate=sr,
        window_length=length,
        hop_length=hop_length,
        n_fft=n_fft,
        window=window,
        periodic=not symmetric,
        fmax=fmax or sr / 2,
        mel_norm=norm,
        n_mfcc=n_mfcc,
        reference="one",
        log_floor=1e-10,
        top_db=80.0,
        **same,
    )
    settings = {"sr": sr, "n_fft": n_fft, "hop_length": hop_length, "win_length": win_length, "fmax": fmax}
    settings |= {"window": taper, "mel_norm": norm, "n_mfcc": n_mfcc}
    return spec, lambda samples: librosa.feature.mfcc(y=samples, **settings, **same).T


def like_psf(
    *,
    samplerate: int = 16000,
    winlen: float = 0.025,
    winstep: float = 0.01,
    numcep: int = 13,
    nfilt: int = 26,
    nfft: int = 512,
    lowfreq: float = 0,
    highfreq: float | None = None,
    preemph: float = 0.97,
    ceplifter: float = 22,
    appendEnergy: bool = True,
    window: Any = "rectangular",
    full_scale: float = 1.0,
) -> tuple[FeatureSpec, Reference]:
    """Return the specification for a call of python_speech_features.mfcc, and that call in float64."""
    spec = FeatureSpec(
        sample_rate=samplerate,
        window_length=sigproc.round_half_up(winlen * samplerate),
        hop_length=sigproc.round_half_up(winstep * samplerate),
        n_fft=nfft,
        window=window,
        periodic=False,
        center=False,
        pad_end=True,
        preemphasis=preemph,
        full_scale=full_scale,
        periodogram=True,
        n_mels=nfilt,
        fmin=lowfreq,
        fmax=highfreq or samplerate / 2,
        htk=True,
        mel_norm=None,
        floor_bins=True,
        log="natural",
        log_floor=EPSILON,
        replace_zeros=True,
        reference="one",
        top_db=None,
        n_mfcc=numcep,
        lifter=ceplifter,
        lifter_start=0,
        energy=appendEnergy,
    )
    taper = {"rectangular": np.ones, "hamming": np.hamming, "hann": np.hanning}[window]
    tail = (samplerate, winlen, winstep, numcep, nfilt, nfft, lowfreq, highfreq, preemph, ceplifter)

    def reference(samples: np.ndarray) -> np.ndarray:
        scaled = samples.astype(np.float64) * full_scale
        return python_speech_features.mfcc(scaled, *tail, appendEnergy, taper)

    return spec, reference


def synthetic() -> dict[str, np.ndarray]:
    """Return noise, silence and full-scale square waves, 1 to 2 s at 16 kHz."""
    random = np.random.default_rng(7)
    time = np.arange(20000)
    signals = {
        "noise": random.uniform(-1, 1, 20000),
        "faint noise": random.standard_normal(20001) * 1e-4,
        "silence": np.zeros(16000),
        "one sample": np.eye(1, 4000, 100)[0],
        "noise between silences": np.pad(random.standard_normal(8000) * 0.1, 6000),
    }
    for frequency in (125, 440, 1000):
        signals[f"square {frequency} Hz"] = np.where(time * frequency % 16000 < 8000, 1.0, -1.0)
    return {name: signal.astype(np.float32) for name, signal in signals.items()}


@cache
def speech(data: Path) -> dict[str, np.ndarray]:
    """Return real speech at 16 kHz: loud and soft RAVDESS, both voices of TESS."""
    paths = {
        "RAVDESS angry": "ravdess/Actor_01/03-01-05-02-01-01-01.flac",
        "RAVDESS calm": "ravdess/Actor_18/03-01-02-01-01-01-18.flac",
        "TESS angry": "tess/OAF_angry/OAF_back_angry.opus",
        "TESS sad": "tess/YAF_sad/YAF_back_sad.opus",
    }
    return {name: soundfile.read(data / path, dtype="float32")[0] for name, path in paths.items()}
