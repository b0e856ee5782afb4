"""Real devices, a real Mosquitto and a real server: what a fleet is sent is taken, refused, or rolled back."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import wave
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import yaml

from affectd.delivery.installed import read
from affectd.recognition.model_file import find_model, model_id, read_model, write_model
from broker import PATIENCE_SECONDS, Broker, Subscriber, needs_mosquitto, wait_until
from fleet import FLEET, TOPIC, Files, Member, Signer
from room import Room, needs_room
from tiny_model import DATA, tiny_model

TINY = (DATA / "tiny.tflite").read_bytes()
CRASHES = TINY[:1360] + b"\xff\xff\xff\xff" + TINY[1364:]  # as in tests/edge/recognition/test_trial.py
PATIENT = {"deliveries___FIRST_RETRY_SECONDS": 0.5}
PAGE = (Path(__file__).parents[2] / "docs" / "fleet.md").read_text()


def content(folder: Path, **changes: object) -> bytes:
    write_model(folder / "made.tflite", tiny_model(**changes))
    return (folder / "made.tflite").read_bytes()


@needs_mosquitto
@pytest.mark.parametrize(
    "names", [pytest.param("ab", marks=needs_room), pytest.param("abcdefgh", marks=[*needs_room, pytest.mark.slow])]
)
def test_every_device_takes_what_is_signed_and_refuses_the_rest(names: str, room: Room, tmp_path: Path) -> None:
    good, shipped = content(tmp_path), model_id(read_model(find_model()))
    golden = {**tiny_model().golden, "output": tiny_model().golden["output"] ^ np.int8(64)}
    signer, stranger = Signer(tmp_path), Signer(tmp_path, "stranger")
    with Broker(tmp_path) as broker, Files() as files, Subscriber(broker.port, "#") as heard, ExitStack() as stack:
        url = files.put("good", good)
        devices = [Member(tmp_path, name, broker.port, signer.public, room.environment, **PATIENT) for name in names]
        for device in devices:
            (device.folder / "kept").mkdir()
            device.environment["AFFECTD_FILE_PATH"] = str(device.folder / "kept" / "events.jsonl")
        programs = [stack.enter_context(device.running("--source", "mic")) for device in devices]
        for device in devices:
            device.wait_for("microphone healthy")

        def send(message: bytes, *expected: str | int | None) -> None:
            broker.publish(TOPIC, message.decode(), retain=True)
            for device in devices:
                wait_until(lambda: device.verdicts[-1:] == [expected], 30.0 * len(names), f"{expected} in {device.log}")  # noqa: B023

        message = signer.message(good, url, 5)
        send(message.replace(b"sequence: 5", b"sequence: 6"), "refused", "signature", None)
        send(stranger.message(good, url, 7), "refused", "signature", None)
        send(signer.message(good, url, 7, fleet="others"), "refused", "fleet", None)
        for device in devices:
            (device.folder / "kept").rename(device.folder / "away")
        send(b"hello", "refused", "message", None)
        for device in devices:
            device.wait_for("events do not reach")  # which is no reason to end when there is another model
            (device.folder / "away").rename(device.folder / "kept")
        truncated = files.put("truncated", good[:-100])
        send(signer.message(good, truncated, 2), "refused", "size", 2)
        send(signer.message(good, files.put("other", good[:-1] + b"x"), 2), "refused", "digest", 2)
        crashes = content(tmp_path, tflite=CRASHES)
        send(signer.message(crashes, files.put("crashes", crashes), 3), "refused", "model", 3)
        fails = content(tmp_path, golden=golden)
        send(signer.message(fails, files.put("fails", fails), 4), "refused", "model", 4)
        for device in devices:
            assert "crashes or needs" in device.log
            assert "golden.output" in device.log
            assert device.model() == shipped, "it goes on with the old one"
            assert not list(device.models.glob("*.tflite"))
        tiny = model_id(tiny_model())
        send(message, "installed", None, 5)
        send(signer.message(crashes, files.put("crashes", crashes), 4), "refused", "downgrade", None)
        for device in devices:
            assert device.model() == tiny
            told = [json.loads(text) for text in heard.payloads(f"affectd/{device.name}/telemetry")]
            assert {report["model"] for report in told} == {shipped, tiny}
            assert told[-1]["model"] == tiny
            state = json.loads(heard.payloads(f"affectd/{device.name}/state")[-1])
            assert state["delivery"]["why"] == "downgrade"
            found = json.loads(heard.payloads(f"homeassistant/device/affectd_{device.name}/config")[-1])
            assert found["cmps"]["emotion"]["options"] == [*tiny_model().labels, "uncertain"]
        send(message, "installed", None, 5)
        for device in devices:
            assert device.log.count("is installed") == 1, "what is known is not done again"
            told = [event["id"] for event in device.events]
            topic = f"affectd/{device.name}/event"
            wait_until(lambda: set(told) <= {json.loads(text)["id"] for text in heard.payloads(topic)})  # noqa: B023
        assert all(program.poll() is None for program in programs)


@needs_mosquitto
def test_a_model_that_kills_the_service_or_makes_no_events_is_rolled_back(tmp_path: Path) -> None:
    shipped, tiny = model_id(read_model(find_model())), model_id(tiny_model())
    signer, good = Signer(tmp_path), content(tmp_path)
    other = content(tmp_path, temperature=2.5)
    constants = {**PATIENT, "probation__LEAST_SPEECH_SECONDS": 2.0}
    with Broker(tmp_path) as broker, Files() as files:
        device = Member(tmp_path, "a", broker.port, signer.public, dict(os.environ), **constants)
        url = files.put("good", good)
        broker.publish(TOPIC, signer.message(good, url, 1).decode(), retain=True)
        with device.running("--source", "-"):
            device.wait_for("used from the next start on")
        assert device.model() == tiny
        for n in (1, 2):
            with device.running("--source", "-") as program:
                wait_until(lambda: device.log.count("connected to the broker") >= 1 + n, what=device.log)  # noqa: B023
                program.kill()
                program.wait()
        with device.running("--source", "-"):
            device.wait_for("rolled back to the configured one: affectd died 2 times")
        assert device.model() == shipped
        with device.running("--source", "-"):
            device.wait_for("(?s)rolled back.*connected to the broker")
            broker.publish(TOPIC, signer.message(good, url, 2).decode(), retain=True)
            device.wait_for("it was rolled back here before")
            broker.publish(TOPIC, signer.message(other, files.put("other", other), 3).decode(), retain=True)
            device.wait_for(r"installed \(sequence 3\)")
        device.environment["AFFECTD_SMOOTHING_MINIMUM_COUNT"] = "1000"  # so that no event is made
        with wave.open(str(DATA / "demo.wav")) as file:
            sound = file.readframes(file.getnframes())
        with device.running("--source", "-") as program:
            assert program.stdin is not None
            program.stdin.write(sound)
            device.wait_for("rolled back to the configured one: there was much speech, but no event")
        assert device.model() == shipped
        assert device.log.count("rolled back to") == 2, "said once"


@needs_mosquitto
def test_power_cuts_after_its_first_minutes_are_no_fault_of_a_model(tmp_path: Path) -> None:
    signer, good = Signer(tmp_path), content(tmp_path)
    constants = {**PATIENT, "probation__PROVEN_SECONDS": 0.0}
    with Broker(tmp_path) as broker, Files() as files:
        device = Member(tmp_path, "a", broker.port, signer.public, dict(os.environ), **constants)
        broker.publish(TOPIC, signer.message(good, files.put("good", good), 1).decode(), retain=True)
        with device.running("--source", "-"):
            device.wait_for("used from the next start on")
        for _ in range(3):
            with device.running("--source", "-") as program:
                assert program.stdin is not None
                program.stdin.write(bytes(64000))
                program.stdin.flush()
                wait_until(lambda: read(device.models).deaths)
                wait_until(lambda: not read(device.models).deaths)
                program.kill()
                program.wait()
        assert read(device.models).on_trial
        assert device.model() == model_id(tiny_model())


@needs_mosquitto
def test_garbage_does_not_end_the_attempts_at_a_model_whose_file_is_not_there_yet(tmp_path: Path) -> None:
    signer, good = Signer(tmp_path), content(tmp_path)
    with Broker(tmp_path) as broker, Files() as files:
        device = Member(tmp_path, "a", broker.port, signer.public, dict(os.environ), **PATIENT)
        url = files.put("good", good[::-1])
        with device.running("--source", "-"):
            broker.publish(TOPIC, signer.message(good, url, 1).decode(), retain=True)
            device.wait_for("is not what was signed; trying again")
            broker.publish(TOPIC, "garbage")
            device.wait_for("not as affectd-train sign writes it")
            files.put("good", good)
            device.wait_for(r"installed \(sequence 1\)")


@needs_mosquitto
def test_what_is_refused_before_the_start_is_through_is_told(tmp_path: Path) -> None:
    held = """
