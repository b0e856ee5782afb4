"""Events never go into a file that the settings name for something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from affectd.config.loading import load_config
from affectd.errors import ConfigError

NAMED = {
    "[audio] source": '[audio]\nsource = "OTHER"',
    "[model] path": '[model]\npath = "OTHER"',
    "[mqtt] password_file": '[mqtt]\npassword_file = "OTHER"',
    "[mqtt] ca_file": '[mqtt]\nca_file = "OTHER"',
    "[mqtt] cert_file": '[mqtt]\ncert_file = "OTHER"',
    "[mqtt] key_file": '[mqtt]\nkey_file = "OTHER"',
}


@pytest.mark.parametrize("name", [*NAMED, "the settings"])
@pytest.mark.parametrize("way", ["itself", "symbolic link", "hard link", "another spelling", "rotated"])
def test_a_file_that_is_named_for_something_else_is_refused_even_if_it_is_empty(
    tmp_path: Path, name: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / ("events.3" if way == "rotated" else "other")
    other.touch()
    settings = tmp_path / "affectd.toml" if name in NAMED else other
    settings.write_text(NAMED.get(name, "").replace("OTHER", str(other)))
    path = tmp_path / "events"
    if way == "itself":
        path = other
    elif way == "symbolic link":
        path.symlink_to(other)
    elif way == "hard link":
        path.hardlink_to(other)
    elif way == "another spelling":
        path = tmp_path / "x" / ".." / "other"
    monkeypatch.setenv("AFFECTD_FILE_PATH", str(path))
    with pytest.raises(ConfigError, match=r"^\[file\] path must be a file of its own, not ") as refused:
        load_config(settings)
    assert name in str(refused.value)
    monkeypatch.setenv("AFFECTD_FILE_PATH", str(tmp_path / "others"))
    assert load_config(settings).file.path


@pytest.mark.parametrize(
    ("name", "is_state"),
    [
        ("devices/kitchen/muted", True),
        ("devices/events.jsonl", True),
        ("muted", True),
        ("outbox.journal", True),
        ("affectd.traceback", True),
        ("events.jsonl", False),
        ("events/mine.jsonl", False),
    ],
)
def test_nor_into_the_state(tmp_path: Path, name: str, is_state: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    (tmp_path / "affectd.toml").write_text("")
    (tmp_path / "link").symlink_to("state")
    for folder in ("state", "link"):
        monkeypatch.setenv("AFFECTD_FILE_PATH", str(tmp_path / folder / name))
        if is_state:
            with pytest.raises(ConfigError, match="not one of the state"):
                load_config(tmp_path / "affectd.toml")
        else:
            load_config(tmp_path / "affectd.toml")
