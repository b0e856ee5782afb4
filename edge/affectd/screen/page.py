"""The page of another device: its server-sent events, read until a signal comes, and asked for again when they end.

Source: WHATWG, HTML Living Standard, section 9.2, "Server-sent events".
"""

from __future__ import annotations

import json
import queue
import random
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from affectd.config.secret import secret_in
from affectd.errors import AffectdError, ConfigError, UnavailableError, UsageError
from affectd.stdio import printable

Message = dict[str, Any]

# The page says something every 5 s, and at least a comment every 15 s.
_SILENT_SECONDS = 20.0
_FIRST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 0.5, 10.0
# The snapshot has an hour of segments.
_MOST_BYTES = 16_000_000
_POLL_SECONDS = 0.25
_MOST_ARRIVED = 16
_STREAM = "text/event-stream"
_KINDS = ("snapshot", "trace", "event", "state")


class LostError(UnavailableError):
    """The page does not answer now, but may later; the message follows its address and a colon."""


class Page:
    """The page at an address, such as ``http://kitchen.local:8765/``, whose token is in a file if it has one.

    Raises
    ------
    UsageError
        This is no such address.
    ConfigError
        The token cannot be read.
    """

    def __init__(self, url: str, token_file: str | None = None, wait: Callable[[float], object] = time.sleep) -> None:
        self.url = url.rstrip("/")
        self._wait = wait
        self._scheme, self._host, self._port, path = _parts(url)
        self._path = f"{path}/events"
        self._headers = {"Accept": _STREAM, "Cache-Control": "no-cache"}
        if token_file is not None:
            self._headers["Authorization"] = f"Bearer {_token(token_file)}"

    def messages(self) -> Iterator[Message]:
        """Yield what the page sends, with its kind as ``type``; while it is away, one of the type ``connection``.

        Raises
        ------
        UnavailableError
            It does not answer the first time, or is no page of affectd.
        ConfigError
            It refuses the token, or its own address.
        """
        was_there = False
        retry_seconds = _FIRST_RETRY_SECONDS
        while True:
            try:
                for message in self._stream():
                    was_there, retry_seconds = True, _FIRST_RETRY_SECONDS
                    yield message
                why = "the connection has ended"
            except LostError as error:
                if not was_there:
                    raise UnavailableError(f"{self.url}: {error}.") from error
                why = str(error)
            yield {"type": "connection", "sentence": f"{why}; trying again"}
            self._wait(retry_seconds * random.uniform(0.5, 1.0))
            retry_seconds = min(_LONGEST_RETRY_SECONDS, 2 * retry_seconds)

    def _stream(self) -> Iterator[Message]:
        try:
            with closing(self._connection()) as connection:
                connection.request("GET", self._path, headers=self._headers)
                response = connection.getresponse()
                self._check(response)
                for kind, data in server_sent_events(lambda: response.readline(_MOST_BYTES)):
                    if kind in _KINDS:
                        yield _message(kind, data)
        except AffectdError:
            raise
        except TimeoutError as error:
            raise LostError("it does not answer") from error
        except ssl.SSLCertVerificationError as error:
            raise LostError(f"its certificate is not trusted ({error.verify_message})") from error
        except OSError as error:
            said = error.strerror or str(error) or type(error).__name__
            raise LostError(printable(said[0].lower() + said[1:])) from error
        # A name that cannot be looked up, or chunks of an impossible length.
        except (HTTPException, ValueError, OverflowError) as error:
            raise LostError("no page answers there") from error

    def _connection(self) -> HTTPConnection:
        if self._scheme == "http":
            return HTTPConnection(self._host, self._port, timeout=_SILENT_SECONDS)
        # Not ssl.create_default_context: since Python 3.13 its VERIFY_X509_STRICT rejects certificates that people
        # make with openssl for their own devices. Names and dates are checked here too.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_default_certs()
        return HTTPSConnection(self._host, self._port, timeout=_SILENT_SECONDS, context=context)

    def _check(self, response: HTTPResponse) -> None:
        status, kind = response.status, response.headers.get_content_type()
        if status == 200 and kind == _STREAM:
            return
        if status == 401:
            asked = "the token is wrong" if "Authorization" in self._headers else "name its token with --token-file"
            raise ConfigError(f"{self.url} asks for a token: {asked}.")
        if status == 403:
            raise ConfigError(f"{self.url} refuses this address: use the name or the IP address of the device.")
        if status == 429 or status >= 500:
            reason = "it has as many viewers as it can serve" if status == 503 else f"it answers {status}"
            raise LostError(reason)
        raise UnavailableError(f"{self.url} is no page of affectd: it answers {status} with {printable(kind)}.")


def interruptible(messages: Iterable[Message]) -> Iterator[Message]:
    """Pass on what comes, read in another thread; a signal is heeded soon, also one that comes just before a wait."""
    # Few may wait: one that sends faster than they are shown would fill the memory.
    arrived: queue.Queue[Message | BaseException | None] = queue.Queue(_MOST_ARRIVED)

    def read() -> None:
        try:
            for message in messages:
                arrived.put(message)
        except BaseException as error:
            arrived.put(error)
        else:
            arrived.put(None)

    threading.Thread(target=read, name="page", daemon=True).start()
    while True:
        try:
            message = arrived.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            continue
        if message is None:
            return
        if isinstance(message, BaseException):
            raise message
        yield message


def server_sent_events(read_line: Callable[[], bytes]) -> Iterator[tuple[str, str]]:
    r"""Yield the kind and the data of each event, until `read_line` returns nothing.

    Raises
    ------
    LostError
        A line or an event is too long, or not UTF-8.

    Examples
    --------
    >>> lines = iter([b": hello\n", b"event: state\n", b"data: {}\n", b"\n", b""])
    >>> list(server_sent_events(lambda: next(lines)))
    [('state', '{}')]
    """
    kind, data, n_bytes = "message", list[str](), 0
    while line := read_line():
        n_bytes += len(line)
        if n_bytes > _MOST_BYTES or not line.endswith(b"\n"):
            raise LostError("it sends more than a page does, or ends in the middle of a line")
        try:
            text = line.rstrip(b"\r\n").decode()
        except UnicodeDecodeError as error:
            raise LostError("what it sends is not text") from error
        name, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if not text:
            if data:
                yield kind, "\n".join(data)
            kind, data, n_bytes = "message", [], 0
        elif name == "event":
            kind = value
        elif name == "data":
            data.append(value)
        else:
            n_bytes -= len(line)  # a comment is no part of an event


def _message(kind: str, data: str) -> Message:
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise LostError("what it sends cannot be read") from error
    if not isinstance(message, dict):
        raise LostError("what it sends cannot be read")
    return message if kind == "event" else {**message, "type": kind}


def _parts(url: str) -> tuple[str, str, int | None, str]:
    """Return scheme, host, port and path."""
    if not url.isascii() or not url.isprintable() or " " in url:
        raise UsageError(f"--url {url!r} is no address.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"--url {url} is no address: {error}.") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"--url {url} must be the address of a page, such as http://kitchen.local:8765/.")
    if parts.username is not None or parts.password is not None:
        raise UsageError("--url must not hold a password: put the token into a file, for --token-file.")
    return parts.scheme, parts.hostname, port, parts.path.rstrip("/")


def _token(path: str) -> str:
    token = secret_in(path, "--token-file").strip()
    if not re.fullmatch(r"[!-~]+", token):
        raise ConfigError(f"--token-file {path} must have a token of letters, digits and signs on its first line.")
    return token
