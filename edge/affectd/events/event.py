"""What leaves the device: one JSON object per event, described by ``event.schema.json`` beside this module.

Fields are added, never renamed; ``schema`` counts the additions.
"""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import resources
from typing import Any, Literal

from affectd.arrays import Bool, Float32
from affectd.board import clock_synchronized
from affectd.recognition.model_file import ModelFile, model_id
from affectd.recognition.smoothing import Answer

SCHEMA = 1
Event = dict[str, Any]
Phase = Literal["start", "change", "end"]


class Utterance:
    """What is measured between the opening and the closing of the gate, in constant memory.

    Parameters
    ----------
    start_seconds : float
        Stream time of its first frame, pre-roll included.

    Attributes
    ----------
    end_seconds : float
        Stream time of the last frame so far; set by the pipeline.
    """

    def __init__(self, start_seconds: float) -> None:
        self.start_seconds = start_seconds
        self.end_seconds = start_seconds
        self._power = 0.0
        self._frames = 0
        self._active_frames = 0

    def push(self, frames: Float32, active: Bool) -> None:
        """Add ``(n, window_length)`` float32 frames and which of them were speech, ``(n,)`` bool."""
        # The variance and not the mean square: a microphone's DC offset is no sound.
        self._power += float(frames.var(axis=1).sum())
        self._frames += len(frames)
        self._active_frames += int(active.sum())

    @property
    def level_dbfs(self) -> float | None:
        """RMS level so far, 0 dBFS being a full-scale square wave; None for digital silence."""
        if self._power <= 0.0:
            return None
        return 10.0 * math.log10(self._power / self._frames)

    @property
    def speech_ratio(self) -> float:
        """Share of the frames since the gate opened that were speech by themselves, not by hangover."""
        return self._active_frames / self._frames if self._frames else 0.0


class EventMaker:
    """Makes the events of one device and one model.

    ``time`` is the wall clock when the event is made: an anchor taken at the start would stay wrong
    for months on a board whose clock was set after boot. Intervals come from the stream alone.

    Parameters
    ----------
    device : str
        The name of this device.
    model : ModelFile
        The model in use.
    clock : callable
        Seconds since the epoch; tests put their own here.
    """

    def __init__(self, device: str, model: ModelFile, clock: Callable[[], float] = time.time) -> None:
        self._device = device
        self._model = model_id(model)
        self._clock = clock

    def emotion(self, phase: Phase, answer: Answer, utterance: Utterance) -> Event:
        """Make the event that an utterance got its first label, another one, or ended."""
        level = utterance.level_dbfs
        return {
            **self._event("emotion"),
            "phase": phase,
            "label": answer.label,
            "probability": round(answer.probability, 4),
            "probabilities": {label: round(p, 4) for label, p in answer.probabilities.items()},
            "start_seconds": round(utterance.start_seconds, 3),
            "end_seconds": round(utterance.end_seconds, 3),
            "level_dbfs": None if level is None else round(level, 1),
            "speech_ratio": round(utterance.speech_ratio, 3),
            "model": self._model,
        }

    def status(self, state: str, reason: str) -> Event:
        """Make the event that the microphone is in another state; see `affectd.audio.liveness` for both words."""
        return {**self._event("status"), "state": state, "reason": reason}

    def _event(self, kind: str) -> Event:
        return {
            "schema": SCHEMA,
            "id": str(uuid.uuid4()),
            "type": kind,
            "time": utc(self._clock()),
            "clock_synchronized": clock_synchronized(),
            "device": self._device,
        }


def utc(seconds: float) -> str:
    """Write seconds since the epoch as the time in an event: RFC 3339, UTC, with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def event_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) every event obeys."""
    schema: dict[str, Any] = json.loads(resources.files(__package__).joinpath("event.schema.json").read_text("utf-8"))
    return schema
