"""``affectd-train sweep``: trials of settings, each trained by `fit`; what their folders hold says how far they are.

Who is held back to choose is no one who tests: see `held_back`. Imports neither Keras nor Ray.
"""

from __future__ import annotations

import csv
import io
import json
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from affectd.errors import NoInputError, UsageError
from affectd.words.layout import Column, Layout
from affectd_train.data.clips import Clip
from affectd_train.data.own import description
from affectd_train.data.speakers import as_text
from affectd_train.data.splits import TooFewError, speaker_folds
from affectd_train.data.surroundings import surroundings
from affectd_train.files import write_json, written_whole
from affectd_train.protocols.space import Settings, Space
from affectd_train.stored import again, check, read_json, reading
from affectd_train.training.heard import check_start
from affectd_train.training.recipe import Recipe

N_HELD_BACK = 4
"""One in so many of the speakers is held back to choose."""

FINISHED, STOPPED, DIVERGED = "finished", "stopped early", "diverged"

Figures = dict[str, float | None]
"""Of a step: ``accuracy`` and ``loss`` of the speakers held back, None where there is nothing of them; ``seconds``."""


@dataclass
class Trial:
    """Settings that are tried, and what is known of them."""

    number: int
    settings: Settings
    recipe: Recipe
    run: Path
    steps: dict[int, Figures] = field(default_factory=dict)  # batches of both phases -> figures
    state: str = ""

    @property
    def length(self) -> int:
        """Batches of both phases; training that starts from a model file has the first behind it."""
        return self.recipe.finetune_steps + (0 if self.recipe.start else self.recipe.pretrain_steps)

    @property
    def last(self) -> Figures:
        """What is known of the last step."""
        return self.steps[max(self.steps)] if self.steps else {}

    @property
    def rank(self) -> tuple[bool, float, float]:
        """Larger is better: the accuracy, then the loss; a trial whose loss is no number comes last."""
        accuracy, loss = self.last.get("accuracy") or 0.0, self.last.get("loss") or 0.0
        return (True, accuracy, -loss) if math.isfinite(loss) else (False, 0.0, 0.0)

    @property
    def curve(self) -> tuple[list[float], list[float], str]:
        """Steps, the accuracy at each, and what became of it, for a picture."""
        known = [(step, figures["accuracy"]) for step, figures in sorted(self.steps.items())]
        points = [(float(step), share) for step, share in known if share is not None]
        return [step for step, _ in points], [share for _, share in points], self.state

    @cached_property
    def asked(self) -> dict[str, Any]:
        """The whole recipe, also what it has of a file or a start, as JSON gives it back."""
        found: dict[str, Any] = json.loads(json.dumps(self.recipe.as_json()))
        return found

    def note(self, state: str) -> None:
        """Write down what is known of it."""
        self.state = state
        steps = {str(step): figures for step, figures in sorted(self.steps.items())}
        note = {"settings": self.settings, "recipe": self.asked, "state": state, "steps": steps}
        write_json(self.run / "trial.json", note)

    def read(self) -> None:
        """Read what an earlier call has written down."""
        file = self.run / "trial.json"
        if not file.exists():
            return
        found = read_json(file, "sweep")
        with reading(file, again("sweep")):
            check(found["state"] in (FINISHED, STOPPED, DIVERGED, ""), "no state")
            steps = {int(step): dict(figures) for step, figures in found["steps"].items()}
            settings = tuple(found["settings"])
            recipe = dict(found.get("recipe", self.asked))  # which earlier versions did not write
        if settings != self.settings:
            raise UsageError(f"{self.run} is of {' '.join(settings)}: choose another folder, or remove this one")
        for key in recipe | self.asked:
            if recipe.get(key) != self.asked.get(key):
                change = f"{key} {recipe.get(key)}, now {self.asked.get(key)}"
                raise UsageError(f"{self.run} is of a recipe with {change}: choose another folder, or remove this one")
        self.steps, self.state = steps, found["state"]


