"""How right the networks of an evaluation are about strangers when the sound is not clean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
from tqdm import tqdm

from affectd.arrays import Float32
from affectd.errors import DataError, NoInputError
from affectd.recognition.classifier import Classifier, Network
from affectd.recognition.model_file import ModelFile, read_model
from affectd_train.data.clips import Clip
from affectd_train.data.recordings import load_audio
from affectd_train.evaluation.conditions import Condition, conditions, reaches_full_scale, seed_of
from affectd_train.evaluation.denoise import FRONT_ENDS, FrontEnd, denoise, normalize_level
from affectd_train.evaluation.metrics import unweighted_accuracy
from affectd_train.evaluation.on_device import hear_bands, level_and_bands
from affectd_train.evaluation.predictions import about, best_label, read_predictions
from affectd_train.files import needed, write_json
from affectd_train.folders import find_folders
from affectd_train.stored import locked

SHIPPED = FRONT_ENDS[0]

Figures = TypedDict("Figures", {"unweighted": float, "share of clean": float, "same_label": float, "unheard": float})
"""Unweighted accuracy, its share of that in clean sound, and the shares of labels as in clean sound and of none."""

_Heard = TypedDict("_Heard", {"as it is": Figures, "denoised": Figures, "level normalized": Figures}, total=False)


class Row(_Heard, total=False):
    """A condition, what each front end makes of it, and for gains how many recordings clip and what that changes."""

    group: str
    name: str
    clipped: int
    same_label_clipped: float | None
    same_label_unclipped: float | None


class Robustness(TypedDict):
    """What ``robustness.json`` holds; ``corpora`` are those of the recordings, without any that is mel bands alone."""

    every: int
    recordings: int
    corpora: list[str]
    conditions: list[Row]
    bars: dict[str, float]


class Degraded:
    """The labels that recordings are given under a condition, by each front end."""

    def __init__(self, condition: Condition) -> None:
        self.condition = condition
        self.labels: dict[FrontEnd, list[str]] = {front_end: [] for front_end in FRONT_ENDS}
        self.clipped: list[bool] = []

    def hear(self, samples: Float32, path: str, network: Network) -> None:
        """Degrade a clean recording and classify it."""
        degraded = self.condition.apply(samples, seed_of(path, self.condition))
        self.clipped.append(reaches_full_scale(degraded))
        spec = network.model.spec
        level, bands = level_and_bands(degraded, spec)
        heard = (level, bands), (level, denoise(bands, spec.frame_rate)), normalize_level(level, bands)
        for labels, sound in zip(self.labels.values(), heard, strict=True):
            labels.append(best_label(hear_bands(*sound, network)))

    def row(self, truth: Sequence[str], clean: Degraded) -> Row:
        """Compare with the truth and with the labels in clean sound."""
        row: Row = {"group": self.condition.group, "name": self.condition.name}
        for front_end in FRONT_ENDS:
            labels, before = np.array(self.labels[front_end]), np.array(clean.labels[front_end])
            right = unweighted_accuracy(np.array(truth), labels)
            row[front_end] = {
                "unweighted": right,
                "share of clean": right / max(1e-9, unweighted_accuracy(np.array(truth), before)),
                "same_label": float((labels == before).mean()),
                "unheard": float((labels == "").mean()),
            }
        if self.condition.group == "gain":
            row |= clipped_apart(self.labels[SHIPPED], clean.labels[SHIPPED], self.clipped)
        return row


def robustness(evaluation: Path, clips: Sequence[Clip], data: Path, every: int = 1) -> Robustness:
    """Test the network of every fold on its own strangers, under each of `conditions`.

    Parameters
    ----------
    evaluation
        Folder of a finished ``affectd-train evaluate``; ``robustness.json`` is written there.
    every
        Take every n-th recording alone, to be n times as fast.
    """
    noise = find_folders(data, ["noise"]).get("noise", data / "noise")
    found = folds(evaluation, clips)
    with locked(evaluation / "robustness.json"):  # that it cannot be written is not said after an hour of listening
        figures = _figures(found, noise, every)
        write_json(evaluation / "robustness.json", figures)
    return figures


def _figures(found: Sequence[tuple[ModelFile, list[Clip]]], noise: Path, every: int) -> Robustness:
    table: list[Degraded] = []
    truth: list[str] = []
    corpora: set[str] = set()
    for model, tested in found:
        network = Classifier(model)
        table = table or [Degraded(condition) for condition in conditions(noise, model.spec.sample_rate)]
        for clip in tqdm(tested[::every], "degraded recordings"):
            truth.append(clip.emotion)
            corpora.add(clip.corpus)
            samples = load_audio(clip, model.spec.sample_rate)
            for degraded in table:
                degraded.hear(samples, about(clip)["path"], network)
    rows = [degraded.row(truth, table[0]) for degraded in table]
    return {
        "every": every,
        "recordings": len(truth),
        "corpora": sorted(corpora),
        "conditions": rows,
        "bars": bars(rows),
    }


def clipped_apart(labels: Sequence[str], clean: Sequence[str], clipped: Sequence[bool]) -> Row:
    """Return the share of labels that stay the same, of recordings that clip and of the others.

    They are counted apart because clipping changes the sound, not only its gain.
    """
    same, apart = np.array(labels) == np.array(clean), np.array(clipped)
    return {
        "clipped": int(apart.sum()),
        "same_label_clipped": float(same[apart].mean()) if apart.any() else None,
        "same_label_unclipped": float(same[~apart].mean()) if not apart.all() else None,
    }


def bars(rows: Sequence[Row]) -> dict[str, float]:
    """Return the figures, by their names, that sum the table up on the model card."""
    at_10 = [r[SHIPPED]["share of clean"] for r in rows if r["group"].startswith("noise") and r["name"] == "10 dB"]
    moderate = [row for row in rows if row["group"] == "gain" and row["name"] != "-30 dB"]
    unclipped = [same for row in moderate if (same := row["same_label_unclipped"]) is not None]
    gain = "labels that a gain of -20 to +10 dB changes, worst gain"
    return {
        "share of clean accuracy at 10 dB, mean over the noises": float(np.mean(at_10)),
        "share of clean accuracy at 10 dB, worst noise": min(at_10),
        gain: 1.0 - min(row[SHIPPED]["same_label"] for row in moderate),
        f"{gain}, without what clips": 1.0 - min(unclipped, default=1.0),
    }


def folds(evaluation: Path, clips: Iterable[Clip]) -> list[tuple[ModelFile, list[Clip]]]:
    """Read the network of every fold of an evaluation, and find the recordings it was tested on.

    Raises
    ------
    NoInputError
        If there is no finished fold, or none of its recordings is at hand as audio.
    DataError
        If one of them is not what the fold was tested on, so that its network may have been trained on it.
    """
    by_path = {about(clip)["path"]: clip for clip in clips if not clip.is_logmel}
    found = []
    for predictions in sorted(evaluation.glob("fold-*/predictions.jsonl")):
        answers = [p for p in read_predictions(predictions) if p["path"] in by_path]
        tested = [by_path[p["path"]] for p in answers]
        for clip, before in zip(tested, answers, strict=True):
            now = about(clip)
            if any(before.get(key, now[key]) != now[key] for key in ("content", "truth", "speaker")):
                raise DataError(
                    f"{clip.path}: not as {evaluation} was tested on it, and its network may have trained on it now:"
                    " affectd-train evaluate makes another, with another --out"
                )
        if tested:
            found.append((read_model(needed(predictions.with_name("affectd.tflite"), "evaluate")), tested))
    if not found:
        raise NoInputError(
            f"{evaluation}: no fold that was tested on recordings at hand; affectd-train evaluate makes them"
        )
    return found
