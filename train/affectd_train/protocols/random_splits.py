"""The protocols of the seed systems: random splits, the SAME SPEAKERS ON BOTH SIDES.

Beside every published figure: the system it belongs to, rebuilt and run here, and ours on the same split.
They say nothing about strangers; that is what `speaker_independent` is for.
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
from affectd_train.data.splits import Split, random_split_sharing_speakers
from affectd_train.evaluation.metrics import metrics
from affectd_train.evaluation.predictions import about, among
from affectd_train.files import write_text
from affectd_train.protocols.baselines import SEED_SYSTEMS, run_seed_system
from affectd_train.protocols.runs import run_split
from affectd_train.training.recipe import Recipe

TEST_FRACTION = 0.2


def ravdess_random(clips: Sequence[Clip], recipe: Recipe, data: Path, out: Path) -> dict[str, Any]:
    """Test on a random fifth of RAVDESS; see `seed_protocol`."""
    return seed_protocol("ravdess", ["ravdess"], clips, replace(recipe, target="ravdess"), data, out)


def tess_random(clips: Sequence[Clip], recipe: Recipe, data: Path, out: Path) -> dict[str, Any]:
    """Test on a random fifth of TESS; see `seed_protocol`."""
    return seed_protocol("tess", ["tess"], clips, replace(recipe, target="tess"), data, out)


def pooled_random(clips: Sequence[Clip], recipe: Recipe, data: Path, out: Path) -> dict[str, Any]:
    """Test on a random fifth of RAVDESS, TESS, CREMA-D and SAVEE, whichever are at hand; see `seed_protocol`."""
    four = ["ravdess", "tess", "cremad", "savee"]
    return seed_protocol("pooled", four, clips, replace(recipe, target="ravdess"), data, out)


def seed_protocol(
    name: str, corpora: Sequence[str], clips: Sequence[Clip], recipe: Recipe, data: Path, out: Path
) -> dict[str, Any]:
    """Split at random, run the seed systems and ours on the same split.

    Seed systems need audio, so clips that are log-mel spectrograms (CREMA-D) are ours alone; ``ours_on_audio`` are our
    figures on the clips that the seed systems were tested on. Ours also trains on every other corpus at hand.

    Returns
    -------
    What ``out/metrics.json`` holds: ``protocol``, ``table`` (system -> published figure, accuracy, unweighted
    accuracy), ``ours``, ``ours_on_audio`` and ``seed_systems``, each from `affectd_train.evaluation.metrics.metrics`.

    Raises
    ------
    NoInputError
        If none of the corpora is at hand as audio.
    """
    mine = [clip for clip in clips if clip.corpus in corpora]
    present = [corpus for corpus in corpora if any(clip.corpus == corpus for clip in mine)]
    if all(clip.is_logmel for clip in mine):
        raise NoInputError(f"{data}: no audio of {', '.join(corpora)} in it")
    split = random_split_sharing_speakers(mine, TEST_FRACTION, recipe.seed)
    protocol = f"{', '.join(present)}: {split.name}"
    labels = frozenset().union(*map(labels_of, present))

    everything = replace(split, train=[*split.train, *(clip for clip in clips if clip.corpus not in corpora)])
    ours = among(run_split(everything, recipe, data, out / "ours", out / "cache"), labels)
    audio = Split(
        split.name,
        [clip for clip in split.train if not clip.is_logmel],
        [clip for clip in split.test if not clip.is_logmel],
    )
    tested_on = {about(clip)["path"] for clip in audio.test}
    on_audio = [p for p in ours if p["path"] in tested_on]
    figures: dict[str, Any] = {
        "protocol": protocol,
        "table": {},
        "ours": metrics(ours, protocol),
        "ours_on_audio": metrics(on_audio, f"{protocol}, of it the audio"),
        "seed_systems": {},
    }
    for number, (title, system) in enumerate(SEED_SYSTEMS[name].items(), start=1):
        predictions = run_seed_system(system, audio, out / f"seed-{number}", out / "cache")
        seed_figures = metrics(predictions, f"{protocol}; {title}", networks=["float"])
        figures["seed_systems"][title] = seed_figures
        figures["table"][title] = {"published": system.published} | _short(seed_figures, "float")
    figures["table"]["ours, int8"] = {"published": None} | _short(figures["ours_on_audio"], "int8")
    if len(on_audio) < len(ours):
        figures["table"]["ours, int8, with the log-mel clips"] = {"published": None} | _short(figures["ours"], "int8")
    write_text(out / "metrics.json", json.dumps(figures, indent=1))
    return figures


def _short(figures: dict[str, Any], network: str) -> dict[str, float]:
    return {key: round(figures[network][key], 4) for key in ("weighted", "unweighted")}
