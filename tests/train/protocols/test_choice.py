"""From a model file or from nothing: what is righter about speakers held back, whatever the tested ones would say."""

from __future__ import annotations

import json
from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path

import pytest

from affectd_train.data.clips import Clip
from affectd_train.data.own import OWN
from affectd_train.data.splits import Split, own_splits
from affectd_train.evaluation.predictions import Prediction, about
from affectd_train.protocols import choice as module
from affectd_train.protocols import runs
from affectd_train.protocols.choice import SCRATCH, START, Ways, note
from affectd_train.protocols.runs import run_split
from affectd_train.training import time_left
from affectd_train.training.recipe import Recipe, with_own
from affectd_train.training.time_left import Plan, Work, planned

RECIPE = replace(with_own(Recipe()), start="base.tflite", finetune_steps=400)


def recordings(speakers: int) -> list[Clip]:
    return [
        Clip(OWN, Path(f"{speaker}-{label}-{take}.wav"), f"own-{speaker}", "", label, "")
        for speaker in range(speakers)
        for label in ("happy", "sad")
        for take in range(2)
    ]


class Runs:
    """Instead of training, answer with one label for all, or rightly; and note who trained, and who was tested."""

    def __init__(self, right: Sequence[str]) -> None:
        self.right = right
        self.seen: dict[str, tuple[Split, Recipe, set[str]]] = {}

    def __call__(
        self, split: Split, recipe: Recipe, data: Path, run: Path, cache: Path, besides: Sequence[Clip]
    ) -> list[Prediction]:
        self.seen[run.name] = split, recipe, {clip.speaker for clip in besides}
        is_right = run.name in self.right
        labels = [clip.emotion if is_right else "sad" for clip in split.test]
        guesses = [{name: float(name == label) for name in ("happy", "sad")} for label in labels]
        return [{**about(clip), "int8": p, "float": p} for clip, p in zip(split.test, guesses, strict=True)]


def ways(folder: Path, is_open: bool = True) -> Ways:
    return Ways(RECIPE, folder, folder / "choices", folder / "cache", by_file=False, is_open=is_open)


@pytest.mark.parametrize(
    ("right", "chosen"), [([SCRATCH], SCRATCH), ([START], START), ([START, SCRATCH], START), ([], START)]
)
def test_what_is_righter_is_chosen_and_at_a_tie_the_start(
    right: list[str], chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    made = Runs(right)
    monkeypatch.setattr(module, "run_split", made)
    mine = ways(tmp_path)
    recipe = mine.chosen("final", recordings(4))
    assert recipe == made.seen[chosen][1]
    assert recipe.start == ("base.tflite" if chosen == START else "")
    same = {"start": recipe.start, "finetune_steps": recipe.finetune_steps, "finetune_rate": recipe.finetune_rate}
    assert recipe == replace(RECIPE, **same)  # of the same network, front end and data
    figures = {way: 1.0 if way in right else 0.5 for way in (START, SCRATCH)}
    assert mine.choices == {"final": {"chosen": chosen, **figures, "clips": 4, "speakers": 1}}
    said = capfd.readouterr().err
    assert f"{figures[START]:.3f} from the file, {figures[SCRATCH]:.3f} from nothing" in said
    assert ("training starts from nothing" in said) == (chosen == SCRATCH)


def test_nothing_of_the_tested_speakers_takes_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = recordings(10)
    for split in own_splits(clips):
        made = Runs([SCRATCH])
        monkeypatch.setattr(module, "run_split", made)
        ways(tmp_path).chosen("fold-1", split.train, split.test)
        tested = {clip.speaker for clip in split.test}
        (first, _, shared), (second, _, _) = made.seen[START], made.seen[SCRATCH]
        assert first == second
        assert {*first.train, *first.test} == set(split.train)
        trained, held_back = ({clip.speaker for clip in side} for side in (first.train, first.test))
        assert trained
        assert held_back
        assert not trained & held_back
        assert not (trained | held_back) & tested
        assert shared == tested


@pytest.mark.parametrize(("speakers", "is_open"), [(1, True), (4, False)])
def test_where_nothing_can_or_need_be_chosen_training_starts_from_the_file(
    speakers: int, is_open: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Runs([SCRATCH])
    monkeypatch.setattr(module, "run_split", made)
    mine = ways(tmp_path, is_open)
    clips = recordings(speakers)
    with planned(Plan(mine.plan(clips))) as all_work:
        assert mine.chosen("final", clips) == RECIPE
    assert sum(all_work.works, ()) == (*[0] * 2 * (len(all_work.works) - 1), 400, 0)
    assert not made.seen
    assert not mine.choices


def test_the_steps_left_are_those_of_what_was_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "run_split", Runs([START]))
    mine = ways(tmp_path)
    clips, test = recordings(4), recordings(5)[-4:]
    planned_at_most = mine.plan(clips, test)
    with planned(Plan(planned_at_most)) as all_work:
        mine.chosen("final", clips, test)
    assert planned_at_most == [(400, 4), (module.SCRATCH_STEPS, 4), (module.SCRATCH_STEPS, 4)]
    assert all_work.works == [(400, 4), (module.SCRATCH_STEPS, 4), (400, 4)]


def test_a_choice_stands_in_the_note_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "fit.json").write_text('{"clips": {"own": 3}}')
    note(tmp_path, {"chosen": START, "start": 0.5, "scratch": 0.25, "clips": 4, "speakers": 1})
    noted = json.loads((tmp_path / "fit.json").read_text())
    assert noted["clips"] == {"own": 3}
    assert (noted["choice"]["chosen"], noted["choice"]["scratch"]) == ("start", 0.25)


def test_time_left_is_that_of_all_networks_also_while_the_first_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time_left.time, "monotonic", lambda: now)
    with planned(Plan([Work(200, 100), Work(400), Work(300, 100)])) as three:
        time_left.begin()
        assert time_left.step(1) == {}  # nothing is known
        for step in range(2, 101):
            now += 0.3
            told = time_left.step(step)
        assert told == {"all": "5 minutes left"}  # 1000 of 0.3 seconds
        now += 60  # 100 more steps, and 100 tests
        for step in range(101, 201):
            time_left.step(step)
        three.begin(Work(10))  # as when less is trained than was planned
        three.begin()
        assert three.left() == "2 minutes left"
        for step in range(201, 301):  # gone on with where another call was stopped
            now += 0.3
            told = time_left.step(step)
        assert told == {"all": "1 minute left"}  # for 100 tests
    assert time_left.step(1) == {}


def test_what_is_there_besides_shares_the_bands_and_is_not_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Sequence[Clip], Set[str]]] = []

    def fit(
        clips: Sequence[Clip], recipe: Recipe, data: Path, out: Path, cache: Path, held_out: Set[str] = frozenset()
    ) -> Path:
        asked.append((clips, held_out))
        raise InterruptedError

    monkeypatch.setattr(runs, "fit", fit)
    split = own_splits(recordings(6), 3)[0]
    inner = module.inner_split(split.train, by_file=False)
    assert inner is not None
    with pytest.raises(InterruptedError):
        run_split(inner, replace(RECIPE, start=""), tmp_path, tmp_path / "run", tmp_path, split.test)
    ((clips, held_out),) = asked
    assert set(clips) == set(recordings(6))
    assert [clip for clip in clips if clip.speaker not in held_out] == inner.train
