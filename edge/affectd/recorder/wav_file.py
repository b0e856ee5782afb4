"""A WAV file that grows beside its name and is given that name when it is complete; nothing is ever overwritten."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from affectd.arrays import Block, Float32
from affectd.errors import UnavailableError, UsageError
from affectd.files import open_private, sync

_HEADER_BYTES = 44
# Of a file that is not complete: readers then take what is there (`affectd.audio.wav_header.is_unknown`).
_UNKNOWN_SIZE = 0xFFFFFFFF
_BLOCK_BYTES = 1 << 16


class WavFile:
    """16-bit mono PCM for its owner alone, at first in ``NAME.part``; what was written survives any end of the program.

    Attributes
    ----------
    path : Path
        The name it will have.
    n_samples : int
        Samples so far.

    Raises
    ------
    UsageError
        ``NAME.part`` is there already.
    UnavailableError
        It cannot be made; and from every method, it cannot be written.
    """

    def __init__(self, path: Path, sample_rate: int) -> None:
        self.path = path
        self.sample_rate = sample_rate
        self._part = part_of(path)
        self._n_bytes = 0
        self._is_named = False
        self._file = _new_file(self._part)
        try:
            with _writing(self.path):
                os.pwrite(self._file, self._header(_UNKNOWN_SIZE), 0)
        except UnavailableError:
            self.__exit__()
            raise

    def __enter__(self) -> WavFile:
        return self

    def __exit__(self, *_: object) -> None:
        """Close it; of what was not completed, ``NAME.part`` stays if there is a sample in it."""
        if not self.n_samples and not self._is_named:
            self._part.unlink(missing_ok=True)
        os.close(self._file)

    def __iter__(self) -> Iterator[Block]:
        """Yield what was written, float32 of shape (n,) in [-1, 1]."""
        for first in range(0, 2 * self.n_samples, _BLOCK_BYTES):
            data = os.pread(self._file, min(_BLOCK_BYTES, 2 * self.n_samples - first), _HEADER_BYTES + first)
            yield np.frombuffer(data, "<i2").astype(np.float32) / np.float32(1 << 15)

    @property
    def n_samples(self) -> int:
        """Whole samples so far."""
        return self._n_bytes // 2

    @property
    def seconds(self) -> float:
        """Their length."""
        return self.n_samples / self.sample_rate

    def write(self, samples: Float32) -> None:
        """Append samples (n,) in [-1, 1]; those beyond are clipped. They are with the system when it returns."""
        steps = np.rint(samples * np.float32(1 << 15)).clip(-(1 << 15), (1 << 15) - 1)
        data = memoryview(steps.astype("<i2").tobytes())
        with _writing(self.path):
            while data:  # a full disk takes a part first
                n_written = os.pwrite(self._file, data, _HEADER_BYTES + self._n_bytes)
                self._n_bytes += n_written
                data = data[n_written:]

    def keep(self, first: int, stop: int) -> None:
        """Drop all samples but those from `first` up to `stop`."""
        with _writing(self.path):
            for offset in range(0, 2 * (stop - first), _BLOCK_BYTES):
                n_bytes = min(_BLOCK_BYTES, 2 * (stop - first) - offset)
                data = os.pread(self._file, n_bytes, _HEADER_BYTES + 2 * first + offset)
                os.pwrite(self._file, data, _HEADER_BYTES + offset)
        self._n_bytes = 2 * (stop - first)

    def complete(self) -> None:
        """Write the length into the header and give the file its name.

        Raises
        ------
        UsageError
            Meanwhile another file got this name.
        """
        with _writing(self.path):
            os.ftruncate(self._file, _HEADER_BYTES + 2 * self.n_samples)
            os.pwrite(self._file, self._header(2 * self.n_samples), 0)
            os.fsync(self._file)
        _name(self._part, self.path)
        self._is_named = True

    def _header(self, n_bytes: int) -> bytes:
        riff = min(n_bytes + _HEADER_BYTES - 8, _UNKNOWN_SIZE)
        form = (16, 1, 1, self.sample_rate, 2 * self.sample_rate, 2, 16)
        return struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", riff, b"WAVE", b"fmt ", *form, b"data", n_bytes)


def write_new(path: Path, content: bytes) -> None:
    """Write a file for its owner alone, whole or not at all, unless there is one of this name.

    Raises
    ------
    UsageError
        There is one, and the content is in ``NAME.part``; or that is there already.
    UnavailableError
        It cannot be written; nothing is left of it.
    """
    part = part_of(path)
    file = _new_file(part)
    try:
        with _writing(path), open(file, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _name(part, path)


def part_of(path: Path) -> Path:
    """Return the name of a file that is not complete."""
    return path.with_name(f"{path.name}.part")


def _new_file(path: Path) -> int:
    try:
        return open_private(path, os.O_RDWR | os.O_EXCL)
    except FileExistsError:
        raise UsageError(
            f"{path} is there: a recording that goes on, or that was cut off; rename or remove it."
        ) from None
    except OSError as error:
        raise UnavailableError(f"{path} cannot be written: {error.strerror or error}.") from error


def _name(part: Path, path: Path) -> None:
    """Rename a file to a name that must be free."""
    with _writing(path):
        try:
            os.link(part, path)  # which never replaces a file, as a renaming does
        except OSError:
            if os.path.lexists(path):
                raise UsageError(f"{path} was made meanwhile; what belongs there is in {part}.") from None
            os.rename(part, path)  # a file system without links, as on most memory sticks
        else:
            part.unlink()
        with suppress(OSError):  # some file systems cannot
            sync(path.parent)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnavailableError(f"{path} cannot be written: {error.strerror or error}.") from error
