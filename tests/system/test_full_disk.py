"""The whole service on a disk that is full, and has room again: it goes on hearing, and keeps all that can be kept."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from affectd.recognition.model_file import model_id, write_model
from broker import free_port, wait_until
from disks import fill, small_disk
from place_program import PATIENCE_SECONDS, kitchen
from sounds import as_int16, gain, raw_sound, silence, syllables
from tiny_model import place_model

SPEECH = raw_sound(as_int16(np.concatenate([silence(1), gain(syllables(3), -12), silence(1.5)])))
MODEL = place_model({"far_distance": 1e6, "prior_seconds": 4.0})
LOST = ("events do not reach", "the outbox cannot use", "the baseline cannot be saved")


def events(lines: list[str]) -> list[str]:
    return [event["id"] for event in map(json.loads, lines) if event["type"] == "emotion"]


def test_a_full_disk_costs_only_what_the_file_of_events_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path / "place.tflite", MODEL)
    with small_disk(tmp_path / "disk") as disk:
        state, ballast = kitchen(disk, monkeypatch), fill(disk)
        settings = {"FILE_PATH": disk / "events.jsonl", "MQTT_ENABLED": "true", "MQTT_PORT": free_port()}
        for key, value in settings.items():
            monkeypatch.setenv(f"AFFECTD_{key}", str(value))
        command = [sys.executable, "-m", "affectd", "run", "--source", "-", "--model", str(tmp_path / "place.tflite")]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, **pipes) as running:  # type: ignore[call-overload]
            said: list[bytes] = []
            printed: list[bytes] = []
            readers = [threading.Thread(target=lambda: said.extend(running.stderr))]
            readers += [threading.Thread(target=lambda: printed.extend(running.stdout))]
            for reader in readers:
                reader.start()
            running.stdin.write(2 * SPEECH)
            running.stdin.flush()
            wait_until(lambda: all(what in b"".join(said).decode() for what in LOST), PATIENCE_SECONDS)
            ballast.unlink()
            running.stdin.write(SPEECH)
            running.stdin.close()
            assert running.wait(PATIENCE_SECONDS) == 69, "the file of events missed some"
            for reader in readers:
                reader.join()
        log = b"".join(said).decode()
        assert [log.count(what) for what in LOST] == [1, 1, 1]
        assert "events reach" in log
        all_events = events([line.decode() for line in printed])
        kept = events((disk / "events.jsonl").read_text().splitlines())
        assert kept
        assert kept == all_events[-len(kept) :]
        journal = (state / "outbox.journal").read_text()
        assert [event for event in all_events if event in journal] == all_events
        assert {path.name for path in state.iterdir()} == {"lock", "outbox.journal", f"baseline-{model_id(MODEL)}.json"}
