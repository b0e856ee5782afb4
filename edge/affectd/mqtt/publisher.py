"""The sink that publishes over MQTT, and the topics of its `Connection`.

============  =================================  ==============================================
topic         when                               what
============  =================================  ==============================================
event         at each event                      the event, kept in the outbox until acknowledged
state         at a change, and with telemetry    the current label (`affectd.mqtt.state`)
telemetry     periodically                       `affectd.mqtt.telemetry`
status        at both ends, and with telemetry   online, stopped, offline
listen        published by other clients         ON or OFF: `affectd.mqtt.mute`
discovery     connected, Home Assistant started  `affectd.mqtt.home_assistant`
============  =================================  ==============================================
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from threading import Thread
from typing import Any

from affectd.config.sections import Config
from affectd.config.state import Folders
from affectd.errors import UnavailableError
from affectd.events.sinks import as_line
from affectd.mqtt.connection import Connection, Publication
from affectd.mqtt.home_assistant import discovery
from affectd.mqtt.mute import Mute
from affectd.mqtt.state import CurrentState
from affectd.mqtt.telemetry import Telemetry
from affectd.mqtt.topics import Topics
from affectd.outbox.outbox import Outbox
from affectd.recognition.model_file import ModelFile

_log = logging.getLogger(__name__)

# Limits what a client can cause that says all the time that Home Assistant has started.
_GREETING_SECONDS = 1.0


class Publisher:
    """The sink that publishes events; connects and reconnects from `start` to `close`.

    The outbox is in `folders`; `mute` is set by the command ``listen``, if the settings have it; `tell_refused` gets
    the topics that the broker refuses when they change; `also` are further topics, each with what takes its messages.

    Raises
    ------
    ConfigError
        A file that the connection needs cannot be read, or the password would be sent in the clear.
    UnavailableError
        The MQTT client is not installed.
    """

    def __init__(
        self,
        config: Config,
        model: ModelFile,
        folders: Folders,
        telemetry: Telemetry,
        mute: Mute,
        tell_refused: Callable[[list[str]], None],
        also: Mapping[str, Callable[[bytes, bool], None]],
    ) -> None:
        device, mqtt = config.device.id, config.mqtt
        self._topics = topics = Topics(device, mqtt.discovery_prefix, mqtt.birth_topic)
        self._telemetry, self._mute, self._tell_refused = telemetry, mute, tell_refused
        self._state = CurrentState(device)
        self._told_refused: list[str] = []
        self._greet_from = 0.0
        self.backlog = Outbox(
            folders.state,
            folders.runtime,
            max_events=mqtt.outbox_events,
            max_bytes=round(mqtt.outbox_mb * 1e6),
        )
        """The events that wait for the broker."""
        # An empty one deletes an earlier description.
        description = discovery(config, model, topics) if mqtt.discovery else ""
        # The only topic outside of affectd/, which lists of permitted topics forget.
        self._announcement = Publication(topics.discovery, description, retain=True, is_optional=True)
        self._online = Publication(topics.status, "online", retain=True)
        # One that was muted, and takes no commands any more, listens, while the broker has kept that it does not.
        was_muted = not mqtt.listen_command and Mute(folders.state).is_muted
        self._withdrawn = [Publication(topics.listen_state, "", retain=True)] * was_muted
        subscriptions = dict(also)
        if mqtt.discovery:
            subscriptions[topics.birth] = self._on_birth
        if mqtt.listen_command:
            subscriptions[topics.listen] = self._on_listen
        self._connection = Connection(
            mqtt,
            device,
            self.backlog,
            event_topic=topics.event,
            last_will=Publication(topics.status, "offline", retain=True),
            farewell=Publication(topics.status, "stopped", retain=True),
            greeting=self._greeting,
            subscriptions=subscriptions,
            period_seconds=config.telemetry.period_seconds,
            periodic=self._report,
            answered=self._on_answer,
        )

    def start(self) -> None:
        """Begin to connect."""
        self._connection.start()

    def close(self, patience_seconds: Callable[[], float]) -> None:
        """Give the broker, and then the disk, as long as `patience_seconds` says; what is left stays in the outbox."""
        self._connection.close(patience_seconds())
        # A disk that hangs must not hold up the end; what was written is in the journal.
        closing = Thread(target=self._close_files, name="outbox", daemon=True)
        try:
            closing.start()
            closing.join(patience_seconds())
        except RuntimeError:  # the system permits no further thread
            self._close_files()

    def _close_files(self) -> None:
        self._mute.close()
        self.backlog.close()

    def write(self, event: Mapping[str, Any]) -> None:
        """Enqueue an event; the thread of the connection sends it."""
        self.backlog.put(as_line(event))
        self._connection.event_made()
        if self._state.push(event):
            self._connection.publish(self._now())

    def condition(self) -> dict[str, Any]:
        """Return ``connected``, ``refused`` topics, and how many events wait: ``outbox``; any thread."""
        refused = sorted(self._connection.refused)
        return {"connected": self._connection.connected, "refused": refused, "outbox": len(self.backlog)}

    def report(self, telemetry: Telemetry) -> dict[str, Any]:
        """Return a report, with what is known of the broker; any thread."""
        waiting = {"outbox_events": len(self.backlog), "outbox_dropped": self.backlog.n_dropped}
        return telemetry() | waiting | {"refused": sorted(self._connection.refused)}

    def _now(self) -> Publication:
        payload = self._state.payload(self._connection.refused, self._telemetry.events_dropped())
        return Publication(self._topics.state, payload, retain=True)

    def _greeting(self) -> list[Publication]:
        return [self._announcement, self._online, self._now(), *self._withdrawn, *self._listening()]

    def _report(self) -> list[Publication]:
        telemetry = Publication(self._topics.telemetry, json.dumps(self.report(self._telemetry)), qos=0)
        # The status again, because the last will of an older connection may come late, as that of another client id;
        # the state again, so that clients can detect that it is stale.
        return [telemetry, self._online, self._now()]

    def _listening(self) -> list[Publication]:
        """Say whether it listens, or that no command can be received; nothing while the broker has not answered."""
        listen = self._topics.listen
        if listen not in self._connection.granted | self._connection.refused:
            return []
        word = "OFF" if self._mute.is_muted else "ON"
        if listen not in self._connection.granted:
            word = "unavailable"
        return [Publication(self._topics.listen_state, word, retain=True)]

    def _on_answer(self) -> None:
        refused = sorted(self._connection.refused)
        if refused != self._told_refused:
            self._told_refused = refused
            self._tell_refused(refused)
        for publication in [self._now(), *self._listening()]:
            self._connection.publish(publication)

    def _on_birth(self, payload: bytes, retained: bool) -> None:
        # A retained message means that Home Assistant started earlier and has got the greeting.
        if payload == b"online" and not retained and time.monotonic() >= self._greet_from:
            self._greet_from = time.monotonic() + _GREETING_SECONDS
            for publication in self._greeting():
                self._connection.publish(publication)

    def _on_listen(self, payload: bytes, retained: bool) -> None:
        if self._mute.command(payload, retained):
            for publication in self._listening():
                self._connection.publish(publication)


def forget(config: Config, patience_seconds: float = 10.0) -> None:
    """Delete the retained messages of this device, which removes its entities from Home Assistant.

    A device that is running publishes them again. Without a broker in the settings there is nothing to delete.

    Raises
    ------
    UnavailableError
        There is no connection within this time, or the broker does not delete them.
    ConfigError
        As for `Publisher`.
    """
    if not config.mqtt.enabled:  # what is set besides, such as localhost, is no broker of this device
        _log.warning(
            "no broker is configured, so none keeps anything of this device; for one that was before: "
            "AFFECTD_MQTT_ENABLED=true affectd forget"
        )
        return
    # MQTT 3.1.1 acknowledges what the broker drops; MQTT 5 has the same permissions, and tells.
    protocols = dict.fromkeys(("5", config.mqtt.protocol))
    for protocol in protocols:
        connection = _forget(config, protocol, patience_seconds / len(protocols))
        if connection.n_connects:
            break
    if not connection.n_connects:
        raise UnavailableError(f"The broker could not be told to forget this device: {connection.reason}.")
    if connection.refused:
        raise UnavailableError(f"The broker refuses to delete {', '.join(sorted(connection.refused))}.")
    if not connection.is_complete:
        raise UnavailableError("The broker has not acknowledged that it forgets this device.")


def _forget(config: Config, protocol: str, patience_seconds: float) -> Connection:
    """Connect once, delete what can be deleted, and return the connection, closed."""
    topics = Topics(config.device.id, config.mqtt.discovery_prefix)
    kept = (topics.discovery, topics.state, topics.listen_state)
    gone = Publication(topics.status, "", retain=True)
    client_id = config.mqtt.client_id or config.device.id
    connection = Connection(
        # Another client id, because the broker would disconnect the service.
        replace(config.mqtt, client_id=f"{client_id}-forget", protocol=protocol),
        config.device.id,
        Outbox(None, None, max_events=1, max_bytes=1),
        event_topic=topics.event,
        last_will=gone,
        farewell=gone,
        greeting=lambda: [Publication(topic, "", retain=True) for topic in kept],
        subscriptions={},
        period_seconds=patience_seconds,
        periodic=list,
    )
    connection.start()
    connection.close(patience_seconds)
    return connection
