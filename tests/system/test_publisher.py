"""`affectd run` and a real Mosquitto: what arrives where, what is kept, and who may say what to it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import numpy as np
import pytest

from affectd.events.event import event_schema
from affectd.recognition.model_file import find_model
from affectd.service.signals import StoppableBlocks
from broker import PATIENCE_SECONDS, Broker, Subscriber, free_port, needs_mosquitto, wait_until
from fake_broker import FakeBroker
from sounds import gain, raw_sound, silence, syllables

pytestmark = [needs_mosquitto, pytest.mark.skipif(not find_model().exists(), reason="no model file")]

DEMO = Path(__file__).parents[1] / "data" / "demo.wav"
DEVICE = "affectd/kiosk-3"
DISCOVERY = "homeassistant/device/affectd_kiosk-3/config"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as broker:
        yield broker


class Device:
    """`affectd` with the settings of one device."""

    def __init__(self, folder: Path, port: int, **settings: object) -> None:
        values = {"MQTT_ENABLED": True, "MQTT_HOST": "127.0.0.1", "MQTT_PORT": port, "DEVICE_ID": "kiosk-3", **settings}
        self.environment = {
            **os.environ,
            **{f"AFFECTD_{key}": str(value).lower() for key, value in values.items()},
            "STATE_DIRECTORY": str(folder / "state"),
            "RUNTIME_DIRECTORY": str(folder / "run"),
            "PYTHONWARNINGS": "error",
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "affectd", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @contextmanager
    def listening(self) -> Iterator[subprocess.Popen[bytes]]:
        """Let it listen to standard input, to which the test alone writes."""
        with subprocess.Popen(
            [sys.executable, "-m", "affectd", "run", "--source", "-"],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as program:
            try:
                yield program
            finally:
                program.kill()


def schema(name: str) -> jsonschema.Draft202012Validator:
    text = resources.files("affectd.mqtt").joinpath(name).read_text("utf-8")
    return jsonschema.Draft202012Validator(json.loads(text))


def finish(program: subprocess.Popen[bytes], number: signal.Signals = signal.SIGTERM) -> str:
    """End a program and return its log."""
    program.send_signal(number)
    _, log = program.communicate(timeout=PATIENCE_SECONDS)
    return log.decode()


def test_what_stands_on_stdout_arrives_in_order_and_the_rest_is_as_described(broker: Broker, tmp_path: Path) -> None:
    with Subscriber(broker.port, "#") as subscriber:
        device = Device(tmp_path, broker.port, TELEMETRY_PERIOD_SECONDS=1, MQTT_LISTEN_COMMAND=True)
        result = device.run("run", "--source", str(DEMO))
        assert result.returncode == 0, result.stderr
        subscriber.wait_for(f"{DEVICE}/status", "stopped")
        lines = result.stdout.splitlines()
        assert len(lines) > 4
        assert subscriber.payloads(f"{DEVICE}/event") == lines
        assert [*dict.fromkeys(subscriber.payloads(f"{DEVICE}/status"))] == ["online", "stopped"]
        for name in ("state", "telemetry"):
            assert subscriber.payloads(f"{DEVICE}/{name}")
            for payload in subscriber.payloads(f"{DEVICE}/{name}"):
                schema(f"{name}.schema.json").validate(json.loads(payload))
        assert subscriber.payloads(f"{DEVICE}/listen/state") == ["ON"]
        introduced = json.loads(subscriber.payloads(DISCOVERY)[0])
        assert introduced["dev"]["name"] == "kiosk-3"
        assert {introduced["cmps"][name]["state_topic"] for name in ("valence", "arousal")} == {f"{DEVICE}/state"}
        assert {message.topic for message in subscriber.messages} == {
            DISCOVERY,
            *(f"{DEVICE}/{name}" for name in ("event", "status", "state", "telemetry", "listen/state")),
        }

    assert broker.retained(f"{DEVICE}/status") == "stopped"
    state = json.loads(broker.retained(f"{DEVICE}/state") or "")
    last = json.loads(lines[-1])
    assert (state["label"], state["speaking"]) == (last["label"], False)
    assert (state["valence"], state["arousal"]) == (last["valence"], last["arousal"]) != (None, None)
    assert broker.retained(f"{DEVICE}/event") is None
    assert broker.retained(f"{DEVICE}/telemetry") is None

    forgotten = device.run("forget")
    assert (forgotten.returncode, forgotten.stdout) == (0, "")
    for topic in (DISCOVERY, *(f"{DEVICE}/{name}" for name in ("status", "state", "listen/state"))):
        assert broker.retained(topic) is None


def test_events_made_without_a_broker_arrive_before_those_of_the_next_run(tmp_path: Path) -> None:
    with Broker(tmp_path, running=False) as broker:
        device = Device(tmp_path, broker.port)
        alone = device.run("run", "--source", str(DEMO))
        assert alone.returncode == 0
        assert alone.stderr.count("no connection to the broker") == 1
        broker.start()
        with Subscriber(broker.port, f"{DEVICE}/event") as subscriber:
            together = device.run("run", "--source", str(DEMO))
            assert together.returncode == 0
            expected = [*alone.stdout.splitlines(), *together.stdout.splitlines()]
            wait_until(lambda: len(subscriber.messages) >= len(expected))
            assert subscriber.payloads(f"{DEVICE}/event") == expected


def test_a_killed_device_is_offline_and_what_it_said_last_is_not_lost(broker: Broker, tmp_path: Path) -> None:
    device = Device(tmp_path, broker.port)
    with Subscriber(broker.port, f"{DEVICE}/#") as subscriber:
        with device.listening() as program:
            subscriber.wait_for(f"{DEVICE}/status", "online")
            broker.freeze()
            assert program.stdin is not None
            assert program.stdout is not None
            program.stdin.write(DEMO.read_bytes()[44:])
            program.stdin.flush()
            events = [program.stdout.readline().decode().strip() for _ in range(3)]
            finish(program, signal.SIGKILL)
        broker.thaw()
        subscriber.wait_for(f"{DEVICE}/status", "offline")
        assert device.run("run", "--source", str(DEMO)).returncode == 0
        # One more may have been made after the last line that was read.
        assert list(dict.fromkeys(subscriber.payloads(f"{DEVICE}/event")))[:3] == events


def test_a_broker_that_stands_still_does_not_keep_the_device_from_ending(broker: Broker, tmp_path: Path) -> None:
    with Subscriber(broker.port, f"{DEVICE}/#") as subscriber, Device(tmp_path, broker.port).listening() as program:
        subscriber.wait_for(f"{DEVICE}/status", "online")
        broker.freeze()
        program.send_signal(signal.SIGTERM)
        assert program.wait(timeout=5) == 0


def test_who_may_publish_can_mute_it_and_nonsense_changes_nothing(broker: Broker, tmp_path: Path) -> None:
    device = Device(tmp_path, broker.port, MQTT_LISTEN_COMMAND=True)
    listen, told = f"{DEVICE}/listen", f"{DEVICE}/listen/state"
    with Subscriber(broker.port, f"{DEVICE}/#") as subscriber, device.listening() as program:
        subscriber.wait_for(told, "ON")
        random = np.random.default_rng(0)
        nonsense = ["", "on", "off", " OFF", "OFF\n", "ON ON", "0", "true", "null", '{"state": "OFF"}', "OFF" * 9999]
        nonsense += ["".join(map(chr, random.integers(1, 0xD7FF, size))) for size in random.integers(1, 200, 10)]
        for payload in nonsense:
            broker.publish(listen, payload)
        broker.publish(listen, "ON")
        wait_until(lambda: len(subscriber.payloads(told)) >= 2)
        assert set(subscriber.payloads(told)) == {"ON"}
        broker.publish(listen, "OFF")
        subscriber.wait_for(told, "OFF")
        log = finish(program)
        assert program.returncode == 0
        assert log.count("ignored") == 1, "a line for each would fill the log"
        assert "Traceback" not in log

    broker.publish(listen, "ON", retain=True)
    with Subscriber(broker.port, told) as subscriber, device.listening() as program:
        wait_until(lambda: any(not message.retained for message in subscriber.messages))
        assert subscriber.messages[-1].payload == "OFF", "muted is muted after a restart, whatever the broker kept"
        assert "it is retained" in finish(program)
        assert subscriber.messages[-1].payload == "OFF"


def test_without_further_threads_it_can_be_muted_and_ends_in_good_order(broker: Broker, tmp_path: Path) -> None:
    few = """
