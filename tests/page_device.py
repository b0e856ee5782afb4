"""A device with a page, for tests: the real server, fed with a real trace, in the states that a test wants."""

from __future__ import annotations

import dataclasses
import http.client
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from affectd.audio.source import wav_blocks
from affectd.config.sections import Config, WebConfig
from affectd.events.event import EventMaker
from affectd.events.trace import Tracer
from affectd.pipeline import run
from affectd.recognition.classifier import Classifier
from affectd.recognition.model_file import find_model, model_id, read_model
from affectd.recognition.voice import without_voice
from affectd.web.page import Page
from broker import free_port
from web_device import DEMO, PATIENCE_SECONDS

TELEMETRY = {
    "schema": 3, "device": "kitchen", "time": "2026-11-20T06:34:00.004Z", "level_dbfs": -61.3, "speech_ratio": 0.124,
    "inference_ms": {"median": 1.214, "max": 3.402}, "cpu_percent": 7.5, "resident_mb": 61.5,
    "temperature_celsius": 48.5, "uptime_seconds": 86400, "dropped_seconds": 0.0, "overflows": 0, "degraded": {},
    "outbox_events": 0, "outbox_dropped": 0, "events_dropped": {"standard_output": 0}, "muted": False, "refused": [],
    "settled": 0.72,
}  # fmt: skip
BROKER = {"connected": True, "refused": [], "outbox": 0}


class Relabeled:
    """The shipped network as one with other labels would be: each has a part of what the known ones have."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self._classifier = Classifier(read_model(find_model()))
        known = without_voice(self._classifier.model)
        golden = {**known.golden, "output": np.zeros(len(labels), np.int8)}
        self.model = dataclasses.replace(known, labels=labels, golden=golden)
        n_known = len(known.labels)
        self._parts = np.zeros((n_known, len(labels)), np.float32)
        for k in range(max(n_known, len(labels))):
            self._parts[k % n_known, k % len(labels)] += 1 if k < n_known else 0.25
        self._parts /= self._parts.sum(1, keepdims=True)

    def __call__(self, cepstra: np.ndarray) -> np.ndarray:
        return self._classifier(cepstra) @ self._parts


@cache
def heard(path: Path = DEMO, labels: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Return the events and the trace of a recording, in their order, also as if the network had other labels."""
    network = Relabeled(labels) if labels else Classifier(read_model(find_model()))
    model = network.model
    lines: list[dict[str, Any]] = []

    class Keep:
        def write(self, event: dict[str, Any]) -> None:
            lines.append(event)

    events = EventMaker("kitchen", model)
    tracer = Tracer(events, model, lines.append)
    samples = wav_blocks(str(path), model.spec.sample_rate)
    run(samples, network, Keep(), Config(), events=events, tracer=tracer)
    return lines


class Device:
    """A device whose page a test opens; `broker`, `baseline` and `telemetry` may be changed at any time."""

    def __init__(self, token_file: Path | None = None, **about: Any) -> None:
        model = read_model(find_model())
        self._config = WebConfig(enabled=True, port=free_port(), token_file=str(token_file or ""))
        self._about = {
            "version": "1.0", "device": "kitchen", "model": model_id(model), "labels": model.labels,
            "card": model.card, **about,
        }  # fmt: skip
        self.broker: dict[str, Any] | None = BROKER
        self.baseline: dict[str, Any] | None = {"settled": 0.72}
        self.telemetry: dict[str, Any] = TELEMETRY
        self.url = f"http://127.0.0.1:{self._config.port}/"
        self.start()

    def start(self) -> None:
        """Serve the page of a device that has heard nothing yet, at the same port as before."""
        self._page = Page(
            self._config,
            self._about,
            lambda: {"broker": self.broker, "baseline": self.baseline},
            lambda: self.telemetry,
            durations=lambda: ({}, 0.0),
            watchdog_seconds=1e6,
        )
        self._page.__enter__()
        list(self._page.hub.heard([None]))
        self.tell({**STATUS, "id": "first", "state": "healthy", "reason": "heard"})

    def stop(self) -> None:
        """End all streams and refuse connections."""
        self._page.__exit__(None, None, None)
        # The page itself waits only for a moment, and the port is free when its thread has ended.
        thread = self._page._server._thread
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()

    def tell(self, *lines: dict[str, Any]) -> None:
        """Let the device make these events and lines of the trace."""
        for line in lines:
            self._page.hub.write(line)


STATUS = {
    "schema": 2, "type": "status", "time": "2026-11-27T22:00:03.000Z", "clock_synchronized": True, "device": "kitchen",
}  # fmt: skip


class Proxy:
    """A reverse proxy that has the device at a prefix, as Home Assistant's ingress does, and nothing else.

    While `flows` is not set it keeps what comes.
    """

    def __init__(self, upstream: str, prefix: str = "/api/ingress/x7") -> None:
        self.flows = threading.Event()
        self.flows.set()
        flows = self.flows
        host = upstream.removeprefix("http://").rstrip("/")

        class Forward(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if not self.path.startswith(f"{prefix}/"):
                    self.send_error(404)
                    return
                device = http.client.HTTPConnection(host, timeout=60)
                device.request("GET", self.path.removeprefix(prefix), headers={**self.headers, "Host": host})
                answer = device.getresponse()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    self.send_header(name, value)
                self.end_headers()
                while piece := answer.read1(65536):
                    flows.wait()
                    self.wfile.write(piece)
                    self.wfile.flush()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Forward)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}{prefix}/"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections."""
        self.flows.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
