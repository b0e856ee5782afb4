"""From the weights of a model file or from nothing: chosen on speakers who are held back of those that train.

Nothing of a fold's test speakers takes part: each fold chooses by itself, and its figure is of choosing and training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from affectd_train.data.clips import Clip
from affectd_train.data.splits import Split, TooFewError, own_splits
from affectd_train.evaluation.metrics import recalls
from affectd_train.files import say, write_json
from affectd_train.protocols.runs import run_split
from affectd_train.stored import Choice, read_json
from affectd_train.training import time_left
from affectd_train.training.recipe import Recipe
from affectd_train.training.time_left import Work

START, SCRATCH = "start", "scratch"
"""The ways: from the weights of a model file, and from nothing."""

SCRATCH_STEPS, SCRATCH_RATE = 1200, 6e-3
"""Batches of a training from nothing, and its highest learning rate."""

N_INNER = 4
"""One in so many of the speakers that train is held back to choose."""


def recipes_of(recipe: Recipe) -> dict[str, Recipe]:
    """Return the recipe that starts from a model file, and that of the same network and front end from nothing."""
    scratch = replace(recipe, start="", finetune_steps=SCRATCH_STEPS, finetune_rate=SCRATCH_RATE)
    return {START: recipe, SCRATCH: scratch}


@dataclass
class Ways:
    """What each network of a command is trained from."""

    recipe: Recipe  # from a model file
    data: Path
    out: Path  # for the runs to choose by, where a call that was stopped goes on
    cache: Path
    by_file: bool
    is_open: bool  # else all start from the file
    choices: dict[str, Choice] = field(default_factory=dict)  # network -> how it was chosen

    def plan(self, train: Sequence[Clip], test: Sequence[Clip] = ()) -> list[Work]:
        """List what is trained for one network: at most, for which way it will be is not known."""
        steps = [recipe.finetune_steps for recipe in recipes_of(self.recipe).values()]
        if not self.is_open:
            return [Work(steps[0], len(test))]
        return [*(Work(n, len(train) // N_INNER) for n in steps), Work(max(steps), len(test))]

    def chosen(self, name: str, train: Sequence[Clip], test: Sequence[Clip] = ()) -> Recipe:
        """Train either way without some of the speakers that train, and return what is righter about them.

        Parameters
        ----------
        name
            Of the network, for the folder of its runs.
        test
            Clips that the network is tested on, which neither train here nor are tested on: they share the bands.
        """
        inner = inner_split(train, self.by_file) if self.is_open else None
        if inner is None:
            for _ in self.plan(train)[1:]:  # planned, and left out
                time_left.begin(Work(0))
            time_left.begin(Work(self.recipe.finetune_steps, len(test)))
            return self.recipe
        recipes, right = recipes_of(self.recipe), {}
        for way, recipe in recipes.items():
            time_left.begin()
            predictions = run_split(inner, recipe, self.data, self.out / name / way, self.cache, test)
            right[way] = round(recalls(predictions)["int8"], 3)
        choice = Choice(
            chosen=SCRATCH if right[SCRATCH] > right[START] else START,
            start=right[START],
            scratch=right[SCRATCH],
            clips=len(inner.test),
            speakers=len({clip.speaker for clip in inner.test} - {""}),
        )
        say(f"training starts from {choice_words(choice)}")
        self.choices[name] = choice
        time_left.begin(Work(recipes[choice["chosen"]].finetune_steps, len(test)))
        return recipes[choice["chosen"]]


def inner_split(train: Sequence[Clip], by_file: bool) -> Split | None:
    """Hold back speakers, or files, of those that train; None where too few are left to train on."""
    groups = {clip.path if by_file else clip.speaker for clip in train}
    try:
        return own_splits(train, min(N_INNER, len(groups)), by_file)[0]
    except TooFewError:
        return None


def choice_words(choice: Choice) -> str:
    """Say what was chosen and why, in part of a line."""
    what = {START: "the weights of the model file", SCRATCH: "nothing"}[choice["chosen"]]
    who = f"{choice['clips']} recordings"
    if n := choice["speakers"]:
        who += f" of {n} {'speaker' if n == 1 else 'speakers'} held back"
    figures = f"{choice['start']:.3f} from the file, {choice['scratch']:.3f} from nothing"
    return f"{what}: {figures} (unweighted accuracy on {who})"


def note(run: Path, choice: Choice) -> None:
    """Put down in the ``fit.json`` of a run how it was chosen."""
    fitted = read_json(run / "fit.json", "fit")
    if fitted.get("choice") != choice:
        write_json(run / "fit.json", fitted | {"choice": choice})
