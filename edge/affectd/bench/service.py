"""Cost of the running service: start time, then CPU, memory and latency in real time.

It is `affectd run` in another process, with a service manager, a simulated sound card (`affectd.bench.card`), a broker
in this process (`affectd.bench.broker`) and default settings.
"""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import numpy as np

from affectd.arrays import Int16
from affectd.audio.microphone import PIECE_SECONDS
from affectd.bench.broker import broker
from affectd.bench.sounds import Words
from affectd.board import resident
from affectd.config.sections import Config
from affectd.errors import UnavailableError
from affectd.recognition.model_file import ModelFile

STARTS = 5
SETTLE_SECONDS = 3.0
_PATIENCE_SECONDS, _LOOK_SECONDS = 60.0, 0.2
# Seconds of each part of the start, in order; later parts need not import again what earlier ones did.
_SPLIT = """
import time; began = time.monotonic()
import json, sys
def passed():
    global began
    before, began = began, time.monotonic()
    return round(began - before, 4)
parts = {"python": began - float(sys.argv[1])}
import numpy; parts["numpy"] = passed()
from affectd import cli, pipeline, run
from affectd.audio import supervisor
from affectd.config import loading
from affectd.events import event, status
from affectd.mqtt import telemetry
from affectd.recognition import classifier
from affectd.service import signals, systemd
parts["affectd"] = passed()
if sys.argv[3] == "1":
    from affectd.mqtt import publisher; parts["mqtt"] = passed()
from affectd.recognition.model_file import find_model, read_model
model = read_model(find_model(sys.argv[2])); parts["model file"] = passed()
classifier.Classifier(model); parts["interpreter"] = passed()
print(json.dumps(parts))
"""


def has_mqtt() -> bool:
    """Return whether paho-mqtt is installed, which MQTT needs."""
    return find_spec("paho") is not None


def cold_start(model_path: str) -> dict[str, Any]:
    """Start the service several times; return median and maximum time to READY, and the time of each part."""
    silence = np.random.default_rng(0).normal(0, 3, 16000).round().astype(np.int16)
    ready = []
    for _ in range(1 + STARTS):
        with _service(silence, model_path) as service:
            ready.append(service.ready_seconds)
    del ready[0]  # the first one may have compiled Python files
    splits = []
    for _ in range(STARTS):
        command = [sys.executable, "-c", _SPLIT, repr(time.monotonic()), model_path, str(int(has_mqtt()))]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=_environment())
        splits.append(json.loads(done.stdout))
    return {
        "ready_seconds": round(float(np.median(ready)), 3),
        "ready_max_seconds": round(max(ready), 3),
        "parts_seconds": {part: round(float(np.median([s[part] for s in splits])), 4) for part in splits[0]},
    }


def listening(samples: Int16, model_path: str, seconds: float) -> dict[str, float]:
    """Run the service on a sound for `seconds`; return CPU in percent of one core, wake-ups and memory."""
    with _service(samples, model_path) as service:
        time.sleep(SETTLE_SECONDS)
        began, cpu, wakes = time.monotonic(), service.cpu_seconds(), service.wakes()
        time.sleep(seconds)
        passed = time.monotonic() - began
        return {
            "cpu_percent": round(100 * (service.cpu_seconds() - cpu) / passed, 3),
            "wakes_per_second": round((service.wakes() - wakes) / passed, 1),
            **resident(service.pid),
        }


def latency(words: Words, model_path: str, model: ModelFile) -> dict[str, Any]:
    """Run the service on words at known times; return the latency of its lines on stdout.

    Returns
    -------
    dict
        Median and 95th percentile of ``start_ms``, from the onset of a word to the line with its first label, and of
        its parts: ``gate_ms`` until the gate opens, ``strides_ms`` for the minimum count of classifications,
        ``window_ms`` for the second half of the last frame, ``delivery_ms`` until the microphone delivers it,
        ``compute_ms``; and ``end_ms``, from the end of a word to its line, mostly the hangover of the gate.
    """
    spec, config = model.spec, Config()
    window = spec.window_length / 2 / spec.sample_rate
    strides = config.smoothing.minimum_count * config.model.stride_frames * spec.hop_length / spec.sample_rate
    starts: list[dict[str, float]] = []
    ends: list[float] = []
    with _service(words.samples, model_path) as service:
        time.sleep(len(words.samples) / spec.sample_rate + PIECE_SECONDS)
        lines = list(service.lines)
        began = float(service.began.read_text())
    for arrived, line in lines:
        said, event = arrived - began, json.loads(line)
        if event.get("phase") == "start":
            heard = event["end_seconds"] + window
            onset = max((onset for onset in words.onsets if onset < heard), default=0.0)
            delivered = math.ceil(heard / PIECE_SECONDS) * PIECE_SECONDS
            parts = {"gate_ms": heard - window - strides - onset, "strides_ms": strides, "window_ms": window}
            parts |= {"delivery_ms": delivered - heard, "compute_ms": said - delivered}
            starts.append({"start_ms": said - onset, **parts})
        elif event.get("phase") == "end":
            ends.append(said - max((end for end in words.ends if end < said), default=0.0))
    return {
        "words": len(words.onsets),
        "heard": len(starts),
        **{name: _milliseconds([row[name] for row in starts]) for name in (starts[0] if starts else ())},
        **({"end_ms": _milliseconds(ends)} if ends else {}),
    }


