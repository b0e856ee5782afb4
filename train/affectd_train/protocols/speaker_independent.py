"""The experiments behind every published figure, each one resumable from where it stopped.

Here are those on strangers; `seed_protocols` has those that put the same speakers on both sides.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from affectd.errors import NoInputError
from affectd_train.calibration import calibration_figures
from affectd_train.corpora import Clip
from affectd_train.evaluate import (
    NETWORKS,
    Prediction,
    among,
    metrics,
    predict,
    read_predictions,
    recalls,
    write_predictions,
)
from affectd_train.fit import Recipe, claim, fit, swap_phases, write_text
from affectd_train.labels import LABELS, labels_of
from affectd_train.pack import pack
from affectd_train.quantize import quantize
from affectd_train.report import OPEN_TERMS, TERMS
from affectd_train.splits import EMOBOX_RAVDESS, Split, emobox_ravdess, leave_one_speaker_out, speaker_folds

PUBLISHED = {
    "ravdess-emobox": "54.3 % wav2vec2-base, 72.0 % WavLM-large, 75.3 % Whisper-large-v3 (six folds)",
    "emodb-loso": "about 94 % LIGHT-SERNET (7 classes, the best epoch chosen on the test fold)",
    "cremad-speakers": "76.5 % weighted, the best of EmoBox (speakers on both sides)",
}
"""protocol -> what others reached on the corpus, and how; unweighted accuracy where nothing else is said."""

Protocol = Callable[[Sequence[Clip], Recipe, Path, Path], dict[str, Any]]
"""From clips, recipe, data and output folder to the figures, which are also written to ``metrics.json`` there."""


def ravdess_emobox(clips: Sequence[Clip], recipe: Recipe, data: Path, out: Path) -> dict[str, Any]:
    """Train without each fold's actors, test on them: RAVDESS, 8 classes, speakers disjoint.

    A fold whose test actors are not all in ``data`` is left out, and the protocol's name says so.

    Returns
    -------
    What ``out/metrics.json`` holds; see `summarize`.

    Raises
    ------
    NoInputError
        If no fold can be tested.
    """
    present = {clip.speaker for clip in clips}
    folds = [fold for fold, actors in EMOBOX_RAVDESS.items() if present.issuperset(actors)]
    if not folds:
        raise NoInputError(f"{data}: not all test actors of RAVDESS of any EmoBox fold in it")
    everyone = {actor for actors in EMOBOX_RAVDESS.values() for actor in actors}
    absent = [actor[-2:] for actor in sorted(everyone - present)]
    protocol = f"RAVDESS, EmoBox folds {', '.join(map(str, folds))}, 8 classes, speakers disjoint"
    if absent:
        protocol += f"; actors {' '.join(absent)} neither trained nor tested on"
    splits = {str(fold): emobox_ravdess(clips, fold) for fold in folds}
    return summarize("ravdess-emobox", run_folds(splits, recipe, data, out), protocol, out)


def emodb_loso(clips: Sequence[Clip], recipe: Recipe, data: Path, out: Path) -> dict[str, Any]:
    """Leave every speaker of EmoDB out once, training on the others and on the other corpora; see `summarize`."""
    mine = of_corpus("emodb", clips, data)
    splits = {
        split.test[0].speaker.removeprefix("emodb-"): with_others(split, "emodb", clips)
        for split in leave_one_speaker_out(mine)
    }
    protocol = f"EmoDB, {len(splits)} speakers, each left out once, 6 of its 7 classes (no boredom), speakers disjoint"
    folds = run_folds(splits, replace(recipe, target="emodb"), data, out)
    return summarize("emodb-loso", folds, protocol, out, labels_of("emodb"))


def cremad_speakers(clips: Sequence[Clip], recipe: Recipe, data: Path, out: Path) -> dict[str, Any]:
    """Test on each fifth of CREMA-D's actors, training on the others and on the other corpora; see `summarize`.

    CREMA-D is the larger part of all there is, so what comes before it and what is spent on it change places.
    """
    mine = of_corpus("cremad", clips, data)
    splits = {
        str(number): with_others(split, "cremad", clips)
        for number, split in enumerate(speaker_folds(mine, 5, seed=0), start=1)
    }
    swapped = replace(swap_phases(recipe), target="cremad")
    kind = "log-mel spectrograms" if mine[0].is_logmel else "audio"
    protocol = f"CREMA-D, 5 folds of its actors (seed 0), 6 classes, {kind}, speakers disjoint"
    return summarize("cremad-speakers", run_folds(splits, swapped, data, out), protocol, out, labels_of("cremad"))


def open_terms(clips: Sequence[Clip], recipe: Recipe, data: Path, out: Path) -> dict[str, Any]:
    """Train on CREMA-D and EmoDB alone, without a fifth of the speakers of each, and test on those; see `summarize`.

    What ``affectd-train fit --corpora cremad,emodb`` makes is trained the same way on everybody.

    Raises
    ------
    NoInputError
        If one of the two is not at hand.
    """
    mine = [clip for corpus in OPEN_TERMS for clip in of_corpus(corpus, clips, data)]
    splits = {str(number): split for number, split in enumerate(speaker_folds(mine, 5, seed=0), start=1)}
    labels = frozenset().union(*map(labels_of, OPEN_TERMS))
    protocol = f"CREMA-D and EmoDB, 5 folds of their speakers (seed 0), {len(labels)} classes, speakers disjoint"
    folds = run_folds(splits, replace(recipe, corpora=OPEN_TERMS), data, out)
    return summarize("open-terms", folds, protocol, out, labels)


def cross_corpus(clips: Sequence[Clip], recipe: Recipe, data: Path, out: Path) -> dict[str, Any]:
    """Test on a whole corpus that nothing was trained on: on each in turn, and on all but those of open terms.

    A network answers with the labels that both sides have; clips with another label are left out.

    Returns
    -------
    What ``out/metrics.json`` holds: ``experiments``, name -> `metrics` and ``any_label`` as in `summarize`; of several
    tested corpora one entry for each.

    Raises
    ------
    NoInputError
        If there are not at least two corpora.
    """
    present = [name for name in recipe.corpora if any(clip.corpus == name for clip in clips)]
    if len(present) < 2:
        raise NoInputError(f"{data}: at least two corpora are needed, found {', '.join(present)}")
    experiments = {f"all-but-{tested}": ([c for c in present if c != tested], [tested]) for tested in present}
    open_terms = [name for name in present if not TERMS[name][2]]
    if open_terms and len(present) - len(open_terms) > 1:
        experiments["open-terms"] = (open_terms, [name for name in present if name not in open_terms])
    figures: dict[str, Any] = {}
    for name, (trained, tested) in experiments.items():
        known = frozenset().union(*map(labels_of, trained))
        split = Split(
            f"trained on {', '.join(trained)}",
            [clip for clip in clips if clip.corpus in trained],
            [clip for clip in clips if clip.corpus in tested and clip.emotion in known],
        )
        predictions = run_split(split, recipe, data, out / name, out / "cache")
        for corpus in tested:
            common = known & labels_of(corpus)
            protocol = f"{split.name}, tested on {corpus}, {len(common)} classes, speakers and corpora disjoint"
            theirs = [p for p in predictions if p["corpus"] == corpus]
            figures[f"{name}: {corpus}"] = metrics(among(theirs, common), protocol) | {"any_label": recalls(theirs)}
    summary = {"protocol": "cross-corpus", "experiments": figures}
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
