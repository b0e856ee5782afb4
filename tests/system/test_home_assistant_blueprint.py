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

from affectd.mqtt.home_assistant import discovery
from affectd.mqtt.topics import Topics
from affectd.recognition.model_file import find_model
from broker import Broker, Subscriber, needs_mosquitto, wait_until
from hass import ANSWER_SECONDS, RELEASES, Changes, HomeAssistant, installed
from hass_owner import Refused

REPOSITORY = Path(__file__).parents[2]
BLUEPRINTS = REPOSITORY / "scripts/home-assistant/blueprints"
AUTOMATION = re.findall(
    r'^```yaml title="automation"$(.*?)^```$', (REPOSITORY / "docs/home-assistant.md").read_text(), re.M | re.S
)[0]
DEMO = REPOSITORY / "tests/data/demo.wav"
NEWEST = max(RELEASES.values())
LABELS = ("calm", "angry", "happy")

pytestmark = [pytest.mark.slow, needs_mosquitto]

_numbers = count()


class House:
    """A broker, and a Home Assistant whose owner has imported the blueprint."""

    def __init__(self, release: str, broker: Broker, hass: HomeAssistant) -> None:
        self.release, self.broker, self.hass, self.owner = release, broker, hass, hass.owner
        self.blueprint = self._import()

    def _import(self) -> str:
        # As "Import blueprint" does with the address of a page.
        with served(BLUEPRINTS) as address:
            found = self.owner.ask("blueprint/import", url=f"{address}/voice_sounds_angry.yaml")
        assert found["validation_errors"] is None
        assert not found["exists"]
        path = f"{found['suggested_filename']}.yaml"
        self.owner.ask("blueprint/save", domain="automation", path=path, yaml=found["raw_data"])
        return path

    def automate(self, device: str, **inputs: Any) -> str:
        """Make an automation of the blueprint that publishes what it heard; return the topic."""
        topic = f"lamp/{device}"
        publish = {"topic": topic, "payload": "{{ room }}: {{ emotion }}, {{ percent }} %"}
        begin = [{"action": "mqtt.publish", "data": publish}]
        given = {"rooms": [f"event.{device}_transition"], "actions": begin, **inputs}
        # Its name must not be that of the device, for it is no entity of it.
        use = {"alias": f"Lamp {next(_numbers)}", "use_blueprint": {"path": self.blueprint, "input": given}}
        self.owner.save_automation(device, use)
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

    def introduce(self, **about: Any) -> None:
        about = {"listen": False, "period_seconds": 600.0, "version": "1.2.3", **about}
        payload = discovery(self.name, LABELS, self.topics, **about)
        self._broker.publish(self.topics.discovery, payload, retain=True)
        self._broker.publish(self.topics.status, "online", retain=True)

    def forget(self) -> None:
        for topic in (self.topics.discovery, self.topics.status):
            self._broker.publish(topic, "", retain=True)

    def hear(self, label: str, probability: float = 0.9, phase: str = "start", ago_seconds: float = 0.0) -> None:
        at = datetime.now(UTC) - timedelta(seconds=ago_seconds)
        event = {
            "type": "emotion",
            "phase": phase,
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "label": label,
            "probability": probability,
        }
        self._broker.publish(self.topics.event, json.dumps(event))


@contextmanager
def known(house: House, name: str) -> Iterator[tuple[Device, Changes]]:
    device = Device(house, name)
    with Changes(house.broker, name) as changes:
        device.introduce()
        changes.wait_for("event.transition", "unknown")
        yield device, changes
        device.forget()
        changes.wait_for("event.transition", None)


@pytest.fixture
def device(house: House) -> Iterator[Device]:
    with known(house, f"den{next(_numbers)}x") as (device, _):
        yield device


def test_the_imported_blueprint_is_listed_without_an_error(house: House) -> None:
    found = house.owner.ask("blueprint/list", domain="automation")
    assert found[house.blueprint]["metadata"]["name"] == "A voice sounds angry"
    with pytest.raises(Refused, match="rooms"):
        house.owner.save_automation("none", {"use_blueprint": {"path": house.blueprint, "input": {}}})


