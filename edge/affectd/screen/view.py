"""What is known now of a device that is watched."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from affectd.recognition.smoothing import UNCERTAIN
from affectd.screen import words
from affectd.screen.checked import number, objects, part, shares, text, texts
from affectd.stdio import printable

_MOST_EVENTS = 100
_NOTE_SECONDS = 10.0
# The page says something every 5 s.
_SILENT_SECONDS = 8.0


class View:
    """Takes every event and line of the trace, and remembers what a screen shows of it.

    Parameters
    ----------
    source : str
        What is listened to, in words.
    labels : tuple of str
        Of the model, if they are known yet.
    threshold : float, optional
        The probability from which on a label is named, if it is known.
    address : str
        Of another device that listens, which says something every few seconds; empty: this one does.
    """

    def __init__(
        self,
        source: str,
        labels: tuple[str, ...] = (),
        threshold: float | None = None,
        address: str = "",
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.source, self.address, self.threshold = printable(source), address, threshold
        self.labels = tuple(map(printable, labels))
        self._now = now
        self.device = ""
        self.microphone: Mapping[str, Any] = {}
        self.happened: deque[tuple[str, str]] = deque(maxlen=_MOST_EVENTS)
        """When and what, the newest last."""
        self.seconds = 0.0
        self.level_dbfs: float | None = None
        self.is_open: bool | None = None
        self.open_seconds = 0.0
        """For how long the gate has been open."""
        self.raw: dict[str, float] = {}
        self.smoothed: dict[str, float] = {}
        self.label: str | None = None
        self.probability: float | None = None
        self.valence: float | None = None
        self.arousal: float | None = None
        self._broken = ""
        self._note, self._note_at = "", -math.inf
        self._heard_at = now()

    def write(self, message: Mapping[str, Any]) -> None:
        """Take an event, a line of the trace, the state of a device, its snapshot, or a word on the connection."""
        kind = message.get("type")
        if kind == "connection":
            self._broken = text(message, "sentence") or ""
            self._forget()
            return
        self._broken, self._heard_at = "", self._now()
        self.device = text(message, "device") or self.device
        if kind == "trace":
            self._trace(message)
        elif kind == "state":
            self._state(message)
        elif kind == "snapshot":
            self._state(part(message, "state"))
            self.happened.clear()
            for event in objects(message, "events"):
                self._event(event)
            self._trace(part(message, "trace"))
        else:
            self._event(message)

    def note(self, sentence: str) -> None:
        """Take a line of the log."""
        self._note, self._note_at = printable(sentence), self._now()

    @property
    def is_named(self) -> bool:
        """Whether there is a label now, and it is not in doubt."""
        return self.label is not None and self.label != UNCERTAIN

    def latest_note(self) -> str:
        """Return the last line of the log, for some seconds."""
        return self._note if self._now() - self._note_at < _NOTE_SECONDS else ""

    def trouble(self) -> str:
        """Return what is wrong with the connection to another device; empty if nothing is."""
        silent_seconds = self._now() - self._heard_at
        if self._broken or not self.address or silent_seconds < _SILENT_SECONDS:
            return self._broken
        return f"nothing came for {silent_seconds:.0f} s"

    def _state(self, state: Mapping[str, Any]) -> None:
        self.device = text(state, "device") or self.device
        self.labels = texts(state, "labels") or self.labels
        self.microphone = part(state, "microphone")

    def _event(self, event: Mapping[str, Any]) -> None:
        if event.get("type") == "status" and not event.get("part"):
            self.microphone = event
        said = words.event(event)
        if said:
            self.happened.append((words.clock(event), said))

    def _trace(self, trace: Mapping[str, Any]) -> None:
        start, end = number(trace, "start_seconds"), number(trace, "end_seconds")
        if start is None or end is None:
            self._forget()
            return
        self.seconds = end
        self.is_open = trace.get("gate_open") is True
        self.open_seconds = self.open_seconds + end - start if self.is_open else 0.0
        self.level_dbfs = number(trace, "level_dbfs")
        # The network does not run for every line; what it said last is still of this utterance.
        self.raw = shares(trace, "probabilities") or (self.raw if self.is_open else {})
        self.smoothed = shares(trace, "smoothed")
        self.label, self.probability = text(trace, "label"), number(trace, "probability")
        self.valence, self.arousal = number(trace, "valence"), number(trace, "arousal")
        self.labels = self.labels or tuple(self.raw)

    def _forget(self) -> None:
        self.is_open = self.level_dbfs = self.label = self.probability = self.valence = self.arousal = None
        self.raw, self.smoothed, self.open_seconds = {}, {}, 0.0
