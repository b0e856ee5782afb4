"""The connection against a broker that does what the test says; `tests/system/test_mqtt.py` has a real one."""

from __future__ import annotations

import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from affectd.config.sections import Config, DeviceConfig, MqttConfig
from affectd.errors import NO_THREAD, ConfigError, UnavailableError
from affectd.mqtt import connection as mqtt
from affectd.mqtt import delivery, outages
from affectd.mqtt import link as mqtt_client
from affectd.mqtt.connection import Connection, Publication
from affectd.mqtt.publisher import forget
from affectd.outbox.outbox import Outbox
from broker import free_port, wait_until
from fake_broker import CONNECT, DISCONNECT, PINGREQ, FakeBroker, FakeConnection, Published

EVENT, STATUS, STATE = "affectd/test/event", "affectd/test/status", "affectd/test/state"
TELEMETRY, LISTEN = "affectd/test/telemetry", "affectd/test/listen"
ONLINE, STOPPED, OFFLINE = (Publication(STATUS, word, retain=True) for word in ("online", "stopped", "offline"))
NEVER = 86400.0
PAHO_2 = hasattr(mqtt_client.paho(), "CallbackAPIVersion")


class Waiting(Outbox):
    """The real outbox, in memory alone, with a record of what it was told."""

    def __init__(self) -> None:
        super().__init__(None, None, max_events=100_000, max_bytes=10**8)
        self.settled: list[tuple[float, bool]] = []

    def settle(self, connected: bool) -> None:
        self.settled.append((time.monotonic(), connected))
        super().settle(connected)

    def fill(self, n: int, start: int = 0) -> list[str]:
        payloads = [f"event {i}" for i in range(start, start + n)]
        for payload in payloads:
            self.put(payload)
        return payloads


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with short waits; the tests of waiting itself undo that."""
    monkeypatch.setattr(outages, "_FIRST_DELAY_SECONDS", 0.05)


@pytest.fixture
def broker() -> Iterator[FakeBroker]:
    with FakeBroker() as broker:
        yield broker


@pytest.fixture
def outbox() -> Waiting:
    return Waiting()


@pytest.fixture
def connect(broker: FakeBroker, outbox: Waiting) -> Iterator[Any]:
    """Make a connection to the fake broker, with changes, and start it."""
    made: list[Connection] = []

    def connect(start: bool = True, config: dict[str, Any] | None = None, **changes: Any) -> Connection:
        arguments: dict[str, Any] = {
            "event_topic": EVENT,
            "last_will": OFFLINE,
            "farewell": STOPPED,
            "greeting": lambda: [ONLINE],
            "subscriptions": {},
            "period_seconds": NEVER,
            "periodic": list,
        }
        settings = MqttConfig(**{"port": broker.port, **(config or {})})
        connection = Connection(settings, "test", outbox, **{**arguments, **changes})
        made.append(connection)
        if start:
            connection.start()
        return connection

    yield connect
    for connection in made:
        connection.close(0.0)
    wait_until(lambda: all(thread.name != "mqtt" for thread in threading.enumerate()))


def greeted(connection: FakeConnection) -> None:
    """Take and acknowledge the greeting."""
    publication = connection.published()
    assert (publication.topic, publication.payload) == (STATUS, "online")
    connection.acknowledge(publication)


def events(connection: FakeConnection, n: int) -> list[Published]:
    """Take this many events, which are not acknowledged by it."""
    taken = [connection.published() for _ in range(n)]
    assert {(event.topic, event.qos, event.retain) for event in taken} <= {(EVENT, 1, False)}
    return taken


def payloads(taken: list[Published]) -> list[str]:
    return [event.payload for event in taken]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# --- the beginning -----------------------------------------------------------------------------------------------


def test_a_connection_introduces_itself_subscribes_greets_and_then_delivers(
    broker: FakeBroker, outbox: Waiting, connect: Any
) -> None:
    made = outbox.fill(2)
    greeting = [Publication("homeassistant/x", "{}", retain=True), ONLINE]
    connection = connect(greeting=lambda: greeting, subscriptions={LISTEN: lambda payload, retained: None})
    client = broker.accept()
    body = client.expect(CONNECT)
    assert b"affectd-test" in body
    flags = body[7]
    assert flags & 0x02, "clean: what was not acknowledged is ours to send again"
    assert (flags & 0x04, flags >> 3 & 3, flags & 0x20) == (0x04, 1, 0x20), "a last will, QoS 1, retained"
    assert STATUS.encode() in body
    assert b"offline" in body
    client.answer(0)
    client.confirm(1)
    sent = [client.published() for _ in range(4)]
    assert [(p.topic, p.payload) for p in sent] == [
        ("homeassistant/x", "{}"), (STATUS, "online"), (EVENT, made[0]), (EVENT, made[1])
    ]  # fmt: skip
    assert [p.retain for p in sent] == [True, True, False, False]
    wait_until(lambda: connection.connected)
    assert (connection.n_connects, connection.reason) == (1, "")


def test_an_event_leaves_the_outbox_when_the_broker_has_it_and_not_before(
    broker: FakeBroker, outbox: Waiting, connect: Any
) -> None:
    connection = connect()
    client = broker.welcome()
    greeted(client)
    outbox.fill(2)
    connection.event_made()
    first, second = events(client, 2)
    assert len(outbox) == 2
    client.acknowledge(second)
    wait_until(lambda: len(outbox) == 1)
    client.acknowledge(first)
    wait_until(lambda: len(outbox) == 0)


def test_what_was_not_acknowledged_is_sent_again_in_order_over_the_next_connection(
    broker: FakeBroker, outbox: Waiting, connect: Any
) -> None:
    made = outbox.fill(250)
    connect()
    client = broker.welcome()
    greeted(client)
    window = events(client, 100)
    assert payloads(window) == made[:100]
    for event in (window[0], window[2]):  # a gap
        client.acknowledge(event)
    assert payloads(events(client, 2)) == made[100:102], "as many more as were acknowledged"
    wait_until(lambda: len(outbox) == 248)
    client.close()

    client = broker.welcome()
    greeted(client)
    arrived = []
    while len(arrived) < 248:
        (event,) = events(client, 1)
        client.acknowledge(event)
        arrived.append(event.payload)
    assert arrived == [made[1], *made[3:]]
    wait_until(lambda: len(outbox) == 0)


def test_never_more_is_under_way_than_the_window(broker: FakeBroker, outbox: Waiting, connect: Any) -> None:
    outbox.fill(500)
    connection = connect(subscriptions={LISTEN: lambda payload, retained: None})
    client = broker.welcome()
    client.confirm(1)
    greeted(client)
    events(client, 100)
    connection.publish(Publication(STATE, "{}", retain=True))
    assert client.published().topic == STATE, "news passes by"


def test_an_older_event_that_turns_up_again_is_delivered_too(
    broker: FakeBroker, outbox: Waiting, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk may have been away, and be back without an event being made."""
    older, newer = outbox.fill(2)
    is_away = True
    pending = outbox.pending

    def without_disk(after: int, n: int) -> list[tuple[int, str]]:
        return [(sequence, payload) for sequence, payload in pending(after, n) if payload != older or not is_away]

    monkeypatch.setattr(outbox, "pending", without_disk)
    connect()
    client = broker.welcome()
    greeted(client)
    (event,) = events(client, 1)
    assert event.payload == newer
    is_away = False
    client.acknowledge(event)
    assert payloads(events(client, 1)) == [older]