def _milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    p50, p95 = np.percentile(np.array(seconds) * 1000, (50, 95))
    return {"p50": round(float(p50), 1), "p95": round(float(p95), 1)}


class _Service:
    def __init__(self, process: subprocess.Popen[str], began: Path) -> None:
        self.pid = process.pid
        self.ready_seconds = math.nan
        self.began = began
        self.lines: list[tuple[float, str]] = []
        assert process.stdout is not None
        self.reader = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        self.reader.start()

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self.lines.append((time.monotonic(), line))

    def cpu_seconds(self) -> float:
        """Return the processor time of all threads so far."""
        # The CPU clock of another process; source: Linux, include/linux/posix-timers.h.
        return time.clock_gettime((~self.pid << 3) | 2)

    def wakes(self) -> int:
        """Return the number of voluntary context switches of its threads."""
        count = 0
        for status in Path(f"/proc/{self.pid}/task").glob("*/status"):
            words = [line.split() for line in status.read_text().splitlines()]
            count += sum(int(line[1]) for line in words if line[0] == "voluntary_ctxt_switches:")
        return count


@contextmanager
def _service(samples: Int16, model_path: str) -> Iterator[_Service]:
    """Start the service, wait for READY, and stop it at the end."""
    with ExitStack() as stack:
        try:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="affectd-bench-")))
            (folder / "sound").write_bytes(samples.astype("<i2").tobytes())
            (folder / "empty.toml").touch()
        except OSError as error:
            raise UnavailableError(
                f"The sound that the service is to hear, {2e-6 * samples.size:.1f} MB, cannot be written to the folder"
                f" for temporary files: {error.strerror}. $TMPDIR names another one."
            ) from error
        manager = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        manager.bind(str(folder / "notify"))
        manager.settimeout(_LOOK_SECONDS)
        # Folders of its own: those of the device may hold events that wait, and a service that is running has them.
        environment = _environment() | {"NOTIFY_SOCKET": str(folder / "notify"), "STATE_DIRECTORY": str(folder)}
        environment["RUNTIME_DIRECTORY"] = str(folder / "runtime")
        if has_mqtt():
            port = stack.enter_context(broker())
            environment |= {"AFFECTD_MQTT_ENABLED": "true", "AFFECTD_MQTT_HOST": "127.0.0.1"}
            environment["AFFECTD_MQTT_PORT"] = str(port)
        command = [sys.executable, "-m", "affectd.bench.card", str(folder / "sound"), str(folder / "began"), "run"]
        command += ["--config", str(folder / "empty.toml"), *(["--model", model_path] if model_path else [])]
        log = stack.enter_context(open(folder / "log", "w+"))
        started = time.monotonic()
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True
        )
        service = _Service(process, folder / "began")
        stack.callback(service.reader.join)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        if not _is_ready(manager, process):
            log.seek(0)
            raise UnavailableError(f"The service does not start: {log.read().strip() or 'no reason given'}")
        service.ready_seconds = time.monotonic() - started
        yield service


def _is_ready(manager: socket.socket, process: subprocess.Popen[str]) -> bool:
    """Wait until the service says that it is ready; False if it ends before, or takes too long."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < until:
        with suppress(TimeoutError):
            if b"READY=1" in manager.recv(4096).split(b"\n"):
                return True
    return False


def _environment() -> dict[str, str]:
    """Return this environment without affectd's settings, and with compiled Python as in a service."""
    without = ("PYTHONDONTWRITEBYTECODE", "NOTIFY_SOCKET", "WATCHDOG_USEC")
    return {name: value for name, value in os.environ.items() if not name.startswith(("AFFECTD_", *without))}
