"""Status events of what is not the microphone."""

from __future__ import annotations

from typing import Any

import jsonschema
import numpy as np

from affectd.events.event import EventMaker, event_schema
from affectd.events.status import Reports
from fake_network import FakeNetwork


def test_a_part_is_told_when_it_has_changed_and_once_a_minute_at_most() -> None:
    now = 0.0
    events: list[dict[str, Any]] = []
    reports = Reports(EventMaker("kitchen", FakeNetwork().model).status, lambda: now)  # type: ignore[arg-type]

    class Sink:
        def write(self, event: Any) -> None:
            events.append(event)

    def pass_a_block() -> list[dict[str, Any]]:
        events.clear()
        list(reports.between([np.zeros(1, np.float32)], Sink()))
        return list(events)

    reports.part("file", "healthy", "heard", events_dropped=0)
    reports.part("broker", "healthy", "heard", refused=[])
    assert pass_a_block() == []
    reports.part("file", "alarmed", "stalled", events_dropped=3)
    reports.part("broker", "alarmed", "refused", refused=["affectd/kitchen/listen"])
    told = pass_a_block()
    for event in told:
        jsonschema.validate(event, event_schema())
    assert [(event["part"], event["state"], event["reason"]) for event in told] == [
        ("file", "alarmed", "stalled"),
        ("broker", "alarmed", "refused"),
    ]
    assert (told[0]["events_dropped"], told[1]["refused"]) == (3, ["affectd/kitchen/listen"])
    for n in range(1000):
        reports.part("file", "healthy", "heard", events_dropped=n)
        reports.part("file", "alarmed", "stalled", events_dropped=n)
        assert pass_a_block() == []
    reports.part("file", "healthy", "heard", events_dropped=7)
    assert pass_a_block() == []
    now = 60.0
    (again,) = pass_a_block()
    assert (again["state"], again["events_dropped"]) == ("healthy", 7)
