"""The check of the page: who may see it, and whether it is there or could be."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

from affectd.config.sections import WebConfig
from affectd.doctor.finding import Finding, fault, ok, warning
from affectd.errors import ConfigError, UnavailableError
from affectd.web.access import read_token
from affectd.web.page import address, listen, reached

_ANSWER_SECONDS = 5.0
_MOST_BYTES = 4096


def page(config: WebConfig, environment: Mapping[str, str]) -> Finding:
    """Check that the page can be opened, or is; `environment` has the ``CREDENTIALS_DIRECTORY`` of the service."""
    if not config.enabled:
        return ok("no page configured")
    try:
        token = read_token(config, environment)
    except ConfigError as error:
        alone = "" if os.geteuid() == 0 else "; if only root may read it: sudo affectd doctor"
        return fault(str(error), f"correct [web] in the settings{alone}")
    where = f"{address(config)}, {'open to this device alone' if token is None else 'with a token'}"
    answer = _answer(config)
    if b"Server: affectd" in answer:
        if answer.startswith(b"HTTP/1.1 200"):
            return ok(f"{where}: it answers")
        return warning(f"{where}: it answers that no sound is processed", "look at the log: journalctl -u affectd")
    try:
        listen(config).close()
    except (ConfigError, UnavailableError) as error:
        return fault(str(error), "correct [web] in the settings")
    return ok(f"{where}: affectd run opens it")


def _answer(config: WebConfig) -> bytes:
    """Return the beginning of what is said at the address about its health; empty if nothing is."""
    # Not http.client, which the device does without.
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    try:
        with socket.create_connection((reached(config.bind), config.port), _ANSWER_SECONDS) as client:
            client.sendall(request)
            received, until = b"", time.monotonic() + _ANSWER_SECONDS
            while len(received) < _MOST_BYTES and time.monotonic() < until and (piece := client.recv(_MOST_BYTES)):
                received += piece
            return received
    except OSError:
        return b""
