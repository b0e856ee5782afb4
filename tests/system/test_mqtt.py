"""The connection against a real Mosquitto that is killed, frozen, locked, and encrypted in every wrong way."""

from __future__ import annotations

import json
import logging
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest

from affectd.mqtt.connection import Connection
from affectd.outbox.outbox import Outbox
from broker import (
    PATIENCE_SECONDS,
    Broker,
    Certificates,
    Forwarder,
    Subscriber,
    needs_mosquitto,
    password_file,
    wait_until,
)
from publisher import EVENT, STATUS, open_connection
from room import Program, Room, needs_room
from sounds import gain, syllables, write_wav

pytestmark = needs_mosquitto

TESTS = Path(__file__).parents[1]


@pytest.fixture
def outbox() -> Outbox:
    return Outbox(None, None, max_events=100_000, max_bytes=10**9)


@pytest.fixture
def connect(outbox: Outbox) -> Iterator[Any]:
    made: list[Connection] = []

    def connect(port: int, **settings: Any) -> Connection:
        connection = open_connection(port, outbox, **settings)
        made.append(connection)
        connection.start()
        return connection

    yield connect
    for connection in made:
        connection.close(0.0)


# --- what arrives ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_events_arrive_in_order_between_online_and_stopped(
    tmp_path: Path, outbox: Outbox, connect: Any, protocol: str
) -> None:
    with Broker(tmp_path) as broker, Subscriber(broker.port, "affectd/#") as subscriber:
        connection = connect(broker.port, protocol=protocol)
        made = [f"event {i}" for i in range(1000)]
        for payload in made:
            outbox.put(payload)
            connection.event_made()
        connection.close(PATIENCE_SECONDS)
        subscriber.wait_for(STATUS, "stopped")
        assert subscriber.payloads(EVENT) == made
        assert subscriber.payloads(STATUS) == ["online", "stopped"]
        assert len(outbox) == 0
        assert broker.retained(STATUS) == "stopped"
        assert broker.retained(EVENT) is None


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_events_that_are_too_long_for_the_broker_stay_and_keep_no_others_away(
    tmp_path: Path, outbox: Outbox, connect: Any, protocol: str
) -> None:
    with (
        Broker(tmp_path, "allow_anonymous true", "max_packet_size 500") as broker,
        Subscriber(broker.observer_port, EVENT) as subscriber,
    ):
        for i in range(30):  # more than Mosquitto permits to be under way
            outbox.put(f"long {i} {'x' * (550 + i % 3 * 20)}")
        short = [f"short {i}" for i in range(30)]
        for payload in short:
            outbox.put(payload)
        connection = connect(broker.port, protocol=protocol)
        wait_until(lambda: len(outbox) == 30)
        wait_until(lambda: len(subscriber.payloads(EVENT)) == 30)
        assert subscriber.payloads(EVENT) == short
        wait_until(lambda: connection.refused == {EVENT})


