"""systemd's notification protocol, spoken to a socket of our own, and the reload of thresholds."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from affectd.audio.wav import WavReader
from affectd.config.sections import AudioConfig, Config, DeviceConfig, GateConfig, SmoothingConfig
from affectd.errors import AudioError, ConfigError
from affectd.recognition.model_file import write_model
from affectd.service.systemd import Reload, ServiceManager, reload_on_hangup, watched
from tiny_model import tiny_model

DEMO = Path(__file__).parents[2] / "data" / "demo.wav"
WAIT_SECONDS = 60.0


class Systemd:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.environment = {"NOTIFY_SOCKET": address}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        messages = []
        while True:
            try:
                messages.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return messages

    def wait_for(self, start: str) -> list[str]:
        """Return all messages up to the first that starts so."""
        messages: list[str] = []
        self._socket.settimeout(WAIT_SECONDS)
        try:
            while not messages or not messages[-1].startswith(start):
                messages.append(self._socket.recv(4096).decode())
        except TimeoutError:
            pytest.fail(f"no {start} after {messages}")
        finally:
            self._socket.setblocking(False)
        return messages

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    address = f"@affectd-test-{os.getpid()}-{time.monotonic_ns()}" if request.param == "abstract" else f"{tmp_path}/n"
    manager = Systemd(address)
    yield manager
    manager.close()


@pytest.fixture
def now() -> list[float]:
    return [100.0]


@pytest.fixture
def manager(systemd: Systemd, now: list[float]) -> ServiceManager:
    return ServiceManager({**systemd.environment, "WATCHDOG_USEC": "30000000"}, clock=lambda: now[0])


def test_every_message_arrives_as_systemd_spells_it(systemd: Systemd, manager: ServiceManager) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    manager.ready()
    manager.alive()
    manager.reloading()
    manager.stopping()
    manager.status("two\nlines never become READY=1\nof their own")
    ready, alive, reloading, stopping, status = systemd.heard()
    assert (ready, alive, stopping) == ("READY=1", "WATCHDOG=1", "STOPPING=1")
    assert status == "STATUS=two lines never become READY=1 of their own"
    state, moment = reloading.split("\nMONOTONIC_USEC=")
    assert state == "RELOADING=1"
    assert before <= int(moment) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_without_a_service_manager_nothing_is_said_and_nothing_fails(tmp_path: Path) -> None:
    for environment in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}):
        manager = ServiceManager(environment)
        assert not manager.is_present
        assert manager.watchdog_seconds is None
        assert list(watched(iter([np.zeros(3, np.float32)]), manager))
    gone = ServiceManager({"NOTIFY_SOCKET": f"{tmp_path}/gone", "WATCHDOG_USEC": "1000"})
    assert len(list(watched(iter([np.zeros(3, np.float32)]), gone))) == 1


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid() + 1)}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "me"}, None),
    ],
)
def test_the_watchdog_is_fed_only_if_it_is_meant_for_this_process(
    environment: dict[str, str], seconds: float | None
) -> None:
    assert ServiceManager(environment).watchdog_seconds == seconds


def test_a_block_counts_when_it_was_processed_and_not_when_it_came(systemd: Systemd, manager: ServiceManager) -> None:
    blocks = watched(iter([np.zeros(160, np.float32)] * 2), manager)
    next(blocks)
    assert systemd.heard() == []
    next(blocks)
    assert systemd.heard() == ["READY=1", "STATUS=listening", "WATCHDOG=1"]
    assert next(blocks, None) is None
    assert systemd.heard() == ["STOPPING=1"]


def test_the_first_sound_of_a_microphone_in_trouble_does_not_hide_the_trouble(
    systemd: Systemd, manager: ServiceManager
) -> None:
    def recovered() -> Iterator[np.ndarray]:
        manager.status("microphone failed: missing")
        yield np.zeros(0, np.float32)
        yield np.zeros(160, np.float32)

    assert len(list(watched(recovered(), manager))) == 2
    assert systemd.heard() == ["STATUS=microphone failed: missing", "READY=1", "WATCHDOG=1", "STOPPING=1"]


def test_a_busy_watchdog_is_fed_ten_times_per_interval(
    systemd: Systemd, manager: ServiceManager, now: list[float]
) -> None:
    messages = []
    for _ in watched(iter([np.zeros(160, np.float32)] * 1200), manager):
        now[0] += 0.1
        messages += systemd.heard()  # the socket holds but a few
    assert 39 <= messages.count("WATCHDOG=1") <= 40


def test_sound_waits_once_for_a_service_manager_that_does_not_read(
    systemd: Systemd, manager: ServiceManager, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for n in range(10_000):  # each would wait for ever once the queue is full
        manager.status(str(n))
        if caplog.messages:
            break
    assert caplog.messages[0].startswith("the service manager cannot be notified of STATUS=")
    began = time.monotonic()
    for _ in range(5):
        manager.stopping()
    assert time.monotonic() - began < 1.0, "a second each, within which a signal should end the program"
    systemd.heard()
    manager.status("again")
    assert systemd.heard() == ["STATUS=again"]


def test_no_block_feeds_nothing_and_an_attempt_to_reopen_does(
    systemd: Systemd, manager: ServiceManager, now: list[float]
) -> None:
    blocks = watched(iter([np.zeros(0, np.float32)] * 2), manager)
    next(blocks)
    now[0] += 1000
    assert systemd.heard() == []
    next(blocks)
    assert systemd.heard() == ["READY=1", "WATCHDOG=1"]


def test_a_source_that_fails_is_no_orderly_end(systemd: Systemd, manager: ServiceManager) -> None:
    def failing() -> Iterator[np.ndarray]:
        yield np.zeros(160, np.float32)
        raise AudioError("gone")

    with pytest.raises(AudioError):
        list(watched(failing(), manager))
    assert "STOPPING=1" not in systemd.heard()


OLD = Config()
NEW = replace(OLD, gate=GateConfig(margin_db=12.0), smoothing=SmoothingConfig(uncertain=0.9))


def settings(*answers: Config | ConfigError) -> Callable[[], Config]:
    remaining = iter(answers)

    def read() -> Config:
        answer = next(remaining)
        if isinstance(answer, ConfigError):
            raise answer
        return answer

    return read


def test_thresholds_are_read_again_once_for_each_time_they_were_asked_for(
    systemd: Systemd, manager: ServiceManager
) -> None:
    reload = Reload(settings(OLD, NEW), manager)
    assert reload.read() == OLD
    assert reload() is None
    assert systemd.heard() == []
    reload.ask(signal.SIGHUP, None)
    assert reload() == NEW
    assert [message.partition("\n")[0] for message in systemd.heard()] == ["RELOADING=1", "READY=1"]
    assert reload() is None


def test_other_sections_wait_for_a_restart_and_are_named(
    manager: ServiceManager, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    other = replace(NEW, audio=AudioConfig(source="x.wav"), device=DeviceConfig(id="car"))
    reload = Reload(settings(OLD, other), manager)
    reload.read()
    reload.ask(signal.SIGHUP, None)
    assert reload() == NEW
    assert caplog.messages == ["[gate] and [smoothing] read again; restart for [device], [audio]"]


def test_a_broken_file_is_refused_with_one_line_and_the_old_settings_stay(
    systemd: Systemd, manager: ServiceManager, caplog: pytest.LogCaptureFixture
) -> None:
    reload = Reload(settings(OLD, ConfigError("unknown key margn_db"), NEW), manager)
    reload.read()
    reload.ask(signal.SIGHUP, None)
    assert reload() is None
    assert caplog.messages == ["keeping the old settings: unknown key margn_db"]
    assert systemd.heard()[-1] == "READY=1"
    reload.ask(signal.SIGHUP, None)
    assert reload() == NEW


def test_without_a_service_manager_hanging_up_keeps_its_meaning() -> None:
    before = signal.getsignal(signal.SIGHUP)
    with reload_on_hangup(settings()):
        assert signal.getsignal(signal.SIGHUP) == before


@pytest.mark.parametrize("systemd", ["path"], indirect=True)
def test_a_reload_between_two_models_of_a_fleet_is_one_of_the_second_run(systemd: Systemd, tmp_path: Path) -> None:
    model = tmp_path / "tiny.tflite"
    write_model(model, tiny_model())
    program = """
