"""Who may see the page: the token, the session that a browser gets for it, and the names of this device.

A foreign page may let its own name point to this device (DNS rebinding) and would then be of the same origin; so only
names and addresses of this device are answered. Addresses are always: they cannot be made to point elsewhere.
"""

from __future__ import annotations

import os
import re
import socket

# What hmac.compare_digest is without OpenSSL, which would cost 3.6 MB.
from _operator import _compare_digest
from collections.abc import Mapping
from ipaddress import ip_address

from affectd.config.fields import shown
from affectd.config.secret import SETTINGS_FOLDER, credential_path, is_loopback, read_secret, readable_by_all
from affectd.config.sections import WebConfig
from affectd.errors import ConfigError
from affectd.web.request import RefusedError, Request

_CREDENTIAL = "web_token"
_COOKIE = "affectd_session"
_SESSION_BYTES = 32
_TOKEN = re.compile(r"[!-~]{16,256}")
_HOST = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\d{1,5})?|([\w.-]+)(?::\d{1,5})?", re.ASCII)
_MAKE = "openssl rand -hex 16 makes one"


def read_token(config: WebConfig, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the token; None if the page needs none, because only this device can reach it.

    Raises
    ------
    ConfigError
        It cannot be read or is too easy to guess, or others could reach the page without one.
    """
    token = read_secret(config.token_file, "[web] token_file", _CREDENTIAL, environment)
    if token is None:
        if not is_loopback(config.bind):
            raise ConfigError(
                f"[web] bind = {shown(config.bind)} lets others on the network see the page, which needs a token:"
                f" put one into {SETTINGS_FOLDER}/{_CREDENTIAL} for the service, or into a file that token_file names"
                f" ({_MAKE})"
            )
        return None
    if not _TOKEN.fullmatch(token):
        raise ConfigError(
            f"[web] the token must be 16 to 256 letters, digits or signs of ASCII without spaces ({_MAKE})"
        )
    return token


def exposed_token(config: WebConfig, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the file with the token if every user of this machine can read it."""
    return readable_by_all([config.token_file or credential_path(_CREDENTIAL, environment)])


class Access:
    """Decides about requests; `token` None lets everyone in who can reach the port, `bind` is a name of this device."""

    def __init__(self, token: str | None, bind: str) -> None:
        self._token = None if token is None else token.encode()
        # In memory only: after a restart browsers send the token again.
        self._session = os.urandom(_SESSION_BYTES).hex()
        name = socket.gethostname().lower()
        self._names = {"localhost", name, f"{name}.local", bind.lower().rstrip(".")}

    def check_origin(self, request: Request) -> None:
        """Refuse what a foreign page asks for.

        Raises
        ------
        RefusedError
            The request was meant for another host, or comes from the script of another site.
        """
        found = _HOST.fullmatch(request.headers.get("host", ""))
        if found is None:
            raise RefusedError(400, "The header Host is missing or malformed.")
        if not self._is_ours(found[1] or found[2]):
            raise RefusedError(403, "This device has another name: use its address, or its name in the local network.")
        sent = request.headers
        if sent.get("sec-fetch-site") == "cross-site" and sent.get("sec-fetch-mode") != "navigate":
            raise RefusedError(403, "Pages of other sites get nothing.")

    def _is_ours(self, host: str) -> bool:
        try:
            ip_address(host)
        except ValueError:
            return host.lower().rstrip(".") in self._names
        return True

    def check(self, request: Request) -> None:
        """Let a request with the token or with a session pass.

        Raises
        ------
        RefusedError
            It has neither.
        """
        if self._token is None or self._has_token(request) or self._has_session(request):
            return
        raise RefusedError(401, "The token is missing or wrong.", ('WWW-Authenticate: Bearer realm="affectd"',))

    def begin_session(self, request: Request) -> tuple[str, ...]:
        """Return the header that gives a browser a session for its token; none where no token is needed.

        Raises
        ------
        RefusedError
            The token is missing or wrong.
        """
        self.check(request)
        if self._token is None:
            return ()
        # Without a path it holds below the folder of the request, whatever prefix a proxy has put before it.
        return (f"Set-Cookie: {_COOKIE}={self._session}; HttpOnly; SameSite=Strict",)

    def _has_token(self, request: Request) -> bool:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and _is_equal(given.strip(), self._token or b"")

    def _has_session(self, request: Request) -> bool:
        cookies = (cookie.strip().partition("=") for cookie in request.headers.get("cookie", "").split(";"))
        return any(name == _COOKIE and _is_equal(value, self._session.encode()) for name, _, value in cookies)


def _is_equal(given: str, secret: bytes) -> bool:
    """Compare in a time that does not depend on where they differ."""
    return _compare_digest(given.encode("latin-1"), secret)
