"""The zips in a model file: written with the same bytes each time, read in bounded memory and time.

What a zip says of itself is not believed: a megabyte of it can inflate to a gigabyte, or list a million members. They
are read here and not by `zipfile`, which with what it imports takes 0.9 MB of memory.

References
----------
PKWARE, "APPNOTE.TXT, .ZIP File Format Specification", 6.3.10, 4.3.7, 4.3.12, 4.3.15 and 4.3.16.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from affectd.arrays import Array

_END = struct.Struct("<4s6xH2LH")  # "end of central directory record", before the comment
_ENTRY = struct.Struct("<4s4x2H4x3L3H8xL")  # "central directory header", before the name
_LOCAL = struct.Struct("<4s22x2H")  # "local file header", before the name
_ZIP64_LOCATOR_LENGTH = 20
_MOST_DIRECTORY_BYTES = 65536
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 1


class Member(NamedTuple):
    """What the list of a zip says of a member; lengths in bytes."""

    flags: int
    method: int
    crc: int
    packed_length: int
    length: int
    offset: int


class Archive:
    """The zip at the end of `data`, before a comment of `comment_length` bytes.

    Raises
    ------
    ValueError, struct.error
        There is none, or its list of members is damaged or too long.

    Attributes
    ----------
    members : dict of str to Member
        By name, as listed.
    """

    def __init__(self, data: bytes, comment_length: int = 0) -> None:
        self._data = data
        start = len(data) - comment_length - _END.size
        if start < 0:
            raise ValueError("too short for a zip")
        mark, n_members, directory_length, at, length = _END.unpack_from(data, start)
        before = data[max(0, start - _ZIP64_LOCATOR_LENGTH) : start]
        if mark != b"PK\5\6" or length != comment_length or before.startswith(b"PK\6\7"):
            raise ValueError("no plain zip at the end")
        if directory_length > _MOST_DIRECTORY_BYTES:
            raise ValueError(f"expected a list of members of at most {_MOST_DIRECTORY_BYTES} bytes")
        self.members: dict[str, Member] = {}
        is_list = at + directory_length == start
        while is_list and at < start:
            mark, flags, method, crc, packed_length, length, *lengths, offset = _ENTRY.unpack_from(data, at)
            is_list = mark == b"PK\1\2"
            name = data[at + _ENTRY.size : at + _ENTRY.size + lengths[0]].decode()
            self.members[name] = Member(flags, method, crc, packed_length, length, offset)
            at += _ENTRY.size + sum(lengths)
        if not is_list or at != start or len(self.members) != n_members:
            raise ValueError("the list of members is damaged")

    def read(self, name: str, most_bytes: int) -> bytes:
        """Read a member of at most `most_bytes`.

        Raises
        ------
        ValueError, struct.error, zlib.error
            It is larger, compressed in another way than deflated, or damaged.
        """
        member = self.members[name]
        if member.flags & _ENCRYPTED or member.method not in (_STORED, _DEFLATED):
            raise ValueError("neither stored nor deflated")
        if member.length > most_bytes:
            raise ValueError(f"expected at most {most_bytes} bytes, found {member.length}")
        mark, name_length, extra_length = _LOCAL.unpack_from(self._data, member.offset)
        at = member.offset + _LOCAL.size + name_length + extra_length
        content = self._data[at : at + member.packed_length]
        if member.method == _DEFLATED:
            # No more than one byte too much, whatever it would inflate to.
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, member.length + 1)
        if mark != b"PK\3\4" or len(content) != member.length or zlib.crc32(content) != member.crc:
            raise ValueError("damaged")
        return content


def append_zip(front: bytes, members: Mapping[str, bytes], comment: bytes = b"", *, deflated: bool) -> bytes:
    """Append a zip with offsets that count from the first byte of `front`."""
    import zipfile  # only to write

    buffer = io.BytesIO(front)
    method = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "a" if front else "w") as archive:
        for name, content in members.items():
            # ZipInfo's default date, so that the clock does not change the bytes.
            member = zipfile.ZipInfo(name)
            member.create_system = 3
            member.external_attr = 0o644 << 16
            archive.writestr(member, content, method, 9)
        archive.comment = comment
    return buffer.getvalue()


def npy(array: Array) -> bytes:
    """Return an array as a file of NumPy."""
    buffer = io.BytesIO()
    # C order and little-endian, whatever the array has in memory.
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    np.lib.format.write_array(buffer, little, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def read_npz(data: bytes, most_bytes: int) -> dict[str, Array]:
    """Read the arrays of an ``.npz`` that together take at most `most_bytes`.

    Raises
    ------
    ValueError, struct.error, zlib.error
        They are larger, or not arrays.
    """
    archive = Archive(data)
    if sum(member.length for member in archive.members.values()) > most_bytes:
        raise ValueError(f"expected arrays of at most {most_bytes} bytes together")
    return {name.removesuffix(".npy"): _array(archive.read(name, most_bytes)) for name in archive.members}


def _array(content: bytes) -> Array:
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("expected arrays in version 1.0 of NumPy's format")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    n_left = len(content) - file.tell()
    # Before NumPy reserves memory for the shape that the header claims.
    if not dtype.hasobject and (min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != n_left):
        raise ValueError(f"expected an array in {n_left} bytes, found {dtype} {shape}")
    file.seek(0)
    array: Array = np.lib.format.read_array(file, allow_pickle=False)
    return array
