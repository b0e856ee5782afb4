"""Sources: a WAV file, WAV or raw PCM on standard input, or a microphone.

A source is an iterator of blocks: float32, mono, shape (n,) with n >= 0, in [-1, 1], at the requested sample rate.
"""

from __future__ import annotations

import io
import os
import select
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from affectd.arrays import Block
from affectd.audio.microphone import Losses
from affectd.audio.resampler import resample_blocks
from affectd.audio.stream import attended
from affectd.audio.supervisor import Report, microphone_blocks
from affectd.config.sections import AudioConfig
from affectd.errors import NoInputError

if TYPE_CHECKING:
    from affectd.audio.containers import Origin
    from affectd.audio.piped import Piped, WavStream
    from affectd.audio.wav import WavReader

_RAW_BYTES = 4096
_READER = "affectd run --source -"


def open_source(
    config: AudioConfig,
    sample_rate: int,
    *,
    realtime: bool = False,
    report: Report = lambda state, reason: None,
    patient: bool = False,
    muted: Callable[[], bool] = lambda: False,
    quiet: Callable[[], bool] = lambda: False,
    losses: Losses | None = None,
) -> Iterator[Block]:
    """Open the configured source.

    Parameters
    ----------
    config : AudioConfig
        Its ``source`` is ``mic``, the path of a WAV file, or ``-`` for standard input: WAV, or raw s16le mono PCM at
        `sample_rate`. Besides, which microphone, its time limits, and which channel of any source.
    sample_rate : int
        Output rate, Hz.
    realtime : bool
        Deliver no block before its last sample would have been recorded.
    report : callable
        Called with the state of the microphone and the reason at each change of state.
    patient : bool
        Wait for a microphone that is absent at the start, as for one that is unplugged later.
    muted : callable
        Returns whether to keep the microphone closed, or to take silence for what comes in a pipe; a file is never
        muted.
    quiet : callable
        Returns whether no one speaks, so that a microphone may deliver half a second at once instead of a quarter.
    losses : Losses, optional
        Counts the sound that the microphone lost, and gets what is wrong with the sound of a live source.

    Raises
    ------
    NoInputError, DataError, ConfigError, UnavailableError, AudioError
        At once if the source cannot be opened; while iterating if a file or stream fails later.

    Examples
    --------
    >>> sum(map(len, open_source(AudioConfig(source="clip.wav"), 16000)))  # half a second at 8000 Hz
    8000
    """
    if config.source == "mic":
        return microphone_blocks(sample_rate, config, report, patient=patient, muted=muted, quiet=quiet, losses=losses)
    blocks, _ = recording(config.source, sample_rate, config.channel)
    if is_live(config.source):
        blocks = attended(blocks, sample_rate, config, report, losses=losses, muted=muted)
    return paced(blocks, sample_rate) if realtime else blocks


def is_live(name: str) -> bool:
    """Return whether a source delivers sound as it is made, so that it must not wait for what is done with it."""
    if name == "-" and sys.stdin is not None:
        return not stat.S_ISREG(os.fstat(sys.stdin.fileno()).st_mode)
    return name == "mic"


def first_samples(blocks: Iterator[Block], n_samples: int) -> Iterator[Block]:
    """Yield the first samples of a source, and read no more of it than that."""
    for block in blocks:
        yield block[:n_samples]
        n_samples -= len(block)
        if n_samples <= 0:
            return


def recording(
    path: str, sample_rate: int, channel: int | str, reader: str = _READER
) -> tuple[Iterator[Block], float | None]:
    """Open a WAV file, or standard input by the path ``-``; return its blocks, and its length in seconds if known.

    They are those of `wav_sound` or of `stream_blocks`, with nothing in the pauses of standard input.

    Raises
    ------
    NoInputError
        Standard input is closed.
    """
    if path != "-":
        return wav_sound(path, sample_rate, channel)
    if sys.stdin is None:
        raise NoInputError("Standard input is closed.")
    return stream_blocks(_standard_input(sys.stdin.fileno()), sample_rate, channel, reader), None


