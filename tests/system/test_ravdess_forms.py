"""RAVDESS as it is published (48 kHz, 16 bit, some of it stereo) and as 16 kHz files: the device hears the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample

N_RECORDINGS = 60


def labels(paths: list[Path]) -> list[str]:
    command = [sys.executable, "-m", "affectd", "classify", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["label"] for line in done.stdout.splitlines()]


def test_the_published_form_and_the_converted_one_give_the_same_labels(speech_data: Path, tmp_path: Path) -> None:
    sources = sorted((speech_data / "ravdess").glob("Actor_*/*.flac"))
    published, converted = [], []
    for i, source in enumerate(sources[:: len(sources) // N_RECORDINGS]):
        samples, sample_rate = soundfile.read(source)
        # Exact band-limited interpolation makes the 48 kHz; every third is stereo, as a few of RAVDESS are.
        fast = resample(samples, len(samples) * 48000 // sample_rate)
        if i % 3 == 0:
            fast = np.stack([fast, fast], axis=1)
        published.append(tmp_path / f"published-{i}.wav")
        converted.append(tmp_path / f"converted-{i}.wav")
        soundfile.write(published[-1], fast.clip(-1, 1), 48000, subtype="PCM_16")
        soundfile.write(converted[-1], samples, sample_rate, subtype="PCM_16")
    heard = labels(converted)
    assert len(set(heard)) > 3
    assert labels(published) == heard
