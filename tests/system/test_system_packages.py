"""`scripts/system-packages` with the real apt-get, which has folders of its own and knows no packages."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "system-packages"
PACKAGE = "affectd-has-no-such-package"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folders of an apt-get."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        pytest.skip("needs root and apt-get")
    (tmp_path / "lists" / "partial").mkdir(parents=True)
    (tmp_path / "archives" / "partial").mkdir(parents=True)
    for name in ("status", "sources.list", "lock-frontend"):
        (tmp_path / name).touch()
    places = {
        "State": tmp_path,
        "State::Lists": tmp_path / "lists",
        "State::status": tmp_path / "status",
        "Cache": tmp_path,
        "Etc::sourcelist": tmp_path / "sources.list",
        "Etc::sourceparts": "/dev/null",
    }
    (tmp_path / "apt.conf").write_text("".join(f'Dir::{name} "{path}";\n' for name, path in places.items()))
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    return tmp_path


@pytest.mark.parametrize("lock", ["lists/lock", "lock-frontend"])
def test_what_another_program_installs_is_waited_for(folder: Path, lock: str) -> None:
    with (folder / lock).open("w") as held:
        fcntl.lockf(held, fcntl.LOCK_EX)
        with subprocess.Popen([str(SCRIPT), PACKAGE], stderr=subprocess.PIPE, text=True) as script:
            assert script.stderr is not None
            lines = [script.stderr.readline().strip() for _ in range(2)]
            assert lines[0] == f"installing system packages: {PACKAGE}"
            assert lines[1] == "waiting for another program that installs packages"
            fcntl.lockf(held, fcntl.LOCK_UN)
            assert script.stderr.read().strip() == f"E: Unable to locate package {PACKAGE}"
    assert script.returncode == 100


def test_another_failure_is_not_waited_for(folder: Path) -> None:
    (folder / "sources.list").write_text("nonsense\n")
    done = subprocess.run([str(SCRIPT), PACKAGE], capture_output=True, text=True, check=False)
    assert done.returncode == 100
    assert "Malformed" in done.stderr
    assert "waiting" not in done.stderr
