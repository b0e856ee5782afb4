"""What happens to a voice on its way to the network: noise, rooms, a wrong gain, a telephone, a lossy codec."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from scipy.signal import butter, resample_poly, sosfilt

from affectd.arrays import Float32
from affectd_train.augmentation.waveform import add_noise, add_room
from affectd_train.data.noise import noise_recordings, room_responses
from affectd_train.data.recordings import read_each
from affectd_train.files import say

Degradation = Callable[[Float32, int], Float32]
"""From samples and a seed, different for every clip, to samples of the same length."""

SNR_DB = (20, 10, 5, 0)
GAIN_DB = (-30, -20, -10, -5, 5, 10)
NOISE_KINDS = ("car", "road", "babble", "rain", "appliance")
_RATE = 16000


@dataclass(frozen=True)
class Condition:
    """One column of the table: a group, such as ``noise car``, a name in it, such as ``10 dB``, and what is done."""

    group: str
    name: str
    apply: Degradation


def conditions(noise_dir: Path, sample_rate: int) -> list[Condition]:
    """List every condition that the recordings under ``noise_dir`` allow; the first is the clean sound."""
    listed = [Condition("clean", "clean", lambda samples, seed: samples)]
    noise, rooms = noise_recordings(noise_dir), room_responses(noise_dir)
    kinds: dict[str, list[Float32]] = {kind: [] for kind in NOISE_KINDS}
    by_kind = {path: path.relative_to(noise_dir).parts[0] for path in noise}
    if others := sorted({kind for kind in by_kind.values() if kind.lower() not in kinds}):
        say(f"noise: {', '.join(others)} left out; what is measured are {', '.join(kinds)}, as of every model")
    for path, samples in read_each([path for path in noise if by_kind[path] not in others], sample_rate, "noise"):
        kinds[by_kind[path].lower()].append(samples)
    kinds["pink (not in training)"] = [pink(60 * sample_rate)]
    for kind, recordings in kinds.items():
        if recordings:
            listed += [Condition(f"noise {kind}", f"{snr} dB", noisy(recordings, snr)) for snr in SNR_DB]
    listed += [Condition("room", path.stem, in_room(heard)) for path, heard in read_each(rooms, sample_rate, "rooms")]
    listed += [Condition("gain", f"{gain:+} dB", amplified(gain)) for gain in GAIN_DB]
    listed.append(Condition("band", "telephone, 300 to 3400 Hz", telephone))
    listed += [Condition("codec", name, code) for name, code in CODECS.items()]
    return listed


def noisy(recordings: list[Float32], snr_db: float) -> Degradation:
    """Add an excerpt of one of the recordings; both, and the place, follow from the seed."""

    def apply(samples: Float32, seed: int) -> Float32:
        rng = np.random.default_rng(seed)
        noise = recordings[int(rng.integers(len(recordings)))]
        excerpt = np.take(noise, int(rng.integers(len(noise))) + np.arange(len(samples)), mode="wrap")
        return quantized(add_noise(samples, excerpt, snr_db))

    return apply


def in_room(response: Float32) -> Degradation:
    """Put the voice into a room."""
    return lambda samples, seed: quantized(add_room(samples, response))


def amplified(gain_db: float) -> Degradation:
    """Change the gain before the converter, which clips at full scale and rounds to 16 bits."""
    return lambda samples, seed: quantized(samples * np.float32(10 ** (gain_db / 20)))


def quantized(samples: Float32) -> Float32:
    """Round to 16 bits and clip, as a sound card does."""
    return (np.round(samples * 32768).clip(-32768, 32767) / 32768).astype(np.float32)


def reaches_full_scale(samples: Float32) -> bool:
    """Say whether a sound card has clipped, as far as 16 bits tell."""
    return bool(samples.max() >= 32767 / 32768 or samples.min() <= -1.0)


def telephone(samples: Float32, seed: int = 0) -> Float32:
    """Pass 300 to 3400 Hz alone, at 8 kHz and back."""
    band = butter(6, [300, 3400], "bandpass", fs=_RATE, output="sos")
    narrow = resample_poly(sosfilt(band, samples), 1, 2)
    return _as_long_as(samples, resample_poly(narrow, 2, 1))


def coded(format_: str, subtype: str, telephone_rate: bool = False, **options: Any) -> Degradation:
    """Encode and decode with libsndfile, at 8 kHz where the codec is one of telephony."""

    def apply(samples: Float32, seed: int = 0) -> Float32:
        rate = 8000 if telephone_rate else _RATE
        sound = resample_poly(samples, 1, 2) if telephone_rate else samples
        file = io.BytesIO()
        soundfile.write(file, np.clip(sound, -1, 32767 / 32768), rate, subtype, format=format_, **options)
        file.seek(0)
        decoded, _ = soundfile.read(file, dtype="float32")
        return _as_long_as(samples, resample_poly(decoded, 2, 1) if telephone_rate else decoded)

    return apply


CODECS: dict[str, Degradation] = {
    "Opus, 7 kbit/s": coded("OGG", "OPUS", compression_level=1.0),
    "Vorbis, 37 kbit/s": coded("OGG", "VORBIS", compression_level=1.0),
    "MP3, 24 kbit/s": coded("MP3", "MPEG_LAYER_III", compression_level=0.9, bitrate_mode="CONSTANT"),
    "MP3, 8 kbit/s": coded("MP3", "MPEG_LAYER_III", compression_level=0.99, bitrate_mode="CONSTANT"),
    "mu-law, 8 kHz": coded("WAV", "ULAW", telephone_rate=True),
    "GSM 06.10, 8 kHz": coded("WAV", "GSM610", telephone_rate=True),
}


def pink(n_samples: int) -> Float32:
    """Noise whose power falls by 3 dB an octave, always the same."""
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(n_samples))
    hertz = np.fft.rfftfreq(n_samples, 1 / _RATE)
    samples = np.fft.irfft(spectrum / np.sqrt(np.maximum(hertz, 20)), n_samples)
    return np.asarray(0.5 * samples / np.abs(samples).max(), np.float32)


def seed_of(path: str, condition: Condition) -> int:
    """Draw the same noise for the same clip, whatever else is tested."""
    return zlib.crc32(f"{path} {condition.group}".encode(errors="surrogateescape"))


def _as_long_as(samples: Float32, changed: Float32) -> Float32:
    """Cut or pad what a filter or codec made longer or shorter."""
    cut = changed[: len(samples)].astype(np.float32)
    return quantized(np.pad(cut, (0, len(samples) - len(cut))))
