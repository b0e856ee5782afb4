"""Files of other programs and users: read whole only if they are regular and small."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_file(path: str | os.PathLike[str], most_bytes: int) -> bytes:
    """Return the content of a regular file of bounded size; pipes and devices are never waited for.

    Raises
    ------
    OSError
        It cannot be read, is no regular file, or is too large; `strerror` says which.
    """
    try:
        # Before opening too, because opening alone can have an effect, as with a watchdog device.
        _check_regular(os.stat(path))
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except ValueError as error:  # a NUL byte in the name
        raise OSError(errno.EINVAL, "not a possible file name") from error
    with open(descriptor, "rb", buffering=0) as file:
        found = os.fstat(descriptor)
        _check_regular(found)
        # The size is 0 for files that the kernel writes, and a file may grow meanwhile.
        content, step = b"", max(found.st_size + 1, 4096)
        while found.st_size <= most_bytes >= len(content) and (part := file.read(min(step, most_bytes + 1))):
            content = content + part if content else part
    if found.st_size > most_bytes or len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"larger than {most_bytes} bytes")
    return content


def private_folder(path: Path) -> None:
    """Make a folder that only its owner may enter, whatever the umask; its missing parents, too.

    Raises
    ------
    OSError
        It cannot be made.
    """
    for folder in (*reversed(path.parents), path):
        try:
            folder.mkdir(0o700)
            folder.chmod(0o700)  # the umask may have taken more away
        except FileExistsError:
            if not folder.is_dir():
                raise
    found = path.stat()
    # One of an earlier version, or made by hand; but not /tmp if somebody names that.
    if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) & 0o077 and path.name == "affectd":
        path.chmod(0o700)


def _check_regular(found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "a pipe, socket or device, not a regular file")
