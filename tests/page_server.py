"""What the page talks to, for tests of the page alone: the device's addresses, and what a test wants to happen there.

The trace is a real one: the pipeline's, of tests/data/demo.wav.
"""

from __future__ import annotations

import http.client
import json
import queue
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from affectd.audio.source import wav_blocks
from affectd.config.sections import Config
from affectd.events.event import EventMaker
from affectd.events.trace import Tracer
from affectd.pipeline import run
from affectd.recognition.classifier import Classifier
from affectd.recognition.model_file import find_model, model_id, read_model

REPOSITORY = Path(__file__).parents[1]
STATIC = REPOSITORY / "edge" / "affectd" / "web" / "static"
DEMO = REPOSITORY / "tests" / "data" / "demo.wav"
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:"
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
TELEMETRY = {
    "schema": 3, "device": "kitchen", "time": "2026-11-20T06:34:00.004Z", "level_dbfs": -61.3, "speech_ratio": 0.124,
    "inference_ms": {"median": 1.214, "max": 3.402}, "cpu_percent": 7.5, "resident_mb": 61.5,
    "temperature_celsius": 48.5, "uptime_seconds": 86400, "dropped_seconds": 0.0, "overflows": 0, "degraded": {},
    "outbox_events": 0, "outbox_dropped": 0, "events_dropped": {"standard_output": 0}, "muted": False, "refused": [],
    "settled": 0.72,
}  # fmt: skip
CARD = {
    "name": "affectd", "use": "non-commercial only, as RAVDESS and TESS demand",
    "data": [{"corpus": "CREMA-D", "clips": 7431, "terms": "ODbL 1.0 / DbCL 1.0"}],
    "accuracy": 0.682, "labels": ["neutral", "calm"],
}  # fmt: skip


@cache
def heard(path: Path = DEMO) -> tuple[list[dict[str, Any]], list[dict[str, Any]], tuple[str, ...]]:
    """Return the trace, the events and the labels of a recording."""
    model = read_model(find_model())
    trace: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []

    class Keep:
        def write(self, event: dict[str, Any]) -> None:
            events.append(event)

    tracer = Tracer(EventMaker("kitchen", model), model, trace.append)
    run(wav_blocks(str(path), model.spec.sample_rate), Classifier(model), Keep(), Config(), tracer=tracer)
    return trace, events, model.labels


class Device:
    """A device that has heard a recording; a test changes its `state`, and tells what happens next."""

    def __init__(self, recording: Path = DEMO) -> None:
        self.trace, self.events, labels = heard(recording)
        self.state: dict[str, Any] = {
            "schema": 1, "version": "1.0", "device": "kitchen", "model": model_id(read_model(find_model())),
            "labels": list(labels), "listening": True,
            "microphone": {"state": "healthy", "reason": "heard", "figure": None},
            "broker": {"connected": True, "refused": [], "outbox": 0}, "telemetry": TELEMETRY,
            "baseline": {"settled": 0.72}, "card": CARD,
        }  # fmt: skip
        self.token: str | None = None
        self.is_full = False
        self.asked: list[str] = []
        self.told = len(self.trace)  # of the trace, how much is told by now
        self.port = 0
        self._streams: set[queue.Queue[tuple[str, Any] | None]] = set()
        self._server: ThreadingHTTPServer | None = None
        self.start()

    def start(self) -> None:
        """Serve, at the same port as before."""
        handler = type("Handler", (_Handler,), {"device": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}).start()

    def stop(self) -> None:
        """End all streams and refuse connections."""
        assert self._server is not None
        self._server.shutdown()
        self._server.socket.close()
        for stream in list(self._streams):
            stream.put(None)
        self._server.server_close()  # waits for its threads

    def tell(self, kind: str, data: Any) -> None:
        """Send something to all streams."""
        for stream in list(self._streams):
            stream.put((kind, data))

    def change(self, **state: Any) -> None:
        """Change the state, and tell."""
        self.state = {**self.state, **state}
        self.tell("state", self.state)

    def snapshot(self) -> dict[str, Any]:
        """Return what a stream begins with."""
        told = self.trace[: self.told]
        now = told[-1]["end_seconds"] if told else 0.0
        return {
            "state": self.state,
            "trace": told[-1] if told else None,
            "events": [e for e in self.events if e["type"] != "emotion" or e["end_seconds"] <= now + 1][-100:],
            "hour": segments(told),
            "now_seconds": now,
        }

    def follow(self, handler: _Handler) -> None:
        """Serve a stream until it is to end."""
        stream: queue.Queue[tuple[str, Any] | None] = queue.Queue()
        stream.put(("snapshot", self.snapshot()))
        self._streams.add(stream)
        while (item := stream.get()) is not None:
            handler.wfile.write(f"event: {item[0]}\ndata: {json.dumps(item[1])}\n\n".encode())
            handler.wfile.flush()
        self._streams.discard(stream)


