"""State of a microphone: which fault it has, and when to reopen it.

============  ======================================================================
state         means
============  ======================================================================
healthy       it delivers sound that varies
degraded      it does, but the sound is unfit, for the reason of `affectd.audio.condition`
alarmed       a fault, given by the reason
recovering    reopened, but its sound is not accepted yet
escalated     faulty for `ESCALATED_SECONDS`; a person should look at it
failed        faulty for `FAILED_SECONDS`; attempts to reopen it go on
muted         closed by a command
============  ======================================================================

An outage moves from ``alarmed`` on down this table, never up, and ends with ``healthy`` or ``muted``: at most five
reports in all. Of a microphone that comes and goes, as one with a loose contact, `BRIEF_OUTAGES` in a row are told like
this; after those it is healthy when it was heard for `LASTING_PROOF_SECONDS`, or logs and outboxes would fill up.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Literal

import numpy as np

from affectd.arrays import Block
from affectd.config.sections import AudioConfig

State = Literal["healthy", "degraded", "alarmed", "recovering", "escalated", "failed", "muted"]

ESCALATED_SECONDS = 30.0
FAILED_SECONDS = 600.0
FIRST_RETRY_SECONDS = 0.5
PROOF_SECONDS = 0.5
"""Varying sound needed to call a device healthy; a broken one may click when it is opened."""
REPEATED_PROOF_SECONDS = 2.5
"""The same after the fault ``repeated``, which takes longer to detect."""
LASTING_PROOF_SECONDS = 300.0
"""The same after `BRIEF_OUTAGES` before which it was healthy for less than `FAILED_SECONDS`."""
BRIEF_OUTAGES = 10

HISTORY_SECONDS = 1.0
"""Buffers of sound cards are shorter than this."""

SAMPLE_SECONDS = 0.05
"""Length of the piece that is searched for in the sound before it."""


def _jitter() -> float:
    """Return a number from 0 to 1 at random; the module `random` would cost memory for it."""
    return int.from_bytes(os.urandom(4), "big") / 2**32


class Liveness:
    """The state machine of a microphone; opening, waiting and reporting are up to the caller.

    `clock` returns monotonic seconds, `jitter` a number in [0, 1) that spreads the attempts of several devices.

    Attributes
    ----------
    state : str or None
        See the table above; None before the first sound or fault.
    reason : str
        ``heard``, ``stalled``, ``constant``, ``repeated``, ``missing``, ``busy``, ``refused`` or ``asked``; while
        ``degraded`` one of `affectd.audio.condition`.
    """

    def __init__(
        self,
        config: AudioConfig,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = _jitter,
    ) -> None:
        self.state: State | None = None
        self.reason = ""
        self._config = config
        self._clock = clock
        self._jitter = jitter
        self._wrong_since = self._healthy_since = self._heard_at = clock()
        self._read_at = self._heard_at
        self._waited_seconds = 0.0
        self._backoff = 0.0
        self._n_brief = 0
        self._last: float | None = None
        self._constant_seconds = self._varying_seconds = 0.0
        self._repetition = Repetition()

    def opened(self) -> None:
        """Note that the device is open, at the start or again."""
        self._heard_at = self._read_at = self._clock()
        self._waited_seconds = 0.0
        self._last = None
        self._constant_seconds = self._varying_seconds = 0.0
        self._repetition.reset()
        if self.state in ("alarmed", "muted"):
            self.state = "recovering"

    def muted(self) -> None:
        """Note that the device is closed by a command."""
        self.state, self.reason = "muted", "asked"

    @property
    def is_heard(self) -> bool:
        """Whether it delivers sound, fit or not."""
        return self.state in ("healthy", "degraded")

    def judged(self, reason: str) -> None:
        """Note why the sound that it delivers is unfit; empty if it is not."""
        if self.is_heard:
            self.state, self.reason = ("degraded", reason) if reason else ("healthy", "heard")

    def heard(self, samples: Block, seconds: float) -> str | None:
        """Check the next samples, float32 of shape (n,), of a duration in seconds; n = 0 after a timeout.

        Returns ``stalled``, ``constant``, ``repeated``, or None.
        """
        now = self._clock()
        since, self._read_at = now - self._read_at, now
        if not len(samples):
            self._waited_seconds += since
            return "stalled" if self._waited_seconds >= self._config.stalled_seconds else None
        # Sound makes up for waiting; a device that delivers less than a quarter of the time has stalled too.
        self._waited_seconds = max(0.0, self._waited_seconds - 3 * seconds)
        self._heard_at = now
        before = float(samples[0]) if self._last is None else self._last
        self._last = float(samples[-1])
        # All samples are compared only if the last two blocks end alike.
        if self._last == before and (samples == before).all():
            self._constant_seconds += seconds
            return "constant" if self._constant_seconds >= self._config.constant_seconds else None
        self._constant_seconds = 0.0
        self._repetition.push(samples, seconds)
        if self._repetition.seconds >= self._config.constant_seconds:
            return "repeated"
        self._varying_seconds += seconds
        proof = REPEATED_PROOF_SECONDS if self.reason == "repeated" else PROOF_SECONDS
        if self._n_brief > BRIEF_OUTAGES:
            proof = LASTING_PROOF_SECONDS
        if not self.is_heard and self._varying_seconds >= proof and not self._repetition.seconds:
            self.state, self.reason, self._healthy_since = "healthy", "heard", now
        return None

    def failed(self, reason: str) -> float:
        """Note that the device failed or could not be opened; return the seconds to wait before the next attempt."""
        now = self._clock()
        self.reason = reason
        if self.is_heard:
            self._n_brief = self._n_brief + 1 if self._heard_at - self._healthy_since < FAILED_SECONDS else 0
        if self.state in (None, "muted") or self.is_heard:
            # The back-off goes on for a device that was healthy only briefly.
            if not self.is_heard or self._heard_at - self._healthy_since >= self._backoff:
                self._backoff = 0.0
            self.state, self._wrong_since = "alarmed", now
        elif now - self._wrong_since >= FAILED_SECONDS:
            self.state = "failed"
        elif now - self._wrong_since >= ESCALATED_SECONDS:
            self.state = "escalated"
        self._backoff = min(self._config.retry_seconds, max(FIRST_RETRY_SECONDS, 2 * self._backoff))
        return self._backoff * (1 - self._jitter() / 2)


class Repetition:
    """Detects sound that repeats with a period of at most `HISTORY_SECONDS`, once a second.

    A sound card that hangs may deliver its last buffer again and again. The sound of a working microphone never
    repeats exactly, not even silence, a hum or a beep, because its own noise does not.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget what was heard."""
        self._blocks: list[Block] = []
        self._gathered_seconds = 0.0
        self.seconds = 0.0
        """How long the sound has been repeating, about whole seconds."""

    def push(self, samples: Block, seconds: float) -> None:
        """Take the next samples, float32 of shape (n,), of a duration in seconds."""
        self._blocks.append(samples)
        self._gathered_seconds += seconds
        if self._gathered_seconds < HISTORY_SECONDS:
            return
        heard = np.concatenate(self._blocks)
        n = round(len(heard) * SAMPLE_SECONDS / self._gathered_seconds)
        self.seconds = self.seconds + self._gathered_seconds if occurs_earlier(heard, n) else 0.0
        self._blocks = []
        self._gathered_seconds = 0.0


def occurs_earlier(heard: Block, n: int) -> bool:
    """Return whether the last `n` samples, unless constant, occur earlier in `heard`."""
    piece = heard[len(heard) - n :]
    if n < 2 or (piece == piece[0]).all():
        return False
    # The loudest sample first: its value is the rarest and leaves the fewest candidates.
    loudest = int(np.abs(piece).argmax())
    starts = np.flatnonzero(heard[loudest : loudest + len(heard) - n] == piece[loudest])
    for i in range(n):
        if not len(starts):
            return False
        starts = starts[heard[starts + i] == piece[i]]
    return len(starts) > 0
