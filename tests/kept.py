"""Sinks that keep what they are given, for tests to look at."""

from __future__ import annotations

from typing import Any

import jsonschema

from affectd.events.event import event_schema


class Kept(list[Any]):
    """A sink that fails while there is something to raise."""

    failure: Exception | None = None

    def write(self, event: Any) -> None:
        if self.failure is not None:
            raise self.failure
        self.append(event)


class Repeatable(Kept):
    """A sink that checks emotion events, and keeps of them what does not differ from run to run."""

    def write(self, event: dict[str, Any]) -> None:
        jsonschema.Draft202012Validator(event_schema()).validate(event)
        super().write({key: x for key, x in event.items() if key not in ("id", "time", "clock_synchronized")})
