"""How soon the running device notices that a voice has changed: recordings of one speaker joined without a pause."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from tqdm import tqdm

from affectd.arrays import Float32
from affectd.config.sections import Config, GateConfig
from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec
from affectd.recognition.classifier import Network
from affectd.recognition.vad import band_level, trim
from affectd_train.data.clips import Clip
from affectd_train.data.recordings import load_audio
from affectd_train.evaluation.event_rates import listen

WITHIN_SECONDS = 1.0
N_SEGMENTS = 6
RECORDINGS_A_SEGMENT = 2


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
    by_emotion: dict[str, list[Clip]] = {}
    for clip in sorted(clips):
        by_emotion.setdefault(clip.emotion, []).append(clip)
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
    frame_rate = spec.sample_rate / spec.hop_length
    tight = replace(GateConfig(), hangover_seconds=0.1, preroll_seconds=0.3)
    span = trim(level, tight, frame_rate)
    if span is None:
        return samples
    return samples[span[0] * spec.hop_length : span[1] * spec.hop_length]


def detections(
    joined: Joined, events: Sequence[Mapping[str, Any]], within_seconds: float = WITHIN_SECONDS
) -> dict[str, Any]:
    """Compare the changes of label that the device announced with those of emotion that there were.

    A ``start`` announces a change too, when its label is another one than that of the utterance before it. The time of
    an event is that of the last sound it has heard, ``end_seconds``. A transition is found by the first announcement
    that comes within ``within_seconds`` after it; all other announcements are false.

    Returns
    -------
    ``transitions``, ``changes``, ``found``; ``delays``, seconds from each transition to the first announcement before
    the next one; ``right``, how many of those named the new emotion.
    """
    said = [(float(event["end_seconds"]), event["label"]) for event in events if event["phase"] != "end"]
    changes = [this for before, this in pairwise(said) if this[1] != before[1]]
    found = right = 0
    delays = []
    starts = [*joined.starts_seconds, math.inf]
    for number in range(1, len(joined.emotions)):
        after = [(t, label) for t, label in changes if starts[number] <= t < starts[number + 1]]
        if after:
            delays.append(after[0][0] - starts[number])
            found += delays[-1] <= within_seconds
            right += after[0][1] == joined.emotions[number]
    return {
        "transitions": len(joined.emotions) - 1,
        "changes": len(changes),
        "found": found,
        "right": right,
        "delays": delays,
    }


def transition_figures(
    networks: Sequence[tuple[Network, Sequence[Clip]]], config: Config, seeds: Sequence[int] = (0, 1)
) -> dict[str, Any]:
    """Join the recordings of every test speaker of every network, listen, and compare.

    Returns
    -------
    ``transitions``, ``f1``, ``precision`` and ``recall`` within `WITHIN_SECONDS`; ``noticed``, the share followed by
    any change before the next transition, ``right``, the share of those that named the new emotion, and their
    ``median_delay_seconds``.
    """
    results = []
    for network, clips in networks:
        speakers: dict[str, list[Clip]] = {}
        for clip in clips:
            speakers.setdefault(clip.speaker, []).append(clip)
        for theirs in tqdm(speakers.values(), "changing voices"):
            for seed in seeds:
                joined = join(theirs, network.model.spec, seed)
                results.append(detections(joined, listen(joined.samples, network, config)))
    return count(results)


def count(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sum `detections` up."""
    total = {key: sum(result[key] for result in results) for key in ("transitions", "changes", "found", "right")}
    delays = [delay for result in results for delay in result["delays"]]
    precision = total["found"] / max(1, total["changes"])
    recall = total["found"] / max(1, total["transitions"])
    return {
        "transitions": total["transitions"],
        "f1": 2 * precision * recall / max(1e-9, precision + recall),
        "precision": precision,
        "recall": recall,
        "noticed": len(delays) / max(1, total["transitions"]),
        "right": total["right"] / max(1, len(delays)),
        "median_delay_seconds": float(np.median(delays)) if delays else None,
    }
