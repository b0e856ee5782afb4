"""What is heard as plain lines, for a pipe, a file or a terminal that only prints."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from affectd.screen import words
from affectd.screen.view import View
from affectd.stdio import printable, write_when_ready, writing_results

_PERIOD_SECONDS = 1.0


class Lines:
    """Writes a line for every second of sound, and one for every event, to a file descriptor."""

    def __init__(self, view: View, descriptor: int) -> None:
        self._view = view
        # Never closed: a thread that is blocked at the end may still hold it.
        self._descriptor = os.dup(descriptor)
        self._due_seconds = 0.0
        self._trouble = ""

    def write(self, message: Mapping[str, Any]) -> None:
        """Take what `View.write` takes; raises what `affectd.events.sinks.JsonLines` raises."""
        view, kind = self._view, message.get("type")
        view.write(message)
        if kind in ("emotion", "status"):
            if said := words.event(message):
                self._show(f"{words.duration(view.seconds):>8s}  {said}")
        elif kind == "trace":
            # A stream that begins anew has smaller times.
            if view.seconds >= self._due_seconds or view.seconds < self._due_seconds - 2 * _PERIOD_SECONDS:
                self._due_seconds = view.seconds + _PERIOD_SECONDS
                self._show(_line(view))
        elif kind == "connection" and view.trouble() != self._trouble:
            self._show(f"{'':8s}  {view.address}: {view.trouble()}")
        self._trouble = view.trouble()

    def _show(self, line: str) -> None:
        with writing_results():
            write_when_ready(self._descriptor, f"{printable(line)}\n".encode("utf-8", "backslashreplace"))


def _line(view: View) -> str:
    level = "no sound" if view.level_dbfs is None else f"{view.level_dbfs:.1f} dBFS"
    said = words.verdict(view.label, view.probability, view.smoothed) or ("speech" if view.is_open else "no speech")
    axes = (("valence", view.valence), ("arousal", view.arousal))
    affect = "".join(f"  {name} {value:+.2f}" for name, value in axes if value is not None)
    return f"{words.duration(view.seconds):>8s}  {level:>10s}  {said}{affect}"
