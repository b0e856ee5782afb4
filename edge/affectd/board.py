"""Readings of the board: clock synchronization, temperature, memory of a process."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path

_TIME_ERROR = 5
_TIMESYNC = Path("/run/systemd/timesync")


def clock_synchronized() -> bool | None:
    """Return whether the clock follows a time server; None if the kernel does not say.

    Source: Linux manual page adjtimex(2); the answer is the same for chrony, ntpd and systemd-timesyncd.
    """
    state = _adjtimex()()
    if state >= 0:
        return state != _TIME_ERROR
    # ProtectClock= forbids the call in the service; systemd-timesyncd leaves a file.
    return (_TIMESYNC / "synchronized").exists() if _TIMESYNC.is_dir() else None


@cache  # loading the library again for every event leaks
def _adjtimex() -> Callable[[], int]:
    try:
        function = ctypes.CDLL(None).adjtimex
    except (OSError, AttributeError):
        return lambda: -1
    # All zeros reads without setting; struct timex has at most 208 bytes on any architecture.
    size = 512
    timex = ctypes.create_string_buffer(size)

    def ask() -> int:
        ctypes.memset(timex, 0, size)
        return int(function(timex))

    return ask


def hottest_celsius(root: Path) -> float | None:
    """Return the temperature of the hottest sensor; None if there is no sensor."""
    readings = []
    for zone in root.glob("sys/class/thermal/thermal_zone*/temp"):
        try:
            readings.append(int(zone.read_text()) / 1000)
        except (OSError, ValueError):  # some zones answer only while their device is awake
            continue
    return max(readings, default=None)


def resident(pid: int | str = "self", root: Path = Path("/")) -> dict[str, float]:
    """Return ``resident_mb`` and ``resident_peak_mb`` of a process, MB; empty where /proc is missing."""
    names = {"VmRSS:": "resident_mb", "VmHWM:": "resident_peak_mb"}
    figures: dict[str, float] = {}
    try:
        lines = (root / f"proc/{pid}/status").read_text(errors="replace").splitlines()
    except OSError:
        return {}
    for name, *values in map(str.split, lines):
        if name in names:
            figures[names[name]] = round(int(values[0]) * 1024 / 1e6, 1)
    return figures
