"""The folders of the state; they are not created here.

Source: Linux manual page systemd.exec(5); XDG Base Directory Specification 0.8.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from pathlib import Path


def state_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder on a disk, for state that survives a power cut.

    systemd names it in ``$STATE_DIRECTORY``; without systemd it is ``affectd`` in the XDG state folder. The home of a
    user who has none is the root folder, as containers have it.
    """
    given = environment.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    base = environment.get("XDG_STATE_HOME", "")
    if os.path.isabs(base):  # the specification says to ignore relative paths
        return Path(base) / "affectd"
    home = environment.get("HOME", os.environ.get("HOME", ""))
    if not os.path.isabs(home):
        try:
            home = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            home = "/"
    return Path("/", home, ".local/state/affectd")


def is_of_state(name: str) -> bool:
    """Return whether a file or folder of this name, in one of the folders of the state, is what affectd puts there."""
    return name in ("devices", "muted", "lock") or name.startswith("outbox.") or ".traceback" in name


def runtime_directory(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the folder in memory, for state that survives the process but not a power cut; None without one.

    systemd names it in ``$RUNTIME_DIRECTORY``; without systemd it is ``affectd`` in ``$XDG_RUNTIME_DIR``.
    """
    given = environment.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    base = environment.get("XDG_RUNTIME_DIR", "")
    return Path(base) / "affectd" if os.path.isabs(base) and os.path.isdir(base) else None
