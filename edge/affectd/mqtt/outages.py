"""Connections to the broker that come and go: what the log says of them, and how long to wait before the next."""

from __future__ import annotations

import logging
import random
import time

_log = logging.getLogger(__name__)

_FIRST_DELAY_SECONDS = 1.0
# A shorter connection counts as failed: two devices with the same client id disconnect each other at once.
_STEADY_SECONDS = 30.0
# After so many in a row that did not last as long as this they are no news any more, and would fill the log of months.
_MOST_BRIEF, _LASTING_SECONDS = 5, 600.0


class Outages:
    """Says each reason of an outage once, and its end; of connections that are lost again at once only the first few.

    `broker` is its address; `most_seconds` is the longest time to wait.
    """

    def __init__(self, broker: str, most_seconds: float) -> None:
        self._broker, self._most_seconds = broker, most_seconds
        self._said: set[str] = set()  # the reasons
        self._delay_seconds = _FIRST_DELAY_SECONDS
        self._connected_at: float | None = None
        self._n_brief = 0

    def is_said(self, reason: str) -> bool:
        """Return whether the log has this reason since the last connection of which it says that it was there."""
        return reason in self._said

    def connected(self) -> bool:
        """Note a connection; return whether it is said."""
        self._connected_at = time.monotonic()
        if self._n_brief < _MOST_BRIEF:
            self._say_connected()
        return self._n_brief < _MOST_BRIEF

    def lasting(self) -> None:
        """Note that there is still a connection."""
        if self._n_brief and self._is_older(_LASTING_SECONDS):
            if self._n_brief >= _MOST_BRIEF:
                self._say_connected(f" for {_LASTING_SECONDS:g} s, after {self._n_brief} connections that were shorter")
            self._n_brief = 0

    def lost(self, reason: str) -> float:
        """Note a loss, or an attempt that failed; return after how many seconds to try again, each time the double."""
        if self._is_older(_STEADY_SECONDS):
            self._delay_seconds = _FIRST_DELAY_SECONDS
        is_lasting = self._is_older(_LASTING_SECONDS)
        is_brief = self._connected_at is not None and not is_lasting
        self._connected_at = None
        self._n_brief = 0 if is_lasting else self._n_brief + is_brief
        is_last = is_brief and self._n_brief == _MOST_BRIEF
        if is_last or reason not in self._said:
            self._said.add(reason)
            many = (
                f"; {_MOST_BRIEF} connections in a row were brief, so the next is said when it lasts" if is_last else ""
            )
            _log.warning("no connection to the broker %s: %s; trying again%s", self._broker, reason, many)
        # At random, so that the devices of a house do not all reconnect at the same moment.
        seconds = random.uniform(0.5, 1.0) * min(self._delay_seconds, self._most_seconds)
        self._delay_seconds = min(2 * self._delay_seconds, self._most_seconds)
        return seconds

    def _is_older(self, seconds: float) -> bool:
        return self._connected_at is not None and time.monotonic() - self._connected_at > seconds

    def _say_connected(self, more: str = "") -> None:
        self._said.clear()
        _log.info("connected to the broker %s%s", self._broker, more)