def segments(trace: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join the strides of the open gate whose neighbors have the same label."""
    joined: list[dict[str, Any]] = []
    for line in trace:
        part = {key: line[key] for key in ("start_seconds", "end_seconds", "label", "probability", "arousal")}
        if line["gate_open"]:
            last = joined[-1] if joined else None
            if last and last["label"] == part["label"] and last["end_seconds"] == part["start_seconds"]:
                joined[-1] = {**part, "start_seconds": last["start_seconds"]}
            else:
                joined.append(part)
    return joined


class _Handler(BaseHTTPRequestHandler):
    device: Device

    def do_GET(self) -> None:
        device, path = self.device, self.path
        device.asked.append(path)
        name = {"/": "index.html", "/sign": "sign.html"}.get(path, path.removeprefix("/static/"))
        file = STATIC / name
        if path == "/session":
            known = self.headers.get("Authorization") == f"Bearer {device.token}"
            cookie = {"Set-Cookie": "session=1; HttpOnly; SameSite=Strict"} if known else {}
            self._answer(204 if known else 401, **cookie)
        elif path in ("/state", "/events") and device.token and "session=1" not in self.headers.get("Cookie", ""):
            self._answer(401)
        elif path == "/state":
            self._answer(200, json.dumps(device.state).encode(), "application/json")
        elif path == "/events" and device.is_full:
            self._answer(503)
        elif path == "/events":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            device.follow(self)
        elif "/" not in name and file.is_file():
            self._answer(200, file.read_bytes(), TYPES[file.suffix])
        else:
            self._answer(404)

    def _answer(self, code: int, body: bytes = b"", kind: str = "text/plain", **headers: str) -> None:
        self.send_response(code)
        common = {"Content-Security-Policy": POLICY, "Content-Type": kind, "Content-Length": str(len(body))}
        for name, value in (common | {n.replace("_", "-"): v for n, v in headers.items()}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Proxy:
    """A reverse proxy that has the device at a prefix, as Home Assistant's ingress does, and nothing else."""

    def __init__(self, port: int, prefix: str = "/api/ingress/x7") -> None:
        self.strays: list[str] = []

        class Forward(BaseHTTPRequestHandler):
            def do_GET(handler) -> None:  # noqa: N805
                if not handler.path.startswith(f"{prefix}/"):
                    self.strays.append(handler.path)
                    handler.send_error(404)
                    return
                upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                upstream.request("GET", handler.path.removeprefix(prefix), headers=dict(handler.headers))
                answer = upstream.getresponse()
                handler.send_response(answer.status)
                for name, value in answer.getheaders():
                    handler.send_header(name, value)
                handler.end_headers()
                while piece := answer.read1(65536):
                    handler.wfile.write(piece)
                    handler.wfile.flush()

            def log_message(handler, format: str, *args: object) -> None:  # noqa: N805
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Forward)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}{prefix}/"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}).start()

    def stop(self) -> None:
        """Refuse connections."""
        self._server.shutdown()
        self._server.server_close()
