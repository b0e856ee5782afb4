"""Sounds to test with: stationary noises, syllables, real recordings, and long streams made of them."""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SAMPLE_RATE = 16000


def noise(kind: str, seconds: float, seed: int = 0) -> np.ndarray:
    """Stationary noise with a peak of 1: white, pink, brown, hum (50 Hz and two overtones), or dc."""
    n = int(seconds * SAMPLE_RATE)
    if kind == "dc":
        return np.ones(n, np.float32)
    if kind == "hum":
        t = np.arange(n) / SAMPLE_RATE
        samples = sum(np.sin(2 * np.pi * 50 * k * t) / k for k in (1, 3, 5))
    else:
        exponent = {"white": 0.0, "pink": 0.5, "brown": 1.0}[kind]
        spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(n))
        hertz = np.fft.rfftfreq(n, 1 / SAMPLE_RATE)
        samples = np.fft.irfft(spectrum / np.maximum(hertz, 20) ** exponent, n)
    return (samples / np.abs(samples).max()).astype(np.float32)


def syllables(seconds: float, rate_hz: float = 4.0) -> np.ndarray:
    """A stand-in for speech: a buzz of 150 Hz with formant-like emphasis that swells and fades, peak 1."""
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    buzz = sum(np.sin(2 * np.pi * 150 * k * t + k) / (1 + abs(k - 6)) for k in range(1, 30))
    samples = buzz * np.sin(np.pi * rate_hz * t) ** 4
    return (samples / np.abs(samples).max()).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * SAMPLE_RATE), np.float32)


def gain(samples: np.ndarray, decibel: float) -> np.ndarray:
    return (samples * 10 ** (decibel / 20)).astype(np.float32)


def as_int16(samples: np.ndarray) -> np.ndarray:
    """What a 16-bit sound card delivers, still float32."""
    return (np.round(samples * 32767).clip(-32768, 32767) / 32768).astype(np.float32)


def raw_sound(samples: np.ndarray) -> bytes:
    """Samples in [-1, 1] of any shape as raw 16-bit PCM."""
    return (samples * 32767).round().astype("<i2").tobytes()


def write_wav(path: Path, samples: np.ndarray, sample_rate: int = SAMPLE_RATE) -> Path:
    """Write samples in [-1, 1], ``(n,)`` or ``(n, n_channels)``, as 16 bits; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1 if samples.ndim == 1 else samples.shape[1], 2, sample_rate, 0, "NONE", ""))
        file.writeframes(raw_sound(samples))
    return path


def recording(path: Path) -> np.ndarray:
    import soundfile

    samples, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
    assert sample_rate == SAMPLE_RATE
    return np.ascontiguousarray(samples.mean(axis=1))


def recordings(speech_data: Path, corpus: str, every: int = 1) -> list[Path]:
    """Every nth recording of a corpus, in a fixed order."""
    patterns = {"ravdess": "ravdess/Actor_*/*.flac", "emodb": "emodb/wav/*.flac", "tess": "tess/*/*.opus"}
    return sorted(speech_data.glob(patterns[corpus]))[::every]


@dataclass
class Stream:
    """Samples, and what they are in order: (speech, silence or noise; first second; last second)."""

    samples: np.ndarray
    spans: list[tuple[str, float, float]]


def long_stream(speech_data: Path, seconds: float = 600.0, seed: int = 0) -> Stream:
    """Recordings at any gain, digital silence and stationary noise at any level, joined in random order."""
    random = np.random.default_rng(seed)
    paths = recordings(speech_data, "ravdess", every=7)
    parts: list[np.ndarray] = []
    spans: list[tuple[str, float, float]] = []
    n = 0
    while n < seconds * SAMPLE_RATE:
        kind = ("speech", "silence", "noise")[int(random.choice(3, p=(0.5, 0.25, 0.25)))]
        length = float(random.uniform(1.0, 8.0))
        if kind == "speech":
            part = recording(paths[int(random.integers(len(paths)))])
            part = gain(part / np.abs(part).max(), random.uniform(-40, 0))
        elif kind == "silence":
            part = silence(length)
        else:
            color = ("white", "pink", "brown", "hum")[int(random.integers(4))]
            part = gain(noise(color, length, seed=n), random.uniform(-60, 0))
        part = part[: int(seconds * SAMPLE_RATE) - n]
        spans.append((kind, n / SAMPLE_RATE, (n + len(part)) / SAMPLE_RATE))
        parts.append(part)
        n += len(part)
    return Stream(as_int16(np.concatenate(parts)), spans)


CONVERSATION = as_int16(
    np.concatenate(
        [
            silence(0.7),
            gain(syllables(2.3), -20),
            gain(noise("pink", 2), -50),
            gain(syllables(0.4), -10),
            silence(1.5),
            gain(syllables(1.9, rate_hz=3.0), -6),
        ]
    )
)
