"""Events: one JSON object each, described by ``event.schema.json`` beside this module.

Fields are added, never renamed; ``schema`` counts the additions.
"""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from affectd.arrays import Bool, Float32
from affectd.board import clock_synchronized
from affectd.recognition.affect import affect
from affectd.recognition.model_file import ModelFile, model_id
from affectd.recognition.smoothing import Answer

SCHEMA = 2
Event = dict[str, Any]
Phase = Literal["start", "change", "end"]


class Utterance:
    """Measurements between the opening and the closing of the gate, in constant memory.

    `start_seconds` is the stream time of its first frame, pre-roll included; the pipeline sets `end_seconds`, that of
    the last frame so far, and `label`, that of the last event.

    Examples
    --------
    >>> import numpy as np
    >>> utterance = Utterance(start_seconds=1.0)
    >>> utterance.push(np.tile(np.float32([0.1, -0.1]), (4, 512)), np.array([True, True, True, False]))
    >>> round(utterance.level_dbfs, 1), utterance.speech_ratio
    (-20.0, 0.75)
    """

    def __init__(self, start_seconds: float) -> None:
        self.start_seconds = start_seconds
        self.end_seconds = start_seconds
        self.label: str | None = None
        self._power = 0.0
        self._frames = 0
        self.speech_frames = 0  # since the gate opened, without the hangover

    def push(self, frames: Float32, active: Bool) -> None:
        """Add ``(n, window_length)`` float32 frames and which of them were speech, ``(n,)`` bool."""
        # The variance and not the mean square, which leaves out a DC offset.
        self._power += float(frames.var(axis=1).sum())
        self._frames += len(frames)
        self.speech_frames += int(active.sum())

    @property
    def level_dbfs(self) -> float | None:
        """RMS level so far, 0 dBFS being a full-scale square wave; None for digital silence."""
        if self._power <= 0.0:
            return None
        return 10.0 * math.log10(self._power / self._frames)

    @property
    def speech_ratio(self) -> float:
        """Share of the frames since the gate opened that were speech, without the hangover."""
        return self.speech_frames / self._frames if self._frames else 0.0


class EventMaker:
    """Makes the events of one device and one model.

    ``time`` is read from the wall clock for each event, because a board may set its clock after the start. Of a
    recording that began at a known time, `began` in seconds since the epoch, it is the time of the sound instead.
    ``start_seconds`` and ``end_seconds`` are stream time.

    Examples
    --------
    >>> from affectd.recognition.model_file import find_model, read_model
    >>> events = EventMaker("kitchen", read_model(find_model()), clock=lambda: 0.0)
    >>> event = events.emotion("start", Answer("sad", 0.9, {"sad": 0.9}), Utterance(1.5))
    >>> event["device"], event["time"], event["phase"], event["label"], event["start_seconds"]
    ('kitchen', '1970-01-01T00:00:00.000Z', 'start', 'sad', 1.5)
    """

    def __init__(
        self,
        device: str,
        model: ModelFile,
        clock: Callable[[], float] = time.time,
        began: float | None = None,
    ) -> None:
        self.device = device
        self._model = model_id(model)
        self._clock, self._began = clock, began
        self.has_heard = False
        """Whether there was an utterance with an event."""

    def time_of(self, seconds: float) -> float:
        """Return the time of day, in seconds since the epoch, of what has just ended at this stream time."""
        return self._clock() if self._began is None else self._began + seconds

    def emotion(self, phase: Phase, answer: Answer, utterance: Utterance) -> Event:
        """Make the event for the first label of an utterance, a change of label, or its end."""
        self.has_heard, level = True, utterance.level_dbfs
        return {
            **self._event("emotion", self.time_of(utterance.end_seconds)),
            "phase": phase,
            "label": answer.label,
            "probability": round(answer.probability, 4),
            "probabilities": {label: round(p, 4) for label, p in answer.probabilities.items()},
            **affect(answer.probabilities),
            "start_seconds": round(utterance.start_seconds, 3),
            "end_seconds": round(utterance.end_seconds, 3),
            "level_dbfs": None if level is None else round(level, 1),
            "speech_ratio": round(utterance.speech_ratio, 3),
            "model": self._model,
        }

    def status(self, state: str, reason: str, **about: object) -> Event:
        """Make the event for a change of state of the microphone; `affectd.audio.liveness` has the first two values.

        `about` has the figure of a degraded one, or names another part, as ``event.schema.json`` has it.
        """
        return {**self._event("status", self._clock()), "state": state, "reason": reason, **about}

    def _event(self, kind: str, seconds: float) -> Event:
        return {
            "schema": SCHEMA,
            "id": str(uuid.uuid4()),
            "type": kind,
            "time": utc(seconds),
            "clock_synchronized": None if self._began is not None else clock_synchronized(),
            "device": self.device,
        }


def utc(seconds: float) -> str:
    """Format seconds since the epoch as RFC 3339, UTC, with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def event_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the events.

    Examples
    --------
    >>> event_schema()["properties"]["type"]
    {'description': 'test: published by affectd doctor, to be ignored.', 'enum': ['emotion', 'status', 'test']}
    """
    schema: dict[str, Any] = json.loads(Path(__file__).with_name("event.schema.json").read_text("utf-8"))
    return schema
