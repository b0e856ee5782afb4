"""What scripts/install-edge deletes, without installing anything; all the rest is in tests/system/test_install.py."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts/install.sh"


def test_old_releases_go_and_the_current_one_stays_below_a_linked_folder(tmp_path: Path) -> None:
    function = re.search(r"^remove_other_releases\(\) \{.*?^\}", SCRIPT.read_text(), re.DOTALL | re.MULTILINE)
    assert function is not None
    releases = tmp_path / "disk/releases"
    for name in ("1.0.old", "1.1.new"):
        (releases / name).mkdir(parents=True)
    (tmp_path / "disk/current").symlink_to("releases/1.1.new")
    (tmp_path / "opt").symlink_to("disk")  # as where /opt is on another disk
    subprocess.run(
        ["sh", "-euc", f"{function[0]}\nremove_other_releases"],
        env={"prefix": f"{tmp_path}/opt", "PATH": "/usr/bin:/bin"},
        check=True,
    )
    assert [folder.name for folder in releases.iterdir()] == ["1.1.new"]
