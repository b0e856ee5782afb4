"""A broker that does nothing by itself: a test accepts a connection and says what happens on it, packet by packet."""

from __future__ import annotations

import socket
import ssl
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import pytest

from broker import PATIENCE_SECONDS, packet, read_packet, string

CONNECT, PUBLISH, PUBACK, SUBSCRIBE, PINGREQ, DISCONNECT = 1, 3, 4, 8, 12, 14


class FakeBroker:
    """Listens on the loopback interface."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE_SECONDS)
        self._connections: list[FakeConnection] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.close()
        for connection in self._connections:
            connection.close()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def accept(self, protocol: str = "3.1.1", tls: ssl.SSLContext | None = None) -> FakeConnection:
        """Wait for a client."""
        accepted = self._listener.accept()[0]
        if tls is not None:
            accepted.settimeout(PATIENCE_SECONDS)
            accepted = tls.wrap_socket(accepted, server_side=True)
        connection = FakeConnection(accepted, protocol)
        self._connections.append(connection)
        return connection

    def welcome(self, protocol: str = "3.1.1", properties: bytes = b"") -> FakeConnection:
        """Wait for a client and let it in."""
        connection = self.accept(protocol)
        connection.expect(CONNECT)
        connection.answer(0, properties)
        return connection


@dataclass(frozen=True)
class Published:
    """What a client published."""

    topic: str
    payload: str
    qos: int
    retain: bool
    number: int


class FakeConnection:
    """One client."""

    def __init__(self, connection: socket.socket, protocol: str) -> None:
        self._socket = connection
        self._socket.settimeout(PATIENCE_SECONDS)
        self._file = connection.makefile("rb", buffering=0)
        self._is_5 = protocol == "5"

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def receive(self) -> tuple[int, bytes]:
        """Return the first byte and the body of the next packet; EOFError when the client has gone."""
        try:
            return read_packet(self._file)
        except ConnectionError:
            raise EOFError from None

    def expect_nothing(self, seconds: float = 0.3) -> None:
        """Fail if anything comes in this time."""
        self._socket.settimeout(seconds)
        with pytest.raises(TimeoutError):
            self._socket.recv(1, socket.MSG_PEEK)
        self._socket.settimeout(PATIENCE_SECONDS)

    def expect(self, kind: int) -> bytes:
        """Return the body of the next packet, which is of this kind."""
        command, body = self.receive()
        assert command >> 4 == kind, (command >> 4, body)
        return body

    def answer(self, code: int, properties: bytes = b"") -> None:
        """Answer CONNECT."""
        self.send(packet(0x20, bytes([0, code]) + self._properties(properties)))

    def published(self) -> Published:
        """Return the next packet, which is a publication."""
        command, body = self.receive()
        assert command >> 4 == PUBLISH, (command >> 4, body)
        (length,) = struct.unpack("!H", body[:2])
        topic, rest = body[2 : 2 + length].decode(), body[2 + length :]
        qos, number = command >> 1 & 3, 0
        if qos:
            number, rest = struct.unpack("!H", rest[:2])[0], rest[2:]
        if self._is_5:
            rest = rest[1 + rest[0] :]
        return Published(topic, rest.decode(), qos, bool(command & 1), number)

    def acknowledge(self, publication: Published, code: int | None = None) -> None:
        """Answer a publication; with a code as MQTT 5 has it."""
        answer = b"" if code is None else bytes([code])
        self.send(packet(PUBACK << 4, struct.pack("!H", publication.number) + answer))

    def confirm(self, *codes: int) -> None:
        """Answer the next packet, which is a subscription."""
        self.send(packet(0x90, self.expect(SUBSCRIBE)[:2] + self._properties(b"") + bytes(codes)))

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Send the client something that it may have subscribed to, at QoS 0."""
        self.send(packet(PUBLISH << 4 | retain, string(topic) + self._properties(b"") + payload))

    def _properties(self, properties: bytes) -> bytes:
        return bytes([len(properties)]) + properties if self._is_5 else b""
