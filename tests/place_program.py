"""The program on a device with a state folder of its own, for tests of what it learns of its place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from affectd.config.state import state_of

PATIENCE_SECONDS = 60


def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tell the program to be ``kitchen``, and return its state folder, below the one that it is told."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setenv("AFFECTD_DEVICE_ID", "kitchen")
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    return state_of("kitchen")


def program(*arguments: object, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run the program; `stdin` comes through a pipe, as from a microphone."""
    command = [sys.executable, "-m", "affectd", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=PATIENCE_SECONDS, check=False)
