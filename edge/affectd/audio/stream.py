"""A stream that cannot be reopened, such as standard input: its faults are reported, and its gaps become silence."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from affectd.arrays import Block
from affectd.audio.condition import Condition
from affectd.audio.liveness import Liveness
from affectd.audio.microphone import Losses
from affectd.audio.supervisor import FAULTS, Report, Reporter, silence
from affectd.config.sections import AudioConfig

_POLL_SECONDS = 0.5
# Blocks that are read ahead; more would only cost memory.
_MOST_BLOCKS = 16
# Further ahead of the clock it is a recording, in which silence or a loop is no fault.
_AHEAD_SECONDS = 2.0


def attended(
    blocks: Iterable[Block],
    sample_rate: int,
    config: AudioConfig,
    report: Report,
    clock: Callable[[], float] = time.monotonic,
    losses: Losses | None = None,
    muted: Callable[[], bool] = lambda: False,
) -> Iterator[Block]:
    """Pass blocks on as they come; while none come, yield empty ones, and silence from `stalled_seconds` on.

    So an open utterance ends, and a watchdog sees that the process is alive. The same for a stream that delivers less
    than a quarter of the sound, such as a byte now and then. While `muted` returns true, what comes is read, and
    silence of its length is yielded.

    `report` gets the state of the stream and the reason, as of `affectd.audio.supervisor.Supervisor`, from the first
    fault on, or from when it is muted; `losses` what is wrong with the sound.
    """
    condition = Condition(sample_rate)
    faults = _Faults(Liveness(config, clock), condition, report, losses or Losses())
    missing_seconds, is_stalled = 0.0, False
    n_samples = 0  # of those that came while it was not stalled
    began = asked_at = clock()
    for block in _arriving(blocks):
        now, seconds = clock(), len(block) / sample_rate
        # It may wait for longer only while the process stands still, and that is no fault of the stream.
        waited_seconds = min(now - asked_at, _POLL_SECONDS)
        # Less than a quarter of the sound is a stall too; when it is over, a part of the time is enough.
        missing_seconds = max(0.0, missing_seconds + waited_seconds - 4 * seconds)
        was_stalled = is_stalled
        is_stalled = missing_seconds >= (config.stalled_seconds / 2 if was_stalled else config.stalled_seconds)
        if is_muted := muted():
            faults.muted()
        if is_stalled:
            if not is_muted:
                faults.found("stalled")
            # Where a stall begins, also for what was missing before.
            silent_seconds = max(0.0, waited_seconds - seconds) if was_stalled else missing_seconds
            yield from silence(round(silent_seconds * sample_rate), sample_rate)
            missing_seconds = min(missing_seconds, config.stalled_seconds)
        else:
            n_samples += len(block)
            if not is_muted:
                condition.timed(len(block), now, now - asked_at)
            if seconds and not is_muted:
                is_ahead = n_samples / sample_rate >= now - began + _AHEAD_SECONDS
                if not is_ahead:
                    condition.push(block)
                faults.heard(block, seconds, is_live=now - began >= config.constant_seconds and not is_ahead)
        yield np.zeros_like(block) if is_muted else block
        asked_at = clock()


def _arriving(blocks: Iterable[Block]) -> Iterator[Block]:
    """Read blocks in a thread and yield them as they come; an empty one whenever none came for `_POLL_SECONDS`."""
    arrived: queue.Queue[Block | BaseException | None] = queue.Queue(_MOST_BLOCKS)
    threading.Thread(target=_read, args=(blocks, arrived), name="source", daemon=True).start()
    while True:
        try:
            block = arrived.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            block = np.zeros(0, np.float32)
        if block is None:
            return
        if isinstance(block, BaseException):
            raise block
        yield block


def _read(blocks: Iterable[Block], arrived: queue.Queue[Block | BaseException | None]) -> None:
    try:
        for block in blocks:
            arrived.put(block)
    except BaseException as error:
        arrived.put(error)
    else:
        arrived.put(None)


class _Faults:
    """Reports the state of a stream from its first fault on, or from when it is muted."""

    def __init__(self, liveness: Liveness, condition: Condition, report: Report, losses: Losses) -> None:
        self._liveness, self._condition = liveness, condition
        self._reporter, self._losses = Reporter("standard input", liveness, report), losses
        self._is_away = False

    def found(self, fault: str) -> None:
        self._liveness.failed(fault)
        self._interrupted(f"it {FAULTS[fault]}", is_away=fault == "stalled")

    def muted(self) -> None:
        self._liveness.muted()
        self._interrupted("it counts as silence", is_away=True)

    def _interrupted(self, sentence: str, *, is_away: bool) -> None:
        self._is_away = is_away
        self._condition.interrupted()
        self._losses.degraded = {}
        self._reporter.tell(sentence)

    def heard(self, block: Block, seconds: float, *, is_live: bool) -> None:
        if self._is_away:
            self._is_away = False
            self._liveness.opened()
            self._reporter.tell("it goes on")
        fault = self._liveness.heard(block, seconds)
        if fault is not None and is_live:
            self._liveness.opened()
            self.found(fault)
            return
        if self._liveness.is_heard:
            self._losses.degraded = self._condition.figures
            self._liveness.judged(self._condition.reason)
        if self._condition.figures or self._reporter.has_told:
            self._reporter.tell(f"it {self._condition.sentence() or 'delivers sound'}")
