"""Notifications to systemd, and new thresholds on SIGHUP.

The watchdog is fed only by blocks that the pipeline has processed; a timer or thread could go on while it hangs.

Source: Linux manual pages sd_notify(3) and sd_watchdog_enabled(3). Without systemd it does nothing.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from types import FrameType

from affectd.arrays import Float32
from affectd.config.sections import Config
from affectd.errors import AffectdError

_log = logging.getLogger(__name__)

# The sections that SIGHUP changes; the others need a restart.
RELOADED_SECTIONS = ("gate", "smoothing")
_PATIENCE_SECONDS = 1.0


class ServiceManager:
    """The service manager that started this process, if ``NOTIFY_SOCKET`` in the environment names one.

    Attributes
    ----------
    is_present : bool
        Whether there is one.
    watchdog_seconds : float or None
        After this long without `alive` the process is killed; None: never.
    has_status : bool
        Whether `status` was called.
    """

    def __init__(
        self, environment: Mapping[str, str] = os.environ, clock: Callable[[], float] = time.monotonic
    ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self.is_present = address[:1] in ("/", "@")
        # Linux writes an abstract address with a zero byte where systemd puts a printable @.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_seconds = _watchdog_seconds(environment)
        self._clock = clock
        self._fed_at = -float("inf")
        self._patience_seconds = _PATIENCE_SECONDS
        self.has_status = False

    def ready(self) -> None:
        """Notify that the start, or a reload, is complete."""
        self._patience_seconds = _PATIENCE_SECONDS  # without this one systemd would end the start
        self._send("READY=1")

    def status(self, text: str) -> None:
        """Set the line that ``systemctl status`` shows."""
        self.has_status = True
        self._send("STATUS=" + " ".join(text.split()))

    def alive(self) -> None:
        """Feed the watchdog, at most ten times per interval, because systemd wakes for each."""
        now = self._clock()
        if self.watchdog_seconds is not None and now - self._fed_at >= self.watchdog_seconds / 10:
            self._fed_at = now
            self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """Notify that a reload begins; `ready` ends it."""
        # systemd compares the time with that of its own signal.
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now_us}")

    def stopping(self) -> None:
        """Notify that the process is about to end."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self.is_present:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                # The queue is short, and systemd may be busy; sound must not wait for long, nor for each message.
                channel.settimeout(self._patience_seconds)
                channel.connect(self._address)
                self._patience_seconds = 0.0
                channel.sendall(message.encode(errors="backslashreplace"))
                self._patience_seconds = _PATIENCE_SECONDS
        except OSError as error:
            # Not fatal: if the watchdog is not fed for long, systemd restarts the service.
            _log.debug("the service manager cannot be notified of %s: %s", message.partition("\n")[0], error)


class Conditions:
    """What the service manager shows as its status: one sentence of each part that has something to say."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._sentences: dict[str, str] = {}

    def set(self, part: str, sentence: str) -> None:
        """Replace the sentence of a part; empty: it has none any more."""
        self._sentences[part] = sentence
        self._show("; ".join(filter(None, self._sentences.values())) or "listening")


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    """Return the interval of the watchdog; None if there is none for this process."""
    try:
        seconds = int(environment["WATCHDOG_USEC"]) / 1e6
        mine = int(environment.get("WATCHDOG_PID", os.getpid())) == os.getpid()
    except (KeyError, ValueError):
        return None
    return seconds if mine and seconds > 0 else None


def watched(blocks: Iterable[Float32], manager: ServiceManager) -> Iterator[Float32]:
    """Pass blocks on, and notify `manager` of each when the next is requested, because then it is processed.

    Empty blocks count: a source yields one after every attempt to reopen its microphone, so that an absent
    microphone does not trigger the watchdog, but an attempt that hangs does.
    """
    ready = False
    for block in blocks:
        yield block
        if not ready:
            manager.ready()
            ready = True
        # Not after a fault of the microphone, whose recovery is reported by its supervisor.
        if len(block) and not manager.has_status:
            manager.status("listening")
        manager.alive()
    manager.stopping()


class Reload:
    """The thresholds, read again after SIGHUP by `read_config`, which may raise ConfigError; `manager` is notified."""

    def __init__(self, read_config: Callable[[], Config], manager: ServiceManager) -> None:
        self._read_config = read_config
        self._manager = manager
        self._config = Config()
        self._asked = False

    def read(self) -> Config:
        """Read the settings of a run, which begins with all of them."""
        self._config = self._read_config()
        return self._config

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGHUP: only note it, because the pipeline is in the middle of a block, or a run only begins."""
        self._asked = True

    def __call__(self) -> Config | None:
        """Return the new settings if SIGHUP came since the last call and they are valid, else None.

        Only `RELOADED_SECTIONS` change. An invalid file is refused as a whole, with one line in the log.
        """
        if not self._asked:
            return None
        self._asked = False
        self._manager.reloading()
        try:
            return self._reloaded()
        finally:
            self._manager.ready()

    def _reloaded(self) -> Config | None:
        try:
            wanted = self._read_config()
        except AffectdError as error:
            _log.error("keeping the old settings: %s", error)
            return None
        self._config = replace(self._config, **{name: getattr(wanted, name) for name in RELOADED_SECTIONS})
        later = [
            f"[{key.name}]" for key in fields(Config) if getattr(self._config, key.name) != getattr(wanted, key.name)
        ]
        _log.info("[gate] and [smoothing] read again%s", f"; restart for {', '.join(later)}" if later else "")
        return self._config


@contextmanager
def reload_on_hangup(read_config: Callable[[], Config]) -> Iterator[Reload]:
    """Give a `Reload` for SIGHUP; without a service manager SIGHUP keeps its meaning of a lost terminal."""
    manager = ServiceManager()
    reload = Reload(read_config, manager)
    if not manager.is_present:
        yield reload
        return
    before = signal.signal(signal.SIGHUP, reload.ask)
    try:
        yield reload
    finally:
        signal.signal(signal.SIGHUP, before)
