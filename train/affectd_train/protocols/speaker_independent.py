"""The experiments behind every published figure, each one resumable from where it stopped.

Here are those on strangers; `random_splits` has those that put the same speakers on both sides.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from affectd.errors import NoInputError
from affectd_train.data.clips import Clip
from affectd_train.data.labels import labels_of
from affectd_train.data.splits import EMOBOX_RAVDESS, Split, emobox_ravdess, leave_one_speaker_out, speaker_folds
from affectd_train.data.terms import OPEN_TERMS, TERMS
from affectd_train.evaluation.metrics import metrics, recalls
from affectd_train.evaluation.predictions import (
    among,
)
from affectd_train.files import write_text
from affectd_train.protocols.runs import of_corpus, run_folds, run_split, summarize, with_others
from affectd_train.training.recipe import Recipe, swap_phases


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
