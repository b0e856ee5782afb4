"""Telemetry: level, cost and losses of this device."""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable
from copy import copy
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from affectd.arrays import Bool, Float32
from affectd.board import hottest_celsius, resident
from affectd.events.event import utc
from affectd.recognition.vad import LEVEL_FLOOR_DBFS

if TYPE_CHECKING:
    from affectd.audio.microphone import Losses
    from affectd.mqtt.mute import Mute
    from affectd.recognition.classifier import Network
    from affectd.recognition.place import Place

SCHEMA = 3
# Slightly above the floor, because that is computed in float32.
_SILENCE_POWER = 10.0 ** ((LEVEL_FLOOR_DBFS + 0.01) / 10.0)
# The median is over this many last times, because a period may be a day.
_KEPT_TIMES = 1000
# Levels are summed in batches, because each call of NumPy has an overhead.
_KEPT_LEVELS = 64
_QUIET_PUSHES = 8
# From a board that is faster than needed to one that classifies later than the next stride is there (0.256 s).
_DURATIONS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, math.inf)


class Meter:
    """Measurements between two reports, and durations since the start, in constant memory.

    One thread pushes, others may take.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._branch: Meter | None = None
        self._followers: list[Callable[[Float32, Bool], None]] = []
        self._n_durations = [0] * len(_DURATIONS)
        self._total_seconds = 0.0
        self._n_quiet = 0  # pushes since speech
        self._reset()

    def branch(self) -> Meter:
        """Return a second meter that gets the same measurements from now on, for a reader with a period of its own."""
        self._branch = Meter()
        self.follow(self._branch.push)
        return self._branch

    def follow(self, push: Callable[[Float32, Bool], None]) -> None:
        """Pass what is pushed from now on to another one."""
        self._followers.append(push)

    def _reset(self) -> None:
        self._waiting: list[tuple[Float32, Bool]] = []
        self._power = 0.0
        self._n_frames = self._n_active = 0
        self._times: deque[float] = deque(maxlen=_KEPT_TIMES)
        self._longest = 0.0

    def push(self, level: Float32, active: Bool) -> None:
        """Add frames: their level, ``(n,)`` float32 dBFS, and which of them were speech, ``(n,)`` bool."""
        self._n_quiet = 0 if active.any() else self._n_quiet + 1
        with self._lock:
            self._waiting.append((level, active))
            if len(self._waiting) >= _KEPT_LEVELS:
                self._add_up()
        for push in self._followers:
            push(level, active)

    @property
    def is_quiet(self) -> bool:
        """Whether no frame of the last pushes was speech, which is 2 s by default."""
        return self._n_quiet >= _QUIET_PUSHES

    def _add_up(self) -> None:
        if self._waiting:
            levels, actives = map(np.concatenate, zip(*self._waiting, strict=True))
            self._waiting.clear()
            self._power += float(np.exp(levels * np.float32(math.log(10) / 10)).sum())
            self._n_frames += len(levels)
            self._n_active += int(np.count_nonzero(actives))

    def timed(self, network: Network) -> Network:
        """Return a network that measures the time of each call."""
        return _Timed(network, self._add_time)

    def _add_time(self, seconds: float) -> None:
        with self._lock:
            self._times.append(seconds)
            self._longest = max(self._longest, seconds)
            self._n_durations[bisect_left(_DURATIONS, seconds)] += 1
            self._total_seconds += seconds
        if self._branch is not None:
            self._branch._add_time(seconds)

    def durations(self) -> tuple[dict[float, int], float]:
        """Return how often the network took at most so many seconds since the start, and seconds in all.

        The last bound is infinite, so its number is that of all calls.
        """
        with self._lock:
            return dict(zip(_DURATIONS, accumulate(self._n_durations), strict=True)), self._total_seconds

    def take(self) -> dict[str, Any]:
        """Return the measurements since the last call: ``level_dbfs``, ``speech_ratio``, ``inference_ms``.

        The level is None for digital silence, the times are None if the network was not run.
        """
        with self._lock:
            self._add_up()
            power, n_frames, n_active = self._power, self._n_frames, self._n_active
            times, longest = self._times, self._longest
            self._reset()
        mean = power / n_frames if n_frames else 0.0
        return {
            "level_dbfs": round(10 * math.log10(mean), 1) if mean > _SILENCE_POWER else None,
            "speech_ratio": round(n_active / n_frames, 3) if n_frames else 0.0,
            "inference_ms": {
                "median": round(1000 * _median(times), 3) if times else None,
                "max": round(1000 * longest, 3) if times else None,
            },
        }


def _median(values: Iterable[float]) -> float:
    # NumPy loads 1.3 MB for its own.
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


class _Timed:
    def __init__(self, network: Network, add_time: Callable[[float], None]) -> None:
        self.model = network.model
        self._network = network
        self._add_time = add_time

    def __call__(self, cepstra: Float32) -> Float32:
        began = time.perf_counter()
        probabilities = self._network(cepstra)
        self._add_time(time.perf_counter() - began)
        return probabilities


class Telemetry:
    """Makes one report per call, as a JSON object, and resets `meter`; `root` is where ``sys`` and ``proc`` are.

    `place` is that of the network, if it has one; `events_dropped` returns how many events each sink did not get. What
    is told of the broker is that without one: `affectd.mqtt.publisher.Publisher.report`.
    """

    def __init__(
        self,
        device: str,
        model: str,
        losses: Losses,
        mute: Mute,
        place: Place | None = None,
        events_dropped: Callable[[], dict[str, int]] = dict,
        root: Path = Path("/"),
    ) -> None:
        self.meter = Meter()
        self.events_dropped = events_dropped
        self._device, self._model = device, model
        self._losses, self._mute, self._place, self._root = losses, mute, place, root
        self._began = self._before = time.monotonic()
        self._cpu_before = time.process_time()

    def branch(self) -> Telemetry:
        """Return a second one that measures the same from now on, for a reader with a period of its own."""
        other = copy(self)
        other.meter = self.meter.branch()
        return other

    def settled(self) -> float | None:
        """Return how far the network knows its place, 0 to 1; None if it learns none."""
        found = None if self._place is None else self._place.settled()
        return None if found is None else round(found, 3)

    def __call__(self) -> dict[str, Any]:
        """Return the report; rates are over the time since the last one."""
        now, cpu = time.monotonic(), time.process_time()
        passed = max(now - self._before, 1e-3)
        celsius = hottest_celsius(self._root)
        cpu_percent = 100 * (cpu - self._cpu_before) / passed
        self._before, self._cpu_before = now, cpu
        return {
            "schema": SCHEMA,
            "device": self._device,
            "time": utc(time.time()),
            **self.meter.take(),
            "cpu_percent": round(cpu_percent, 1),
            "resident_mb": resident(root=self._root).get("resident_mb"),
            "temperature_celsius": None if celsius is None else round(celsius, 1),
            "uptime_seconds": round(now - self._began),
            "dropped_seconds": round(self._losses.dropped_seconds, 3),
            "overflows": self._losses.overflows,
            "degraded": self._losses.degraded,
            "outbox_events": 0,
            "outbox_dropped": 0,
            "events_dropped": self.events_dropped(),
            "muted": self._mute.is_muted,
            "refused": [],
            "settled": self.settled(),
            "model": self._model,
        }
