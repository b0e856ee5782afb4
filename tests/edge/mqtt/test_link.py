"""One link to a broker that sends anything at all."""

from __future__ import annotations

import re
import select
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from affectd.config.sections import MqttConfig
from affectd.mqtt.credentials import Login
from affectd.mqtt.link import Link, Publication
from broker import Certificates, free_port, packet, string, wait_until
from fake_broker import CONNECT, FakeBroker

NOBODY = Login(None, None)


def link_to(port: int, **changes: Any) -> Link:
    keywords = {name: changes.pop(name) for name in ("received", "last_will") if name in changes}
    return Link(MqttConfig(**{"port": port, **changes}), "test", changes.pop("login", NOBODY), **keywords)


def drive(link: Link, seconds: float) -> None:
    """Let a link read and write until it is lost or the time is over."""
    give_up_at = time.monotonic() + seconds
    while link.state != "lost" and time.monotonic() < give_up_at:
        poll = select.poll()
        if not link.register(poll):
            poll.poll(10)
        link.step()


@pytest.mark.parametrize("login", [NOBODY, Login("pi", None), Login("pi", "open sesame")])
def test_name_and_password_go_where_they_belong(login: Login) -> None:
    with FakeBroker() as broker:
        link = Link(MqttConfig(port=broker.port), "test", login)
        link.open()
        body = broker.accept().expect(CONNECT)
        assert (bool(body[7] & 0x80), bool(body[7] & 0x40)) == (login.username is not None, login.password is not None)
        expected = [text for text in (login.username, login.password) if text is not None]
        assert body.endswith(string("test") + b"".join(map(string, expected)))
        link.drop()


# What a broker may send: whole packets of any kind, and bytes without sense.
PACKETS = st.builds(packet, st.integers(0, 255), st.binary(max_size=40))
STREAMS = st.lists(st.one_of(PACKETS, st.binary(max_size=20)), max_size=8).map(b"".join)
CONNACK = {"3.1.1": b"\x20\x02\0\0", "5": b"\x20\x03\0\0\0"}


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
@settings(max_examples=150)
@given(data=STREAMS, greeted=st.booleans())
@example(data=packet(0x30, b"\0\x01\xff\0"), greeted=True)  # a topic that is not UTF-8
@example(data=packet(0x40, b"\0\x01\xee"), greeted=True)  # a reason that nobody knows
@example(data=b"\xff" * 30, greeted=True)
@example(data=packet(0xE0, b"\0"), greeted=True)
def test_whatever_a_broker_sends_the_link_lives_or_is_lost_with_a_reason(
    protocol: str, data: bytes, greeted: bool
) -> None:
    heard: list[tuple[str, bytes, bool]] = []
    with FakeBroker() as broker:
        link = link_to(broker.port, protocol=protocol, received=lambda *message: heard.append(message))
        link.open()
        client = broker.accept(protocol)
        if greeted:
            client.send(CONNACK[protocol])
            wait_until(lambda: (link.step(), link.state == "connected")[1])
            link.publish(Publication("affectd/test/event", "{}"))
        client.send(data)
        client.close()
        drive(link, 20.0)
        assert link.state == "lost"
        assert link.reason
        assert "\n" not in link.reason
        link.acknowledged()
        link.publish(Publication("affectd/test/event", "{}"))  # too late, and no failure
        link.subscribe(["x"])
        link.disconnect()


@given(host=st.from_regex(r"[^\s/]+", fullmatch=True))
@example(host="a" * 70)
@example(host="..")
@example(host=".lan")
@example(host="\0")
@example(host="\ud800")
@pytest.mark.parametrize("tls", [False, True])
def test_any_host_that_the_settings_allow_can_be_looked_up_in_vain(tls: bool, host: str) -> None:
    def getaddrinfo(host: Any, *arguments: Any, **keywords: Any) -> Any:
        if isinstance(host, str):
            host.encode("idna")  # as the real one does
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        link = link_to(1883, host=host, tls=tls)
        link.open()
    assert link.state == "lost"
    assert link.reason


def test_where_nobody_listens_the_reason_says_so() -> None:
    link = link_to(free_port())
    link.open()
    assert (link.state, link.reason) == ("lost", "nothing listens there (connection refused)")


def test_what_listens_without_tls_is_noticed_at_once() -> None:
    with FakeBroker() as broker:
        link = link_to(broker.port, tls=True)
        opening = threading.Thread(target=link.open)
        opening.start()
        client = broker.accept()
        client.send(b"SSH-2.0-OpenSSH_9.2\r\n")
        opening.join(20.0)
        assert link.reason == "what listens there does not speak TLS"


def test_what_tls_has_decrypted_already_does_not_wait_for_more(tmp_path: Path) -> None:
    """Several packets may come in one record; the socket shows only the first of them."""
    certificates = Certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates.issue("localhost"))
    heard: list[bytes] = []
    with FakeBroker() as broker:
        link = link_to(
            broker.port,
            tls=True,
            ca_file=str(certificates.authority),
            received=lambda topic, payload, retained: heard.append(payload),
        )
        opening = threading.Thread(target=link.open)
        opening.start()
        client = broker.accept(tls=context)
        opening.join(20.0)
        client.send(CONNACK["3.1.1"] + b"".join(packet(0x30, string("x") + bytes([n])) for n in range(5)))
        while len(heard) < 5:
            assert link.state != "lost", link.reason
            poll = select.poll()
            if not link.register(poll):
                assert poll.poll(20_000), f"{len(heard)} of 5 have been read"
            link.step()
        link.drop()
    assert heard == [bytes([n]) for n in range(5)]


def test_a_tls_handshake_that_nobody_answers_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("affectd.mqtt.credentials._HANDSHAKE_SECONDS", 0.3)
    with FakeBroker() as broker:
        link = link_to(broker.port, tls=True, keepalive_seconds=3600)
        began = time.monotonic()
        link.open()
        assert time.monotonic() - began < 4.5, "paho 2 would wait for 5 s, paho 1.6 for the keepalive"
        assert re.search("no answer", link.reason)


def test_a_link_that_is_dropped_while_it_opens_does_not_stay_open() -> None:
    with FakeBroker() as broker:
        link = link_to(broker.port)
        link.drop()
        link.open()
        client = broker.accept()
        client.expect(CONNECT)
        with pytest.raises(EOFError):
            client.receive()
        assert link.state == "lost"
