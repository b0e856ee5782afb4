"""What the broker sends is limited before paho holds it."""

from __future__ import annotations

import select
import socket as sockets
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectd.errors import UnavailableError
from affectd.mqtt.incoming import MOST_BYTES, Incoming
from broker import Certificates, packet, string

Parts = list[bytes]


class Socket:
    """Gives what it was given, in the same parts."""

    def __init__(self, parts: Parts) -> None:
        self.parts, self.n_read = [part for part in parts if part], 0

    def recv(self, n: int) -> bytes:
        if not self.parts:
            raise BlockingIOError
        part, self.parts[0] = self.parts[0][:n], self.parts[0][n:]
        self.parts = [one for one in self.parts if one]
        self.n_read += len(part)
        return part


def passed(parts: Parts, protocol: str = "3.1.1") -> bytes:
    """Read until nothing is left."""
    socket, taken = Socket(parts), b""
    incoming = Incoming(socket, protocol)
    while True:
        try:
            taken += incoming.recv(7)
        except BlockingIOError:
            if not socket.parts:
                return taken


def cut(data: bytes, places: list[int]) -> Parts:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:stop] for start, stop in pairwise(edges)]


SMALL = st.builds(
    packet, st.sampled_from([0x20, 0x30, 0x32, 0x40, 0x90, 0xD0, 0xE0]), st.binary(min_size=4, max_size=200)
)
PLACES = st.lists(st.integers(0, 10**6), max_size=20)


@given(packets=st.lists(SMALL, max_size=8), places=PLACES)
def test_small_packets_pass_as_they_are_however_they_are_cut(packets: Parts, places: list[int]) -> None:
    data = b"".join(packets)
    assert passed(cut(data, places)) == data


@given(size=st.integers(MOST_BYTES, 3 * MOST_BYTES), places=PLACES, before=SMALL, after=SMALL)
@pytest.mark.parametrize(("protocol", "properties"), [("3.1.1", b""), ("5", b"\0")])
def test_a_long_publication_becomes_a_short_one_with_its_number(
    protocol: str, properties: bytes, size: int, places: list[int], before: bytes, after: bytes
) -> None:
    long = packet(0x33, string("a/b") + b"\1\2" + properties + b"x" * size)
    short = packet(0x33, string("a/b") + b"\1\2" + properties + b"(%d bytes)" % len(long))
    assert passed(cut(before + long + after, places), protocol) == before + short + after


@pytest.mark.parametrize("make", [lambda n: packet(0x20, bytes(n)), lambda n: packet(0x90, bytes(n))])
def test_any_other_long_packet_ends_the_connection(make: Callable[[int], bytes]) -> None:
    with pytest.raises(UnavailableError, match="more than 4096"):
        passed([make(MOST_BYTES)])


@pytest.mark.parametrize(
    "data",
    [
        packet(0x34, string("a") + b"\0\1x"),  # QoS 2
        packet(0x36, string("a") + b"\0\1x"),  # QoS 3
        packet(0x34, string("a") + b"\0\1" + bytes(MOST_BYTES)),
        packet(0x30, string("a" * MOST_BYTES) + b"x"),
        b"\x30\xff\xff\xff\xff\xff\x01",
    ],
)
def test_what_was_not_asked_for_ends_the_connection(data: bytes) -> None:
    for part in (1, 7, len(data)):
        with pytest.raises(UnavailableError):
            passed([data[at : at + part] for at in range(0, len(data), part)])


def test_a_publication_of_any_length_is_never_held() -> None:
    head = packet(0x30, b"")[:1] + b"\xff\xff\xff\x7f" + string("a")  # 256 MB
    socket = Socket([head, *[bytes(65536)] * 100])
    incoming = Incoming(socket, "3.1.1")
    taken = b""
    while socket.parts:
        with suppress(BlockingIOError):
            taken += incoming.recv(4096)
        assert len(incoming._raw) + len(incoming._ready) < 2 * MOST_BYTES
    assert len(taken) < 100


def test_one_call_does_not_read_for_ever() -> None:
    socket = Socket([b"\x30\xff\xff\xff\x7f" + string("a"), *[bytes(65536)] * 1000])
    incoming = Incoming(socket, "3.1.1")
    assert incoming.recv(4096)
    with pytest.raises(BlockingIOError):
        incoming.recv(4096)
    assert socket.n_read < 2**22


def test_a_reason_in_a_puback_is_kept_for_every_version_of_paho() -> None:
    incoming = Incoming(Socket([packet(0x40, b"\1\2\x87"), packet(0x40, b"\1\3\x10"), packet(0x40, b"\1\4")]), "5")
    for _ in range(3):
        incoming.recv(100)
    assert incoming.refusals == {0x0102: 0x87}


def encrypted(folder: Path, server: sockets.socket, client: sockets.socket) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    """Put TLS on both ends of a connection."""
    authority = Certificates(folder)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(*authority.issue("localhost"))
    ours = ssl.create_default_context(cafile=str(authority.authority))
    with ThreadPoolExecutor() as pool:
        accepted = pool.submit(theirs.wrap_socket, server, server_side=True)
        return ours.wrap_socket(client, server_hostname="localhost"), accepted.result()


@pytest.mark.parametrize("with_tls", [False, True])
def test_what_a_broker_says_before_it_closes_the_connection_is_read_though_nothing_can_be_sent_any_more(
    with_tls: bool, tmp_path: Path
) -> None:
    refusal = packet(0x40, b"\1\2\x87")
    with (
        sockets.create_server(("127.0.0.1", 0)) as server,
        sockets.create_connection(server.getsockname()) as connection,
        server.accept()[0] as broker,
    ):
        ours, theirs = encrypted(tmp_path, broker, connection) if with_tls else (connection, broker)
        with ours, theirs:
            incoming = Incoming(ours, "5")
            incoming.send(b"event")
            theirs.recv(1)
            incoming.send(b"event")
            assert select.select([theirs], [], [], 30)[0]
            theirs.send(refusal)
            theirs.close()  # what it has not read makes of this a reset
            poll = select.poll()
            poll.register(ours, select.POLLHUP)
            poll.poll()
            for _ in range(3):
                assert incoming.send(b"event") == 5
            assert incoming.recv(100) == refusal
            assert incoming.recv(100) == b""
    assert incoming.refusals == {0x0102: 0x87}
