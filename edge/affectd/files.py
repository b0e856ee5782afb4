"""Files of other programs and users: read whole only if they are regular and small; and the digests of content.

SHA-256 comes from the modules that `hashlib` itself falls back to. It would load OpenSSL first: 3.6 MB of memory for a
few digests at the start.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hashlib import sha256
else:
    try:
        from _sha2 import sha256  # Python 3.12 and later
    except ImportError:
        try:
            from _sha256 import sha256
        except ImportError:  # a Python that was built without them
            from hashlib import sha256

__all__ = [
    "check_regular",
    "checksum",
    "open_private",
    "private_folder",
    "read_file",
    "replace_private",
    "sha256",
    "sync",
    "tightened",
]


def read_file(path: str | os.PathLike[str], most_bytes: int) -> bytes:
    """Return the content of a regular file of bounded size; pipes and devices are never waited for.

    Raises
    ------
    OSError
        It cannot be read, is no regular file, or is too large; `strerror` says which.
    """
    try:
        # Before opening too, because opening alone can have an effect, as with a watchdog device.
        check_regular(os.stat(path))
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except ValueError as error:  # a NUL byte in the name
        raise OSError(errno.EINVAL, "not a possible file name") from error
    with open(descriptor, "rb", buffering=0) as file:
        found = os.fstat(descriptor)
        check_regular(found)
        # The size is 0 for files that the kernel writes, and a file may grow meanwhile.
        content, step = b"", max(found.st_size + 1, 4096)
        while found.st_size <= most_bytes >= len(content) and (part := file.read(min(step, most_bytes + 1))):
            content = content + part if content else part
    if found.st_size > most_bytes or len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"larger than {most_bytes} bytes")
    return content


def checksum(body: dict[str, Any]) -> int:
    """Return the CRC-32 of an object of JSON, whatever the order of its keys."""
    return zlib.crc32(json.dumps(body, sort_keys=True).encode())


def check_regular(found: os.stat_result) -> None:
    """Raise OSError for what is no regular file: to open a pipe may last for ever, and no device must be renamed."""
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(found.st_mode):
        what = "link" if stat.S_ISLNK(found.st_mode) else "pipe, socket or device"
        raise OSError(errno.EINVAL, f"a {what}, not a regular file")


def private_folder(path: Path) -> None:
    """Make a folder that only its owner may enter, whatever the umask; its missing parents, too.

    Raises
    ------
    OSError
        It cannot be made.
    """
    for folder in (*reversed(path.parents), path):
        if folder.is_dir():
            continue
        try:
            folder.mkdir(0o700)
            with suppress(OSError):  # a file system without rights
                folder.chmod(0o700)  # the umask may have taken more away
        except FileExistsError as error:  # made meanwhile
            if not folder.is_dir():  # "File exists" would be no reason
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from error


def tightened(path: Path) -> bool:
    """Take the rights of other users from a folder or file; return False if they keep some."""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode) or not found.st_mode & 0o077:
        return True
    try:
        path.chmod(stat.S_IMODE(found.st_mode) & 0o700)
    except OSError:
        return False
    return True


def open_private(path: str | os.PathLike[str], flags: int) -> int:
    """Open a file, or make one that only its owner may read and write, whatever the umask; return its descriptor.

    Raises
    ------
    OSError
        It cannot be opened.
    """
    file = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with suppress(OSError):  # that of another user, or a file system without rights
        os.fchmod(file, 0o600)
    return file


def write_whole(file: int, content: bytes) -> None:
    """Write to the descriptor of a file until all is there: a disk that becomes full takes a part, and then says so.

    Raises
    ------
    OSError
        It cannot be written, or not whole.
    """
    while content:
        n_bytes = os.write(file, content)
        if not n_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        content = content[n_bytes:]


def replace_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all; one process at a time, for it is written beside.

    Raises
    ------
    OSError
        It cannot be written; what was there before is still there, and nothing beside it.
    """
    private_folder(path.parent)
    beside = path.with_name(f".{path.name}")
    try:
        file = open_private(beside, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW)
        try:
            write_whole(file, content)
            os.fsync(file)
        finally:
            os.close(file)
        os.replace(beside, path)
    except OSError:
        with suppress(OSError):  # a disk that is full has no room for half of it
            beside.unlink()
        raise


def sync(folder: Path) -> None:
    """Let the names in a folder reach the disk, as after a file was made, renamed or deleted there.

    Raises
    ------
    OSError
        The file system cannot.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
