"""What Prometheus asks for: counts since the start, and the state now.

Sources: Prometheus documentation, "Metric and label naming", and "Instrumentation": what can come is there from the
start, as 0, or as NaN where 0 would say something else.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, get_args

from affectd.audio.liveness import State
from affectd.events.event import Phase
from affectd.recognition.smoothing import UNCERTAIN
from affectd.recognition.vad import LEVEL_FLOOR_DBFS
from affectd.web.exposition import counter, gauge, histogram
from affectd.web.process import Process

_STATES: tuple[str, ...] = get_args(State)
_PHASES: tuple[str, ...] = get_args(Phase)

_Pairs = Counter[tuple[str, str]]


class Metrics:
    """Counts what one thread writes, and shows it to any; memory is constant.

    `durations` returns how many calls of the network took at most so many seconds, and the seconds of all:
    `affectd.mqtt.telemetry.Meter.durations`.

    Examples
    --------
    >>> metrics = Metrics(lambda: ({0.01: 2, float("inf"): 3}, 0.5))
    >>> metrics.write({"type": "emotion", "phase": "start", "label": "happy"})
    """

    def __init__(self, durations: Callable[[], tuple[Mapping[float, int], float]]) -> None:
        self._durations = durations
        self._process = Process()
        self._lock = threading.Lock()
        self._events: _Pairs = Counter()
        self._changes: _Pairs = Counter()
        self._sound_seconds = self._speech_seconds = 0.0
        self._level: float | None = None
        self._gate_open = False

    def write(self, line: Mapping[str, Any]) -> None:
        """Count an emotion event, a status event, or a line of the trace."""
        with self._lock:
            if line["type"] == "trace":
                seconds = line["end_seconds"] - line["start_seconds"]
                self._sound_seconds += seconds
                self._level, self._gate_open = line["level_dbfs"], line["gate_open"]
                if self._gate_open:
                    self._speech_seconds += seconds
            elif line["type"] == "emotion":
                self._events[line["phase"], line["label"]] += 1
            elif line["type"] == "status":
                self._changes[line.get("part", "microphone"), line["state"]] += 1

    def render(self, state: Mapping[str, Any]) -> str:
        """Return everything in the text format of Prometheus; `state` is what the page has at the path ``state``."""
        parts = [self._counted(state), self._heard(state), _microphone(state), _delivered(state), self._spent()]
        return "".join(line for part in parts for line in part)

    def _counted(self, state: Mapping[str, Any]) -> list[str]:
        with self._lock:
            events, changes = self._events.copy(), self._changes.copy()
        build = {name: state[name] for name in ("version", "model", "device")}
        emotions = [(phase, label) for phase in _PHASES for label in (*state["labels"], UNCERTAIN)]
        states = [("microphone", name) for name in _STATES]
        return [
            gauge("affectd_build_info", "Version, network and id of this device.", [(build, 1)]),
            counter("affectd_events_total", "Emotion events.", _samples(events, ("phase", "label"), emotions)),
            counter("affectd_status_events_total", "Status events.", _samples(changes, ("part", "state"), states)),
        ]

    def _heard(self, state: Mapping[str, Any]) -> list[str]:
        with self._lock:
            sound, speech = self._sound_seconds, self._speech_seconds
            level, gate_open = self._level, self._gate_open
        is_heard = sound > 0 and state["listening"]  # else the last stride is out of date
        if level is None:
            level = LEVEL_FLOOR_DBFS
        about = f"Level of the last stride in the band of speech; {LEVEL_FLOOR_DBFS:g}: digital silence, NaN: no sound."
        return [
            counter("affectd_sound_seconds_total", "Sound that was processed.", sound),
            counter("affectd_speech_seconds_total", "Sound that was processed while the gate was open.", speech),
            gauge("affectd_level_dbfs", about, level if is_heard else math.nan),
            gauge("affectd_gate_open", "1 while speech is heard.", is_heard and gate_open),
            gauge("affectd_listening", "1 while sound comes in, 0 while it does not or is muted.", state["listening"]),
        ]

    def _spent(self) -> list[str]:
        process = self._process
        figures = {
            "process_resident_memory_bytes": ("Resident memory.", process.resident_bytes()),
            "process_start_time_seconds": ("When it started, since the epoch.", process.start_seconds()),
            "process_open_fds": ("Open file descriptors.", process.open_files()),
        }
        return [
            histogram("affectd_classification_duration_seconds", "Time that the network took.", *self._durations()),
            counter("process_cpu_seconds_total", "Processor time, user and system.", process.cpu_seconds()),
            *(gauge(name, about, value) for name, (about, value) in figures.items() if value is not None),
        ]


def _microphone(state: Mapping[str, Any]) -> list[str]:
    """Return how the microphone is; of the baseline nothing with a model that has none."""
    telemetry, microphone, baseline = state["telemetry"], state["microphone"]["state"], state["baseline"]
    dropped = "Sound that was lost because the board was too slow."
    settled = "How far the baseline has moved to this place; with a voice times how far that is one voice."
    return [
        gauge(
            "affectd_microphone_state",
            "1 for the state of the microphone, 0 for the others; with a file 0 for all.",
            [({"state": name}, name == microphone) for name in _STATES],
        ),
        counter("affectd_dropped_sound_seconds_total", dropped, telemetry["dropped_seconds"]),
        counter("affectd_sound_overflows_total", "Losses that the sound card reported.", telemetry["overflows"]),
        *([] if baseline is None else [gauge("affectd_baseline_settled_ratio", settled, baseline["settled"])]),
    ]


def _delivered(state: Mapping[str, Any]) -> list[str]:
    """Return where the events went; of the broker nothing while MQTT is off."""
    telemetry, broker = state["telemetry"], state["broker"]
    dropped = [({"sink": name}, n) for name, n in telemetry["events_dropped"].items()]
    sinks = counter("affectd_sink_dropped_events_total", "Events that a sink did not get.", dropped)
    if broker is None:
        return [sinks]
    lost = "Events that the outbox had no room for."
    return [
        sinks,
        gauge("affectd_broker_connected", "1 while the broker is connected.", broker["connected"]),
        gauge("affectd_broker_refused_topics", "Topics that the broker refuses.", len(broker["refused"])),
        gauge("affectd_outbox_events", "Events that wait for the broker.", broker["outbox"]),
        counter("affectd_outbox_dropped_events_total", lost, telemetry["outbox_dropped"]),
    ]


def _samples(
    counted: _Pairs, labels: tuple[str, str], known: list[tuple[str, str]]
) -> list[tuple[dict[str, str], float]]:
    """Return numbers with two labels; what is `known` to come is there before it has come."""
    return [(dict(zip(labels, pair, strict=True)), counted[pair]) for pair in dict.fromkeys([*known, *counted])]
