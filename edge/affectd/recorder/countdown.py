"""What a person sees while the recorder runs: the time that is left and how loud it is."""

from __future__ import annotations

import logging
import math
import os
from contextlib import suppress

from affectd.arrays import Block
from affectd.stdio import LOG_SECONDS, terminal_columns, write_when_ready

_log = logging.getLogger(__name__)

_LINE_SECONDS = 10.0
_BAR_CELLS, _BAR_DB = 20, 60


class Countdown:
    """One line on a terminal that is written anew with every block; elsewhere a line in the log every ten seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._is_terminal = os.isatty(2)
        self._power = self._counted = 0.0
        self._next_line = _LINE_SECONDS
        self._n_shown = 0

    def push(self, samples: Block, at_seconds: float, *, is_clipped: bool) -> None:
        """Take samples (n,), n >= 1, that end so many seconds after the beginning."""
        self._power += float(samples.var()) * len(samples)
        self._counted += len(samples)
        left = max(0, math.ceil(self._seconds - at_seconds))
        if self._is_terminal:
            self._show(f"{left // 60}:{left % 60:02d} left  {_bar(self._level())}{'  TOO LOUD' if is_clipped else ''}")
        elif at_seconds >= self._next_line and left:
            self._next_line += _LINE_SECONDS
            _log.info("%d s left, %s", left, level_text(self._level()))
        else:
            return
        self._power = self._counted = 0.0

    def close(self) -> None:
        """Clear the line."""
        if self._is_terminal and self._n_shown:
            self._show("")
            _write("\r")

    def _level(self) -> float | None:
        return 10 * math.log10(self._power / self._counted) if self._power > 0 else None

    def _show(self, text: str) -> None:
        width = terminal_columns(2) or 80
        text = text[: width - 1]
        _write(f"\r{text.ljust(min(self._n_shown, width - 1))}")
        self._n_shown = len(text)


def level_text(level_dbfs: float | None) -> str:
    """Say a level, None for digital silence.

    >>> level_text(-31.24), level_text(None)
    ('-31.2 dBFS', 'digital silence')
    """
    return "digital silence" if level_dbfs is None else f"{level_dbfs:.1f} dBFS"


def _bar(level_dbfs: float | None) -> str:
    level = -_BAR_DB if level_dbfs is None else max(-_BAR_DB, min(0.0, level_dbfs))
    n = round((level + _BAR_DB) * _BAR_CELLS / _BAR_DB)
    text = " silence" if level_dbfs is None else f"{level_dbfs:4.0f} dBFS"
    return f"[{'#' * n}{'-' * (_BAR_CELLS - n)}] {text}"


def _write(text: str) -> None:
    with suppress(OSError):  # the terminal is gone
        write_when_ready(2, text.encode(), LOG_SECONDS)
