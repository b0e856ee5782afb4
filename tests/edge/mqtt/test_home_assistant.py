"""The introduction to Home Assistant, as far as it can be judged without one; tests/system has a real one."""

from __future__ import annotations

import json
import re
from importlib import resources
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectd.config.sections import Config, DeviceConfig, MqttConfig, TelemetryConfig, WebConfig
from affectd.errors import ModelFileError
from affectd.mqtt.home_assistant import discovery, page_url
from affectd.mqtt.topics import Topics
from affectd.recognition.model_file import ModelFile
from tiny_model import draft_model, draft_place_model

LABELS = ("calm", "angry")
IDS = st.from_regex(r"[A-Za-z0-9_-]+", fullmatch=True)


def introduced(
    device: str = "kitchen",
    listen: bool = True,
    period_seconds: float = 60.0,
    model: ModelFile | None = None,
    web: WebConfig | None = None,
) -> dict[str, Any]:
    config = Config(
        device=DeviceConfig(id=device),
        mqtt=MqttConfig(listen_command=listen),
        telemetry=TelemetryConfig(period_seconds=period_seconds),
        web=web or WebConfig(),
    )
    found: dict[str, Any] = json.loads(discovery(config, model or draft_model(labels=LABELS), Topics(device)))
    return found


def entities(payload: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: component for name, component in payload["cmps"].items() if len(component) > 1}


def test_the_topics_of_a_device() -> None:
    topics = Topics("kitchen", "ha")
    assert (topics.status, topics.event, topics.state) == tuple(
        f"affectd/kitchen/{name}" for name in ("status", "event", "state")
    )
    assert (topics.telemetry, topics.listen, topics.listen_state) == tuple(
        f"affectd/kitchen/{name}" for name in ("telemetry", "listen", "listen/state")
    )
    assert (topics.discovery, topics.birth) == ("ha/device/affectd_kitchen/config", "ha/status")


def test_the_device_says_who_it_is_and_where_to_see_that_it_is_there() -> None:
    payload = introduced()
    assert payload["dev"] == {
        "identifiers": ["affectd_kitchen"],
        "name": "kitchen",
        "model": "affectd",
        "sw_version": version("affectd"),
    }
    origin = payload["o"]
    assert (origin["name"], origin["sw_version"]) == ("affectd", version("affectd"))
    # As homeassistant/helpers/config_validation.py asks of a "configuration_url".
    assert urlsplit(origin["support_url"]).scheme == "https"
    assert urlsplit(origin["support_url"]).netloc
    assert [one["topic"] for one in payload["availability"]] == ["affectd/kitchen/status"]


def test_every_component_has_a_platform_and_a_name_of_its_own() -> None:
    components = entities(introduced())
    assert {component["p"] for component in components.values()} == {"sensor", "binary_sensor", "event", "switch"}
    for field in ("unique_id", "name"):
        assert len({component[field] for component in components.values()}) == len(components)


@given(IDS, IDS)
def test_no_two_devices_share_an_entity_or_a_topic_whatever_they_are_called(one: str, other: str) -> None:
    def names(device: str) -> set[str]:
        payload = introduced(device)
        found = {component["unique_id"] for component in entities(payload).values()}
        found |= set(re.findall(r'"(affectd/[^"]+)"', json.dumps(payload)))
        return found | {Topics(device).discovery, *payload["dev"]["identifiers"]}

    assert (one == other) or not names(one) & names(other)


@given(IDS)
def test_an_entity_is_told_the_id_that_home_assistant_would_make_of_its_names_so_that_none_is_renamed(
    device: str,
) -> None:
    for component in entities(introduced(device)).values():
        object_id = slug(device + " " + component["name"])
        assert component["default_entity_id"] == f"{component['p']}.{object_id}"
        # homeassistant/core.py, VALID_ENTITY_ID
        assert re.fullmatch(r"[a-z0-9_]+\.(?!_)[a-z0-9_]+(?<!_)", component["default_entity_id"])


def slug(name: str) -> str:
    """homeassistant/util/__init__.py, slugify, for the characters of our names."""
    slug = "".join(letter if letter.isalnum() else "_" for letter in name.lower())
    while "__" in slug:
        slug = slug.replace("__", "_")
    return slug.strip("_")


@pytest.mark.parametrize(
    ("bind", "url"),
    [
        ("127.0.0.1", None),
        ("127.0.1.1", None),
        ("localhost", None),
        ("::1", None),
        ("0.0.0.0", "http://kitchen.local:8080/"),
        ("::", "http://kitchen.local:8080/"),
        ("192.168.1.20", "http://192.168.1.20:8080/"),
        ("fd00::20", "http://[fd00::20]:8080/"),
        ("kitchen.lan", "http://kitchen.lan:8080/"),
    ],
)
def test_the_page_has_an_address_where_another_machine_can_open_it(bind: str, url: str | None) -> None:
    assert page_url(WebConfig(enabled=True, bind=bind, port=8080), "kitchen") == url
    assert page_url(WebConfig(enabled=False, bind=bind, port=8080), "kitchen") is None


def test_a_machine_that_knows_its_whole_name_is_called_by_it() -> None:
    assert page_url(WebConfig(enabled=True, bind="0.0.0.0", port=80), "pi.lan") == "http://pi.lan:80/"


def test_the_device_leads_to_its_page_if_it_has_one() -> None:
    with_one, without = (
        introduced(web=WebConfig(enabled=enabled, bind="kitchen.local", port=8080)) for enabled in (True, False)
    )
    assert with_one["dev"].pop("configuration_url") == "http://kitchen.local:8080/"
    assert with_one == without