# --- news --------------------------------------------------------------------------------------------------------


def test_of_what_is_published_while_away_the_newest_on_each_topic_is_sent(broker: FakeBroker, connect: Any) -> None:
    connection = connect(start=False)
    for i in range(5):
        connection.publish(Publication(STATE, str(i), retain=True))
        connection.publish(Publication("other", f"other {i}"))
    connection.publish(Publication(STATUS, "older than the greeting", retain=True))
    connection.start()
    client = broker.welcome()
    sent = {(p.topic, p.payload, p.retain) for p in (client.published() for _ in range(3))}
    assert sent == {(STATE, "4", True), ("other", "other 4", False), (STATUS, "online", True)}


def test_while_one_is_under_way_only_the_newest_of_its_topic_waits(broker: FakeBroker, connect: Any) -> None:
    connection = connect()
    client = broker.welcome()
    greeted(client)
    connection.publish(Publication(STATE, "0"))
    first = client.published()
    connection.publish(Publication(STATE, "1"))
    connection.publish(Publication("other", "passes by"))
    assert client.published().topic == "other"
    connection.publish(Publication(STATE, "2"))
    client.acknowledge(first)
    last = client.published()
    assert (first.payload, last.payload) == ("0", "2")


def test_news_that_was_not_acknowledged_is_sent_again_unless_there_is_newer(broker: FakeBroker, connect: Any) -> None:
    connection = connect(greeting=list)
    client = broker.welcome()
    connection.publish(Publication("a", "1"))
    connection.publish(Publication("b", "1"))
    for _ in range(2):
        client.published()
    connection.publish(Publication("b", "2"))
    client.close()
    client = broker.welcome()
    sent = {(p.topic, p.payload) for p in (client.published() for _ in range(2))}
    assert sent == {("a", "1"), ("b", "2")}


def test_what_is_published_while_the_greeting_is_made_is_newer_than_it(broker: FakeBroker, connect: Any) -> None:
    def greeting() -> list[Publication]:
        connection.publish(Publication(STATE, "new"))
        return [Publication(STATE, "old")]

    connection = connect(start=False, greeting=greeting)
    connection.start()
    assert broker.welcome().published().payload == "new"


def test_something_is_published_every_period(broker: FakeBroker, connect: Any) -> None:
    numbers = iter(range(1000))
    connect(period_seconds=0.2, periodic=lambda: [Publication(TELEMETRY, str(next(numbers)), qos=0)])
    client = broker.welcome()
    greeted(client)
    began = time.monotonic()
    sent = [client.published() for _ in range(4)]
    assert [(p.payload, p.qos, p.retain) for p in sent] == [(str(i), 0, False) for i in range(4)]
    assert time.monotonic() - began > 0.5, "three periods"


