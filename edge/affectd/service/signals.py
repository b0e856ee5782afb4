"""Ending on SIGTERM and SIGINT between two blocks, never in the middle of an event."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from affectd.arrays import Block
from affectd.errors import AffectdError


class _Stopped(BaseException):
    """Raised by the signal handler, only while waiting for sound or for what the start needs."""


class StoppableBlocks:
    """Blocks that end when a signal asks for it, and also when their source fails.

    However the sound ends, the pipeline closes its open utterance first; then `raise_failure` tells.

    Attributes
    ----------
    was_stopped : bool
        Whether a signal asked for the end.
    """

    def __init__(self) -> None:
        self._source: Callable[[], Iterator[Block]] | None = None
        self._blocks: Iterator[Block] | None = None
        self._failure: AffectdError | None = None
        self.was_stopped = False
        self._waiting = False

    def open(self, source: Callable[[], Iterator[Block]]) -> None:
        """Set what opens the source; it is called when the first block is wanted, for it may wait too."""
        self._source = source

    def __iter__(self) -> Iterator[Block]:
        return self

    def __next__(self) -> Block:
        try:
            try:
                self._waiting = True
                if self.was_stopped or self._source is None:
                    raise StopIteration
                if self._blocks is None:
                    self._blocks = self._source()
                return next(self._blocks)
            finally:
                self._waiting = False
        except _Stopped:
            raise StopIteration from None
        except AffectdError as error:
            self._failure = error
            raise StopIteration from None

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal; a second one ends the process the default way, should writing an event hang."""
        signal.signal(number, signal.SIG_DFL)
        self.was_stopped = True
        if self._waiting:
            self._waiting = False
            raise _Stopped

    def starting(self) -> None:
        """Let a signal end the start: a file that it reads may be a pipe without a writer."""
        self._waiting = True

    def raise_failure(self) -> None:
        """Raise what ended the source, if it failed."""
        if self._failure is not None:
            raise self._failure


@contextmanager
def stop_on_signals() -> Iterator[StoppableBlocks]:
    """Give blocks that SIGTERM and SIGINT end; the handlers before come back at the end.

    Until the first block is wanted, a signal ends the ``with`` block itself, as if it were done.
    """
    blocks = StoppableBlocks()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, blocks.stop) for number in numbers}
    try:
        blocks.starting()
        yield blocks
    except _Stopped:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