import threading
from affectd.__main__ import main
from affectd.delivery.deliveries import Deliveries
from affectd.mqtt.publisher import Publisher
refused, say, start = threading.Event(), Deliveries._say, Publisher.start
def said(self, *words, **about):
    say(self, *words, **about)
    refused.set()
def started(self):
    start(self)
    assert refused.wait(30)
Deliveries._say, Publisher.start = said, started
main()
"""
    signer, stranger = Signer(tmp_path), Signer(tmp_path, "stranger")
    with Broker(tmp_path) as broker:
        broker.publish(TOPIC, stranger.message(b"x", "http://a/b", 1).decode(), retain=True)
        device = Member(tmp_path, "a", broker.port, signer.public, dict(os.environ))
        device.code = held
        with device.running("--source", "-") as program:
            assert program.stdin is not None
            program.stdin.write(bytes(64000))
            program.stdin.flush()
            wait_until(lambda: device.verdicts == [("refused", "signature", None)], what=device.log)


@needs_mosquitto
def test_without_a_fleet_nothing_of_it_is_loaded(tmp_path: Path) -> None:
    code = (
        "import sys; from affectd.cli import main; code = main(['run', '--source', sys.argv[1]]); "
        "print([name for name in sys.modules if 'delivery.' in name and 'mqtt' not in name or name == 'subprocess'],"
        " file=sys.stderr); sys.exit(code)"
    )
    with Broker(tmp_path) as broker:
        device = Member(tmp_path, "a", broker.port, tmp_path / "none", dict(os.environ))
        for missing in ("AFFECTD_MQTT_FLEET", "AFFECTD_MODEL_TRUSTED_KEYS"):
            environment = {key: value for key, value in device.environment.items() if key != missing}
            command = [sys.executable, "-c", code, str(DATA / "demo.wav")]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
            assert done.stderr.splitlines()[-1] == "[]"
        done = subprocess.run(command, env=device.environment, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 78, "the keys that are asked for are not there"


def playbook() -> str:
    found = re.search(r'^```yaml title="playbook"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_the_playbook_writes_settings_that_are_accepted(tmp_path: Path) -> None:
    (play,) = yaml.safe_load(playbook())
    written = play["tasks"][1]["ansible.builtin.copy"]["content"].replace("{{ inventory_hostname_short }}", "kiosk-3")
    (tmp_path / "affectd.toml").write_text(written)
    command = [sys.executable, "-m", "affectd", "config", "--json", "--config", str(tmp_path / "affectd.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout)["mqtt"]["fleet"]["value"] == FLEET


@pytest.mark.slow
def test_ansible_lint_has_nothing_to_say_of_the_playbook(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True, timeout=PATIENCE_SECONDS * 4)
    subprocess.run([tmp_path / "venv/bin/pip", "install", "-q", "ansible-lint"], check=True, timeout=600)
    (tmp_path / "playbook.yml").write_text(playbook())
    (tmp_path / "fleet.pub").write_text("")
    command = [tmp_path / "venv/bin/ansible-lint", "--offline", "--profile", "production", "playbook.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
