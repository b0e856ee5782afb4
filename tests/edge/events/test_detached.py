"""Sinks in threads of their own: one that hangs costs the others nothing, and itself only what does not fit."""

from __future__ import annotations

import fcntl
import json
import logging
import math
import os
import queue
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from affectd.errors import UnavailableError
from affectd.events import detached as detached_module
from affectd.events.detached import Descriptor, Detached
from affectd.events.event import event_schema
from affectd.events.sinks import Several
from affectd.stdio import write_when_ready
from kept import Kept
from sounds import gain, silence, syllables, write_wav

PATIENCE_SECONDS = 120.0


class Hanging:
    """A sink that hangs until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.hangs = threading.Event()
        self.got: list[object] = []

    def write(self, event: object) -> None:
        self.hangs.set()
        assert self.go.wait(PATIENCE_SECONDS)
        self.got.append(event)


def test_a_sink_that_hangs_holds_up_no_other_and_loses_only_what_does_not_fit(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    hanging, other = Hanging(), Kept()
    reports: list[tuple[str, str]] = []
    report = lambda *what: reports.append(what)  # noqa: E731
    with Detached("the disk", hanging, end_seconds=PATIENCE_SECONDS, max_events=100, report=report) as detached:
        several = Several([("the disk", detached), ("the other", other)])
        several.write({"n": 0})
        assert hanging.hangs.wait(PATIENCE_SECONDS)
        for n in range(1, 300):
            several.write({"n": n})
        assert other == [{"n": n} for n in range(300)]
        assert detached.n_dropped == 199
        hanging.go.set()
    assert hanging.got == [other[0], *other[200:]]  # the one that it had, and the newest
    sentence = "events do not reach the disk: it hangs, and 100 events wait for it"
    assert messages(caplog) == [f"{sentence}; the oldest are dropped", "events reach the disk again; it missed 199"]
    assert reports == [("stalled", f"{sentence}; 1 were dropped since the start"), ("heard", "")]


def test_a_sink_that_hangs_for_long_is_reported_again_with_what_it_has_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detached_module, "_REPORT_SECONDS", 0.0)
    hanging, reports = Hanging(), []
    with Detached("the disk", hanging, max_events=1, report=lambda *what: reports.append(what)) as detached:
        detached.write({})
        assert hanging.hangs.wait(PATIENCE_SECONDS)
        for _ in range(4):
            detached.write({})
        assert [sentence.partition("; ")[2] for _, sentence in reports] == [
            f"{n} were dropped since the start" for n in (1, 2, 3)
        ]
        hanging.go.set()


def test_a_sink_that_fails_is_reported_until_it_goes_on() -> None:
    kept, reports = Kept(), queue.Queue()
    kept.failure = UnavailableError("No room.")
    with Detached("the disk", kept, report=lambda *what: reports.put(what)) as detached:
        detached.write({"n": 0})
        assert reports.get(timeout=PATIENCE_SECONDS) == ("refused", "events do not reach the disk")
        kept.failure = None
        detached.write({"n": 1})
        assert reports.get(timeout=PATIENCE_SECONDS) == ("heard", "")


def test_at_the_end_a_sink_that_hangs_is_waited_for_no_longer_than_its_time() -> None:
    hanging = Hanging()
    with Detached("the disk", hanging, end_seconds=0.01) as detached:
        for n in range(10):
            detached.write({"n": n})
    assert hanging.got == []
    hanging.go.set()
    detached._thread.join(PATIENCE_SECONDS)
    assert len(hanging.got) == 10


def test_what_fails_in_the_thread_of_its_own_is_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    kept = Kept()
    kept.failure = UnavailableError("No room.")
    with Detached("the disk", kept) as detached:
        detached.write({"n": 0})
    with Detached("the disk", kept) as detached:
        kept.failure = None
        detached.write({"n": 1})
    assert kept == [{"n": 1}]
    assert messages(caplog) == ["events do not reach the disk: No room."]


def test_where_no_sound_is_lost_meanwhile_a_slow_sink_is_waited_for_and_gets_all() -> None:
    class Slow(Kept):
        def write(self, event: object) -> None:
            time.sleep(0.001)
            super().write(event)

    slow = Slow()
    with Detached("a pager", slow, max_events=3, patience_seconds=math.inf, end_seconds=math.inf) as detached:
        for n in range(200):
            detached.write({"n": n})
    assert slow == [{"n": n} for n in range(200)]
    assert detached.n_dropped == 0


def test_patience_with_one_that_takes_nothing_ends_once_and_not_at_each_event() -> None:
    hanging = Hanging()
    with Detached("a pager", hanging, max_events=1, patience_seconds=0.2, end_seconds=0) as detached:
        began = time.monotonic()
        for n in range(100):
            detached.write({"n": n})
        assert 0.2 <= time.monotonic() - began < 2.0
    hanging.go.set()


def test_a_signal_ends_all_waiting() -> None:
    hanging, stopped_at = Hanging(), [math.inf]

    def stop() -> None:
        stopped_at[0] = time.monotonic()

    timer = threading.Timer(0.1, stop)
    timer.start()
    began = time.monotonic()
    with Detached(
        "a pager",
        hanging,
        max_events=1,
        patience_seconds=math.inf,
        end_seconds=math.inf,
        stopped_at=lambda: stopped_at[0],
    ) as detached:
        for n in range(10):
            detached.write({"n": n})
    assert time.monotonic() - began < 1.1
    hanging.go.set()


def test_the_failure_of_one_that_is_alone_comes_to_the_caller_and_never_later_than_the_end() -> None:
    kept = Kept()
    kept.failure = UnavailableError("No room.")
    with pytest.raises(UnavailableError, match="No room"), Detached("stdout", kept, is_alone=True) as detached:
        detached.write({})
    detached._thread.join(PATIENCE_SECONDS)
    with pytest.raises(UnavailableError, match="No room"):
        list(detached.between([1]))


def test_a_pipe_takes_whole_lines_and_a_full_one_blocks_no_log() -> None:
    read_end, write_end = os.pipe()
    Descriptor(write_end).write({"a": "x" * 10_000})
    assert json.loads(os.read(read_end, 20_000)) == {"a": "x" * 10_000}
    while write_when_ready(write_end, b"x" * 4096, 0.0):
        pass
    assert not write_when_ready(write_end, b"x", 0.0)
    os.close(read_end)
    with pytest.raises(BrokenPipeError):
        Descriptor(write_end).write({})
    os.close(write_end)


def test_of_a_full_disk_only_the_line_that_was_cut_off_is_invalid(tmp_path: Path) -> None:
    limited = (  # by the system, as a full disk would, which has room again after the third event
        "import os, resource, sys; from affectd.errors import UnavailableError\n"
        "from affectd.events.detached import Descriptor\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300, resource.RLIM_INFINITY))\n"
        "printed = Descriptor(1)\n"
        "for n in range(6):\n"
        "    try: printed.write({'n': n, 'x': 'x' * 120})\n"
        "    except UnavailableError: print(n, file=sys.stderr)\n"
        "    if n == 3: resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
    )
    out = tmp_path / "events.jsonl"
    with out.open("wb") as file:
        command = [sys.executable, "-c", limited]
        done = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, text=True, check=True)
    assert done.stderr.split() == ["2", "3"]
    zero, one, cut, *later = out.read_text().splitlines()
    assert [json.loads(line)["n"] for line in (zero, one, *later)] == [0, 1, 4, 5]
    assert cut.startswith('{"n": 2, ')


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording of many words: far more events than a pipe of one page and a queue hold."""
    word = np.concatenate([silence(1), gain(syllables(1), -12)])
    return write_wav(tmp_path_factory.mktemp("sound") / "long.wav", np.concatenate([word] * 900))


