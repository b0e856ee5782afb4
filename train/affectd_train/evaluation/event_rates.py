"""What the running device would say all day: of speech that is not acted, and of noise alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, TypedDict

from tqdm import tqdm

from affectd.arrays import Float32
from affectd.config.sections import Config, ModelConfig
from affectd.errors import NoInputError
from affectd.events.event import Event
from affectd.events.sinks import JsonLines
from affectd.pipeline import run
from affectd.recognition.baseline import Placed
from affectd.recognition.classifier import Classifier, Network
from affectd.recognition.smoothing import UNCERTAIN
from affectd_train.data.everyday_speech import recordings_for_tests
from affectd_train.data.noise import noise_recordings
from affectd_train.data.recordings import read_each
from affectd_train.folders import find_folders

THRESHOLDS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_BLOCK = 4096  # samples


class EventRates(TypedDict):
    """Events an hour: with a label besides ``neutral`` and ``uncertain``, the same with the ``end`` events, and all.

    The first counts ``start`` and ``change`` events alone, as does ``labels``: how often each was said.
    """

    hours: float
    named_per_hour: float
    named_with_ends_per_hour: float
    events_per_hour: float
    labels: dict[str, int]


Everyday = dict[str, float | EventRates | list[dict[str, float]]]
"""Each source of `speech_for_tests`, ``noise`` (all kinds together) and ``noise KIND``: the `EventRates` of each.

``threshold`` is the model file's; ``by_threshold`` has the named events an hour of speech and of noise at others.
"""


def listen(samples: Float32, network: Network, config: Config) -> list[Event]:
    """Run the whole device over a recording and return its events; a `Placed` learns from its utterances."""
    blocks = (samples[start : start + _BLOCK] for start in range(0, len(samples), _BLOCK))
    lines = StringIO()
    if isinstance(network, Placed):
        run(blocks, network, JsonLines(lines), config, ended=network.ended)
    else:
        run(blocks, network, JsonLines(lines), config)
    return [json.loads(line) for line in lines.getvalue().splitlines()]


def configured(stride_frames: int = ModelConfig().stride_frames, **smoothing: Any) -> Config:
    """Return the default configuration with another ``[model] stride_frames`` and other keys of ``[smoothing]``."""
    config = Config()
    model = replace(config.model, stride_frames=stride_frames)
    return replace(config, model=model, smoothing=replace(config.smoothing, **smoothing))


def event_rates(recordings: Mapping[str, Float32], network: Network, config: Config) -> EventRates:
    """Count the events of recordings, each listened to by itself; what a `Placed` learned it knows in the next one."""
    hours = sum(map(len, recordings.values())) / network.model.spec.sample_rate / 3600
    events = [event for samples in recordings.values() for event in listen(samples, network, config)]
    named = [event for event in events if event["label"] not in ("neutral", UNCERTAIN)]
    return {
        "hours": round(hours, 3),
        "named_per_hour": round(sum(event["phase"] != "end" for event in named) / hours, 1),
        "named_with_ends_per_hour": round(len(named) / hours, 1),
        "events_per_hour": round(len(events) / hours, 1),
        "labels": dict(Counter(str(event["label"]) for event in events if event["phase"] != "end").most_common()),
    }


def everyday(network: Classifier, data: Path) -> Everyday:
    """Measure the events an hour of everyday speech and of every kind of noise at default settings.

    Raises
    ------
    NoInputError
        If neither is under ``data``.
    """
    folder = find_folders(data, ["noise"]).get("noise", data / "noise")
    noise = _read(folder, noise_recordings(folder), network)
    recordings = speech_for_tests(data, network) | ({"noise": noise} if noise else {})
    if not recordings:
        raise NoInputError(f"{data}: neither speech nor noise in it")
    kinds = dict(recordings)
    for name, samples in noise.items():
        kinds.setdefault(f"noise {name.split('/')[0]}", {})[name] = samples
    figures: Everyday = {"threshold": network.model.thresholds["uncertain"]}
    for kind, found in kinds.items():
        figures[kind] = event_rates(found, network, Config())
    figures["by_threshold"] = [
        {"threshold": threshold}
        | {
            kind: event_rates(found, network, configured(uncertain=threshold))["named_per_hour"]
            for kind, found in recordings.items()
        }
        for threshold in tqdm(THRESHOLDS, "thresholds of uncertain")
    ]
    return figures


def speech_for_tests(data: Path, network: Network) -> dict[str, dict[str, Float32]]:
    """Read the everyday speech that the network was not trained on: source -> name -> samples, of which there are some.

    `affectd_train.data.everyday_speech` says which that is; the card in the model file says how it was split.
    """
    recipe = network.model.card.get("training", {}).get("recipe", {})
    listed = recordings_for_tests(data, bool(recipe.get("everyday_by_source")))
    folders = find_folders(data, list(listed))
    read = {source: _read(folders[source], paths, network) for source, paths in listed.items()}
    return {source: sounds for source, sounds in read.items() if sounds}


def _read(folder: Path, recordings: Sequence[Path], network: Network) -> dict[str, Float32]:
    """Read recordings under a folder, by their path in it."""
    sounds = read_each(recordings, network.model.spec.sample_rate, folder.name)
    return {path.relative_to(folder).as_posix(): samples for path, samples in sounds}
