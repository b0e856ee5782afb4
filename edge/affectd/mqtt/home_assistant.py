"""The discovery payload for Home Assistant, which describes the device and its entities.

Source: Home Assistant, "MQTT", section "Device discovery payload"
(https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload), 2024.11 and newer.
"""

from __future__ import annotations

import json
import math
import os
import re
from typing import Any

from affectd import __version__
from affectd.config.secret import is_loopback
from affectd.config.sections import Config, WebConfig
from affectd.mqtt.topics import Topics
from affectd.recognition.model_file import ModelFile

_STALE_PERIODS = 3
_STALE_SECONDS = 10.0

# What Home Assistant writes into its log beside a device that it cannot make: its own page about such devices.
_SUPPORT_URL = "https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery"
_EVERY_ADDRESS = ("0.0.0.0", "::")

_AVAILABILITY = "{{ 'online' if value == 'online' else 'offline' }}"
_COMMANDS_ARRIVE = "{{ 'online' if value in ('ON', 'OFF') else 'offline' }}"
_LABEL = "{{ value_json.label }}"
_ABOUT_LABEL = "{{ {'probability': value_json.probability, 'since': value_json.since} | tojson }}"
_SPEAKING = "{{ 'ON' if value_json.speaking else 'OFF' }}"
_MICROPHONE = "{% set m = value_json.microphone %}{{ None if m is none else 'ON' if m == 'healthy' else 'OFF' }}"
_ABOUT_MICROPHONE = "{{ {'microphone': value_json.microphone} | tojson }}"
# An empty rendering is ignored, which leaves out status events.
_TRANSITION = (
    "{% if value_json.type == 'emotion' %}{{ dict(value_json, event_type=value_json.phase) | tojson }}{% endif %}"
)

_Component = dict[str, Any]


def discovery(config: Config, model: ModelFile, topics: Topics) -> str:
    """Return the retained payload of `Topics.discovery`.

    The emotion is one of the labels of the model, or ``uncertain``. What shows a value is unavailable when nothing came
    for three periods of telemetry and ten seconds. A device that takes the command ``listen`` has a switch; one whose
    model gets to know its place, a sensor of how far it does; one with a page, its address, which Home Assistant shows
    as *Visit*.
    """
    device, head = config.device.id, model.learning_head
    identity = f"affectd_{device}"
    stale = math.ceil(_STALE_PERIODS * config.telemetry.period_seconds + _STALE_SECONDS)
    diagnostics = {name: {**diagnostic, "expire_after": stale} for name, diagnostic in _diagnostics(topics).items()}
    if head is None or not head.spec.moves:
        diagnostics["settled"] = {"p": "sensor"}
    components = {
        **_state_components(model.labels, topics, stale),
        "transition": {
            "p": "event",
            "name": "Transition",
            "icon": "mdi:swap-horizontal",
            "state_topic": topics.event,
            "qos": 1,
            "event_types": ["start", "change", "end"],
            "value_template": _TRANSITION,
        },
        **diagnostics,
        "listen": _listen(topics) if config.mqtt.listen_command else {"p": "switch"},
    }
    for name, component in components.items():
        # A component with its platform alone is removed.
        if len(component) > 1:
            # Unique, because no name above has an underscore.
            component["unique_id"] = f"{identity}_{name}"
            component["default_entity_id"] = _entity_id(component, device)
    about = {"identifiers": [identity], "name": device, "model": "affectd", "sw_version": __version__}
    if (page := page_url(config.web, os.uname().nodename)) is not None:
        about["configuration_url"] = page
    return json.dumps(
        {
            "dev": about,
            "o": {"name": "affectd", "sw_version": __version__, "support_url": _SUPPORT_URL},
            "cmps": components,
            "availability": _availability(topics),
        },
        ensure_ascii=False,
    )


def page_url(web: WebConfig, machine: str) -> str | None:
    """Return where a browser elsewhere in the house finds the page of this device; None if it cannot.

    Parameters
    ----------
    web : WebConfig
        The settings of the page.
    machine : str
        The name of this machine. Where the page has every address, it is found by this name, which boards announce in
        the house with ``.local`` (S. Cheshire and M. Krochmal, *Multicast DNS*, RFC 6762, 2013).

    Examples
    --------
    >>> page_url(WebConfig(enabled=True, bind="0.0.0.0", port=8080), machine="kitchen")
    'http://kitchen.local:8080/'
    """
    if not web.enabled or is_loopback(web.bind):
        return None
    host = web.bind
    if host in _EVERY_ADDRESS:
        host = machine if "." in machine else f"{machine}.local"
    return f"http://[{host}]:{web.port}/" if ":" in host else f"http://{host}:{web.port}/"


