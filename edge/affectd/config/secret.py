"""Secrets in files: the password of the broker, the token of the page."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

from affectd.config.fields import shown
from affectd.errors import ConfigError, unreadable
from affectd.files import read_file

SETTINGS_FOLDER = "/etc/affectd"
"""Where the unit file takes credentials from, each by its name."""

_MOST_BYTES = 65535  # the longest password in MQTT
_MOST_FILE_BYTES = 4_000_000


def read_secret(path: str, what: str, credential: str, environment: Mapping[str, str]) -> str | None:
    """Return the first line of a file, or of the systemd credential if no `path` is given; None without both.

    `what` names the setting in messages.

    Raises
    ------
    ConfigError
        It cannot be read, or is no line of text.
    """
    if path:
        try:
            return secret_in(path, what)
        except ConfigError as error:
            if isinstance(error.__cause__, PermissionError) and environment.get("CREDENTIALS_DIRECTORY"):
                mend = f"the service gets it as a credential: move it to {SETTINGS_FOLDER}/{credential}"
                raise ConfigError(f"{error}; {mend} and remove the setting") from error
            raise
    found = credential_path(credential, environment)
    if found is None or not os.path.lexists(found):
        return None
    return _first_line(Path(found), "the credential") or None


def secret_in(path: str, what: str) -> str:
    """Return the first line of a file.

    `what` names the setting in messages.

    Raises
    ------
    ConfigError
        It cannot be read, is empty, or is no line of text.
    """
    secret = _first_line(Path(path), what)
    if not secret:
        raise ConfigError(f"{what} {path} is empty on its first line")
    return secret


def credential_path(credential: str, environment: Mapping[str, str]) -> str | None:
    """Return where systemd puts a credential of this service; None if it gives none."""
    folder = environment.get("CREDENTIALS_DIRECTORY")
    return os.path.join(folder, credential) if folder else None


def readable_by_all(paths: Iterable[str | None]) -> list[str]:
    """Return those of the files that every user of this machine can read or write."""
    found = []
    for path in filter(None, paths):
        with suppress(OSError):  # another check says so
            if os.stat(path).st_mode & 0o006:
                found.append(path)
    return found


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is that of this machine, without looking it up."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def _first_line(path: Path, what: str) -> str:
    try:
        line = read_file(path, _MOST_FILE_BYTES).split(b"\n", 1)[0].rstrip(b"\r")
    except OSError as error:
        reason = error.strerror or error
        raise unreadable(error, ConfigError)(f"{what} {shown(str(path))} cannot be read: {reason}") from error
    if len(line) > _MOST_BYTES:
        raise ConfigError(f"{what} {shown(str(path))} has a first line too long for a password")
    if b"\0" in line:
        raise ConfigError(f"{what} {shown(str(path))} has a NUL byte on its first line")
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what} {shown(str(path))} is not UTF-8 text") from error
