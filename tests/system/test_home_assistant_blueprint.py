"""The blueprint and the automation of the documents in a real Home Assistant: imported, checked by it, and begun.

Needs what `test_home_assistant.py` needs.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from affectd.config.sections import Config, DeviceConfig, MqttConfig, TelemetryConfig, WebConfig
from affectd.mqtt.home_assistant import discovery
from affectd.mqtt.topics import Topics
from affectd.recognition.model_file import find_model
from broker import Broker, Subscriber, needs_mosquitto, wait_until
from hass import ANSWER_SECONDS, RELEASES, Changes, HomeAssistant, installed
from hass_owner import Refused
from tiny_model import draft_model

REPOSITORY = Path(__file__).parents[2]
BLUEPRINTS = REPOSITORY / "scripts/home-assistant/blueprints"
AUTOMATION = re.findall(
    r'^```yaml title="automation"$(.*?)^```$', (REPOSITORY / "docs/home-assistant.md").read_text(), re.M | re.S
)[0]
DEMO = REPOSITORY / "tests/data/demo.wav"
NEWEST = max(RELEASES.values())
LABELS = ("calm", "angry", "happy")
ENTITY, ANYWHERE = "voice_sounds_angry", "voice_sounds_angry_anywhere"
BOTH = pytest.mark.parametrize("name", [ENTITY, ANYWHERE], ids=["entity", "anywhere"])

pytestmark = [pytest.mark.slow, needs_mosquitto]

_numbers = count()


class House:
    """A broker, and a Home Assistant whose owner has imported the blueprint."""

    def __init__(self, release: str, broker: Broker, hass: HomeAssistant) -> None:
        self.release, self.broker, self.hass, self.owner = release, broker, hass, hass.owner
        self.blueprints = {name: self._import(name) for name in (ENTITY, ANYWHERE)}

    def _import(self, name: str) -> str:
        # As "Import blueprint" does with the address of a page.
        with served(BLUEPRINTS) as address:
            found = self.owner.ask("blueprint/import", url=f"{address}/{name}.yaml")
        assert found["validation_errors"] is None
        assert not found["exists"]
        path = f"{found['suggested_filename']}.yaml"
        self.owner.ask("blueprint/save", domain="automation", path=path, yaml=found["raw_data"])
        return path

    def automate(self, device: str, name: str = ENTITY, **inputs: Any) -> str:
        """Make an automation of a blueprint that publishes what it heard; return the topic."""
        topic = f"lamp/{device}/{name}"
        # In the tests there are devices that others of these automations are for.
        where = {"rooms": [f"event.{device}_transition"]} if name == ENTITY else {"topic": f"affectd/{device}/event"}
        publish = {"topic": topic, "payload": "{{ room }}: {{ emotion }}, {{ percent }} %"}
        begin = [{"action": "mqtt.publish", "data": publish}]
        given = {**where, "actions": begin, **inputs}
        # Its name must not be that of the device, for it is no entity of it.
        use = {"alias": f"Lamp {next(_numbers)}", "use_blueprint": {"path": self.blueprints[name], "input": given}}
        self.owner.save_automation(f"{device}-{name}", use)
        return topic


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on the loopback interface."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module", params=RELEASES)
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    environment, release = installed(request.param), RELEASES[request.param]
    folder = tmp_path_factory.mktemp("house")
    # The trigger event.received is new in 2026.
    automation = AUTOMATION if release == NEWEST else "[]"
    with Broker(folder) as broker, HomeAssistant(environment, folder / "hass", broker, automation) as hass:
        yield House(release, broker, hass)
        assert not hass.complaints


class Device:
    """What says the same as a device does."""

    def __init__(self, house: House, name: str) -> None:
        self.topics, self.name, self._broker = Topics(name), name, house.broker

    def introduce(
        self, *, as_before: bool = False, listen: bool = False, version: str = "1.2.3", web: WebConfig | None = None
    ) -> None:
        """Say what it has; `as_before`: without the ids of the entities, as versions up to 0.1 said it."""
        config = Config(
            device=DeviceConfig(id=self.name),
            mqtt=MqttConfig(listen_command=listen),
            telemetry=TelemetryConfig(period_seconds=600.0),
            web=web or WebConfig(),
        )
        payload = json.loads(discovery(config, draft_model(labels=LABELS), self.topics))
        payload["dev"]["sw_version"] = payload["o"]["sw_version"] = version
        for component in payload["cmps"].values():
            if as_before:
                component.pop("default_entity_id", None)
        self._broker.publish(self.topics.discovery, json.dumps(payload), retain=True)
        self._broker.publish(self.topics.status, "online", retain=True)

    def forget(self) -> None:
        for topic in (self.topics.discovery, self.topics.status):
            self._broker.publish(topic, "", retain=True)

    def hear(self, label: str, probability: float = 0.9, phase: str = "start", ago_seconds: float = 0.0) -> None:
        at = datetime.now(UTC) - timedelta(seconds=ago_seconds)
        event = {
            "type": "emotion",
            "device": self.name,
            "phase": phase,
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "label": label,
            "probability": probability,
        }
        self._broker.publish(self.topics.event, json.dumps(event))


@contextmanager
def known(house: House, name: str, **about: Any) -> Iterator[tuple[Device, Changes]]:
    device = Device(house, name)
    with Changes(house.broker, name) as changes:
        device.introduce(**about)
        changes.wait_for("event.transition", "unknown")
        yield device, changes
        device.forget()
        changes.wait_for("event.transition", None)


@pytest.fixture
def device(house: House) -> Iterator[Device]:
    with known(house, f"den{next(_numbers)}x") as (device, _):
        yield device


@BOTH
def test_an_imported_blueprint_is_listed_without_an_error(house: House, name: str) -> None:
    path = house.blueprints[name]
    found = house.owner.ask("blueprint/list", domain="automation")
    assert found[path]["metadata"]["name"].startswith("A voice sounds angry")
    with pytest.raises(Refused, match="actions"):
        house.owner.save_automation("none", {"use_blueprint": {"path": path, "input": {}}})


@BOTH
def test_it_begins_once_when_a_voice_sounds_angry_now_and_not_again_within_the_pause(
    house: House, device: Device, name: str
) -> None:
    topic = house.automate(device.name, name, sure=80)
    with Subscriber(house.broker.observer_port, topic) as lamp, Changes(house.broker, device.name) as changes:
        # Late, another emotion, not sure enough, and the end of speech.
        device.hear("angry", ago_seconds=120)
        device.hear("happy")
        device.hear("angry", 0.79)
        device.hear("angry", phase="end")
        device.hear("angry", 0.8, phase="change")
        lamp.wait_for(topic, f"{device.name}: angry, 80 %", seconds=ANSWER_SECONDS)
        device.hear("angry", 0.95)
        device.hear("calm", phase="end")
        wait_until(lambda: last(changes) == ("end", "calm"), ANSWER_SECONDS)
        assert lamp.payloads(topic) == [f"{device.name}: angry, 80 %"]


def last(changes: Changes) -> tuple[str | None, str | None]:
    """Return the type and the label of the last event that Home Assistant has seen."""
    about = (changes.of("event.transition") or [{}])[-1].get("attributes", {})
    return about.get("event_type"), about.get("label")


@BOTH
def test_without_a_pause_it_begins_every_time_and_with_other_emotions_at_these(
    house: House, device: Device, name: str
) -> None:
    topic = house.automate(device.name, name, pause=0, emotions=["happy", "calm"])
    with Subscriber(house.broker.observer_port, topic) as lamp:
        device.hear("happy")
        # While it is still at work, nothing begins it.
        lamp.wait_for(topic, f"{device.name}: happy, 90 %", seconds=ANSWER_SECONDS)
        wait_until(lambda: house.owner.is_idle(f"{device.name}-{name}"), ANSWER_SECONDS)
        device.hear("angry")
        device.hear("calm")
        lamp.wait_for(topic, f"{device.name}: calm, 90 %", seconds=ANSWER_SECONDS)
        assert lamp.payloads(topic) == [f"{device.name}: {label}, 90 %" for label in ("happy", "calm")]


@BOTH
@pytest.mark.parametrize("begins", [True, False])
def test_it_begins_only_between_the_times(house: House, device: Device, begins: bool, name: str) -> None:
    # Home Assistant of the tests has no place, so its time is UTC.
    now = datetime.now(UTC)
    around = [(now + timedelta(hours=hours)).strftime("%H:%M:%S") for hours in (-2, 2)]
    after, before = around if begins else reversed(around)
    topic = house.automate(device.name, name, after=after, before=before)
    with Subscriber(house.broker.observer_port, topic) as lamp, Changes(house.broker, device.name) as changes:
        device.hear("angry")
        device.hear("calm", phase="end")
        wait_until(lambda: last(changes) == ("end", "calm"), ANSWER_SECONDS)
        if begins:
            lamp.wait_for(topic, f"{device.name}: angry, 90 %", seconds=ANSWER_SECONDS)
        assert len(lamp.payloads(topic)) == begins


def test_a_device_that_comes_back_does_not_begin_it_with_what_it_heard_before(house: House, device: Device) -> None:
    topic = house.automate(device.name, pause=0)
    with Subscriber(house.broker.observer_port, topic) as lamp, Changes(house.broker, device.name) as changes:
        device.hear("angry")
        lamp.wait_for(topic, f"{device.name}: angry, 90 %", seconds=ANSWER_SECONDS)
        house.broker.publish(device.topics.status, "offline", retain=True)
        changes.wait_for("event.transition", "unavailable")
        house.broker.publish(device.topics.status, "online", retain=True)
        device.hear("calm", phase="end")
        wait_until(lambda: last(changes) == ("end", "calm"), ANSWER_SECONDS)
        assert len(lamp.payloads(topic)) == 1


@BOTH
@pytest.mark.skipif(not find_model().exists(), reason="no model file")
def test_a_real_device_begins_it(house: House, tmp_path: Path, name: str) -> None:
    environment = {
        **os.environ,
        "STATE_DIRECTORY": str(tmp_path),
        "AFFECTD_DEVICE_ID": "study",
        "AFFECTD_MQTT_ENABLED": "true",
        "AFFECTD_MQTT_PORT": str(house.broker.port),
    }
    topic = house.automate("study", name)
    with Subscriber(house.broker.observer_port, topic) as lamp:
        # Five voices, one of which sounds angry.
        run = [sys.executable, "-m", "affectd", "run", "--source", str(DEMO), "--realtime"]
        done = subprocess.run(run, env=environment, check=True, capture_output=True, text=True, timeout=120)
        said = [json.loads(line) for line in done.stdout.splitlines()]
        sure = next(one["probability"] for one in said if one["label"] == "angry" and one["phase"] != "end")
        lamp.wait_for(topic, f"study: angry, {round(100 * sure)} %", seconds=ANSWER_SECONDS)
    forget = [sys.executable, "-m", "affectd", "forget"]
    subprocess.run(forget, env=environment, check=True, timeout=60, capture_output=True)
    wait_until(lambda: not house.hass.states("study"), what="all entities are gone")


def test_the_automation_in_the_documents_begins_when_the_entity_receives_an_event(house: House) -> None:
    if house.release != NEWEST:
        pytest.skip("the trigger event.received is new in 2026")
    with (
        known(house, "kitchen") as (device, changes),
        Subscriber(house.broker.observer_port, "kitchen/lamp") as lamp,
    ):
        device.hear("angry", ago_seconds=120)
        device.hear("angry", phase="end")
        device.hear("happy")
        device.hear("angry", phase="change")
        lamp.wait_for("kitchen/lamp", "red", seconds=ANSWER_SECONDS)
        device.hear("calm", phase="end")
        wait_until(lambda: last(changes) == ("end", "calm"), ANSWER_SECONDS)
        assert lamp.payloads("kitchen/lamp") == ["red"]


def test_the_device_leads_to_its_page_and_numbers_have_their_decimals(house: House, device: Device) -> None:
    assert house.owner.device(device.name)["configuration_url"] is None
    device.introduce(web=WebConfig(enabled=True, bind="kitchen.local", port=8080))
    wait_until(
        lambda: house.owner.device(device.name)["configuration_url"] == "http://kitchen.local:8080/", ANSWER_SECONDS
    )
    options = {
        name: house.owner.ask("config/entity_registry/get", entity_id=entity["entity_id"])["options"]
        for name, entity in house.owner.entities(device.name).items()
    }
    shown = {name: options[name]["sensor"]["suggested_display_precision"] for name in ("arousal", "level", "uptime")}
    assert shown == {"arousal": 2, "level": 1, "uptime": 0}


def test_an_upgrade_renames_no_entity_and_no_new_id_depends_on_other_names(house: House) -> None:
    name = f"den{next(_numbers)}x"
    with known(house, name, as_before=True, version="0.1.0") as (device, _):
        wait_until(lambda: len(house.owner.entities(name)) > 10, ANSWER_SECONDS)
        first = ids(house, name)
        assert first["emotion"] == f"sensor.{name}_emotion"
        house.owner.ask(
            "config/entity_registry/update", entity_id=first["emotion"], new_entity_id=f"sensor.mood_{name}"
        )
        # A room of the house, and a name of the owner's own: what new releases may put into ids.
        (area, *_) = house.owner.ask("config/area_registry/list")
        house.owner.ask(
            "config/device_registry/update",
            device_id=house.owner.device(name)["id"],
            area_id=area["area_id"],
            name_by_user="The ear",
        )
        device.introduce(version="0.2.0", listen=True)
        wait_until(lambda: house.owner.device(name)["sw_version"] == "0.2.0", ANSWER_SECONDS)
        wait_until(lambda: "listen" in ids(house, name), ANSWER_SECONDS)
        then = ids(house, name)
        listen = then.pop("listen")
        assert then == {**first, "emotion": f"sensor.mood_{name}"}
        if house.release == NEWEST:
            assert listen == f"switch.{name}_listen"


def ids(house: House, device: str) -> dict[str, str]:
    return {name: entity["entity_id"] for name, entity in house.owner.entities(device).items()}
