"""Fixtures for what is tested with a real browser, a real sound server, or the real installer."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from browser import Browser
from installer_host import Machine
from page_device import Device
from room import Room


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Return a Chromium for all tests."""
    chromium = Browser(tmp_path_factory.mktemp("chromium"))
    yield chromium
    chromium.close()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """Return a browser without tabs; those that a test opens share nothing."""
    yield chromium
    chromium.close_pages()


@pytest.fixture
def device() -> Iterator[Device]:
    """Return a device whose page shows that it has heard nothing yet."""
    device = Device()
    yield device
    device.stop()


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    """Return a room without speech."""
    room = Room(tmp_path)
    room.start()
    yield room
    room.stop(signal.SIGKILL)


@pytest.fixture(scope="session")
def _installer() -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting and installing need root")
    if subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mounts of one's own here")
    for package in ("python3-venv", "python3-pyaudio"):
        if subprocess.run(["dpkg", "--status", package], capture_output=True, check=False).returncode:
            pytest.skip(f"{package} is not installed")


@pytest.fixture
def machine(_installer: None, tmp_path: Path) -> Machine:
    """Return a machine on which affectd was never installed."""
    tmp_path.chmod(0o755)
    return Machine(tmp_path / "machine")


@pytest.fixture(scope="session")
def _installed(_installer: None, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    machine = Machine(tmp_path_factory.mktemp("installed") / "machine")
    done = machine.install("--offline", machine.wheelhouse)
    assert done.returncode == 0, done.stderr
    assert machine.version() == "1.9"
    return machine


@pytest.fixture
def installed(_installed: Machine, machine: Machine) -> Machine:
    """Return a machine with affectd 1.9."""
    for name in ("opt", "bin", "share", "etc"):
        shutil.copytree(_installed.folder / name, machine.folder / name, symlinks=True, dirs_exist_ok=True)
    return machine