# --- what comes in -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_a_message_is_handed_on_with_whether_it_was_retained(broker: FakeBroker, connect: Any, protocol: str) -> None:
    heard: list[tuple[bytes, bool]] = []
    connect(subscriptions={LISTEN: lambda *message: heard.append(message)}, config={"protocol": protocol})
    client = broker.welcome(protocol)
    client.confirm(1)
    client.publish("affectd/other/listen", b"nothing that was asked for")
    client.publish(LISTEN, b"ON", retain=True)
    client.publish(LISTEN, b"\xff\x00")
    wait_until(lambda: len(heard) == 2)
    assert heard == [(b"ON", True), (b"\xff\x00", False)]


def test_a_handler_that_fails_is_logged_and_the_next_message_is_handled(
    broker: FakeBroker, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[bytes] = []

    def handle(payload: bytes, retained: bool) -> None:
        heard.append(payload)
        raise RuntimeError("no such thing")

    connection = connect(subscriptions={LISTEN: handle})
    client = broker.welcome()
    client.confirm(1)
    client.publish(LISTEN, b"1")
    client.publish(LISTEN, b"2")
    wait_until(lambda: len(warnings(caplog)) == 2)
    assert heard == [b"1", b"2"]
    assert connection.n_connects == 1
    assert all(LISTEN in line for line in warnings(caplog))


# --- the end -----------------------------------------------------------------------------------------------------


def test_a_close_waits_for_what_is_under_way_takes_leave_and_disconnects(
    broker: FakeBroker, outbox: Waiting, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "_FAREWELL_SECONDS", 20.0)
    outbox.fill(3)
    connection = connect()
    client = broker.welcome()
    greeted(client)
    under_way = events(client, 3)
    closing = threading.Thread(target=connection.close, args=(20.0,))
    closing.start()
    for event in under_way:
        client.acknowledge(event)
    farewell = client.published()
    assert (farewell.topic, farewell.payload, farewell.retain) == (STATUS, "stopped", True)
    client.acknowledge(farewell)
    client.expect(DISCONNECT)
    began = time.monotonic()
    closing.join(20.0)
    assert time.monotonic() - began < 10.0
    assert len(outbox) == 0
    assert (connection.connected, connection.reason) == (False, "closed")


def test_a_broker_that_does_not_answer_delays_a_close_by_its_patience_alone_and_publishes_the_last_will(
    broker: FakeBroker, outbox: Waiting, connect: Any
) -> None:
    outbox.fill(3)
    connection = connect()
    client = broker.welcome()
    greeted(client)
    events(client, 3)
    began = time.monotonic()
    connection.close(0.2)
    assert time.monotonic() - began < 2.2 + 1.0
    assert client.published().payload == "stopped"
    with pytest.raises(EOFError):  # without DISCONNECT
        client.receive()
    assert len(outbox) == 3


def test_nothing_follows_the_farewell(
    broker: FakeBroker, outbox: Waiting, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "_FAREWELL_SECONDS", 20.0)
    outbox.fill(150)
    connection = connect()
    client = broker.welcome()
    greeted(client)
    under_way = events(client, 100)
    closing = threading.Thread(target=connection.close, args=(0.1,))
    closing.start()
    farewell = client.published()
    assert farewell.payload == "stopped"
    for event in under_way:
        client.acknowledge(event)
    wait_until(lambda: len(outbox) == 50)
    client.acknowledge(farewell)
    client.expect(DISCONNECT)
    closing.join(20.0)
    assert len(outbox) == 50


def test_neither_a_report_nor_a_message_makes_it_online_after_the_farewell(
    broker: FakeBroker, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "_FAREWELL_SECONDS", 20.0)
    connection: Connection = connect(
        start=False,
        subscriptions={LISTEN: lambda payload, retained: connection.publish(ONLINE)},
        period_seconds=0.1,
        periodic=lambda: [ONLINE],
    )
    connection.start()
    client = broker.welcome()
    client.confirm(1)
    closing = threading.Thread(target=connection.close, args=(20.0,))
    while (publication := client.published()).payload != "stopped":
        client.acknowledge(publication)
        if not closing.ident:
            closing.start()
    client.publish(LISTEN, b"")
    client.expect_nothing()
    client.acknowledge(publication)
    client.expect(DISCONNECT)
    closing.join(20.0)


def test_a_close_without_a_broker_makes_one_attempt_and_ends(outbox: Waiting, connect: Any) -> None:
    outbox.fill(3)
    connection = connect(config={"port": free_port()})
    wait_until(lambda: "refused" in connection.reason)
    began = time.monotonic()
    connection.close(20.0)
    assert time.monotonic() - began < 5.0
    assert len(outbox) == 3
    assert "refused" in connection.reason, "who wanted to use it wants to know"


def test_a_close_does_not_wait_for_the_next_attempt_but_makes_it(
    broker: FakeBroker, outbox: Waiting, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outages, "_FIRST_DELAY_SECONDS", 60.0)
    outbox.fill(1)
    connection = connect()
    broker.accept().close()
    wait_until(lambda: "closed" in connection.reason)
    closing = threading.Thread(target=connection.close, args=(20.0,))
    closing.start()
    client = broker.welcome()
    greeted(client)
    client.acknowledge(events(client, 1)[0])
    client.acknowledge(client.published())
    client.expect(DISCONNECT)
    closing.join(20.0)
    assert len(outbox) == 0


def test_a_close_before_the_first_answer_still_delivers(broker: FakeBroker, outbox: Waiting, connect: Any) -> None:
    """A file that is played as fast as possible is over before the broker has been found."""
    outbox.fill(1)
    connection = connect()
    closing = threading.Thread(target=connection.close, args=(20.0,))
    closing.start()
    client = broker.welcome()
    greeted(client)
    client.acknowledge(events(client, 1)[0])
    client.acknowledge(client.published())
    client.expect(DISCONNECT)
    closing.join(20.0)
    assert len(outbox) == 0


def test_one_that_was_never_started_can_be_used_and_closed(connect: Any) -> None:
    connection = connect(start=False)
    connection.event_made()
    connection.publish(ONLINE)
    connection.close(20.0)


# --- what goes wrong ---------------------------------------------------------------------------------------------


def test_attempts_become_rarer_and_the_log_has_one_line(
    broker: FakeBroker, connect: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    connect()
    times = []
    for _ in range(4):
        client = broker.accept()
        times.append(time.monotonic())
        client.expect(CONNECT)
        client.close()
    waits = [later - earlier for earlier, later in pairwise(times)]
    for wait, delay in zip(waits, (1.0, 2.0, 4.0), strict=True):
        assert 0.45 * delay < wait < delay + 2.0, waits
    assert len(warnings(caplog)) == 1


def test_a_broker_that_lets_us_in_and_throws_us_out_at_once_is_no_reason_to_hurry(
    broker: FakeBroker, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    connection = connect()
    times = []
    for _ in range(4):
        client = broker.welcome()
        times.append(time.monotonic())
        greeted(client)
        client.close()
    assert times[3] - times[2] > 1.8, "two devices with the same client id throw each other out for ever"
    wait_until(lambda: connection.n_connects == 4)


def test_no_wait_is_longer_than_the_settings_say(broker: FakeBroker, connect: Any) -> None:
    connect(config={"retry_seconds": 1.0})
    times = []
    for _ in range(6):
        broker.accept().close()
        times.append(time.monotonic())
    assert times[-1] - times[0] < 5 * 1.0 + 5.0


def test_each_reason_of_an_outage_is_logged_once_and_the_return_too(
    broker: FakeBroker, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    connection = connect(config={"retry_seconds": 1.0})
    for code in (5, 3, 5, 3):
        client = broker.accept()
        client.expect(CONNECT)
        client.answer(code)
    broker.welcome()
    wait_until(lambda: connection.connected)
    lines = [record.getMessage() for record in caplog.records]
    assert [bool(re.search("not authorized", line)) for line in lines] == [True, False, False]
    assert [bool(re.search("not available", line)) for line in lines] == [False, True, False]
    assert "connected to the broker" in lines[2]
    assert all(str(broker.port) in line for line in lines)


def test_the_next_outage_is_explained_again(broker: FakeBroker, connect: Any, caplog: pytest.LogCaptureFixture) -> None:
    connection = connect(config={"retry_seconds": 1.0})
    for n in (1, 2):
        client = broker.welcome()
        wait_until(lambda: connection.connected)
        client.close()
        wait_until(lambda n=n: len(warnings(caplog)) == n)  # type: ignore[misc]


def test_a_broker_that_throws_us_out_again_and_again_does_not_fill_the_log(
    broker: FakeBroker, connect: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(outages, "_LASTING_SECONDS", 2.0)
    monkeypatch.setattr(outages, "_MOST_BRIEF", 3)
    connection = connect(config={"retry_seconds": 1.0})
    for n in range(1, 7):
        client = broker.welcome()
        wait_until(lambda n=n: connection.n_connects == n)  # type: ignore[misc]
        client.close()
    wait_until(lambda: not connection.connected)
    client = broker.accept()
    client.expect(CONNECT)
    client.answer(3)  # another reason is news
    broker.welcome()
    wait_until(lambda: connection.n_connects == 7)
    lines = list(caplog.messages)
    heads = [line.partition(" the broker")[0] for line in lines]
    assert heads == 3 * ["connected to", "no connection to"] + ["no connection to"]
    assert [line.endswith("the next is said when it lasts") for line in lines] == 5 * [False] + [True, False]
    assert "not available" in lines[-1]
    wait_until(lambda: len(caplog.messages) == 8)
    assert caplog.messages[-1].startswith("connected to the broker")
    assert caplog.messages[-1].endswith(" for 2 s, after 6 connections that were shorter")
    assert connection.connected


REFUSALS = [
    ("3.1.1", 1, "does not speak MQTT 3.1.1"),
    ("3.1.1", 2, "client id affectd-test"),
    ("3.1.1", 3, "not available"),
    ("3.1.1", 4, "user name or the password"),
    ("3.1.1", 5, "not authorized"),
    ("3.1.1", 77, "77" if not PAHO_2 else ""),
    ("5", 1, "does not speak MQTT 5"),
    ("5", 132, "does not speak MQTT 5"),
    ("5", 133, "client id affectd-test"),
    ("5", 134, "user name or the password"),
    ("5", 135, "not authorized"),
    ("5", 136, "not available"),
    ("5", 137, "busy"),
    ("5", 138, "banned"),
    ("5", 151, "quota exceeded"),
]


def test_a_broker_that_stays_silent_is_said_to_have_not_answered(broker: FakeBroker) -> None:
    config = Config(
        device=DeviceConfig(id="kitchen"), mqtt=MqttConfig(enabled=True, host="127.0.0.1", port=broker.port)
    )
    with pytest.raises(UnavailableError, match=r"could not be told to forget this device: it has not answered\.$"):
        forget(config, patience_seconds=0.2)


def test_without_a_broker_there_is_none_that_has_to_forget(
    broker: FakeBroker, caplog: pytest.LogCaptureFixture
) -> None:
    forget(Config(mqtt=MqttConfig(host="127.0.0.1", port=broker.port)))
    assert [message.partition(",")[0] for message in caplog.messages] == ["no broker is configured"]
    assert not broker._connections


@pytest.mark.parametrize(("protocol", "code", "words"), REFUSALS)
def test_a_refusal_is_no_connection_and_says_why(
    broker: FakeBroker, connect: Any, protocol: str, code: int, words: str
) -> None:
    connection = connect(config={"protocol": protocol})
    client = broker.accept(protocol)
    client.expect(CONNECT)
    client.answer(code)
    wait_until(lambda: connection.reason != "it has not answered")
    assert words in connection.reason
    assert (connection.connected, connection.n_connects) == (False, 0)
    with pytest.raises(EOFError):  # not even a farewell
        client.receive()


@pytest.mark.parametrize(("code", "words"), [(142, "same client id"), (139, "shutting down"), (152, "administrative")])
def test_a_broker_that_says_why_it_ends_the_connection_is_quoted(
    broker: FakeBroker, connect: Any, code: int, words: str
) -> None:
    connection = connect(config={"protocol": "5"})
    client = broker.welcome("5")
    wait_until(lambda: connection.connected)
    client.send(bytes([0xE0, 2, code, 0]))
    client.close()
    wait_until(lambda: not connection.connected)
    # paho 1.6 overlooks it.
    wait_until(lambda: (words if PAHO_2 else "closed") in connection.reason)


def test_a_broker_that_accepts_and_says_nothing_is_given_up(
    broker: FakeBroker, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_client, "_ANSWER_SECONDS", 0.3)
    connection = connect()
    client = broker.accept()
    client.expect(CONNECT)
    wait_until(lambda: "does not answer" in connection.reason)
    with pytest.raises(EOFError):
        client.receive()
    broker.welcome()
    wait_until(lambda: connection.connected)


def test_a_broker_that_falls_silent_is_noticed(broker: FakeBroker, outbox: Waiting, connect: Any) -> None:
    connection = connect(config={"keepalive_seconds": 5})
    client = broker.welcome()
    greeted(client)
    began = time.monotonic()
    wait_until(lambda: not connection.connected, 20.0)
    assert 4.0 < time.monotonic() - began < 15.0
    assert "does not answer any more" in connection.reason


def test_a_broker_that_speaks_something_else_is_left(
    broker: FakeBroker, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_client, "_ANSWER_SECONDS", 0.5)
    connection = connect()
    client = broker.accept()
    client.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    wait_until(lambda: connection.reason != "it has not answered")
    assert not connection.connected
    broker.welcome()
    wait_until(lambda: connection.connected)


def test_a_name_server_that_hangs_holds_up_no_caller(
    outbox: Waiting, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer = threading.Event(), threading.Event()

    def getaddrinfo(*arguments: Any, **keywords: Any) -> Any:
        asked.set()
        answer.wait(60.0)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    connection = connect()
    assert asked.wait(20.0)
    outbox.settled.clear()
    began = time.monotonic()
    outbox.fill(1)
    connection.event_made()
    connection.publish(ONLINE)
    assert time.monotonic() - began < 1.0
    wait_until(lambda: outbox.settled, what="the event is brought to the disk meanwhile")
    assert {connected for _, connected in outbox.settled} == {False}
    began = time.monotonic()
    connection.close(0.3)
    assert time.monotonic() - began < 3.0
    answer.set()
    wait_until(lambda: all(thread.name != "mqtt-connect" for thread in threading.enumerate()))


def test_the_outbox_is_settled_every_second_or_so_while_an_event_is_under_way(
    broker: FakeBroker, outbox: Waiting, connect: Any
) -> None:
    outbox.fill(1)
    connect()
    greeted(broker.welcome())
    wait_until(lambda: sum(connected for _, connected in outbox.settled) >= 4)
    times = [at for at, connected in outbox.settled if connected]
    assert max(later - earlier for earlier, later in pairwise(times)) < 3.0


def test_while_everything_is_delivered_the_connection_wakes_rarely_but_for_the_next_event_at_once(
    broker: FakeBroker, outbox: Waiting, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "_IDLE_SECONDS", 3.0)
    connection = connect(greeting=list)
    client = broker.welcome()
    wait_until(lambda: sum(connected for _, connected in outbox.settled) >= 3)
    times = [at for at, connected in outbox.settled if connected]
    assert times[2] - times[1] > 2.5
    outbox.fill(1)
    connection.event_made()
    began = time.monotonic()
    events(client, 1)
    assert time.monotonic() - began < 1.0
    # Not acknowledged: it has to reach the disk soon.
    wait_until(lambda: [at for at, _ in outbox.settled if at > began])
    assert next(at for at, _ in outbox.settled if at > began) - began < 2.0


def test_a_fault_of_ours_is_logged_once_and_survived(
    broker: FakeBroker, outbox: Waiting, connect: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried: list[float] = []

    def broken(after: int, n: int) -> list[tuple[int, str]]:
        tried.append(time.monotonic())
        raise RuntimeError("no such table")

    monkeypatch.setattr(mqtt, "_TICK_SECONDS", 0.1)
    monkeypatch.setattr(outbox, "pending", broken)
    outbox.fill(1)
    connection = connect(config={"retry_seconds": 1.0})
    broker.welcome()
    wait_until(lambda: tried)
    monkeypatch.undo()
    client = broker.welcome()
    greeted(client)
    events(client, 1)
    assert "no such table" in warnings(caplog)[1]
    assert connection.n_connects == 2


@pytest.mark.parametrize("which", ["greeting", "periodic"])
def test_what_cannot_be_made_does_not_hold_up_the_events(
    broker: FakeBroker, outbox: Waiting, connect: Any, which: str
) -> None:
    def broken() -> list[Publication]:
        raise RuntimeError("no temperature")

    outbox.fill(1)
    connect(**{"greeting": list, which: broken})
    events(broker.welcome(), 1)


# --- MQTT 5 ------------------------------------------------------------------------------------------------------


def test_no_more_is_under_way_than_the_broker_wants(broker: FakeBroker, outbox: Waiting, connect: Any) -> None:
    made = outbox.fill(10)
    connect(greeting=list, config={"protocol": "5"})
    client = broker.welcome("5", properties=b"\x21\x00\x03")  # Receive Maximum 3
    under_way = events(client, 3)
    client.expect_nothing()
    arrived = payloads(under_way)
    while len(arrived) < len(made):
        client.acknowledge(under_way.pop(0))
        under_way += events(client, 1)
        arrived.append(under_way[-1].payload)
        assert len(under_way) == 3
    assert arrived == made


def test_an_event_that_the_broker_refuses_stays_and_is_tried_again_later(
    broker: FakeBroker, outbox: Waiting, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    made = outbox.fill(3)
    connect(config={"protocol": "5", "retry_seconds": 1.0})
    client = broker.welcome("5")
    greeted(client)
    first = events(client, 3)
    client.acknowledge(first[0])
    for event in first[1:]:
        client.acknowledge(event, 0x87)
    refused_at = time.monotonic()
    second = events(client, 2)
    assert time.monotonic() - refused_at > 0.9
    assert payloads(second) == made[1:]
    for event in second:
        client.acknowledge(event)
    wait_until(lambda: len(outbox) == 0)
    assert [EVENT in line and "not authorized" in line for line in warnings(caplog)] == [True]


# --- before the beginning ----------------------------------------------------------------------------------------


def test_what_is_optional_and_ends_the_connection_does_not_keep_the_rest_away(
    broker: FakeBroker, outbox: Waiting, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (payload,) = outbox.fill(1)
    description = Publication("homeassistant/test", "{}", retain=True, is_optional=True)
    connection = connect(greeting=lambda: [description, ONLINE])
    for _ in range(6):  # a busy machine may notice an end late
        client = broker.welcome()
        if client.published().topic == STATUS:
            break
        client.close()
    assert payloads(events(client, 1)) == [payload]
    assert connection.refused == {description.topic}
    assert [description.topic in line and "it ends the connection" in line for line in warnings(caplog)].count(
        True
    ) == 1


def test_an_event_that_ends_the_connection_keeps_no_shorter_one_away_and_stays(
    broker: FakeBroker,
    outbox: Waiting,
    connect: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "_HELD_PERIODS", 4)
    for payload in ("first", "x" * 200, "second", "y" * 250, "third"):
        outbox.put(payload)
    connection = connect(config={"retry_seconds": 1.0})
    arrived: list[str] = []
    for _ in range(6):  # a busy machine may notice an end late
        client = broker.welcome()
        greeted(client)
        while len((event := client.published()).payload) < 100 and event.payload != "third":
            arrived.append(event.payload)
            client.acknowledge(event)
        if event.payload == "third":
            client.acknowledge(event)
            break
        client.close()
    assert list(dict.fromkeys(arrived)) == ["first", "second"]
    wait_until(lambda: len(outbox) == 2)
    assert connection.refused == {EVENT}
    client.expect_nothing(1.5)
    assert client.published().payload == "x" * 200, "later it is tried again"
    assert [EVENT in line and "it ends the connection" in line for line in warnings(caplog)].count(True) == 1


def test_events_that_a_broker_leaves_unacknowledged_when_it_ends_are_all_sent_again(
    broker: FakeBroker, outbox: Waiting, connect: Any
) -> None:
    made = outbox.fill(5)
    connect()
    client = broker.welcome()
    greeted(client)
    assert payloads(events(client, 5)) == made
    client.close()
    client = broker.welcome()
    greeted(client)
    (first,) = events(client, 1)
    client.expect_nothing()
    client.acknowledge(first)
    rest = events(client, 4)
    assert payloads([first, *rest]) == made
    client.close()
    client = broker.welcome()
    greeted(client)
    (second,) = events(client, 1)
    client.acknowledge(second)
    assert payloads([second, *events(client, 3)]) == made[1:]


def test_without_paho_there_is_a_sentence(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt", None)
    with pytest.raises(UnavailableError, match=re.escape("affectd[mqtt]")):
        connect(start=False)


def test_settings_that_cannot_work_are_refused_at_once(connect: Any) -> None:
    with pytest.raises(ConfigError, match="password_file"):
        connect(start=False, config={"username": "x", "password_file": "/nowhere"})
    with pytest.raises(ConfigError, match="ca_file"):
        connect(start=False, config={"tls": True, "ca_file": "/nowhere"})


def test_a_thread_that_cannot_be_started_is_not_waited_for(connect: Any) -> None:
    connection = connect(start=False)
    usual = threading.stack_size(1 << 46)  # more than there is
    try:
        with pytest.raises(RuntimeError, match="start new thread"):
            connection.start()
    finally:
        threading.stack_size(usual)
    connection.close(0.0)


def test_paho_is_imported_only_to_connect() -> None:
    code = "import sys, affectd.mqtt.connection; sys.exit('paho' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_no_caller_waits_for_a_thread_that_waits_for_the_disk(
    outbox: Waiting, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, go_on = threading.Event(), threading.Event()

    def settle(connected: bool) -> None:
        waits.set()
        go_on.wait(60.0)

    monkeypatch.setattr(outbox, "settle", settle)
    connection = connect()
    try:
        assert waits.wait(20.0)
        began = time.monotonic()
        for _ in range(3000):  # more than fit into the pipe that wakes it
            connection.event_made()
            connection.publish(ONLINE)
        assert time.monotonic() - began < 20.0
    finally:
        go_on.set()


# --- what the broker refuses -------------------------------------------------------------------------------------


def test_a_refused_subscription_is_told_once_and_tried_again_until_it_is_granted(
    broker: FakeBroker, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    changes: list[tuple[set[str], frozenset[str]]] = []
    connection: Connection = connect(
        start=False,
        config={"retry_seconds": 1.0},
        subscriptions={LISTEN: lambda payload, retained: None},
        answered=lambda: changes.append((set(connection.granted), connection.refused)),
    )
    connection.start()
    client = broker.welcome()
    client.confirm(128)
    greeted(client)
    wait_until(lambda: changes)
    assert changes == [(set(), frozenset({LISTEN}))]
    client.confirm(128)
    client.confirm(1)
    wait_until(lambda: not connection.refused)
    assert changes[-1] == ({LISTEN}, frozenset())
    assert [line for line in warnings(caplog) if LISTEN in line] == [
        f"the broker refuses the subscription to {LISTEN}: no reason given; nothing is received there"
    ]


def test_a_refused_publication_is_known_until_one_is_taken(broker: FakeBroker, outbox: Waiting, connect: Any) -> None:
    connection = connect(config={"protocol": "5", "retry_seconds": 1.0})
    client = broker.welcome("5")
    greeting = client.published()
    client.acknowledge(greeting, 0)
    outbox.fill(1)
    connection.event_made()
    client.acknowledge(client.published(), 135)
    wait_until(lambda: connection.refused == {EVENT})
    client.acknowledge(client.published(), 0)
    wait_until(lambda: not connection.refused)
    assert len(outbox) == 0


@pytest.mark.parametrize("n", [1, 250])  # of the latter not all are under way at the same time
def test_events_longer_than_the_broker_takes_are_kept_and_stop_no_other(
    broker: FakeBroker, outbox: Waiting, connect: Any, caplog: pytest.LogCaptureFixture, n: int
) -> None:
    for _ in range(n):
        outbox.put("x" * 200)
    outbox.put("short")
    connection = connect(config={"protocol": "5", "retry_seconds": 1.0})
    client = broker.welcome("5", b"\x27\0\0\0\x64")  # 100 bytes
    greeted(client)
    for payload in ("short", "shorter"):
        event = client.published()
        assert event.payload == payload
        client.acknowledge(event, 0)
        client.expect_nothing(1.5)
        assert connection.refused == {EVENT}
        outbox.put("shorter")
        connection.event_made()
    assert client.published().payload == "shorter"
    assert len(outbox) == n + 1
    assert ["100 bytes at most" in line for line in warnings(caplog)] == [True]
    client.close()
    client = broker.welcome("5")  # of any length
    greeted(client)
    assert client.published().payload == "x" * 200


def test_a_broker_that_takes_no_retained_message_and_no_qos_1_gets_neither_and_all_events(
    broker: FakeBroker, outbox: Waiting, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    made = outbox.fill(2)
    connection = connect(config={"protocol": "5"})
    client = broker.welcome("5", b"\x24\0\x25\0")  # Maximum QoS 0, Retain Available 0
    taken = [client.published() for _ in range(3)]
    assert payloads(taken) == ["online", *made]
    assert {(publication.qos, publication.retain) for publication in taken} == {(0, False)}
    wait_until(lambda: len(outbox) == 0)
    assert connection.is_complete
    assert [line.partition(" takes ")[2].partition(" only")[0] for line in warnings(caplog)][:1] == ["QoS 0"]


def test_a_broker_that_takes_qos_0_only_and_few_at_once_gets_a_backlog_without_pauses(
    broker: FakeBroker, outbox: Waiting, connect: Any
) -> None:
    made = outbox.fill(100)
    connect(config={"protocol": "5"})
    client = broker.welcome("5", b"\x24\0\x21\0\x05")  # Maximum QoS 0, Receive Maximum 5
    began = time.monotonic()
    assert [client.published().payload for _ in range(101)] == ["online", *made]
    assert time.monotonic() - began < 10.0


@pytest.mark.parametrize(("code", "flags"), [(0x9A, 0x0C), (0x9B, 0x24)], ids=["retained", "QoS 1"])
def test_a_last_will_that_the_broker_cannot_keep_is_no_reason_to_stay_away(
    broker: FakeBroker, connect: Any, code: int, flags: int
) -> None:
    connect(config={"protocol": "5", "retry_seconds": 1.0})
    first = broker.accept("5")
    assert first.expect(CONNECT)[7] & 0x3C == 0x2C
    first.answer(code)
    second = broker.accept("5")
    assert second.expect(CONNECT)[7] & 0x3C == flags


def test_a_topic_longer_than_the_broker_takes_is_not_subscribed_to_and_listed(broker: FakeBroker, connect: Any) -> None:
    connection = connect(config={"protocol": "5"}, subscriptions={"ü" * 30: lambda payload, retained: None})
    client = broker.welcome("5", b"\x27\0\0\0\x40")  # 64 bytes
    greeted(client)
    wait_until(lambda: connection.refused == {"ü" * 30})
    client.expect_nothing()


def test_the_broker_says_how_often_it_wants_to_hear_something(broker: FakeBroker, connect: Any) -> None:
    connect(config={"protocol": "5"})
    client = broker.welcome("5", b"\x13\0\x01")  # Server Keep Alive 1
    greeted(client)
    before = time.monotonic()
    for _ in range(2):
        client.expect(PINGREQ)
        client.send(b"\xd0\0")
        assert time.monotonic() - before < 1.5
        before = time.monotonic()


def test_while_the_disk_hangs_events_are_delivered_and_the_log_says_so(
    broker: FakeBroker, outbox: Waiting, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    go_on = threading.Event()
    outbox.settle = lambda connected: None if go_on.wait(30.0) else pytest.fail("late")  # type: ignore
    connection = connect()
    client = broker.welcome()
    greeted(client)
    for n in range(3):
        made = outbox.fill(1)
        connection.event_made()
        (event,) = events(client, 1)
        assert event.payload == made[0], n
        client.acknowledge(event)
    wait_until(lambda: len(outbox) == 0)
    assert warnings(caplog) == ["the disk hangs; events wait in memory meanwhile"]
    go_on.set()


def test_a_disk_that_is_slow_each_time_does_not_fill_the_log_that_lies_on_it(
    broker: FakeBroker, outbox: Waiting, connect: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "_HANG_SECONDS", 0.01)
    n_settled = 0

    def settle(connected: bool) -> None:
        nonlocal n_settled
        time.sleep(0.05)  # the disk
        n_settled += 1

    outbox.settle = settle  # type: ignore[method-assign]
    outbox.fill(1)
    connection = connect()
    greeted(broker.welcome())
    wait_until(lambda: n_settled >= 3)
    assert warnings(caplog) == ["the disk hangs; events wait in memory meanwhile"]
    monkeypatch.setattr(connection, "_say_hang_from", time.monotonic())  # an hour later it is said again
    wait_until(lambda: len(warnings(caplog)) == 2)


def test_without_further_threads_the_connection_goes_on_and_a_lost_one_comes_back_later(
    broker: FakeBroker, outbox: Waiting, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    connection = connect()
    client = broker.welcome()
    greeted(client)
    usual = threading.stack_size(1 << 46)  # more than there is
    try:
        (made,) = outbox.fill(1)
        connection.event_made()
        (event,) = events(client, 1)
        assert event.payload == made
        wait_until(lambda: warnings(caplog))
        assert warnings(caplog) == [f"{NO_THREAD}; events wait in memory meanwhile"]
        client.close()
        wait_until(lambda: NO_THREAD in warnings(caplog)[-1] and "trying again" in warnings(caplog)[-1])
    finally:
        threading.stack_size(usual)
    again = broker.welcome()
    greeted(again)
    assert payloads(events(again, 1)) == [made]
    assert "please report" not in caplog.text


def test_paho_does_not_load_http_until_it_looks_for_a_proxy() -> None:
    code = "import sys, urllib; from affectd.mqtt.library import paho; paho(); names = set(sys.modules)\n"
    code += "assert not {'http.client', 'email', 'urllib.request'} & names, names\n"
    code += "assert urllib.request.getproxies()['mqtt'] == 'http://proxy:1'; import urllib.request\n"
    environment = {**os.environ, "mqtt_proxy": "http://proxy:1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=60)
