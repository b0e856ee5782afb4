"""The features that student projects on these corpora begin with, computed with librosa as they do.

They are no part of the device, whose front end is `affectd.features.mfcc`.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import librosa as typed_librosa
import numpy as np

from affectd.arrays import Float32
from affectd_train.augmentation.waveform import shift_pitch, stretch
from affectd_train.compiled import compile_librosa
from affectd_train.data.clips import Clip
from affectd_train.data.recordings import load_audio
from affectd_train.files import write_arrays
from affectd_train.folders import fingerprint
from affectd_train.parallel import in_parallel
from affectd_train.stored import arrays, cached, check

librosa: Any = typed_librosa  # its stubs know neither `effects` nor `util`

SAMPLE_RATE = 16000
SECONDS = 3.0
HOP_LENGTH = 512  # librosa's default
_N_SAMPLES = int(SECONDS * SAMPLE_RATE)
_Job = tuple[Clip, str, int]


def mfcc_mean(samples: Float32) -> Float32:
    """40 MFCCs, mean over the clip: ``(40, 1)``, a one-dimensional input of one channel."""
    return np.asarray(mfcc_frames(samples).mean(axis=0)[:, None])


def mfcc_frames(samples: Float32) -> Float32:
    """40 MFCCs of every frame, ``(94, 40)``, a two-dimensional input."""
    return np.ascontiguousarray(librosa.feature.mfcc(y=samples, sr=SAMPLE_RATE, n_mfcc=40).T, np.float32)


def mfcc_pitch_energy(samples: Float32) -> Float32:
    """40 MFCCs, pitch in semitones above 65 Hz and energy in dB of every frame, ``(94, 42)``.

    Pitch by YIN: A. de Cheveigne and H. Kawahara, "YIN, a fundamental frequency estimator for speech and music", 2002.
    """
    hertz = librosa.yin(samples, fmin=65.0, fmax=500.0, sr=SAMPLE_RATE, hop_length=HOP_LENGTH)
    energy = 20 * np.log10(np.maximum(librosa.feature.rms(y=samples)[0], 1e-6))
    extra = np.stack([12 * np.log2(hertz / 65.0), energy], axis=1)
    return np.concatenate([mfcc_frames(samples), extra], axis=1, dtype=np.float32)


def five_means(samples: Float32) -> Float32:
    """Zero-crossing rate, chroma, MFCC, RMS and mel spectrogram, each its mean over the clip: ``(162, 1)``."""
    spectrum = np.abs(librosa.stft(samples))
    tuning = None if spectrum.any() else 0.0  # else librosa warns that it finds none in silence
    features = (
        librosa.feature.zero_crossing_rate(y=samples),
        librosa.feature.chroma_stft(S=spectrum, sr=SAMPLE_RATE, tuning=tuning),
        librosa.feature.mfcc(y=samples, sr=SAMPLE_RATE),
        librosa.feature.rms(y=samples),
        librosa.feature.melspectrogram(y=samples, sr=SAMPLE_RATE),
    )
    return np.concatenate([feature.mean(axis=1, dtype=np.float32) for feature in features])[:, None]


FEATURES: dict[str, Callable[[Float32], Float32]] = {
    "mfcc_mean": mfcc_mean,
    "mfcc_frames": mfcc_frames,
    "mfcc_pitch_energy": mfcc_pitch_energy,
    "five_means": five_means,
}
"""Name in a seed system's recipe -> from ``(48000,)`` samples to the network's input."""


def noisy(samples: Float32, rng: np.random.Generator) -> Float32:
    """Add white noise of at most 3.5 % of the peak."""
    noise = 0.035 * rng.uniform() * np.abs(samples).max(initial=0.0) * rng.standard_normal(len(samples))
    return np.asarray(samples + noise, np.float32)


def slow_and_higher(samples: Float32, rng: np.random.Generator) -> Float32:
    """Speak at 0.8 of the pace and 0.7 semitones higher."""
    return shift_pitch(stretch(samples, SAMPLE_RATE, 0.8), SAMPLE_RATE, 0.7)


COPIES: tuple[Callable[[Float32, np.random.Generator], Float32], ...] = (noisy, slow_and_higher)
"""The synthetic copies of the pooled corpora."""


def seed_features(clips: Sequence[Clip], name: str, n_copies: int, cache: Path) -> Float32:
    """Compute one of `FEATURES` of clips and of their copies, on all cores, or read it from an earlier call's cache.

    Returns
    -------
    ``(1 + n_copies, len(clips), ...)`` float32; the first row is of the clips as they are.
    """
    files = [f"{clip.speaker}/{clip.path.name} {fingerprint(clip.path)}" for clip in clips]
    digest = hashlib.sha256(json.dumps([name, n_copies, files]).encode()).hexdigest()[:16]

    def read(file: Path) -> Float32:
        (rows,) = arrays(file, "rows")
        check(rows.shape[:2] == (1 + n_copies, len(clips)) and rows.ndim == 4, "rows of another shape")
        return np.asarray(rows, np.float32)

    def make(file: Path) -> None:
        jobs = [(clip, name, n_copies) for clip in clips]
        compile_librosa()
        # librosa takes seconds to import in every process.
        parallel = in_parallel(_features_of, jobs, f"{name} of {len(clips)} clips") if len(clips) >= 100 else None
        write_arrays(file, rows=np.stack(list(parallel or map(_features_of, jobs)), axis=1))

    return cached(cache / f"{name}-{digest}.npz", read, make)


def _features_of(job: _Job) -> Float32:
    clip, name, n_copies = job
    samples, _ = librosa.effects.trim(load_audio(clip, SAMPLE_RATE), top_db=30)
    rng = np.random.default_rng(zlib.crc32(f"{clip.speaker} {clip.path.name}".encode(errors="surrogateescape")))
    variants = [samples, *(copy(samples, rng) for copy in COPIES[:n_copies])]
    return np.stack([FEATURES[name](librosa.util.fix_length(v, size=_N_SAMPLES)) for v in variants])
