"""Recordings for archives, `affectd-train archive` as a program, and what is in its tables."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from sounds import gain, noise, syllables


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "affectd_train", "archive", *map(str, words)]


def run(*words: str | Path, path: str | Path = "") -> subprocess.CompletedProcess[str]:
    known = os.pathsep.join(filter(None, [str(path), os.environ.get("PYTHONPATH", "")]))
    environment = os.environ | {"PYTHONPATH": known}
    return subprocess.run(command(*words), capture_output=True, text=True, check=False, env=environment, timeout=400)


def clips(folder: Path, n: int) -> Path:
    """Speech-like sounds of different lengths, rates, channels and formats."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(n):
        sound = gain(syllables(1 + i % 5 / 4, 3 + i % 3), -12) + gain(noise("pink", 1 + i % 5 / 4, i), -50)
        sound = sound * rng.uniform(0.2, 1)
        samples = np.stack([sound, 0.5 * sound], axis=1) if i % 4 == 1 else sound
        soundfile.write(folder / f"{i:04}.{'flac' if i % 3 == 2 else 'wav'}", samples, 8000 if i % 6 == 3 else 16000)
    return folder


def rows(table: Path) -> list[dict[str, Any]]:
    """All rows, with the file that each is in, read by the library that the others are compared with."""
    import pyarrow.parquet

    found = []
    for part in sorted(table.glob("*.parquet")):
        found += [row | {"part": part.name} for row in pyarrow.parquet.read_table(part).to_pylist()]
    return sorted(found, key=lambda row: (row["path"], row.get("start_seconds") or 0))


def answers(table: Path) -> list[dict[str, Any]]:
    """What all tables of the same recordings have in common."""
    return [{k: v for k, v in row.items() if k != "part"} for row in (*rows(table), *rows(table / "_broken"))]
