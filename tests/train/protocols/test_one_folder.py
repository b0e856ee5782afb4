"""Two calls that ask for different things: one does not take what the other makes in the same folder for its own."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

import tiny_corpora
from affectd.errors import UsageError
from affectd_train import stored
from affectd_train.data.clips import Clip
from affectd_train.data.everyday_speech import trained_on
from affectd_train.data.own import read_own
from affectd_train.data.splits import Split
from affectd_train.evaluation.predictions import Prediction, about
from affectd_train.protocols import runs
from affectd_train.protocols.runs import run_folds, run_split
from affectd_train.protocols.space import Space
from affectd_train.protocols.sweep import FINISHED, Sweep, Trial, planned
from affectd_train.training.fit import claim
from affectd_train.training.recipe import Recipe, with_own

RECIPE = with_own(Recipe())


@pytest.fixture
def split(tmp_path: Path) -> Split:
    tiny_corpora.own(tmp_path / "data")
    clips = read_own(tmp_path / "data").clips
    tested = clips[0].speaker
    sides = [[clip for clip in clips if (clip.speaker == tested) == is_test] for is_test in (False, True)]
    return Split("one speaker", *sides)


def test_of_two_evaluations_at_once_the_second_does_not_take_the_networks_of_the_first(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trains, may_go_on, waits = threading.Event(), threading.Event(), threading.Event()

    def fit(clips: Sequence[Clip], recipe: Recipe, data: Path, run: Path, *others: object) -> Path:
        trains.set()
        assert may_go_on.wait(60)
        (run / "float.keras").touch()
        return run / "float.keras"

    def predict(model: Path, network: Path, clips: Sequence[Clip], title: str) -> list[Prediction]:
        return [{**about(clip), "int8": {clip.emotion: 1.0}, "float": {clip.emotion: 1.0}} for clip in clips]

    for name, instead in {"fit": fit, "predict": predict, "is_voice_as_now": lambda *_: True}.items():
        monkeypatch.setattr(runs, name, instead)
    for name in ("quantize", "pack", "give_voice"):
        monkeypatch.setattr(runs, name, lambda *_: None)
    monkeypatch.setattr(stored, "say", lambda line: waits.set() if "waiting for that" in line else None)
    places = tmp_path / "data", tmp_path / "run", tmp_path / "cache"
    with ThreadPoolExecutor() as threads:
        first = threads.submit(run_split, split, RECIPE, *places)
        assert trains.wait(60)
        second = threads.submit(run_split, split, replace(RECIPE, seed=7), *places)
        assert waits.wait(60)
        may_go_on.set()
        answers = first.result(60)
        with pytest.raises(UsageError, match="holds a run with seed 0, now 7"):
            second.result(60)
    assert run_split(split, RECIPE, *places) == answers


def test_what_was_measured_of_folds_that_are_gone_is_not_taken_for_that_of_others(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def run(split: Split, recipe: Recipe, data: Path, run: Path, *others: object) -> list[Prediction]:
        run.mkdir(parents=True, exist_ok=True)
        for name in ("asked.json", "fit.json"):
            (run / name).write_text("{}")
        return [{**about(clip), "int8": {clip.emotion: 1.0}, "float": {clip.emotion: 1.0}} for clip in split.test]

    monkeypatch.setattr(runs, "run_split", run)
    monkeypatch.setattr(runs, "stranger_share", lambda paths: 1.0)
    out, folds = tmp_path / "out", {"1": split, "2": split}
    run_folds("own", "", folds, RECIPE, tmp_path / "data", out)
    measured = out / "robustness.json"
    measured.write_text("of these")
    run_folds("own", "", folds, RECIPE, tmp_path / "data", out)
    assert measured.read_text() == "of these"
    shutil.rmtree(out / "fold-1")
    run_folds("own", "", folds, RECIPE, tmp_path / "data", out)
    assert not measured.exists()
    assert (out / "robustness.json.before").read_text() == "of these"
    assert f"{measured} is of networks that are not there any more" in capfd.readouterr().err
    assert (out / "metrics.json").exists()
    with pytest.raises(UsageError, match="fold-2 is of another evaluation: choose another folder, or remove this one"):
        run_folds("own", "", {"1": split}, RECIPE, tmp_path / "data", out)


def test_a_trial_of_another_recipe_is_not_taken_for_this_one(tmp_path: Path) -> None:
    settings = ("finetune_rate=0.002",)
    Trial(1, settings, RECIPE, tmp_path, {4: {"accuracy": 0.5}}).note(FINISHED)
    again = Trial(1, settings, RECIPE, tmp_path)
    again.read()
    assert again.state == FINISHED
    with pytest.raises(UsageError, match="is of a recipe with seed 0, now 5: choose another folder"):
        Trial(1, settings, replace(RECIPE, seed=5), tmp_path).read()


def test_a_trial_of_an_earlier_version_which_does_not_say_its_recipe_is_taken(tmp_path: Path) -> None:
    (tmp_path / "trial.json").write_text('{"settings": ["seed=1"], "state": "finished", "steps": {}}')
    trial = Trial(1, ("seed=1",), RECIPE, tmp_path)
    trial.read()
    assert trial.state == FINISHED


@pytest.mark.parametrize("place", ["noise", "noise/impulse_responses", "speech"])
def test_with_other_noise_or_everyday_speech_a_run_is_another(place: str, split: Split, tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    claim(run, split.train, RECIPE, data, frozenset())
    (run / "float.keras").touch()
    note = json.loads((run / "asked.json").read_text())
    tiny_corpora.write(data / place / "street.wav", tiny_corpora.voice(90))
    assert trained_on(Path("street.wav"))
    with pytest.raises(UsageError, match="holds a run with noise and everyday speech "):
        claim(run, split.train, RECIPE, data, frozenset())
    del note["noise and everyday speech"]  # as an earlier version left it
    (run / "asked.json").write_text(json.dumps(note))
    claim(run, split.train, RECIPE, data, frozenset())


def test_a_sweep_in_a_folder_that_another_has_taken_meanwhile_ends(split: Split, tmp_path: Path) -> None:
    def sweep(clips: list[Clip]) -> Sweep:
        space = Space(path=tmp_path / "space.toml", values={}, options={"data": tmp_path / "data"})
        return planned(space, {("seed=1",): RECIPE}, clips, tmp_path / "out")

    mine, other = sweep([*split.train, *split.test]), sweep([*split.train, *split.test[1:]])
    other.begin()
    with pytest.raises(UsageError, match="holds a sweep with other clips"):
        mine.begin()
