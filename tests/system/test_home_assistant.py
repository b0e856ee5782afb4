"""A real Home Assistant with its MQTT integration makes the entities of a device, and follows them.

Needs the network on the first run, Python 3.12, 3.13 or 3.14 for Home Assistant, and Mosquitto.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from affectd.config.sections import Config, DeviceConfig, MqttConfig, TelemetryConfig
from affectd.mqtt.home_assistant import discovery
from affectd.mqtt.state import CurrentState
from affectd.mqtt.topics import Topics
from broker import Broker, Subscriber, needs_mosquitto, wait_until
from hass import ANSWER_SECONDS, RELEASES, Changes, HomeAssistant, installed
from room import Program, Room, needs_room
from tiny_model import draft_model

REPOSITORY = Path(__file__).parents[2]
AUTOMATION = re.findall(
    r'^```yaml title="automation"$(.*?)^```$', (REPOSITORY / "docs/mqtt.md").read_text(), re.M | re.S
)[0]
DEMO = REPOSITORY / "tests/data/demo.wav"

LABELS = ("calm", "angry", "mürrisch")
TELEMETRY = {
    "schema": 2,
    "device": "kitchen",
    "time": "2026-11-20T06:33:29.426Z",
    "level_dbfs": -61.3,
    "speech_ratio": 0.29,
    "inference_ms": {"median": 1.2, "max": 3.4},
    "cpu_percent": 7.5,
    "resident_mb": 61.5,
    "temperature_celsius": 48.5,
    "uptime_seconds": 3600,
    "dropped_seconds": 0.5,
    "overflows": 2,
    "outbox_events": 12,
    "outbox_dropped": 3,
    "muted": False,
}
DIAGNOSTICS = {
    "level": "-61.3",
    "speech": "29.0",
    "inference_time": "3.4",
    "cpu": "7.5",
    "memory": "61.5",
    "temperature": "48.5",
    "uptime": "3600",
    "missed_sound": "0.5",
    "overflows": "2",
    "waiting_events": "12",
    "lost_events": "3",
}
"""What Home Assistant makes of that."""

pytestmark = [pytest.mark.slow, needs_mosquitto]


# Home Assistant remembers what it once knew of a name.
_numbers = count()


@dataclass
class House:
    """A broker and a Home Assistant."""

    broker: Broker
    hass: HomeAssistant


@pytest.fixture(scope="module", params=RELEASES)
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    environment = installed(request.param)
    folder = tmp_path_factory.mktemp("house")
    with Broker(folder) as broker, HomeAssistant(environment, folder / "hass", broker, AUTOMATION) as hass:
        yield House(broker, hass)
        assert not hass.complaints


class Device:
    """What says the same as a device does."""

    def __init__(self, broker: Broker, name: str) -> None:
        self.topics = Topics(name)
        self.name = name
        self._broker = broker
        self._state = CurrentState(name)

    def introduce(
        self, labels: tuple[str, ...] = LABELS, *, listen: bool = True, period_seconds: float = 600.0
    ) -> None:
        config = Config(
            device=DeviceConfig(id=self.name),
            mqtt=MqttConfig(listen_command=listen),
            telemetry=TelemetryConfig(period_seconds=period_seconds),
        )
        payload = discovery(config, draft_model(labels=labels), self.topics)
        self._broker.publish(self.topics.discovery, payload, retain=True)

    def say(self, word: str) -> None:
        self._broker.publish(self.topics.status, word, retain=True)

    def event(self, **event: Any) -> None:
        self._broker.publish(self.topics.event, json.dumps(event))
        self._state.push(event)
        self.state()

    def state(self) -> None:
        self._broker.publish(self.topics.state, self._state.payload(), retain=True)

    def telemetry(self, **other: Any) -> None:
        self._broker.publish(self.topics.telemetry, json.dumps({**TELEMETRY, **other}))

    def listening(self, word: str) -> None:
        self._broker.publish(self.topics.listen_state, word, retain=True)

    def forget(self) -> None:
        for topic in (self.topics.discovery, self.topics.status, self.topics.state, self.topics.listen_state):
            self._broker.publish(topic, "", retain=True)


@pytest.fixture
def device(house: House) -> Iterator[Device]:
    device = Device(house.broker, f"room{next(_numbers)}x")
    with Changes(house.broker, device.name) as changes:
        device.introduce()
        device.say("online")
        device.listening("ON")
        device.event(**status("healthy"))
        for entity, state in {
            "sensor.emotion": "unknown",
            "event.transition": "unknown",
            "binary_sensor.microphone": "on",
            "switch.listen": "on",
            **{f"sensor.{name}": "unavailable" for name in DIAGNOSTICS},
        }.items():
            changes.wait_for(entity, state)
    yield device
    with Changes(house.broker, device.name) as changes:
        device.forget()
        changes.wait_for("sensor.emotion", None)
    wait_until(lambda: not house.hass.states(device.name), what="all entities are gone")


def in_a_room(test: Callable[..., None]) -> Callable[..., None]:
    for mark in needs_room:
        test = mark(test)
    return test


def status(state: str) -> dict[str, Any]:
    return {"schema": 2, "type": "status", "state": state, "reason": "heard", "time": "2026-11-20T06:33:28.426Z"}


def emotion(phase: str, label: str, at: datetime = datetime(2026, 11, 20, 6, 33, 29, 426000, UTC)) -> dict[str, Any]:
    return {
        "schema": 2,
        "id": f"{phase}-{label}",
        "type": "emotion",
        "phase": phase,
        "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "label": label,
        "probability": 0.75,
        "probabilities": dict.fromkeys(LABELS, 0.25),
        "valence": -0.125,
        "arousal": None if label == "uncertain" else 0.375,
        "level_dbfs": None,
    }


def test_it_makes_every_entity_that_was_announced(house: House, device: Device) -> None:
    states = house.hass.states(device.name)
    assert {entity: state["state"] for entity, state in states.items()} == {
        "sensor.emotion": "unknown",
        "sensor.valence": "unknown",
        "sensor.arousal": "unknown",
        "binary_sensor.speaking": "off",
        "binary_sensor.microphone": "on",
        "event.transition": "unknown",
        "switch.listen": "on",
        # Until the first report.
        **{f"sensor.{name}": "unavailable" for name in DIAGNOSTICS},
    }
    assert states["sensor.emotion"]["attributes"]["options"] == [*LABELS, "uncertain"]
    assert states["event.transition"]["attributes"]["event_types"] == ["start", "change", "end"]


def test_a_transition_arrives_as_an_event_with_all_that_is_known_of_it(house: House, device: Device) -> None:
    with Changes(house.broker, device.name) as changes:
        for event in (emotion("start", "calm"), emotion("change", "mürrisch"), emotion("end", "angry")):
            device.event(**event)
        changes.wait_for("sensor.emotion", "angry")
        wait_until(lambda: len(changes.of("event.transition")) == 3)
        seen = [change["attributes"] for change in changes.of("event.transition")]
    assert [(one["event_type"], one["label"]) for one in seen] == [
        ("start", "calm"),
        ("change", "mürrisch"),
        ("end", "angry"),
    ]
    assert emotion("end", "angry").items() <= seen[-1].items()


def test_what_happens_to_the_microphone_is_no_transition(house: House, device: Device) -> None:
    with Changes(house.broker, device.name) as changes:
        device.event(**status("alarmed"))
        device.event(**status("healthy"))
        device.event(**emotion("start", "calm"))
        changes.wait_for("sensor.emotion", "calm")
        wait_until(lambda: changes.of("event.transition"))
        assert [change["attributes"]["label"] for change in changes.of("event.transition")] == ["calm"]


def test_the_emotion_is_the_current_label_with_its_probability(house: House, device: Device) -> None:
    with Changes(house.broker, device.name) as changes:
        device.event(**emotion("start", "calm"))
        changes.wait_for("binary_sensor.speaking", "on")
        attributes = changes.wait_for("sensor.emotion", "calm")["attributes"]
        assert (attributes["probability"], attributes["since"]) == (0.75, "2026-11-20T06:33:29.426Z")
        device.event(**emotion("end", "uncertain"))
        changes.wait_for("binary_sensor.speaking", "off")
        changes.wait_for("sensor.emotion", "uncertain")


def test_valence_and_arousal_are_those_of_the_last_event_and_what_is_null_is_unknown(
    house: House, device: Device
) -> None:
    with Changes(house.broker, device.name) as changes:
        device.event(**emotion("start", "angry"))
        for name, value in {"valence": "-0.125", "arousal": "0.375"}.items():
            attributes = changes.wait_for(f"sensor.{name}", value)["attributes"]
            assert attributes["state_class"] == "measurement"
            assert not {"unit_of_measurement", "device_class"} & attributes.keys()
        device.event(**emotion("end", "uncertain"))
        changes.wait_for("sensor.arousal", "unknown")
        assert house.hass.states(device.name)["sensor.valence"]["state"] == "-0.125"
        device.event(**status("alarmed"))
        changes.wait_for("sensor.valence", "unknown")


def test_a_microphone_that_is_lost_is_disconnected_and_nothing_is_known_of_the_emotion(
    house: House, device: Device
) -> None:
    with Changes(house.broker, device.name) as changes:
        device.event(**emotion("start", "calm"))
        changes.wait_for("sensor.emotion", "calm")
        device.event(**status("alarmed"))
        changes.wait_for("sensor.emotion", "unknown")
        lost = changes.wait_for("binary_sensor.microphone", "off")
        assert lost["attributes"]["microphone"] == "alarmed"
        device.event(**status("recovering"))
        device.event(**status("healthy"))
        changes.wait_for("binary_sensor.microphone", "on")


def test_telemetry_gives_the_diagnostics_and_what_is_null_is_unknown(house: House, device: Device) -> None:
    with Changes(house.broker, device.name) as changes:
        device.telemetry()
        changes.wait_for("sensor.lost_events", "3")
        states = house.hass.states(device.name)
        assert {name: states[f"sensor.{name}"]["state"] for name in DIAGNOSTICS} == DIAGNOSTICS
        device.telemetry(
            level_dbfs=None, inference_ms={"median": None, "max": None}, resident_mb=None, temperature_celsius=None
        )
        for name in ("level", "inference_time", "memory", "temperature"):
            changes.wait_for(f"sensor.{name}", "unknown")


@pytest.mark.parametrize("word", ["stopped", "offline"])
def test_nothing_is_available_of_a_device_that_is_not_there(house: House, device: Device, word: str) -> None:
    def available() -> set[str]:
        states = house.hass.states(device.name)
        return {entity for entity, state in states.items() if state["state"] != "unavailable"}

    device.telemetry()
    wait_until(lambda: len(available()) == 7 + len(DIAGNOSTICS))
    device.say(word)
    wait_until(lambda: not available())
    device.say("online")
    wait_until(lambda: len(available()) == 7 + len(DIAGNOSTICS))


def test_the_switch_sends_commands_that_are_not_retained_and_follows_the_answer(house: House, device: Device) -> None:
    with (
        Changes(house.broker, device.name) as changes,
        Subscriber(house.broker.observer_port, device.topics.listen) as commands,
    ):
        house.hass.turn(f"switch.{device.name}_listen", "off")
        commands.wait_for(device.topics.listen, "OFF")
        device.listening("OFF")
        changes.wait_for("switch.listen", "off")
        house.hass.turn(f"switch.{device.name}_listen", "on")
        commands.wait_for(device.topics.listen, "ON")
    assert house.broker.retained(device.topics.listen) is None


def test_the_switch_is_not_available_while_commands_cannot_arrive(house: House, device: Device) -> None:
    with Changes(house.broker, device.name) as changes:
        device.listening("unavailable")
        changes.wait_for("switch.listen", "unavailable")
        device.listening("OFF")
        changes.wait_for("switch.listen", "off")
        device.say("offline")
        changes.wait_for("switch.listen", "unavailable")
        device.say("online")
        changes.wait_for("switch.listen", "off")


def test_an_introduction_of_another_model_changes_the_labels_and_may_take_the_switch_away(
    house: House, device: Device
) -> None:
    with Changes(house.broker, device.name) as changes:
        device.introduce(("glad",), listen=False)
        changes.wait_for("switch.listen", None)
        device.event(**emotion("start", "glad"))
        assert changes.wait_for("sensor.emotion", "glad")["attributes"]["options"] == ["glad", "uncertain"]
        device.introduce()
        changes.wait_for("switch.listen", "on")


def test_what_is_not_repeated_is_soon_no_longer_believed(house: House, device: Device) -> None:
    with Changes(house.broker, device.name) as changes:
        device.introduce(period_seconds=1.0)
        device.event(**emotion("start", "calm"))
        device.telemetry()
        for entity in ("sensor.emotion", "binary_sensor.microphone", "sensor.level"):
            changes.wait_for(entity, "unavailable")
        device.state()
        wait_until(lambda: changes.of("sensor.emotion")[-1]["state"] == "calm")


def test_after_a_restart_everything_retained_is_there_again(house: House, device: Device) -> None:
    device.event(**emotion("start", "calm"))
    house.hass.stop()
    house.hass.start()
    wait_until(lambda: house.hass.states(device.name).get("sensor.emotion", {}).get("state") == "calm", ANSWER_SECONDS)
    assert house.hass.states(device.name)["binary_sensor.microphone"]["state"] == "on"


def test_the_automation_in_the_documents_reacts_to_what_happens_now_and_not_to_what_comes_late(house: House) -> None:
    device = Device(house.broker, "kitchen")
    now = datetime.now(UTC)
    with Changes(house.broker, device.name) as changes, Subscriber(house.broker.observer_port, "kitchen/lamp") as lamp:
        device.introduce()
        device.say("online")
        changes.wait_for("event.transition", "unknown")
        device.event(**emotion("start", "angry", now - timedelta(hours=1)))
        device.event(**emotion("end", "calm", now))
        device.event(**emotion("start", "angry", now))
        lamp.wait_for("kitchen/lamp", "red")
        # When the device comes back, what was known before is known again, which is no transition.
        device.say("offline")
        wait_until(lambda: house.hass.states(device.name)["event.transition"]["state"] == "unavailable")
        device.say("online")
        device.event(**emotion("end", "uncertain", now))
        wait_until(lambda: changes.of("event.transition")[-1]["attributes"].get("label") == "uncertain")
        assert lamp.payloads("kitchen/lamp") == ["red"]
    device.forget()


@pytest.fixture
def parlor(house: House, tmp_path: Path) -> Iterator[Room]:
    room = Room(tmp_path)
    room.environment |= {
        "STATE_DIRECTORY": str(tmp_path),
        "AFFECTD_DEVICE_ID": "parlor",
        "AFFECTD_MQTT_ENABLED": "true",
        "AFFECTD_MQTT_PORT": str(house.broker.port),
        "AFFECTD_MQTT_LISTEN_COMMAND": "true",
        "AFFECTD_TELEMETRY_PERIOD_SECONDS": "1",
    }
    room.start()
    yield room
    room.stop(signal.SIGKILL)


@in_a_room
def test_a_real_device_is_found_and_followed(house: House, parlor: Room) -> None:
    with Changes(house.broker, "parlor") as changes, Program(parlor) as program:
        changes.wait_for("binary_sensor.microphone", "on")
        changes.wait_for("switch.listen", "on")
        parlor.play(DEMO)
        said = program.wait_for(lambda event: event.get("phase") == "end", 60)
        wait_until(
            lambda: said["id"] in [(one or {})["attributes"].get("id") for one in changes.of("event.transition")]
        )
        # The network is asked only during speech, and not every machine measures its temperature.
        wait_until(lambda: any(change["state"][0].isdigit() for change in changes.of("sensor.inference_time")))
        states = house.hass.states("parlor")
        unknown = {entity for entity, state in states.items() if state["state"] in ("unknown", "unavailable")}
        assert unknown <= {"sensor.temperature", "sensor.inference_time"}

        house.hass.turn("switch.parlor_listen", "off")
        changes.wait_for("switch.listen", "off")
        microphone = changes.wait_for("binary_sensor.microphone", "off")["attributes"]["microphone"]
        assert microphone == "muted"
        assert parlor.n_listeners == 0
        assert house.hass.states("parlor")["sensor.emotion"]["state"] == "unknown"
        house.hass.turn("switch.parlor_listen", "on")
        wait_until(lambda: house.hass.states("parlor")["binary_sensor.microphone"]["state"] == "on", ANSWER_SECONDS)

        program.stop()
        wait_until(lambda: {state["state"] for state in house.hass.states("parlor").values()} == {"unavailable"})


@in_a_room
def test_a_device_that_dies_is_unavailable_and_home_assistant_that_starts_anew_asks_for_it(
    house: House, parlor: Room
) -> None:
    with Program(parlor) as program:
        wait_until(
            lambda: house.hass.states("parlor").get("binary_sensor.microphone", {}).get("state") == "on", ANSWER_SECONDS
        )
        # Nothing is left of the introduction: only Home Assistant's own word brings it back.
        house.hass.stop()
        house.broker.publish("homeassistant/device/affectd_parlor/config", "", retain=True)
        house.hass.start()
        wait_until(
            lambda: house.hass.states("parlor").get("binary_sensor.microphone", {}).get("state") == "on", ANSWER_SECONDS
        )
        program.process.kill()
        wait_until(lambda: {state["state"] for state in house.hass.states("parlor").values()} == {"unavailable"})
    forget = [sys.executable, "-m", "affectd", "forget"]
    subprocess.run(forget, env=parlor.environment, check=True, timeout=60, capture_output=True)
    wait_until(lambda: not house.hass.states("parlor"), what="all entities are gone")
