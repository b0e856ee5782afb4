"""What leaves the device: one JSON object per event, described by ``event.schema.json`` beside this module.

Fields are added, never renamed; ``schema`` counts the additions.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from affectd.model_file import ModelFile
from affectd.smoothing import Answer

SCHEMA = 1
Event = dict[str, Any]
Phase = Literal["start", "change", "end"]
_TIME_ERROR = 5
_TIMESYNC = Path("/run/systemd/timesync")


class Utterance:
    """What is measured between the opening and the closing of the gate, in constant memory.

    Parameters
    ----------
    start_seconds : float
        Stream time of its first frame, pre-roll included.

    Attributes
    ----------
    end_seconds : float
        Stream time of the last frame so far; set by whoever knows it.
    """

    def __init__(self, start_seconds: float) -> None:
        self.start_seconds = start_seconds
        self.end_seconds = start_seconds
        self._power = 0.0
        self._frames = 0
        self._active_frames = 0

    def push(self, frames: NDArray[np.float32], active: NDArray[np.bool_]) -> None:
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
        """Make the event that the microphone is in another state; see `affectd.liveness` for both words."""
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


def model_id(model: ModelFile) -> str:
    """Name a model by its content: the first 12 hex digits of the SHA-256 of the network."""
    return hashlib.sha256(model.tflite).hexdigest()[:12]


def clock_synchronized() -> bool | None:
    """Ask the kernel whether its clock follows a time server; None where it cannot say.

    Source: Linux manual page adjtimex(2); the answer is the same for chrony, ntpd and systemd-timesyncd.
    """
    state = _adjtimex()()
    if state >= 0:
        return state != _TIME_ERROR
    # As a service even asking is forbidden (ProtectClock=), but systemd's own time service leaves a mark.
    return (_TIMESYNC / "synchronized").exists() if _TIMESYNC.is_dir() else None


@cache  # loading the library anew for every event would leave garbage each time
def _adjtimex() -> Callable[[], int]:
    try:
        function = ctypes.CDLL(None).adjtimex
    except (OSError, AttributeError):
        return lambda: -1
    # All zeros asks and changes nothing; struct timex has at most 208 bytes on any architecture.
    size = 512
    timex = ctypes.create_string_buffer(size)

    def ask() -> int:
        ctypes.memset(timex, 0, size)
        return int(function(timex))

    return ask


def event_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) every event obeys."""
    schema: dict[str, Any] = json.loads(resources.files("affectd").joinpath("event.schema.json").read_text("utf-8"))
    return schema
