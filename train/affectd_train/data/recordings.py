"""Loading one recording: an audio file as mono float32 at the wanted rate. WAV files are read as the device does."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import soundfile
from tqdm import tqdm

from affectd.arrays import Float32
from affectd.audio.containers import Origin, is_wav
from affectd.audio.mixing import CANCELED, mono
from affectd.audio.resampler import resample_blocks
from affectd.audio.wav import WavReader
from affectd.audio.wav_format import HIGHEST_RATE
from affectd.audio.wav_format import LOWEST_RATE as LOWEST_OF_DEVICE
from affectd.errors import DataError, NoInputError
from affectd.folders import Skipped
from affectd_train.data.whole import check_read, check_whole
from affectd_train.folders import no_audio, say_skipped

if TYPE_CHECKING:
    from affectd_train.data.clips import Clip

LOWEST_RATE = 4000
_LARGEST = 2.0**31
"""The full scale of the longest integers, which some programs write as floats without dividing by it."""
_OF_DEVICE = frozenset(("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW"))
_W64_FORMAT = b"fmt " + bytes.fromhex("f3acd3118cd100c04f8edb8a")
_BLOCK_SAMPLES = 1 << 18
_SAME_SECONDS = 1e-3


class Header(NamedTuple):
    """What an audio file says of itself."""

    seconds: float
    sample_rate: int  # Hz
    is_float: bool  # its samples may then be no numbers


def read_header(path: Path) -> Header:
    """Read how long an audio file is, without decoding it; of an MP3 file that does not say it, it is a guess.

    Raises
    ------
    NoInputError
        If the file is not there.
    DataError
        If it is no audio file, or its rate is none of speech.
    """
    if wav := _as_device(path):
        return Header(wav.n_samples / wav.sample_rate, wav.sample_rate, wav.is_float)
    with _opened(path) as file:
        _check_rate(path, file)
        return Header(file.frames / file.samplerate, file.samplerate, file.subtype in ("FLOAT", "DOUBLE"))


def common_seconds(clips: Sequence[Clip]) -> float | None:
    """Return how long every recording is if all were cut to one length; None if they differ, or are no audio or one."""
    found: float | None = None
    for clip in clips:
        if clip.is_logmel:
            return None
        seconds = read_header(clip.path).seconds
        if found is not None and abs(seconds - found) > _SAME_SECONDS:
            return None
        found = seconds
    return found if len(clips) > 1 else None


def read_blocks(path: Path, start_seconds: float = 0.0, end_seconds: float = math.inf) -> Iterator[Float32]:
    """Decode a part of an audio file in blocks of ``(n_samples, n_channels)``; `read_audio` says what is raised."""
    wav = _as_device(path)
    if wav is None:
        yield from _decoded(path, start_seconds, end_seconds)
        return
    first, end = (round(min(at * wav.sample_rate, wav.n_samples)) for at in (start_seconds, end_seconds))
    yield from wav.blocks(first, end)


def _as_device(path: Path) -> WavReader | None:
    """Open a WAV file as the device does; None if it is none, or one that the device does not read."""
    try:
        wav = WavReader(path, _Quiet(f"{path}:", str(path)))
    except (DataError, NoInputError):
        return None
    if wav.n_unread:
        raise DataError(
            f"{path}: has {wav.n_unread} bytes after its samples that its header does not explain; if they are sound: "
            f"{wav.origin.conversion('mended.wav', '-ignore_length 1 ')}"
        )
    return wav


class _Quiet(Origin):
    """A file, of which nothing is said that is odd and does no harm: there may be thousands."""

    def note(self, sentence: str) -> None:
        """Say nothing."""


class _Listened(Origin):
    """A file that is used as it sounds: what hardly sounds is not."""

    def note(self, sentence: str) -> None:
        """Refuse channels that cancel each other out, which is all that mixing notes."""
        raise DataError(f"{self.name}: {CANCELED}: ffmpeg -i IN -af 'pan=mono|c0=c0' OUT.wav takes the first alone")


def _decoded(path: Path, start_seconds: float = 0.0, end_seconds: float = math.inf) -> Iterator[Float32]:
    """Decode a part of an audio file with libsndfile, in blocks of ``(n_samples, n_channels)``."""
    with _opened(path) as file:
        _check_rate(path, file)
        first = min(file.frames, round(start_seconds * file.samplerate))
        if first:
            file.seek(first)
        promised = file.frames - first
        if is_part := end_seconds < math.inf:
            promised = min(promised, round(end_seconds * file.samplerate) - first)
        read = 0
        # In blocks, for a damaged header may promise more than the memory holds. It may promise less than there is.
        while not is_part or read < promised:
            length = min(promised - read, _BLOCK_SAMPLES) if is_part else _BLOCK_SAMPLES
            if not len(block := file.read(length, dtype="float32", always_2d=True)):
                break
            read += len(block)
            yield block
        if not is_part or read < promised:
            check_read(path, file, first + read)


def find_damage(path: Path) -> str | None:
    """Return why an audio file is of no use, as far as its header tells, or None.

    Only files of floating-point samples are decoded, for only they can hold values that are no sound.
    """
    try:
        header = read_header(path)
        if header.seconds == 0:
            return "no samples in it"
        if header.is_float:  # as they are, and as the device clips them
            return next(filter(None, map(_no_sound, chain(_decoded(path), read_blocks(path)))), None)
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


def read_audio(
    path: Path | str, sample_rate: int, start_seconds: float = 0.0, end_seconds: float = math.inf
) -> Float32:
    """Read an audio file, or a part of it, as mono at `sample_rate`, with the resampler the device uses.

    Returns
    -------
    (n_samples,) float32
        The mean of the channels, full scale = 1.

    Raises
    ------
    NoInputError
        If the file is not there.
    DataError
        If it cannot be decoded to its end, is empty, holds values that are not finite or far beyond full scale, or has
        channels that cancel each other out.
    """
    path = Path(path)
    mixed = mix(path, read_blocks(path, start_seconds, end_seconds))
    return np.concatenate([np.zeros(0, np.float32), *_at_rate(path, sample_rate, mixed)])


def mix(path: Path, blocks: Iterable[Float32]) -> Iterator[Float32]:
    """Yield the mean of the channels of the blocks of a file; see `read_audio` for what is raised."""
    return mono(_sound(path, blocks), "mix", _Listened(str(path)))


def stream_audio(path: Path, sample_rate: int) -> Iterator[Float32]:
    """Yield what `read_audio` returns, in blocks ``(n,)`` of any n, of a file of any length in the same memory.

    Channels that cancel each other out are no error: what is left of them is what the device hears.
    """
    blocks = _sound(path, read_blocks(path))
    return _at_rate(path, sample_rate, mono(blocks, "mix", _Quiet(str(path))))


def _sound(path: Path, blocks: Iterable[Float32]) -> Iterator[Float32]:
    """Yield blocks; raise DataError at the first that is no sound, and if there is no sample in them."""
    n_samples = 0
    for block in blocks:
        if reason := _no_sound(block):
            raise DataError(f"{path}: {reason}")
        n_samples += len(block)
        yield block
    if n_samples == 0:
        raise DataError(f"{path}: no samples in it")


def _at_rate(path: Path, sample_rate: int, mixed: Iterable[Float32]) -> Iterator[Float32]:
    rate = read_header(path).sample_rate
    yield from mixed if rate == sample_rate else resample_blocks(mixed, rate, sample_rate)


def load_audio(clip: Clip, sample_rate: int) -> Float32:
    """Load the audio of a clip; see `read_audio` for what is returned and raised.

    Raises
    ------
    ValueError
        If the clip is a log-mel spectrogram, from which no audio can be had.
    """
    if clip.is_logmel:
        raise ValueError(f"{clip.path} holds spectrograms, not audio; use load_logmel")
    return read_audio(clip.path, sample_rate, clip.start_seconds, clip.end_seconds)


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
            check_whole(path, number)
            _check_format(path, file, os.pread(number, 4096, 0))
            yield file
    except (soundfile.LibsndfileError, RuntimeError, OSError) as error:
        why = no_audio(path) or str(getattr(error, "error_string", error))
        raise DataError(f"{path}: cannot be read as audio ({why})") from error
    finally:
        os.close(number)


def _no_sound(samples: Float32) -> str | None:
    """Return why samples are none, or None; one that is far too large would make a number of none of all training."""
    if not np.isfinite(samples).all():
        return "holds samples that are not finite"
    peak = float(np.abs(samples).max(initial=0))
    return f"holds samples such as {peak:.3g}, beyond any full scale" if peak > _LARGEST else None


def _check_format(path: Path, file: soundfile.SoundFile, head: bytes) -> None:
    """Refuse samples that libsndfile takes for others than they are."""
    origin = _Quiet(f"{path}:", str(path))
    if is_wav(head) and file.frames and file.subtype in _OF_DEVICE and file.samplerate >= LOWEST_OF_DEVICE:
        WavReader(path, origin)  # says what contradicts what in the header, of which libsndfile believes a part
    _, found, rest = head.partition(_W64_FORMAT)
    fmt = rest[8:48]
    if found and file.subtype == "PCM_32" and (fmt[:2], fmt[24:26]) == (b"\xfe\xff", b"\3\0"):
        raise DataError(
            f"{path}: holds floats, which libsndfile takes for integers; convert it first: {origin.conversion()}"
        )


def _check_rate(path: Path, file: soundfile.SoundFile) -> None:
    if not LOWEST_RATE <= file.samplerate <= HIGHEST_RATE:
        raise DataError(f"{path}: a sample rate of {file.samplerate} Hz, which is none of speech")
