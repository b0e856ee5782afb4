"""What every protocol is made of: one run by one split, runs of all folds, and their figures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from affectd.errors import NoInputError, UsageError
from affectd_train.data.clips import Clip
from affectd_train.data.splits import Split, strangers_of
from affectd_train.evaluation.calibration import Calibration, calibration_figures
from affectd_train.evaluation.metrics import Metrics, Shares, metrics, recalls
from affectd_train.evaluation.predictions import Prediction, are_about, predict, read_predictions, write_predictions
from affectd_train.export.pack import pack
from affectd_train.export.quantize import quantize
from affectd_train.files import made_folder, say, write_json
from affectd_train.protocols.ahead import ahead
from affectd_train.protocols.voices import give_voice, is_voice_as_now, stranger_share
from affectd_train.stored import cached, check, locked
from affectd_train.training.fit import claim, fit
from affectd_train.training.heard import check_start
from affectd_train.training.recipe import Recipe

Protocol = Callable[[Sequence[Clip], Recipe, Path, Path], Mapping[str, Any]]
"""From clips, recipe, data and output folder to the figures, which are also written to ``metrics.json`` there."""


MEASURED = ("metrics.json", "predictions.jsonl", "robustness.json", "behavior.json")
"""What is measured of all networks of an evaluation, in its folder."""


class Restricted(Metrics):
    """Figures of networks that answer with the labels of the tested corpus alone.

    ``any_label`` is the unweighted accuracy when every label may be answered.
    """

    any_label: Shares


class Summary(Restricted):
    """Figures over all folds together, and ``folds``, the unweighted accuracy of each, with ``fold_mean``, their mean.

    ``trained_on`` are corpora, ``published`` is from `PUBLISHED`, ``stranger_share`` that of the voices of the folds.
    """

    name: str
    trained_on: list[str]
    published: str | None
    folds: dict[str, Shares]
    fold_mean: Shares
    calibration: Calibration
    stranger_share: float


def run_split(
    split: Split, recipe: Recipe, data: Path, run: Path, cache: Path, besides: Sequence[Clip] = ()
) -> list[Prediction]:
    """Fit, quantize and pack on one side of a split; predict the other side, with a voice where there can be one.

    Clips that are there ``besides`` are on neither side: strangers of them only share the bands.
    """
    corpora, speakers = {clip.corpus for clip in split.train}, {clip.speaker for clip in split.train}
    others = [*split.test, *besides]
    strangers = {clip.speaker for clip in others} - speakers
    # Strangers are left out by name, so that all folds share the bands of whole corpora. Of people on both sides of
    # a split, and of corpora that do not train, only what trains is handed over.
    train = set(split.train)
    clips = [c for c in (*split.train, *others) if c in train or (c.speaker in strangers and c.corpus in corpora)]
    held_out = frozenset(clip.speaker for clip in clips) & strangers
    if not split.train or not split.test:
        raise NoInputError(f"{split.name}: nothing is left to {'test on' if split.train else 'train on'}")

    def make(file: Path) -> None:
        float_path = fit(clips, recipe, data, run, cache, held_out)
        quantize(run)
        pack(run, run / "affectd.tflite", {"protocol": split.name})
        give_voice(run / "affectd.tflite", split, data, cache)
        write_predictions(file, predict(run / "affectd.tflite", float_path, split.test, split.name))

    def read(file: Path) -> list[Prediction]:
        predictions = read_predictions(file)
        check(is_voice_as_now(run / "affectd.tflite", split, cache), "of another voice")
        check(are_about(predictions, split.test), "of other recordings")
        return predictions

    # Claimed before anything of an earlier call is taken for an answer, and for as long as this one trains: before its
    # first checkpoint nothing tells another call, which may ask for something else, that the folder is taken.
    with made_folder(run), locked(run / "asked.json"):
        claim(run, clips, recipe, data, held_out)
        return cached(run / "predictions.jsonl", read, make)


def run_folds(
    name: str,
    protocol: str,
    splits: Mapping[str, Split],
    recipe: Recipe | Callable[[str, Split], Recipe],
    data: Path,
    out: Path,
    counted: Callable[[Sequence[Prediction]], list[Prediction]] = list,
) -> Summary:
    """Run splits that share what does not depend on the split, and write the figures of every one and of all of them.

    Parameters
    ----------
    name, protocol
        What the command line calls the protocol, and what the figures are said to be of.
    splits
        Fold -> split, which is run in ``out/fold-FOLD``.
    recipe
        Of all folds, or what gives that of each, asked when its turn comes.
    counted
        What an answer counts as, from all answers of a fold. Where the tested corpus has fewer labels than the network,
        `among` gives the figures of a network that answers with those alone.

    Raises
    ------
    UsageError
        If ``out`` holds folds that are none of these: what is measured in it later would be of both.
    """
    unrestricted: list[Prediction] = []
    predictions: list[Prediction] = []
    folds: dict[str, Shares] = {}
    runs = {fold: out / f"fold-{fold}" for fold in splits}
    if others := sorted({path.parent for path in out.glob("fold-*/fit.json")}.difference(runs.values())):
        raise UsageError(f"{others[0]} is of another evaluation: choose another folder, or remove this one")
    _set_aside(out, runs.values())
    if isinstance(recipe, Recipe):
        check_start(recipe.start, strangers_of(splits.values()))
        ahead(partial(run_split, split, recipe, data, runs[fold], out / "cache") for fold, split in splits.items())
    for fold, split in splits.items():
        run = runs[fold]
        its = recipe if isinstance(recipe, Recipe) else recipe(fold, split)
        tested = run_split(split, its, data, run, out / "cache")
        restricted = counted(tested)
        write_json(run / "metrics.json", metrics(restricted, split.name))
        folds[fold] = recalls(restricted)
        unrestricted += tested
        predictions += restricted
    any_label = recalls(unrestricted)
    summary: Summary = {
        **metrics(predictions, protocol),
        "name": name,
        "trained_on": sorted({clip.corpus for split in splits.values() for clip in split.train}),
        "published": PUBLISHED.get(name),
        "folds": folds,
        "fold_mean": {network: float(np.mean([fold[network] for fold in folds.values()])) for network in any_label},
        "any_label": any_label,
        "calibration": calibration_figures(predictions),
        "stranger_share": stranger_share([run / "affectd.tflite" for run in runs.values()]),
    }
    write_predictions(out / "predictions.jsonl", predictions)
    write_json(out / "metrics.json", summary)
    return summary


def _set_aside(out: Path, runs: Iterable[Path]) -> None:
    """Rename, and say so, what was measured in a folder of networks of which some are not there any more."""
    if all((run / "asked.json").exists() for run in runs):
        return
    for name in MEASURED:
        if (out / name).exists():
            (out / name).replace(out / f"{name}.before")
            say(f"{out / name} is of networks that are not there any more, and is called {name}.before now")


def of_corpus(name: str, clips: Iterable[Clip], data: Path) -> list[Clip]:
    """Select a corpus; raise NoInputError where there is none of it."""
    if not (mine := [clip for clip in clips if clip.corpus == name]):
        raise NoInputError(f"{data}: no clip of {name} in it")
    return mine


def with_others(split: Split, corpora: Collection[str], clips: Iterable[Clip]) -> Split:
    """Let every other corpus train too."""
    return replace(split, train=[*split.train, *(clip for clip in clips if clip.corpus not in corpora)])


PUBLISHED = {
    "ravdess-emobox": "54.3 % wav2vec2-base, 72.0 % WavLM-large, 75.3 % Whisper-large-v3 (six folds)",
    "emodb-loso": "about 94 % LIGHT-SERNET (7 classes, the best epoch chosen on the test fold)",
    "cremad-speakers": "76.5 % weighted, the best of EmoBox (speakers on both sides)",
}
"""protocol -> what others reached on the corpus, and how; unweighted accuracy where nothing else is said."""
