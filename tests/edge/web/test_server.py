"""The thread of the page, over sockets of the loopback interface: streams, limits, and clients that behave badly."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affectd.web import connection as connections
from affectd.web import server as servers
from affectd.web.hub import Hub, message
from affectd.web.request import Request, Response
from affectd.web.server import MOST_STREAMS, Server
from web_device import Stream

PATIENCE_SECONDS = 60.0


class Running:
    """A server on a free port, and what tests change of it."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.news: list[str] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.server = Server(self.listener, self.hub, self.answer, lambda: self.hub.snapshot("{}"), self.told)

    def answer(self, request: Request) -> Response:
        if request.path == "/events":
            return Response(200, None, "text/event-stream")
        if request.path == "/broken":
            raise KeyError("a mistake")
        if request.path == "/large":
            return Response(200, b"x" * 3_000_000)
        return Response(200, b"hello\n")

    def told(self) -> bytes | None:
        return message("state", self.news.pop()) if self.news else None

    def connections(self) -> list[connections.Connection]:
        return list(self.server._connections.values())

    def ended(self) -> None:
        """Wait for the end of the thread, which the end of the server does only for a moment."""
        self.server._thread.join(PATIENCE_SECONDS)
        assert not self.server._thread.is_alive()

    def connect(self, received: bytes = b"", buffer: int | None = None) -> socket.socket:
        client = socket.socket()
        if buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.settimeout(PATIENCE_SECONDS)
        try:
            client.connect(("127.0.0.1", self.port))
            client.sendall(received)
        except OSError:
            client.close()
            raise
        return client

    def get(self, path: str) -> tuple[int, bytes]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)) as client:
            client.request("GET", path)
            response = client.getresponse()
            return response.status, response.read()

    @contextmanager
    def stream(self) -> Iterator[Stream]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)) as client:
            client.request("GET", "/events")
            with closing(client.getresponse()) as response:
                yield Stream(response)


@pytest.fixture
def running() -> Iterator[Running]:
    made = Running()
    with made.server:
        yield made
    made.ended()


def status(number: int, **more: Any) -> dict[str, Any]:
    return {"type": "status", "id": str(number), "state": "healthy", "reason": "heard", **more}


