"""How the running device behaves: what it says all day, how soon it follows a voice, and what its settings cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

from affectd.config.sections import Config
from affectd.errors import DataError
from affectd.recognition.classifier import Classifier
from affectd.recognition.model_file import ModelFile, read_model
from affectd_train.data.clips import Clip
from affectd_train.evaluation.event_rates import Everyday, configured, event_rates, everyday, speech_for_tests
from affectd_train.evaluation.robustness import folds
from affectd_train.evaluation.transitions import Transitions, transition_figures
from affectd_train.files import write_json
from affectd_train.stored import locked

SETTINGS: dict[str, Config] = {
    "as shipped": Config(),
    "stride 8 frames": configured(stride_frames=8, minimum_count=4, patience=2),
    "hysteresis 0.1, patience 2": configured(hysteresis=0.1, patience=2),
    "minimum count 4": configured(minimum_count=4),
    "no average": configured(average_seconds=0.0),
    "average 0.5 s": configured(average_seconds=0.5),
    "average 0.75 s": configured(average_seconds=0.75),
    "average 2 s": configured(average_seconds=2.0),
    "hysteresis 0": configured(hysteresis=0.0),
    "hysteresis 0.1": configured(hysteresis=0.1),
    "patience 2": configured(patience=2),
    "dwell 0 s": configured(dwell_seconds=0.0),
}
"""Settings to compare, by name."""


class Behavior(TypedDict):
    """What ``behavior.json`` holds; the transitions are per entry of `SETTINGS`."""

    everyday: Everyday
    transitions: dict[str, Transitions]


def behavior(evaluation: Path, model: Path, clips: Sequence[Clip], data: Path) -> Behavior:
    """Measure events of speech and noise with a model file, and transitions with the networks of an evaluation.

    The model file may be trained on every speaker of the corpora, so transitions are those of the strangers of each
    fold; the fold's network takes temperature and threshold of the model file. The figures are also written to
    ``evaluation/behavior.json``.

    Raises
    ------
    DataError
        If the model file has other labels than the networks of the evaluation, or it is not known who speaks.
    NoInputError
        If there is neither speech nor noise under ``data``.
    """
    shipped = Classifier(read_model(model))
    found = folds(evaluation, clips)
    for fold, tested in found:
        if fold.labels != shipped.model.labels:
            raise DataError(f"{model} has other labels than the networks of {evaluation}: name another with --model")
        if any(not clip.speaker for clip in tested):
            raise DataError(f"{evaluation}: who speaks is not known, so that no voice can be made to change")
    with locked(evaluation / "behavior.json"):  # that it cannot be written is not said after an hour of listening
        figures = _figures(shipped, found, data)
        write_json(evaluation / "behavior.json", figures)
    return figures


def _figures(shipped: Classifier, found: Sequence[tuple[ModelFile, list[Clip]]], data: Path) -> Behavior:
    all_day = everyday(shipped, data)  # first, for it says at once if there is nothing to listen to
    by_source = speech_for_tests(data, shipped)
    speech = {f"{source}/{name}": samples for source, of in by_source.items() for name, samples in of.items()}
    networks = [
        (Classifier(replace(fold, temperature=shipped.model.temperature, thresholds=shipped.model.thresholds)), tested)
        for fold, tested in found
    ]
    transitions: dict[str, Transitions] = {}
    for name, config in SETTINGS.items():
        transitions[name] = transition_figures(networks, config)
        if speech:
            transitions[name]["speech_named_per_hour"] = event_rates(speech, shipped, config)["named_per_hour"]
    return {"everyday": all_day, "transitions": transitions}