import signal, sys
import affectd.run
from affectd.__main__ import main
serve, runs = affectd.run.serve, []
def served(*arguments, **options):
    serve(*arguments, **options)
    runs.append(signal.raise_signal(signal.SIGHUP))
    return len(runs) < 2
affectd.run.serve = served
sys.exit(main())
"""
    command = [sys.executable, "-c", program, "run", "--source", DEMO, "--model", model]
    environment = os.environ | systemd.environment
    done = subprocess.run(command, env=environment, capture_output=True, timeout=WAIT_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    said = [message.partition("\n")[0] for message in systemd.heard()]
    assert [word for word in said if word.partition("=")[0] in ("READY", "RELOADING", "STOPPING")] == [
        *("READY=1", "STOPPING=1"),
        *("RELOADING=1", "READY=1", "READY=1", "STOPPING=1"),
    ]


def test_the_program_tells_its_whole_life(systemd: Systemd, tmp_path: Path) -> None:
    """Raw sound through a pipe: ready with the first block, new thresholds on SIGHUP, the last event on SIGTERM."""
    config, model = tmp_path / "affectd.toml", tmp_path / "tiny.tflite"
    config.write_text("")
    write_model(model, tiny_model())
    speech = b"".join((block.mean(axis=1) * 32767).astype("<i2").tobytes() for block in WavReader(DEMO))
    environment = {
        **os.environ,
        **systemd.environment,
        "WATCHDOG_USEC": "1000000",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    command = [sys.executable, "-m", "affectd", "run", "--source", "-", "--model", model, "--config", config]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        try:
            assert process.stdin is not None
            process.stdin.write(speech[:4096])
            process.stdin.flush()
            systemd.wait_for("READY=1")
            config.write_text("[smoothing]\nuncertian = 0.5\n")
            process.send_signal(signal.SIGHUP)
            process.stdin.write(speech[4096:])
            process.stdin.flush()
            assert "WATCHDOG=1" in systemd.wait_for("RELOADING=1")
            systemd.wait_for("READY=1")
            process.send_signal(signal.SIGTERM)
            assert systemd.wait_for("STOPPING=1")
            out, log = process.communicate(timeout=WAIT_SECONDS)
        finally:
            process.kill()
    assert process.returncode == 0, log.decode()
    events = [json.loads(line) for line in out.splitlines()]
    assert {event["phase"] for event in events} >= {"start", "end"}
    assert events[-1]["phase"] == "end"
    [line] = [line for line in log.decode().splitlines() if "keeping the old settings" in line]
    assert "did you mean uncertain?" in line
