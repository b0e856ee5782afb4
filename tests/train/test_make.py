"""From recordings to a model file in one command: what it writes, what it refuses, and that it goes on where it was."""

from __future__ import annotations

import csv
import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

import tiny_corpora
from affectd.recognition.model_file import find_model, model_id, read_model, write_model
from affectd.recognition.voice import without_voice
from affectd_train import make as module
from affectd_train.cli import main
from affectd_train.data import splits
from affectd_train.data.clips import Clip
from affectd_train.data.splits import Split
from affectd_train.evaluation.predictions import Prediction, about
from affectd_train.protocols import choice
from affectd_train.stored import read_json
from affectd_train.training.recipe import Recipe, with_own, with_settings, with_start

CHOOSING = """import affectd_train.protocols.choice as p; m.WORTH_CHOOSING = p.SCRATCH_STEPS = 3
    import affectd_train.data.splits as o; o.N_FOLDS = 2
    usual = m.recipe_of; m.recipe_of = lambda order: m.with_settings(usual(order), m.QUICK)"""
SHORT = ("finetune_steps=4", "augmented_copies=0", "save_every=2", "batch_size=8")


def recordings(folder: Path, speakers: int = 2) -> Path:
    rows = []
    for speaker in range(speakers):
        for pitch, label in enumerate(("happy", "tired")):
            for take in range(3):
                name = f"{speaker}-{label}-{take}.wav"
                tiny_corpora.write(folder / name, tiny_corpora.voice(150 * 1.5**pitch, seed=9 * speaker + take))
                rows.append([name, label, f"p{speaker}"])
    with (folder / "labels.csv").open("w", newline="") as table:
        csv.writer(table).writerows([["file", "emotion", "speaker"], *rows])
    (folder.parent / "labels.txt").write_text("happy\ntired\n")
    return folder


def words(folder: Path) -> list[str]:
    labels = str(folder / "labels.txt")
    return ["make", str(folder / "data"), "--quick", "--labels", labels, "--out", str(folder / "out/mine.tflite")]


def test_a_file_with_its_card_and_at_once_when_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    recordings(tmp_path / "data")
    hiss = np.random.default_rng(0).normal(0, 1e-4, 16000).astype(np.float32)
    tiny_corpora.write(tmp_path / "data/0-tired-0.wav", hiss)
    monkeypatch.setattr(module, "QUICK", SHORT)
    assert main(words(tmp_path)) == 0
    said = capfd.readouterr()
    assert "in 1 of the 12 recordings no speech is heard, and they count as wrong" in said.err
    assert "network 1 of 3: fold 1 of 2" in said.err
    assert "network 3 of 3" in said.err
    assert said.err.splitlines()[-1].startswith("unweighted accuracy on strangers: ")
    assert said.err.splitlines()[-1].endswith("; by chance 0.500")
    model, base = read_model(tmp_path / "out/mine.tflite"), read_model(find_model())
    assert model.labels == ("happy", "tired")
    assert model.card["training"]["start"]["model"] == model_id(base)
    assert without_voice(base).card["use"] in model.card["use"]
    assert "of the voice" not in model.card["use"]  # which is left behind
    page = (tmp_path / "out/mine.md").read_text()
    assert model_id(base) in page
    assert "RAVDESS" in page
    assert model_id(model) in (tmp_path / "out/mine.html").read_text()
    written = (tmp_path / "out/mine.tflite").stat().st_mtime_ns
    began = time.monotonic()
    assert main(words(tmp_path)) == 0
    assert time.monotonic() - began < 20
    assert "made of these recordings already" in capfd.readouterr().err
    tiny_corpora.write(tmp_path / "data/noise/fan.wav", hiss)
    assert main(words(tmp_path)) == 64
    assert "fold-1 holds a run with noise and everyday speech " in capfd.readouterr().err
    assert (tmp_path / "out/mine.tflite").stat().st_mtime_ns == written


def scratch_is_righter(
    split: Split, recipe: Recipe, data: Path, run: Path, cache: Path, besides: Sequence[Clip]
) -> list[Prediction]:
    """Instead of training: in fold 1 the start is righter, else what starts from nothing."""
    is_right = (run.name == "start") == (run.parent.name == "fold-1")
    labels = [clip.emotion if is_right else "tired" for clip in split.test]
    guesses = [{name: float(name == label) for name in ("happy", "tired")} for label in labels]
    return [{**about(clip), "int8": p, "float": p} for clip, p in zip(split.test, guesses, strict=True)]


