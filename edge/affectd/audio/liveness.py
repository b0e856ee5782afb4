"""Whether the microphone hears: what is wrong with it, and when to open it again.

============  ======================================================================
state         means
============  ======================================================================
healthy       sound that varies is coming in
alarmed       something is wrong (the reason says what)
recovering    the device is open again, but has not proved yet that it hears
escalated     wrong for `ESCALATED_SECONDS`; it should be looked at
failed        wrong for `FAILED_SECONDS`; it is tried on all the same
muted         closed by a command
============  ======================================================================

An outage goes down this table, never up, and ends with ``healthy`` or ``muted``: at most five reports, however
long it lasts.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Literal

import numpy as np

from affectd.arrays import Block
from affectd.config.sections import AudioConfig

State = Literal["healthy", "alarmed", "recovering", "escalated", "failed", "muted"]

ESCALATED_SECONDS = 30.0
FAILED_SECONDS = 600.0
FIRST_RETRY_SECONDS = 0.5
PROOF_SECONDS = 0.5
"""So much sound that varies proves that a device hears; a broken one may click when it is opened."""
REPEATED_PROOF_SECONDS = 2.5
"""The same after sound that repeated itself, which takes longer to notice."""

HISTORY_SECONDS = 1.0
"""Buffers of sound cards are shorter than this."""

SAMPLE_SECONDS = 0.05
"""So much of the sound is looked for in what came before it."""


class Liveness:
    """The state of a microphone, and when to try again; it opens, waits and reports nothing itself.

    Parameters
    ----------
    config : AudioConfig
        The section ``[audio]``.
    clock : callable
        Monotonic seconds; tests put their own here.
    jitter : callable
        A random number in [0, 1), so that many devices do not ask one sound server at the same moments.

    Attributes
    ----------
    state : str or None
        See the table above; None until there is something to say.
    reason : str
        Why: ``heard``, ``stalled``, ``constant``, ``repeated``, ``missing``, ``busy``, ``refused`` or ``asked``.
    """

    def __init__(
        self,
        config: AudioConfig,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
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

    def heard(self, samples: Block, seconds: float) -> str | None:
        """Judge what came from the device itself, float32 of shape (n,), which lasts so many seconds.

        No samples mean that there were none to read, not that they were unread. Returns what is wrong:
        ``stalled``, ``constant``, ``repeated``, or None.
        """
        now = self._clock()
        since, self._read_at = now - self._read_at, now
        if not len(samples):
            self._waited_seconds += since
            return "stalled" if self._waited_seconds >= self._config.stalled_seconds else None
        # Sound makes up for waiting, but a trickle of it does not: less than a third of the time is a stall too.
        self._waited_seconds = max(0.0, self._waited_seconds - 2 * seconds)
        self._heard_at = now
        before = float(samples[0]) if self._last is None else self._last
        self._last = float(samples[-1])
        # Two numbers tell sound from a constant; only if they do not, all are looked at.
        if self._last == before and (samples == before).all():
            self._constant_seconds += seconds
            return "constant" if self._constant_seconds >= self._config.constant_seconds else None
        self._constant_seconds = 0.0
        self._repetition.push(samples, seconds)
        if self._repetition.seconds >= self._config.constant_seconds:
            return "repeated"
        self._varying_seconds += seconds
        proof = REPEATED_PROOF_SECONDS if self.reason == "repeated" else PROOF_SECONDS
        if self.state != "healthy" and self._varying_seconds >= proof and not self._repetition.seconds:
            self.state, self.reason, self._healthy_since = "healthy", "heard", now
        return None

    def failed(self, reason: str) -> float:
        """Note that the device is closed again, or could not be opened; return the seconds to wait now."""
        now = self._clock()
        self.reason = reason
        if self.state in (None, "healthy", "muted"):
            # A device that comes and goes is not asked more often because it came.
            if self.state != "healthy" or self._heard_at - self._healthy_since >= self._backoff:
                self._backoff = 0.0
            self.state, self._wrong_since = "alarmed", now
        elif now - self._wrong_since >= FAILED_SECONDS:
            self.state = "failed"
        elif now - self._wrong_since >= ESCALATED_SECONDS:
            self.state = "escalated"
        self._backoff = min(self._config.retry_seconds, max(FIRST_RETRY_SECONDS, 2 * self._backoff))
        return self._backoff * (1 - self._jitter() / 2)


class Repetition:
    """Notices sound that consists of one piece of at most `HISTORY_SECONDS`, over and over.

    A sound card that hangs may deliver its last buffer again and again: sound that varies, of which nothing is heard.
    What a microphone hears never comes twice, because its own noise does not; not even silence, a hum or a beep.
    It looks once a second, because there is no hurry, and costs nothing in between.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget what was heard."""
        self._blocks: list[Block] = []
        self._gathered_seconds = 0.0
        self.seconds = 0.0
        """For how long the same has been coming, in whole seconds or so."""

    def push(self, samples: Block, seconds: float) -> None:
        """Take the next samples, float32 of shape (n,), which last so many seconds."""
        self._blocks.append(samples)
        self._gathered_seconds += seconds
        if self._gathered_seconds < HISTORY_SECONDS:
            return
        heard = np.concatenate(self._blocks)
        n = round(len(heard) * SAMPLE_SECONDS / self._gathered_seconds)
        self.seconds = self.seconds + self._gathered_seconds if came_before(heard, n) else 0.0
        self._blocks = []
        self._gathered_seconds = 0.0


def came_before(heard: Block, n: int) -> bool:
    """Say whether the last `n` samples occur earlier in the same samples; no if they are all the same."""
    piece = heard[len(heard) - n :]
    if n < 2 or (piece == piece[0]).all():
        return False
    # Of its loudest sample there are the fewest: it leaves few places, and each further one hardly any.
    loudest = int(np.abs(piece).argmax())
    starts = np.flatnonzero(heard[loudest : loudest + len(heard) - n] == piece[loudest])
    for i in range(n):
        if not len(starts):
            return False
        starts = starts[heard[starts + i] == piece[i]]
    return len(starts) > 0