@dataclass(frozen=True)
class Sweep:
    """All trials, and what they have in common."""

    space: Space
    trials: list[Trial]
    clips: list[Clip]  # without those of speakers who test
    validation: frozenset[str]  # speakers
    out: Path

    @property
    def asked(self) -> dict[str, object]:
        """What all trials have in common, for a note."""
        speakers = {"speakers": sorted({clip.speaker for clip in self.clips}), "held back": sorted(self.validation)}
        by_source = bool(self.trials[0].recipe.everyday_by_source)
        beside = surroundings(self.space.options["data"], by_source)
        return {**speakers, "clips": len(self.clips), **description(self.clips), **beside}

    def check(self) -> None:
        """Raise UsageError if its folder holds a sweep of something else."""
        note, asked = self.out / "sweep.json", self.asked
        before: dict[str, object] = read_json(note, "sweep") if note.exists() else asked
        for key in before:  # earlier versions wrote fewer
            if before.get(key) != asked.get(key):
                remedy = "choose another folder, or remove this one"
                raise UsageError(f"{self.out} holds a sweep with other {key}: {remedy}")

    def begin(self) -> None:
        """Note in its folder that it is of this sweep from now on; see `check`."""
        self.check()
        write_json(self.out / "sweep.json", self.asked)

    def read(self) -> None:
        """Read what earlier calls have written down of every trial."""
        for trial in self.trials:
            trial.read()

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to train."""
        return all(trial.state for trial in self.trials)

    @property
    def best(self) -> Trial | None:
        """The best one that was trained to its end, with a loss that is a number."""
        finished = [trial for trial in self.trials if trial.state == FINISHED and trial.rank[0]]
        return max(finished, key=lambda trial: trial.rank, default=None)


def planned(space: Space, recipes: Mapping[Settings, Recipe], clips: Sequence[Clip], out: Path) -> Sweep:
    """Plan a sweep, or the rest of one.

    Raises
    ------
    NoInputError, TooFewError
        If a speaker to hold out is not there, or no one can be held back to choose.
    UsageError
        If the folder holds a sweep of other recordings, speakers or settings, or the file to start from was trained on
        those who choose or test.
    """
    if unknown := sorted(set(space.hold_out) - {clip.speaker for clip in clips}):
        raise NoInputError(f"{space.path}: hold_out: no clip of {', '.join(unknown)}")
    mine = [clip for clip in clips if clip.speaker not in space.hold_out]
    names = [f"trial-{number:03d}" for number in range(1, len(recipes) + 1)]
    trials = [
        Trial(number, settings, recipe, out / name)
        for number, (name, (settings, recipe)) in enumerate(zip(names, recipes.items(), strict=True), start=1)
    ]
    if not all(trial.length for trial in trials):
        raise UsageError(f"{space.path}: nothing is trained where pretrain_steps and finetune_steps are 0")
    sweep = Sweep(space, trials, mine, held_back(mine), out)
    check_start(trials[0].recipe.start, {*space.hold_out, *sweep.validation})
    sweep.check()
    sweep.read()
    return sweep


def held_back(clips: Sequence[Clip]) -> frozenset[str]:
    """Choose the speakers by whom trials are compared: a quarter, of each corpus and gender, always the same."""
    if unknown := sum(not clip.speaker for clip in clips):
        raise TooFewError(f"who speaks is not known of {unknown} of {len(clips)} clips: a sweep holds speakers back")
    labels, speakers = {clip.emotion for clip in clips}, {clip.speaker for clip in clips}
    if len(speakers) > 1:
        for split in speaker_folds(clips, min(N_HELD_BACK, len(speakers)), seed=0):
            if {clip.emotion for clip in split.train} == labels:
                return frozenset(clip.speaker for clip in split.test)
    raise TooFewError("no speaker can be held back: of a label nothing would be left to train on")


COLUMNS = ("state", "steps", "validation_accuracy", "validation_loss", "seconds")
"""Of the table, behind the number of the trial and its settings."""


def table(sweep: Sweep) -> list[list[str]]:
    """Make the table of a sweep, its titles first."""
    keys = [setting.partition("=")[0] for setting in sweep.trials[0].settings]
    rows = [["trial", *keys, *COLUMNS]]
    for trial in sweep.trials:
        figures = [trial.last.get(name) for name in ("accuracy", "loss", "seconds")]
        values = [setting.partition("=")[2] for setting in trial.settings]
        shown = ["" if x is None else f"{x:.{digits}f}" for x, digits in zip(figures, (3, 3, 1), strict=True)]
        rows.append([str(trial.number), *values, trial.state, str(max(trial.steps, default=0)), *shown])
    return rows


Curves = Mapping[str, tuple[Sequence[float], Sequence[float], str]]


def written(sweep: Sweep, draw: Callable[[Curves, str | None, Path], object]) -> str:
    """Write ``sweep.csv`` and let ``sweep.png`` be drawn; return the table in lines, and which trial is best."""
    rows, text = table(sweep), io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    with written_whole(sweep.out / "sweep.csv") as beside:
        beside.write_text(text.getvalue(), "utf-8")
    name = f"trial {sweep.best.number}" if sweep.best else None
    draw({f"trial {trial.number}": trial.curve for trial in sweep.trials}, name, sweep.out / "sweep.png")
    return "\n".join([*_lines(rows), "", *_best(sweep)])


def _lines(rows: list[list[str]]) -> list[str]:
    """Put a table into columns, without the settings that are the same in all trials."""
    columns = [cells for cells in zip(*rows, strict=True) if cells[0] in ("trial", *COLUMNS) or len({*cells[1:]}) > 1]
    layout = Layout([Column(cells[0], max(map(len, cells)), cells[0] != "state") for cells in columns], None)
    return [layout.titles(), *map(layout.line, [*zip(*columns, strict=True)][1:])]


def _best(sweep: Sweep) -> list[str]:
    if (best := sweep.best) is None:
        return ["no trial was trained to its end with a loss that is a number"]
    who = f"{len(sweep.validation)} {'speaker' if len(sweep.validation) == 1 else 'speakers'}"
    said = f"trial {best.number} is best: it was right about {best.last['accuracy']:.3f} of the recordings of {who}"
    words = ["affectd-train", "fit"]
    options: dict[str, Any] = {**sweep.space.options, "hold_out": as_text(sweep.space.hold_out)}
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", str(value)] if value else []
    for setting in best.settings:
        words += ["--set", setting]
    words += ["--out", str(sweep.out / "best"), "--cache", str(sweep.out / "cache")]
    note = "who did not train. They chose it, so this is no test. To train it with them too:"
    return [f"{said} {note}", shlex.join(words)]
