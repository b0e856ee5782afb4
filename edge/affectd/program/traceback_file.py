"""The traceback of an unforeseen error in a file, for a report; one file for each program, so that none fills the disk.

It holds neither the values of variables nor the command line: no sound and no password.
"""

from __future__ import annotations

import os
import platform
import stat
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from affectd import __version__
from affectd.config.directories import state_directory
from affectd.files import private_folder

_TEMPORARY = ("/tmp", "/var/tmp")
_MOST_CHARACTERS, _MOST_OF_A_LINE = 50_000, 500


def write_traceback(name: str, error: BaseException) -> Path | None:
    """Write the traceback for the program `name` and return the path, or None if it cannot be written anywhere.

    It goes to the state folder, else to a folder of this user among the temporary files.
    """
    try:
        content = _text(name, error).encode(errors="backslashreplace")
    except MemoryError:
        if error.__traceback__ is not None:
            traceback.clear_frames(error.__traceback__)  # which holds what took the memory
        content = f"{name}: {type(error).__name__}\n".encode()
    for folder in _folders():
        with suppress(OSError):
            return _write(folder() / f"{name}.traceback", content)
    return None


def _text(name: str, error: BaseException) -> str:
    time = datetime.now(UTC).isoformat(timespec="seconds")
    system = f"Python {platform.python_version()}, {platform.machine()}, {platform.release()}"
    lines = "".join(traceback.format_exception(error)).splitlines()
    text = "\n".join(line[:_MOST_OF_A_LINE] for line in lines)
    # The end says what happened.
    return f"{name} {__version__}, {system}, {time}\n{text[-_MOST_CHARACTERS:]}\n"


def _folders() -> Iterator[Callable[[], Path]]:
    yield _state
    for folder in (os.environ.get("TMPDIR", ""), *_TEMPORARY):
        if os.path.isabs(folder):
            yield lambda folder=folder: _temporary(Path(folder))  # type: ignore[misc]


def _state() -> Path:
    folder = state_directory()
    private_folder(folder)
    return folder


def _temporary(base: Path) -> Path:
    """Return a folder that no other user can have made or can look into."""
    folder = base / f"affectd-{os.geteuid()}"
    with suppress(FileExistsError):
        folder.mkdir(0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError
    return folder


def _write(path: Path, content: bytes) -> Path:
    beside = path.with_name(f"{path.name}.new")
    with suppress(FileNotFoundError):
        beside.unlink()
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(file, "wb") as stream:
            os.fchmod(file, 0o600)  # whatever the umask
            stream.write(content)
        os.replace(beside, path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    return path
