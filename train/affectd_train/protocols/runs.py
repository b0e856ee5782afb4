"""What every protocol is made of: one run by one split, runs of all folds, and their figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from affectd.errors import NoInputError
from affectd_train.data.clips import Clip
from affectd_train.data.labels import LABELS
from affectd_train.data.splits import Split
from affectd_train.evaluation.calibration import calibration_figures
from affectd_train.evaluation.metrics import metrics, recalls
from affectd_train.evaluation.predictions import (
    NETWORKS,
    Prediction,
    among,
    predict,
    read_predictions,
    write_predictions,
)
from affectd_train.export.pack import pack
from affectd_train.export.quantize import quantize
from affectd_train.files import write_text
from affectd_train.training.fit import claim, fit
from affectd_train.training.recipe import Recipe


def run_split(split: Split, recipe: Recipe, data: Path, run: Path, cache: Path) -> list[Prediction]:
    """Fit, quantize and pack on one side of a split; predict the other side."""
    corpora, speakers = {clip.corpus for clip in split.train}, {clip.speaker for clip in split.train}
    strangers = {clip.speaker for clip in split.test} - speakers
    # Strangers are left out by name, so that all folds share the bands of whole corpora. Of people on both sides of
    # a split, and of corpora that do not train, only what trains is handed over.
    train = set(split.train)
    clips = [c for c in (*split.train, *split.test) if c in train or (c.speaker in strangers and c.corpus in corpora)]
    held_out = frozenset(clip.speaker for clip in clips) & strangers
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


def run_folds(
    splits: dict[str, Split], recipe: Recipe, data: Path, out: Path
) -> dict[str, tuple[Split, list[Prediction]]]:
    """Run splits that share what does not depend on the split, each in ``out/fold-NAME``."""
    return {
        name: (split, run_split(split, recipe, data, out / f"fold-{name}", out / "cache"))
        for name, split in splits.items()
    }


def summarize(
    name: str,
    folds: dict[str, tuple[Split, list[Prediction]]],
    protocol: str,
    out: Path,
    labels: frozenset[str] = frozenset(LABELS),
) -> dict[str, Any]:
    """Write the figures of every fold and of all of them.

    Parameters
    ----------
    name
        What the command line calls the protocol.
    labels
        Those of the tested corpus. Where they are fewer than the network's, the figures are of a network that answers
        with them alone.

    Returns
    -------
    What ``out/metrics.json`` holds: `metrics` over all folds together, ``name``, ``trained_on`` (corpora),
    ``published`` (from `PUBLISHED`), ``folds``, the unweighted accuracy of each, ``fold_mean``, their mean, and
    ``any_label``, the unweighted accuracy when every label may be answered, as int8 and as float; and ``calibration``.
    """
    predictions: list[Prediction] = []
    per_fold = {}
    for fold, (split, tested) in folds.items():
        restricted = among(tested, labels)
        figures = metrics(restricted, split.name)
        write_text(out / f"fold-{fold}" / "metrics.json", json.dumps(figures, indent=1))
        per_fold[fold] = {network: figures[network]["unweighted"] for network in NETWORKS}
        predictions += restricted
    summary = metrics(predictions, protocol)
    summary["name"] = name
    summary["trained_on"] = sorted({clip.corpus for split, _ in folds.values() for clip in split.train})
    summary["published"] = PUBLISHED.get(name)
    summary["folds"] = per_fold
    summary["fold_mean"] = {n: float(np.mean([f[n] for f in per_fold.values()])) for n in NETWORKS}
    summary["any_label"] = recalls([p for _, tested in folds.values() for p in tested])
    summary["calibration"] = calibration_figures(predictions)
    write_predictions(out / "predictions.jsonl", predictions)
    write_text(out / "metrics.json", json.dumps(summary, indent=1))
    return summary


def of_corpus(name: str, clips: Iterable[Clip], data: Path) -> list[Clip]:
    """Select a corpus; raise NoInputError where there is none of it."""
    if not (mine := [clip for clip in clips if clip.corpus == name]):
        raise NoInputError(f"{data}: no clip of {name} in it")
    return mine


def with_others(split: Split, corpus: str, clips: Iterable[Clip]) -> Split:
    """Let every other corpus train too."""
    return replace(split, train=[*split.train, *(clip for clip in clips if clip.corpus != corpus)])


PUBLISHED = {
    "ravdess-emobox": "54.3 % wav2vec2-base, 72.0 % WavLM-large, 75.3 % Whisper-large-v3 (six folds)",
    "emodb-loso": "about 94 % LIGHT-SERNET (7 classes, the best epoch chosen on the test fold)",
    "cremad-speakers": "76.5 % weighted, the best of EmoBox (speakers on both sides)",
}
"""protocol -> what others reached on the corpus, and how; unweighted accuracy where nothing else is said."""


Protocol = Callable[[Sequence[Clip], Recipe, Path, Path], dict[str, Any]]
"""From clips, recipe, data and output folder to the figures, which are also written to ``metrics.json`` there."""
