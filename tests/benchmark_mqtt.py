#!/usr/bin/env python3
"""Cost of MQTT: events per second through a real Mosquitto, while the same process listens to a file.

The pipeline runs all the time in real time: first without events, then with them, then without again. A thread puts
events into the outbox, and the connection sends them; another process records when they arrive. The time of a stride
is the time from yielding it to the pipeline until it requests the next.

    python tests/benchmark_mqtt.py                  # a minute of 1000 events per second
    python tests/benchmark_mqtt.py --seconds 2      # only to see that it works
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as affectd.cli does it

import numpy as np

from affectd.audio.source import wav_blocks
from affectd.bench.stages import NullSink
from affectd.config.sections import Config, MqttConfig
from affectd.mqtt.connection import Connection, Publication
from affectd.outbox.outbox import Outbox
from affectd.pipeline import run
from affectd.recognition.classifier import Classifier
from affectd.recognition.model_file import find_model, read_model
from broker import Broker

TOPIC = "affectd/benchmark/event"
DEMO = Path(__file__).parent / "data" / "demo.wav"


@contextmanager
def arrivals(port: int, file: Path) -> Iterator[None]:
    """Record the time of arrival and the payload of every event, one line each, in another process."""
    command = ["mosquitto_sub", "-p", str(port), "-t", TOPIC, "-F", "%U %p"]
    with file.open("wb") as lines, subprocess.Popen(command, stdout=lines) as subscriber:
        try:
            time.sleep(0.5)  # it gives no sign when it has subscribed
            yield
        finally:
            subscriber.terminate()


class Events:
    """Makes events at a steady rate in a thread, each with the time when it was made."""

    def __init__(self, outbox: Outbox, connection: Connection, rate: float) -> None:
        self._outbox, self._connection, self._rate = outbox, connection, rate
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.n = 0
        self.put_seconds: list[float] = []
        # The length of an event with six labels.
        self._rest = json.dumps({"schema": 1, "type": "emotion", "device": "benchmark", "label": "x" * 480})[1:]

    def start(self) -> None:
        """Start to make events."""
        self._thread = threading.Thread(target=self._make)
        self._thread.start()

    def stop(self) -> None:
        """Stop."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join()

    def _make(self) -> None:
        began = time.monotonic()
        while not self._stop.wait(max(0.0, began + self.n / self._rate - time.monotonic())):
            payload = f'{{"id": {self.n}, "made": {time.time():.6f}, {self._rest}'
            before = time.perf_counter()
            self._outbox.put(payload)
            self._connection.event_made()
            self.put_seconds.append(time.perf_counter() - before)
            self.n += 1


class Listening:
    """Plays the strides of a file in a loop and in real time, and records how long each took."""

    def __init__(self, samples: np.ndarray, stride: int, period_seconds: float) -> None:
        self._strides = [samples[i : i + stride] for i in range(0, len(samples) - stride, stride)]
        self._period_seconds = period_seconds
        self.phases: list[Phase] = []

    def phase(self, seconds: float) -> Iterator[np.ndarray]:
        """Yield blocks for `seconds`; record their times and the share of a core that this process used."""
        times: list[float] = []
        queued: list[float] = []
        began, cpu = time.monotonic(), time.process_time()
        while (due := began + len(times) * self._period_seconds) < began + seconds:
            time.sleep(max(0.0, due - time.monotonic()))
            queued_before, before = queued_seconds(), time.perf_counter()
            yield self._strides[len(times) % len(self._strides)]
            times.append(time.perf_counter() - before)
            queued.append(queued_seconds() - queued_before)
        self.phases.append(Phase(times, queued, (time.process_time() - cpu) / (time.monotonic() - began)))


class Phase(NamedTuple):
    """Measurements of one phase: time of each stride, time it waited for a processor, share of a core."""

    seconds: list[float]
    queued_seconds: list[float]
    cpu: float

    @property
    def own_seconds(self) -> list[float]:
        """Times of the strides without waiting for other programs; waiting for other threads counts."""
        return [max(0.0, whole - queued) for whole, queued in zip(self.seconds, self.queued_seconds, strict=True)]


def queued_seconds() -> float:
    """Return how long this thread has waited for a processor so far; 0 if Linux does not say."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def measure(folder: Path, runtime: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run all phases."""
    classifier = Classifier(read_model(find_model()))
    spec, config = classifier.model.spec, Config()
    stride = config.model.stride_frames * spec.hop_length
    samples = np.concatenate(list(wav_blocks(str(options.file), spec.sample_rate)))
    period_seconds = stride / spec.sample_rate / options.speed
    listening = Listening(samples, stride, period_seconds)
    n_events = round(options.rate * options.seconds)
    outbox = Outbox(folder / "state", runtime, max_events=max(10_000, n_events), max_bytes=10**9)
    # Without set_tcp_nodelay the broker delays messages to send several in one packet.
    broker = Broker(folder, "allow_anonymous true", "set_tcp_nodelay true")
    with broker, arrivals(broker.port, folder / "arrivals"):
        status = [
            Publication("affectd/benchmark/status", word, retain=True) for word in ("online", "stopped", "offline")
        ]
        connection = Connection(
            MqttConfig(port=broker.port, host="127.0.0.1", protocol=options.protocol),
            "benchmark",
            outbox,
            event_topic=TOPIC,
            last_will=status[2],
            farewell=status[1],
            greeting=lambda: status[:1],
            subscriptions={},
            period_seconds=60.0,
            periodic=list,
        )
        connection.start()
        events = Events(outbox, connection, options.rate)

        def blocks() -> Iterator[np.ndarray]:
            yield from warming_up(listening, period_seconds)
            yield from listening.phase(options.seconds / 2)
            events.start()
            yield from listening.phase(options.seconds)
            events.stop()
            yield from listening.phase(options.seconds / 2)

        try:
            run(blocks(), classifier, NullSink(), config)
        finally:
            events.stop()
            connection.close(30.0)
        n_left = len(outbox)
        outbox.close()
        time.sleep(0.5)
    return summary(events, listening, folder / "arrivals", n_left)


