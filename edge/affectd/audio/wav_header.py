"""The chunks of a WAV file or stream before its samples, and what their sizes are worth.

Source: IBM and Microsoft, Multimedia programming interface and data specifications 1.0, 1991; ITU-R BS.2088-1, 2019.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol

from affectd.audio.containers import WAV_MAGICS, Origin
from affectd.audio.wav_format import SampleFormat
from affectd.errors import DataError

WRAP = 1 << 32
"""Sizes have 32 bits; a program that does not mind writes what is left of a larger one."""

MOST_CHUNKS = 1000
"""More of them, as a part of the disk that is all zeros has, would take minutes."""
_SKIP_BYTES = 1 << 16
# What programs write before they know a size: sox and arecord up to 2 GiB, most others somewhat less than 4 GiB.
_UNKNOWN = (range(0x7FFFF000, 0x80000001), range(0xFFFFF000, WRAP), range(1 << 63, 1 << 64))

MORE_SOUND = (*WAV_MAGICS, b"data")
"""What begins with this after the samples is another file, or another chunk of samples."""


class Bytes(Protocol):
    """A file or a stream."""

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, less at the end."""
        ...


class Header(NamedTuple):
    """What stands before the samples."""

    format: SampleFormat
    n_bytes: int
    """How many bytes of samples there are, if the header is right."""
    is_long: bool
    """Whether that number has 64 bits."""
    offset: int
    """How many bytes there are before the samples."""

    def is_to_the_end(self, n_missing: int) -> bool:
        """Return whether samples of which `n_missing` bytes are missing are all there, but counted wrongly.

        Some programs count the byte that pads the chunk or the header, too; and no more than a last sample is no loss.
        """
        return n_missing <= max(1, self.format.block_align) or n_missing in (8, self.offset - 8, self.offset)

    def n_cut(self, present: int) -> int:
        """Return how many bytes of samples were cut off, if `present` are there; 0 if they are only counted wrongly."""
        n_missing = self.n_bytes - present
        is_whole = n_missing <= 0 or is_unknown(self.n_bytes, present) or self.is_to_the_end(n_missing)
        return 0 if is_whole else n_missing


def read_header(file: Bytes, head: bytes, origin: Origin) -> Header:
    """Read the chunks up to the samples, after the first 12 bytes, whose size is often wrong and not used.

    Raises
    ------
    DataError
        The header is damaged, or the format of the samples unsupported.
    """
    format, fmt, long_size, offset = None, b"", None, len(head)
    for _ in range(MOST_CHUNKS):
        chunk = file.read(8)
        if len(chunk) < 8:
            raise DataError(f"{origin.name} is cut off before its samples: it has no data chunk.")
        name, size = chunk[:4], int.from_bytes(chunk[4:], "little")
        offset += 8
        if name == b"data":
            break
        content = file.read(min(size, 40)) if name in (b"fmt ", b"ds64") else b""
        if name == b"fmt ":
            if fmt not in (b"", content):
                raise DataError(f"{origin.name} has two fmt chunks, so that the format of its samples is not known.")
            format, fmt = SampleFormat(content, origin), content
        elif name == b"ds64" and not head.startswith(b"RIFF"):
            long_size = int.from_bytes(content[8:16], "little")
        skip(file, size + size % 2 - len(content))
        offset += size + size % 2
    else:
        raise DataError(f"{origin.name} is damaged: there are more than {MOST_CHUNKS} chunks before its samples.")
    if format is None:
        raise DataError(f"{origin.name} has no fmt chunk before its samples; convert it first: {origin.conversion()}")
    if size == WRAP - 1 and long_size is not None:
        return Header(format, long_size, is_long=True, offset=offset)
    return Header(format, size, is_long=False, offset=offset)


def is_unknown(n_bytes: int, present: int) -> bool:
    """Return whether this stands for a size that was not known yet; `present` bytes follow."""
    return n_bytes in (0, WRAP - 1) or (n_bytes > present and any(n_bytes in sizes for sizes in _UNKNOWN))


def is_chunk(head: bytes) -> bool:
    """Return whether 8 bytes can be the head of a chunk."""
    # No other names than in use, because samples of loud sound are not to be taken for one.
    return len(head) == 8 and re.match(rb"[A-Za-z_][A-Za-z0-9_ ]{3}", head) is not None


def skip(file: Bytes, n_bytes: int) -> None:
    """Skip bytes, or as many as there are."""
    while n_bytes > 0 and (data := file.read(min(n_bytes, _SKIP_BYTES))):
        n_bytes -= len(data)
