"""Stopping on SIGTERM, SIGINT and SIGHUP between two blocks, not in the middle of an event."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from types import FrameType

from affectd.arrays import Block
from affectd.errors import AffectdError

# A supervisor and a terminal may send several signals at once: they must not cut off what ends well by itself.
_END_SECONDS = 1.0
# For what waits at the end, so that the process ends within a second after a signal.
_MOST_SECONDS, _BRIEF_SECONDS, _LAST_SECONDS = 5.0, 0.3, 0.8


class _Stopped(BaseException):
    """Raised by the signal handler, but only during the start or while waiting for sound."""


class StoppableBlocks:
    """Blocks that end on a signal (`was_stopped`), or when their source fails.

    The pipeline closes an open utterance first; then `raise_failure` raises the failure of the source.
    """

    def __init__(self) -> None:
        self._source: Callable[[], Iterator[Block]] | None = None
        self._blocks: Iterator[Block] | None = None
        self._failure: AffectdError | None = None
        self.was_stopped = False
        self.stopped_at = math.inf
        """When, in monotonic seconds; infinite: not yet."""
        self.was_stopped_early = False
        """Whether that was before the first block was requested."""
        self._waiting = self._has_begun = False

    def open(self, source: Callable[[], Iterator[Block]]) -> None:
        """Set the function that opens the source; called for the first block, because it may wait too."""
        self._source = source

    def __iter__(self) -> Iterator[Block]:
        return self

    def __next__(self) -> Block:
        try:
            try:
                self._waiting = self._has_begun = True
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
            # What is interrupted may fail in its own words.
            self._failure = None if self.was_stopped else error
            raise StopIteration from None

    def close(self) -> None:
        """Close the source; later, while Python ends, a thread that does it would not run any more."""
        if isinstance(self._blocks, Generator):
            self._blocks.close()

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal; after a second another one has its default action, in case something hangs."""
        if self.was_stopped:
            if time.monotonic() - self.stopped_at > _END_SECONDS:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        self.was_stopped = True
        self.was_stopped_early = not self._has_begun
        self.stopped_at = time.monotonic()
        if self._waiting:
            self._waiting = False
            raise _Stopped

    def patience_seconds(self) -> float:
        """Return how long to wait for the broker, and for the disk: briefly after a signal, longer after a file."""
        if math.isinf(self.stopped_at):
            return _MOST_SECONDS
        return min(_BRIEF_SECONDS, max(0.05, self.stopped_at + _LAST_SECONDS - time.monotonic()))

    def starting(self) -> None:
        """Let a signal end the start, which may hang reading a pipe without a writer."""
        self._waiting = True

    def raise_failure(self) -> None:
        """Raise the failure that ended the source, if any."""
        if self._failure is not None:
            raise self._failure


@contextmanager
def stop_on_signals() -> Iterator[StoppableBlocks]:
    """Give blocks that SIGTERM and SIGINT end; restore the previous handlers at the end, unless one of them came.

    SIGHUP, of a terminal that is lost, too, but not where it is ignored, as by ``nohup``, or has another meaning.

    What follows a signal is the end of the program, which a second one must not cut off: `affectd.program.guard`
    restores them where it is none.

    Before the first block is requested, a signal ends the ``with`` block itself.
    """
    blocks = StoppableBlocks()
    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, blocks.stop) for number in numbers}
    try:
        blocks.starting()
        yield blocks
    except _Stopped:
        pass
    except Exception:
        if not blocks.was_stopped_early:  # else it is what was interrupted, as an import of C may report it
            raise
    finally:
        blocks.close()
        for number, handler in before.items():
            if not blocks.was_stopped:
                signal.signal(number, handler)
