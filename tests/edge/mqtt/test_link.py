"""One link to a broker that sends anything at all."""

from __future__ import annotations

import dataclasses
import re
import select
import socket
import ssl
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from affectd.config.sections import MqttConfig
from affectd.mqtt.credentials import Login
from affectd.mqtt.link import Link, Publication, shown_address
from broker import Certificates, free_port, packet, string, wait_until
from fake_broker import CONNECT, PINGREQ, FakeBroker, FakeConnection

ANONYMOUS = Login(None, None)


def link_to(port: int, **changes: Any) -> Link:
    keywords = {name: changes.pop(name) for name in ("received", "last_will") if name in changes}
    return Link(MqttConfig(**{"port": port, **changes}), "test", lambda: ANONYMOUS, **keywords)


def drive(link: Link, seconds: float) -> None:
    """Let a link read and write until it is lost or the time is over."""
    give_up_at = time.monotonic() + seconds
    while link.state != "lost" and time.monotonic() < give_up_at:
        poll = select.poll()
        if not link.register(poll):
            poll.poll(10)
        link.step()


@pytest.mark.parametrize("login", [ANONYMOUS, Login("pi", None), Login("pi", "open sesame")])
def test_name_and_password_go_where_they_belong(login: Login) -> None:
    with FakeBroker() as broker:
        link = Link(MqttConfig(port=broker.port), "test", lambda: login)
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
@example(data=packet(0x40, b"\0\x01\xee"), greeted=True)  # an unknown reason
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


def test_a_broker_that_sends_no_text_is_not_taken_for_a_host_without_a_name() -> None:
    with FakeBroker() as broker:
        link = link_to(broker.port)
        link.open()
        client = broker.accept()
        client.send(CONNACK["3.1.1"] + packet(0x30, b"\0\x01\xff\0"))
        drive(link, 20.0)
        assert link.reason == "what came back is not MQTT (UnicodeDecodeError)"
        link.drop()


UTF_8 = st.characters(codec="utf-8", exclude_characters="\0")
HOST = next(field for field in dataclasses.fields(MqttConfig) if field.name == "host")


@given(host=st.from_regex(HOST.metadata["pattern"], fullmatch=True, alphabet=UTF_8))
@example(host="a" * 70)
@example(host="..")
@example(host=".lan")
@example(host="::1%eth0")
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


@pytest.mark.parametrize(
    ("host", "shown"), [("broker", "broker:1883"), ("10.0.0.1", "10.0.0.1:1883"), ("::1%eth0", "[::1%eth0]:1883")]
)
def test_the_port_is_told_from_an_address_with_colons(host: str, shown: str) -> None:
    assert shown_address(MqttConfig(host=host)) == shown


def test_where_nothing_listens_the_reason_says_so() -> None:
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


