"""The page of another device, played by a server of the standard library: read, refused, lost and found again."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from affectd.errors import AffectdError, ConfigError, UnavailableError, UsageError
from affectd.screen import page
from affectd.screen.page import Page, interruptible, server_sent_events

TOKEN = "a-token-of-the-kitchen"
SNAPSHOT = {"state": {"device": "kitchen"}, "trace": None, "events": [], "hour": [], "now_seconds": 0}


def told(kind: str, content: object) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(content)}\n\n".encode()


class Device(ThreadingHTTPServer):
    """Answers each request with the next of `answers`; the last one again and again."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Callable[[Handler], None]] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Device

    def do_GET(self) -> None:
        self.server.requests.append((self.path, dict(self.headers)))
        answers = self.server.answers
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the client has left, or trusts it not
            super().handle()


def stream(*pieces: bytes, kind: str = "text/event-stream; charset=utf-8") -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", kind)
        handler.end_headers()
        for piece in pieces:
            handler.wfile.write(piece)
            handler.wfile.flush()

    return answer


def refusal(code: int) -> Callable[[Handler], None]:
    return lambda handler: handler.send_error(code)


def chunked(length: bytes) -> Callable[[Handler], None]:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return lambda handler: handler.wfile.write(head + length + b"\r\ndata: {}\n\n")


@pytest.fixture
def device() -> Iterator[Device]:
    with Device() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def opened(device: Device, path: str = "/", token_file: Path | None = None) -> Iterator[dict[str, Any]]:
    return Page(device.url + path, token_file and str(token_file), wait=lambda seconds: None).messages()


def test_it_reads_the_stream_and_says_what_each_message_is(device: Device) -> None:
    event = {"type": "emotion", "label": "sad"}
    device.answers = [
        stream(told("snapshot", SNAPSHOT), b": still here\n\n", told("event", event), told("state", {"device": "x"}))
    ]
    messages = opened(device)
    found = [next(messages) for _ in range(3)]
    assert found == [{**SNAPSHOT, "type": "snapshot"}, event, {"device": "x", "type": "state"}]


@pytest.mark.parametrize(
    ("path", "asked"), [("/", "/events"), ("", "/events"), ("/api/ingress/x/", "/api/ingress/x/events")]
)
def test_the_stream_is_below_the_address_of_the_page(device: Device, path: str, asked: str) -> None:
    device.answers = [stream(told("snapshot", SNAPSHOT))]
    next(opened(device, path))
    assert device.requests[0][0] == asked
    assert "Authorization" not in device.requests[0][1]


def test_the_token_is_sent_as_a_header(device: Device, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    device.answers = [stream(told("snapshot", SNAPSHOT))]
    next(opened(device, token_file=tmp_path / "token"))
    assert device.requests[0][1]["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty on its first line"),
        (b"\n", "is empty on its first line"),
        (b" \n", "must have a token"),
        (b"two words\n", "must have a token"),
        (b"\xff\xfe\n", "is not UTF-8 text"),
        ("tökén\n".encode(), "must have a token"),
        (b"a\x1bb", "must have a token"),
    ],
)
def test_a_file_without_a_token_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(ConfigError, match=f"--token-file .* {said}"):
        Page("http://kitchen/", str(tmp_path / "token"))


def test_a_token_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--token-file .* cannot be read: No such file"):
        Page("http://kitchen/", str(tmp_path / "none"))