@pytest.fixture
def running() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that are killed should a test fail before they end."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def start(processes: list[subprocess.Popen[bytes]], *arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "affectd", "run", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, **options)
    processes.append(process)
    return process


def until(condition: Any) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_file_reaches_a_reader_that_comes_late_whole(long: Path, running: list[subprocess.Popen[bytes]]) -> None:
    process = start(running, "--source", long, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    # Full: the kernel splits no line over the 16 pages of a pipe, so as many gaps shorter than a line stay empty.
    until(lambda: n_unread(process) > 16 * (4096 - 700))
    late = [json.loads(line) for line in process.stdout]
    assert (process.wait(PATIENCE_SECONDS), process.stderr.read()) == (0, b"")
    assert [event["phase"] for event in late].count("start") == [event["phase"] for event in late].count("end") > 700


def n_unread(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout is not None
    number = bytearray(4)
    fcntl.ioctl(process.stdout, termios.FIONREAD, number)
    return int.from_bytes(number, sys.byteorder)


@pytest.mark.parametrize("joined", [False, True], ids=["stdout", "stdout and stderr in one pipe"])
def test_standard_output_that_is_not_read_stops_neither_the_file_nor_the_end(
    long: Path, tmp_path: Path, running: list[subprocess.Popen[bytes]], joined: bool
) -> None:
    path = tmp_path / "events.jsonl"
    environment = {**os.environ, "AFFECTD_FILE_PATH": str(path)}
    whole = start(running, "--source", long, env=environment, stderr=subprocess.PIPE)
    assert whole.stdout is not None
    n_events = len(whole.stdout.readlines())
    assert len(path.read_text().splitlines()) == n_events > 1500
    path.unlink()

    with (tmp_path / "log").open("wb") as log:
        process = start(running, "--source", long, env=environment, stderr=subprocess.STDOUT if joined else log)
    until(lambda: path.exists() and path.read_bytes().count(b"\n") > n_events)
    (status,) = of_type("status", path)
    assert len(of_type("emotion", path)) == n_events
    assert (status["part"], status["state"], status["reason"]) == ("standard_output", "alarmed", "stalled")
    assert status["events_dropped"] > 0
    jsonschema.validate(status, event_schema())
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    assert process.wait(PATIENCE_SECONDS) == 0
    assert time.monotonic() - began < 1.0
    if not joined:
        assert "events do not reach standard output: it hangs" in (tmp_path / "log").read_text()


def of_type(name: str, path: Path) -> list[dict[str, Any]]:
    lines = path.read_text().split("\n")[:-1]
    return [event for event in map(json.loads, lines) if event["type"] == name]


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]
