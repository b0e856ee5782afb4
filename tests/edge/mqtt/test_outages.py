"""What a day of connections that come and go leaves in the log, and how long each attempt waits."""

from __future__ import annotations

import logging
import time

import pytest

from affectd.mqtt.outages import Outages

DAY_SECONDS = 86400.0


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def connected(self, outages: Outages, seconds: float) -> float:
        """Be connected for this long; return how long the next attempt waits."""
        outages.connected()
        until = self.now + seconds
        while self.now < until:
            self.now = min(self.now + 5.0, until)
            outages.lasting()
        return outages.lost("it has closed the connection")


@pytest.mark.parametrize("seconds", [1.0, 31.0, 300.0])
def test_connections_that_end_soon_for_a_day_leave_ten_lines(
    seconds: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    clock, outages = Clock(monkeypatch), Outages("here", 60.0)
    while clock.now < DAY_SECONDS:
        clock.now += clock.connected(outages, seconds)
    assert len(caplog.messages) == 10
    assert caplog.messages[-1].endswith("the next is said when it lasts")
    clock.connected(outages, 700.0)
    assert [line.partition(" the broker")[0] for line in caplog.messages[10:]] == ["connected to", "no connection to"]


def test_the_next_attempt_comes_soon_after_a_connection_that_was_there_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, outages = Clock(monkeypatch), Outages("here", 60.0)
    waits = [clock.connected(outages, 31.0) for _ in range(20)]
    assert max(waits) <= 1.0
    waits = [clock.connected(outages, 29.0) for _ in range(20)]
    assert min(waits[-5:]) >= 30.0
