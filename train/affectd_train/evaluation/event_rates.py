"""What the running device would say all day: of speech that is not acted, and of noise alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from affectd.arrays import Float32
from affectd.config.sections import Config
from affectd.errors import NoInputError
from affectd.pipeline import run
from affectd.recognition.classifier import Classifier, Network
from affectd.recognition.smoothing import UNCERTAIN
from affectd_train.data.everyday_speech import trained_on
from affectd_train.data.recordings import read_audio

THRESHOLDS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_SUFFIXES = frozenset((".wav", ".flac", ".ogg", ".opus"))


class Heard:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.events: list[Mapping[str, Any]] = []

    def write(self, event: Mapping[str, object]) -> None:
        """Take one event."""
        self.events.append(event)


def listen(samples: Float32, network: Network, config: Config) -> list[Mapping[str, Any]]:
    """Run the whole device over a recording and return its events."""
    sink = Heard()
    run(_blocks(samples), network, sink, config)
    return sink.events


def with_threshold(config: Config, uncertain: float | None) -> Config:
    """Return the configuration with another threshold of ``uncertain``; None for that of the model file."""
    return replace(config, smoothing=replace(config.smoothing, uncertain=uncertain))


def event_rates(recordings: Mapping[str, Float32], network: Network, config: Config) -> dict[str, Any]:
    """Count the events of recordings, each listened to by itself.

    Returns
    -------
    ``hours``; ``named_per_hour``, the ``start`` and ``change`` events with a label besides ``neutral`` and
    ``uncertain``; ``named_with_ends_per_hour``, with the ``end`` events too; ``events_per_hour`` of any label; and
    ``labels``, how often each was said by a ``start`` or ``change``.
    """
    rate = network.model.spec.sample_rate
    hours = sum(map(len, recordings.values())) / rate / 3600
    said: Counter[str] = Counter()
    with_ends = 0
    events = 0
    for samples in recordings.values():
        for event in listen(samples, network, config):
            events += 1
            with_ends += named(event)
            if event["phase"] != "end":
                said[str(event["label"])] += 1
    named_events = sum(n for label, n in said.items() if label not in ("neutral", UNCERTAIN))
    return {
        "hours": round(hours, 3),
        "named_per_hour": round(named_events / hours, 1),
        "named_with_ends_per_hour": round(with_ends / hours, 1),
        "events_per_hour": round(events / hours, 1),
        "labels": dict(said.most_common()),
    }


def named(event: Mapping[str, Any]) -> bool:
    """Say whether an event claims to have heard an emotion."""
    return event["label"] not in ("neutral", UNCERTAIN)


def everyday(network: Classifier, data: Path) -> dict[str, Any]:
    """Measure the events an hour of everyday speech and of every kind of noise cost at default settings.

    Returns
    -------
    ``speech`` (see `speech_for_tests`) and ``noise`` (all kinds together, then each) as from `event_rates`;
    ``by_threshold``, how many named events an hour of either there would be with other thresholds of ``uncertain``;
    ``threshold``, the model file's.

    Raises
    ------
    NoInputError
        If neither is under ``data``.
    """
    rate = network.model.spec.sample_rate
    speech = speech_for_tests(data, rate)
    noise = {
        name: samples for name, samples in recordings_under(data / "noise", rate).items() if "impulse_resp" not in name
    }
    if not speech and not noise:
        raise NoInputError(f"{data}: neither speech nor noise in it")
    figures: dict[str, Any] = {"threshold": network.model.thresholds["uncertain"]}
    if speech:
        figures["speech"] = event_rates(speech, network, Config())
    if noise:
        figures["noise"] = event_rates(noise, network, Config())
        for kind in sorted({name.split("/")[0] for name in noise}):
            of_kind = {name: samples for name, samples in noise.items() if name.split("/")[0] == kind}
            figures[f"noise {kind}"] = event_rates(of_kind, network, Config())
    figures["by_threshold"] = [
        {"threshold": threshold}
        | {
            name: event_rates(recordings, network, with_threshold(Config(), threshold))["named_per_hour"]
            for name, recordings in (("speech", speech), ("noise", noise))
            if recordings
        }
        for threshold in tqdm(THRESHOLDS, "thresholds of uncertain")
    ]
    return figures


def speech_for_tests(data: Path, sample_rate: int) -> dict[str, Float32]:
    """Read the half of the everyday speech that never trains; `affectd_train.data.everyday_speech` says which."""
    speech = recordings_under(data / "speech", sample_rate)
    return {name: samples for name, samples in speech.items() if not trained_on(Path(name))}


def recordings_under(folder: Path, sample_rate: int) -> dict[str, Float32]:
    """Read every recording under a folder, by its path in it; none where there is no folder."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES) if folder.is_dir() else []
    return {p.relative_to(folder).as_posix(): read_audio(p, sample_rate) for p in paths}


def _blocks(samples: Float32, n: int = 4096) -> Iterator[Float32]:
    for start in range(0, len(samples), n):
        yield samples[start : start + n]
