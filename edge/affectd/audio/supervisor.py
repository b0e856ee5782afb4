"""A microphone as an endless source: it is reopened whenever it fails or stops delivering sound."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np

from affectd.arrays import Block
from affectd.audio.condition import Condition
from affectd.audio.liveness import Liveness
from affectd.audio.microphone import Losses, open_microphone
from affectd.audio.resampler import Resampler
from affectd.config.sections import AudioConfig
from affectd.errors import MicrophoneError

_log = logging.getLogger(__name__)

Report = Callable[[str, str], None]

_POLL_SECONDS = 0.25
# Of the microphone, while people speak, and while all is quiet: waking up costs more than the processing then.
_PIECES, _QUIET_PIECES = 1, 2
# Longer than these, because a wait that times out costs a wake-up.
_READ_SECONDS = 0.75
_SILENCE_SECONDS = 1.0
FAULTS = {
    "stalled": "delivers no samples any more.",
    "constant": "delivers the same value all the time.",
    "repeated": "delivers the same piece of sound over and over.",
}


class _Stream(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def sample_rate(self) -> int: ...

    def read(self, timeout_seconds: float, n_pieces: int) -> tuple[int, Block]:
        """See `affectd.audio.microphone.Stream`."""


def microphone_blocks(
    sample_rate: int,
    config: AudioConfig,
    report: Report,
    *,
    patient: bool,
    muted: Callable[[], bool] = lambda: False,
    quiet: Callable[[], bool] = lambda: False,
    losses: Losses | None = None,
) -> Iterator[Block]:
    """Open the configured microphone and yield its sound endlessly; see `Supervisor`."""
    blocks = Supervisor(
        lambda: open_microphone(sample_rate, config.device, config.channel, losses),
        sample_rate,
        Liveness(config),
        report,
        patient=patient,
        muted=muted,
        quiet=quiet,
        losses=losses,
    ).blocks()
    if not patient:
        next(blocks)  # up to the first yield: the device is open or muted, or this raises
    return blocks


class Reporter:
    """Tells the state of a source, and why its sound is degraded, when that has changed: to the log and to `report`."""

    def __init__(self, source: str, liveness: Liveness, report: Report) -> None:
        self._source, self._liveness, self._report = source, liveness, report
        self._told = ("", "")
        self.has_told = False

    def tell(self, sentence: str) -> None:
        """Tell it, if it has changed; the sentence says more, for the log."""
        state, reason = self._liveness.state, self._liveness.reason
        now = (state or "", reason if state == "degraded" else "")
        if state is not None and now != self._told:
            self._told, self.has_told = now, True
            level = logging.INFO if state in ("healthy", "recovering", "muted") else logging.WARNING
            _log.log(level, "%s %s (%s): %s", self._source, state, reason, sentence)
            self._report(state, reason)


class Supervisor:
    """Yields the sound of a microphone, mono at `sample_rate`, and reopens it whenever it fails.

    Lost sound, outages and muted time are replaced by silence: an open utterance ends, and the position in the
    stream stays the time since the first sample, unless the card is fast. A block, possibly empty, follows every
    attempt and every report, so that a watchdog can tell a waiting source from one that hangs.

    Parameters
    ----------
    open_stream : callable
        Opens the microphone; may raise `affectd.errors.MicrophoneError`.
    report : callable
        Called with state and reason at each change of state, and of the reason why the sound is degraded.
    patient : bool
        Wait also for a microphone that cannot be opened at the start.
    muted : callable
        Returns whether to keep the microphone closed.
    quiet : callable
        Returns whether no one speaks, so that the sound may come in blocks of half a second instead of a quarter.
    losses : Losses, optional
        Gets what is wrong with the sound.
    """

    def __init__(
        self,
        open_stream: Callable[[], AbstractContextManager[_Stream]],
        sample_rate: int,
        liveness: Liveness,
        report: Report,
        *,
        patient: bool,
        muted: Callable[[], bool] = lambda: False,
        quiet: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] = time.sleep,
        losses: Losses | None = None,
    ) -> None:
        self._open_stream, self._sample_rate = open_stream, sample_rate
        self._liveness, self._reporter = liveness, Reporter("microphone", liveness, report)
        self._patient, self._muted, self._quiet = patient, muted, quiet
        self._clock, self._wait = clock, wait
        self._losses = losses or Losses()
        self._began = math.inf  # when the first sample was recorded, by the clock of the card
        self._n_yielded = 0

    def blocks(self) -> Iterator[Block]:
        """Yield blocks endlessly.

        Raises
        ------
        MicrophoneError
            If the microphone cannot be opened at the start and `patient` is false.
        """
        while True:
            while self._muted():
                self._liveness.muted()
                self._patient = True
                self._reporter.tell("it is closed")
                yield from self._outage()
                self._wait(_POLL_SECONDS)
            try:
                with self._open_stream() as stream:
                    seconds = yield from self._listen(stream)
            except MicrophoneError as error:
                if not self._patient:
                    raise
                seconds = self._failed(error)
            yield from self._outage()
            yield from self._pause(seconds)

    def _listen(self, stream: _Stream) -> Generator[Block, None, float]:
        """Yield the sound of an open stream until it fails or is muted; return the seconds to wait then."""
        self._liveness.opened()
        self._patient = True
        self._reporter.tell(f"{stream.name} is open again")
        yield from self._outage()
        resampler = Resampler(stream.sample_rate, self._sample_rate)
        condition = Condition(stream.sample_rate)
        seconds = 0.0
        try:
            while not self._muted():
                yield from self._counted(self._read(stream, resampler, condition))
        except MicrophoneError as error:
            # Reported before closing the stream, which may hang in a sound server.
            seconds = self._failed(error)
        self._losses.degraded = {}
        yield from self._counted([resampler.flush()])
        return seconds

    def _read(self, stream: _Stream, resampler: Resampler, condition: Condition) -> Iterator[Block]:
        rate = stream.sample_rate
        n_lost, samples = stream.read(_READ_SECONDS, _QUIET_PIECES if self._quiet() else _PIECES)
        now = self._clock()
        fault = self._liveness.heard(samples, len(samples) / rate)
        if fault is not None:
            raise MicrophoneError(fault, f"{stream.name} {FAULTS[fault]}")
        if len(samples):
            condition.timed(n_lost + len(samples), now)
            if n_lost:
                condition.skip()
            condition.push(samples)
            self._losses.degraded = condition.figures
            self._liveness.judged(condition.reason)
        self._reporter.tell(
            f"{stream.name} {condition.sentence()}" if condition.figures else f"listening to {stream.name} at {rate} Hz"
        )
        if len(samples):
            # Earlier with a card that is fast: in a month it is minutes ahead, for which an outage would be no silence.
            began = now - self._n_yielded / self._sample_rate - (n_lost + len(samples)) / rate
            self._began = min(self._began, began)
        if n_lost:
            yield from map(resampler.push, silence(n_lost, rate))
        if len(samples):
            yield resampler.push(samples)

    def _failed(self, error: MicrophoneError) -> float:
        seconds = self._liveness.failed(error.reason)
        self._reporter.tell(str(error))
        return seconds

    def _counted(self, blocks: Iterable[Block]) -> Iterator[Block]:
        for block in blocks:
            self._n_yielded += len(block)
            yield block

    def _outage(self) -> Iterator[Block]:
        # Counted from the first sample, so that errors do not add up over outages.
        due = 0 if math.isinf(self._began) else round((self._clock() - self._began) * self._sample_rate)
        return self._counted(silence(max(0, due - self._n_yielded), self._sample_rate))

    def _pause(self, seconds: float) -> Iterator[Block]:
        # In short steps, so that muting takes effect during a pause.
        until = self._clock() + seconds
        while not self._muted() and (left := until - self._clock()) > 0:
            self._wait(min(left, _POLL_SECONDS))
            yield from self._outage()


def silence(n_samples: int, sample_rate: int) -> Iterator[Block]:
    """Yield `n_samples` of silence in blocks of at most one second; one empty block if it is 0."""
    most = round(_SILENCE_SECONDS * sample_rate)
    yield np.zeros(min(n_samples, most), np.float32)
    for start in range(most, n_samples, most):
        yield np.zeros(min(most, n_samples - start), np.float32)
