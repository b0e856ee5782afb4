"""A fleet that is watched, as docs/fleet.md has it: many devices, a broker, a store, an exporter and Prometheus."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker import PATIENCE_SECONDS, free_port, wait_until
from prometheus import Prometheus

PAGE = Path(__file__).parents[1] / "docs" / "fleet.md"
EXPORTER = shutil.which("prometheus-mqtt-exporter")
needs_exporter = pytest.mark.skipif(
    EXPORTER is None, reason="prometheus-mqtt-exporter is not installed (apt install prometheus-mqtt-exporter)"
)


def block(title: str) -> str:
    """Return the block with this title on the page."""
    found = re.search(rf'^```\w+ title="{re.escape(title)}"\n(.*?)^```$', PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def broker_settings(folder: Path) -> list[str]:
    """Return the lines of the page for the broker, and where it keeps what it has to keep."""
    lines = block("/etc/mosquitto/conf.d/fleet.conf").splitlines()
    return [*lines, f"persistence_location {folder}/", "allow_anonymous true"]


@contextmanager
def process(*command: str | Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Let a program run, until the end of the ``with`` block."""
    with log.open("ab") as file, subprocess.Popen(command, stdout=file, stderr=file) as program:
        try:
            yield program
        finally:
            program.terminate()
            try:
                program.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                program.kill()


class Store:
    """The store of the page; within its ``with`` block it runs."""

    def __init__(self, folder: Path, port: int) -> None:
        self._file, self._script, self._log = folder / "events.db", folder / "store.py", folder / "store.log"
        self._script.write_text(block("store.py"))
        self._command = [sys.executable, str(self._script), "127.0.0.1", str(port), str(self._file)]

    def __enter__(self) -> Store:
        self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._running.__exit__(None, None, None)
        assert "Traceback" not in self._log.read_text(), self._log.read_text()

    def start(self) -> None:
        """Let it run."""
        self._running = process(*self._command, log=self._log)
        self._process = self._running.__enter__()
        self.pid = self._process.pid

    def kill(self) -> None:
        """End it without giving it time for anything."""
        self._process.kill()
        self._running.__exit__(None, None, None)

    def ids(self) -> set[str]:
        """Return the ids of the events that it has."""
        with suppress(sqlite3.OperationalError), closing(sqlite3.connect(self._file)) as database:
            return {row[0] for row in database.execute("SELECT id FROM events")}
        return set()

    def query(self, query: str) -> list[tuple[Any, ...]]:
        """Return what it answers."""
        with closing(sqlite3.connect(self._file)) as database:
            return database.execute(query).fetchall()


class Many:
    """Simulated devices in some processes; their events end when `finish` is called.

    Attributes
    ----------
    ids : list of str
        The events they made so far.
    """

    ids: list[str]

    def __init__(
        self,
        folder: Path,
        port: int,
        n: int,
        *,
        pause_seconds: float,
        period_seconds: float,
        program: str = "many_devices.py",
        a_process: int = 250,
    ) -> None:
        self.ids = []
        self._programs: list[subprocess.Popen[bytes]] = []
        self._threads: list[threading.Thread] = []
        self._log = folder / "devices.log"
        self._command = [sys.executable, str(Path(__file__).with_name(program)), str(port), str(folder)]
        self._rates = [str(pause_seconds), str(period_seconds)]
        self._shares = [(first, min(a_process, n - first)) for first in range(0, n, a_process)]

    def __enter__(self) -> Many:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with self._log.open("ab") as log:
            for first, n in self._shares:
                command = [*self._command, str(first), str(n), *self._rates]
                pipe = subprocess.PIPE
                program = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=log)
                self._programs.append(program)
                self._threads.append(threading.Thread(target=self._read, args=(program,), daemon=True))
                self._threads[-1].start()
        return self

    def __exit__(self, *_: Any) -> None:
        for program in self._programs:
            program.kill()
            program.wait()
            for pipe in (program.stdin, program.stdout):
                assert pipe is not None
                pipe.close()

    @property
    def log(self) -> str:
        """What they said on standard error."""
        return self._log.read_text(errors="replace")

    def finish(self, seconds: float = 240.0) -> None:
        """Let them make no event any more, deliver what they have, and end."""
        for program in self._programs:
            assert program.stdin is not None
            program.stdin.close()
        for program, thread in zip(self._programs, self._threads, strict=True):
            assert program.wait(seconds) == 0, self.log[-3000:]
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()

    def _read(self, program: subprocess.Popen[bytes]) -> None:
        assert program.stdout is not None
        for line in program.stdout:
            self.ids.append(line.decode().strip())


@contextmanager
def telemetry_pipe(folder: Path, port: int, scrape_interval: str = "1s") -> Iterator[tuple[Prometheus, int]]:
    """Run the exporter and Prometheus as the page has them; give Prometheus, and the number of the exporter."""
    settings = yaml.safe_load(block("/etc/prometheus/mqtt-exporter.yaml"))
    settings["mqtt"]["server"] = f"tcp://127.0.0.1:{port}"
    (folder / "exporter.yaml").write_text(yaml.safe_dump(settings))
    (scrape,) = yaml.safe_load(block("/etc/prometheus/prometheus.yml"))["scrape_configs"]
    own_port = free_port()
    assert EXPORTER is not None
    with ExitStack() as stack:
        options = ["-listen-address=127.0.0.1", f"-listen-port={own_port}", f"-config={folder / 'exporter.yaml'}"]
        exporter = stack.enter_context(process(EXPORTER, *options, log=folder / "exporter.log"))
        scrape = {"metric_relabel_configs": scrape["metric_relabel_configs"], "scrape_interval": scrape_interval}
        prometheus = stack.enter_context(Prometheus(folder, f"127.0.0.1:{own_port}", **scrape))
        wait_until(lambda: "Connected" in (folder / "exporter.log").read_text() or exporter.poll() is not None)
        yield prometheus, exporter.pid
