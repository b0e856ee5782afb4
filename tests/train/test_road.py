"""The whole road of the desktop side as programs: evaluate, fit, quantize, pack, report, and then the device."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from affectd.recognition.model_file import find_model, read_model
from affectd_train.reports.model_card import markdown

SETTINGS = {"pretrain_steps": 4, "finetune_steps": 30, "batch_size": 16, "augmented_copies": 1}
EMOTIONS = range(1, 9)


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Path:
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
    program = "affectd_train.cli"
    figures = run(program, "evaluate", "--protocol", "ravdess-emobox", *training, cwd=folder)
    (folder / "printed.json").write_text(figures.stdout)
    run(program, "fit", *training, cwd=folder)
    run(program, "quantize", "runs/final", cwd=folder)
    run(program, "pack", "runs/final", "--out", "packed.tflite", cwd=folder)
    run(program, "report", "packed.tflite", "--out", "card.md", cwd=folder)
    return folder


def test_evaluation_prints_what_it_stores_and_tests_no_speaker_it_trained_on(road: Path) -> None:
    figures = json.loads((road / "printed.json").read_text())
    assert figures == json.loads((road / "runs/ravdess-emobox/metrics.json").read_text())
    assert figures["clips"] == 4 * 8 * 2
    assert list(figures["folds"]) == ["1"]
    assert "speakers disjoint" in figures["protocol"]
    trained_on = json.loads((road / "runs/ravdess-emobox/fold-1/fit.json").read_text())["speakers"]
    assert trained_on == ["ravdess-02"]


def test_a_finished_evaluation_is_not_repeated(road: Path) -> None:
    network = road / "runs/ravdess-emobox/fold-1/float.keras"
    before = network.stat().st_mtime_ns
    training = ["--data", "data", *(word for k, v in SETTINGS.items() for word in ("--set", f"{k}={v}"))]
    again = run("affectd_train.cli", "evaluate", "--protocol", "ravdess-emobox", *training, cwd=road)
    assert again.stdout == (road / "printed.json").read_text()
    assert network.stat().st_mtime_ns == before


def test_figures_of_another_recipe_are_not_printed_again(road: Path) -> None:
    program = [sys.executable, "-m", "affectd_train.cli", "evaluate", "--protocol", "ravdess-emobox", "--data", "data"]
    settings = (word for k, v in (SETTINGS | {"seed": 1}).items() for word in ("--set", f"{k}={v}"))
    done = subprocess.run([*program, *settings], capture_output=True, text=True, check=False, cwd=road)
    assert done.returncode == 64, done.stderr
    assert done.stdout == ""
    assert "fold-1 holds a run with seed 0, now 1" in done.stderr


def test_packing_says_when_the_figures_are_of_another_recipe(road: Path, tmp_path: Path) -> None:
    shutil.copytree(road / "runs/final", tmp_path / "other")
    details = json.loads((tmp_path / "other/fit.json").read_text())
    details["recipe"]["seed"] = 1
    (tmp_path / "other/fit.json").write_text(json.dumps(details))
    words = ["pack", str(tmp_path / "other"), "--out", str(tmp_path / "other.tflite")]
    done = run("affectd_train.cli", *words, cwd=road)
    assert "fold-1 has another recipe" in done.stderr


def test_packing_leaves_what_holds_another_network_alone(road: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "affectd_train.cli", "pack", str(road / "runs/final"), "--out"]
    new = tmp_path / "new/mine.tflite"
    run("affectd_train.cli", *words[3:], str(new), cwd=road)
    once = new.read_bytes()
    run("affectd_train.cli", *words[3:], str(new), cwd=road)  # the network of the same run
    assert new.read_bytes() == once
    other = tmp_path / "other.tflite"
    notes = tmp_path / "notes.txt"
    shutil.copy(find_model(), other)
    notes.write_text("no model file")
    for path in (other, notes):
        before = path.read_bytes()
        done = subprocess.run([*words, str(path)], capture_output=True, text=True, check=False, cwd=road)
        assert done.returncode == 64, done.stderr
        assert f"{path} is there and does not hold the network of {road / 'runs/final'}" in done.stderr
        assert path.read_bytes() == before
    run("affectd_train.cli", *words[3:], str(other), "--replace", cwd=road)
    assert other.read_bytes() == once


def test_a_file_without_figures_has_no_card(road: Path) -> None:
    fold = "runs/ravdess-emobox/fold-1/affectd.tflite"
    program = [sys.executable, "-m", "affectd_train.cli", "report", fold, "--out", "none.md"]
    done = subprocess.run(program, capture_output=True, text=True, check=False, cwd=road)
    assert done.returncode == 65, done.stderr
    assert "has no evaluation" in done.stderr
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
    run("affectd", "model", "--self-test", "--model", "packed.tflite", cwd=road)
    recording = "data/ravdess/Actor_02/03-01-05-01-01-01-02.wav"
    done = run("affectd", "classify", recording, "--model", "packed.tflite", cwd=road)
    assert json.loads(done.stdout)["label"] in read_model(road / "packed.tflite").labels
