"""How far long work is: one line on a terminal, drawn over itself, and nothing anywhere else."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from types import TracebackType
from typing import TypeVar

from affectd.stdio import printable, shortened, write_when_ready
from affectd.words.emotions import duration
from affectd.words.layout import room

_Block = TypeVar("_Block", bound=Sized)
_FIRST_SECONDS, _EVERY_SECONDS = 1.0, 0.2
_CLEAR = "\r\x1b[K"


class Progress:
    """A line on standard error from the second second of its ``with`` block on, if that is a terminal.

    The log clears it before it writes.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._is_on = sys.stderr is not None and os.isatty(2) and os.environ.get("TERM", "dumb") != "dumb"
        self._clock = clock
        self._due = clock() + _FIRST_SECONDS
        self._is_drawn = False
        self._handlers: list[logging.Handler] = []

    def __enter__(self) -> Progress:
        self._handlers = list(logging.getLogger().handlers)
        for handler in self._handlers:
            handler.addFilter(self._before)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for handler in self._handlers:
            handler.removeFilter(self._before)
        self.clear()

    def show(self, sentence: Callable[[], str]) -> None:
        """Draw what is being done, if it is time to."""
        if not self._is_on or self._clock() < self._due:
            return
        self._due = self._clock() + _EVERY_SECONDS
        # One less than there are: a full line would go on in the next one, which nothing clears.
        text = shortened(printable(sentence()), (room(sys.stderr) or 80) - 1)
        self._is_drawn = self._write(_CLEAR + text)

    def through(
        self, blocks: Iterable[_Block], sample_rate: int, seconds: float | None, path: str, count: str = ""
    ) -> Iterator[_Block]:
        """Yield the sound of a recording, and show how much of it was heard; at its end nothing is shown.

        Parameters
        ----------
        blocks
            Its samples, ``(n,)`` each.
        sample_rate
            Hz.
        seconds
            How long it is; None if that is not known.
        path
            Where it is; ``-`` is standard input.
        count
            What to say before.
        """
        name = "standard input" if path == "-" else os.path.basename(path)
        end = "" if seconds is None else f" of {duration(seconds)}"
        n_samples = 0
        try:
            for block in blocks:
                n_samples += len(block)
                heard = n_samples / sample_rate
                self.show(lambda heard=heard: f"{count}{duration(heard)}{end} of {name}")  # type: ignore[misc]
                yield block
        finally:
            self.clear()

    def clear(self) -> None:
        """Take the line away before something else is written."""
        if self._is_drawn:
            self._is_drawn = not self._write(_CLEAR)

    def _write(self, text: str) -> bool:
        try:
            return write_when_ready(2, text.encode(errors="replace"), 0)
        except OSError:  # the terminal is gone
            self._is_on = False
            return True

    def _before(self, record: logging.LogRecord) -> bool:
        self.clear()
        return True
