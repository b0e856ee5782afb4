"""The microphone as a source that never ends: it is opened again whenever it ends or goes dead."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from affectd.config import AudioConfig
from affectd.errors import MicrophoneError
from affectd.events import Event
from affectd.liveness import Liveness, State
from affectd.microphone import Losses, open_microphone
from affectd.resampler import Resampler
from affectd.sinks import Sink

_log = logging.getLogger(__name__)

Block = NDArray[np.float32]
Report = Callable[[str, str], None]

_POLL_SECONDS = 0.25
# Longer than a piece of the microphone takes: a wait that ends without one wakes the device for nothing.
_READ_SECONDS = 0.5
_SILENCE_SECONDS = 1.0
_FAULTS = {
    "stalled": "delivers no samples any more.",
    "constant": "delivers the same value all the time.",
    "repeated": "delivers the same piece of sound over and over.",
}


class _Stream(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def sample_rate(self) -> int: ...

    def read(self, timeout_seconds: float) -> tuple[int, Block]:
        """See `affectd.microphone.Stream`."""


def microphone_blocks(
    sample_rate: int,
    config: AudioConfig,
    report: Report,
    *,
    patient: bool,
    muted: Callable[[], bool] = lambda: False,
    losses: Losses | None = None,
) -> Iterator[Block]:
    """Open the configured microphone and yield what it hears, without an end; see `lively_blocks`."""
    blocks = lively_blocks(
        lambda: open_microphone(sample_rate, config.device, config.channel, losses),
        sample_rate,
        Liveness(config),
        report,
        patient=patient,
        muted=muted,
    )
    if not patient:
        next(blocks)  # runs up to the first yield: the device is open or muted, or the caller knows at once why not
    return blocks


def lively_blocks(
    open_stream: Callable[[], AbstractContextManager[_Stream]],
    sample_rate: int,
    liveness: Liveness,
    report: Report,
    *,
    patient: bool,
    muted: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], object] = time.sleep,
) -> Iterator[Block]:
    """Yield what a microphone hears, mono at `sample_rate`, and open it again whenever that ends.

    Sound that was lost because the caller was late, and the time of an outage or while it was muted, come as
    silence: what was being said ends, and the position in the stream stays the time since the first sample. A
    block, be it empty, follows every attempt and every report: a caller that gets none has a source that hangs.

    Parameters
    ----------
    open_stream : callable
        Opens the microphone; may raise `affectd.errors.MicrophoneError`.
    report : callable
        Is told the state and its reason at each change of state.
    patient : bool
        Whether a microphone that cannot be opened at the start is waited for too.
    muted : callable
        Whether the microphone is to be closed now; while it says so nothing is opened, let alone heard.
    clock, wait : callable
        Monotonic seconds, and how to pass some of them; a signal handler may raise meanwhile.

    Raises
    ------
    MicrophoneError
        If the microphone cannot be opened at the start and `patient` is false.
    """
    told: State | None = None
    began: float | None = None  # when the first sound began; None before it
    n_yielded = 0

    def tell(sentence: str) -> None:
        nonlocal told
        if liveness.state is not None and liveness.state != told:
            told = liveness.state
            level = logging.INFO if told in ("healthy", "recovering", "muted") else logging.WARNING
            _log.log(level, "microphone %s (%s): %s", told, liveness.reason, sentence)
            report(told, liveness.reason)

    def counted(blocks: Iterable[Block]) -> Iterator[Block]:
        nonlocal n_yielded
        for block in blocks:
            n_yielded += len(block)
            yield block

    def outage() -> Iterator[Block]:
        # Counted from the beginning, so that no error of one outage adds to that of the next.
        due = 0 if began is None else round((clock() - began) * sample_rate)
        return counted(silence(max(0, due - n_yielded), sample_rate))

    def failed(error: MicrophoneError) -> float:
        seconds = liveness.failed(error.reason)
        tell(str(error))
        return seconds

    def pause(seconds: float) -> Iterator[Block]:
        # In pieces, for whoever mutes it meanwhile is to get an answer soon.
        until = clock() + seconds
        while not muted() and (left := until - clock()) > 0:
            wait(min(left, _POLL_SECONDS))
            yield from outage()

    while True:
        while muted():
            liveness.muted()
            patient = True
            tell("it is closed")
            yield from outage()
            wait(_POLL_SECONDS)
        try:
            with open_stream() as stream:
                liveness.opened()
                patient = True
                tell(f"{stream.name} is open again")
                yield from outage()
                rate = stream.sample_rate
                resampler = Resampler(rate, sample_rate)
                try:
                    while not muted():
                        n_lost, samples = stream.read(_READ_SECONDS)
                        fault = liveness.heard(samples, len(samples) / rate)
                        if fault is not None:
                            raise MicrophoneError(fault, f"{stream.name} {_FAULTS[fault]}")
                        tell(f"listening to {stream.name} at {rate} Hz")
                        if began is None and len(samples):
                            began = clock() - len(samples) / rate
                        if n_lost:
                            yield from counted(map(resampler.push, silence(n_lost, rate)))
                        if len(samples):
                            yield from counted([resampler.push(samples)])
                    seconds = 0.0
                except MicrophoneError as error:
                    # Told before the stream is closed, which a hanging sound server may keep from ending.
                    seconds = failed(error)
                yield from counted([resampler.flush()])
        except MicrophoneError as error:
            if not patient:
                raise
            seconds = failed(error)
        yield from outage()
        yield from pause(seconds)


def silence(n_samples: int, sample_rate: int) -> Iterator[Block]:
    """Yield so many samples of silence in blocks of at most one second; one empty block for none."""
    most = round(_SILENCE_SECONDS * sample_rate)
    yield np.zeros(min(n_samples, most), np.float32)
    for start in range(most, n_samples, most):
        yield np.zeros(min(most, n_samples - start), np.float32)


class Reports:
    """Keeps status events until they can be written between two blocks, where no signal cuts them in half.

    Parameters
    ----------
    make_event : callable
        Makes the event of a state and a reason: ``EventMaker.status``.
    """

    def __init__(self, make_event: Callable[[str, str], Event]) -> None:
        self._make_event = make_event
        self._waiting: deque[Event] = deque()

    def __call__(self, state: str, reason: str) -> None:
        """Take a report, as `lively_blocks` gives them."""
        self._waiting.append(self._make_event(state, reason))

    def between(self, blocks: Iterable[Block], sink: Sink) -> Iterator[Block]:
        """Pass blocks on and write what was reported meanwhile."""
        for block in blocks:
            self._write(sink)
            yield block
        self._write(sink)

    def _write(self, sink: Sink) -> None:
        while self._waiting:
            sink.write(self._waiting.popleft())
