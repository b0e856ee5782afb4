"""What a protocol tells beforehand is what it runs: all of it, and the same after a way to another process."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affectd.recognition.model_file import write_model
from affectd_train import commands
from affectd_train.arguments import PROTOCOLS
from affectd_train.data.clips import Clip
from affectd_train.data.corpora import read_clips
from affectd_train.data.labels import in_order
from affectd_train.data.own import read_own_clips
from affectd_train.data.splits import EMOBOX_RAVDESS
from affectd_train.evaluation.predictions import about
from affectd_train.protocols import random_splits, runs, speaker_independent
from affectd_train.protocols.ahead import Job, running
from affectd_train.training.recipe import Recipe, with_own
from tiny_corpora import cremad, emodb, nemo, own, ravdess, tess
from tiny_model import tiny_model

ACTORS = tuple(int(name[-2:]) for fold in (1, 2) for name in EMOBOX_RAVDESS[fold])
CORPORA = ("ravdess", "tess", "cremad", "emodb", "nemo")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpora")
    ravdess(root, ACTORS)
    for corpus in (tess, cremad, emodb, nemo):
        corpus(root)
    own(root / "mine")
    return root


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Instead of training, guess, and note with what it would have been."""
    ran: list[tuple[Any, ...]] = []

    def guess(clips: Sequence[Clip]) -> list[Any]:
        labels = in_order(clip.emotion for clip in clips)
        rows = np.random.default_rng(0).dirichlet(np.ones(len(labels)), len(clips))
        answers = [dict(zip(labels, row.tolist(), strict=True)) for row in rows]
        return [about(clip) | {"int8": p, "float": p} for clip, p in zip(clips, answers, strict=True)]

    def run_split(split: Any, recipe: Recipe, data: Path, run: Path, cache: Path) -> list[Any]:
        ran.append((split, recipe, data, run, cache))
        run.mkdir(parents=True, exist_ok=True)
        write_model(run / "affectd.tflite", tiny_model())
        return guess(split.test)

    def run_seed_system(system: Any, split: Any, run: Path, cache: Path) -> list[Any]:
        ran.append((system, split, run, cache))
        return guess(split.test)

    for module in (runs, speaker_independent, random_splits):
        monkeypatch.setattr(module, "run_split", run_split)
    monkeypatch.setattr(random_splits, "run_seed_system", run_seed_system)
    monkeypatch.setattr(speaker_independent, "add_settled", lambda *told: None)  # no network is there to have a voice
    return ran


@pytest.mark.parametrize("name", PROTOCOLS)
def test_all_runs_are_told_and_no_others(name: str, data: Path, tmp_path: Path, ran: list[tuple[Any, ...]]) -> None:
    recipe, clips = Recipe(corpora=CORPORA), list(read_clips(data, CORPORA))
    if name == "own":
        recipe, clips = with_own(recipe), read_own_clips(data / "mine")
    told: list[tuple[Any, ...]] = []
    jobs: list[Job] = []

    def elsewhere(given: Sequence[Job]) -> None:
        jobs.extend(given)
        for job in given:
            function: Callable[..., object] = job.func  # type: ignore[attr-defined]
            function(*pickle.loads(pickle.dumps(job.args)))  # type: ignore[attr-defined]
        told.extend(ran)
        ran.clear()

    with running(elsewhere):
        commands.protocol(name)(clips, recipe, data, tmp_path)
    assert len(jobs) >= 2
    assert told == ran
    assert len({run[-2] for run in ran}) == len(ran), "each in a folder of its own"