import pathlib, signal, sys, threading
def permit_no_more(*_):
    threading.stack_size(1 << 46)  # more than there is
    pathlib.Path(FLAG).touch()
signal.signal(signal.SIGUSR1, permit_no_more)
FLAG = sys.argv.pop(1)
from affectd.__main__ import main
sys.exit(main())
"""
    device = Device(tmp_path, broker.port, MQTT_LISTEN_COMMAND=True)
    command = [sys.executable, "-c", few, str(tmp_path / "few"), "run", "--source", "-"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with (
        Subscriber(broker.port, f"{DEVICE}/#") as client,
        subprocess.Popen(command, env=device.environment, **pipes) as program,  # type: ignore[call-overload]
    ):
        client.wait_for(f"{DEVICE}/listen/state", "ON")
        program.stdin.write(DEMO.read_bytes())
        program.stdin.flush()
        client.wait_for(f"{DEVICE}/event")  # so all threads are there
        program.send_signal(signal.SIGUSR1)
        wait_until((tmp_path / "few").exists)
        broker.publish(f"{DEVICE}/listen", "OFF")
        client.wait_for(f"{DEVICE}/listen/state", "OFF")
        log = finish(program)
        assert program.returncode == 0, log
        assert "whether it is muted cannot be saved" in log
        client.wait_for(f"{DEVICE}/status", "stopped")


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_who_may_not_describe_the_device_to_home_assistant_publishes_all_else(protocol: str, tmp_path: Path) -> None:
    """Of Debian 12 the broker, with `max_queued_messages 0`, ends the connection where it does not permit a topic."""
    permitted = tmp_path / "permitted"
    permitted.write_text("topic readwrite affectd/#\n")
    with (
        Broker(tmp_path, f"acl_file {permitted}", "allow_anonymous true") as broker,
        Subscriber(broker.observer_port, f"{DEVICE}/#") as client,
    ):
        device = Device(tmp_path, broker.port, MQTT_PROTOCOL=protocol)
        with device.listening() as program:
            assert program.stdin is not None
            program.stdin.write(DEMO.read_bytes())
            program.stdin.flush()
            client.wait_for(f"{DEVICE}/event")
            client.wait_for(f"{DEVICE}/status", "online")
            finish(program)
        client.wait_for(f"{DEVICE}/status", "stopped")


def test_home_assistant_that_starts_later_is_told_again(broker: Broker, tmp_path: Path) -> None:
    with Subscriber(broker.port, "#") as subscriber:
        with Device(tmp_path, broker.port).listening() as program:
            subscriber.wait_for(f"{DEVICE}/status", "online")
            subscriber.wait_for(DISCOVERY)
            for payload in ("offline", "Online", "", "\x01"):
                broker.publish("homeassistant/status", payload)
            broker.publish("homeassistant/status", "online", retain=True)
            wait_until(lambda: len(subscriber.payloads(DISCOVERY)) > 1)
            finish(program)
        assert len(subscriber.payloads(DISCOVERY)) == 2

        # Who does not want to be discovered any more leaves nothing behind.
        with Device(tmp_path, broker.port, MQTT_DISCOVERY=False).listening():
            wait_until(lambda: subscriber.payloads(DISCOVERY)[-1] == "")
    assert broker.retained(DISCOVERY) is None


def test_a_client_that_says_all_the_time_that_home_assistant_has_started_gets_an_answer_a_second(
    broker: Broker, tmp_path: Path
) -> None:
    device = Device(tmp_path, broker.port, MQTT_LISTEN_COMMAND=True)
    with Subscriber(broker.port, "#") as subscriber, device.listening():
        subscriber.wait_for(f"{DEVICE}/listen/state", "ON")
        began = time.monotonic()
        storm = ["mosquitto_pub", "-p", str(broker.port), "-q", "1", "-t", "homeassistant/status", "-l"]
        subprocess.run(storm, input=b"online\n" * 1000, check=True, timeout=PATIENCE_SECONDS)
        broker.publish(f"{DEVICE}/listen", "OFF")
        subscriber.wait_for(f"{DEVICE}/listen/state", "OFF")
        assert 2 <= len(subscriber.payloads(DISCOVERY)) <= 3 + time.monotonic() - began


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"MQTT_PASSWORD_FILE": "/nonexistent"}, "/nonexistent"),
        ({"MQTT_CA_FILE": "/nonexistent", "MQTT_TLS": True}, "/nonexistent"),
        ({"FILE_PATH": "/dev/null"}, "/dev/null"),
    ],
)
def test_settings_that_cannot_work_end_it_with_78(tmp_path: Path, settings: dict[str, object], sentence: str) -> None:
    result = Device(tmp_path, 1, **settings).run("run", "--source", str(DEMO))
    assert (result.returncode, result.stdout) == (78, "")
    assert len(result.stderr.splitlines()) == 1
    assert sentence in result.stderr


def test_events_go_to_a_file_as_well(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    result = Device(tmp_path, 1, MQTT_ENABLED=False, FILE_PATH=path).run("run", "--source", str(DEMO))
    assert result.returncode == 0
    assert path.read_text() == result.stdout
    assert result.stdout


HUGE_MB = 100


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_a_retained_message_of_any_size_does_not_grow_it_and_commands_go_on(
    broker: Broker, tmp_path: Path, protocol: str
) -> None:
    listen, told = f"{DEVICE}/listen", f"{DEVICE}/listen/state"
    for topic in (listen, "homeassistant/status"):
        broker.publish(topic, "x" * (HUGE_MB * 10**6), retain=True)
    device = Device(tmp_path, broker.port, MQTT_LISTEN_COMMAND=True, MQTT_PROTOCOL=protocol)
    with Subscriber(broker.port, told) as subscriber, device.listening() as program:
        subscriber.wait_for(told, "ON")
        broker.publish(listen, "OFF")
        subscriber.wait_for(told, "OFF")
        broker.publish(listen, "y" * (HUGE_MB * 10**6))
        broker.publish(listen, "ON")
        wait_until(lambda: subscriber.payloads(told)[-1] == "ON")
        peak_mb = int(re.findall(r"VmHWM:\s*(\d+)", Path(f"/proc/{program.pid}/status").read_text())[0]) / 1000
        log = finish(program)
    assert peak_mb < 100, log
    assert log.count("connected to the broker") == 1, log


OWN = ("status", "event", "state", "telemetry", "listen/state")


def locked(folder: Path, *denied: str) -> Broker:
    """Return a broker that lets any client write the topics of the device, but for these."""
    access = folder / "access"
    lines = [f"topic write {DEVICE}/{name}" for name in OWN if name not in denied]
    lines += [f"topic write {DISCOVERY}", "topic read homeassistant/status", f"topic read {DEVICE}/listen"]
    access.write_text("\n".join(lines) + "\n")
    access.chmod(0o600)
    return Broker(folder, "allow_anonymous true", f"acl_file {access}")


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
@pytest.mark.parametrize("denied", [(), ("event",)])
def test_the_doctor_finds_a_topic_that_the_broker_acknowledges_and_drops(
    tmp_path: Path, protocol: str, denied: tuple[str, ...]
) -> None:
    with locked(tmp_path, *denied) as broker, Subscriber(broker.observer_port, f"{DEVICE}/#") as subscriber:
        device = Device(tmp_path, broker.port, MQTT_LISTEN_COMMAND=True, MQTT_PROTOCOL=protocol)
        result = device.run("doctor", "--json")
        (found,) = [one for one in map(json.loads, result.stdout.splitlines()) if one["check"] == "broker"]
        assert found["grade"] == ("fault" if denied else "ok"), found
        assert (f"{DEVICE}/event (not authorized)" in found["found"]) is bool(denied)
        assert {json.loads(message.payload)["type"] for message in subscriber.messages} == (
            set() if denied else {"test"}
        )


def test_what_an_mqtt_5_broker_refuses_is_in_the_state_and_events_are_kept(tmp_path: Path) -> None:
    with (
        locked(tmp_path, "event") as broker,
        Subscriber(broker.observer_port, f"{DEVICE}/#") as subscriber,
        Device(tmp_path, broker.port, MQTT_PROTOCOL=5).listening() as program,
    ):
        subscriber.wait_for(f"{DEVICE}/status", "online")
        assert program.stdin is not None
        program.stdin.write(DEMO.read_bytes()[44:])
        program.stdin.flush()
        # Mosquitto 2.0.11 also closes the connection after each refusal.
        refused = [f"{DEVICE}/event"]
        wait_until(lambda: json.loads(subscriber.payloads(f"{DEVICE}/state")[-1])["refused"] == refused)
        log = finish(program)
    schema("state.schema.json").validate(json.loads(subscriber.payloads(f"{DEVICE}/state")[-1]))
    assert log.count("refuses what is published") == 1
    with Broker(tmp_path) as broker, Subscriber(broker.port, f"{DEVICE}/event") as subscriber:
        Device(tmp_path, broker.port).run("run", "--source", str(DEMO))
        assert len(subscriber.messages) > 10, "what was refused was kept"


def test_an_end_of_an_older_connection_that_is_noticed_late_does_not_leave_it_offline(
    broker: Broker, tmp_path: Path
) -> None:
    status = f"{DEVICE}/status"
    with (
        Subscriber(broker.port, status) as subscriber,
        Device(tmp_path, broker.port, TELEMETRY_PERIOD_SECONDS=1).listening() as program,
    ):
        subscriber.wait_for(status, "online")
        broker.publish(status, "offline", retain=True)  # as the broker does of another client id
        subscriber.wait_for(status, "offline")
        wait_until(lambda: subscriber.payloads(status)[-1] == "online")
        finish(program)
    assert broker.retained(status) == "stopped"


def test_a_device_that_takes_commands_no_more_is_not_said_to_be_muted(broker: Broker, tmp_path: Path) -> None:
    told = f"{DEVICE}/listen/state"
    device = Device(tmp_path, broker.port, MQTT_LISTEN_COMMAND=True)
    with Subscriber(broker.port, told) as subscriber, device.listening() as program:
        subscriber.wait_for(told, "ON")
        broker.publish(f"{DEVICE}/listen", "OFF")
        subscriber.wait_for(told, "OFF")
        finish(program)
    heard = Device(tmp_path, broker.port).run("run", "--source", str(DEMO))
    assert heard.stdout
    assert broker.retained(told) is None


def test_two_devices_of_one_user_are_muted_apart_and_one_device_runs_once(broker: Broker, tmp_path: Path) -> None:
    one = Device(tmp_path, broker.port, MQTT_LISTEN_COMMAND=True)
    two = Device(tmp_path, broker.port, MQTT_LISTEN_COMMAND=True, DEVICE_ID="kiosk-4")
    with Subscriber(broker.port, "affectd/+/listen/state") as subscriber:
        with one.listening() as program, two.listening() as neighbor:
            for name in ("kiosk-3", "kiosk-4"):
                subscriber.wait_for(f"affectd/{name}/listen/state", "ON")
            twice = one.run("run", "--source", str(DEMO))
            assert (twice.returncode, twice.stdout) == (69, "")
            assert "Another affectd with the id kiosk-3" in twice.stderr
            assert len(twice.stderr.splitlines()) == 1
            broker.publish("affectd/kiosk-3/listen", "OFF")
            subscriber.wait_for("affectd/kiosk-3/listen/state", "OFF")
            finish(program)
            finish(neighbor)
        with two.listening() as neighbor, one.listening() as program:
            wait_until(lambda: subscriber.payloads("affectd/kiosk-4/listen/state") == ["ON", "ON"])
            wait_until(lambda: subscriber.payloads("affectd/kiosk-3/listen/state")[2:] == ["OFF"])
            finish(program)
            finish(neighbor)


def test_events_of_a_renamed_device_are_not_published_as_those_of_the_new_name(tmp_path: Path) -> None:
    with Broker(tmp_path, running=False) as broker:
        old = Device(tmp_path, broker.port)
        alone = old.run("run", "--source", str(DEMO))
        broker.start()
        with Subscriber(broker.port, "affectd/+/event") as subscriber:
            renamed = Device(tmp_path, broker.port, DEVICE_ID="kiosk-4").run("run", "--source", str(DEMO))
            wait_until(lambda: len(subscriber.messages) >= len(renamed.stdout.splitlines()))
            assert subscriber.payloads("affectd/kiosk-4/event") == renamed.stdout.splitlines()
            assert subscriber.payloads(f"{DEVICE}/event") == []
            old.run("run", "--source", str(DEMO))
            assert subscriber.payloads(f"{DEVICE}/event")[: len(alone.stdout.splitlines())] == alone.stdout.splitlines()


def test_home_assistant_may_use_other_topics(broker: Broker, tmp_path: Path) -> None:
    settings = {"MQTT_DISCOVERY_PREFIX": "home/ha", "MQTT_BIRTH_TOPIC": "home/born"}
    device = Device(tmp_path, broker.port, **settings)
    discovery = "home/ha/device/affectd_kiosk-3/config"
    with Subscriber(broker.port, "home/#") as subscriber:
        with device.listening() as program:
            subscriber.wait_for(discovery)
            wait_until(lambda: broker.log.count("Sending SUBACK to affectd-kiosk-3"))
            broker.publish("home/born", "online")
            wait_until(lambda: len(subscriber.payloads(discovery)) == 2)
            finish(program)
        assert device.run("forget").returncode == 0
        assert broker.retained(discovery) is None


@pytest.mark.parametrize(("bind", "is_found"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_home_assistant_is_led_to_a_page_that_others_may_open(
    broker: Broker, tmp_path: Path, bind: str, is_found: bool
) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef")
    token.chmod(0o600)
    device = Device(tmp_path, broker.port, WEB_ENABLED=True, WEB_BIND=bind, WEB_PORT=free_port(), WEB_TOKEN_FILE=token)
    with Subscriber(broker.port, DISCOVERY) as subscriber:
        assert device.run("run", "--source", str(DEMO)).returncode == 0
        subscriber.wait_for(DISCOVERY)
        about = json.loads(subscriber.payloads(DISCOVERY)[0])["dev"]
    assert ("configuration_url" in about) == is_found
    if is_found:
        name = socket.gethostname() if "." in socket.gethostname() else f"{socket.gethostname()}.local"
        assert about["configuration_url"] == f"http://{name}:{device.environment['AFFECTD_WEB_PORT']}/"


@pytest.mark.parametrize(
    ("protocol", "discovery", "arrives"), [("3.1.1", True, False), ("3.1.1", False, True), ("5", True, True)]
)
def test_a_broker_with_less_room_than_the_description_gets_the_events_by_either_setting(
    tmp_path: Path, protocol: str, discovery: bool, arrives: bool
) -> None:
    with Broker(tmp_path, "allow_anonymous true", "max_packet_size 1000") as broker:
        device = Device(tmp_path, broker.port, MQTT_PROTOCOL=protocol, MQTT_DISCOVERY=discovery)
        with Subscriber(broker.observer_port, f"{DEVICE}/event") as subscriber:
            done = device.run("run", "--source", str(DEMO))
            assert bool(subscriber.payloads(f"{DEVICE}/event")) == arrives
    assert ("or it takes nothing as long as what was sent" in done.stderr) == (not arrives)


def test_forget_does_not_say_that_it_has_when_the_broker_did_not(tmp_path: Path) -> None:
    with locked(tmp_path, "state") as broker:
        result = Device(tmp_path, broker.port).run("forget")
        assert result.returncode == 69
        # Mosquitto 2.0.11 closes the connection after a refusal, which may overtake it.
        last = result.stderr.splitlines()[-1]
        assert re.search(f"refuses to delete {DEVICE}/state|has not acknowledged that it forgets", last), result.stderr


def test_standard_output_that_is_not_read_costs_the_broker_no_event_and_a_frozen_broker_holds_up_no_end(
    broker: Broker, tmp_path: Path
) -> None:
    path = tmp_path / "events.jsonl"
    device = Device(tmp_path, broker.port, TELEMETRY_PERIOD_SECONDS=1, FILE_PATH=path, MQTT_KEEPALIVE_SECONDS=600)
    word = np.concatenate([silence(1), gain(syllables(1), -12)])
    with Subscriber(broker.port, f"{DEVICE}/event", f"{DEVICE}/telemetry") as client, device.listening() as program:
        assert program.stdin is not None
        program.stdin.write(raw_sound(np.concatenate([word] * 900)))
        program.stdin.flush()

        def n_dropped() -> int:
            telemetry = [json.loads(payload) for payload in client.payloads(f"{DEVICE}/telemetry")]
            return telemetry[-1]["events_dropped"]["standard_output"] if telemetry else 0

        wait_until(n_dropped)
        wait_until(lambda: len(client.payloads(f"{DEVICE}/event")) > 1700)
        wait_until(lambda: path.read_text().splitlines() == client.payloads(f"{DEVICE}/event"))
        broker.freeze()
        program.stdin.write((word * 32767).astype("<i2").tobytes())
        program.stdin.flush()
        wait_until(lambda: len(path.read_text().splitlines()) > len(client.payloads(f"{DEVICE}/event")))
        program.terminate()
        assert program.wait(PATIENCE_SECONDS) == 0, "as long as it stands still"
    broker.thaw()


def test_the_end_after_a_signal_is_brief_whatever_has_passed_since_and_that_of_a_file_is_patient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blocks = StoppableBlocks()
    assert blocks.patience_seconds() == 5.0
    now = [7.0]
    monkeypatch.setattr("affectd.service.signals.time", SimpleNamespace(monotonic=lambda: now[0]))
    blocks.stopped_at = now[0]
    for _ in range(4):  # one after the other, each as long as it may
        now[0] += blocks.patience_seconds()
    assert now[0] - blocks.stopped_at < 0.9


def test_what_the_broker_refuses_is_a_status_event_and_the_line_of_the_service_manager(tmp_path: Path) -> None:
    with FakeBroker() as broker, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE_SECONDS)
        device = Device(tmp_path, broker.port, MQTT_LISTEN_COMMAND=True, MQTT_DISCOVERY=False, MQTT_RETRY_SECONDS=1)
        device.environment["NOTIFY_SOCKET"] = str(tmp_path / "notify")
        with device.listening() as program:
            assert program.stdout is not None
            client = broker.welcome()
            client.confirm(128)
            line = b""
            while not line.startswith(b"STATUS="):
                line = manager.recv(4096)
            assert line == f"STATUS=the broker refuses {DEVICE}/listen".encode()
            event = json.loads(program.stdout.readline())
            jsonschema.validate(event, event_schema())
            assert (event["type"], event["part"], event["reason"]) == ("status", "broker", "refused")
            assert event["refused"] == [f"{DEVICE}/listen"]


def test_a_second_signal_cuts_nothing_off(tmp_path: Path) -> None:
    with FakeBroker() as broker:
        device = Device(tmp_path, broker.port, MQTT_DISCOVERY=False)
        # Without a folder in memory, events that are not acknowledged are written at the end.
        for name in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
            device.environment.pop(name, None)
        with device.listening() as program:
            assert program.stdin is not None
            assert program.stdout is not None
            broker.welcome()  # and acknowledges nothing
            word = np.concatenate([silence(1), gain(syllables(2), -12), silence(2)])
            program.stdin.write(raw_sound(word))
            program.stdin.flush()
            events = [json.loads(program.stdout.readline())]
            while events[-1]["phase"] != "end":
                events.append(json.loads(program.stdout.readline()))
            for _ in range(2):
                program.send_signal(signal.SIGTERM)
                time.sleep(0.02)
            assert program.wait(PATIENCE_SECONDS) == 0
    journal = (tmp_path / "state" / "devices" / "kiosk-3" / "outbox.journal").read_text()
    assert all(event["id"] in journal for event in events)
