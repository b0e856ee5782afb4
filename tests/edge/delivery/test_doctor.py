"""What the doctor says of a fleet, and how a message about a model reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from affectd.doctor.device import Device
from affectd.doctor.installation import model
from affectd.screen.words import status
from affectd.words.events import Text
from fleet import Signer


def device(folder: Path, keys: Path | str, fleet: str = "kiosks", enabled: str = "true") -> Device:
    settings = f'[model]\ntrusted_keys = "{keys}"\n[mqtt]\nfleet = "{fleet}"\nenabled = {enabled}\n'
    (folder / "affectd.toml").write_text(settings)
    return Device(config_path=folder / "affectd.toml")


def test_the_doctor_says_why_no_model_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    key = Signer(tmp_path).public
    assert model(device(tmp_path, key)).grade == "ok"
    assert model(device(tmp_path, "", "")).grade == "ok"
    for other in (device(tmp_path, ""), device(tmp_path, key, ""), device(tmp_path, key, enabled="false")):
        assert (model(other).grade, "go together" in model(other).found) == ("warning", True)
    assert "cannot be read" in model(device(tmp_path, tmp_path / "none")).found
    monkeypatch.setenv("PATH", str(tmp_path))
    assert model(device(tmp_path, key)).mend == "apt install openssl"


def test_people_read_why_a_model_was_refused() -> None:
    event = {
        "type": "status",
        "time": "2026-11-20T06:34:07.562Z",
        "part": "model",
        "state": "alarmed",
        "reason": "rolled_back",
        "why": "died",
    }
    assert status(event) == "model: alarmed, rolled back, died"
    assert "the model is alarmed: rolled back, died" in Text(120).of(())(event)
