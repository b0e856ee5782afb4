"""The folders of one device: its state is shared with no other device and no other process."""

from __future__ import annotations

import fcntl
import logging
import os
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from affectd.config.directories import is_of_state, runtime_directory, state_directory
from affectd.config.machine import is_made_up
from affectd.errors import UnavailableError
from affectd.files import check_regular, open_private, private_folder, sha256, tightened

_log = logging.getLogger(__name__)

_MOST_NAME = 255
_MOST_BYTES = 1 << 20  # where the first event of an outbox of earlier versions names its device


class Folders(NamedTuple):
    """Where a device keeps its state."""

    state: Path
    """On a disk: whether it is muted, and events that wait for long."""
    runtime: Path | None
    """In memory, None without one: events that wait."""


def state_of(device: str) -> Path:
    """Return the state folder of a device, which may not exist."""
    return _own(state_directory(), device)


def _own(base: Path, device: str) -> Path:
    # An id may be longer than the name of a folder.
    return base / "devices" / (device if len(device) <= _MOST_NAME else sha256(device.encode()).hexdigest())


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
    if is_made_up(device):
        _log.warning(
            "this machine has neither a machine id nor a network card, so its name %s is another one at each start, and"
            " its state, too: set [device] id",
            device,
        )
    own = Folders(state_of(device), None if runtime is None else _own(runtime, device))
    with ExitStack() as locks:
        for folder in {_real(folder): folder for folder in filter(None, own)}.values():
            _lock(folder, device, locks)
        for base in filter(None, folders):
            _tighten(base)
        yield Folders(
            _taken_over(folders.state, own.state, device),
            None if runtime is None or own.runtime is None else _taken_over(runtime, own.runtime, device),
        )


def _real(folder: Path) -> str:
    try:
        return os.path.realpath(folder)
    except OSError:  # the folder that it is relative to is gone
        return str(folder)


def _lock(folder: Path, device: str, locks: ExitStack) -> None:
    """Lock a folder until `locks` ends, unless that cannot be done, which is said and stops nothing."""
    try:
        private_folder(folder)
        lock = open_private(folder / "lock", os.O_RDWR)
        locks.callback(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UnavailableError(
            f"Another affectd with the id {device} is running and uses {folder}: stop it, or give this one"
            " another id ([device] id)."
        ) from None
    except OSError as error:
        _log.warning(
            "%s cannot be locked, so another affectd with the id %s would not be noticed: %s",
            folder,
            device,
            error.strerror,
        )


def _tighten(base: Path) -> None:
    """Take the rights of other users from what earlier versions or people made in the state folder."""
    inside = [base / "devices", base / "muted"]
    with suppress(OSError):  # of a folder that cannot be read
        inside += [*base.glob("devices/*"), *base.glob("devices/*/*"), *base.glob("outbox.*")]
    for path in inside:
        with suppress(OSError):
            tightened(path)
    with suppress(OSError):
        # Any other folder may be meant for others too, such as a home.
        is_ours = base.name == "affectd" or all(is_of_state(path.name) for path in base.iterdir())
        if base.stat().st_mode & 0o077 and not (is_ours and tightened(base)):
            _log.warning("other users may enter the folder of the state: chmod 700 %s", shlex.quote(str(base)))


def _taken_over(base: Path, folder: Path, device: str) -> Path:
    """Move what earlier versions left in `base`; return the folder to use, which is `base` if that fails."""
    try:
        old = [path for path in base.iterdir() if path.name == "muted" or path.name.startswith("outbox.")]
        if any(path.name != "muted" and _is_of_another(path, device) for path in old):
            _log.warning("%s has events of a device with another id, which stay there", base)
            old = [path for path in old if path.name == "muted"]
        for path in old:
            if not (folder / path.name).exists():
                private_folder(folder)
                path.rename(folder / path.name)
    except FileNotFoundError:
        return folder
    except OSError as error:
        # An unreadable folder may say that the device is muted.
        _log.warning("the state in %s cannot be moved to %s: %s", base, folder, error.strerror)
        return base
    return folder


def _is_of_another(path: Path, device: str) -> bool:
    check_regular(path.stat())
    with path.open("rb") as file:
        begin = file.read(_MOST_BYTES)
    return b'"device": "' in begin and b'"device": "%s"' % device.encode() not in begin