@pytest.mark.parametrize("is_shown", [False, True])
def test_a_broker_that_says_nothing_is_not_said_to_want_a_certificate_that_it_was_shown(
    tmp_path: Path, is_shown: bool
) -> None:
    certificates = Certificates(tmp_path)
    certificate, key = certificates.issue("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    shown = {"cert_file": str(certificate), "key_file": str(key)} if is_shown else {}
    with FakeBroker() as broker:
        link = link_to(broker.port, tls=True, ca_file=str(certificates.authority), **shown)
        opening = threading.Thread(target=link.open)
        opening.start()
        broker.accept(tls=context).close()
        opening.join(20.0)
        drive(link, 20.0)
    question = f"does it refuse the certificate in {certificate}?"
    assert link.reason.endswith(question if is_shown else "does that port want a certificate of this client?")


def test_a_tls_handshake_without_an_answer_ends(monkeypatch: pytest.MonkeyPatch) -> None:
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


def connected(broker: FakeBroker, keepalive_seconds: int = 30, **changes: Any) -> tuple[Link, FakeConnection]:
    """Return both ends; the keepalive may be shorter than the settings allow."""
    limits = changes.pop("limits", b"")
    link = link_to(broker.port, **changes)
    object.__setattr__(link._config, "keepalive_seconds", keepalive_seconds)
    link.open()
    protocol = changes.get("protocol", "3.1.1")
    client = broker.accept(protocol)
    client.expect(CONNECT)
    client.answer(0, limits)
    wait_until(lambda: (link.step(), link.state == "connected")[1])
    return link, client


def trickle(link: Link, client: FakeConnection, data: bytes, seconds: float) -> None:
    """Let the broker send these again and again, byte by byte, until the link is lost or the time is over."""
    give_up_at = time.monotonic() + seconds
    position = 0
    while link.state != "lost" and time.monotonic() < give_up_at:
        client.send(data[position : position + 1])
        position = (position + 1) % len(data)
        drive(link, 0.05)


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
@pytest.mark.parametrize("sent", ["publication", "subscription", "ping"])
def test_a_broker_that_owes_an_answer_is_given_up_though_it_sends_a_byte_now_and_then(protocol: str, sent: str) -> None:
    with FakeBroker() as broker:
        link, client = connected(broker, 1, protocol=protocol)
        if sent == "publication":
            link.publish(Publication("a/b", "{}"))
        elif sent == "subscription":
            link.subscribe(["a/b"])
        began = time.monotonic()
        trickle(link, client, packet(0x30, string("x") + b"\0" * 100), 10.0)
        assert link.state == "lost"
        assert "answer" in link.reason
        assert time.monotonic() - began < (3.0 if sent == "ping" else 2.0)


def test_a_broker_is_not_given_up_because_the_process_stood_still() -> None:
    with FakeBroker() as broker:
        link, client = connected(broker, 1)
        time.sleep(1.5)  # as between SIGSTOP and SIGCONT, or while the board swaps
        link.step()
        assert link.state == "connected", link.reason
        client.expect(PINGREQ)
        client.send(packet(0xD0, b""))
        time.sleep(1.5)
        link.step()
        assert link.state == "connected", link.reason


def test_a_broker_that_acknowledges_slowly_but_in_order_is_not_given_up() -> None:
    with FakeBroker() as broker:
        link, client = connected(broker, 1)
        for _ in range(6):
            link.publish(Publication("a/b", "{}"))
        for _ in range(6):
            client.acknowledge(client.published())
            client.send(packet(0xD0, b""))
            drive(link, 0.4)
        assert link.state == "connected", link.reason
        assert len(link.acknowledged()) == 6


def test_a_broker_that_acknowledges_all_but_one_is_given_up() -> None:
    with FakeBroker() as broker:
        link, client = connected(broker, 1)
        link.publish(Publication("a/b", "never"))
        client.published()
        for _ in range(30):
            link.publish(Publication("a/b", "{}"))
            client.acknowledge(client.published())
            drive(link, 0.1)
            if link.state == "lost":
                break
        assert "a/b" in link.reason


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
@pytest.mark.parametrize("code", [0, 1, 128])
def test_the_answer_to_a_subscription_is_told(protocol: str, code: int) -> None:
    with FakeBroker() as broker:
        link, client = connected(broker, protocol=protocol)
        link.subscribe(["a/b"])
        client.confirm(code)
        wait_until(lambda: (link.step(), link._subscribed)[1])
        ((topic, refusal),) = link.subscribed()
        assert (topic, bool(refusal)) == ("a/b", code == 128)
        assert link.subscribed() == []


def test_a_publication_longer_than_the_broker_takes_is_refused_and_not_sent() -> None:
    with FakeBroker() as broker:
        link, client = connected(broker, protocol="5", limits=b"\x27\0\0\0\x40")  # 64 bytes
        too_long = [link.publish(Publication("a/b", "x" * 60, qos=qos)) for qos in (0, 1)]
        fits = link.publish(Publication("a/b", "x" * 40))
        published = client.published()
        assert (published.payload, published.number) == ("x" * 40, fits)
        client.expect_nothing()
        assert [(number, "64 bytes" in refusal) for number, refusal in link.acknowledged()] == [
            (number, True) for number in too_long
        ]


def test_a_broker_is_told_how_much_it_may_send() -> None:
    with FakeBroker() as broker:
        link = link_to(broker.port, protocol="5")
        link.open()
        assert b"\x27\0\0\x10\0" in broker.accept("5").expect(CONNECT)
        link.drop()


def test_answers_to_a_broker_that_does_not_read_do_not_pile_up() -> None:
    """A broker that publishes without end at QoS 1 and never reads would fill the memory with acknowledgements."""
    heard: list[bytes] = []
    with FakeBroker() as broker:
        link, client = connected(broker, received=lambda topic, payload, retained: heard.append(payload))
        link._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        flood = b"".join(packet(0x32, string("x") + number.to_bytes(2) + b"y") for number in range(1, 1000))

        def send() -> None:
            with suppress(OSError):
                while True:
                    client.send(flood)

        threading.Thread(target=send, daemon=True).start()
        n = -1
        while len(heard) > n and n < 1_000_000:
            n = len(heard)
            drive(link, 0.3)
        assert n < 1_000_000
        assert link.state == "connected"
        assert len(link._client._out_packet) <= 2
