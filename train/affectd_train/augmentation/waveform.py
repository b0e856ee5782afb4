"""New recordings out of old ones: another voice and tempo, a room around it, noise beside it, another level.

Pitch, tempo and shift are those of audiomentations. Its parameters are drawn here and handed over: left to
itself it draws them from the global generator of `random`, and which clip gets which would depend on the
order of the workers. Noise and rooms are mixed here because it would decode a noise anew for every clip,
measure it before looping it, and change the level with the room.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from audiomentations import PitchShift, Shift, TimeStretch
from scipy.signal import fftconvolve

from affectd.arrays import Float32
from affectd.errors import DataError, NoInputError
from affectd_train.data.recordings import read_audio, read_each
from affectd_train.folders import audio_files, named_contents

# What `Augmenter` draws from, uniformly. A shifted pitch takes the formants with it: that is another voice.
PITCH_SEMITONES = (-4.0, 4.0)
STRETCH_RATE = (0.9, 1.1)
SHIFT_SECONDS = (-0.1, 0.1)
SNR_DB = (0.0, 30.0)
GAIN_DB = (-20.0, 6.0)
# How often a step other than pitch and gain happens at all.
PROBABILITY = 0.5

_RATE = 16000
_PEAK = 32767 / 32768  # the largest sample that 16-bit PCM can hold


def shift_pitch(samples: Float32, sample_rate: int, semitones: float) -> Float32:
    """Raise the pitch by `semitones` (lower it if negative), keeping the duration.

    Low voices (110 Hz) may miss the target by 0.2 semitones, which is as far as the transform resolves.
    """
    return _apply(PitchShift(p=1.0), samples, sample_rate, num_semitones=semitones)


def stretch(samples: Float32, sample_rate: int, rate: float) -> Float32:
    """Speak `rate` times as fast, keeping the pitch; the result has about `len(samples) / rate` samples."""
    return _apply(TimeStretch(leave_length_unchanged=False, p=1.0), samples, sample_rate, rate=rate)


def shift_time(samples: Float32, sample_rate: int, seconds: float) -> Float32:
    """Let everything happen later (earlier if negative), keeping the length; silence fills the gap."""
    n_samples = round(seconds * sample_rate)
    if abs(n_samples) >= len(samples):
        return np.zeros_like(samples)
    transform = Shift(shift_unit="samples", rollover=False, min_shift=n_samples, max_shift=n_samples, p=1.0)
    return _apply(transform, samples, sample_rate, shift_amount=n_samples)


def add_room(samples: Float32, response: Float32) -> Float32:
    """Put the recording into a room, keeping its length and its mean power.

    The strongest sample of the room's impulse response ``(m,)``, of the same rate, counts as the direct sound and
    becomes time 0, so that speech begins when it began.
    """
    direct = int(np.argmax(np.abs(response)))
    wet = np.asarray(fftconvolve(samples, response)[direct : direct + len(samples)], np.float32)
    if (power := _power(wet)) == 0:
        return samples.copy()
    wet *= np.float32(np.sqrt(_power(samples) / power))
    return wet


def add_noise(samples: Float32, noise: Float32, snr_db: float) -> Float32:
    """Add `noise`, of the same length, so that the ratio of the mean powers of the whole clips is `snr_db`.

    Digital silence stays as it is on either side: it cannot be scaled to any ratio.
    """
    if (power := _power(noise)) == 0:
        return samples.copy()
    factor = np.sqrt(_power(samples) / power) * 10 ** (-snr_db / 20)
    noisy: Float32 = (samples + factor * noise).astype(np.float32)
    return noisy


def change_level(samples: Float32, gain_db: float) -> Float32:
    """Amplify by `gain_db`, but never so far that the peak exceeds full scale.

    Examples
    --------
    >>> change_level(np.array([0.5, -0.25], np.float32), 40.0).tolist()  # as far as 16-bit PCM goes
    [0.999969482421875, -0.4999847412109375]
    """
    peak = float(np.abs(samples).max(initial=0.0))
    factor = 10 ** (gain_db / 20)
    if factor * peak > _PEAK:
        factor = _PEAK / peak
    return (samples * factor).astype(np.float32)


class Augmenter:
    """Draw variations of clips: the generator alone decides which, whatever was drawn before and wherever.

    Files are decoded once per process, when first drawn; an augmenter sent to another process carries paths.

    Both folders are read at any depth; None is for no noise or no rooms. Room responses inside the folder of noises are
    not taken for noise. A file that cannot be read is left out, and said.

    Raises
    ------
    NoInputError, DataError
        If a folder is not there; if it holds no audio file.
    """

    def __init__(self, noise_dir: Path | str | None, impulse_response_dir: Path | str | None) -> None:
        responses, noises = _audio_files_of(impulse_response_dir), _audio_files_of(noise_dir)
        of_rooms = {path.resolve() for path in responses}
        self.responses = _usable(responses, "rooms")
        self.noises = _usable([path for path in noises if path.resolve() not in of_rooms], "noise")

    def settings(self) -> dict[str, Any]:
        """Return all that decides about the result except the seed, fit for JSON: a key for caches."""
        return {
            "pitch_semitones": PITCH_SEMITONES,
            "stretch_rate": STRETCH_RATE,
            "shift_seconds": SHIFT_SECONDS,
            "snr_db": SNR_DB,
            "gain_db": GAIN_DB,
            "probability": PROBABILITY,
            "noises": named_contents(self.noises),
            "responses": named_contents(self.responses),
        }

    def voice(self, samples: Float32, sample_rate: int, generator: np.random.Generator) -> Float32:
        """Say it in another voice, at another tempo: ``(n,)`` to ``(m,)``."""
        samples = shift_pitch(samples, sample_rate, generator.uniform(*PITCH_SEMITONES))
        if _happens(generator):
            samples = stretch(samples, sample_rate, generator.uniform(*STRETCH_RATE))
        if _happens(generator):
            samples = shift_time(samples, sample_rate, generator.uniform(*SHIFT_SECONDS))
        return samples

    def surround(self, samples: Float32, sample_rate: int, generator: np.random.Generator) -> Float32:
        """Put a voice into a room, with noise, before a microphone: ``(m,)`` to ``(m,)``, nothing moves in time."""
        if self.responses and _happens(generator):
            samples = add_room(samples, _read(_choose(self.responses, generator), sample_rate))
        if self.noises and _happens(generator):
            noise = _read(_choose(self.noises, generator), sample_rate)
            samples = add_noise(samples, _excerpt(noise, len(samples), generator), generator.uniform(*SNR_DB))
        return change_level(samples, generator.uniform(*GAIN_DB))


def _happens(generator: np.random.Generator) -> bool:
    return bool(generator.random() < PROBABILITY)


def _apply(transform: Any, samples: Float32, sample_rate: int, **parameters: float) -> Float32:
    """Run a transform of audiomentations with these parameters instead of random ones."""
    transform.parameters = {"should_apply": True, **parameters}
    transform.freeze_parameters()
    result: Float32 = np.asarray(transform(samples, sample_rate), np.float32)
    return result


def _power(samples: Float32) -> float:
    # float64, or the sum of a long clip of small squares loses its last digits.
    return float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0


def _excerpt(noise: Float32, n_samples: int, generator: np.random.Generator) -> Float32:
    """Cut `n_samples` out of a noise at a random place; one that is too short goes round."""
    n_starts = len(noise) - n_samples + 1 if len(noise) >= n_samples else len(noise)
    start = int(generator.integers(n_starts))
    return np.take(noise, np.arange(start, start + n_samples), mode="wrap")


def _choose(paths: list[Path], generator: np.random.Generator) -> Path:
    return paths[int(generator.integers(len(paths)))]


@functools.cache
def _read(path: Path, sample_rate: int) -> Float32:
    try:
        samples = read_audio(path, sample_rate)
    except DataError as error:  # else the clip would be taken for damaged
        raise NoInputError(f"{error}, though it could be read before") from error
    samples.flags.writeable = False
    return samples


def _audio_files_of(folder: Path | str | None) -> list[Path]:
    if folder is None:
        return []
    if not Path(folder).is_dir():
        raise NoInputError(f"{folder}: no such folder")
    files = audio_files(Path(folder))
    if not files:
        raise DataError(f"{folder}: no audio file in it")
    return files


def _usable(paths: list[Path], title: str) -> list[Path]:
    """Leave out what cannot be decoded, before it is drawn hours later."""
    return [path.absolute() for path, _ in read_each(paths, _RATE, title)]
