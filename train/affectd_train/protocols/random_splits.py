"""The protocols of the seed systems: random splits, the SAME SPEAKERS ON BOTH SIDES.

Beside every published figure: the system it belongs to, rebuilt and run here, and ours on the same split.
They say nothing about strangers; that is what `speaker_independent` is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypedDict

from affectd.errors import NoInputError
from affectd_train.data.clips import Clip
from affectd_train.data.labels import labels_of
from affectd_train.data.splits import Split, random_split_sharing_speakers
from affectd_train.evaluation.metrics import Metrics, OfNetwork, metrics
from affectd_train.evaluation.predictions import Prediction, about, among, is_damaged
from affectd_train.files import write_json
from affectd_train.protocols.ahead import ahead
from affectd_train.protocols.baselines import SEED_SYSTEMS, run_seed_system
from affectd_train.protocols.runs import run_split, with_others
from affectd_train.training.recipe import Recipe

TEST_FRACTION = 0.2
CORPORA = {"ravdess": ("ravdess",), "tess": ("tess",), "pooled": ("ravdess", "tess", "cremad", "savee")}
"""Protocol -> the corpora split, as far as they are at hand; the first is the target of the recipe."""


class System(TypedDict):
    """A row of the table: what was published of a system, and its accuracy here."""

    published: str | None
    weighted: float
    unweighted: float


class RandomSplit(TypedDict):
    """What ``metrics.json`` holds; ``ours_on_audio`` are our figures on the clips the seed systems were tested on."""

    protocol: str
    table: dict[str, System]
    ours: Metrics
    ours_on_audio: Metrics
    seed_systems: dict[str, Metrics]


def seed_protocol(name: str, clips: Sequence[Clip], recipe: Recipe, data: Path, out: Path) -> RandomSplit:
    """Test on a random fifth of `CORPORA`, the seed systems and ours on the same split.

    Seed systems need audio, so clips that are log-mel spectrograms (CREMA-D) are ours alone. Ours also trains on every
    other corpus at hand.

    Raises
    ------
    NoInputError
        If none of the corpora is at hand as audio.
    """
    corpora = CORPORA[name]
    mine = [clip for clip in clips if clip.corpus in corpora]
    present = [corpus for corpus in corpora if any(clip.corpus == corpus for clip in mine)]
    if all(clip.is_logmel for clip in mine):
        raise NoInputError(f"{data}: no audio of {', '.join(corpora)} in it")
    split = random_split_sharing_speakers(mine, TEST_FRACTION, recipe.seed)
    protocol = f"{', '.join(present)}: {split.name}"
    labels = frozenset().union(*map(labels_of, present))

    recipe = replace(recipe, target=corpora[0])
    audio = replace(split, train=_audio(split.train), test=_audio(split.test))
    run = partial(run_split, with_others(split, corpora, clips), recipe, data, out / "ours", out / "cache")
    ahead([run, partial(_seed_systems, name, audio, out)])
    ours = among(run(), labels)
    tested_on = {about(clip)["path"] for clip in audio.test}
    on_audio = [p for p in ours if p["path"] in tested_on]
    figures: RandomSplit = {
        "protocol": protocol,
        "table": {},
        "ours": metrics(ours, protocol),
        "ours_on_audio": metrics(on_audio, f"{protocol}, of it the audio"),
        "seed_systems": {},
    }
    table = figures["table"]
    for title, predictions in _seed_systems(name, audio, out).items():
        figures["seed_systems"][title] = metrics(predictions, f"{protocol}; {title}", networks=["float"])
        table[title] = _row(figures["seed_systems"][title]["float"], SEED_SYSTEMS[name][title].published)
    table["ours, int8"] = _row(figures["ours_on_audio"]["int8"])
    if len(on_audio) < len(ours):
        table["ours, int8, with the log-mel clips"] = _row(figures["ours"]["int8"])
    write_json(out / "metrics.json", figures)
    return figures


def _audio(clips: Sequence[Clip]) -> list[Clip]:
    """Select what seed systems can hear; what cannot be decoded ours leaves out, too, and says it."""
    return [clip for clip in clips if not clip.is_logmel and not is_damaged(clip)]


def _seed_systems(name: str, audio: Split, out: Path) -> dict[str, list[Prediction]]:
    """Run all systems of a protocol, one after the other: those of one kind of features share them."""
    return {
        title: run_seed_system(system, audio, out / f"seed-{number}", out / "cache")
        for number, (title, system) in enumerate(SEED_SYSTEMS[name].items(), start=1)
    }


def _row(figures: OfNetwork, published: str | None = None) -> System:
    return {
        "published": published,
        "weighted": round(figures["weighted"], 4),
        "unweighted": round(figures["unweighted"], 4),
    }
