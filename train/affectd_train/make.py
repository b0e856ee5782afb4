"""One command from recordings of one's own to a model file with its card: the steps of ``affectd-train`` in order.

Everything that takes long is kept in a folder for the work, so that a call that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from affectd.errors import DataError, UsageError
from affectd.recognition.model_file import read_model
from affectd.words.layout import room
from affectd_train.data.clips import Clip
from affectd_train.data.inspection import findings, words
from affectd_train.data.own import is_own, read_own, what_is_lacking
from affectd_train.data.splits import Split, own_splits, strangers_of
from affectd_train.data.surroundings import surroundings
from affectd_train.files import made_folder, say, write_json
from affectd_train.folders import fingerprint
from affectd_train.protocols.evaluated import read_answers
from affectd_train.release import check_ours, release, write_report
from affectd_train.reports.card_words import headline
from affectd_train.reports.records import Card
from affectd_train.stored import locked
from affectd_train.training.heard import check_start
from affectd_train.training.recipe import Recipe, with_own, with_settings, with_start
from affectd_train.training.time_left import Plan, planned

QUICK = ("finetune_steps=300", "augmented_copies=2")
"""What a hurry changes of the recipe."""

QUICK_FOLDS = 3
WORTH_CHOOSING = 2000
"""Recordings below which training starts from the model file: of 353 and 500 it was better, of 2,474 as good as from
nothing (``models/EXPERIMENTS.md``)."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is asked for."""

    data: Path
    out: Path  # the model file; its card is written beside it
    start: Path  # the model file whose weights training starts from
    labels: Path | None = None
    by_file: bool = False
    quick: bool = False
    work: Path | None = None
    replace: bool = False  # whatever is there in place of the results

    @property
    def results(self) -> list[Path]:
        """The model file, and its card as text and as a page."""
        return [self.out, self.out.with_suffix(".md"), self.out.with_suffix(".html")]

    @property
    def folder(self) -> Path:
        """For the work."""
        return self.work or self.out.with_suffix(".work")


def make(order: Order) -> list[Path]:
    """Inspect, train and test without each fold of the speakers, train on all, quantize, calibrate, pack and report.

    Returns
    -------
    The files that were written. Where they are there already, made of the same, nothing is done.

    Raises
    ------
    DataError, NoInputError
        If a network cannot be trained and tested on the recordings, or started from the model file.
    UsageError
        If another file is in the place of a result, also that which training starts from, or the work of another order
        in the folder.
    """
    if not is_own(order.data, order.labels):
        raise UsageError(
            f"{order.data} holds corpora: make takes recordings of your own; docs/training.md has the rest"
        )
    if order.out.suffix != ".tflite":
        raise UsageError(f"--out {order.out}: a model file ends in .tflite")
    if order.out.exists() and order.start.exists() and order.out.samefile(order.start):
        raise UsageError(f"--out {order.out} is the model file that training starts from: name another file")
    recipe = recipe_of(order)
    corpus = read_own(order.data, order.labels)
    asked = _digest(order, recipe, corpus.clips)
    if _is_made(order, asked):
        say(f"{order.out} is made of these recordings already")
        return order.results
    with _places(order), locked(order.folder / "made.json"):
        found = findings(corpus)
        for line in words(found, room(sys.stderr)):
            say(line)
        damaged = set(found["damaged"])
        clips = [clip for clip in corpus.clips if str(clip.path) not in damaged]
        for lacking in what_is_lacking(clips):
            raise DataError(f"{order.data}: {lacking}")
        if found["silent"] and len(found["silent"]) == found["heard"] - len(found["damaged"]):
            raise DataError(f"{order.data}: all recordings are silent, so there is nothing to train on")
        _train(order, recipe, clips)
        made = {path.name: fingerprint(path) for path in order.results}
        write_json(order.folder / "made.json", {"asked": asked, "made": made})
    return order.results


def recipe_of(order: Order) -> Recipe:
    """Make the recipe: from the weights of a model file, and in a hurry with fewer steps and copies."""
    recipe = with_start(with_own(Recipe()), order.start, read_model(order.start))
    return with_settings(recipe, QUICK) if order.quick else recipe


