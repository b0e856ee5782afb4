"""A stream that cannot be reopened, such as standard input: its faults are reported, and its gaps become silence."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from affectd.arrays import Block
from affectd.audio.condition import Condition
from affectd.audio.liveness import Liveness
from affectd.audio.microphone import Losses
from affectd.audio.supervisor import FAULTS, Report, silence
from affectd.config.sections import AudioConfig

_log = logging.getLogger(__name__)

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
) -> Iterator[Block]:
    """Pass blocks on as they come; while none come, yield empty ones, and silence from `stalled_seconds` on.

    So an open utterance ends, and a watchdog sees that the process is alive. `report` gets the state of the stream and
    the reason, as of `affectd.audio.supervisor.Supervisor`, from the first fault on; `losses` what is wrong with the
    sound.
    """
    arrived: queue.Queue[Block | BaseException | None] = queue.Queue(_MOST_BLOCKS)
    threading.Thread(target=_read, args=(blocks, arrived), name="source", daemon=True).start()
    condition = Condition(sample_rate)
    faults = _Faults(Liveness(config, clock), condition, report, losses or Losses())
    began = heard_at = asked_at = clock()
    n_samples = n_silent = 0
    while True:
        try:
            block = arrived.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            due = 0
            if clock() - heard_at >= config.stalled_seconds:
                faults.found("stalled")
                due = round((clock() - heard_at) * sample_rate)
            yield from silence(max(0, due - n_silent), sample_rate)
            n_silent = max(n_silent, due)
            continue
        heard_at, n_silent = clock(), 0
        waited, asked_at = heard_at - asked_at, heard_at
        if block is None:
            return
        if isinstance(block, BaseException):
            raise block
        n_samples += len(block)
        seconds, passed = n_samples / sample_rate, heard_at - began
        is_ahead = seconds >= passed + _AHEAD_SECONDS
        if not is_ahead:
            condition.push(block)
        condition.timed(len(block), heard_at, waited)
        faults.heard(block, len(block) / sample_rate, is_live=passed >= config.constant_seconds and not is_ahead)
        yield block
        asked_at = clock()


def _read(blocks: Iterable[Block], arrived: queue.Queue[Block | BaseException | None]) -> None:
    try:
        for block in blocks:
            arrived.put(block)
    except BaseException as error:
        arrived.put(error)
    else:
        arrived.put(None)


class _Faults:
    """Reports the state of a stream from its first fault on."""

    def __init__(self, liveness: Liveness, condition: Condition, report: Report, losses: Losses) -> None:
        self._liveness, self._condition = liveness, condition
        self._report, self._losses = report, losses
        self._reported = ("", "")
        self._is_stalled = False

    def found(self, fault: str) -> None:
        self._is_stalled = fault == "stalled"
        self._liveness.failed(fault)
        self._condition.interrupted()
        self._losses.degraded = {}
        self._tell(f"it {FAULTS[fault]}")

    def heard(self, block: Block, seconds: float, *, is_live: bool) -> None:
        if self._is_stalled:
            self._is_stalled = False
            self._liveness.opened()
            self._tell("it goes on")
        if not len(block):
            return
        fault = self._liveness.heard(block, seconds)
        if fault is not None and is_live:
            self._liveness.opened()
            self.found(fault)
            return
        if self._liveness.is_heard:
            self._losses.degraded = self._condition.figures
            self._liveness.judged(self._condition.reason)
        if self._condition.figures or self._reported[0]:
            self._tell(f"it {self._condition.sentence() or 'delivers sound'}")

    def _tell(self, sentence: str) -> None:
        state, reason = self._liveness.state, self._liveness.reason
        known = (state or "", reason if state == "degraded" else "")
        if state is not None and known != self._reported:
            self._reported = known
            level = logging.INFO if state in ("healthy", "recovering") else logging.WARNING
            _log.log(level, "standard input %s (%s): %s", state, reason, sentence)
            self._report(state, reason)