def _standard_input(descriptor: int) -> io.BufferedReader:
    try:
        # What does not block looks like an end before each pause; some parents, such as ssh, leave it so.
        os.set_blocking(descriptor, True)
        # Not sys.stdin, which Python could not close at the end while a thread waits for its next byte.
        return io.BufferedReader(_Patient(descriptor, "rb", closefd=False))
    except OSError as error:
        raise NoInputError(f"Standard input cannot be read: {error.strerror or error}.") from error


class _Patient(io.FileIO):
    """A file that waits for what comes, also if another program made it non-blocking: that is not its end."""

    def readinto(self, buffer: Any) -> int:
        while (n := super().readinto(buffer)) is None:
            select.select([self], [], [])
        return n


def wav_blocks(path: str | os.PathLike[str], sample_rate: int, channel: int | str = "mix") -> Iterator[Block]:
    """Open a WAV file of any rate and yield a channel, or the mean of all, at `sample_rate`, float32 (n,).

    Examples
    --------
    >>> np.concatenate([*wav_blocks("clip.wav", 16000)]).shape
    (8000,)
    """
    return wav_sound(path, sample_rate, channel)[0]


def wav_sound(path: str | os.PathLike[str], sample_rate: int, channel: int | str) -> tuple[Iterator[Block], float]:
    """Open a WAV file as `wav_blocks` does, and return also its length in seconds."""
    # Imported here and below: a microphone needs nothing of it, and it costs memory.
    from affectd.audio.wav import WavReader

    wav = WavReader(path)
    return _resampled(wav, sample_rate, channel), wav.n_samples / wav.sample_rate


def stream_blocks(
    stream: io.BufferedIOBase, sample_rate: int, channel: int | str = "mix", reader: str = _READER
) -> Iterator[Block]:
    """Yield the sound of standard input as it arrives: of a WAV file as `wav_blocks` does, else of `raw_blocks`.

    `reader` is the command that messages tell to pipe sound into.

    Raises
    ------
    NoInputError, DataError, ConfigError
        As these do, or if it is something else.
    """
    from affectd.audio.containers import Origin
    from affectd.audio.mixing import check_channel
    from affectd.audio.piped import Piped, WavStream

    piped = Piped(stream, Origin("Standard input", reader=reader))
    if piped.is_wav:
        yield from _resampled(WavStream(piped), sample_rate, channel)
    else:
        check_channel(channel, 1, piped.origin)
        yield from raw_blocks(piped, piped.origin)


def _resampled(wav: WavReader | WavStream, sample_rate: int, channel: int | str) -> Iterator[Block]:
    from affectd.audio.mixing import check_channel, mono

    check_channel(channel, wav.n_channels, wav.origin)
    return resample_blocks(mono(wav, channel, wav.origin), wav.sample_rate, sample_rate)


def raw_blocks(stream: io.BufferedIOBase | Piped, origin: Origin) -> Iterator[Block]:
    """Yield raw s16le mono PCM as it arrives, as float32 (n,); the log says if the last sample is not all there.

    Raises
    ------
    NoInputError
        If the stream ends before its first sample.
    """
    n_bytes = 0
    rest = b""
    # read1 returns what has arrived, without waiting for a full buffer.
    while data := stream.read1(_RAW_BYTES):
        n_bytes += len(data)
        data = rest + data
        n_whole = len(data) // 2 * 2
        rest = data[n_whole:]
        yield np.frombuffer(data[:n_whole], "<i2").astype(np.float32) / np.float32(1 << 15)
    if n_bytes < 2:
        raise NoInputError("Standard input ended before its first sample.")
    if rest:  # as a recorder that is killed leaves it; or all of it was something else
        origin.note(
            f"ends in the middle of a sample, after {n_bytes} bytes: it is read to the last whole one, as raw 16-bit "
            "little-endian mono PCM"
        )


def paced(
    blocks: Iterable[Block],
    sample_rate: int,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Block]:
    """Yield each block no sooner than a sound card would.

    Deadlines count from the start, so nothing drifts; a caller that is late gets its blocks without a pause.
    """
    start = clock()
    n_samples = 0
    for block in blocks:
        n_samples += len(block)
        wait_seconds = start + n_samples / sample_rate - clock()
        if wait_seconds > 0:
            sleep(wait_seconds)
        yield block
