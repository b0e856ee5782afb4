"""scripts/install-edge where the system fails it: full and read-only disks, things in the way, a disabled service."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from installer_host import PAGES, Machine


def _state(machine: Machine) -> dict[str, str | None]:
    """Everything below the folders that it writes to, without times."""
    return {
        str(path): os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else None
        for name in ("opt", "etc", "bin", "share", "tmp")
        for path in sorted((machine.folder / name).rglob("*"))
        if "/releases/" not in str(path)
        and not (path.is_dir() and "etc/systemd" in str(path))  # they were there before
    }


def _file(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("something else\n")


def _folder(path: Path) -> None:
    path.mkdir(parents=True)
    (path / "something").write_text("else\n")


IN_THE_WAY: dict[str, Callable[[Machine], None]] = {
    "a file for the settings' folder": lambda machine: _file(machine.folder / "etc/affectd"),
    "a file for the program's folder": lambda machine: _file(machine.folder / "opt/affectd"),
    "a file for the folder of a page": lambda machine: _file(machine.folder / "share" / Path(PAGES[0]).parent),
    "a folder for the unit": lambda machine: _folder(machine.folder / "etc/systemd/system/affectd.service"),
    "a folder for the version in use": lambda machine: _folder(machine.folder / "opt/affectd/current"),
}


@pytest.mark.parametrize("what", IN_THE_WAY)
def test_what_is_in_the_way_is_said_and_nothing_is_left(machine: Machine, what: str) -> None:
    IN_THE_WAY[what](machine)
    before = _state(machine)
    done = machine.install("--offline", machine.wheelhouse)
    assert done.returncode == 74, done.stderr
    (line,) = done.stderr.splitlines()
    assert "folder, and in the way: affectd is as it was" in line
    assert _state(machine) == before


@pytest.mark.parametrize("folder", ["/etc", "/opt"])
def test_a_read_only_folder_leaves_the_present_version(installed: Machine, folder: str) -> None:
    installed.mounts = [f"mount -o remount,bind,ro {folder}"]
    (installed.checkout / "scripts/affectd.service").write_text("[Unit]\nDescription=another\n")
    before = _state(installed)
    done = installed.install(installed.wheel("2.0", installed.folder), "--offline", installed.wheelhouse)
    assert done.returncode == 74, done.stderr
    assert "Read-only file system" in done.stderr
    assert done.stderr.splitlines()[-1] == "install-edge: that failed, and affectd is as it was"
    assert _state(installed) == before
    assert not installed.leftovers()


def test_a_full_disk_leaves_the_present_version(installed: Machine) -> None:
    before = _state(installed)
    installed.mounts = [
        "mount -t tmpfs -o size=16m tmpfs /mnt",
        "cp -a /opt/affectd /mnt",
        "mount --bind /mnt /opt",
        "head -c 16m /dev/zero >/opt/full 2>/dev/null || true",
    ]
    done = installed.install(installed.wheel("2.0", installed.folder), "--offline", installed.wheelhouse)
    assert done.returncode in (69, 74), done.stderr
    assert "No space left on device" in done.stderr
    assert _state(installed) == before


def test_an_uninstallation_that_fails_is_said_and_completed_by_the_next(installed: Machine) -> None:
    installed.mounts = ["mount -o remount,bind,ro /etc"]
    done = installed.install("--uninstall")
    assert done.returncode == 74, done.stderr
    assert "not all of affectd is removed: once that is mended" in done.stderr.splitlines()[-1]
    installed.mounts = []
    done = installed.install("--uninstall")
    assert done.returncode == 0, done.stderr
    assert not list((installed.folder / "opt").iterdir())
    assert not (installed.folder / "etc/affectd").exists()


WANTED = "etc/systemd/system/multi-user.target.wants/affectd.service"


@pytest.mark.skipif(not shutil.which("systemctl"), reason="systemctl is not installed")
def test_an_upgrade_leaves_a_disabled_service_and_linked_settings_as_they_are(installed: Machine) -> None:
    settings = installed.folder / "etc/affectd/affectd.toml"
    settings.unlink()
    settings.symlink_to("/media/card/affectd.toml")  # which is not there now
    assert (installed.folder / WANTED).is_symlink()
    (installed.folder / WANTED).unlink()
    words = ["--offline", installed.wheelhouse]
    done = installed.install(installed.wheel("2.0", installed.folder), *words)
    assert done.returncode == 0, done.stderr
    assert installed.version() == "2.0"
    assert "its service stays disabled" in done.stderr
    assert not (installed.folder / WANTED).is_symlink()
    assert os.readlink(settings) == "/media/card/affectd.toml"
    # After --uninstall it is a new one.
    for arguments in (["--uninstall"], words):
        done = installed.install(*arguments)
        assert done.returncode == 0, done.stderr
    assert (installed.folder / WANTED).is_symlink()
