"""One connection to a broker with paho-mqtt, 1.6 or 2.x, driven by the caller's thread."""

from __future__ import annotations

import math
import select
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from affectd.config.sections import MqttConfig
from affectd.mqtt import reasons
from affectd.mqtt.credentials import Login, tls_context
from affectd.mqtt.incoming import MOST_BYTES, Incoming
from affectd.mqtt.library import paho

_ANSWER_SECONDS = 10.0
_REFUSED = 128  # reason codes of MQTT 5 from here on are refusals
_NO_RETAIN, _NO_QOS = 154, 155  # those for a last will that the broker cannot keep, or only sends at QoS 0


@dataclass(frozen=True)
class Publication:
    """A message on its way to the broker."""

    topic: str
    payload: str
    retain: bool = False
    qos: int = 1
    is_optional: bool = False
    """Whether everything else is of use without it."""


def address(config: MqttConfig) -> tuple[str, int]:
    """Return host and port of the broker."""
    return config.host, config.port or (8883 if config.tls else 1883)


def shown_address(config: MqttConfig) -> str:
    """Return host and port for people: ``broker:1883``, of an IPv6 address ``[::1]:1883``."""
    host, port = address(config)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def packet_bytes(topic: str, n_bytes: int) -> int:
    """Return how long a publication with a payload of so many bytes is at most."""
    # At most 5 bytes before it, the length of the topic, the packet number, no properties.
    return len(topic.encode()) + n_bytes + 10


