"""How the running device behaves: what it says all day, how soon it follows a voice, and what its settings cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from affectd.config.sections import Config
from affectd.recognition.classifier import Classifier
from affectd.recognition.model_file import read_model
from affectd_train.data.clips import Clip
from affectd_train.evaluation.event_rates import event_rates, everyday, speech_for_tests
from affectd_train.evaluation.robustness import folds
from affectd_train.evaluation.transitions import transition_figures
from affectd_train.files import write_text

SETTINGS: dict[str, dict[str, float]] = {
    "as shipped": {},
    "stride 8 frames": {"stride_frames": 8, "minimum_count": 8, "patience": 2},
    "average 1 s, hysteresis 0.1, patience 2": {"average_seconds": 1.0, "hysteresis": 0.1, "patience": 2},
    "no average": {"average_seconds": 0.0},
    "average 0.5 s": {"average_seconds": 0.5},
    "average 1 s": {"average_seconds": 1.0},
    "average 2 s": {"average_seconds": 2.0},
    "hysteresis 0": {"hysteresis": 0.0},
    "hysteresis 0.1": {"hysteresis": 0.1},
    "patience 2": {"patience": 2},
    "dwell 0 s": {"dwell_seconds": 0.0},
}
"""Settings to compare by name: what differs from the defaults of ``[smoothing]`` and ``[model] stride_frames``."""


def behavior(evaluation: Path, model: Path, clips: Sequence[Clip], data: Path) -> dict[str, Any]:
    """Measure events of speech and noise with a model file, and transitions with the networks of an evaluation.

    The model file may be trained on every speaker of the corpora, so transitions are those of the strangers of each
    fold; the fold's network takes temperature and threshold of the model file.

    Returns
    -------
    What ``evaluation/behavior.json`` holds: ``everyday``, from `affectd_train.evaluation.event_rates.everyday`;
    ``transitions``, per entry of `SETTINGS` from `affectd_train.evaluation.transitions.transition_figures`, with
    ``speech_named_per_hour``.
    """
    shipped = Classifier(read_model(model))
    speech = speech_for_tests(data, shipped.model.spec.sample_rate)
    networks = [
        (Classifier(replace(fold, temperature=shipped.model.temperature, thresholds=shipped.model.thresholds)), tested)
        for fold, tested in folds(evaluation, clips)
    ]
    transitions = {}
    for name, changes in SETTINGS.items():
        config = changed(changes)
        transitions[name] = transition_figures(networks, config)
        if speech:
            transitions[name]["speech_named_per_hour"] = event_rates(speech, shipped, config)["named_per_hour"]
    figures = {"everyday": everyday(shipped, data), "transitions": transitions}
    write_text(evaluation / "behavior.json", json.dumps(figures, indent=1))
    return figures


def changed(changes: dict[str, float]) -> Config:
    """Return the default configuration with these keys of ``[model]`` and ``[smoothing]`` changed."""
    config = Config()
    of_model: dict[str, Any] = {key: value for key, value in changes.items() if key == "stride_frames"}
    of_smoothing: dict[str, Any] = {key: value for key, value in changes.items() if key != "stride_frames"}
    return replace(config, model=replace(config.model, **of_model), smoothing=replace(config.smoothing, **of_smoothing))
