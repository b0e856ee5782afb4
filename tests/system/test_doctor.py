"""`affectd doctor` on a real PortAudio device: ALSA's `file` plugin stands in for a card."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affectd.recognition.model_file import write_model
from tiny_model import tiny_model

ALSA = Path("/usr/share/alsa/alsa.conf")
pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("pyaudio") is None, reason="PyAudio is not installed"),
    pytest.mark.skipif(not ALSA.is_file(), reason=f"no ALSA configuration at {ALSA}"),
]
# A square wave, whose level is its height, at any rate and wherever samples are lost.
SQUARE = np.tile(np.repeat([1000, -1000], 50), 1000)


def microphone(folder: Path, samples: np.ndarray) -> dict[str, Any]:
    """Return what the doctor says of a microphone that delivers these samples over and over."""
    samples.astype("<i2").tofile(folder / "sound.raw")
    (folder / "asoundrc").write_text(
        f'<{ALSA}>\npcm.!default {{ type file slave.pcm null file /dev/null infile "{folder}/sound.raw" format raw\n'
        'hint { show on description "a file" } }\n'
    )
    (folder / "affectd.toml").write_text("")
    write_model(folder / "tiny.tflite", tiny_model())
    sources = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-m", "affectd", "doctor", "--json", "--config", "affectd.toml", "--model", "tiny.tflite"],
        env={**os.environ, "ALSA_CONFIG_PATH": str(folder / "asoundrc"), "PYTHONPATH": sources},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = {line["check"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == (69 if "fault" in [line["grade"] for line in found.values()] else 0), done.stderr
    microphone: dict[str, Any] = found["microphone"]
    return microphone


def test_a_microphone_that_hears_is_opened_and_its_level_told(tmp_path: Path) -> None:
    found = microphone(tmp_path, SQUARE)
    assert (found["grade"], found["found"]) == ("ok", "opens, -30 dBFS")  # 20 log10(1000 / 32768) = -30.3


def test_a_microphone_that_is_muted_is_a_fault(tmp_path: Path) -> None:
    found = microphone(tmp_path, 0 * SQUARE)
    assert (found["grade"], found["found"]) == ("fault", "opens, but delivers digital silence")
    assert "unmute" in found["mend"]
