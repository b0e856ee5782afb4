"""An MQTT broker that acknowledges everything and forwards nothing, to measure the service without a network.

Source: OASIS, MQTT Version 3.1.1, 2014, section 2.2 (fixed header) and chapter 3 (the answers).
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CONNECT, _PUBLISH, _SUBSCRIBE, _UNSUBSCRIBE, _PING = 1, 3, 8, 10, 12


@contextmanager
def broker() -> Iterator[int]:
    """Serve on a free port of this machine until the ``with`` block ends; give the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_accept, args=(server,), daemon=True).start()
        try:
            yield server.getsockname()[1]
        finally:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)  # wakes the thread


def _accept(server: socket.socket) -> None:
    with suppress(OSError):
        while True:
            client = server.accept()[0]
            threading.Thread(target=_serve, args=(client,), daemon=True).start()


def _serve(client: socket.socket) -> None:
    with client, suppress(OSError, EOFError):
        while True:
            kind, flags, body = _packet(client)
            answer = _answer(kind, flags, body)
            if answer:
                client.sendall(answer)


def _packet(client: socket.socket) -> tuple[int, int, bytes]:
    """Return type, flags and body of the next packet."""
    first = _exactly(client, 1)[0]
    length = shift = 0
    while True:
        byte = _exactly(client, 1)[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return first >> 4, first & 0x0F, _exactly(client, length)


def _exactly(client: socket.socket, n: int) -> bytes:
    data = b""
    while len(data) < n:
        more = client.recv(n - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _answer(kind: int, flags: int, body: bytes) -> bytes:
    if kind == _CONNECT:
        return b"\x20\x02\x00\x00"
    if kind == _PUBLISH and flags >> 1 & 3:
        topic = int.from_bytes(body[:2], "big")
        return b"\x40\x02" + body[2 + topic : 4 + topic]
    if kind == _SUBSCRIBE:
        n_topics, at = 0, 2
        while at < len(body):
            at += 2 + int.from_bytes(body[at : at + 2], "big") + 1
            n_topics += 1
        return bytes([0x90, 2 + n_topics]) + body[:2] + bytes(n_topics)
    if kind == _UNSUBSCRIBE:
        return b"\xb0\x02" + body[:2]
    return b"\xd0\x00" if kind == _PING else b""
