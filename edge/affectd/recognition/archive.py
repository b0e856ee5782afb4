"""The zips in a model file: written with the same bytes each time, read in bounded memory and time.

What a zip says of itself is not believed: a megabyte of it can inflate to a gigabyte, or list a million members.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Mapping

import numpy as np

from affectd.arrays import Array

_END = struct.Struct("<4s4H2LH")  # "end of central directory record", before the comment
_ZIP64_LOCATOR_LENGTH = 20
_MOST_DIRECTORY_BYTES = 65536


def append_zip(
    front: bytes, members: Mapping[str, bytes], comment: bytes = b"", compression: int = zipfile.ZIP_STORED
) -> bytes:
    """Append a zip with offsets that count from the first byte of `front`."""
    buffer = io.BytesIO(front)
    with zipfile.ZipFile(buffer, "a" if front else "w") as archive:
        for name, content in members.items():
            # ZipInfo's default date, so that the clock does not change the bytes.
            member = zipfile.ZipInfo(name)
            member.create_system = 3
            member.external_attr = 0o644 << 16
            archive.writestr(member, content, compression, 9)
        archive.comment = comment
    return buffer.getvalue()


def open_zip(data: bytes, comment_length: int = 0) -> zipfile.ZipFile:
    """Open the zip at the end of `data`.

    Raises
    ------
    ValueError, zipfile.BadZipFile
        There is none, or its list of members is too long.

    References
    ----------
    PKWARE, "APPNOTE.TXT, .ZIP File Format Specification", 6.3.10, 4.3.15 and 4.3.16.
    """
    start = len(data) - comment_length - _END.size
    if start < 0:
        raise ValueError("too short for a zip")
    mark, *_, directory_length, _, length = _END.unpack_from(data, start)
    before = data[max(0, start - _ZIP64_LOCATOR_LENGTH) : start]
    # With a zip64 locator, zipfile would take the length of the list from elsewhere.
    if mark != b"PK\5\6" or length != comment_length or before.startswith(b"PK\6\7"):
        raise ValueError("no plain zip at the end")
    if directory_length > _MOST_DIRECTORY_BYTES:
        raise ValueError(f"expected a list of members of at most {_MOST_DIRECTORY_BYTES} bytes")
    return zipfile.ZipFile(io.BytesIO(data))


def read_member(archive: zipfile.ZipFile, name: str, most_bytes: int) -> bytes:
    """Read a member of bounded size.

    Raises
    ------
    ValueError, zipfile.BadZipFile
        It is larger, compressed in another way than deflated, or damaged.
    """
    member = archive.getinfo(name)
    # The other methods inflate without a bound.
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("neither stored nor deflated")
    if member.file_size > most_bytes:
        raise ValueError(f"expected at most {most_bytes} bytes, found {member.file_size}")
    with archive.open(member) as file:
        return file.read(most_bytes + 1)  # not read(), which inflates everything before it cuts


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
    ValueError, zipfile.BadZipFile
        They are larger, or not arrays.
    """
    with open_zip(data) as archive:
        if sum(member.file_size for member in archive.infolist()) > most_bytes:
            raise ValueError(f"expected arrays of at most {most_bytes} bytes together")
        members = {name: read_member(archive, name, most_bytes) for name in archive.namelist()}
    return {name.removesuffix(".npy"): _array(content) for name, content in members.items()}


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
