"""How soon the running device answers, and how right: recordings of a speaker one after the other, with pauses."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
from tqdm import tqdm

from affectd.arrays import Array, Float32
from affectd.config.sections import Config
from affectd.errors import DataError
from affectd.events.event import Event
from affectd.folders import Skipped
from affectd.recognition.baseline import at_new_place
from affectd.recognition.classifier import Classifier, Network
from affectd.recognition.model_file import read_model
from affectd.recognition.smoothing import UNCERTAIN
from affectd_train.data.clips import Clip
from affectd_train.data.recordings import load_audio
from affectd_train.evaluation.event_rates import configured, listen
from affectd_train.evaluation.transitions import spoken
from affectd_train.files import made_folder, write_json
from affectd_train.folders import say_skipped

PAUSE_SECONDS = 1.5
FLOOR_DBFS = -75.0
"""White noise below all of a stream: digital silence is in no room."""
CLIPS_PER_EMOTION = 4
COUNTS = (1, 2, 3, 4, 6, 8)
"""Values of ``[smoothing] minimum_count`` to compare."""


@dataclass(frozen=True)
class Stream:
    """Recordings of one speaker; ``spans[i]`` is where the i-th begins and ends, seconds, and its true label."""

    samples: Float32
    spans: tuple[tuple[float, float, str], ...]


@dataclass(frozen=True)
class Answered:
    """What was said of one utterance; labels are `UNCERTAIN` where none was given."""

    speaker: str
    truth: str
    delay_seconds: float  # from the beginning of the recording, cut by `spoken`, to the first event
    named_seconds: float  # to the first event with a label; infinite without one
    named: str  # the first label
    end: str  # the label of ``end``


class Share(TypedDict):
    """The share of utterances that got a label and how many of these were right; 95 % bootstrap over speakers."""

    named: float
    precision: float | None
    precision_interval: tuple[float, float] | None


class Answers(TypedDict):
    """Figures of all utterances that had an event; delays are medians, of stream time."""

    minimum_count: int
    utterances: int
    delay_seconds: float | None
    named_seconds: float | None
    first: Share
    end: Share


def in_turn(clips: Sequence[Clip], sample_rate: int, network: Network, n_of_emotion: int = CLIPS_PER_EMOTION) -> Stream:
    """Put recordings of one speaker one after the other, in an order drawn from the speaker's name.

    What of them cannot be decoded is left out, which is said.
    """
    rng = np.random.default_rng(zlib.crc32(clips[0].speaker.encode()))
    by_emotion = defaultdict(list)
    for clip in (sorted(clips)[i] for i in rng.permutation(len(clips))):
        by_emotion[clip.emotion].append(clip)
    chosen = [clip for theirs in by_emotion.values() for clip in theirs[:n_of_emotion]]
    pause = np.zeros(round(PAUSE_SECONDS * sample_rate), np.float32)
    parts, spans, n = [pause], [], len(pause)
    skipped = []
    for clip in (chosen[i] for i in rng.permutation(len(chosen))):
        try:
            samples = spoken(load_audio(clip, sample_rate), network.model.spec)
        except DataError as error:
            skipped.append(Skipped(clip.path, str(error).removeprefix(f"{clip.path}: ")))
            continue
        spans.append((n / sample_rate, (n + len(samples)) / sample_rate, clip.emotion))
        parts += [samples, pause]
        n += len(samples) + len(pause)
    say_skipped(clips[0].corpus, skipped)
    floor = 10 ** (FLOOR_DBFS / 20) * rng.standard_normal(n)
    return Stream((np.concatenate(parts) + floor).astype(np.float32), tuple(spans))


def answered(speaker: str, stream: Stream, events: Sequence[Event], same: dict[str, str]) -> list[Answered]:
    """Compare the first utterance in each recording with the truth; `same` has labels that count as another."""
    utterances: dict[float, list[Event]] = defaultdict(list)
    for event in events:
        utterances[event["start_seconds"]].append(event)
    found = []
    for begin, stop, truth in stream.spans:
        heard = [said for said in utterances.values() if begin <= said[0]["end_seconds"] < stop + PAUSE_SECONDS / 2]
        if not heard:
            continue
        said = heard[0]
        labels = [same.get(str(event["label"]), str(event["label"])) for event in said]
        named = [i for i, event in enumerate(said) if event["phase"] != "end" and event["label"] != UNCERTAIN]
        found.append(
            Answered(
                speaker,
                truth,
                said[0]["end_seconds"] - begin,
                said[named[0]]["end_seconds"] - begin if named else float("inf"),
                labels[named[0]] if named else UNCERTAIN,
                labels[-1],
            )
        )
    return found


def figures(rows: Sequence[Answered], minimum_count: int) -> Answers:
    """Sum up what was said of utterances."""
    delays = [row.delay_seconds for row in rows]
    named = [row.named_seconds for row in rows if row.named != UNCERTAIN]
    return {
        "minimum_count": minimum_count,
        "utterances": len(rows),
        "delay_seconds": round(float(np.median(delays)), 3) if delays else None,
        "named_seconds": round(float(np.median(named)), 3) if named else None,
        "first": _share(rows, np.array([row.named for row in rows])),
        "end": _share(rows, np.array([row.end for row in rows])),
    }


def _share(rows: Sequence[Answered], given: Array) -> Share:
    is_named = given != UNCERTAIN
    right = given == np.array([row.truth for row in rows])
    if not is_named.any():
        return {"named": 0.0, "precision": None, "precision_interval": None}
    names, speaker = np.unique([row.speaker for row in rows], return_inverse=True)
    n_named, n_right = (np.bincount(speaker, values, len(names)) for values in (is_named, right))
    times = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), 2000)
    drawn = times @ n_named
    low, high = np.percentile((times @ n_right)[drawn > 0] / drawn[drawn > 0], [2.5, 97.5])
    precision = float(right.sum() / is_named.sum())
    return {
        "named": float(is_named.mean()),
        "precision": precision,
        "precision_interval": (float(low), float(high)),
    }


def first_answers(model: Path, clips: Sequence[Clip], out: Path) -> dict[str, list[Answers]]:
    """Measure every corpus at the default settings and each of `COUNTS`; also written to ``out/answers.json``."""
    with made_folder(out):  # before an hour of listening
        result = answers_of(Classifier(read_model(model)), clips, COUNTS)
        write_json(out / "answers.json", result)
    return result


def answers_of(network: Classifier, clips: Sequence[Clip], counts: Sequence[int]) -> dict[str, list[Answers]]:
    """Measure every corpus at the default settings and each of these values of ``minimum_count``.

    Each speaker is heard by a device of its own, which knows nothing at first and learns as it does in a place.
    ``calm`` counts as neutral in a corpus without it. Log-mel clips are left out: they are no sound.
    """
    speakers: dict[str, dict[str, list[Clip]]] = defaultdict(lambda: defaultdict(list))
    for clip in clips:
        if not clip.is_logmel:
            speakers[clip.corpus][clip.speaker].append(clip)
    result = {}
    for corpus, theirs in speakers.items():
        labels = {clip.emotion for mine in theirs.values() for clip in mine}
        same = {} if "calm" in labels else {"calm": "neutral"}
        rows: dict[int, list[Answered]] = {count: [] for count in counts}
        for speaker, mine in tqdm(theirs.items(), f"first answers, {corpus}"):
            stream = in_turn(mine, network.model.spec.sample_rate, network)
            for count, found in rows.items():
                config: Config = configured(minimum_count=count)
                device, _ = at_new_place(network)
                found += answered(speaker, stream, listen(stream.samples, device, config), same)
        result[corpus] = [figures(found, count) for count, found in rows.items()]
    return result
