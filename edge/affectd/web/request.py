"""One HTTP request and its response, as RFC 9112 spells them: GET and HEAD, one request a connection.

Not `http.server`: it loads ssl and email, which cost 6 MB and 20 ms before the first request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

MOST_HEAD_BYTES = 8192
"""Request line and headers; browsers send 1 KB."""

_END = b"\r\n\r\n"
_METHOD = re.compile(r"[A-Z]{1,20}")
# What a client may send before it, which counts in place of the header Host: section 3.2.2.
_ORIGIN = re.compile(r"(?i:https?)://([^/?]+)/?")
_TARGET = re.compile(r"/[!-~]*")
_VERSION = re.compile(r"HTTP/(\d)\.\d")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*)")

_REASONS = {
    200: "OK",
    204: "No Content",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    414: "URI Too Long",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}
# Nothing is loaded from elsewhere, nothing is sent elsewhere, and only pages of the same origin may frame it, as the
# one of Home Assistant does.
_ALWAYS = (
    "Connection: close",
    "Cache-Control: no-store",
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "Cross-Origin-Resource-Policy: same-origin",
    "Referrer-Policy: no-referrer",
    "Server: affectd",
    "X-Content-Type-Options: nosniff",
)


class RefusedError(Exception):
    """The request gets no more than this status and a sentence."""

    def __init__(self, status: int, sentence: str, headers: tuple[str, ...] = ()) -> None:
        super().__init__(sentence)
        self.status, self.headers = status, headers

    def response(self) -> Response:
        """Return what the client is told."""
        return Response(self.status, f"{self}\n".encode(), headers=self.headers)


@dataclass(frozen=True)
class Request:
    """A request that was understood."""

    method: str
    """``GET`` or ``HEAD``."""
    path: str
    """Begins with ``/``, without the query; never decoded."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """By their names in lower case."""


@dataclass(frozen=True)
class Response:
    """What a client gets; `body` is None for a stream, which ends with the connection."""

    status: int
    body: bytes | None = b""
    kind: str = "text/plain; charset=utf-8"
    headers: tuple[str, ...] = ()

    def as_bytes(self, method: str) -> bytes:
        """Return status line, headers and body, the last only for GET."""
        about = [f"Content-Type: {self.kind}"] if self.status != 204 else []
        if self.body is not None and self.status != 204:
            about.append(f"Content-Length: {len(self.body)}")
        lines = [f"HTTP/1.1 {self.status} {_REASONS[self.status]}", *about, *_ALWAYS, *self.headers, "", ""]
        return "\r\n".join(lines).encode("latin-1") + (b"" if method == "HEAD" or self.body is None else self.body)


def read_request(received: bytes | bytearray) -> Request | None:
    r"""Return the request once its head is complete; what follows it is ignored.

    Raises
    ------
    RefusedError
        It is no request, too long, or of a method that changes something.

    Examples
    --------
    >>> read_request(b"GET /state?x=1 HTTP/1.1\r\nHost: kiosk\r\n\r\n")
    Request(method='GET', path='/state', headers={'host': 'kiosk'})
    """
    end = received.find(_END, 0, MOST_HEAD_BYTES)
    if end < 0:
        if len(received) >= MOST_HEAD_BYTES:
            raise RefusedError(*((431, "Too many headers.") if b"\r\n" in received else (414, "Too long an address.")))
        return None
    first, *lines = received[:end].decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not _METHOD.fullmatch(words[0]) or not _VERSION.fullmatch(words[2]):
        raise RefusedError(400, "This is no request of HTTP.")
    method, target, version = words
    if version[5] != "1":
        raise RefusedError(505, "Only HTTP/1.1 and HTTP/1.0.")
    if method not in ("GET", "HEAD"):
        raise RefusedError(405, "Only GET and HEAD.", ("Allow: GET, HEAD",))
    origin = _ORIGIN.match(target)
    if origin is not None:
        target = "/" + target[origin.end() :]
    if not _TARGET.fullmatch(target):
        raise RefusedError(400, "The address must begin with a slash.")
    headers = _headers(lines) | ({} if origin is None else {"host": origin[1]})
    return Request(method, target.partition("?")[0], headers)


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        found = _HEADER.fullmatch(line)
        if found is None:
            raise RefusedError(400, "A header is malformed.")
        name, value = found[1].lower(), found[2].strip(" \t")
        if name in headers:
            # Two of these would be read in one way here and in another by a proxy.
            if name in ("host", "authorization"):
                raise RefusedError(400, f"More than one header {name}.")
            value = f"{headers[name]}{'; ' if name == 'cookie' else ', '}{value}"
        headers[name] = value
    return headers
