"""Loading one recording: an audio file as mono float32 at the wanted rate, or a log-mel spectrogram."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile
from tqdm import tqdm

from affectd.arrays import Float32
from affectd.audio.resampler import Resampler
from affectd.audio.wav_format import HIGHEST_RATE
from affectd.errors import DataError, NoInputError
from affectd.folders import Skipped
from affectd_train.folders import say_skipped

if TYPE_CHECKING:
    from affectd_train.data.clips import Clip

LOWEST_RATE = 4000
_BLOCK_SAMPLES = 1 << 20


def find_damage(path: Path) -> str | None:
    """Return why an audio file is of no use, as far as its header tells, or None.

    Only files of floating-point samples are decoded, for only they can hold values that are not finite.
    """
    try:
        with _opened(path) as file:
            if file.frames == 0:
                return "no samples in it"
            if file.subtype in ("FLOAT", "DOUBLE") and not np.isfinite(_decode(path)[0]).all():
                return "holds samples that are not finite"
    except (DataError, NoInputError) as error:
        return str(error).removeprefix(f"{path}: ")
    return None


def read_each(paths: Iterable[Path], sample_rate: int, title: str) -> Iterator[tuple[Path, Float32]]:
    """Read audio files one after the other with a progress bar; those that cannot be read are left out, and said."""
    skipped = []
    paths = list(paths)
    for path in tqdm(paths, title, disable=not paths):
        try:
            yield path, read_audio(path, sample_rate)
        except (DataError, NoInputError) as error:
            skipped.append(Skipped(path, str(error).removeprefix(f"{path}: ")))
    say_skipped(title, skipped)


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


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open an audio file; a pipe without a writer, which would be waited for, is refused."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        raise NoInputError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise DataError(f"{path}: not a regular file")
        # By its number, for the libraries know no names that are not UTF-8.
        with soundfile.SoundFile(number, closefd=False) as file:
            yield file
    except (soundfile.LibsndfileError, RuntimeError, OSError) as error:
        why = getattr(error, "error_string", error)
        raise DataError(f"{path}: cannot be read as audio ({why})") from error
    finally:
        os.close(number)


def _decode(path: Path) -> tuple[Float32, int]:
    """Return all channels of a file, (n_samples, n_channels), and its sample rate in Hz.

    In blocks, for a damaged header may promise more than the memory holds.
    """
    with _opened(path) as file:
        if not LOWEST_RATE <= file.samplerate <= HIGHEST_RATE:
            raise DataError(f"{path}: a sample rate of {file.samplerate} Hz, which is none of speech")
        blocks = [np.zeros((0, file.channels), np.float32)]
        while len(block := file.read(_BLOCK_SAMPLES, dtype="float32", always_2d=True)):
            blocks.append(block)
        promised, rate = file.frames, file.samplerate
    samples: Float32 = np.concatenate(blocks)
    if len(samples) < promised:
        raise DataError(f"{path}: ends after {len(samples)} of {promised} samples")
    return samples, rate
