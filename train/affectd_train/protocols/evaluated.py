"""What an evaluation left, checked before a model file is made of it: its card shows all of it, long afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from affectd_train.evaluation.predictions import NETWORKS, Prediction, read_predictions
from affectd_train.stored import again, check, read_json, reading

_TEXTS = ("path", "corpus", "speaker", "gender")


def check_figures(evaluation: Path) -> None:
    """Check ``metrics.json`` of networks that were tested fold by fold, as far as a card shows it.

    Raises
    ------
    NoInputError
        If it is not there.
    DataError
        If it is not what `evaluate` writes; the message names the file and how it is written again.
    """
    file = evaluation / "metrics.json"
    figures = read_json(file, "evaluate")
    with reading(file, again("evaluate")):
        _check_one(figures)
        _check_shares("folds", (fold[network] for fold in figures["folds"].values() for network in NETWORKS))
        _check_shares("fold_mean", (figures["fold_mean"][network] for network in NETWORKS))
        _check_shares("same_label", [figures["same_label"]])
        if calibration := figures.get("calibration"):
            points = [point[key] for point in calibration["coverage"] for key in ("coverage", "weighted", "unweighted")]
            _check_shares("calibration", [calibration["ece"], *points])


def check_other_figures(evaluation: Path) -> None:
    """Check ``metrics.json`` of any protocol, as far as the card of another evaluation shows it, as `check_figures`."""
    file = evaluation / "metrics.json"
    figures = read_json(file, "evaluate")
    with reading(file, again("evaluate")):
        if "table" in figures:
            systems = figures["table"].values()
            _check_shares("table", (row[key] for row in systems for key in ("weighted", "unweighted")))
            return
        for one in figures.get("experiments", {"": figures}).values():
            _check_one(one)
            _check_shares("any_label", [one["any_label"]["int8"]])


def read_answers(evaluation: Path) -> list[Prediction]:
    """Read ``predictions.jsonl`` of an evaluation, from which temperature and threshold can be fitted.

    Raises
    ------
    NoInputError
        If it is not there.
    DataError
        If it is not what `evaluate` writes; the message names the file and how it is written again.
    """
    file = evaluation / "predictions.jsonl"
    predictions = read_predictions(file)
    with reading(file, again("evaluate")):
        check(all(key in prediction for prediction in predictions for key in _TEXTS), "not a prediction")
        heard = [prediction for prediction in predictions if prediction.get("int8")]
        labels = set(heard[0]["int8"]) if heard else set()
        for prediction in heard:
            _check_shares("int8", prediction["int8"].values())
            check(set(prediction["int8"]) == labels and prediction["truth"] in labels, "not of the same labels")
    return predictions


def read_stranger_share(evaluation: Path) -> float:
    """Read ``stranger_share`` of ``metrics.json``, see `affectd.recognition.voice.VoiceSpec`; 1 where it is missing.

    Raises
    ------
    NoInputError, DataError
        As `check_figures`.
    """
    file = evaluation / "metrics.json"
    share = read_json(file, "evaluate").get("stranger_share", 1.0)
    with reading(file, again("evaluate")):
        check(isinstance(share, int | float) and 0 < share <= 1, "stranger_share is no number from 0 to 1")
    return float(share)


def _check_one(figures: Mapping[str, Any]) -> None:
    """Check what `affectd_train.evaluation.metrics.metrics` computed of both networks."""
    labels = figures["labels"]
    check(isinstance(labels, list) and bool(labels) and all(map(_is_text, labels)), "labels are no names")
    check(_is_text(figures["protocol"]), "protocol is no text")
    check(all(type(figures[key]) is int for key in ("clips", "speakers")), "clips or speakers are no numbers")
    for network in NETWORKS:
        _check_network(network, figures[network], labels)
    groups = [{key: {*figures[n].get(key, {})} for key in ("by_gender", "by_age", "by_corpus")} for n in NETWORKS]
    check(groups[0] == groups[1], "the networks are of other groups")


def _check_network(network: str, figures: Mapping[str, Any], labels: list[str]) -> None:
    low, high = figures["unweighted_interval"]
    groups = [figures["by_gender"], figures.get("by_age", {}), figures.get("by_corpus", {})]
    shares = [figures["unweighted"], low, high, figures["weighted"], *(s for group in groups for s in group.values())]
    of_class = [figures["per_class"][label] for label in labels]
    _check_shares(network, [*shares, *(row[key] for row in of_class for key in ("precision", "recall", "f1-score"))])
    rows = figures["confusion"]
    square = len(rows) == len(labels) and all(len(row) == len(labels) for row in rows)
    counts = [*(n for row in rows for n in row), *(row["support"] for row in of_class)]
    check(square and all(isinstance(n, int | float) for n in counts), f"{network}: no confusion of the labels")


def _check_shares(what: str, values: Iterable[object]) -> None:
    right = all(isinstance(value, int | float) and 0 <= value <= 1 for value in values)
    check(right, f"{what}: an accuracy is no number from 0 to 1")


def _is_text(value: object) -> bool:
    return isinstance(value, str)
