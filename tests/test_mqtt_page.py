"""The pages about MQTT and people are correct: topics, fields, entities, and commands that are tried here."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from affectd.config.sections import Config, DeviceConfig, MqttConfig
from affectd.mqtt.credentials import tls_context
from affectd.mqtt.home_assistant import discovery
from affectd.mqtt.mute import Mute
from affectd.mqtt.topics import Topics
from broker import Broker, Subscriber, needs_mosquitto, password_file
from tiny_model import draft_place_model

REPOSITORY = Path(__file__).parents[1]
PAGE = (REPOSITORY / "docs" / "mqtt.md").read_text()
PEOPLE = (REPOSITORY / "docs" / "people.md").read_text()
KINDS = ("event", "state", "telemetry", "status", "listen")


def schema(kind: str) -> dict[str, Any]:
    file = resources.files("affectd") / folder(kind) / f"{kind}.schema.json"
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return found


def folder(kind: str) -> str:
    return "events" if kind == "event" else "mqtt"


def blocks(language: str, title: str) -> list[str]:
    return re.findall(rf'^```{language} title="{re.escape(title)}"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    return re.split(rf"^## {title}$", PAGE, flags=re.MULTILINE)[1].split("\n## ")[0]


@pytest.mark.parametrize("kind", KINDS)
def test_each_schema_is_one(kind: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema(kind))


def test_every_topic_is_in_the_table_with_the_schema_of_its_payload() -> None:
    topics = Topics("DEVICE")
    rows = dict(re.findall(r"^\| `([^`]+/[^`]+)` \| (.*)$", section("Topics"), re.MULTILINE))
    described = {
        topics.status: "status",
        topics.event: "event",
        topics.state: "state",
        topics.telemetry: "telemetry",
        topics.listen: "listen",
        topics.listen_state: "listen",
    }
    assert set(rows) == {*described, topics.discovery, topics.birth}
    for topic, kind in described.items():
        assert f"`edge/affectd/{folder(kind)}/{kind}.schema.json`" in rows[topic]


@pytest.mark.parametrize("kind", ["event", "state", "telemetry"])
def test_the_examples_obey_their_schema_and_lack_no_field(kind: str) -> None:
    examples = [json.loads(block) for block in blocks("json", kind)]
    assert examples
    for example in examples:
        jsonschema.Draft202012Validator(schema(kind)).validate(example)
        if kind != "event":
            assert set(example) == set(schema(kind)["properties"]) == set(schema(kind)["required"])


@pytest.mark.parametrize("kind", ["state", "telemetry"])
def test_every_field_is_explained(kind: str) -> None:
    rows = section("Payloads").split(f"**{kind}** is")[1].split("\n**")[0]
    named = re.findall(r"^\| (`.*?) \|", rows, re.MULTILINE)
    assert {field for names in named for field in re.findall(r"`(\w+)`", names)} == set(schema(kind)["properties"])


@pytest.mark.parametrize("kind", ["status", "listen"])
def test_every_word_is_explained(kind: str) -> None:
    assert set(schema(kind)["enum"]) <= set(re.findall(r"`(\w+)`", section("Payloads").split(f"**{kind}** ")[1]))


def test_the_state_names_every_state_of_the_microphone() -> None:
    states = [*schema("event")["properties"]["state"]["enum"], None]
    assert schema("state")["properties"]["microphone"]["enum"] == states


TELEMETRY = json.loads(blocks("json", "telemetry")[0])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schema", "1"),
        ("device", "two words"),
        ("time", "2026-11-20T06:34:00Z"),
        ("level_dbfs", "-61.3"),
        ("level_dbfs", 20.0),
        ("speech_ratio", 1.1),
        ("speech_ratio", None),
        ("inference_ms", None),
        ("inference_ms", {"median": 1.0}),
        ("inference_ms", {"median": -1.0, "max": 1.0}),
        ("cpu_percent", None),
        ("cpu_percent", True),
        ("resident_mb", 0),
        ("uptime_seconds", 1.5),
        ("overflows", -1),
        ("outbox_events", None),
        ("muted", 1),
    ],
)
def test_telemetry_of_a_wrong_type_is_refused(field: str, value: object) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**TELEMETRY, field: value}, schema("telemetry"))


@pytest.mark.parametrize("field", ["level_dbfs", "resident_mb", "temperature_celsius"])
def test_what_cannot_be_measured_is_null(field: str) -> None:
    jsonschema.validate({**TELEMETRY, field: None}, schema("telemetry"))


def test_every_entity_is_in_the_table() -> None:
    config = Config(device=DeviceConfig(id="kitchen"), mqtt=MqttConfig(listen_command=True))
    described = discovery(config, draft_place_model(), Topics("kitchen"))
    expected = {
        f"{component['p']}.kitchen_{component['name'].lower().replace(' ', '_')}"
        for component in json.loads(described)["cmps"].values()
    }
    assert set(re.findall(r"^\| `([^`]+)` \|", section("Home Assistant"), re.MULTILINE)) == expected


def test_the_commands_that_it_gives_are_understood(tmp_path: Path) -> None:
    (command,) = re.findall(r"mosquitto_pub .* -t (\S+) -m (\S+)", PEOPLE)
    assert command[0] == Topics("kitchen").listen
    mute = Mute(tmp_path)
    assert mute.command(command[1].encode(), False)
    assert mute.is_muted


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
@needs_mosquitto
def test_the_certificate_made_by_its_commands_is_trusted_for_that_name_alone(tmp_path: Path) -> None:
    (script,) = blocks("sh", "certificates")
    subprocess.run(["sh", "-euc", script], cwd=tmp_path, check=True, capture_output=True, timeout=120)
    settings = [line for line in blocks("conf", "mosquitto.conf")[0].splitlines() if line.split()[0].endswith("file")][
        :3
    ]
    placed = [line.replace("/etc/mosquitto/certs", str(tmp_path)) for line in settings]
    context = tls_context(MqttConfig(tls=True, ca_file=str(tmp_path / "ca.crt")))
    assert context is not None
    with Broker(tmp_path, *placed) as broker:
        for name, fits in (("broker.local", True), ("other.local", False)):
            with socket.create_connection(("127.0.0.1", broker.port), timeout=30) as connection:
                try:
                    context.wrap_socket(connection, server_hostname=name).close()
                except OSError:
                    assert not fits
                else:
                    assert fits


@needs_mosquitto
def test_each_user_may_do_what_the_page_says_and_no_more(tmp_path: Path) -> None:
    access = tmp_path / "access"
    access.write_text(blocks("conf", "/etc/mosquitto/access")[0])
    access.chmod(0o600)
    passwords = password_file(tmp_path, kitchen="1", homeassistant="1", display="1")
    topics = Topics("kitchen")
    own = {topics.status, topics.event, topics.state, topics.telemetry, topics.listen_state, topics.discovery}
    may = {
        "kitchen": own,
        "homeassistant": {topics.listen, topics.discovery, topics.birth},
        "display": set(),
    }
    settings = ["allow_anonymous false", f"password_file {passwords}", f"acl_file {access}"]
    with Broker(tmp_path, *settings) as broker, Subscriber(broker.observer_port, "#") as all_of_it:
        for user in may:
            for topic in (*own, topics.listen, topics.birth, "affectd/parlor/event", f"{topics.listen}x"):
                subprocess.run(
                    [
                        "mosquitto_pub",
                        "-p",
                        str(broker.port),
                        "-u",
                        user,
                        "-P",
                        "1",
                        "-q",
                        "1",
                        "-t",
                        topic,
                        "-m",
                        user,
                    ],
                    check=True,
                    timeout=60,
                    capture_output=True,
                )
        broker.publish("the/end", "")
        all_of_it.wait_for("the/end")
        passed = {user: {message.topic for message in all_of_it.messages if message.payload == user} for user in may}
    assert passed == may
