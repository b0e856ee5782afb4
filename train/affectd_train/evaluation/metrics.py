"""How right the device is about strangers: every figure names its protocol and carries an interval.

Recordings go through `affectd_train.evaluation.on_device.hear`, which is the code that runs on
the device: gate, front end, contexts, int8 file. The float network is put in the
place of the interpreter, everything else being equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import classification_report, confusion_matrix, recall_score

from affectd_train.data.labels import LABELS
from affectd_train.data.speakers import age_group
from affectd_train.evaluation.predictions import NETWORKS, Prediction, answer


def metrics(
    predictions: Sequence[Prediction],
    protocol: str,
    n_resamples: int = 2000,
    networks: Sequence[str] = NETWORKS,
) -> dict[str, Any]:
    """Compute every figure that is reported.

    Returns
    -------
    ``protocol``, ``clips``, ``speakers``; per network (``int8``, ``float``) ``unweighted`` accuracy with its 95 %
    bootstrap interval over speakers, ``weighted`` accuracy, ``per_class``, ``confusion`` (rows = truth, in the order
    of ``labels``), ``by_gender``, and ``by_age`` and ``by_corpus`` where there are at least two groups; and of two
    networks ``same_label``, the share of clips they give the same label.
    """
    truth = np.array([p["truth"] for p in predictions])
    speakers = np.array([p["speaker"] for p in predictions])
    genders = np.array([p["gender"] for p in predictions])
    groups = {
        "by_age": np.array([age_group(p["speaker"]) for p in predictions]),
        "by_corpus": np.array([p["corpus"] for p in predictions]),
    }
    labels = [label for label in LABELS if label in truth]
    figures: dict[str, Any] = {
        "protocol": protocol,
        "clips": len(predictions),
        "speakers": len(set(speakers)),
        "labels": labels,
    }
    answers = {name: np.array([answer(p, name) for p in predictions]) for name in networks}
    for name, given in answers.items():
        report = classification_report(truth, given, labels=labels, output_dict=True, zero_division=0)
        figures[name] = {
            "unweighted": unweighted_accuracy(truth, given),
            "unweighted_interval": speaker_bootstrap(truth, given, speakers, n_resamples),
            "weighted": float((truth == given).mean()),
            "per_class": {label: report[label] for label in labels},
            "confusion": confusion_matrix(truth, given, labels=labels).tolist(),
            "by_gender": by_group(truth, given, genders),
        }
        figures[name] |= {key: by_group(truth, given, of) for key, of in groups.items() if len(set(of) - {""}) > 1}
    if len(networks) == 2:
        first, second = answers.values()
        figures["same_label"] = float((first == second).mean())
    return figures


def unweighted_accuracy(truth: NDArray[Any], given: NDArray[Any]) -> float:
    """Mean of the recalls of the classes that occur."""
    return float(recall_score(truth, given, labels=sorted(set(truth)), average="macro", zero_division=0))


def recalls(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Unweighted accuracy of each of the networks."""
    truth = np.array([p["truth"] for p in predictions])
    return {name: unweighted_accuracy(truth, np.array([answer(p, name) for p in predictions])) for name in NETWORKS}


def by_group(truth: NDArray[Any], given: NDArray[Any], groups: NDArray[Any]) -> dict[str, float]:
    """Unweighted accuracy of each group by its name; clips of the group "" have none."""
    return {
        str(group): unweighted_accuracy(truth[groups == group], given[groups == group])
        for group in sorted(set(groups) - {""})
    }


def speaker_bootstrap(
    truth: NDArray[Any], given: NDArray[Any], speakers: NDArray[Any], n_resamples: int
) -> tuple[float, float]:
    """95 % percentile interval of the unweighted accuracy when other speakers might have been recorded.

    Speakers are drawn with replacement, for clips of one speaker are not independent
    (B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13).
    """
    classes, truth_index = np.unique(truth, return_inverse=True)
    names, speaker_index = np.unique(speakers, return_inverse=True)
    # Clips and hits per speaker and class: a resample is then a sum of rows.
    clips = np.zeros((len(names), len(classes)))
    hits = np.zeros_like(clips)
    np.add.at(clips, (speaker_index, truth_index), 1)
    np.add.at(hits, (speaker_index, truth_index), truth == given)
    rng = np.random.default_rng(0)
    values = []
    for _ in range(n_resamples):
        drawn = rng.integers(0, len(names), len(names))
        n, right = clips[drawn].sum(0), hits[drawn].sum(0)
        values.append(np.mean(right[n > 0] / n[n > 0]))
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