def test_what_was_chosen_is_trained_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    recordings(tmp_path / "data", speakers=4)
    monkeypatch.setattr(module, "WORTH_CHOOSING", 24)
    monkeypatch.setattr(module, "recipe_of", lambda order: with_settings(started(order.start), SHORT))
    monkeypatch.setattr(choice, "SCRATCH_STEPS", 3)
    monkeypatch.setattr(choice, "run_split", scratch_is_righter)
    monkeypatch.setattr(splits, "N_FOLDS", 2)
    assert main([word for word in words(tmp_path) if word != "--quick"]) == 0
    said = capfd.readouterr().err
    assert said.count("training starts from nothing: ") == 2
    assert said.count("training starts from the weights of the model file: ") == 1
    assert "has another recipe" not in said
    work = tmp_path / "out/mine.work"
    folds = [read_json(work / f"evaluation/fold-{n}/fit.json", "fit") for n in (1, 2)]
    final = read_json(work / "final/fit.json", "fit")
    assert [fitted["choice"]["chosen"] for fitted in (*folds, final)] == ["start", "scratch", "scratch"]
    assert ["start" in fitted for fitted in (*folds, final)] == [True, False, False]
    assert [fitted["recipe"]["finetune_steps"] for fitted in (*folds, final)] == [4, 3, 3]
    assert final["choice"] == {"chosen": "scratch", "start": 0.5, "scratch": 1.0, "clips": 6, "speakers": 1}
    model = read_model(tmp_path / "out/mine.tflite")
    assert model.card["training"]["choice"] == final["choice"]
    assert model.card["evaluation"]["choices"]["fold-1"]["chosen"] == "start"
    assert "start" not in model.card["training"]  # nor do the terms of that file hold
    assert read_model(find_model()).card["use"] not in model.card["use"]
    for page in ("mine.md", "mine.html"):
        text = (tmp_path / "out" / page).read_text()
        assert "0.500 from the weights of a model file, 1.000 from nothing" in text
        assert "1 of 2 started from the weights of the model file" in text


def started(start: Path) -> Recipe:
    return with_start(with_own(Recipe()), start, read_model(start))


@pytest.mark.slow
@pytest.mark.parametrize("quick", [True, False])
def test_killed_it_goes_on_to_the_same_file(quick: bool, tmp_path: Path) -> None:
    short = f"m.QUICK = {SHORT}" if quick else f"m.QUICK = {SHORT}\n    {CHOOSING}"
    program = f"import affectd_train.make as m, affectd_train.cli as c, sys\n    {short}\n    sys.exit(c.main())"
    files = []
    for name in ("whole", "killed"):
        folder = tmp_path / name
        recordings(folder / "data", speakers=2 if quick else 3)
        (folder / "run.py").write_text(f"if __name__ == '__main__':\n    {program}\n")
        given = [word for word in words(folder) if quick or word != "--quick"]
        command = [sys.executable, str(folder / "run.py"), *given]
        steps = ("evaluation/cache", "evaluation/fold-1/float.keras", "evaluation/fold-2", "final/int8.tflite")
        steps = steps if quick else ("choices/fold-2/scratch", "choices/final/start/float.keras", "final/int8.tflite")
        for step in steps if name == "killed" else ():
            with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as process:
                while process.poll() is None and not (folder / "out/mine.work" / step).exists():
                    time.sleep(0.05)
                os.killpg(process.pid, signal.SIGKILL)
        subprocess.run(command, check=True, capture_output=True)
        files.append(read_model(folder / "out/mine.tflite"))
    assert files[0].tflite == files[1].tflite
    chosen = [file.card["training"].get("choice") for file in files]
    assert chosen[0] == chosen[1]
    assert (chosen[0] is None) == quick
    assert files[0].card["evaluation"]["int8"] == files[1].card["evaluation"]["int8"]


def refused(folder: Path, capfd: pytest.CaptureFixture[str], *more: str) -> tuple[int, str]:
    code = main([*words(folder), *more])
    return code, capfd.readouterr().err.splitlines()[-1]


def no_room(dir: Path) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(dir / "tmp1234"))


def test_what_cannot_be_is_said_before_anything_is_trained(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = recordings(tmp_path / "data")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.tflite").write_bytes(find_model().read_bytes())
    code, line = refused(tmp_path, capfd)
    assert (code, "name another file or say --replace" in line) == (64, True), line
    assert read_model(tmp_path / "out/mine.tflite").tflite == read_model(find_model()).tflite
    code, line = refused(tmp_path, capfd, "--replace", "--model", str(tmp_path / "out/mine.tflite"))
    assert (code, "is the model file that training starts from: name another file" in line) == (64, True), line
    (tmp_path / "out/mine.tflite").unlink()
    code, line = refused(tmp_path, capfd, "--model", str(tmp_path / "labels.txt"))
    assert code == 78, line
    heard = read_model(find_model())
    training = heard.card["training"] | {"speakers": ["own-p0"]}
    write_model(tmp_path / "before.tflite", replace(heard, card=heard.card | {"training": training}))
    code, line = refused(tmp_path, capfd, "--model", str(tmp_path / "before.tflite"))
    assert (code, "before.tflite was trained on own-p0, who would be tested as strangers" in line) == (64, True), line
    (tmp_path / "before.tflite").unlink()
    code, line = refused(tmp_path, capfd, "--work", str(tmp_path / "labels.txt/work"))
    assert code == 74, line
    with monkeypatch.context() as full:
        full.setattr(tempfile, "TemporaryFile", no_room)
        code, line = refused(tmp_path, capfd)
    assert (code, line) == (74, f"affectd-train: {tmp_path / 'out'}: No space left on device")
    for number, path in enumerate((tmp_path / "data").glob("*.wav")):
        tiny_corpora.write(path, np.zeros(8000 + number))  # as of the wrong microphone
    code, line = refused(tmp_path, capfd)
    assert (code, "data: all recordings are silent" in line) == (65, True), line
    (data / "labels.csv").write_text("file,emotion,speaker\n0-happy-0.wav,happy,p0\n")
    code, line = refused(tmp_path, capfd)
    assert code == 65, line
    assert "all clips are happy" in line
    assert not list((tmp_path / "out").iterdir())
    (tmp_path / "out").rmdir()
    code, line = refused(tmp_path, capfd, "--work", str(tmp_path / "deep/work"))
    assert code == 65, line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "labels.txt"]
