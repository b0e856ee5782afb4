"""Requests as http.client and strangers write them, and responses as http.client reads them."""

from __future__ import annotations

import http.client
import io
import string
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectd.web.request import MOST_HEAD_BYTES, RefusedError, Request, Response, read_request

TOKEN = st.text(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~", min_size=1, max_size=20)
VALUE = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40)
TARGET = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60).map(lambda rest: "/" + rest)


class Sent(io.BytesIO):
    """What http.client sends."""

    def sendall(self, data: bytes) -> None:
        self.write(data)


def sent(method: str, target: str, headers: dict[str, str]) -> bytes:
    client = http.client.HTTPConnection("kiosk", 8765)
    client.sock = Sent()  # type: ignore[assignment]
    client.request(method, target, headers=headers)
    return client.sock.getvalue()  # type: ignore[union-attr]


def refusal(received: bytes) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        read_request(received)
    return caught.value


@given(st.sampled_from(["GET", "HEAD"]), TARGET, st.dictionaries(TOKEN, VALUE, max_size=5))
def test_a_request_of_http_client_is_understood(method: str, target: str, headers: dict[str, str]) -> None:
    ours = ("host", "authorization", "cookie", "accept-encoding", "transfer-encoding", "content-length")
    given = {name.lower(): value for name, value in headers.items() if name.lower() not in ours}
    request = read_request(sent(method, target, given))
    assert request is not None
    assert (request.method, request.path) == (method, target.partition("?")[0])
    expected = {"host": "kiosk:8765", "accept-encoding": "identity"}
    assert request.headers == {**expected, **{name: value.strip(" \t") for name, value in given.items()}}


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("http://kiosk:8765/state?x=1", "/state"),
        ("HTTPS://kiosk:8765/", "/"),
        ("http://kiosk:8765", "/"),
        ("http://kiosk:8765?x", "/"),
        ("http://kiosk:8765//state", "//state"),
    ],
)
def test_a_whole_address_names_the_host_whatever_the_header_says(address: str, path: str) -> None:
    request = read_request(f"GET {address} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert request == Request("GET", path, {"host": "kiosk:8765"})


@given(st.binary(max_size=400) | st.text(max_size=200).map(lambda text: f"GET /{text} HTTP/1.1\r\n\r\n".encode()))
def test_whatever_comes_is_a_request_a_refusal_or_the_beginning_of_one(received: bytes) -> None:
    found, status = None, None
    try:
        found = read_request(received)
    except RefusedError as refused:
        status = refused.status
    if found is None:
        assert status in (400, 405, 414, 431, 505) or (status is None and b"\r\n\r\n" not in received)


@given(TARGET, st.dictionaries(TOKEN, VALUE, max_size=3), st.binary(max_size=50), st.data())
def test_it_is_complete_with_its_last_byte_and_what_follows_is_ignored(
    target: str, headers: dict[str, str], more: bytes, data: st.DataObject
) -> None:
    head = sent("GET", target, {name: value for name, value in headers.items() if name.lower() not in ("host",)})
    cut = data.draw(st.integers(0, len(head) - 1))
    assert read_request(head[:cut]) is None
    assert read_request(head + more) == read_request(head)


@pytest.mark.parametrize(
    ("received", "status"),
    [
        (b"POST /state HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"DELETE / HTTP/1.1\r\n\r\n", 405),
        (b"OPTIONS * HTTP/1.1\r\n\r\n", 405),
        (b"BREW /pot HTTP/1.1\r\n\r\n", 405),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"GET / HTTP/0.9\r\n\r\n", 505),
        (b"GET /\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\n\r\n", 400),
        (b"get / HTTP/1.1\r\n\r\n", 400),
        (b"GET http:///state HTTP/1.1\r\n\r\n", 400),
        (b"GET ftp://kiosk/state HTTP/1.1\r\n\r\n", 400),
        (b"GET state HTTP/1.1\r\n\r\n", 400),
        (b"GET /\x00 HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: a\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: a\nY: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n", 400),
        (b"\x16\x03\x01 TLS by mistake\r\n\r\n", 400),
        (b"GET /" + b"a" * MOST_HEAD_BYTES, 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * MOST_HEAD_BYTES, 431),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 2000 + b"\r\n", 431),
    ],
)
def test_what_is_not_a_request_to_look_is_refused(received: bytes, status: int) -> None:
    assert refusal(received).status == status


def test_a_refusal_of_a_method_names_those_there_are() -> None:
    assert refusal(b"POST / HTTP/1.1\r\n\r\n").headers == ("Allow: GET, HEAD",)


def read(response: bytes, method: str = "GET") -> http.client.HTTPResponse:
    found = http.client.HTTPResponse(SimpleNamespace(makefile=lambda mode: io.BytesIO(response)), method=method)  # type: ignore[arg-type]
    found.begin()
    return found


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 405, 408, 414, 431, 500, 503, 505])
def test_http_client_reads_every_response(status: int) -> None:
    response = Response(status, b"a body\n", headers=("X-More: yes",)).as_bytes("GET")
    found = read(response)
    assert (found.status, found.read(), found.headers["X-More"]) == (status, b"a body\n", "yes")
    assert found.reason == http.client.responses[status] or status in (414, 431)
    head = read(Response(status, b"a body\n").as_bytes("HEAD"), "HEAD")
    assert (head.status, head.headers["Content-Length"], head.read()) == (status, "7", b"")


def test_nothing_is_no_content_and_a_stream_has_no_length() -> None:
    nothing = Response(204).as_bytes("GET")
    assert read(nothing).read() == b""
    assert b"Content-Length" not in nothing
    assert b"\r\nContent-Type" not in nothing
    stream = Response(200, None, "text/event-stream").as_bytes("GET")
    assert b"Content-Length" not in stream
    assert stream.endswith(b"\r\n\r\n")


def test_every_response_says_what_a_browser_must_not_do() -> None:
    for status in (200, 204, 401, 404, 500):
        headers = read(Response(status).as_bytes("GET")).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert {source for name in policy for source in policy[name].split()} <= {"'none'", "'self'", "data:"}
        assert policy["frame-ancestors"] == "'self'"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