def eventually(holds: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < until, what
        time.sleep(0.01)


def received(client: socket.socket) -> bytes:
    """Return all that comes until the other side ends."""
    return b"".join(iter(lambda: client.recv(65536), b""))


@given(st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_viewer_gets_a_snapshot_and_then_each_line_once_and_in_order(data: st.DataObject) -> None:
    """Whenever it comes, and whatever the others do."""
    running = Running()
    with running.server, ExitStack() as stack:
        streams: list[tuple[int, Stream]] = []
        n_written = 0
        for step in data.draw(st.lists(st.sampled_from(["write", "write", "come", "stall", "leave"]), max_size=25)):
            if step == "write":
                for _ in range(data.draw(st.integers(1, 20))):
                    running.hub.write(status(n_written))
                    n_written += 1
            elif step == "come" and len(streams) < 4:
                streams.append((n_written, stack.enter_context(running.stream())))
            elif step == "stall":
                stack.enter_context(closing(running.connect(b"GET /events HTTP/1.1\r\n\r\n", 4096)))
            elif step == "leave":
                running.connect(b"GET /events HTTP/1.1\r\n\r\n").close()
        running.hub.write(status(n_written, text="last"))
        for n_before, stream in streams:
            if stream.response.status == 503:  # those that stall may be eight
                continue
            messages = iter(stream)
            kind, snapshot = next(messages)
            assert kind == "snapshot"
            numbers = [int(event["id"]) for event in snapshot["events"]]
            assert numbers == list(range(len(numbers)))[-100:] or len(numbers) == 100
            assert len(numbers) >= min(n_before, 100), "a line that was written before is missing"
            while numbers[-1:] != [n_written]:
                kind, event = next(messages)
                numbers.append(int(event["id"]))
            assert numbers == list(range(numbers[0], n_written + 1))
    running.ended()


def test_a_line_that_comes_while_a_viewer_does_is_not_left_lying(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_TICK_SECONDS", 10 * PATIENCE_SECONDS)
    running = Running()

    def beginning() -> bytes:
        snapshot = running.hub.snapshot("{}")
        running.hub.write(status(1))  # as the thread of the sound may at this moment
        return snapshot

    running.server._beginning = beginning
    with running.server, running.stream() as stream:
        messages = iter(stream)
        assert next(messages)[1]["events"] == []
        assert next(messages)[1]["id"] == "1"


def test_a_ninth_viewer_is_told_that_there_are_enough_and_comes_when_another_has_left(running: Running) -> None:
    with ExitStack() as stack:
        viewers = [stack.enter_context(running.stream()) for _ in range(MOST_STREAMS)]
        assert [viewer.response.status for viewer in viewers] == [200] * 8
        with running.stream() as ninth:
            assert ninth.response.status == 503
            assert ninth.response.headers["Retry-After"]
        assert running.get("/") == (200, b"hello\n"), "others are answered"
        leaving = stack.enter_context(running.stream())
        assert leaving.response.status == 503
    eventually(lambda: running.hub.is_watched is False, "those that left are still counted")
    with running.stream() as next_one:
        assert next_one.response.status == 200


def test_a_viewer_that_takes_nothing_is_dropped_and_the_others_miss_nothing(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stalled = running.connect(b"GET /events HTTP/1.1\r\n\r\n", 4096)
    with running.stream() as stream, closing(stalled):
        messages = iter(stream)
        next(messages)
        for number in range(300):
            before = time.monotonic()
            running.hub.write(status(number, text="x" * 2000))
            assert time.monotonic() - before < PATIENCE_SECONDS / 10, "the sound waits"
            assert next(messages)[1]["id"] == str(number)
        assert "a viewer of the page was dropped" in caplog.text
        eventually(lambda: len(running.server._connections) == 1, "it is kept")
    eventually(lambda: not running.server._connections, "its connection is kept")


def test_what_a_viewer_leaves_waiting_is_bounded(running: Running) -> None:
    stalled = running.connect(b"GET /events HTTP/1.1\r\n\r\n", 4096)
    with closing(stalled):
        eventually(lambda: running.hub.is_watched, "it is no stream")
        (kept,) = running.server._connections.values()
        most = 0
        for number in range(2000):
            running.hub.write(status(number, text="x" * 2000))
            most = max(most, len(kept._waiting))
        eventually(lambda: not running.server._connections, "it is not dropped")
        assert most <= connections._MOST_WAITING


def test_a_heartbeat_comes_and_news(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_HEARTBEAT_SECONDS", 0.0)
    with running.stream() as stream:
        messages = iter(stream)
        assert next(messages)[0] == "snapshot"
        for number in range(3):
            running.news.append(json.dumps({"number": number}))
            assert next(messages) == ("state", {"number": number})
        assert stream.n_heartbeats >= 3


def test_a_client_that_says_more_after_its_request_for_a_stream_is_let_go(running: Running) -> None:
    with closing(running.connect(b"GET /events HTTP/1.1\r\n\r\n")) as client:
        client.recv(10)
        client.sendall(b"GET /events HTTP/1.1\r\n\r\n")
        received(client)
    eventually(lambda: not running.hub.is_watched, "it is kept")


def test_a_request_byte_by_byte_is_answered_and_one_that_never_ends_is_not_waited_for(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(running.connect()) as client:
        for byte in b"GET / HTTP/1.1\r\n\r\n":
            client.sendall(bytes([byte]))
        assert received(client).endswith(b"hello\n")
    eventually(lambda: not running.server._connections, "the connection is kept")
    monkeypatch.setattr(connections, "_REQUEST_SECONDS", 10 * PATIENCE_SECONDS)
    with closing(running.connect(b"GET / HTTP/1.1\r\n")) as slow, closing(running.connect()) as silent:
        eventually(lambda: sorted(bool(one._received) for one in running.connections()) == [False, True], "not there")
        for one in running.connections():
            one.due_at = 0.0
        assert received(slow).startswith(b"HTTP/1.1 408 ")
        assert received(silent) == b""
    eventually(lambda: not running.server._connections, "a connection is kept")


def test_a_client_that_reads_slowly_gets_all_and_one_that_does_not_read_is_let_go(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(running.connect(b"GET /large HTTP/1.1\r\n\r\n", 4096)) as slow:
        assert running.get("/") == (200, b"hello\n"), "the others wait for it"
        assert len(received(slow)) > 3_000_000
    monkeypatch.setattr(connections, "_RESPONSE_SECONDS", 0.0)
    with closing(running.connect(b"GET /large HTTP/1.1\r\n\r\n", 4096)) as idle:
        assert idle.recv(4) == b"HTTP", "it has come"
        eventually(lambda: not running.server._connections, "it is kept")


def test_a_refusal_arrives_although_the_client_still_sends(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing with unread data would reset the connection before the client has read why."""
    monkeypatch.setattr(connections, "_LINGER_SECONDS", 10 * PATIENCE_SECONDS)  # a busy machine sends slowly
    for _ in range(20):
        with closing(running.connect(b"POST /events HTTP/1.1\r\nContent-Length: 100000\r\n\r\n")) as client:
            begin = client.recv(12)
            for _ in range(10):
                client.sendall(b"x" * 10_000)
            assert begin + received(client)[:3] == b"HTTP/1.1 405 Me"


def test_too_many_clients_are_not_kept(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_REQUEST_SECONDS", 10 * PATIENCE_SECONDS)
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(running.connect())) for _ in range(servers._MOST_CONNECTIONS)]
        eventually(lambda: len(running.server._connections) == len(clients), "they have not come")
        assert running.get("/") == (200, b"hello\n"), "one that asks is not kept out by those that do not"
        assert received(clients[0]) == b""
        assert len(running.server._connections) <= len(clients)
    eventually(lambda: not running.server._connections, "they are kept")
    assert running.get("/") == (200, b"hello\n")


def test_a_mistake_in_an_answer_is_logged_and_not_the_end(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    assert running.get("/broken")[0] == 500
    assert running.get("/") == (200, b"hello\n")
    (record,) = caplog.records
    assert record.getMessage() == "the page cannot answer /broken"
    assert isinstance(record.exc_info[1], KeyError)


def test_a_mistake_elsewhere_lets_the_viewers_go_and_others_come(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with running.stream() as stream:
        running.hub.write({"no": "type"})
        assert [kind for kind, _ in stream] == ["snapshot"]
    assert "the page failed" in caplog.text
    with running.stream() as stream:
        running.hub.write(status(1))
        messages = iter(stream)
        assert next(messages)[0] == "snapshot"
    assert running.get("/") == (200, b"hello\n")


def test_the_end_waits_for_no_viewer(running: Running) -> None:
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(closing(running.connect(b"GET /events HTTP/1.1\r\n\r\n", 4096)))
            stack.enter_context(closing(running.connect(b"GET /large HTTP/1.1\r\n\r\n", 4096)))
            stack.enter_context(closing(running.connect(b"GET")))
        eventually(lambda: running.hub.is_watched, "they have not come")
        running.server.__exit__()
        running.ended()
        assert not running.server._connections
    with pytest.raises(ConnectionRefusedError):
        running.connect()


def test_while_nothing_is_asked_for_the_thread_sleeps(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_TICK_SECONDS", 0.02)
    assert running.get("/") == (200, b"hello\n")
    eventually(lambda: not running.server._connections, "the client is kept")
    steps = []
    original = running.server._step
    running.server._step = lambda: (steps.append(1), original())[1]  # type: ignore[method-assign]
    for number in range(10):
        running.hub.write(status(number))
    time.sleep(1.0)
    assert len(steps) <= 1, "it may have been about to begin one"
    assert len(running.hub._arrived) == 10
    for number in range(10, 20):
        running.hub.write(status(number))
    eventually(lambda: len(running.hub._arrived) < 16, "a batch is not taken")
