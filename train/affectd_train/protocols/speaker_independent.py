"""The experiments behind every published figure, each one resumable from where it stopped.

Here are those on strangers; `random_splits` has those that put the same speakers on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

from affectd.errors import NoInputError
from affectd_train.data.clips import Clip
from affectd_train.data.labels import labels_of
from affectd_train.data.splits import EMOBOX_RAVDESS, Split, emobox_ravdess, leave_one_speaker_out, speaker_folds
from affectd_train.data.terms import OPEN_TERMS, TERMS
from affectd_train.evaluation.metrics import metrics, recalls
from affectd_train.evaluation.predictions import among
from affectd_train.files import write_json
from affectd_train.protocols.runs import Restricted, Summary, of_corpus, run_folds, run_split, with_others
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
    protocol = f"EmoDB, {len(splits)} speakers, each left out once, 6 of its 7 classes (no boredom), speakers disjoint"
    return run_folds("emodb-loso", protocol, splits, replace(recipe, target="emodb"), data, out, labels_of("emodb"))


def cremad_speakers(clips: Sequence[Clip], recipe: Recipe, data: Path, out: Path) -> Summary:
    """Test on each fifth of CREMA-D's actors, training on the others and on the other corpora.

    CREMA-D is the larger part of all there is, so what comes before it and what is spent on it change places.
    """
    mine = of_corpus("cremad", clips, data)
    splits = {fold: with_others(split, ["cremad"], clips) for fold, split in _fifths(mine).items()}
    swapped = replace(swap_phases(recipe), target="cremad")
    kind = "log-mel spectrograms" if mine[0].is_logmel else "audio"
    protocol = f"CREMA-D, 5 folds of its actors (seed 0), 6 classes, {kind}, speakers disjoint"
    return run_folds("cremad-speakers", protocol, splits, swapped, data, out, labels_of("cremad"))


def open_terms(clips: Sequence[Clip], recipe: Recipe, data: Path, out: Path) -> Summary:
    """Train on CREMA-D and EmoDB alone, without a fifth of the speakers of each, and test on those.

    What ``affectd-train fit --corpora cremad,emodb`` makes is trained the same way on all speakers.
    """
    splits = _fifths([clip for corpus in OPEN_TERMS for clip in of_corpus(corpus, clips, data)])
    labels = frozenset().union(*map(labels_of, OPEN_TERMS))
    protocol = f"CREMA-D and EmoDB, 5 folds of their speakers (seed 0), {len(labels)} classes, speakers disjoint"
    return run_folds("open-terms", protocol, splits, replace(recipe, corpora=OPEN_TERMS), data, out, labels)


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
    figures: dict[str, Restricted] = {}
    for name, trained in experiments.items():
        known = frozenset().union(*map(labels_of, trained))
        tested = [corpus for corpus in present if corpus not in trained]
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
            figures[f"{name}: {corpus}"] = {**metrics(among(theirs, common), protocol), "any_label": recalls(theirs)}
    summary: CrossCorpus = {"protocol": "cross-corpus", "experiments": figures}
    write_json(out / "metrics.json", summary)
    return summary
