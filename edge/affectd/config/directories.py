"""Where affectd keeps what it must remember; nothing here creates a folder.

Source: Linux manual page systemd.exec(5); XDG Base Directory Specification 0.8.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def state_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder for what survives a power cut: on a disk.

    systemd names it in ``$STATE_DIRECTORY``; without systemd it is ``affectd`` in the XDG state folder.
    """
    given = environment.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    base = environment.get("XDG_STATE_HOME", "")
    # The specification wants relative paths ignored.
    return (Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state") / "affectd"


def runtime_directory(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the folder for what survives the process but not a power cut: in memory; None if there is none.

    systemd names it in ``$RUNTIME_DIRECTORY``; without systemd it is ``affectd`` in ``$XDG_RUNTIME_DIR``.
    """
    given = environment.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    base = environment.get("XDG_RUNTIME_DIR", "")
    return Path(base) / "affectd" if os.path.isabs(base) and os.path.isdir(base) else None
