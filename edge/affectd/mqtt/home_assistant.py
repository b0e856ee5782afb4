"""The discovery payload for Home Assistant, which describes the device and its entities.

Source: Home Assistant, "MQTT", section "Device discovery payload"
(https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload), 2024.11 and newer.
"""

from __future__ import annotations

import json
import math
from typing import Any

from affectd.mqtt.topics import Topics

_STALE_PERIODS = 3
_STALE_SECONDS = 10.0

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


def discovery(
    device: str,
    labels: tuple[str, ...],
    topics: Topics,
    *,
    listen: bool,
    period_seconds: float,
    version: str,
    settles: bool = False,
) -> str:
    """Return the retained payload of `Topics.discovery`.

    Parameters
    ----------
    device : str
        The id of the device, also its name.
    labels : tuple of str
        Those of the model; ``uncertain`` is added.
    topics : Topics
        The topics of the device.
    listen : bool
        Whether the device takes the command ``listen``, which gives it a switch.
    period_seconds : float
        Interval of telemetry and state; after three without a report the entities become unknown.
    version : str
        Of affectd.
    settles : bool
        Whether the model gets to know its place, which gives the device a sensor of how far it does.
    """
    identity = f"affectd_{device}"
    stale = math.ceil(_STALE_PERIODS * period_seconds + _STALE_SECONDS)
    diagnostics = {name: {**diagnostic, "expire_after": stale} for name, diagnostic in _diagnostics(topics).items()}
    if not settles:
        diagnostics["settled"] = {"p": "sensor"}
    components = {
        **_state_components(labels, topics, stale),
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
        "listen": _listen(topics) if listen else {"p": "switch"},
    }
    for name, component in components.items():
        # A component with its platform alone is removed.
        if len(component) > 1:
            # Unique, because no name above has an underscore.
            component["unique_id"] = f"{identity}_{name}"
    return json.dumps(
        {
            "dev": {"identifiers": [identity], "name": device, "model": "affectd", "sw_version": version},
            "o": {"name": "affectd", "sw_version": version},
            "cmps": components,
            "availability": _availability(topics),
        },
        ensure_ascii=False,
    )


def _state_components(labels: tuple[str, ...], topics: Topics, stale: int) -> dict[str, _Component]:
    common = {"state_topic": topics.state, "qos": 1, "expire_after": stale}
    return {
        "emotion": {
            "p": "sensor",
            "name": "Emotion",
            "icon": "mdi:emoticon-outline",
            "device_class": "enum",
            "options": list(dict.fromkeys((*labels, "uncertain"))),
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
    def sensor(name: str, value: str, unit: str | None, kind: str | None, *, counter: bool = False) -> _Component:
        about = {"device_class": kind, "unit_of_measurement": unit}
        return {
            "p": "sensor",
            "name": name,
            "entity_category": "diagnostic",
            "state_class": "total_increasing" if counter else "measurement",
            "state_topic": topics.telemetry,
            "value_template": f"{{{{ value_json.{value} }}}}",
            **{key: value for key, value in about.items() if value is not None},
        }

    return {
        # Home Assistant's device class for sound levels has no dBFS.
        "level": sensor("Level", "level_dbfs", "dBFS", None),
        "speech": sensor("Speech", "speech_ratio | multiply(100) | round(1)", "%", None),
        "inference": sensor("Inference time", "inference_ms.max", "ms", "duration"),
        "cpu": sensor("CPU", "cpu_percent", "%", None),
        "memory": sensor("Memory", "resident_mb", "MB", "data_size"),
        "temperature": sensor("Temperature", "temperature_celsius", "°C", "temperature"),
        "uptime": sensor("Uptime", "uptime_seconds", "s", "duration"),
        "missed": sensor("Missed sound", "dropped_seconds", "s", "duration", counter=True),
        "overflows": sensor("Overflows", "overflows", None, None, counter=True),
        "waiting": sensor("Waiting events", "outbox_events", None, None),
        "lost": sensor("Lost events", "outbox_dropped", None, None, counter=True),
        "settled": sensor("Settled", "settled | multiply(100) | round(0)", "%", None),
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
