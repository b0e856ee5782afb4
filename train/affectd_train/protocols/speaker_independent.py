"""The experiments behind every published figure, each one resumable from where it stopped.

Here are those on strangers; `random_splits` has those that put the same speakers on both sides.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypedDict

from affectd.errors import NoInputError
from affectd_train.data.clips import Clip
from affectd_train.data.labels import labels_of
from affectd_train.data.recordings import common_seconds
from affectd_train.data.splits import EMOBOX_RAVDESS, Split, emobox_ravdess, leave_one_speaker_out, speaker_folds
from affectd_train.data.terms import DEVELOPMENT, OPEN_TERMS, TERMS
from affectd_train.evaluation.metrics import metrics, recalls
from affectd_train.evaluation.predictions import (
    among,
    in_words_of_corpus,
    predict_packed,
    read_predictions,
)
from affectd_train.evaluation.settled import KINDS
from affectd_train.evaluation.unheard import (
    OfCorpus,
    at_settings_from,
    at_settings_of_others,
    means,
    means_of,
    note_lengths,
)
from affectd_train.files import write_json
from affectd_train.protocols.ahead import ahead
from affectd_train.protocols.runs import Restricted, Summary, of_corpus, run_folds, run_split, with_others
from affectd_train.protocols.voices import add_settled
from affectd_train.training.recipe import Recipe, swap_phases


def ravdess_emobox(clips: Sequence[Clip], recipe: Recipe, data: Path, out: Path) -> Summary:
    """Train without each fold's actors, test on them: RAVDESS, 8 classes, speakers disjoint.

    A fold whose test actors are not all in ``data`` is left out, and the protocol's name says so.

    Raises
    ------
    NoInputError
        If no fold can be tested.
    """
    present = {clip.speaker for clip in clips}
    splits = {
        str(fold): emobox_ravdess(clips, fold) for fold, actors in EMOBOX_RAVDESS.items() if present.issuperset(actors)
    }
    if not splits:
        raise NoInputError(f"{data}: not all test actors of RAVDESS of any EmoBox fold in it")
    protocol = f"RAVDESS, EmoBox folds {', '.join(splits)}, 8 classes, speakers disjoint"
    if absent := sorted(frozenset().union(*EMOBOX_RAVDESS.values()) - present):
        protocol += f"; actors {' '.join(actor[-2:] for actor in absent)} neither trained nor tested on"
    return run_folds("ravdess-emobox", protocol, splits, recipe, data, out)


def emodb_loso(clips: Sequence[Clip], recipe: Recipe, data: Path, out: Path) -> Summary:
    """Leave every speaker of EmoDB out once, training on the others and on the other corpora."""
    splits = {
        split.test[0].speaker.removeprefix("emodb-"): with_others(split, ["emodb"], clips)
        for split in leave_one_speaker_out(of_corpus("emodb", clips, data))
    }
    seconds = common_seconds([clip for split in splits.values() for clip in split.test])
    cut = "" if seconds is None else f", recordings cut to {seconds:.1f} s"
    classes = f"6 of its 7 classes (no boredom){cut}"
    protocol = f"EmoDB, {len(splits)} speakers, each left out once, {classes}, speakers disjoint"
    counted = partial(among, labels=labels_of("emodb"))
    return run_folds("emodb-loso", protocol, splits, replace(recipe, target="emodb"), data, out, counted)


def cremad_speakers(clips: Sequence[Clip], recipe: Recipe, data: Path, out: Path) -> Summary:
    """Test on each fifth of CREMA-D's actors, training on the others and on the other corpora.

    CREMA-D is the larger part of all there is, so what comes before it and what is spent on it change places.
    """
    mine = of_corpus("cremad", clips, data)
    splits = {fold: with_others(split, ["cremad"], clips) for fold, split in _fifths(mine).items()}
    swapped = replace(swap_phases(recipe), target="cremad")
    kind = "log-mel spectrograms" if mine[0].is_logmel else "audio"
    protocol = f"CREMA-D, 5 folds of its actors (seed 0), 6 classes, {kind}, speakers disjoint"
    counted = partial(among, labels=labels_of("cremad"))
    return run_folds("cremad-speakers", protocol, splits, swapped, data, out, counted)


def open_terms(clips: Sequence[Clip], recipe: Recipe, data: Path, out: Path) -> Summary:
    """Train on CREMA-D and EmoDB alone, without a fifth of the speakers of each, and test on those.

    What ``affectd-train fit --corpora cremad,emodb`` makes is trained the same way on all speakers.
    """
    splits = _fifths([clip for corpus in OPEN_TERMS for clip in of_corpus(corpus, clips, data)])
    labels = frozenset().union(*map(labels_of, OPEN_TERMS))
    protocol = f"CREMA-D and EmoDB, 5 folds of their speakers (seed 0), {len(labels)} classes, speakers disjoint"
    counted = partial(among, labels=labels)
    return run_folds("open-terms", protocol, splits, replace(recipe, corpora=OPEN_TERMS), data, out, counted)


UNHEARD = ("ravdess", "tess", "cremad", "emodb", "nemo", "ased", "emotale")
"""The corpora that `leave_one_corpus_out` tests; others that are at hand train in every fold."""


class Unheard(Summary):
    """What ``metrics.json`` of `leave_one_corpus_out` holds; the accuracies of a `Summary` have a corpus for a fold.

    ``mean`` is over the ``corpora``. ``development`` are the corpora that never train, each tested by the networks of
    all folds. ``mean_settled`` has the means after days of a voice; nothing where there are too few to fit one.
    """

    corpora: dict[str, OfCorpus]
    mean: dict[str, float]
    mean_settled: dict[str, dict[str, float]]
    development: dict[str, OfCorpus]


def leave_one_corpus_out(clips: Sequence[Clip], recipe: Recipe, data: Path, out: Path) -> Unheard:
    """Test on each of `UNHEARD` a network that heard nothing of it, trained on all other corpora at hand.

    Any label may be answered; see `affectd_train.evaluation.predictions.in_words_of_corpus`. Temperature and threshold
    of a corpus are found on what was predicted of the others.

    Raises
    ------
    NoInputError
        If there are not at least two of them.
    """
    present = {clip.corpus for clip in clips}
    tested = [corpus for corpus in UNHEARD if corpus in present]
    if len(tested) < 2:
        raise NoInputError(f"{data}: at least two of {', '.join(UNHEARD)} are needed, found {', '.join(tested)}")
    trains = [clip for clip in clips if clip.corpus not in DEVELOPMENT]
    splits = {
        corpus: Split(
            f"{corpus}, of which nothing was trained on",
            [clip for clip in trains if clip.corpus != corpus],
            [clip for clip in trains if clip.corpus == corpus],
        )
        for corpus in tested
    }
    protocol = f"{', '.join(tested)}, each tested by a network that heard nothing of it, any label, corpora disjoint"
    summary = run_folds("leave-one-corpus-out", protocol, splits, recipe, data, out, in_words_of_corpus)
    predictions = read_predictions(out / "predictions.jsonl")
    corpora = at_settings_of_others(predictions, summary["stranger_share"])
    development = {}
    for corpus in sorted(present.intersection(DEVELOPMENT)):
        mine = [clip for clip in clips if clip.corpus == corpus]
        runs = [out / f"fold-{fold}" for fold in splits]
        heard = [p for run in runs for p in predict_packed(run / "affectd.tflite", mine, run)]
        development[corpus] = at_settings_from(predictions, heard, summary["stranger_share"])
    add_settled(corpora, development, splits, clips, out)
    note_lengths(corpora, trains)
    rows = [corpus["settled"] for corpus in corpora.values() if "settled" in corpus]
    figures: Unheard = {
        **summary,
        "corpora": corpora,
        "mean": means(corpora),
        "mean_settled": {kind: means_of([row[kind] for row in rows]) for kind in KINDS if len(rows) == len(corpora)},
        "development": development,
    }
    write_json(out / "metrics.json", figures)
    return figures


def _fifths(clips: Sequence[Clip]) -> dict[str, Split]:
    return {str(number): split for number, split in enumerate(speaker_folds(clips, 5, seed=0), start=1)}


class CrossCorpus(TypedDict):
    """Figures by the names of the experiment and of the tested corpus."""

    protocol: str
    experiments: dict[str, Restricted]


def cross_corpus(clips: Sequence[Clip], recipe: Recipe, data: Path, out: Path) -> CrossCorpus:
    """Test on a whole corpus that nothing was trained on: on each in turn, and on all but those of open terms.

    A network answers with the labels that both sides have; clips with another label are left out.

    Raises
    ------
    NoInputError
        If there are not at least two corpora.
    """
    present = [name for name in recipe.corpora if any(clip.corpus == name for clip in clips)]
    if len(present) < 2:
        raise NoInputError(f"{data}: at least two corpora are needed, found {', '.join(present)}")
    experiments = {f"all-but-{tested}": [c for c in present if c != tested] for tested in present}
    open_terms = [name for name in present if not TERMS[name][2]]
    if open_terms and len(present) - len(open_terms) > 1:
        experiments["open-terms"] = open_terms
    splits = {name: _across(clips, trained, present) for name, trained in experiments.items()}
    ahead(partial(run_split, split, recipe, data, out / name, out / "cache") for name, split in splits.items())
    figures: dict[str, Restricted] = {}
    for name, trained in experiments.items():
        known = frozenset().union(*map(labels_of, trained))
        tested = [corpus for corpus in present if corpus not in trained]
        split = splits[name]
        predictions = run_split(split, recipe, data, out / name, out / "cache")
        for corpus in tested:
            common = known & labels_of(corpus)
            protocol = f"{split.name}, tested on {corpus}, {len(common)} classes, speakers and corpora disjoint"
            theirs = [p for p in predictions if p["corpus"] == corpus]
            figures[f"{name}: {corpus}"] = {**metrics(among(theirs, common), protocol), "any_label": recalls(theirs)}
    summary: CrossCorpus = {"protocol": "cross-corpus", "experiments": figures}
    write_json(out / "metrics.json", summary)
    return summary


def _across(clips: Sequence[Clip], trained: Collection[str], present: Collection[str]) -> Split:
    """Train on some corpora, test on the others that are present, on what has a label that training knows."""
    known = frozenset().union(*map(labels_of, trained))
    return Split(
        f"trained on {', '.join(trained)}",
        [clip for clip in clips if clip.corpus in trained],
        [clip for clip in clips if clip.corpus in present and clip.corpus not in trained and clip.emotion in known],
    )
