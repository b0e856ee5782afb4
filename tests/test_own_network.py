"""The walk-through for a network from a notebook does what it says: its own code is run, from top to bottom."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import tiny_corpora
from documents import REPOSITORY, blocks, commands

PAGE = REPOSITORY / "docs" / "own-network.md"
LABELS = ("angry", "calm", "happy", "sad")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Clips of several lengths, and both programs."""
    for i, label in enumerate(LABELS):
        for take in range(25):
            sound = tiny_corpora.voice(170 * 1.4**i * (1 + 0.004 * take), 0.7 + 0.13 * take, seed=take)
            tiny_corpora.write(tmp_path / "clips" / label / f"{take:02d}.wav", sound)
    (tmp_path / "bin").mkdir()
    for name in ("affectd", "affectd-train"):
        program = tmp_path / "bin" / name
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m {name.replace("-", "_")} "$@"\n')
        program.chmod(0o755)
    return tmp_path


def run(command: list[str], folder: Path) -> str:
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def test_the_device_gives_the_labels_of_the_notebook(folder: Path) -> None:
    notebook, comparison = blocks(PAGE, "python")
    run([sys.executable, "-c", notebook], folder)
    printed = [run(["sh", "-c", command], folder) for command in commands(PAGE)]
    assert len(printed) == 3
    assert "terms: my own voice" in printed[0]
    assert json.loads(printed[1])["labels"] == list(LABELS)
    share = float(run([sys.executable, "-c", comparison], folder).split()[0])
    assert share >= 99
    answers = (folder / "notebook.txt").read_text().split()
    assert {*answers} == {*LABELS}  # it has learned something
