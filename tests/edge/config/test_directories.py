from __future__ import annotations

from pathlib import Path

import pytest

from affectd.config.directories import runtime_directory, state_directory


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"STATE_DIRECTORY": "/var/lib/affectd"}, "/var/lib/affectd"),
        ({"STATE_DIRECTORY": "/var/lib/affectd:/var/lib/other", "XDG_STATE_HOME": "/x"}, "/var/lib/affectd"),
        ({"XDG_STATE_HOME": "/home/me/state"}, "/home/me/state/affectd"),
        ({"XDG_STATE_HOME": "relative"}, "~/.local/state/affectd"),
        ({"STATE_DIRECTORY": "", "XDG_STATE_HOME": ""}, "~/.local/state/affectd"),
        ({}, "~/.local/state/affectd"),
    ],
)
def test_state_lives_where_systemd_says_else_in_the_xdg_folder(environment: dict[str, str], folder: str) -> None:
    assert state_directory(environment) == Path(folder).expanduser()


def test_the_runtime_lives_where_systemd_says_else_in_the_xdg_folder_if_there_is_one(tmp_path: Path) -> None:
    given = {"RUNTIME_DIRECTORY": "/run/affectd:/run/other", "XDG_RUNTIME_DIR": str(tmp_path)}
    assert runtime_directory(given) == Path("/run/affectd")
    assert runtime_directory({"XDG_RUNTIME_DIR": str(tmp_path)}) == tmp_path / "affectd"
    assert runtime_directory({"XDG_RUNTIME_DIR": str(tmp_path / "absent")}) is None
    assert runtime_directory({"XDG_RUNTIME_DIR": "."}) is None
    assert runtime_directory({}) is None
    assert list(tmp_path.iterdir()) == []


def test_the_environment_of_the_process_is_what_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    assert (state_directory(), runtime_directory()) == (tmp_path, tmp_path / "run")
