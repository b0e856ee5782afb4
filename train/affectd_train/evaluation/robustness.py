"""How right the networks of an evaluation are about strangers when the sound is not clean."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from affectd.arrays import Float32
from affectd.config.sections import Config
from affectd.errors import NoInputError
from affectd.features.spec import FeatureSpec
from affectd.recognition.classifier import Classifier, Network
from affectd.recognition.model_file import ModelFile, read_model
from affectd_train.data.clips import Clip
from affectd_train.data.recordings import load_audio
from affectd_train.evaluation.conditions import Condition, conditions, reaches_full_scale, seed_of
from affectd_train.evaluation.denoise import FRONT_ENDS, denoise, normalize_level
from affectd_train.evaluation.metrics import unweighted_accuracy
from affectd_train.evaluation.on_device import hear_bands, level_and_bands
from affectd_train.evaluation.predictions import about, read_predictions
from affectd_train.files import needed, write_text


def robustness(evaluation: Path, clips: Sequence[Clip], data: Path, every: int = 1) -> dict[str, Any]:
    """Test the network of every fold on its own strangers, under each of `conditions`.

    Parameters
    ----------
    evaluation
        Folder of a finished ``affectd-train evaluate``.
    every
        Take every n-th recording alone, to be n times as fast.

    Returns
    -------
    What ``evaluation/robustness.json`` holds: ``every``; ``recordings``, how many were tested; ``conditions``, a list
    of ``group``, ``name`` and per front end ``unweighted`` accuracy, its ``share of clean``, ``same_label`` as in clean
    sound by the same front end, and ``unheard``, the share of recordings for which the gate stayed shut; of gains
    ``clipped``, how many recordings
    reach full scale, and ``same_label_clipped`` and ``same_label_unclipped`` of the front end as it is, None where
    there are no such recordings; and ``bars``.
    """
    listed: list[Condition] = []
    answers: list[dict[str, list[str]]] = []
    truth: list[str] = []
    clipped: dict[Condition, list[bool]] = {}
    for model, tested in folds(evaluation, clips):
        network = Classifier(model)
        listed = listed or conditions(data / "noise", model.spec.sample_rate)
        answers = answers or [{front_end: [] for front_end in FRONT_ENDS} for _ in listed]
        for clip in tqdm(tested[::every], "degraded recordings"):
            truth.append(clip.emotion)
            samples = load_audio(clip, model.spec.sample_rate)
            for condition, given in zip(listed, answers, strict=True):
                degraded = condition.apply(samples, seed_of(about(clip)["path"], condition))
                if condition.group == "gain":
                    clipped.setdefault(condition, []).append(reaches_full_scale(degraded))
                for front_end, label in _labels(degraded, network).items():
                    given[front_end].append(label)
    rows = []
    for condition, given in zip(listed, answers, strict=True):
        row: dict[str, Any] = {"group": condition.group, "name": condition.name}
        for front_end in FRONT_ENDS:
            labels, clean = np.array(given[front_end]), np.array(answers[0][front_end])
            right = unweighted_accuracy(np.array(truth), labels)
            row[front_end] = {
                "unweighted": right,
                "share of clean": right / max(1e-9, unweighted_accuracy(np.array(truth), clean)),
                "same_label": float((labels == clean).mean()),
                "unheard": float((labels == "").mean()),
            }
        if condition in clipped:
            row |= clipped_apart(given[FRONT_ENDS[0]], answers[0][FRONT_ENDS[0]], clipped[condition])
        rows.append(row)
    figures = {"every": every, "recordings": len(truth), "conditions": rows, "bars": bars(rows)}
    write_text(evaluation / "robustness.json", json.dumps(figures, indent=1))
    return figures


def clipped_apart(labels: Sequence[str], clean: Sequence[str], clipped: Sequence[bool]) -> dict[str, Any]:
    """Count unchanged labels of recordings that clip, which is another sound, apart from those that do not."""
    same, apart = np.array(labels) == np.array(clean), np.array(clipped)
    return {
        "clipped": int(apart.sum()),
        "same_label_clipped": float(same[apart].mean()) if apart.any() else None,
        "same_label_unclipped": float(same[~apart].mean()) if not apart.all() else None,
    }


def bars(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Sum the table up in what the project asks of it."""
    shipped = FRONT_ENDS[0]
    at_10 = [
        row[shipped]["share of clean"] for row in rows if row["group"].startswith("noise") and row["name"] == "10 dB"
    ]
    moderate = [row for row in rows if row["group"] == "gain" and row["name"] != "-30 dB"]
    unclipped = [same for row in moderate if (same := row["same_label_unclipped"]) is not None]
    return {
        "share of clean accuracy at 10 dB, mean over the noises": float(np.mean(at_10)),
        "share of clean accuracy at 10 dB, worst noise": min(at_10),
        "labels that a gain of -20 to +10 dB changes, worst gain": 1.0
        - min(row[shipped]["same_label"] for row in moderate),
        "labels that a gain of -20 to +10 dB changes, worst gain, without what clips": 1.0
        - min(unclipped, default=1.0),
    }


def folds(evaluation: Path, clips: Iterable[Clip]) -> list[tuple[ModelFile, list[Clip]]]:
    """Read the network of every fold of an evaluation, and find the recordings it was tested on.

    Raises
    ------
    NoInputError
        If there is no finished fold, or none of its recordings is at hand as audio.
    """
    by_path = {about(clip)["path"]: clip for clip in clips if not clip.is_logmel}
    found = []
    for predictions in sorted(evaluation.glob("fold-*/predictions.jsonl")):
        tested = [by_path[p["path"]] for p in read_predictions(predictions) if p["path"] in by_path]
        if tested:
            found.append((read_model(needed(predictions.with_name("affectd.tflite"), "evaluate")), tested))
    if not found:
        raise NoInputError(
            f"{evaluation}: no fold that was tested on recordings at hand; affectd-train evaluate makes them"
        )
    return found


def _labels(samples: Float32, network: Network) -> dict[str, str]:
    spec: FeatureSpec = network.model.spec
    level, bands = level_and_bands(samples, spec, Config())
    given = {
        "as it is": hear_bands(level, bands, network, Config()),
        "denoised": hear_bands(level, denoise(bands, spec.sample_rate / spec.hop_length), network, Config()),
        "level normalized": hear_bands(*normalize_level(level, bands), network, Config()),
    }
    return {name: max(p, key=p.__getitem__) if p else "" for name, p in given.items()}
