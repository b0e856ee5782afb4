"""The trace: one line a stride with what was heard, what is believed and why; ``trace.schema.json`` describes it.

A stride in which the gate opens or closes has a line for each part, so the lines are disjoint, cover the stream, and
those with the gate open cover exactly the open gate. It is for people who look: it never goes to the broker.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from datetime import MAXYEAR, UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from affectd.arrays import Float32
from affectd.config.sections import FileConfig
from affectd.errors import UsageError
from affectd.events.event import EventMaker, utc
from affectd.events.sinks import RotatingFile
from affectd.recognition.affect import affect
from affectd.recognition.model_file import ModelFile, model_id
from affectd.recognition.smoothing import UNCERTAIN, Answer
from affectd.recognition.vad import LEVEL_FLOOR_DBFS

SCHEMA = 2
Trace = dict[str, Any]


class Tracer:
    """Makes the lines of one stream and passes each to `write`.

    Parameters
    ----------
    events : EventMaker
        Gives the name of the device and the time of day.
    model : ModelFile
        Its specification gives the times, its labels the names of the probabilities.
    write : callable
        Takes a line, in the thread of the sound.
    sure : callable
        Returns what the logits of the last run of the network were multiplied by, 0 to 1; None if the model file has
        no voice.

    Examples
    --------
    >>> import numpy as np
    >>> from affectd.recognition.model_file import find_model, read_model
    >>> model, lines = read_model(find_model()), []
    >>> tracer = Tracer(EventMaker("kitchen", model), model, lines.append)
    >>> tracer.stride(np.full(16, -50, np.float32), [(slice(0, 16), False)])
    >>> lines[0]["end_seconds"], lines[0]["level_dbfs"], lines[0]["gate_open"], lines[0]["reason"]
    (0.248, -50.0, False, 'gate_shut')
    """

    def __init__(
        self,
        events: EventMaker,
        model: ModelFile,
        write: Callable[[Trace], object],
        sure: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._events, self._write, self._sure = events, write, sure
        self._model, self._labels = model_id(model), model.labels
        spec = model.spec
        self._frame_seconds = spec.hop_length / spec.sample_rate
        # A line lies between the middles of two frames' centers; the first begins with the stream.
        self._first_seconds = spec.center_seconds(0) - self._frame_seconds / 2
        self._n_frames = 0
        self._answer: Answer | None = None  # the last one of this utterance

    def stride(
        self,
        level: Float32,
        stretches: Iterable[tuple[slice, bool]],
        probabilities: Float32 | None = None,
        answer: Answer | None = None,
    ) -> None:
        """Take the frames since the last call.

        Parameters
        ----------
        level : ndarray
            ``(n,)`` float32, the level of each frame in the band of speech, dBFS.
        stretches : iterable
            Their stretches of equal state of the gate, in order: a slice and whether it is open.
        probabilities : ndarray, optional
            ``(n_labels,)``, if the network was run at their end.
        answer : Answer, optional
            What was made of it by smoothing.
        """
        for part, is_open in stretches:
            is_last = part.stop == len(level)
            if not is_open:
                self._answer = None
            elif is_last and answer is not None:
                self._answer = answer
            raw = probabilities if is_open and is_last else None
            self._line(level[part], is_open=is_open, probabilities=raw)

    def _line(self, level: Float32, *, is_open: bool, probabilities: Float32 | None) -> None:
        start, self._n_frames = self._seconds(self._n_frames), self._n_frames + len(level)
        end = self._seconds(self._n_frames)
        answer = self._answer
        smoothed = {} if answer is None else answer.probabilities
        raw = {} if probabilities is None else dict(zip(self._labels, probabilities.tolist(), strict=True))
        sure = None if probabilities is None else self._sure()
        self._write(
            {
                "schema": SCHEMA,
                "type": "trace",
                "time": utc(self._events.time_of(end)),
                "device": self._events.device,
                "start_seconds": start,
                "end_seconds": end,
                "level_dbfs": mean_level(level),
                "gate_open": is_open,
                "probabilities": _rounded(raw),
                "sure": None if sure is None else round(sure, 4),
                "smoothed": _rounded(smoothed),
                "label": None if answer is None else answer.label,
                "probability": None if answer is None else round(answer.probability, 4),
                **affect(smoothed),
                "reason": why_unnamed(answer, is_open=is_open),
                "model": self._model,
            }
        )

    def _seconds(self, n_frames: int) -> float:
        return round(max(0.0, self._first_seconds + n_frames * self._frame_seconds), 3) if n_frames else 0.0


def why_unnamed(answer: Answer | None, *, is_open: bool) -> str | None:
    """Return why there is no label: ``gate_shut``, ``too_short``, ``below_threshold``; None if there is one."""
    if not is_open:
        return "gate_shut"
    if answer is None:
        return "too_short"
    return "below_threshold" if answer.label == UNCERTAIN else None


def mean_level(level: Float32) -> float | None:
    """Return the level of ``(n,)`` frames together, dBFS in the band of speech; None for digital silence."""
    mean = 10.0 * float(np.log10(np.mean(10.0 ** (level.astype(np.float64) / 10.0))))
    return None if mean <= LEVEL_FLOOR_DBFS + 0.01 else round(mean, 1)


def trace_file(path: str, events: FileConfig, *, patient: bool) -> RotatingFile:
    """Open a file for the trace, which grows by some 10 MB an hour, so it is rotated at 1000 MB; the last is kept.

    Raises
    ------
    ConfigError, UnavailableError
        As of `RotatingFile`.
    UsageError
        It is the file of the events, or one of the two would be rotated to the other.
    """
    own = FileConfig(path=path, max_mb=1000.0, keep=1)
    if events.path and _names(own) & _names(events):
        raise UsageError(f"--trace must be a file of its own, not {path} beside the events in {events.path}.")
    return RotatingFile(own, "--trace", patient=patient)


def _names(file: FileConfig) -> set[str]:
    """Return all paths that a file has in its time."""
    try:
        path = os.path.realpath(file.path)
    except OSError:  # the folder that it is relative to is gone, so it is no file
        return set()
    return {path, *(f"{path}.{number}" for number in range(1, file.keep + 1))}


def began_at(text: str) -> float:
    """Read the time at which a recording began, RFC 3339 or ISO 8601, as seconds since the epoch.

    Without a zone it is local time.

    Raises
    ------
    UsageError
        It is no time, or in the last year that there is, 9999, which a recording could outlast; or it is in the hour
        that local time has twice or not at all, where the clocks are changed.

    Examples
    --------
    >>> began_at("2026-01-31T12:00:00Z")
    1769860800.0
    """
    try:
        given = datetime.fromisoformat(text)
        began = given.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"{text!r} is no time; write it like 2026-01-31T12:00:00+01:00.") from None
    if began.year == MAXYEAR:
        raise UsageError(f"{text!r} is too late for a recording.")
    if given.replace(fold=1).astimezone(UTC) != began:
        raise UsageError(
            f"{text!r} was twice by local time or never, for the clocks were changed then: add its offset, as in"
            " +01:00."
        )
    return began.timestamp()


def trace_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the lines."""
    schema: dict[str, Any] = json.loads(Path(__file__).with_name("trace.schema.json").read_text("utf-8"))
    return schema


def _rounded(probabilities: dict[str, float]) -> dict[str, float] | None:
    return {label: round(p, 4) for label, p in probabilities.items()} or None