def warming_up(listening: Listening, period_seconds: float) -> Iterator[np.ndarray]:
    """Yield a few strides that are not measured."""
    yield from listening.phase(20 * period_seconds)
    listening.phases.clear()


def summary(events: Events, listening: Listening, arrived: Path, n_left: int) -> dict[str, Any]:
    """Summarize the measurements."""
    first: dict[int, float] = {}
    n_arrived = 0
    for line in arrived.read_text().splitlines():
        at, _, payload = line.partition(" ")
        event = json.loads(payload)
        first.setdefault(event["id"], float(at) - event["made"])
        n_arrived += 1
    before, loaded, after = listening.phases
    return {
        "publish_ms": percentiles(list(first.values())),
        "put_ms": percentiles(events.put_seconds),
        "stride_quiet_ms": percentiles(before.seconds + after.seconds),
        "stride_loaded_ms": percentiles(loaded.seconds),
        "stride_quiet_own_ms": percentiles(before.own_seconds + after.own_seconds),
        "stride_loaded_own_ms": percentiles(loaded.own_seconds),
        "strides": {"quiet": len(before.seconds) + len(after.seconds), "loaded": len(loaded.seconds)},
        "cpu_percent": {"quiet": round(50 * (before.cpu + after.cpu), 1), "loaded": round(100 * loaded.cpu, 1)},
        "events": {
            "made": events.n,
            "arrived": len(first),
            "twice": n_arrived - len(first),
            "in_order": list(first) == sorted(first),
            "left": n_left,
        },
    }


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Return median, 99th percentile and maximum in milliseconds."""
    p50, p99, most = np.percentile(seconds or [float("nan")], [50, 99, 100]) * 1000
    return {"p50": round(p50, 3), "p99": round(p99, 3), "max": round(most, 3)}


def table(options: argparse.Namespace, result: dict[str, Any]) -> str:
    """Format the figures as a table."""
    machine, events, cpu = result["machine"], result["events"], result["cpu_percent"]
    lines = [
        f"{options.rate:g} events/s for {options.seconds:g} s over MQTT {options.protocol}; {machine}",
        "",
        f"{'ms':38}{'p50':>10}{'p99':>10}{'max':>10}",
    ]
    for name, key in [
        ("put to arrival at a subscriber", "publish_ms"),
        ("put, in the thread that makes it", "put_ms"),
        (f"stride of sound, no events ({result['strides']['quiet']})", "stride_quiet_ms"),
        (f"stride of sound, events ({result['strides']['loaded']})", "stride_loaded_ms"),
        ("  had no other program run: no events", "stride_quiet_own_ms"),
        ("  had no other program run: events", "stride_loaded_own_ms"),
    ]:
        lines.append(f"{name:38}" + "".join(f"{result[key][which]:10.2f}" for which in ("p50", "p99", "max")))
    lines += [
        "",
        f"processor, % of one core: {cpu['quiet']} without events, {cpu['loaded']} with (sound at {options.speed:g} x)",
        f"events: {events['made']} made, {events['arrived']} arrived, {events['twice']} of them twice,"
        f" {'in order' if events['in_order'] else 'NOT IN ORDER'}",
    ]
    return "\n".join(lines)


def main() -> int:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long events are made (default: 60)")
    parser.add_argument("--rate", type=float, default=1000.0, help="events per second (default: 1000)")
    parser.add_argument(
        "--speed", type=float, default=8.0, help="speed of the sound, relative to real time (default: 8)"
    )
    parser.add_argument("--protocol", choices=["3.1.1", "5"], default="3.1.1", help="of MQTT (default: 3.1.1)")
    parser.add_argument("--file", type=Path, default=DEMO, help="WAV file to listen to (default: the demo)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args()
    memory, load = Path("/dev/shm"), os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as runtime,
    ):
        result = measure(Path(folder), Path(runtime), options)
    result["machine"] = (
        f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()},"
        f" paho-mqtt {metadata.version('paho-mqtt')}, load before {load:.1f}"
    )
    result["load"] = {"rate": options.rate, "seconds": options.seconds, "speed": options.speed}
    print(json.dumps(result) if options.json else table(options, result))
    return 0 if result["events"]["arrived"] == result["events"]["made"] and result["events"]["in_order"] else 1


if __name__ == "__main__":
    sys.exit(main())