@pytest.mark.parametrize(
    "url",
    [
        "kitchen:8765",
        "kitchen",
        "",
        "ftp://kitchen/",
        "http://",
        "http://kitchen:port/",
        "http://kitchen:99999/",
        "http://me:secret@kitchen/",
        "http://kit chen/",
        "http://kitchen/\r\nX: y",
        "http://[::1/",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        Page(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (refusal(401), ConfigError, "asks for a token: name its token with --token-file"),
        (refusal(403), ConfigError, "refuses this address"),
        (refusal(404), UnavailableError, "is no page of affectd: it answers 404"),
        (refusal(503), UnavailableError, "as many viewers as it can serve"),
        (stream(b"<html>", kind="text/html"), UnavailableError, "is no page of affectd: it answers 200 with text/html"),
        (stream(b"event: state\ndata: {\n\n"), UnavailableError, "cannot be read"),
        (stream(b"event: state\ndata: [1]\n\n"), UnavailableError, "cannot be read"),
        (stream(b"event: state\ndata: \xff\n\n"), UnavailableError, "is not text"),
        (lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH\r\n"), UnavailableError, "no page answers there"),
        (chunked(b"-5"), UnavailableError, "no page answers there"),
        (chunked(b"f" * 30), UnavailableError, "no page answers there"),
    ],
)
def test_a_refusal_is_a_sentence_at_once(
    device: Device, answer: Callable[[Handler], None], error: type[AffectdError], said: str
) -> None:
    device.answers = [answer]
    with pytest.raises(error, match=said):
        next(opened(device))
    assert len(device.requests) <= 1


def test_a_device_that_is_not_there_is_a_sentence_at_once() -> None:
    with Device() as server:
        url = server.url
    with pytest.raises(UnavailableError, match=f"{url}: connection refused"):
        next(Page(url).messages())


def test_a_page_that_goes_away_is_asked_again_and_refusals_in_between_are_said(device: Device) -> None:
    good = stream(told("snapshot", SNAPSHOT))
    device.answers = [good, refusal(503), refusal(500), good]
    messages = opened(device)
    found = [next(messages) for _ in range(5)]
    assert [message["type"] for message in found] == ["snapshot", "connection", "connection", "connection", "snapshot"]
    assert "the connection has ended; trying again" in found[1]["sentence"]
    assert "viewers" in found[2]["sentence"]
    assert "500" in found[3]["sentence"]


def test_the_pauses_grow_and_begin_anew_after_a_message(device: Device) -> None:
    good = stream(told("snapshot", SNAPSHOT))
    device.answers = [good, *[refusal(503)] * 8, good, refusal(503)]
    pauses: list[float] = []
    messages = Page(device.url, wait=pauses.append).messages()
    while len(pauses) < 11:
        next(messages)
    assert 0.25 <= pauses[0] <= 0.5
    assert all(pause <= 10.0 for pause in pauses)
    assert max(pauses) > 4.0
    assert pauses[9] <= 0.5


def test_a_token_that_is_refused_later_ends_it(device: Device) -> None:
    device.answers = [stream(told("snapshot", SNAPSHOT)), refusal(401)]
    messages = opened(device)
    assert [next(messages)["type"] for _ in range(2)] == ["snapshot", "connection"]
    with pytest.raises(ConfigError):
        next(messages)


def test_over_tls_the_certificate_is_checked(device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    device.socket = context.wrap_socket(device.socket, server_side=True, do_handshake_on_connect=False)
    device.answers = [stream(told("snapshot", SNAPSHOT))]
    url = f"https://localhost:{device.server_port}/"
    with pytest.raises(UnavailableError, match="its certificate is not trusted"):
        next(Page(url).messages())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    assert next(Page(url).messages())["type"] == "snapshot"


def test_a_page_that_hangs_is_noticed(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    leave = threading.Event()

    def hang(handler: Handler) -> None:
        stream()(handler)
        leave.wait(60)

    device.answers = [stream(told("snapshot", SNAPSHOT)), hang]
    messages = opened(device)
    assert [next(messages)["type"] for _ in range(2)] == ["snapshot", "connection"]
    # Only now, when nothing will come any more, however busy the machine is.
    monkeypatch.setattr(page, "_SILENT_SECONDS", 0.2)
    assert next(messages)["sentence"] == "it does not answer; trying again"
    leave.set()


def test_a_message_that_never_ends_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "_MOST_BYTES", 1000)
    for endless in ([b"data: x\n"] * 1000, [b"x" * 1000]):
        lines = iter([*endless, b""])
        with pytest.raises(UnavailableError, match="more than a page does"):
            list(server_sent_events(lambda lines=lines: next(lines)))  # type: ignore[misc]


LINE = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20)
EVENTS = st.lists(
    st.tuples(st.sampled_from(["trace", "state", "message"]), st.lists(LINE, min_size=1, max_size=3)), max_size=5
)


@given(EVENTS, st.lists(st.sampled_from([":\n", ": a comment\n", "id: 7\n", "retry: 5\n", "data\n"])), st.booleans())
def test_every_event_of_the_standard_is_read(
    events: list[tuple[str, list[str]]], noise: list[str], is_crlf: bool
) -> None:
    """Comments and unknown fields between them change nothing; several lines of data are one text."""
    quiet = [line for line in noise if not line.startswith("data")]
    text = "".join(
        "".join([f"event: {kind}\n", *quiet, *(f"data: {line}\n" for line in data), "\n", *quiet])
        for kind, data in events
    )
    encoded = text.replace("\n", "\r\n" if is_crlf else "\n").encode()
    lines = iter([*encoded.splitlines(keepends=True), b""])
    assert list(server_sent_events(lambda: next(lines))) == [(kind, "\n".join(data)) for kind, data in events]


def test_messages_come_through_another_thread_in_order_with_their_end_and_their_failure() -> None:
    assert list(interruptible({"n": n} for n in range(100))) == [{"n": n} for n in range(100)]

    def failing() -> Iterator[dict[str, Any]]:
        yield {}
        raise UnavailableError("gone")

    messages = interruptible(failing())
    assert next(messages) == {}
    with pytest.raises(UnavailableError, match="gone"):
        next(messages)


def test_of_what_comes_faster_than_it_is_shown_little_is_kept() -> None:
    n_read = 0

    def reading() -> Iterator[dict[str, Any]]:
        nonlocal n_read
        while n_read < 100_000:
            n_read += 1
            yield {}

    for n_shown, _ in enumerate(zip(range(1000), interruptible(reading()), strict=False), 1):
        assert n_read <= n_shown + 20
