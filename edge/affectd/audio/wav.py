"""Read WAV files, including float and extensible formats, which Python's `wave` does not read."""

from __future__ import annotations

import os
import shlex
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from affectd.arrays import Float32
from affectd.errors import DataError, NoInputError

LOWEST_RATE, HIGHEST_RATE = 8_000, 192_000
_BLOCK_SAMPLES, _BLOCK_BYTES = 4096, 1 << 18

_PCM, _FLOAT, _EXTENSIBLE = 0x0001, 0x0003, 0xFFFE
# An extensible header has a GUID: two bytes of the old encoding, then these.
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
_ENCODINGS = {
    0x0002: "Microsoft ADPCM",
    0x0006: "A-law",
    0x0007: "mu-law",
    0x0011: "IMA ADPCM",
    0x0031: "GSM 6.10",
    0x0050: "MPEG",
    0x0055: "MP3",
    0x00FF: "AAC",
}
_OTHER_FILES = (
    (0, b"fLaC", "a FLAC file"),
    (0, b"OggS", "an Ogg file"),
    (0, b"ID3", "an MP3 file"),
    (0, b"\xff\xfb", "an MP3 file"),
    (0, b"\xff\xf3", "an MP3 file"),
    (0, b"\xff\xf2", "an MP3 file"),
    (4, b"ftyp", "an MP4 or M4A file"),
    (0, b"FORM", "an AIFF file"),
    (0, b"RF64", "an RF64 file (WAV beyond 4 GB)"),
    (0, b"BW64", "a BW64 file (WAV beyond 4 GB)"),
    (0, b"RIFX", "a RIFX file (big-endian WAV)"),
)


