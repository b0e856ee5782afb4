"""The folders of one device: its state is shared with no other device and no other process."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from affectd.config.directories import runtime_directory, state_directory
from affectd.errors import UnavailableError

_log = logging.getLogger(__name__)

_MOST_BYTES = 1 << 20  # where the first event of an outbox of earlier versions names its device


class Folders(NamedTuple):
    """Where a device keeps its state."""

    state: Path
    """On a disk: whether it is muted, and events that wait for long."""
    runtime: Path | None
    """In memory, None without one: events that wait."""


@contextmanager
def claimed_folders(device: str) -> Iterator[Folders]:
    """Give the folders of a device to this process alone, within the ``with`` block.

    What versions before had put directly into the folders of affectd goes to the first device that starts, except
    events of a device with another id.

    Raises
    ------
    UnavailableError
        Another process has claimed the state of this device.
    """
    runtime = runtime_directory()
    folders = Folders(state_directory(), runtime)
    own = Folders(*(None if base is None else base / "devices" / device for base in folders))  # type: ignore[arg-type]
    lock = _lock(own, device)
    try:
        yield Folders(
            _taken_over(folders.state, own.state, device),
            None if runtime is None or own.runtime is None else _taken_over(runtime, own.runtime, device),
        )
    finally:
        if lock is not None:
            os.close(lock)


def _lock(folders: Folders, device: str) -> int | None:
    """Lock one of the folders; None if neither can be written, which is reported where it is written."""
    for folder in filter(None, folders):
        with suppress(OSError):
            _make(folder)
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                raise UnavailableError(
                    f"Another affectd with the id {device} is running and uses {folder}: stop it, or give this one"
                    " another id ([device] id)."
                ) from None
            except OSError:  # a file system without locks
                os.close(lock)
                continue
            return lock
    return None


def _make(folder: Path) -> None:
    # Each level, because mkdir gives its mode to the last one only.
    for level in (folder.parent.parent, folder.parent, folder):
        level.mkdir(mode=0o700, parents=True, exist_ok=True)


def _taken_over(base: Path, folder: Path, device: str) -> Path:
    """Move what earlier versions left in `base`; return the folder to use, which is `base` if that fails."""
    try:
        old = [path for path in base.iterdir() if path.name == "muted" or path.name.startswith("outbox.")]
        if any(path.name != "muted" and _is_of_another(path, device) for path in old):
            _log.warning("%s has events of a device with another id, which stay there", base)
            old = [path for path in old if path.name == "muted"]
        for path in old:
            if not (folder / path.name).exists():
                _make(folder)
                path.rename(folder / path.name)
    except FileNotFoundError:
        return folder
    except OSError as error:
        # An unreadable folder may say that the device is muted.
        _log.warning("the state in %s cannot be moved to %s: %s", base, folder, error.strerror)
        return base
    return folder


def _is_of_another(path: Path, device: str) -> bool:
    with path.open("rb") as file:
        begin = file.read(_MOST_BYTES)
    return b'"device": "' in begin and b'"device": "%s"' % device.encode() not in begin
