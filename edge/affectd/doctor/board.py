"""Checks of the board and its system: clock, disk, temperature, power, systemd.

Each takes the root of the file system and a function that runs programs, so that tests can simulate a board.
"""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from affectd.audio.mends import MENDS
from affectd.board import clock_synchronized, hottest_celsius
from affectd.doctor.finding import Finding, fault, ok, warning

Run = Callable[[Sequence[str]], str | None]
"""Run a program; return its output, or None if it is missing or fails."""
UNIT = "affectd.service"
_PATIENCE_SECONDS = 10.0
_DISK_FAULT_BYTES = 16 << 20
_DISK_WARNING_BYTES = 256 << 20
# The Raspberry Pi slows down from 80 degrees on and halves its clock at 85; most others are near that.
_HOT_CELSIUS = 80.0
_TOO_HOT_CELSIUS = 95.0
# Bits of the Raspberry Pi's get_throttled; the same, 16 higher, say that it has happened since boot.
# Source: Raspberry Pi documentation, "vcgencmd", section get_throttled.
_UNDER_VOLTAGE = 1
_SLOWED = {1 << 1: "processor slowed down", 1 << 2: "processor throttled", 1 << 3: "soft temperature limit"}


def run_program(command: Sequence[str]) -> str | None:
    """Run a program; return its output, or None if it is missing or fails."""
    import subprocess  # the benchmark and the doctor need it, not the service

    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def clock() -> Finding:
    """Check that the clock follows a time server."""
    synchronized = clock_synchronized()
    if synchronized is None:
        return warning("the kernel does not say whether its clock is right", "compare it with another one: date -u")
    if not synchronized:
        return warning(
            "not synchronized; events carry the time of the board and say so",
            "sudo timedatectl set-ntp true; without a network, a battery-backed clock",
        )
    return ok("synchronized")


def disk(root: Path) -> Finding:
    """Check the free space where the service keeps its state."""
    folder = Path(os.environ.get("STATE_DIRECTORY", root / "var/lib/affectd"))
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        return fault(f"{folder} is no folder, so nothing is kept in it", f"sudo mv {shlex.quote(str(folder))} /tmp/")
    room = os.statvfs(folder)
    # Some file systems, as those of FUSE may, tell neither their size nor what is free.
    tells = room.f_blocks > 0
    free = room.f_bavail * room.f_frsize if tells else math.inf
    found = f"{free / (1 << 20):.0f} MiB free in {folder}" if tells else f"{folder} does not tell its free space"
    mend = "make room: sudo journalctl --vacuum-size=50M; sudo apt-get clean"
    if free < _DISK_FAULT_BYTES:
        return fault(found, mend)
    if room.f_files and not room.f_favail:
        return fault(f"no file can be made in {folder}: all inodes are in use", mend)
    if room.f_flag & os.ST_RDONLY:
        return warning(f"{folder} is read-only", "if that is not intended, the card may be failing: dmesg")
    if free < _DISK_WARNING_BYTES:
        return warning(found, mend)
    return ok(found)


def temperature(root: Path) -> Finding:
    """Check the temperature of the hottest sensor."""
    celsius = hottest_celsius(root)
    if celsius is None:
        return ok("no sensor here")
    found = f"{celsius:.0f} degrees Celsius"
    mend = "a heat sink, a fan, or a place out of the sun"
    if celsius >= _TOO_HOT_CELSIUS:
        return fault(found, mend)
    return warning(found, mend) if celsius >= _HOT_CELSIUS else ok(found)


def throttling(root: Path, run: Run) -> Finding:
    """Check whether a Raspberry Pi is under-powered or throttled."""
    bits = _throttled(root, run)
    if bits is None:
        return ok("this board does not report any")
    if bits & _UNDER_VOLTAGE:
        return fault("too little power right now", "the power supply made for this board, on a short cable")
    now = [words for bit, words in _SLOWED.items() if bits & bit]
    if now:
        return warning(f"{', '.join(now)} right now", "a heat sink, a fan, or a place out of the sun")
    if bits >> 16 & _UNDER_VOLTAGE:
        return warning("too little power since boot", "the power supply made for this board, on a short cable")
    before = [words for bit, words in _SLOWED.items() if bits >> 16 & bit]
    if before:
        return warning(f"{', '.join(before)} since boot", "a heat sink, a fan, or a place out of the sun")
    return ok("none since boot")


def _throttled(root: Path, run: Run) -> int | None:
    for path in root.glob("sys/devices/platform/soc*/*/get_throttled"):
        try:
            return int(path.read_text(), 16)
        except (OSError, ValueError):
            continue
    answer = run(["vcgencmd", "get_throttled"])
    try:
        return None if answer is None else int(answer.strip().removeprefix("throttled="), 16)
    except ValueError:
        return None


def unit_is_installed(root: Path) -> bool:
    """Return whether the unit file is installed."""
    return any((root / folder / UNIT).exists() for folder in ("etc/systemd/system", "lib/systemd/system"))


def unit_state(root: Path, run: Run) -> dict[str, str]:
    """Return the properties of the service in systemd; empty if systemd or the service is missing."""
    if not (root / "run/systemd/system").is_dir():
        return {}
    keys = "LoadState,ActiveState,SubState,Result,ExecMainStatus,NRestarts,UnitFileState,StatusText"
    answer = run(["systemctl", "show", UNIT, f"--property={keys}"]) or ""
    state = dict(line.split("=", 1) for line in answer.splitlines() if "=" in line)
    return {} if state.get("LoadState") in (None, "not-found") else state


def unit(root: Path, run: Run) -> Finding:
    """Check that the service runs, and is enabled for the next boot."""
    state = unit_state(root, run)
    if not state:
        return ok("not installed as a service, or systemd does not run here")
    active, log = state.get("ActiveState", "unknown"), "journalctl -u affectd -n 20"
    found = f"{active} ({state.get('SubState', 'unknown')})"
    if state["LoadState"] != "loaded":
        return fault(f"systemd cannot read {UNIT}: {state['LoadState']}", f"systemctl status {UNIT}")
    if active in ("failed", "activating", "unknown"):
        why = f"{state.get('Result', 'unknown')}, exit code {state.get('ExecMainStatus', 'unknown')}"
        return fault(f"{found}: {why}", log)
    status = state.get("StatusText", "")
    if status.startswith("microphone muted"):
        return warning(f"{found}: {status}", "it was muted by a command; publish ON to the topic listen to hear again")
    if status.startswith("microphone degraded"):
        return warning(f"{found}: {status}", mend_degraded(status))
    # `affectd run` reports the state of its microphone there.
    if status.startswith("microphone ") and not status.startswith("microphone healthy"):
        return fault(f"{found}: {status}", f"plug it in or name another; {log}")
    if active == "inactive":
        return warning(found, "sudo systemctl enable --now affectd")
    if state.get("UnitFileState") == "disabled":
        return warning(f"{found}, but will not start at the next boot", "sudo systemctl enable affectd")
    if state.get("NRestarts", "0") != "0":
        return warning(f"{found}, restarted {state['NRestarts']} times", log)
    return ok(f"{found}: {status}" if status else found)


def mend_degraded(status: str) -> str:
    """Return what to do about a status of the service, ``microphone degraded: REASON (FIGURE)``."""
    reason = status.partition("microphone degraded: ")[2].split(" ")[0].rstrip(";")
    return MENDS.get(reason, "affectd doctor, while the service is stopped, says more")