class WavReader:
    """A WAV file with a valid header; each iteration over it yields all samples.

    Integer PCM of 8, 16, 24 or 32 bits and float of 32 or 64, any number of channels, 8,000 to 192,000 Hz.
    Blocks are float32, shape (n, n_channels), n at most 4,096. Integers are divided by their full scale; floats
    are clipped to [-1, 1].

    Attributes
    ----------
    sample_rate, n_channels, n_samples, bits : int
        Hz, interleaved channels, samples per channel, bits per sample as stored.

    Raises
    ------
    NoInputError
        If the file does not exist or cannot be read.
    DataError
        If it is not a WAV file, is damaged or unsupported; while iterating, if a sample is not finite.

    Examples
    --------
    >>> wav = WavReader("clip.wav")
    >>> wav.sample_rate, wav.n_channels, wav.bits, wav.n_samples
    (8000, 1, 16, 4000)
    >>> [block.shape for block in wav]
    [(4000, 1)]
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with _open(self.path) as file:
            self._n_bytes_of_file = os.fstat(file.fileno()).st_size
            self._check_magic(file.read(12))
            try:
                self._find_chunks(file)
            except OSError as error:
                raise _unreadable(self.path, error) from error

    def __iter__(self) -> Iterator[Float32]:
        block_align = self.n_channels * self.bits // 8
        most = max(1, min(_BLOCK_SAMPLES, _BLOCK_BYTES // block_align))
        with _open(self.path) as file:
            try:
                file.seek(self._data_offset)
                for first in range(0, self.n_samples, most):
                    n = min(most, self.n_samples - first)
                    data = file.read(n * block_align)
                    if len(data) < n * block_align:
                        raise DataError(f"{self.path} became shorter while it was read.")
                    yield self._decode(data, first).reshape(n, self.n_channels)
            except OSError as error:
                raise _unreadable(self.path, error) from error

    def _check_magic(self, head: bytes) -> None:
        if not head:
            raise DataError(f"{self.path} is empty.")
        for offset, magic, kind in _OTHER_FILES:
            if head.startswith(magic, offset):
                raise DataError(f"{self.path} is {kind}; convert it first: {self._conversion('out.wav')}.")
        # A file of less than 12 bytes may be the beginning of a WAV file.
        if not b"RIFF".startswith(head[:4]) or not b"WAVE".startswith(head[8:]):
            raise DataError(f"{self.path} is not a WAV file: it does not begin with RIFF and WAVE.")
        if len(head) < 12:
            raise DataError(f"{self.path} is cut off within its first 12 bytes; record or copy it again.")

    def _conversion(self, target: str) -> str:
        return f"ffmpeg -i {shlex.quote(str(self.path))} -c:a pcm_s16le {target}"

    def _find_chunks(self, file: BinaryIO) -> None:
        """Walk over the chunks up to the data; the size in the RIFF header is often wrong and not used."""
        has_format = False
        while True:
            head = file.read(8)
            if len(head) < 8:
                raise DataError(f"{self.path} is cut off before its samples: it has no data chunk.")
            name, size = head[:4], int.from_bytes(head[4:], "little")
            if name == b"data":
                break
            next_chunk = file.tell() + size + size % 2
            if name == b"fmt ":
                self._read_format(file.read(min(size, 40)))
                has_format = True
            file.seek(next_chunk)
        if not has_format:
            raise DataError(f"{self.path} has no fmt chunk before its samples.")
        self._data_offset = file.tell()
        self._check_size(size)

    def _read_format(self, fmt: bytes) -> None:
        if len(fmt) < 16:
            raise DataError(f"{self.path} has a fmt chunk of {len(fmt)} bytes; at least 16 are needed.")
        encoding, n_channels, sample_rate, _, block_align, bits = struct.unpack_from("<HHIIHH", fmt)
        if encoding == _EXTENSIBLE:
            if len(fmt) < 40 or fmt[26:] != _GUID_TAIL:
                raise DataError(f"{self.path} has an extensible header with an unknown encoding.")
            encoding = int.from_bytes(fmt[24:26], "little")
        if encoding not in (_PCM, _FLOAT):
            name = _ENCODINGS.get(encoding, f"encoding 0x{encoding:04X}")
            raise DataError(f"{self.path} holds {name}; convert it first: {self._conversion('out.wav')}.")
        if bits not in ((8, 16, 24, 32) if encoding == _PCM else (32, 64)):
            kind = "PCM" if encoding == _PCM else "float"
            raise DataError(f"{self.path} holds {bits}-bit {kind}; PCM of 8, 16, 24, 32 and float of 32, 64 will do.")
        if n_channels < 1:
            raise DataError(f"{self.path} has no channel.")
        if block_align != n_channels * bits // 8:
            raise DataError(
                f"{self.path} has a damaged header: {n_channels} channels of {bits} bits take "
                f"{n_channels * bits // 8} bytes, not the {block_align} of its block alignment."
            )
        if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
            raise DataError(
                f"{self.path} has a sample rate of {sample_rate} Hz; {LOWEST_RATE} to {HIGHEST_RATE} Hz can be used."
            )
        self.sample_rate: int = sample_rate
        self.n_channels: int = n_channels
        self.bits: int = bits
        self._kind: Literal["integer", "float"] = "integer" if encoding == _PCM else "float"

    def _check_size(self, size: int) -> None:
        present = self._n_bytes_of_file - self._data_offset
        block_align = self.n_channels * self.bits // 8
        if size > present:
            seconds = present // block_align / self.sample_rate
            raise DataError(
                f"{self.path} promises {size} bytes of samples but holds {present} ({seconds:.2f} s), as "
                "when a recording or a copy was interrupted; to keep what is there: "
                f"{self._conversion('mended.wav')}."
            )
        if size == 0:
            sentence = f"{self.path} holds no samples: its data chunk has a length of zero"
            if present:
                sentence += f", though {present} bytes follow; to keep them: {self._conversion('mended.wav')}"
            raise DataError(f"{sentence}.")
        if size % block_align:
            raise DataError(f"{self.path} ends in the middle of a sample: {size} bytes, {block_align} for each.")
        self.n_samples: int = size // block_align

    def _decode(self, data: bytes, first: int) -> Float32:
        if self._kind == "float":
            values = np.frombuffer(data, f"<f{self.bits // 8}")
            finite = np.isfinite(values)
            if not finite.all():
                seconds = (first + int(np.argmin(finite)) // self.n_channels) / self.sample_rate
                raise DataError(f"{self.path} holds a value that is not a finite number at {seconds:.4f} s.")
            clipped: Float32 = np.clip(values, -1, 1).astype(np.float32)
            return clipped
        if self.bits == 8:  # the only unsigned one
            unsigned = np.frombuffer(data, np.uint8).astype(np.float32)
            return unsigned / np.float32(128) - np.float32(1)
        if self.bits == 16:
            return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(1 << 15)
        if self.bits == 24:
            padded = np.zeros((len(data) // 3, 4), np.uint8)
            padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            integers = padded.view("<i4").ravel()
        else:
            integers = np.frombuffer(data, "<i4")
        # float32 holds 24 bits; the rest is dropped so that rounding cannot reach 1.
        return (integers >> 8).astype(np.float32) / np.float32(1 << 23)


def _open(path: Path) -> BinaryIO:
    try:
        # Before opening, which blocks for a pipe without a writer.
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise NoInputError(f"{path} is a directory, not a recording.")
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