def _train(order: Order, recipe: Recipe, clips: Sequence[Clip]) -> None:
    n_folds = min(QUICK_FOLDS, len({clip.speaker for clip in clips} - {""}) or QUICK_FOLDS) if order.quick else None
    splits = own_splits(clips, n_folds, order.by_file)
    check_start(recipe.start, strangers_of(splits))
    # Late: Keras takes seconds to start, and bad data is said at once.
    from affectd_train.export.quantize import quantize
    from affectd_train.protocols.choice import Ways, note
    from affectd_train.protocols.own import own
    from affectd_train.training.fit import fit

    run, evaluation = order.folder / "final", order.folder / "evaluation"
    cache = evaluation / "cache"
    n = len(splits) + 1
    is_open = len(clips) >= WORTH_CHOOSING and not order.quick
    ways = Ways(recipe, order.data, order.folder / "choices", cache, order.by_file, is_open)
    plan = [work for split in splits for work in ways.plan(split.train, split.test)]
    with planned(Plan([*plan, *ways.plan(clips)])) as all_work:

        def begin(number: int, what: str) -> None:
            left = f", {words}" if (words := all_work.left()) else ""
            say(f"network {number} of {n}{left}: {what}")

        def of_fold(fold: str, split: Split) -> Recipe:
            begin(int(fold), f"{split.name}: {len(split.train)} recordings train, {len(split.test)} test")
            return ways.chosen(f"fold-{fold}", split.train, split.test)

        figures = own(clips, of_fold, order.data, evaluation, n_folds, order.by_file)
        begin(n, f"the network of the file: all {len(clips)} recordings train")
        fit(clips, ways.chosen("final", clips), order.data, run, cache)
    for name, choice in ways.choices.items():
        note(run if name == "final" else evaluation / name, choice)
    write_json(evaluation / "metrics.json", {**figures, "choices": ways.choices} if ways.choices else figures)
    quantize(run)
    model = release(run, evaluation, [], order.out, order.replace)
    _, text, page = order.results
    write_report(order.out, text, page, evaluation, None, order.replace)
    answers = read_answers(evaluation)
    if unheard := sum(not prediction["int8"] for prediction in answers):
        say(f"in {unheard} of the {len(answers)} recordings no speech is heard, and they count as wrong")
    say(headline(cast(Card, model.card)))


def _digest(order: Order, recipe: Recipe, clips: Sequence[Clip]) -> str:
    """Name what the results depend on."""
    rows = [
        [str(clip.path), fingerprint(clip.path), clip.emotion, clip.speaker, clip.start_seconds, str(clip.end_seconds)]
        for clip in clips
    ]
    beside = surroundings(order.data, bool(recipe.everyday_by_source))
    asked = [recipe.as_json(), order.by_file, order.quick, rows, beside]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode(errors="surrogateescape")).hexdigest()


def _is_made(order: Order, asked: str) -> bool:
    """Tell whether the results of the same order are there, as they were written."""
    note = order.folder / "made.json"
    if not (note.is_file() and all(path.is_file() for path in order.results)):
        return False
    now = {path.name: fingerprint(path) for path in order.results}
    try:
        return bool(json.loads(note.read_text("utf-8")) == {"asked": asked, "made": now})
    except ValueError:
        return False


@contextmanager
def _places(order: Order) -> Iterator[None]:
    """Make the folders, and see that the results may and can be written: before an hour of training, not after it.

    Those that nothing was written into are removed at the end.

    Raises
    ------
    UsageError
        If something else is there.
    OSError
        If a folder cannot be made or written to.
    """
    network = order.folder / "final" / "int8.tflite"

    def is_ours() -> bool:
        return network.is_file() and read_model(order.out).tflite == network.read_bytes()

    if not order.replace:
        check_ours(order.out, is_ours, f"the network of {order.folder}")
        for path in order.results[1:]:
            check_ours(path, order.out.exists, f"a card of {order.out}")
    with made_folder(order.out.parent), made_folder(order.folder):
        for folder in (order.out.parent, order.folder):
            try:
                with tempfile.TemporaryFile(dir=folder):
                    pass
            except OSError as error:
                error.filename = str(folder)  # rather than that of a file that nothing else speaks of
                raise
        yield