def test_it_begins_once_when_a_voice_sounds_angry_now_and_not_again_within_the_pause(
    house: House, device: Device
) -> None:
    topic = house.automate(device.name, sure=80)
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


def test_without_a_pause_it_begins_every_time_and_with_other_emotions_at_these(house: House, device: Device) -> None:
    topic = house.automate(device.name, pause=0, emotions=["happy", "calm"])
    with Subscriber(house.broker.observer_port, topic) as lamp:
        for label in ("happy", "angry", "calm"):
            device.hear(label)
        lamp.wait_for(topic, f"{device.name}: calm, 90 %", seconds=ANSWER_SECONDS)
        assert lamp.payloads(topic) == [f"{device.name}: {label}, 90 %" for label in ("happy", "calm")]


@pytest.mark.parametrize("begins", [True, False])
def test_it_begins_only_between_the_times(house: House, device: Device, begins: bool) -> None:
    # Home Assistant of the tests has no place, so its time is UTC.
    now = datetime.now(UTC)
    around = [(now + timedelta(hours=hours)).strftime("%H:%M:%S") for hours in (-2, 2)]
    after, before = around if begins else reversed(around)
    topic = house.automate(device.name, after=after, before=before)
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


@pytest.mark.skipif(not find_model().exists(), reason="no model file")
def test_a_real_device_begins_it(house: House, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "STATE_DIRECTORY": str(tmp_path),
        "AFFECTD_DEVICE_ID": "study",
        "AFFECTD_MQTT_ENABLED": "true",
        "AFFECTD_MQTT_PORT": str(house.broker.port),
    }
    topic = house.automate("study")
    with Subscriber(house.broker.observer_port, topic) as lamp:
        # Five voices, one of which sounds angry.
        run = [sys.executable, "-m", "affectd", "run", "--source", str(DEMO), "--realtime"]
        done = subprocess.run(run, env=environment, check=True, capture_output=True, text=True, timeout=120)
        said = [json.loads(line) for line in done.stdout.splitlines()]
        (sure,) = (one["probability"] for one in said if (one["label"], one["phase"]) == ("angry", "change"))
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
    device.introduce(page="http://kitchen.local:8080/")
    wait_until(
        lambda: house.owner.device(device.name)["configuration_url"] == "http://kitchen.local:8080/", ANSWER_SECONDS
    )
    options = {
        name: house.owner.ask("config/entity_registry/get", entity_id=entity["entity_id"])["options"]
        for name, entity in house.owner.entities(device.name).items()
    }
    shown = {name: options[name]["sensor"]["suggested_display_precision"] for name in ("arousal", "level", "uptime")}
    assert shown == {"arousal": 2, "level": 1, "uptime": 0}


def test_an_entity_that_was_renamed_keeps_its_id_and_no_id_depends_on_other_names(house: House, device: Device) -> None:
    before = house.owner.entities(device.name)
    assert before["emotion"]["entity_id"] == f"sensor.{device.name}_emotion"
    house.owner.ask(
        "config/entity_registry/update",
        entity_id=before["emotion"]["entity_id"],
        new_entity_id=f"sensor.mood_{device.name}",
    )
    # A room of the house, and a name of the owner's own: what new releases may put into ids.
    (area, *_) = house.owner.ask("config/area_registry/list")
    house.owner.ask(
        "config/device_registry/update",
        device_id=house.owner.device(device.name)["id"],
        area_id=area["area_id"],
        name_by_user="The ear",
    )
    device.introduce(listen=True, version="1.2.4")
    wait_until(lambda: "listen" in house.owner.entities(device.name), ANSWER_SECONDS)
    after = house.owner.entities(device.name)
    assert after["emotion"]["entity_id"] == f"sensor.mood_{device.name}"
    assert {name: one["entity_id"] for name, one in after.items() if name not in ("emotion", "listen")} == {
        name: one["entity_id"] for name, one in before.items() if name != "emotion"
    }
    if house.release == NEWEST:
        assert after["listen"]["entity_id"] == f"switch.{device.name}_listen"
