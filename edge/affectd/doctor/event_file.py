"""The check of the file of events: whether it can be written, and by the service, too; nothing is made there."""

from __future__ import annotations

import os
from pathlib import Path

from affectd.config.event_file import check_content
from affectd.doctor.board import UNIT, unit_is_installed
from affectd.doctor.device import Device
from affectd.doctor.finding import Finding, fault, ok, warning

_CORRECT = "correct [file] path in the settings"
_ITS_OWN = ("/var/lib/affectd", "/var/lib/private/affectd", "/run/affectd")


def event_file(device: Device) -> Finding:
    """Check that events can be written to ``[file] path``."""
    config = device.config.file
    if not config.path:
        return ok("no file of events configured")
    path = Path(os.path.realpath(config.path))
    if not path.parent.is_dir():
        said = f"{config.path}: its folder is missing, so the service writes no events there until it is there"
        return warning(said, f"mount its disk, or {_CORRECT}")
    if path.exists() and not path.is_file():
        return fault(f"{config.path} is a folder, pipe or device, not a regular file", _CORRECT)
    # The folder, too, because the file is rotated.
    for needed in (path.parent, path):
        if needed.exists() and not os.access(needed, os.W_OK):
            return fault(f"{config.path}: this user may not write to {needed}", _CORRECT)
    try:
        check_content(path, config.keep)
    except OSError as error:
        return fault(f"{config.path} cannot be used: {error.strerror}", _CORRECT)
    return _of_service(device, path.parent) or ok(f"{config.path}: events can be written")


def _of_service(device: Device, folder: Path) -> Finding | None:
    """Return a warning of a folder that is read-only for the service, as all are but a few."""
    keys = "--property=ProtectSystem,ReadWritePaths"
    answer = device.run(["systemctl", "show", UNIT, keys]) if unit_is_installed(device.root) else None
    shown = dict(line.split("=", 1) for line in (answer or "").splitlines() if "=" in line)
    given = [path.lstrip("-+") for path in shown.get("ReadWritePaths", "").split()]
    is_given = any(folder.is_relative_to(os.path.realpath(path)) for path in (*_ITS_OWN, *given))
    if is_given or shown.get("ProtectSystem") != "strict":
        return None
    return warning(
        f"the service may not write in {folder}",
        f"name a file in {_ITS_OWN[0]}; or sudo systemctl edit affectd: [Service], below it ReadWritePaths=-{folder}",
    )
