"""Whether a new model makes events: they stop if there is much speech without any, by what was usual before."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np

from affectd.arrays import Bool

LEAST_SPEECH_SECONDS = 60.0
"""So much speech without an event is no accident; less says nothing."""
PROVEN_EVENTS = 3
PROVEN_SECONDS = 300.0
_TIMES_USUAL = 10.0


class Probation:
    """Counts speech and events of the present run; one thread pushes, others may read.

    Parameters
    ----------
    frame_rate : float
        Frames a second.
    on_trial : bool
        Whether the model has to prove itself.
    usual_seconds : float, optional
        Seconds of speech for each event before, 0 if that is not known; None if there were none either, so that none
        is no fault.
    """

    def __init__(
        self,
        frame_rate: float,
        *,
        on_trial: bool,
        usual_seconds: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.on_trial = on_trial
        self._frame_rate = frame_rate
        self._most_seconds = (
            math.inf if usual_seconds is None else max(LEAST_SPEECH_SECONDS, _TIMES_USUAL * usual_seconds)
        )
        self._clock, self._began = clock, clock()
        self._n_speech = self._n_since = self._n_quiet = self._n_events = 0

    def heard(self, active: Bool) -> None:
        """Take frames: which of them were speech, ``(n,)`` bool."""
        n = int(np.count_nonzero(active))
        self._n_quiet = 0 if n else self._n_quiet + len(active)
        self._n_speech += n
        self._n_since += n

    def event(self) -> None:
        """Take note of an emotion event."""
        self._n_events += 1
        self._n_since = 0

    @property
    def quiet_seconds(self) -> float:
        """How long there has been no speech."""
        return self._n_quiet / self._frame_rate

    @property
    def is_silent(self) -> bool:
        """Whether the model on trial makes no events any more."""
        return self.on_trial and self._n_since / self._frame_rate > self._most_seconds

    @property
    def has_lived(self) -> bool:
        """Whether its first minutes are over."""
        return self._clock() - self._began >= PROVEN_SECONDS

    @property
    def is_proven(self) -> bool:
        """Whether the model on trial works: events came, and its first minutes are over."""
        return self.on_trial and self._n_events >= PROVEN_EVENTS and self.has_lived

    def usual_seconds(self) -> float | None:
        """Return seconds of speech for each event, as the parameter of the same name."""
        speech_seconds = self._n_speech / self._frame_rate
        if not self._n_events:
            return None if speech_seconds > LEAST_SPEECH_SECONDS else 0.0
        return speech_seconds / self._n_events
