"""A program that is many devices at once, and says which events they made.

Usage: many_devices.py PORT FOLDER FIRST N PAUSE_SECONDS PERIOD_SECONDS

Each device has the client, the outbox, the topics, the last will and the telemetry of ``affectd run``; only the sound
is made up: between two utterances of four seconds it is silent for a while, on average `PAUSE_SECONDS`. The id of
every event goes to standard output once the outbox has it. When standard input ends, no event is made any more, and
the devices go when the broker has acknowledged all.
"""

from __future__ import annotations

import heapq
import logging
import os
import random
import resource
import select
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as affectd.cli does it

import numpy as np

from affectd.audio.microphone import Losses
from affectd.config.sections import Config, DeviceConfig, MqttConfig, TelemetryConfig
from affectd.config.state import Folders
from affectd.events.event import Event, EventMaker, Phase, Utterance
from affectd.mqtt.mute import Mute
from affectd.mqtt.publisher import Publisher
from affectd.mqtt.telemetry import Telemetry
from affectd.recognition.model_file import ModelFile, find_model, model_id, read_model
from affectd.recognition.smoothing import Answer

UTTERANCE_SECONDS = 4.0
_ACKNOWLEDGED_SECONDS = 120.0


class Listener:
    """What a device would hear, and the events of that."""

    def __init__(self, name: str, model: ModelFile) -> None:
        self.telemetry = Telemetry(name, model_id(model), Losses(), Mute(None))
        self._labels, self._events = model.labels, EventMaker(name, model)

    def listen(self, pause_seconds: float) -> Iterator[tuple[float, Event | None]]:
        """Yield for how long nothing happens, and then what it says, if it says something."""
        phases: tuple[Phase, ...] = ("start", "change", "end")
        yield random.expovariate(1 / pause_seconds), None
        while True:
            utterance = Utterance(0.0)
            utterance.push(np.array([[0.1, -0.1]], np.float32), np.array([True]))
            said = phases if random.random() < 0.5 else phases[::2]  # half of them change their label
            for phase in said:
                yield UTTERANCE_SECONDS / len(said), self._events.emotion(phase, self._answer(), utterance)
            self.telemetry.meter.push(np.array([-30.0, -70.0], np.float32), np.array([True, False]))
            yield random.expovariate(1 / pause_seconds), None

    def _answer(self) -> Answer:
        odds = [random.expovariate(1.0) for _ in self._labels]
        probabilities = {label: part / sum(odds) for label, part in zip(self._labels, odds, strict=True)}
        label = max(probabilities, key=probabilities.__getitem__)
        return Answer(label, probabilities[label], probabilities)


def publisher(
    name: str, folder: Path, port: int, period_seconds: float, model: ModelFile, telemetry: Telemetry
) -> Publisher:
    """Return what publishes the events of a device, as ``affectd run`` has it."""
    config = Config(
        device=DeviceConfig(id=name),
        mqtt=MqttConfig(enabled=True, host="127.0.0.1", port=port, retry_seconds=1.0),
        telemetry=TelemetryConfig(period_seconds=period_seconds),
    )
    folders = Folders(folder / "state" / name, folder / "run" / name)
    for path in filter(None, folders):
        path.mkdir(parents=True, mode=0o700)
    return Publisher(config, model, folders, telemetry, Mute(None), lambda topics: None, {})


def main(port: str, folder: str, first: str, n: str, pause_seconds: str, period_seconds: str) -> None:
    """Do as the usage says."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    model = read_model(find_model())
    with ExitStack() as stack:
        publishers = []
        due: list[tuple[float, int, Event | None]] = []
        lives = []
        for number in range(int(n)):
            name = f"device-{int(first) + number:05}"
            listener = Listener(name, model)
            publishers.append(
                publisher(name, Path(folder), int(port), float(period_seconds), model, listener.telemetry)
            )
            publishers[-1].start()
            stack.callback(publishers[-1].close, lambda: 5.0)
            lives.append(listener.listen(float(pause_seconds)))
            heapq.heappush(due, (time.monotonic(), number, None))
        while not select.select([0], [], [], max(0.0, due[0][0] - time.monotonic()))[0]:
            _, number, event = heapq.heappop(due)
            if event is not None:
                publishers[number].write(event)
                os.write(1, f"{event['id']}\n".encode())
            seconds, event = next(lives[number])
            heapq.heappush(due, (time.monotonic() + seconds, number, event))
        give_up_at = time.monotonic() + _ACKNOWLEDGED_SECONDS
        while any(len(each.backlog) for each in publishers) and time.monotonic() < give_up_at:
            time.sleep(0.05)


if __name__ == "__main__":
    main(*sys.argv[1:])
