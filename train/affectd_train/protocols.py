"""The experiments behind every published figure, each one resumable from where it stopped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from affectd.errors import NoInputError
from affectd_train.corpora import Clip
from affectd_train.evaluate import Prediction, metrics, predict, read_predictions, write_predictions
from affectd_train.fit import Recipe, claim, fit, write_text
from affectd_train.pack import pack
from affectd_train.quantize import quantize
from affectd_train.splits import EMOBOX_RAVDESS, Split, emobox_ravdess


def ravdess_emobox(clips: Sequence[Clip], recipe: Recipe, data: Path, out: Path) -> dict[str, Any]:
    """Train without each fold's actors, test on them: RAVDESS, 8 classes, speakers disjoint.

    A fold whose test actors are not all in ``data`` is left out, and the protocol's name says so.

    Returns
    -------
    What ``out/metrics.json`` holds: `metrics` over all folds together, the unweighted accuracy of each fold and their
    mean, as int8 and as float.

    Raises
    ------
    NoInputError
        If no fold can be tested.
    """
    present = {clip.speaker for clip in clips}
    folds = [fold for fold, actors in EMOBOX_RAVDESS.items() if present.issuperset(actors)]
    if not folds:
        raise NoInputError(f"{data}: not all test actors of RAVDESS of any EmoBox fold in it")
    predictions: list[Prediction] = []
    per_fold = {}
    for fold in folds:
        split = emobox_ravdess(clips, fold)
        tested = run_split(split, recipe, data, out / f"fold-{fold}", out / "cache")
        figures = metrics(tested, split.name)
        write_text(out / f"fold-{fold}" / "metrics.json", json.dumps(figures, indent=1))
        per_fold[str(fold)] = {name: figures[name]["unweighted"] for name in ("int8", "float")}
        predictions += tested
    everyone = {actor for actors in EMOBOX_RAVDESS.values() for actor in actors}
    absent = [actor[-2:] for actor in sorted(everyone - present)]
    protocol = f"RAVDESS, EmoBox folds {', '.join(map(str, folds))}, 8 classes, speakers disjoint"
    if absent:
        protocol += f"; actors {' '.join(absent)} neither trained nor tested on"
    summary = metrics(predictions, protocol)
    summary["folds"] = per_fold
    summary["fold_mean"] = {n: float(np.mean([f[n] for f in per_fold.values()])) for n in ("int8", "float")}
    write_predictions(out / "predictions.jsonl", predictions)
    write_text(out / "metrics.json", json.dumps(summary, indent=1))
    return summary


def run_split(split: Split, recipe: Recipe, data: Path, run: Path, cache: Path) -> list[Prediction]:
    """Fit, quantize and pack on one side of a split; predict the other side."""
    clips = [*split.train, *split.test]
    held_out = frozenset(clip.speaker for clip in split.test)
    claim(run, clips, recipe, held_out)  # before anything of an earlier call is taken for an answer
    file = run / "predictions.jsonl"
    if file.exists():
        return read_predictions(file)
    float_path = fit(clips, recipe, data, run, cache, held_out)
    quantize(run)
    pack(run, run / "affectd.tflite", {"protocol": split.name})
    predictions = predict(run / "affectd.tflite", float_path, split.test, split.name)
    write_predictions(file, predictions)
    return predictions


PROTOCOLS = {"ravdess-emobox": ravdess_emobox}
"""Name on the command line -> experiment."""
