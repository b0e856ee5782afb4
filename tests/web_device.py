"""`affectd run` with a page, for tests of the real program over the loopback interface."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import wave
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from broker import free_port

PATIENCE_SECONDS = 120.0
DEMO = Path(__file__).parent / "data" / "demo.wav"


def long_demo(folder: Path) -> Path:
    """The bundled demonstration over and over, for minutes."""
    path = folder / "long.wav"
    with wave.open(str(DEMO)) as file:
        parameters, samples = file.getparams(), np.frombuffer(file.readframes(file.getnframes()), "<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams(parameters)
        file.writeframes(np.resize(samples, 20 * 60 * parameters.framerate).tobytes())
    return path


class WebDevice:
    """The program with its page; `settings` are those of the environment, without the prefix."""

    log: list[bytes]
    out: list[bytes]

    def __init__(self, folder: Path, **settings: object) -> None:
        self.port = int(str(settings.get("WEB_PORT") or free_port()))
        values = {"WEB_ENABLED": True, "WEB_PORT": self.port, "DEVICE_ID": "kiosk-3", **settings}
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AFFECTD_")},
            **{f"AFFECTD_{key}": str(value).lower() for key, value in values.items()},
            "STATE_DIRECTORY": str(folder / "state"),
            "RUNTIME_DIRECTORY": str(folder / "run"),
            "PYTHONWARNINGS": "error",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }

    @contextmanager
    def running(self, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
        """Start it, and wait until its page answers."""
        command = [sys.executable, "-m", "affectd", "run", *map(str, arguments)]
        readers: list[threading.Thread] = []
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with subprocess.Popen(command, env=self.environment, **pipes) as program:  # type: ignore[call-overload]
            try:
                self.log, self.out = [_line_with(program, b"the page is at ")], []
                # Read on, so that the program never waits for this test.
                for stream, lines in ((program.stderr, self.log), (program.stdout, self.out)):
                    readers.append(threading.Thread(target=_keep, args=(stream, lines), daemon=True))
                    readers[-1].start()
                yield program
            finally:
                program.kill()
                for reader in readers:  # all that it said is there
                    reader.join(PATIENCE_SECONDS)

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Let it run until it ends by itself."""
        command = [sys.executable, "-m", "affectd", *map(str, arguments)]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Return status, headers and body of one answer."""
        with closing(self.connection()) as client:
            client.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
            response = client.getresponse()
            return response.status, response.headers, response.read()

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)

    @contextmanager
    def stream(self, **headers: str) -> Iterator[Stream]:
        """Open a stream."""
        with closing(self.connection()) as client:
            client.request("GET", "/events", headers=headers)
            with closing(client.getresponse()) as response:
                yield Stream(response)


class Stream:
    """Server-sent events, read by the rules of the HTML standard, section 9.2.6, as far as they are used."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.response = response
        self.n_heartbeats = 0

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        kind, data = "message", []
        for raw in iter(self.response.readline, b""):
            line = raw.decode().rstrip("\n")
            name, _, value = line.partition(":")
            if not line:
                if data:
                    yield kind, json.loads("\n".join(data))
                kind, data = "message", []
            elif not name:
                self.n_heartbeats += 1
            elif name == "event":
                kind = value.removeprefix(" ")
            elif name == "data":
                data.append(value.removeprefix(" "))


def _keep(stream: IO[bytes], lines: list[bytes]) -> None:
    with suppress(ValueError):  # closed at the end of the test
        for line in stream:
            lines.append(line)  # noqa: PERF402  as they come


def _line_with(program: subprocess.Popen[bytes], words: bytes) -> bytes:
    assert program.stderr is not None
    lines = []
    for line in program.stderr:
        lines.append(line)
        if words in line:
            return line
    raise AssertionError(f"it ended: {b''.join(lines).decode()}")