class Publisher:
    """`publisher.py`, with what it says it has made."""

    def __init__(self, folder: Path, port: int, first: int, n: int, rate: float) -> None:
        arguments = [str(argument) for argument in (port, folder, first, n, rate)]
        self.made: list[int] = []
        self._log = (folder / "publisher.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", str(TESTS / "publisher.py"), *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self.made.extend(int(line) for line in self._process.stdout if line.endswith(b"\n"))

    def _ended(self) -> int:
        code = self._process.wait(2 * PATIENCE_SECONDS)
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            assert stream is not None
            stream.close()
        return code

    def finish(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._ended()

    def kill(self) -> None:
        self._process.kill()
        self._ended()


@pytest.mark.parametrize(
    ("n", "rate", "n_broker_deaths", "n_client_deaths"),
    [
        pytest.param(1000, 500.0, 3, 2, id="a-few-deaths"),
        pytest.param(10_000, 250.0, 20, 10, id="many-deaths", marks=pytest.mark.slow),
    ],
)
def test_every_event_arrives_in_order_whichever_process_dies(
    tmp_path: Path, record_property: Any, n: int, rate: float, n_broker_deaths: int, n_client_deaths: int
) -> None:
    """No broker at first; then it dies at random moments, then the client does.

    A broker that is killed forgets what it has acknowledged unless it has passed it on, and that cannot be helped.
    So no client gets through to it before its subscriber is there.
    """
    chance = random.Random(4)
    arrived: list[int] = []
    made: list[int] = []

    def last(subscriber: Subscriber) -> int:
        return max((json.loads(payload)["id"] for payload in subscriber.payloads(EVENT)), default=-1)

    with Broker(tmp_path, running=False) as broker, Forwarder(broker.port, is_open=False) as door:
        n_by_one = n // 2
        publisher = Publisher(tmp_path, door.port, 0, n_by_one, rate)
        wait_until(lambda: len(publisher.made) >= 50)
        share = n_by_one // (n_broker_deaths + 1)
        for death in range(n_broker_deaths):
            broker.start()
            subscriber = Subscriber(broker.port, EVENT)
            door.open()
            # Somewhere in its share of the events: some of these moments are in the middle of a backlog.
            moment = death * share + chance.randrange(1, share)
            wait_until(lambda s=subscriber, m=moment: last(s) >= m)  # type: ignore[misc]
            broker.kill()
            door.close()
            wait_until(lambda s=subscriber: not s.is_connected)  # type: ignore[misc]
            arrived += [json.loads(payload)["id"] for payload in subscriber.payloads(EVENT)]
            subscriber.close()

        broker.start()
        with Subscriber(broker.port, EVENT) as subscriber:
            door.open()
            assert publisher.finish() == 0, (tmp_path / "publisher.log").read_text()
            made += publisher.made
            share = (n - n_by_one) // (n_client_deaths + 1)
            for death in range(n_client_deaths + 1):
                first = made[-1] + 1
                publisher = Publisher(tmp_path, door.port, first, n - first, rate)
                if death == n_client_deaths:
                    break
                # Half of them die right after they have made something, and half when some of it has arrived.
                moment = first + chance.randrange(1, share)
                if death % 2:
                    wait_until(lambda m=moment: last(subscriber) >= m)  # type: ignore[misc]
                else:
                    wait_until(lambda p=publisher, m=moment: p.made and p.made[-1] >= m)  # type: ignore[misc]
                publisher.kill()
                made += publisher.made
            wait_until(lambda: len(made) + len(publisher.made) == n, 4 * PATIENCE_SECONDS)
            assert publisher.finish() == 0, (tmp_path / "publisher.log").read_text()
            made += publisher.made
            wait_until(lambda: last(subscriber) == n - 1)
            arrived += [json.loads(payload)["id"] for payload in subscriber.payloads(EVENT)]

    assert made == list(range(n))
    assert list(dict.fromkeys(arrived)) == made, "every event, in the order in which they arrived first"
    n_duplicates = len(arrived) - n
    record_property("duplicates", n_duplicates)
    print(f"{n} events, {n_broker_deaths} deaths of the broker, {n_client_deaths} of the client: {n_duplicates} twice")
    # What was under way or not yet struck out when a process died.
    assert n_duplicates <= (n_broker_deaths + n_client_deaths) * 400


def test_a_client_that_dies_is_offline(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker, Subscriber(broker.port, STATUS) as subscriber:
        publisher = Publisher(tmp_path, broker.port, 0, 1, 1000.0)
        subscriber.wait_for(STATUS, "online")
        publisher.kill()
        subscriber.wait_for(STATUS, "offline")
        assert broker.retained(STATUS) == "offline"


# --- a broker that stands still ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [6.0, pytest.param(60.0, marks=pytest.mark.slow)])
def test_a_broker_that_stands_still_holds_up_no_event(
    tmp_path: Path, outbox: Outbox, connect: Any, seconds: float
) -> None:
    with Broker(tmp_path) as broker, Subscriber(broker.port, EVENT) as subscriber:
        connection = connect(broker.port, keepalive_seconds=5)
        wait_until(lambda: connection.connected)
        broker.freeze()
        frozen_at = time.monotonic()
        n, slowest = 0, 0.0
        while time.monotonic() < frozen_at + seconds:
            began = time.monotonic()
            outbox.put(f"event {n}")
            connection.event_made()
            slowest = max(slowest, time.monotonic() - began)
            n += 1
            time.sleep(0.005)
        assert slowest < 1.0
        assert len(outbox) == n
        if seconds > 15:
            assert "does not answer" in connection.reason
        broker.thaw()
        wait_until(lambda: len(outbox) == 0, 2 * PATIENCE_SECONDS)
        wait_until(lambda: len(set(subscriber.payloads(EVENT))) == n)
        assert list(dict.fromkeys(subscriber.payloads(EVENT))) == [f"event {i}" for i in range(n)]


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


class TestHearing:
    """A program that hears, and a broker that does not."""

    pytestmark: ClassVar = [*needs_room, pytest.mark.slow]

    def test_no_sound_is_lost_and_no_memory_grows_while_the_broker_stands_still(
        self, room: Room, tmp_path: Path
    ) -> None:
        speech = write_wav(tmp_path / "speech.wav", gain(syllables(3.0), -12))
        for key, value in {"ENABLED": "true", "PORT": "0", "KEEPALIVE_SECONDS": "5", "RETRY_SECONDS": "2"}.items():
            room.environment[f"AFFECTD_MQTT_{key}"] = value
        room.environment["AFFECTD_TELEMETRY_PERIOD_SECONDS"] = "1"
        room.environment["AFFECTD_DEVICE_ID"] = "kitchen"
        room.environment["STATE_DIRECTORY"] = str(tmp_path / "state")
        with Broker(tmp_path) as broker, Subscriber(broker.port, "affectd/#") as subscriber:
            room.environment["AFFECTD_MQTT_PORT"] = str(broker.port)
            with Program(room) as program:
                program.wait_for_state("healthy", PATIENCE_SECONDS)
                room.play(speech)
                program.wait_for(lambda event: event.get("phase") == "end", PATIENCE_SECONDS)
                subscriber.wait_for("affectd/kitchen/event")
                before = resident_mb(program.process.pid)
                broker.freeze()
                frozen_at = time.monotonic()
                heard = []
                while time.monotonic() < frozen_at + 60.0:
                    room.play(speech)
                    heard.append(program.wait_for(lambda event: event.get("phase") == "end", PATIENCE_SECONDS))
                assert resident_mb(program.process.pid) < before + 10.0
                broker.thaw()
                subscriber.wait_for("affectd/kitchen/event", json.dumps(heard[-1], ensure_ascii=False))
                telemetry = json.loads(subscriber.payloads("affectd/kitchen/telemetry")[-1])
                program.stop()
            arrived = [json.loads(payload)["id"] for payload in subscriber.payloads("affectd/kitchen/event")]
        assert {event["id"] for event in heard} <= set(arrived)
        assert (telemetry["dropped_seconds"], telemetry["overflows"]) == (0, 0)
        # An utterance begins when it did, not when it came to be sent.
        between = [b["start_seconds"] - a["start_seconds"] for a, b in pairwise(heard)]
        assert max(between) < 2 * min(between), between


# --- who is let in -----------------------------------------------------------------------------------------------


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "certificates")


def fault(connect: Any, broker: Broker, caplog: pytest.LogCaptureFixture, **settings: Any) -> str:
    """Return what the log says of why there is no connection; there must be no storm, and one line for a reason."""
    caplog.clear()
    with Forwarder(broker.port) as door:
        began = time.monotonic()
        connection = connect(door.port, **{"retry_seconds": 60.0, "host": "localhost", **settings})
        wait_until(lambda: door.n_connects == 3)
        assert time.monotonic() - began > 1.4, "half a second, then one"
        connection.close(0.0)
        assert (connection.connected, connection.n_connects) == (False, 0)
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) == 1, lines
    assert connection.reason in lines[0]
    return lines[0]


def works(connect: Any, broker: Broker, **settings: Any) -> None:
    connection = connect(broker.port, **{"host": "localhost", **settings})
    wait_until(lambda: connection.connected or connection.reason != "it has not answered")
    assert connection.connected, connection.reason


PROTOCOLS = pytest.mark.parametrize("protocol", ["3.1.1", "5"])


@PROTOCOLS
def test_a_password_opens_the_door_and_a_wrong_one_does_not(
    tmp_path: Path, connect: Any, caplog: pytest.LogCaptureFixture, protocol: str
) -> None:
    secret = tmp_path / "secret"
    secret.touch(0o600)
    settings = {"protocol": protocol, "username": "pi", "password_file": str(secret)}
    known = password_file(tmp_path, pi="open sesame")
    with Broker(tmp_path, "allow_anonymous false", f"password_file {known}") as broker:
        secret.write_text("open sesame\n")
        works(connect, broker, **settings)
        secret.write_text("open barley\n")
        assert "password" in fault(connect, broker, caplog, **settings)
        assert "not authorized" in fault(connect, broker, caplog, protocol=protocol)


@PROTOCOLS
def test_a_client_id_that_the_broker_does_not_want_is_named(
    tmp_path: Path, connect: Any, caplog: pytest.LogCaptureFixture, protocol: str
) -> None:
    with Broker(tmp_path, "allow_anonymous true", "clientid_prefixes kiosk-") as broker:
        works(connect, broker, protocol=protocol, client_id="kiosk-3")
        assert "client_id" in fault(connect, broker, caplog, protocol=protocol)


def test_a_broker_whose_certificate_is_in_order_is_trusted(
    tmp_path: Path, connect: Any, certificates: Certificates
) -> None:
    with Broker(tmp_path, "allow_anonymous true", *certificates.settings()) as broker:
        works(connect, broker, tls=True, ca_file=str(certificates.authority))


def test_a_broker_may_want_a_certificate_of_the_client(
    tmp_path: Path, connect: Any, certificates: Certificates
) -> None:
    tls = {"host": "localhost", "tls": True, "ca_file": str(certificates.authority)}
    lines = ["allow_anonymous true", "require_certificate true", *certificates.settings()]
    with Broker(tmp_path, *lines) as broker:

        def answer(certificate: Path | str, key: Path | str) -> str:
            connection = connect(broker.port, **tls, cert_file=str(certificate), key_file=str(key), retry_seconds=60.0)
            wait_until(lambda: connection.reason != "it has not answered")
            return str(connection.reason)

        assert answer(*certificates.issue("kiosk")) == ""
        old = certificates.issue("old", not_after=datetime(2020, 1, 1, tzinfo=UTC))
        stranger = Certificates(tmp_path / "strangers").issue("kiosk")
        # With TLS 1.3 it is told after the handshake, often before the first packet is sent, which then fails.
        for _ in range(5):
            assert answer("", "") == "the broker wants a certificate of this client; set [mqtt] cert_file"
            for (bad, key), why in ((old, "certificate expired"), (stranger, "unknown ca")):
                assert answer(bad, key) == f"the broker does not accept the certificate of this client, {bad} ({why})"


def test_an_authority_that_is_not_known_is_not_trusted(
    tmp_path: Path, connect: Any, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    others = Certificates(tmp_path / "others")
    with Broker(tmp_path, "allow_anonymous true", *certificates.settings()) as broker:
        for settings in ({"ca_file": str(others.authority)}, {}):
            assert "authority that is not trusted" in fault(connect, broker, caplog, tls=True, **settings)


def test_a_certificate_that_has_expired_is_not_accepted(
    tmp_path: Path, connect: Any, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    expired = certificates.settings(not_after=datetime(2020, 1, 1, tzinfo=UTC))
    with Broker(tmp_path, "allow_anonymous true", *expired) as broker:
        assert "expired" in fault(connect, broker, caplog, tls=True, ca_file=str(certificates.authority))


def test_a_certificate_for_another_host_is_not_accepted(
    tmp_path: Path, connect: Any, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    with Broker(tmp_path, "allow_anonymous true", *certificates.settings("broker.lan")) as broker:
        for host in ("localhost", "127.0.0.1"):
            reason = fault(connect, broker, caplog, tls=True, ca_file=str(certificates.authority), host=host)
            assert f"not for {host}" in reason


def test_tls_where_there_is_none_and_none_where_there_is(
    tmp_path: Path, connect: Any, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    with Broker(tmp_path, "allow_anonymous true", *certificates.settings()) as broker:
        assert "does that port want TLS?" in fault(connect, broker, caplog)
    with Broker(tmp_path) as broker:
        assert "TLS" in fault(connect, broker, caplog, tls=True)


def test_a_certificate_that_is_renewed_is_used_without_a_restart(
    tmp_path: Path, connect: Any, certificates: Certificates
) -> None:
    expired = certificates.settings(not_after=datetime(2020, 1, 1, tzinfo=UTC))
    with Broker(tmp_path, "allow_anonymous true", *expired) as broker:
        connection = connect(broker.port, tls=True, ca_file=str(certificates.authority), host="localhost")
        wait_until(lambda: "expired" in connection.reason)
        certificates.issue("localhost")
        broker.stop()
        broker.start()
        wait_until(lambda: connection.connected)


def test_a_password_that_is_changed_at_both_ends_is_used_without_a_restart(tmp_path: Path, connect: Any) -> None:
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text("open sesame\n")
    known = password_file(tmp_path, pi="open sesame")
    with Broker(tmp_path, "allow_anonymous false", f"password_file {known}") as broker:
        connection = connect(broker.port, username="pi", password_file=str(secret))
        wait_until(lambda: connection.connected)
        password_file(tmp_path, pi="open barley")
        broker.stop()
        broker.start()
        wait_until(lambda: "password" in connection.reason)
        secret.unlink()
        wait_until(lambda: "cannot be read: No such file" in connection.reason)
        secret.write_text("open barley\n")
        wait_until(lambda: connection.connected)


# --- what it costs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_the_benchmark_measures(protocol: str) -> None:
    command = [sys.executable, "-W", "error", str(TESTS / "benchmark_mqtt.py")]
    done = subprocess.run(
        [*command, "--seconds", "1", "--rate", "200", "--json", "--protocol", protocol],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["events"]["made"] == result["events"]["arrived"] > 100
    assert result["strides"]["quiet"] > 20
    for key in ("publish_ms", "put_ms", "stride_quiet_ms", "stride_loaded_ms"):
        assert 0 < result[key]["p50"] <= result[key]["p99"] <= result[key]["max"]


# --- other versions ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_all_of_this_holds_with_paho_1_6(tmp_path: Path) -> None:
    """Debian 12 has it."""
    folder = tmp_path / "paho"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    subprocess.run([*pip, "paho-mqtt==1.6.1"], check=True, timeout=600)
    version = subprocess.run(
        [sys.executable, "-c", "import paho.mqtt; print(paho.mqtt.__version__)"],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert version.stdout.strip() == "1.6.1"
    rooms = (f"tests/edge/mqtt/test_{room}.py" for room in ("connection", "link", "credentials"))
    files = ["tests/system/test_mqtt.py", *rooms]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files],
        cwd=TESTS.parent,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout
    print(done.stdout.strip().splitlines()[-1])