class Link:
    """One connection to the broker; each attempt needs a new instance.

    Parameters
    ----------
    config, client_id
        The settings.
    login : callable
        Returns user name and password; called in `open`, may raise `AffectdError`.
    last_will : Publication, optional
        Published by the broker if the connection ends without `disconnect`.
    received : callable, optional
        Called in `step` for every message, with topic, payload and whether it is retained.

    Attributes
    ----------
    state : str
        ``opening``, ``opened`` (the broker has not answered yet), ``connected``, finally ``lost``.
    reason : str
        Why it is lost.
    most_unacknowledged, most_bytes, most_qos, may_retain, keepalive_seconds
        Limits of the broker (MQTT 5): unacknowledged publications, bytes of a packet, quality of service, whether it
        keeps messages, and after how long without traffic it is asked whether it is there.
    fatal_bytes : float
        What is as long is not sent either, for it has ended connections.
    """

    def __init__(
        self,
        config: MqttConfig,
        client_id: str,
        login: Callable[[], Login],
        *,
        last_will: Publication | None = None,
        received: Callable[[str, bytes, bool], None] = lambda topic, payload, retained: None,
    ) -> None:
        self.state: Literal["opening", "opened", "connected", "lost"] = "opening"
        self.reason = ""
        self.most_unacknowledged, self.most_bytes, self.most_qos, self.may_retain = 65535, 2**28, 1, True
        self.keepalive_seconds, self.fatal_bytes = config.keepalive_seconds, math.inf
        self._config = config
        self._client_id = client_id
        self._received = received
        self._acknowledged: list[tuple[int, str]] = []
        self._subscribed: list[tuple[str, str]] = []
        self._unanswered: dict[int, str] = {}  # packet number to topic, in the order in which they were sent
        self._unanswered_since = 0.0
        self._n_too_long = 0
        self._answer_by = float("inf")
        self._socket: Any = None
        self._login = login
        self._client = self._new_client(last_will)

    def _new_client(self, last_will: Publication | None) -> Any:
        mqtt = paho()
        arguments = {
            "client_id": self._client_id,
            "protocol": mqtt.MQTTv5 if self._config.protocol == "5" else mqtt.MQTTv311,
            "reconnect_on_failure": False,  # else paho tries MQTT 3.1 by itself
        }
        # paho 2 requires the version of the callbacks, paho 1.6 has no such argument.
        versions = getattr(mqtt, "CallbackAPIVersion", None)
        client = mqtt.Client(**arguments) if versions is None else mqtt.Client(versions.VERSION2, **arguments)
        if last_will is not None:
            client.will_set(last_will.topic, last_will.payload, last_will.qos, last_will.retain)
        client.max_inflight_messages_set(0)  # unlimited, because `Delivery` limits
        client.on_socket_open = self._on_socket
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    def open(self) -> None:
        """Look up the broker and connect; may take half a minute, never raises.

        The only method that blocks; another thread may call it while `state` is ``opening``.
        """
        try:
            # Both again, because certificates are renewed and passwords changed.
            context, login = tls_context(self._config), self._login()
            if context is not None:
                self._client.tls_set_context(context)
            if login.username is not None:
                self._client.username_pw_set(login.username, login.password)
            host, port = address(self._config)
            self._client.connect_async(host, port, self._config.keepalive_seconds, properties=self._limits())
            self._client.reconnect()
        except Exception as error:
            self._lose(reasons.of_error(error, self._config))
        self._answer_by = time.monotonic() + _ANSWER_SECONDS
        if self.state == "opening":
            self.state = "opened"
        elif self.state == "lost":
            self.drop()

    def _limits(self) -> Any:
        """Return the properties of CONNECT."""
        if self._config.protocol != "5":
            return None
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.MaximumPacketSize = MOST_BYTES
        return properties

    def register(self, poll: select.poll) -> bool:
        """Register the socket with `poll`; return whether `step` has something to do at once."""
        connection = self._client.socket()
        if self.state not in ("opened", "connected") or connection is None:
            return False
        if self._client.want_write():
            poll.register(connection, select.POLLOUT)
            return False
        poll.register(connection, select.POLLIN)
        # poll does not report data that TLS has decrypted already, nor what is answered without the broker.
        return bool(connection.pending() or self._acknowledged)

    def step(self) -> None:
        """Read and write without waiting; call it when the socket is ready, and every second."""
        if self.state not in ("opened", "connected"):
            return
        if self._client.want_write():
            self._try(self._client.loop_write)
        if not self._client.want_write():  # else answers would pile up in paho
            self._try(self._client.loop_read)
        self._try(self._client.loop_misc)
        if self.state == "opened" and time.monotonic() > self._answer_by:
            self._lose("the broker accepts the connection, but does not answer")
        self._lose_if_unanswered()

    def _lose_if_unanswered(self) -> None:
        """End a connection whose broker owes an answer for too long, though it may send other things."""
        now, patience_seconds = time.monotonic(), self._config.keepalive_seconds
        if self._unanswered and now - self._unanswered_since > patience_seconds:
            topic = next(iter(self._unanswered.values()))
            self._lose(f"the broker has not answered on the topic {topic} for {patience_seconds} seconds")
        if self._socket and now - self._socket.asked_at > patience_seconds:
            self._lose("the broker does not answer any more")

    def publish(self, publication: Publication) -> int:
        """Send a publication; return the packet number of its acknowledgement, 0 if the connection has ended.

        What is longer than the broker takes is not sent; it has a number of its own, below 0, which `acknowledged`
        refuses.
        """
        publication = self.permitted(publication)
        topic, payload = publication.topic, publication.payload.encode("utf-8", "surrogatepass")
        if refusal := self._too_long(topic, len(payload)):
            self._n_too_long += 1
            self._acknowledged.append((-self._n_too_long, refusal))
            return -self._n_too_long
        sent = self._try(self._client.publish, topic, payload, publication.qos, publication.retain)
        if sent is None:
            return 0
        if publication.qos:
            self._expect(int(sent.mid), topic)
        return int(sent.mid)

    def permitted(self, publication: Publication) -> Publication:
        """Return a publication as the broker permits it: at QoS 0 or not retained, if it takes no other."""
        return replace(
            publication, qos=min(publication.qos, self.most_qos), retain=publication.retain and self.may_retain
        )

    def _too_long(self, topic: str, n_bytes: int) -> str:
        n = packet_bytes(topic, n_bytes)
        if n > self.most_bytes:
            return f"the broker takes {self.most_bytes} bytes at most"
        return "it ends the connection" if n >= self.fatal_bytes else ""

    def subscribe(self, topics: Iterable[str]) -> None:
        """Subscribe to these topics; `subscribed` has the answers."""
        for topic in topics:
            if refusal := self._too_long(topic, 1):
                self._subscribed.append((topic, refusal))
                continue
            sent = self._try(self._client.subscribe, topic, 1)
            if sent is not None and sent[1] is not None:
                self._expect(int(sent[1]), topic)

    def subscribed(self) -> list[tuple[str, str]]:
        """Return the topics whose subscription was answered since the last call, each with a refusal, or empty."""
        since, self._subscribed = self._subscribed, []
        return since

    def acknowledged(self) -> list[tuple[int, str]]:
        """Return the packet numbers acknowledged since the last call, each with the reason of a refusal, or empty.

        MQTT 3.1.1 has no refusals.
        """
        since, self._acknowledged = self._acknowledged, []
        return since

    def disconnect(self) -> None:
        """Disconnect; the broker does not publish the last will."""
        self._try(self._client.disconnect)
        self.drop()

    def drop(self) -> None:
        """Close the connection; the broker publishes the last will."""
        self._lose("dropped")
        connection = self._client.socket()
        if connection is not None:
            connection.close()

    def _try(self, method: Callable[..., Any], *arguments: Any) -> Any:
        """Call a method of paho; an exception (of TLS, or for bytes that are not MQTT) ends the connection."""
        try:
            return method(*arguments)
        except Exception as error:
            self._lose(reasons.of_error(error, self._config))
            return None

    def _lose(self, reason: str) -> None:
        if self.state != "lost":
            self.reason = reason
            self.state = "lost"

    # paho's further arguments depend on its version and the protocol.

    def _on_socket(self, client: Any, userdata: Any, connection: Any) -> None:
        # Send small packets at once.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # paho has no public way to limit what it reads; versions 1.6 to 2.x read from this attribute.
        self._socket = client._sock = Incoming(connection, self._config.protocol)

    def _on_connect(self, client: Any, userdata: Any, flags: Any, code: Any, properties: Any = None) -> None:
        number = reasons.of_code(code)
        self.most_qos = 0 if number == _NO_QOS else getattr(properties, "MaximumQoS", self.most_qos)
        self.may_retain = number != _NO_RETAIN and bool(getattr(properties, "RetainAvailable", self.may_retain))
        if number:
            self._lose(reasons.of_refusal(code, self._config, self._client_id))
            return
        self.most_unacknowledged = getattr(properties, "ReceiveMaximum", self.most_unacknowledged)
        self.most_bytes = getattr(properties, "MaximumPacketSize", self.most_bytes)
        # Zero is no limit, and ours is one. paho 1.6 knows nothing of it.
        wanted_seconds = getattr(properties, "ServerKeepAlive", 0) or self._config.keepalive_seconds
        self.keepalive_seconds = client._keepalive = min(wanted_seconds, self._config.keepalive_seconds)
        if self.state == "opened":
            self.state = "connected"

    def _on_disconnect(self, client: Any, userdata: Any, *arguments: Any) -> None:
        code = arguments[1] if len(arguments) == 3 else arguments[0]
        failure = getattr(self._socket, "failure", None)
        if failure is not None:
            self._lose(reasons.of_error(failure, self._config))
        self._lose(reasons.of_loss(code, self._config, answered=self.state == "connected"))

    def _on_publish(self, client: Any, userdata: Any, number: int, code: Any = 0, properties: Any = None) -> None:
        self._answered(number)
        # Not `code`, which paho 1.6 does not have.
        refusal = self._socket.refusals.pop(number, 0)
        self._acknowledged.append((number, reasons.of_number(refusal) if refusal else ""))

    def _on_subscribe(self, client: Any, userdata: Any, number: int, codes: Any, properties: Any = None) -> None:
        topic = self._answered(number)
        if topic is not None:
            code = max(map(reasons.of_code, codes), default=_REFUSED)
            self._subscribed.append((topic, reasons.of_number(code) if code >= _REFUSED else ""))

    def _expect(self, number: int, topic: str) -> None:
        if not self._unanswered:
            self._unanswered_since = time.monotonic()
        self._unanswered[number] = topic

    def _answered(self, number: int) -> str | None:
        # A broker answers in order: as long as the oldest is answered, it is slow, not silent.
        if next(iter(self._unanswered), None) == number:
            self._unanswered_since = time.monotonic()
        return self._unanswered.pop(number, None)

    def _on_message(self, client: Any, userdata: Any, message: Any) -> None:
        self._received(message.topic, bytes(message.payload), bool(message.retain))
