"""What is at which address, and the page put together.

===============  =======  ==============================================================
address          token    what
===============  =======  ==============================================================
``/``            no       the page; it shows nothing without `events`
``/static/...``  no       its files
``/sign``        no       a printable notice
``/healthz``     no       200 by the rule of the watchdog, else 503; and whether it listens, in a word
``/session``     yes      204 and a cookie for the token
``/events``      yes      server-sent events: a snapshot, then traces, events and states
``/state``       yes      the state of the device
``/metrics``     yes      figures for Prometheus
===============  =======  ==============================================================
"""

from __future__ import annotations

import errno
import logging
import shlex
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from affectd.config.sections import WebConfig
from affectd.errors import ConfigError, UnavailableError
from affectd.events.sinks import as_line
from affectd.files import read_file
from affectd.web.access import Access, exposed_token, read_token
from affectd.web.exposition import CONTENT_TYPE
from affectd.web.hub import Hub, Message, message
from affectd.web.metrics import Metrics
from affectd.web.request import RefusedError, Request, Response
from affectd.web.server import Server
from affectd.web.state import State

_log = logging.getLogger(__name__)

STATIC = Path(__file__).with_name("static")
_MOST_BYTES = 1 << 20
_QUEUE = 16
_WATCHDOG_SECONDS = 30.0
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_WHY = {
    errno.EADDRINUSE: "another program has this port; choose another one, or stop that program",
    errno.EADDRNOTAVAIL: "this machine has no such address now",
}
_JSON = "application/json"
_STREAM = "text/event-stream; charset=utf-8"


class Page:
    """The page of this device, reachable within its ``with`` block.

    Parameters
    ----------
    config : WebConfig
        Where, and with which token.
    about, facts, telemetry
        As of `affectd.web.state.State`.
    durations : callable
        As of `affectd.web.metrics.Metrics`.
    watchdog_seconds : float, optional
        After this long without sound ``/healthz`` says so; None for that of the unit.

    Attributes
    ----------
    address : str
        Its URL on this device.
    hub : Hub
        What listens to events and traces for it.

    Raises
    ------
    ConfigError
        Others could reach it without a token, the token cannot be read, or the port needs rights.
    UnavailableError
        The address or port cannot be used now.
    """

    def __init__(
        self,
        config: WebConfig,
        about: Mapping[str, Any],
        facts: Callable[[], dict[str, Any]],
        telemetry: Callable[[], dict[str, Any]],
        durations: Callable[[], tuple[Mapping[float, int], float]],
        watchdog_seconds: float | None = None,
    ) -> None:
        for path in exposed_token(config):
            _log.warning("every user of this machine can read the token in %s: chmod o= %s", path, shlex.quote(path))
        self._access = Access(read_token(config), config.bind)
        self._metrics = Metrics(durations)
        self.hub = Hub(watchdog_seconds or _WATCHDOG_SECONDS, [self._metrics.write])
        self._state = State(about, self.hub, facts, telemetry)
        self._files = {path.name: path for path in STATIC.iterdir() if path.suffix in _KINDS}
        self._open: dict[str, Callable[[Request], Response]] = {
            "/": lambda request: self._file("index.html"),
            "/sign": lambda request: self._file("sign.html"),
            "/healthz": lambda request: self._health(),
            "/session": lambda request: Response(204, headers=self._access.begin_session(request)),
        }
        self._closed: dict[str, Callable[[], Response]] = {
            "/events": lambda: Response(200, None, _STREAM, ("X-Accel-Buffering: no",)),
            "/state": lambda: _json(self._state()),
            "/metrics": lambda: Response(200, self._metrics.render(self._state()).encode(), CONTENT_TYPE),
        }
        self.address = address(config)
        self._server = Server(listen(config), self.hub, self._answer, self._beginning, self._news)

    def __enter__(self) -> Page:
        self._server.__enter__()
        _log.info("the page is at %s", self.address)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__()

    def _answer(self, request: Request) -> Response:
        self._access.check_origin(request)
        folder, _, name = request.path.rpartition("/")
        if folder == "/static":
            return self._file(name)
        if (answer := self._open.get(request.path)) is not None:
            return answer(request)
        self._access.check(request)
        if (data := self._closed.get(request.path)) is not None:
            return data()
        raise RefusedError(404, "Nothing is here.")

    def _file(self, name: str) -> Response:
        path = self._files.get(name)  # by its name alone, so that no path leads out
        if path is None:
            raise RefusedError(404, "Nothing is here.")
        return Response(200, read_file(path, _MOST_BYTES), _KINDS[path.suffix])

    def _health(self) -> Response:
        # 503 asks for a restart, which mends neither a lost microphone nor a muted one.
        return Response(200 if self.hub.is_alive else 503, f"{self.hub.word}\n".encode())

    def _beginning(self) -> Message:
        return self.hub.snapshot(as_line(self._state()))

    def _news(self) -> Message | None:
        news = self._state.news()
        return None if news is None else message("state", as_line(news))


def _json(content: Mapping[str, Any]) -> Response:
    return Response(200, (as_line(content) + "\n").encode(), _JSON)


def reached(bind: str) -> str:
    """Return the address by which this device itself reaches what listens at `bind`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind, bind)


def address(config: WebConfig) -> str:
    """Return the URL of the page on this device."""
    host = reached(config.bind)
    return f"http://{f'[{host}]' if ':' in host else host}:{config.port}/"


def listen(config: WebConfig) -> socket.socket:
    """Return the socket that clients connect to.

    Raises
    ------
    ConfigError
        The port needs rights that this process does not have.
    UnavailableError
        The address is not of this machine, or the port is taken.
    """
    where = f"[web] the page cannot be at {config.bind} port {config.port}"
    try:
        found = socket.getaddrinfo(config.bind, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
        both = family == socket.AF_INET6 and address[0] == "::"
        return socket.create_server(address[:2], family=family, backlog=_QUEUE, dualstack_ipv6=both)
    except PermissionError:
        raise ConfigError(f"{where}: ports below 1024 need rights; choose a higher one") from None
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        if isinstance(error, OSError) and error.errno in _WHY:
            why = _WHY[error.errno]
        raise UnavailableError(f"{where}: {why}") from error
