"""A fleet for tests: keys by openssl, a server of files with ranges and faults, and a device that listens."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from affectd.delivery.message import Message, signed
from affectd.files import sha256
from broker import PATIENCE_SECONDS, wait_until

FLEET = "kiosks"
TOPIC = f"affectd/{FLEET}/model"


def openssl(*arguments: object) -> bytes:
    """Run openssl, which knows nothing of affectd."""
    command = ["openssl", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_SECONDS).stdout


class Signer:
    """A key of its own in `folder`, made by openssl."""

    def __init__(self, folder: Path, name: str = "fleet") -> None:
        self._folder = folder
        self.private, self.public = folder / f"{name}.key", folder / f"{name}.pub"
        openssl("genpkey", "-algorithm", "ed25519", "-out", self.private)
        openssl("pkey", "-in", self.private, "-pubout", "-out", self.public)

    def sign(self, text: bytes) -> bytes:
        """Return the signature of a text."""
        path = self._folder / "text"
        path.write_bytes(text)
        return openssl("pkeyutl", "-sign", "-rawin", "-inkey", self.private, "-in", path)

    def message(self, content: bytes, url: str, sequence: int, fleet: str = FLEET) -> bytes:
        """Return the message that sends a file."""
        text = Message(fleet, sequence, len(content), sha256(content).hexdigest(), url).text()
        return signed(text, self.sign(text))


class Files:
    """A server of files, by name; it knows ranges unless `has_ranges` is False.

    `breaks` says after how many bytes each of the next answers breaks off; no answer comes before `answers` is set.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.breaks: list[int] = []
        self.has_ranges = True
        self.shift = 0
        self.answers = threading.Event()
        self.answers.set()
        self.asked: list[tuple[str, str | None]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                outer._answer(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def put(self, name: str, content: bytes) -> str:
        """Serve a file; return its address."""
        self.files[name] = content
        return f"http://127.0.0.1:{self._server.server_port}/{name}"

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        name, asked = request.path[1:], request.headers.get("Range")
        self.asked.append((name, asked))
        self.answers.wait(PATIENCE_SECONDS)
        content = self.files.get(name)
        if content is None:
            request.send_error(404)
            return
        start = int(asked[6:].rstrip("-")) + self.shift if asked and self.has_ranges else 0
        if start >= len(content) and start:
            request.send_error(416)
            return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        body = content[start:]
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if self.breaks:
            request.wfile.write(body[: self.breaks.pop(0)])
            request.close_connection = True
            return
        request.wfile.write(body)


class Member:
    """A device of the fleet: the real program in a folder of its own, with everything it says."""

    def __init__(
        self, folder: Path, name: str, port: int, keys: Path, environment: dict[str, str], **constants: float
    ) -> None:
        self.name, self.folder = name, folder / name
        self.folder.mkdir(exist_ok=True)
        self.models = self.folder / "state" / "devices" / name / "models"
        settings = {
            "DEVICE_ID": name,
            "MQTT_ENABLED": "true",
            "MQTT_HOST": "127.0.0.1",
            "MQTT_PORT": port,
            "MQTT_FLEET": FLEET,
            "MODEL_TRUSTED_KEYS": keys,
            "TELEMETRY_PERIOD_SECONDS": 1,
        }
        self.environment = {
            **{key: value for key, value in environment.items() if not key.startswith("AFFECTD_")},
            **{f"AFFECTD_{key}": str(value) for key, value in settings.items()},
            "STATE_DIRECTORY": str(self.folder / "state"),
            "RUNTIME_DIRECTORY": str(self.folder / "run"),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        # The program with other patience, so that a test need not wait for minutes.
        changes = "".join(f"{name.replace('__', '.', 1)} = {value!r}; " for name, value in constants.items())
        self.code = (
            "from affectd.delivery import deliveries, probation; from affectd.events import status; "
            f"status._PART_SECONDS = 0.0; {changes}from affectd.__main__ import main; main()"
        )

    @contextmanager
    def running(self, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
        """Let it run; `log` is what it says on standard error."""
        command = [sys.executable, "-c", self.code, "run", "--format", "json", *map(str, arguments)]
        with (self.folder / "log").open("ab") as log, (self.folder / "out").open("ab") as out:
            program = subprocess.Popen(command, env=self.environment, stdin=subprocess.PIPE, stdout=out, stderr=log)
        assert program.stdin is not None
        try:
            yield program
        finally:
            program.terminate()
            program.stdin.close()
            try:
                program.wait(PATIENCE_SECONDS)
            finally:
                program.kill()
                program.wait()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @property
    def events(self) -> list[dict[str, Any]]:
        lines = (self.folder / "out").read_text().splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]

    @property
    def verdicts(self) -> list[tuple[str, str | None, int | None]]:
        """What it told of models: the reason, why, and the sequence."""
        told = [event for event in self.events if event.get("part") == "model"]
        return [(event["reason"], event.get("why"), event.get("sequence")) for event in told]

    def wait_for(self, pattern: str, seconds: float = 60.0) -> None:
        """Return when the log has this."""
        wait_until(lambda: re.search(pattern, self.log), seconds, f"{pattern!r} in {self.log}")

    def model(self) -> str:
        """Return what ``affectd model`` says is in force."""
        command = [sys.executable, "-m", "affectd", "model", "--format", "json"]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["model"])
