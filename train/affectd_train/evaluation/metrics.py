"""How right the device is about strangers: every figure names its protocol and carries an interval.

Recordings go through `affectd_train.evaluation.on_device.hear`, which is the code that runs on
the device: gate, front end, contexts, int8 file. The float network is put in the
place of the interpreter, everything else being equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np
from sklearn.metrics import classification_report, recall_score

from affectd.arrays import Array, Float64
from affectd_train.data.labels import in_order
from affectd_train.data.speakers import age_group
from affectd_train.evaluation.predictions import NETWORKS, NetworkName, Prediction, best_label, voices

Shares = dict[str, float]
"""Accuracies and the like by name."""


class OfNetwork(TypedDict):
    """How right a network is; ``confusion`` has the truth in rows, in the order of `Metrics` ``labels``.

    Accuracies by group are unweighted; by age and corpus only where there are at least two groups.
    """

    unweighted: float
    unweighted_interval: tuple[float, float]
    weighted: float
    per_class: dict[str, Shares]
    confusion: list[list[int]]
    by_gender: Shares
    by_age: NotRequired[Shares]
    by_corpus: NotRequired[Shares]


class Metrics(TypedDict):
    """The figures of a test; ``same_label`` is the share of clips to which both networks give the same label.

    ``speakers`` are those that are known.
    """

    protocol: str
    clips: int
    speakers: int
    labels: list[str]
    same_label: NotRequired[float]
    int8: NotRequired[OfNetwork]
    float: NotRequired[OfNetwork]


def metrics(
    predictions: Sequence[Prediction],
    protocol: str,
    n_resamples: int = 2000,
    networks: Sequence[NetworkName] = NETWORKS,
) -> Metrics:
    """Compute every figure that is reported, intervals by `speaker_bootstrap`: over `voices`."""
    truth = np.array([p["truth"] for p in predictions])
    speakers = np.array(voices(predictions))
    labels = in_order(p["truth"] for p in predictions)
    figures: Metrics = {
        "protocol": protocol,
        "clips": len(predictions),
        "speakers": len({p["speaker"] for p in predictions} - {""}),
        "labels": labels,
    }
    answers = {name: _answers(predictions, name) for name in networks}
    for name, given in answers.items():
        report = classification_report(truth, given, labels=labels, output_dict=True, zero_division=0)
        figures[name] = {
            "unweighted": unweighted_accuracy(truth, given),
            "unweighted_interval": speaker_bootstrap(truth, given, speakers, n_resamples),
            "weighted": float((truth == given).mean()),
            "per_class": {label: report[label] for label in labels},
            "confusion": confusion(truth, given, labels),
            "by_gender": by_group(truth, given, [p["gender"] for p in predictions]),
        }
        if len(by_age := by_group(truth, given, [age_group(speaker) for speaker in speakers])) > 1:
            figures[name]["by_age"] = by_age
        if len(by_corpus := by_group(truth, given, [p["corpus"] for p in predictions])) > 1:
            figures[name]["by_corpus"] = by_corpus
    if len(networks) == 2:
        first, second = answers.values()
        figures["same_label"] = float((first == second).mean())
    return figures


def confusion(truth: Array, given: Array, labels: Sequence[str]) -> list[list[int]]:
    """Count the answers, a row for every true label and a column for every given one.

    scikit-learn's own warns where there is one label alone.
    """
    return [[int(((truth == row) & (given == column)).sum()) for column in labels] for row in labels]


def unweighted_accuracy(truth: Array, given: Array) -> float:
    """Mean of the recalls of the classes that occur.

    Examples
    --------
    >>> unweighted_accuracy(np.array(["sad", "sad", "sad", "calm"]), np.array(["sad", "sad", "sad", "sad"]))
    0.5
    """
    return float(recall_score(truth, given, labels=sorted(set(truth)), average="macro", zero_division=0))


def recalls(predictions: Sequence[Prediction]) -> Shares:
    """Unweighted accuracy of each of the networks."""
    truth = np.array([p["truth"] for p in predictions])
    return {name: unweighted_accuracy(truth, _answers(predictions, name)) for name in NETWORKS}


def by_group(truth: Array, given: Array, groups: Sequence[str]) -> Shares:
    """Unweighted accuracy of each group by its name; clips of the group "" have none."""
    masks = {group: np.array(groups) == group for group in sorted({*groups} - {""})}
    return {group: unweighted_accuracy(truth[mask], given[mask]) for group, mask in masks.items()}


def speaker_bootstrap(truth: Array, given: Array, speakers: Array, n_resamples: int) -> tuple[float, float]:
    """95 % percentile interval of the unweighted accuracy when other speakers might have been recorded.

    Speakers are drawn with replacement, for clips of one speaker are not independent
    (B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13).

    Examples
    --------
    >>> truth, given = np.array(["sad"] * 4), np.array(["sad", "sad", "calm", "calm"])
    >>> speaker_bootstrap(truth, given, np.array(["a", "a", "b", "b"]), 100)
    (0.0, 1.0)
    """
    names, speaker = np.unique(speakers, return_inverse=True)
    classes, of_class = np.unique(truth, return_inverse=True)
    # Clips and hits per speaker and class: a resample is then a sum of rows.
    clips, hits = np.zeros((2, len(names), len(classes)))
    np.add.at(clips, (speaker, of_class), 1)
    np.add.at(hits, (speaker, of_class), truth == given)
    times = times_drawn(len(clips), n_resamples)
    values = [np.mean(right[n > 0] / n[n > 0]) for n, right in zip(times @ clips, times @ hits, strict=True)]
    return percentiles(np.array(values))


def times_drawn(n_speakers: int, n_resamples: int) -> Float64:
    """Draw as many speakers as there are, with replacement: ``(n_resamples, n_speakers)``, how often each is drawn."""
    rng = np.random.default_rng(0)
    times = np.empty((n_resamples, n_speakers))
    for row in times:
        row[:] = np.bincount(rng.integers(0, n_speakers, n_speakers), minlength=n_speakers)
    return times


def percentiles(values: Array) -> tuple[float, float]:
    """Return the 95 % percentile interval of what resamples gave; those without a value do not count."""
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def _answers(predictions: Sequence[Prediction], network: NetworkName) -> Array:
    return np.array([best_label(p[network]) for p in predictions])