def test_a_number_is_shown_with_as_many_decimals_as_mean_something() -> None:
    shown = {
        name: component["suggested_display_precision"]
        for name, component in entities(introduced()).items()
        if component["p"] == "sensor" and name != "emotion"
    }
    assert {name for name, decimals in shown.items() if decimals == 2} == {"valence", "arousal"}
    # Counts, and percentages and times that are whole.
    assert {name for name, decimals in shown.items() if decimals == 0} == {
        *("speech", "uptime", "overflows", "waiting", "lost"),
    }
    assert max(shown.values()) == 2
    assert "suggested_display_precision" not in introduced()["cmps"]["emotion"]


def test_everything_has_an_icon_its_own_or_that_of_its_device_class() -> None:
    for name, component in entities(introduced()).items():
        assert ("icon" in component) != (component.get("device_class") not in (None, "enum")), name
        assert re.fullmatch("mdi:[a-z-]+", component.get("icon", "mdi:none"))


@given(IDS)
def test_home_assistant_accepts_the_topic_of_any_device(device: str) -> None:
    # homeassistant/components/mqtt/discovery.py, TOPIC_MATCHER
    assert re.fullmatch(r"homeassistant/\w+/[a-zA-Z0-9_-]+/config", Topics(device).discovery)


def test_the_emotion_is_one_of_the_labels_or_uncertain() -> None:
    emotion = introduced()["cmps"]["emotion"]
    assert emotion["device_class"] == "enum"
    assert emotion["options"] == ["calm", "angry", "uncertain"]
    # Never twice, for no model file has it as a label.
    with pytest.raises(ModelFileError, match="'uncertain'"):
        draft_model(labels=("calm", "uncertain"))


@pytest.mark.parametrize(("period_seconds", "stale"), [(1.0, 13), (60.0, 190), (0.3 + 60, 191)])
def test_what_is_not_repeated_for_three_periods_is_no_longer_known(period_seconds: float, stale: int) -> None:
    components = entities(introduced(period_seconds=period_seconds))
    assert {
        name: component.get("expire_after") for name, component in components.items() if "expire_after" in component
    } == {name: stale for name, component in components.items() if component["p"] in ("sensor", "binary_sensor")}


def test_a_model_that_gets_to_know_its_place_has_a_sensor_for_it() -> None:
    settling = draft_place_model()
    staying = draft_place_model({"prior_seconds": 1e6})
    headless = draft_model(labels=settling.labels)
    with_one, without, headless_one = (introduced(model=model) for model in (settling, staying, headless))
    assert headless_one == without
    sensor = with_one["cmps"].pop("settled")
    assert sensor["state_topic"] == Topics("kitchen").telemetry
    assert sensor["value_template"] == "{{ value_json.settled | multiply(100) | round(0) }}"
    assert sensor["unique_id"] == "affectd_kitchen_settled"
    # A component with its platform alone is removed, as after a change of the model.
    assert without["cmps"].pop("settled") == {"p": "sensor"}
    assert with_one == without


def test_a_device_that_takes_no_commands_takes_the_switch_away_that_it_may_have_had() -> None:
    assert introduced(listen=False)["cmps"]["listen"] == {"p": "switch"}
    switch = introduced(listen=True)["cmps"]["listen"]
    assert (switch["command_topic"], switch["state_topic"]) == (
        "affectd/kitchen/listen",
        "affectd/kitchen/listen/state",
    )
    assert not switch.get("retain", False)
    assert [one["topic"] for one in switch["availability"]] == [
        "affectd/kitchen/status",
        "affectd/kitchen/listen/state",
    ]
    assert switch["availability_mode"] == "all"


def test_only_what_people_may_want_on_a_dashboard_is_not_a_diagnostic() -> None:
    components = entities(introduced())
    plain = {name for name, component in components.items() if component.get("entity_category") != "diagnostic"}
    assert plain == {"emotion", "valence", "arousal", "speaking", "transition", "listen"}


@pytest.mark.parametrize("name", ["valence", "arousal"])
def test_valence_and_arousal_are_numbers_without_a_unit_that_home_assistant_keeps_means_of(name: str) -> None:
    sensor = introduced()["cmps"][name]
    assert (sensor["p"], sensor["state_topic"], sensor["state_class"]) == (
        "sensor",
        "affectd/kitchen/state",
        "measurement",
    )
    assert sensor["value_template"] == f"{{{{ value_json.{name} }}}}"
    assert sensor["icon"].startswith("mdi:")
    assert not {"unit_of_measurement", "device_class", "options"} & sensor.keys()


def test_every_field_that_a_template_reads_is_in_the_schema_of_its_topic() -> None:
    read: dict[str, set[str]] = {}
    for component in entities(introduced()).values():
        topic = component["state_topic"].removeprefix("affectd/kitchen/")
        for key, template in component.items():
            if key.endswith("_template"):
                read.setdefault(topic, set()).update(re.findall(r"value_json\.([a-z_.]+)", template))
    assert set(read) == {"state", "event", "telemetry"}
    for topic, fields in read.items():
        room = "affectd.events" if topic == "event" else "affectd.mqtt"
        schema = json.loads(resources.files(room).joinpath(f"{topic}.schema.json").read_text("utf-8"))
        for field in fields:
            described = schema
            for part in field.split("."):
                described = described["properties"][part]
    assert {"inference_ms.max", "temperature_celsius", "outbox_dropped"} <= read["telemetry"]
