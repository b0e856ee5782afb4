"""What draws, reports or explains itself starts at once; what trains is not heard starting."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tiny_corpora
from affectd_train.training.network import build_network

MODEL = Path(__file__).parents[2] / "models" / "affectd.tflite"
WATCHED = """
import json, re, sys
from pathlib import Path
from affectd_train.cli import main
try:
    main(sys.argv[1:])
finally:
    mebibytes = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
    modules = sorted({name.partition(".")[0] for name in sys.modules} & {"keras", "tensorflow", "librosa", "sklearn"})
    print(json.dumps([modules, mebibytes]), file=sys.stderr)
"""


def watched(*words: str | Path) -> tuple[list[str], float]:
    """Run a command; return the heavy modules it imported and its MiB of memory."""
    program = [sys.executable, "-c", WATCHED, *map(str, words)]
    done = subprocess.run(program, capture_output=True, text=True, check=False, env=os.environ | {"LANG": "C"})
    modules, mebibytes = json.loads(done.stderr.splitlines()[-1])
    return modules, mebibytes


@pytest.mark.parametrize("words", [["--help"], ["fit", "--help"], ["evaluate", "--protocol", "none"]])
def test_arguments_are_read_without_keras(words: list[str]) -> None:
    modules, mebibytes = watched(*words)
    assert modules == []
    assert mebibytes < 150


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["make", "data", "--out", "mine.tflite"], "all clips are of one speaker, ann: "),
        (["evaluate", "--protocol", "own", "--data", "data"], "all clips are of one speaker, ann: "),
        (["evaluate", "--protocol", "ravdess-emobox", "--data", "data"], "data: none of ravdess, "),
    ],
)
def test_recordings_are_refused_without_keras(
    words: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = ["file,emotion,speaker"]
    for number, label in enumerate(["happy", "sad"] * 5):
        tiny_corpora.write(Path(f"data/{number}.wav"), tiny_corpora.voice(150, seed=number))
        rows.append(f"{number}.wav,{label},ann")
    Path("data/labels.csv").write_text("\n".join(rows))
    done = subprocess.run([sys.executable, "-c", WATCHED, *words], capture_output=True, text=True, check=False)
    *_, said, found = done.stderr.splitlines()
    assert said.startswith(f"affectd-train: {sentence}"), done.stderr
    assert json.loads(found)[0] == []


def test_the_report_is_written_without_keras(tmp_path: Path) -> None:
    modules, mebibytes = watched("report", MODEL, "--out", tmp_path / "README.md")
    assert (tmp_path / "README.md").read_text().startswith("# Model card")
    assert modules == []
    assert mebibytes < 150


@pytest.mark.parametrize("words", [["pictures", "--evaluation", "nowhere"], ["explore", "nowhere"]])
def test_pictures_need_no_keras(words: list[str], tmp_path: Path) -> None:
    assert watched(*words, "--out", tmp_path)[0] == []


def test_tensorflow_starts_and_converts_in_silence(tmp_path: Path) -> None:
    build_network(16, 8, 3).save(tmp_path / "float.keras")
    np.save(tmp_path / "representative.npy", np.random.default_rng(0).normal(size=(8, 16, 8)).astype(np.float16))
    program = [sys.executable, "-m", "affectd_train.cli", "quantize", str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'int8.tflite'}\n"
    assert done.stderr == ""


def test_what_tensorflow_warns_of_later_is_heard() -> None:
    code = "from affectd_train.backend import keras; import tensorflow; tensorflow.get_logger().warning('later')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "WARNING:tensorflow:later\n"


def test_networks_compiled_one_after_the_other_are_nothing_to_warn_of() -> None:
    code = """import numpy, affectd_train.training.network as n
for seed in range(6):
    n.build_network(16, 8, 3).predict_on_batch(numpy.zeros((1, 16, 8)))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
