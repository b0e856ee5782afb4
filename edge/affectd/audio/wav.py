"""Read WAV files of any size, also RF64 and BW64, float and extensible formats, which Python's `wave` does not read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from affectd.arrays import Float32
from affectd.audio.containers import Origin, is_wav
from affectd.audio.wav_header import MORE_SOUND, MOST_CHUNKS, WRAP, is_chunk, is_unknown, read_header
from affectd.errors import DataError, NoInputError

_FIRST_BYTES = 4096  # more than tell text from sound
_BLOCK_SAMPLES, _BLOCK_BYTES = 4096, 1 << 18
# No word of less than a quarter of a second: some programs fill the last page of a file.
_UNSAID = 4


class WavReader:
    """A WAV file with a valid header; each iteration over it yields all samples.

    Integer PCM of 1 to 32 bits, float of 32 or 64, A-law and mu-law, any number of channels, 8,000 to 192,000 Hz.
    Where the header does not know the number of samples, they go to the end of the file, and the log says so.
    Blocks are float32, shape (n, n_channels), n at most 4,096. Integers are divided by their full scale; floats
    are clipped to [-1, 1], and the log says so.

    Parameters
    ----------
    path : path-like
        A regular file.
    origin : Origin, optional
        Its name in messages, and where notes go; by default the path, and the log.

    Attributes
    ----------
    path : Path
        The file.
    sample_rate : int
        Hz.
    n_channels : int
        Interleaved channels.
    n_samples : int
        Samples per channel.
    bits : int
        Bits per sample as stored.
    is_float : bool
        Whether they are floats.
    n_unread : int
        Bytes after the samples that the header does not explain, where they could be sound of a quarter of a second.

    Raises
    ------
    NoInputError
        If the file does not exist or cannot be read.
    DataError
        If it is not a WAV file, is damaged or unsupported; while iterating, if a sample is not finite, or floats have
        another full scale than 1.

    Examples
    --------
    >>> wav = WavReader("clip.wav")
    >>> wav.sample_rate, wav.n_channels, wav.bits, wav.n_samples
    (8000, 1, 16, 4000)
    >>> [block.shape for block in wav]
    [(4000, 1)]
    """

    def __init__(self, path: str | os.PathLike[str], origin: Origin | None = None) -> None:
        self.path = Path(path)
        self.origin = origin or Origin(str(self.path), str(self.path))
        self.n_unread = 0
        with _open(self.path) as file:
            self._n_bytes_of_file = os.fstat(file.fileno()).st_size
            try:
                head = file.read(12)
                if not is_wav(head):
                    self._check_magic(head + file.read(_FIRST_BYTES))
                self._header = read_header(file, head, self.origin)
                self._data_offset = self._header.offset
                n_bytes = self._n_bytes(file)
            except OSError as error:
                raise _unreadable(self.path, error) from error
        self._format = self._header.format
        self.sample_rate: int = self._format.sample_rate
        self.n_channels: int = self._format.n_channels
        self.bits: int = self._format.bits
        self.is_float: bool = self._format.is_float
        self.n_samples: int = n_bytes // self._format.block_align
        if not self.n_samples:
            raise DataError(f"{self.path} holds no samples: its data chunk is too short for one.")

    def __iter__(self) -> Iterator[Float32]:
        return self.blocks(0, self.n_samples)

    def blocks(self, first: int, end: int) -> Iterator[Float32]:
        """Yield the samples from number `first` to before number `end`, both at most `n_samples`."""
        decoder = self._format.decoder()
        with _open(self.path) as file:
            try:
                for data in self._pieces(file) if decoder.is_ambiguous else ():
                    decoder.learn(data)
                    if not decoder.is_ambiguous:
                        break
                for data in self._pieces(file, first, end):
                    yield decoder.push(data)
            except OSError as error:
                raise _unreadable(self.path, error) from error

    def _pieces(self, file: BinaryIO, first: int = 0, end: int | None = None) -> Iterator[bytes]:
        end = self.n_samples if end is None else end
        most = max(1, min(_BLOCK_SAMPLES, _BLOCK_BYTES // self._format.block_align))
        file.seek(self._data_offset + first * self._format.block_align)
        for start in range(first, end, most):
            n_bytes = min(most, end - start) * self._format.block_align
            data = file.read(n_bytes)
            if len(data) < n_bytes:
                raise DataError(f"{self.path} became shorter while it was read.")
            yield data

    def _check_magic(self, head: bytes) -> None:
        if not head:
            raise DataError(f"{self.path} is empty.")
        if sentence := self.origin.refusal(head, is_all=True):
            raise DataError(sentence)
        # A file of less than 12 bytes may be the beginning of a WAV file.
        if not is_wav(head + b"RIFF....WAVE"[len(head) :]):
            raise DataError(
                f"{self.path} is not a WAV file: it does not begin with RIFF and WAVE; if it is sound, convert it "
                f"first, raw PCM of 16 bits with -f s16le -ar 16000 before -i: {self.origin.conversion()}"
            )
        if len(head) < 12:
            raise DataError(f"{self.path} is cut off within its first 12 bytes; record or copy it again.")

    def _n_bytes(self, file: BinaryIO) -> int:
        """Return how many bytes of samples the file holds, which the header may not know."""
        present, n_bytes = self._n_bytes_of_file - self._data_offset, self._header.n_bytes
        # A size that many programs end at, and more than chunks behind it.
        is_limit = is_unknown(n_bytes, 0) and 0 < n_bytes < present and self._n_unexplained(file, n_bytes) > 0
        if is_limit or is_unknown(n_bytes, present):
            if n_bytes == 0 and not self._n_unexplained(file, 0):
                return 0
            length = self._time(present)
            self.origin.note(f"does not know its length, as a stream does not: it is read to its end, {length}")
            return present
        n_missing = n_bytes - present
        if self._header.n_cut(present):
            raise DataError(
                f"{self.path} promises {n_bytes} bytes of samples but holds {present} ({self._time(present)}), as "
                f"when a recording or a copy was interrupted; to keep what is there: "
                f"{self.origin.conversion('mended.wav')}"
            )
        if n_missing > 1:
            self.origin.note(f"has {n_missing} bytes of samples fewer than its header says: it is read to its end")
        n_bytes = min(n_bytes, present)
        if not self._header.is_long and present - n_bytes >= WRAP:
            n_bytes += (present - n_bytes) // WRAP * WRAP
            self.origin.note(f"is too long for the size in its header: it is read to its end, {self._time(n_bytes)}")
        block_align = self._header.format.block_align
        # One byte more is that which pads a chunk of odd length.
        if n_missing <= 0 and n_bytes % block_align > 1:
            self.origin.note("ends in the middle of a sample: it is read to the last whole one")
        n_unread = self._n_unexplained(file, n_bytes)
        if n_unread * _UNSAID >= block_align * self._header.format.sample_rate:
            self.n_unread = n_unread
            self.origin.note(
                f"has {n_unread} bytes after its samples that its header does not explain and are not read; if they "
                f"are sound: {self.origin.conversion('mended.wav', '-ignore_length 1 ')}"
            )
        return n_bytes

    def _n_unexplained(self, file: BinaryIO, n_bytes: int) -> int:
        """Return how many bytes after the samples do not belong to chunks."""
        position = self._data_offset + n_bytes + n_bytes % 2
        for _ in range(MOST_CHUNKS):
            file.seek(position)
            head = file.read(8)
            size = int.from_bytes(head[4:], "little")
            if not is_chunk(head) or head.startswith(MORE_SOUND) or size > self._n_bytes_of_file - position - 8:
                break
            position += 8 + size + size % 2
        return max(0, self._n_bytes_of_file - position)

    def _time(self, n_bytes: int) -> str:
        format = self._header.format
        return f"{n_bytes // format.block_align / format.sample_rate:.2f} s"


def _open(path: Path) -> BinaryIO:
    try:
        # Before opening, which blocks for a pipe without a writer.
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise NoInputError(f"{path} is a directory, not a recording; name a file in it.")
        if not stat.S_ISREG(mode):
            raise NoInputError(f"{path} is not a regular file; raw PCM can be given on standard input as -.")
        return path.open("rb")
    except FileNotFoundError as error:
        raise NoInputError(f"{path} does not exist.") from error
    except PermissionError as error:
        raise NoInputError(f"{path} may not be read by this user.") from error
    except ValueError as error:  # a NUL byte in the name
        raise NoInputError(f"{str(path)!r} is not a possible file name.") from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> NoInputError:
    return NoInputError(f"{path} cannot be read: {error.strerror or error}.")