def _entity_id(component: _Component, device: str) -> str:
    """Return the id that Home Assistant makes of these names.

    Told here as well, because new releases may make ids of other names, such as that of the area.
    """
    # Releases before 2025.10 do not know the key and ignore it; the names give them the same ids.
    words = re.findall("[a-z0-9]+", f"{device} {component['name']}".lower())
    return f"{component['p']}.{'_'.join(words)}"


def _state_components(labels: tuple[str, ...], topics: Topics, stale: int) -> dict[str, _Component]:
    common = {"state_topic": topics.state, "qos": 1, "expire_after": stale}
    return {
        "emotion": {
            "p": "sensor",
            "name": "Emotion",
            "icon": "mdi:emoticon-outline",
            "device_class": "enum",
            "options": [*labels, "uncertain"],
            "value_template": _LABEL,
            "json_attributes_topic": topics.state,
            "json_attributes_template": _ABOUT_LABEL,
            **common,
        },
        "valence": {**_affect("Valence", "mdi:emoticon-happy-outline"), **common},
        "arousal": {**_affect("Arousal", "mdi:pulse"), **common},
        "speaking": {
            "p": "binary_sensor",
            "name": "Speaking",
            "device_class": "sound",
            "value_template": _SPEAKING,
            **common,
        },
        "microphone": {
            "p": "binary_sensor",
            "name": "Microphone",
            "device_class": "connectivity",
            "entity_category": "diagnostic",
            "value_template": _MICROPHONE,
            "json_attributes_topic": topics.state,
            "json_attributes_template": _ABOUT_MICROPHONE,
            **common,
        },
    }


def _affect(name: str, icon: str) -> _Component:
    # A number from -1 to 1 has neither a unit nor a device class.
    return {
        "p": "sensor",
        "name": name,
        "icon": icon,
        "state_class": "measurement",
        "suggested_display_precision": 2,
        "value_template": f"{{{{ value_json.{name.lower()} }}}}",
    }


def _diagnostics(topics: Topics) -> dict[str, _Component]:
    def sensor(
        name: str, value: str, unit: str | None, kind: str, decimals: int = 0, *, counter: bool = False
    ) -> _Component:
        # A device class has an icon; what has none brings one.
        about = {"icon" if kind.startswith("mdi:") else "device_class": kind, "unit_of_measurement": unit}
        return {
            "p": "sensor",
            "name": name,
            "entity_category": "diagnostic",
            "state_class": "total_increasing" if counter else "measurement",
            "suggested_display_precision": decimals,
            "state_topic": topics.telemetry,
            "value_template": f"{{{{ value_json.{value} }}}}",
            **{key: value for key, value in about.items() if value is not None},
        }

    return {
        # Home Assistant's device class for sound levels has no dBFS.
        "level": sensor("Level", "level_dbfs", "dBFS", "mdi:volume-high", 1),
        "speech": sensor("Speech", "speech_ratio | multiply(100) | round(1)", "%", "mdi:account-voice"),
        "inference": sensor("Inference time", "inference_ms.max", "ms", "duration", 1),
        "cpu": sensor("CPU", "cpu_percent", "%", "mdi:chip", 1),
        "memory": sensor("Memory", "resident_mb", "MB", "data_size", 1),
        "temperature": sensor("Temperature", "temperature_celsius", "°C", "temperature", 1),
        "uptime": sensor("Uptime", "uptime_seconds", "s", "duration"),
        "missed": sensor("Missed sound", "dropped_seconds", "s", "duration", 1, counter=True),
        "overflows": sensor("Overflows", "overflows", None, "mdi:waveform", counter=True),
        "waiting": sensor("Waiting events", "outbox_events", None, "mdi:tray-full"),
        "lost": sensor("Lost events", "outbox_dropped", None, "mdi:tray-remove", counter=True),
        "settled": sensor("Settled", "settled | multiply(100) | round(0)", "%", "mdi:home-heart"),
    }


def _availability(topics: Topics) -> list[dict[str, str]]:
    # A template, because both "stopped" and "offline" mean unavailable.
    return [{"topic": topics.status, "value_template": _AVAILABILITY}]


def _listen(topics: Topics) -> _Component:
    return {
        "p": "switch",
        "name": "Listen",
        "icon": "mdi:microphone",
        "command_topic": topics.listen,
        "state_topic": topics.listen_state,
        "availability": [
            *_availability(topics),
            {"topic": topics.listen_state, "value_template": _COMMANDS_ARRIVE},
        ],
        "availability_mode": "all",
        "qos": 1,
    }
