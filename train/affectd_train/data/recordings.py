"""Loading one recording: an audio file as mono float32 at the wanted rate, or a log-mel spectrogram."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from affectd.arrays import Float32
from affectd.audio.resampler import Resampler
from affectd.errors import DataError, NoInputError

if TYPE_CHECKING:
    from affectd_train.data.clips import Clip


def find_damage(path: Path) -> str | None:
    """Return why an audio file is of no use, as far as its header tells, or None.

    Only files of floating-point samples are decoded, for only they can hold values that are not finite.
    """
    try:
        info = soundfile.info(path)
        if info.frames == 0:
            return "no samples in it"
        if info.subtype in ("FLOAT", "DOUBLE") and not np.isfinite(_decode(path)[0]).all():
            return "holds samples that are not finite"
    except (soundfile.LibsndfileError, DataError) as error:
        return f"cannot be read as audio ({error})"
    return None


def read_audio(path: Path | str, sample_rate: int) -> Float32:
    """Read an audio file as mono at `sample_rate`, with the resampler the device uses.

    Returns
    -------
    (n_samples,) float32
        The mean of the channels, full scale = 1.

    Raises
    ------
    NoInputError
        If the file is not there.
    DataError
        If it cannot be decoded to its end, is empty or holds values that are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise NoInputError(f"{path}: no such file")
    channels, rate = _decode(path)
    samples: Float32 = channels.mean(axis=1, dtype=np.float32)
    if samples.size == 0:
        raise DataError(f"{path}: no samples in it")
    if not np.isfinite(samples).all():
        raise DataError(f"{path}: holds samples that are not finite")
    if rate == sample_rate:
        return samples
    resampler = Resampler(rate, sample_rate)
    return np.concatenate([resampler.push(samples), resampler.flush()])


def load_audio(clip: Clip, sample_rate: int) -> Float32:
    """Load the audio of a clip; see `read_audio` for what is returned and raised.

    Raises
    ------
    ValueError
        If the clip is a log-mel spectrogram, from which no audio can be had.
    """
    if clip.is_logmel:
        raise ValueError(f"{clip.path} holds spectrograms, not audio; use load_logmel")
    return read_audio(clip.path, sample_rate)


def _decode(path: Path) -> tuple[Float32, int]:
    """Return all channels of a file, (n_samples, n_channels), and its sample rate in Hz."""
    try:
        with soundfile.SoundFile(path) as file:
            promised = file.frames
            samples: Float32 = file.read(dtype="float32", always_2d=True)
            rate: int = file.samplerate
    except (soundfile.LibsndfileError, RuntimeError, OSError) as error:
        raise DataError(f"{path}: cannot be decoded ({error})") from error
    if len(samples) < promised:
        raise DataError(f"{path}: ends after {len(samples)} of {promised} samples")
    return samples, rate
