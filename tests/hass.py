"""A real Home Assistant for tests, which tells over MQTT what it knows and does what it is told there.

It is installed from PyPI on the first run, some 600 MB for each release, and kept for the next one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from affectd_train.stored import locked
from broker import Broker, Subscriber, free_port, wait_until
from hass_owner import Owner

RELEASES = {"3.12": "2025.1.4", "3.13": "2025.4.4", "3.14": "2026.11.0"}
"""The newest release that runs on every version of a Python."""
KEPT = Path("/var/tmp/affectd-home-assistant")
START_SECONDS = 300.0  # the first time it also installs what its integrations need
ANSWER_SECONDS = 120.0

# Automations, for these are what people write to use the entities. The "is" before the JSON keeps it a text.
_STATE = "{'state': s.state, 'attributes': dict(s.attributes)}"
_QUEUED = {"mode": "queued", "max": 1000}
_AUTOMATIONS = [
    {
        "alias": "tell every change",
        **_QUEUED,
        "triggers": {"trigger": "event", "event_type": "state_changed"},
        "conditions": "{{ not trigger.event.data.entity_id.startswith('automation.') }}",
        "actions": {
            "action": "mqtt.publish",
            "data": {
                "topic": "hass/{{ trigger.event.data.entity_id }}",
                "payload": "{% set s = trigger.event.data.new_state %}"
                f"is {{{{ (none if s is none else {_STATE}) | to_json }}}}",
            },
        },
    },
    {
        "alias": "tell everything",
        **_QUEUED,
        "triggers": {"trigger": "mqtt", "topic": "hass-tell"},
        "actions": {
            "action": "mqtt.publish",
            "data": {
                "topic": "hass-told",
                "payload": "{% set all = namespace(states={}) %}"
                "{% for s in states if trigger.payload in s.entity_id %}"
                f"{{% set all.states = dict(all.states, **{{s.entity_id: {_STATE}}}) %}}"
                "{% endfor %}is {{ all.states | to_json }}",
            },
        },
    },
    {
        "alias": "turn a switch",
        **_QUEUED,
        "triggers": {"trigger": "mqtt", "topic": "hass-turn/#"},
        "actions": {
            "action": "switch.turn_{{ trigger.payload }}",
            "target": {"entity_id": "{{ trigger.topic.split('/')[1] }}"},
        },
    },
]


def installed(python: str) -> Path:
    """Return the folder of a virtual environment with Home Assistant, after having made it if need be."""
    release = RELEASES[python]
    folder = KEPT / release
    KEPT.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        if not (folder / "complete").exists():
            _install(python, release, folder)
    return folder


def _install(python: str, release: str, folder: Path) -> None:
    interpreter = _interpreter(python)
    if interpreter is None:
        pytest.skip(f"no Python {python} for Home Assistant {release}, neither on the path nor in pyenv")
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([interpreter, "-m", "venv", folder], check=True)
    pip = [folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", f"homeassistant=={release}"]
    # The package names the versions of all it was released with, and pip takes newer ones unless it is told.
    versions = next(folder.glob("lib/*/site-packages")) / "homeassistant/package_constraints.txt"
    # What its MQTT needs: on a first start that installs it, automations are set up before there are triggers of MQTT.
    for options in (["--no-deps"], ["paho-mqtt", "--constraint", versions]):
        done = subprocess.run([*pip, *options], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"Home Assistant {release} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    (folder / "complete").touch()


def _interpreter(version: str) -> str | None:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [shutil.which(f"python{version}"), *map(str, pyenv.glob(f"versions/{version}.*/bin/python"))]
    for path in found:
        # pyenv puts a name on the path for what it may not be told to start.
        if (
            path
            and not subprocess.run([path, "-c", "import ensurepip, ssl"], capture_output=True, check=False).returncode
        ):
            return path
    return None


class HomeAssistant:
    """Home Assistant with the MQTT integration and nothing else that was set up by anybody.

    Parameters
    ----------
    environment : Path
        Where it is installed; see `installed`.
    folder : Path
        For its settings and its memory.
    broker : Broker
        Where its integration is connected.
    automation : str
        One more, in YAML.
    """

    def __init__(self, environment: Path, folder: Path, broker: Broker, automation: str) -> None:
        self._environment = environment
        self._folder = folder
        self._broker = broker
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        self._port = free_port()
        settings: dict[str, Any] = {
            "http": {"server_host": "127.0.0.1", "server_port": self._port},
            "logger": {"default": "info"},
            # What the frontend talks to.
            **{part: {} for part in ("api", "auth", "config", "onboarding", "websocket_api")},
            "automation": _AUTOMATIONS,
        }
        lines = [f"{key}: {json.dumps(value)}\n" for key, value in settings.items()]  # JSON is YAML
        lines += ["automation more: !include more.yaml\n", "automation edited: !include automations.yaml\n"]
        (folder / "configuration.yaml").write_text("".join(lines))
        (folder / "automations.yaml").write_text("[]\n")
        (folder / "more.yaml").write_text(automation)
        (folder / ".storage").mkdir()
        entry = {
            "created_at": "2026-01-01T00:00:00+00:00",
            "data": {"broker": "127.0.0.1", "port": broker.observer_port, "discovery": True},
            "disabled_by": None,
            "discovery_keys": {},
            "domain": "mqtt",
            "entry_id": "01JAAAAAAAAAAAAAAAAAAAAAAA",
            "minor_version": 1,
            "modified_at": "2026-01-01T00:00:00+00:00",
            "options": {},
            "pref_disable_new_entities": False,
            "pref_disable_polling": False,
            "source": "user",
            "title": "MQTT",
            "unique_id": None,
            "version": 1,
        }
        storage = {"version": 1, "minor_version": 4, "key": "core.config_entries", "data": {"entries": [entry]}}
        (folder / ".storage/core.config_entries").write_text(json.dumps(storage))

    def __enter__(self) -> Self:
        self.start()
        self.owner = Owner(self._environment, self._port)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def log(self) -> str:
        """What it has logged since the beginning."""
        return (self._folder / "output").read_text(errors="replace")

    @property
    def complaints(self) -> list[str]:
        """Warnings and errors about MQTT and what comes from it, its automations and templates."""
        lines = re.findall(r"^.* (?:WARNING|ERROR|CRITICAL) .*$", self.log, re.MULTILINE)
        places = ("components.mqtt", "components.sensor", "components.binary_sensor", "components.event")
        places += ("components.switch", "components.automation", "helpers.template", "affectd")
        # Home Assistant also counts its own lines.
        lines = [line for line in lines if "[homeassistant.util.logging]" not in line]
        return [line for line in lines if any(place in line for place in places)]

    def start(self) -> None:
        """Start it and return when it has said over MQTT that it is there."""
        with Subscriber(self._broker.observer_port, "homeassistant/status") as births:
            births.messages.clear()  # what was retained
            with (self._folder / "output").open("ab") as output:
                self._process = subprocess.Popen(
                    [self._environment / "bin/hass", "--config", self._folder, "--ignore-os-check"],
                    stdout=output,
                    stderr=output,
                )

            def born() -> bool:
                assert self._process is not None
                assert self._process.poll() is None, self.log
                return "online" in births.payloads("homeassistant/status")

            wait_until(born, START_SECONDS, "Home Assistant starts")

    def stop(self) -> None:
        """End it in good order."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(ANSWER_SECONDS)
        self._process = None

    def states(self, device: str) -> dict[str, dict[str, Any]]:
        """Return the states of the entities of a device, by their ids without its name."""
        with Subscriber(self._broker.observer_port, "hass-told") as answers:
            self._broker.publish("hass-tell", device)
            answers.wait_for("hass-told", seconds=ANSWER_SECONDS)
            states = _value(answers.payloads("hass-told")[0])
        return {entity.replace(f"{device}_", ""): state for entity, state in states.items()}

    def turn(self, entity: str, on_or_off: str) -> None:
        """Turn a switch, as a person at a dashboard does."""
        self._broker.publish(f"hass-turn/{entity}", on_or_off)


class Changes:
    """Every change of the entities of a device from now on, by their ids without its name."""

    def __init__(self, broker: Broker, device: str) -> None:
        self._device = device
        self._subscriber = Subscriber(broker.observer_port, "hass/#")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._subscriber.close()

    def of(self, entity: str) -> list[Any]:
        """Return what an entity has been so far; None stands for its removal."""
        topic = f"hass/{entity.replace('.', f'.{self._device}_')}"
        return [_value(payload) for payload in self._subscriber.payloads(topic)]

    def wait_for(self, entity: str, state: str | None, seconds: float = ANSWER_SECONDS) -> dict[str, Any]:
        """Return the first change of an entity to such a state; None waits for its removal."""

        def found() -> list[Any]:
            return [change for change in self.of(entity) if (change and change["state"]) == state]

        wait_until(found, seconds, f"{entity} becomes {state}")
        first = found()[0]
        return first or {}


def _value(payload: str) -> Any:
    assert payload.startswith("is "), payload
    return json.loads(payload.removeprefix("is "))
