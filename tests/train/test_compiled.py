"""Several processes that need what Numba compiles, on a machine where nothing is compiled yet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
from affectd_train.compiled import compile_librosa
compile_librosa()
import librosa, numpy as np
noise = np.random.default_rng(0).normal(size=16000)
librosa.feature.zero_crossing_rate(y=noise)
librosa.yin(noise, fmin=65.0, fmax=500.0, sr=16000)
librosa.feature.chroma_stft(S=np.abs(librosa.stft(noise)), sr=16000)
"""


@pytest.mark.slow
def test_processes_that_start_together_fill_the_cache_one_after_the_other(tmp_path: Path) -> None:
    numba = {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_DEBUG_CACHE": "1"}  # it prints what it saves and loads
    environment = os.environ | numba | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", PROGRAM]
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    told = [process.communicate(timeout=300)[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    saved = [line for lines in told for line in lines if "data saved to" in line and "guf-" in line]
    assert saved
    assert len(saved) == len(set(saved)), "a second process has compiled the same"
