"""The whole road of the desktop side: evaluate, as a program, fit, quantize, pack, report, and then the device."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from affectd.recognition.model_file import find_model, read_model
from affectd_train.cli import main
from affectd_train.reports.model_card import markdown
from small_network import PROGRAM

SETTINGS = {"pretrain_steps": 0, "finetune_steps": 4, "batch_size": 16, "augmented_copies": 1}
EMOTIONS = range(1, 9)


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done


def step(*words: str, folder: Path) -> int:
    """Run a command of the desktop in a folder; return its exit code."""
    with contextlib.chdir(folder):
        return main(list(words))


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory, small_network: None) -> Path:
    """A folder in which every step was taken, on tones instead of voices: each emotion has its pitch."""
    folder = tmp_path_factory.mktemp("road")
    seconds = np.arange(20000) / 16000
    rng = np.random.default_rng(0)
    for actor in (1, 2, 11, 20, 21):  # those of the first EmoBox fold, and one to train on
        for emotion in EMOTIONS:
            for take in (1, 2):
                path = folder / f"data/ravdess/Actor_{actor:02d}/03-01-{emotion:02d}-01-01-{take:02d}-{actor:02d}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                pitch = 200 * 1.35**emotion * rng.uniform(0.97, 1.03)
                sound = np.sin(2 * np.pi * 3 * seconds) ** 2 * np.sin(2 * np.pi * pitch * seconds)
                soundfile.write(path, 0.3 * sound + rng.normal(0, 1e-3, len(seconds)), 16000)
    training = ["--data", "data", *(word for k, v in SETTINGS.items() for word in ("--set", f"{k}={v}"))]
    figures = run("-c", PROGRAM, "evaluate", "--protocol", "ravdess-emobox", *training, cwd=folder)
    (folder / "printed.json").write_text(figures.stdout)
    fitted, packed = ["fit", *training], ["pack", "runs/final", "--out", "packed.tflite"]
    for words in (fitted, ["quantize", "runs/final"], packed, ["report", "packed.tflite", "--out", "card.md"]):
        assert step(*words, folder=folder) == 0
    return folder


def test_evaluation_prints_what_it_stores_and_tests_no_speaker_it_trained_on(road: Path) -> None:
    figures = json.loads((road / "printed.json").read_text())
    assert figures == json.loads((road / "runs/ravdess-emobox/metrics.json").read_text())
    assert figures["clips"] == 4 * 8 * 2
    assert list(figures["folds"]) == ["1"]
    assert "speakers disjoint" in figures["protocol"]
    trained_on = json.loads((road / "runs/ravdess-emobox/fold-1/fit.json").read_text())["speakers"]
    assert trained_on == ["ravdess-02"]


def test_a_finished_evaluation_is_not_repeated(road: Path, capfd: pytest.CaptureFixture[str]) -> None:
    network = road / "runs/ravdess-emobox/fold-1/float.keras"
    before = network.stat().st_mtime_ns
    training = ["--data", "data", *(word for k, v in SETTINGS.items() for word in ("--set", f"{k}={v}"))]
    assert step("evaluate", "--protocol", "ravdess-emobox", *training, folder=road) == 0
    assert capfd.readouterr().out == (road / "printed.json").read_text()
    assert network.stat().st_mtime_ns == before


def test_figures_of_another_recipe_are_not_printed_again(road: Path, capfd: pytest.CaptureFixture[str]) -> None:
    settings = (word for k, v in (SETTINGS | {"seed": 1}).items() for word in ("--set", f"{k}={v}"))
    code = step("evaluate", "--protocol", "ravdess-emobox", "--data", "data", *settings, folder=road)
    done = capfd.readouterr()
    assert (code, done.out) == (64, ""), done.err
    assert "fold-1 holds a run with seed 0, now 1" in done.err


def test_packing_says_when_the_figures_are_of_another_recipe(
    road: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(road / "runs/final", tmp_path / "other")
    details = json.loads((tmp_path / "other/fit.json").read_text())
    details["recipe"]["seed"] = 1
    (tmp_path / "other/fit.json").write_text(json.dumps(details))
    words = ["pack", str(tmp_path / "other"), "--out", str(tmp_path / "other.tflite")]
    assert step(*words, folder=road) == 0
    assert "fold-1 has another recipe" in capfd.readouterr().err


def test_packing_leaves_what_holds_another_network_alone(
    road: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["pack", str(road / "runs/final"), "--out"]
    new = tmp_path / "new/mine.tflite"
    assert step(*words, str(new), folder=road) == 0
    once = new.read_bytes()
    assert step(*words, str(new), folder=road) == 0  # the network of the same run
    assert new.read_bytes() == once
    other = tmp_path / "other.tflite"
    notes = tmp_path / "notes.txt"
    shutil.copy(find_model(), other)
    notes.write_text("no model file")
    for path in (other, notes):
        before = path.read_bytes()
        assert step(*words, str(path), folder=road) == 64
        assert f"{path} is there and does not hold the network of {road / 'runs/final'}" in capfd.readouterr().err
        assert path.read_bytes() == before
    assert step(*words, str(other), "--replace", folder=road) == 0
    assert other.read_bytes() == once


def test_a_file_without_figures_has_no_card(road: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fold = "runs/ravdess-emobox/fold-1/affectd.tflite"
    assert step("report", fold, "--out", "none.md", folder=road) == 65
    assert "has no evaluation" in capfd.readouterr().err
    assert not (road / "none.md").exists()


def test_the_packed_file_carries_its_card_and_training(road: Path) -> None:
    model = read_model(road / "packed.tflite")
    assert model.card["data"] == [{"corpus": "RAVDESS", "clips": 80, "terms": "CC BY-NC-SA 4.0"}]
    assert model.card["use"].startswith("non-commercial")
    assert model.card["training"]["speakers"] == [f"ravdess-{actor}" for actor in ("01", "02", "11", "20", "21")]
    assert 0 < model.thresholds["uncertain"] < 1
    assert model.temperature > 0
    assert (road / "card.md").read_text() == markdown(model) + "\n"


def test_the_device_runs_the_packed_file(road: Path) -> None:
    run("-m", "affectd", "model", "--self-test", "--model", "packed.tflite", cwd=road)
    recording = "data/ravdess/Actor_02/03-01-05-01-01-01-02.wav"
    done = run("-m", "affectd", "classify", recording, "--model", "packed.tflite", cwd=road)
    assert json.loads(done.stdout)["label"] in read_model(road / "packed.tflite").labels
