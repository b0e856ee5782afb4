"""The check of the broker: connect, subscribe and publish as the service would, then disconnect."""

from __future__ import annotations

import json
import os
import select
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from affectd.config.secret import SETTINGS_FOLDER
from affectd.config.sections import MqttConfig
from affectd.doctor.finding import Finding, fault, ok, warning
from affectd.errors import ConfigError, UnavailableError
from affectd.mqtt.credentials import Login, read_login
from affectd.mqtt.link import Link, Publication, shown_address
from affectd.mqtt.topics import Topics

_ANSWER_SECONDS = 10.0
_RETURN_SECONDS = 3.0  # for a message to come back from the broker


def broker(config: MqttConfig, device: str, environment: Mapping[str, str]) -> Finding:
    """Check that this device may do at the broker what it has to.

    `environment` has the ``CREDENTIALS_DIRECTORY`` of the service. One event of the type ``test`` is published.
    """
    if not config.enabled:
        return ok("no broker configured")
    topics = Topics(device, config.discovery_prefix, config.birth_topic)
    wanted = [topics.birth] * config.discovery + [topics.listen] * config.listen_command
    # Not the client id of the service, which the broker would disconnect.
    client_id = f"{config.client_id or f'affectd-{device}'}-doctor"
    try:
        login = read_login(config, environment)
        test = Publication(topics.event, _test_event(device))
        trial = _try(config, client_id, login, wanted, test if config.protocol == "5" else None)
        takes_events = True
        if config.protocol != "5" and not trial.lost:
            # MQTT 3.1.1 acknowledges what the broker drops. MQTT 5 has the same permissions, and tells.
            second = _try(replace(config, protocol="5"), client_id, login, [], test)
            trial.refused.update(second.refused)
            if second.lost:
                takes_events = test in _try(config, client_id, login, [test.topic], test).came_back
    except UnavailableError as error:
        return fault("paho-mqtt is not installed", str(error).partition(": ")[2])
    except ConfigError as error:
        alone = "" if os.geteuid() == 0 else "; if only root may read it: sudo affectd doctor"
        return fault(str(error), f"correct [mqtt] in the settings{alone}")
    return _finding(config, trial, takes_events)


def _finding(config: MqttConfig, trial: _Trial, takes_events: bool) -> Finding:
    where = shown_address(config)
    if trial.lost:
        secret = (
            f", and the password in {config.password_file or f'{SETTINGS_FOLDER}/mqtt_password'}"
            if config.username
            else ""
        )
        mend = f"compare [mqtt] host, port and username in the settings{secret} with the broker's; its log says more"
        return fault(f"{where}: {trial.lost}", mend)
    if trial.refused:
        refused = ", ".join(f"{topic} ({reason})" for topic, reason in trial.refused.items())
        return fault(
            f"{where} lets this device in, but refuses {refused}",
            "permit this user of the broker these topics: docs/mqtt.md, Access control, has a list",
        )
    lets_in = f"{where} lets this device in by MQTT {config.protocol}{' over TLS' if config.tls else ''}"
    if not takes_events:
        return warning(
            f"{lets_in}, but MQTT 3.1.1 does not tell whether it takes events",
            "watch the topic event with another client while this command runs: a message of the type test must arrive",
        )
    return ok(f"{lets_in} and takes its events")


@dataclass
class _Trial:
    """What the broker answered over one connection."""

    lost: str = ""
    """Why there is none."""
    refused: dict[str, str] = field(default_factory=dict)
    """Topic to reason."""
    came_back: list[Publication] = field(default_factory=list)


def _try(
    config: MqttConfig, client_id: str, login: Login, subscribe: Collection[str], publish: Publication | None
) -> _Trial:
    """Connect, subscribe to topics, publish one message and wait for all answers."""
    trial = _Trial()
    link = Link(
        config,
        client_id,
        lambda: login,
        received=lambda topic, payload, retained: trial.came_back.append(
            Publication(topic, payload.decode(errors="replace"))
        ),
    )
    link.open()
    _drive(link, lambda: link.state != "opened")
    waiting = set(subscribe)
    if link.state == "connected":
        link.subscribe(subscribe)

        def is_answered() -> bool:
            for topic, refusal in link.subscribed():
                waiting.discard(topic)
                trial.refused.update({topic: refusal} if refusal else {})
            return not waiting

        _drive(link, is_answered)
    if link.state == "connected" and publish is not None:
        waiting.add(publish.topic)
        link.publish(publish)

        def is_acknowledged() -> bool:
            for _, refusal in link.acknowledged():
                waiting.discard(publish.topic)
                trial.refused.update({publish.topic: refusal} if refusal else {})
            return not waiting

        _drive(link, is_acknowledged)
        if publish.topic in subscribe and publish.topic not in trial.refused:
            _drive(link, lambda: publish in trial.came_back, _RETURN_SECONDS)
    if link.state == "lost":
        trial.lost = link.reason
        link.drop()
    else:
        link.disconnect()
        trial.refused.update(dict.fromkeys(sorted(waiting), "no answer"))
    return trial


def _drive(link: Link, is_done: Callable[[], bool], seconds: float = _ANSWER_SECONDS) -> None:
    """Let a link work until something holds, it is lost, or the time is over."""
    give_up_at = time.monotonic() + seconds
    while link.state in ("opened", "connected") and not is_done() and time.monotonic() < give_up_at:
        poll = select.poll()
        if not link.register(poll):
            poll.poll(100)
        link.step()


def _test_event(device: str) -> str:
    # Not affectd.events, which needs NumPy.
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    event = {"schema": 2, "id": str(uuid.uuid4()), "type": "test", "time": now, "clock_synchronized": None}
    return json.dumps({**event, "device": device})
