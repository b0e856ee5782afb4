"""What the system says of this process, for the figures that every client library of Prometheus gives.

Sources: Prometheus documentation, "Writing client libraries", process metrics; Linux manual page proc_pid_stat(5).
"""

from __future__ import annotations

import os
import time
from pathlib import Path

# The start is computed from two clocks, one of which is set now and then, and slewed all the time.
_STEADY_SECONDS = 1.0
# Fields of proc_pid_stat(5), counted from the one behind the name of the program.
_STARTED, _RESIDENT = 22 - 3, 24 - 3


class Process:
    """Reads the figures of this process; `root` is where ``proc`` is."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._folder = root / "proc/self"
        self._started = 0.0

    def cpu_seconds(self) -> float:
        """Return the processor time of all threads, user and system."""
        return time.process_time()

    def resident_bytes(self) -> int | None:
        """Return the resident memory; None where the system does not say."""
        pages = self._stat(_RESIDENT)
        return None if pages is None else pages * os.sysconf("SC_PAGE_SIZE")

    def start_seconds(self) -> float | None:
        """Return when it started, in seconds since the epoch; None where the system does not say.

        It moves when the clock is set, because a board without a battery clock begins in the past; it does not move
        while the clock is slewed, which would look like a restart.
        """
        ticks = self._stat(_STARTED)
        if ticks is None:
            return None
        started = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")
        if abs(started - self._started) > _STEADY_SECONDS:
            self._started = round(started, 2)
        return self._started

    def open_files(self) -> int | None:
        """Return the number of open file descriptors; None where the system does not say."""
        try:
            # The listing itself has one open.
            return len(os.listdir(self._folder / "fd")) - 1
        except OSError:
            return None

    def _stat(self, field: int) -> int | None:
        try:
            # The name of the program is in parentheses, and may contain anything.
            return int((self._folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[field])
        except OSError:
            return None
