"""How soon the running device notices that a voice has changed: recordings of one speaker joined without a pause."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple, NotRequired, TypedDict

import numpy as np
from tqdm import tqdm

from affectd.arrays import Float32
from affectd.config.sections import Config, GateConfig
from affectd.events.event import Event
from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec
from affectd.recognition.classifier import Network
from affectd.recognition.vad import band_level, trim
from affectd_train.data.clips import Clip
from affectd_train.data.recordings import load_audio
from affectd_train.evaluation.event_rates import listen
from affectd_train.files import say

WITHIN_SECONDS = 1.0
N_SEGMENTS = 6
RECORDINGS_A_SEGMENT = 2


class Detections(NamedTuple):
    """Counts of transitions in a `Joined`, changes of label announced, and transitions found within `WITHIN_SECONDS`.

    ``delays`` are seconds from a transition to the first announcement before the next one; ``right`` counts those that
    named the new emotion.
    """

    transitions: int
    changes: int
    found: int
    right: int
    delays: list[float]


class Transitions(TypedDict):
    """Figures over all transitions: ``f1``, ``precision`` and ``recall`` within `WITHIN_SECONDS`.

    ``noticed`` is the share followed by any change before the next transition, ``right`` the share of those that named
    the new emotion, ``median_delay_seconds`` their delay; ``speech_named_per_hour`` is from `event_rates`.
    """

    transitions: int
    f1: float
    precision: float
    recall: float
    noticed: float
    right: float
    median_delay_seconds: float | None
    speech_named_per_hour: NotRequired[float]


@dataclass(frozen=True)
class Joined:
    """Speech of one speaker; ``emotions[i]`` begins at ``starts_seconds[i]``."""

    samples: Float32
    starts_seconds: tuple[float, ...]
    emotions: tuple[str, ...]


def join(clips: Sequence[Clip], spec: FeatureSpec, seed: int) -> Joined:
    """Join recordings of a speaker: six emotions in a row, none twice running, two recordings of each, silence trimmed.

    Raises
    ------
    ValueError
        If the speaker has fewer than two emotions.
    """
    rng = np.random.default_rng(seed)
    by_emotion = defaultdict(list)
    for clip in sorted(clips):
        by_emotion[clip.emotion].append(clip)
    if len(by_emotion) < 2:
        raise ValueError(f"transitions need at least two emotions of a speaker, found {', '.join(by_emotion)}")
    parts: list[Float32] = []
    starts: list[float] = []
    emotions: list[str] = []
    for _ in range(N_SEGMENTS):
        others = [emotion for emotion in by_emotion if emotion != (emotions or [""])[-1]]
        emotions.append(others[int(rng.integers(len(others)))])
        starts.append(sum(map(len, parts)) / spec.sample_rate)
        candidates = by_emotion[emotions[-1]]
        chosen = rng.choice(len(candidates), min(RECORDINGS_A_SEGMENT, len(candidates)), replace=False)
        parts += [spoken(load_audio(candidates[int(i)], spec.sample_rate), spec) for i in chosen]
    return Joined(np.concatenate(parts), tuple(starts), tuple(emotions))


def spoken(samples: Float32, spec: FeatureSpec) -> Float32:
    """Cut the silence before and after, by the device's gate; its hangover and a little of its pre-roll go too."""
    level = band_level(Mfcc(spec).frames(samples), spec.sample_rate)
    span = trim(level, replace(GateConfig(), hangover_seconds=0.1, preroll_seconds=0.3), spec.frame_rate)
    if span is None:
        return samples
    return samples[span[0] * spec.hop_length : span[1] * spec.hop_length]


def detections(joined: Joined, events: Sequence[Event]) -> Detections:
    """Compare the changes of label that the device announced with those of emotion that there were.

    A ``start`` announces a change too, when its label is another one than that of the utterance before it. The time of
    an event is that of the last sound it has heard, ``end_seconds``. A transition is found by the first announcement
    that comes within `WITHIN_SECONDS` after it; all other announcements are false.
    """
    said = [(float(event["end_seconds"]), event["label"]) for event in events if event["phase"] != "end"]
    changes = [this for before, this in pairwise(said) if this[1] != before[1]]
    right = 0
    delays = []
    starts = [*joined.starts_seconds, math.inf]
    for number in range(1, len(joined.emotions)):
        after = [(t, label) for t, label in changes if starts[number] <= t < starts[number + 1]]
        if after:
            delays.append(after[0][0] - starts[number])
            right += after[0][1] == joined.emotions[number]
    found = sum(delay <= WITHIN_SECONDS for delay in delays)
    return Detections(len(joined.emotions) - 1, len(changes), found, right, delays)


def transition_figures(networks: Sequence[tuple[Network, Sequence[Clip]]], config: Config) -> Transitions:
    """Join the recordings of every test speaker of every network twice, listen, and compare."""
    results = []
    for network, clips in networks:
        speakers = defaultdict(list)
        for clip in clips:
            speakers[clip.speaker].append(clip)
        for theirs in tqdm(speakers.values(), "changing voices"):
            if len({clip.emotion for clip in theirs}) < 2:
                say(f"{theirs[0].speaker}: one emotion alone, no transition between two")
                continue
            for seed in (0, 1):
                joined = join(theirs, network.model.spec, seed)
                results.append(detections(joined, listen(joined.samples, network, config)))
    return count(results)


def count(results: Sequence[Detections]) -> Transitions:
    """Sum `detections` up."""
    transitions = sum(result.transitions for result in results)
    found = sum(result.found for result in results)
    delays = [delay for result in results for delay in result.delays]
    precision = found / max(1, sum(result.changes for result in results))
    recall = found / max(1, transitions)
    return {
        "transitions": transitions,
        "f1": 2 * precision * recall / max(1e-9, precision + recall),
        "precision": precision,
        "recall": recall,
        "noticed": len(delays) / max(1, transitions),
        "right": sum(result.right for result in results) / max(1, len(delays)),
        "median_delay_seconds": float(np.median(delays)) if delays else None,
    }
