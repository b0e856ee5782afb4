"""The checks of `affectd doctor`.

A check is a function from a `Device` to a `Finding`; `CHECKS` lists them. Each imports what it needs itself, so
that a broken NumPy does not stop the others.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from affectd.config.secret import SETTINGS_FOLDER
from affectd.doctor import board, installation, microphone
from affectd.doctor.device import Device
from affectd.doctor.finding import Finding, fault, warning
from affectd.errors import AffectdError


def examine(device: Device) -> Iterator[tuple[str, Finding]]:
    """Yield name and finding of every check; an exception in a check is a fault too.

    A check whose prerequisite fails gives a warning, because another check reports that fault.
    """
    for name, check in CHECKS.items():
        try:
            yield name, check(device)
        except AffectdError as error:
            yield name, warning(f"not checked: {error}", "fix that first")
        except Exception as error:
            yield name, fault(f"the check itself failed: {type(error).__name__}: {error}", "please report this")


def _broker(device: Device) -> Finding:
    from affectd.doctor.broker import broker

    return broker(device.config.mqtt, device.config.device.id, _environment(device))


def _page(device: Device) -> Finding:
    from affectd.doctor.page import page

    return page(device.config.web, _environment(device))


def _file(device: Device) -> Finding:
    from affectd.doctor.event_file import event_file

    return event_file(device)


def _permissions(device: Device) -> Finding:
    finding = microphone.permissions(device)
    if finding.grade != "ok":
        return finding
    paths = []
    if device.config.mqtt.enabled:
        from affectd.mqtt.credentials import exposed

        paths += exposed(device.config.mqtt, _environment(device))
    if device.config.web.enabled:
        from affectd.web.access import exposed_token

        paths += exposed_token(device.config.web, _environment(device))
    if not paths:
        return _readable(device) or finding
    said = f"every user of this machine can read the secret in {' and '.join(paths)}"
    return warning(said, f"sudo chmod o= {shlex.join(paths)}")


def _readable(device: Device) -> Finding | None:
    """Return a warning of a secret that root can read, but not the user that systemd makes for the service."""
    config = device.config
    secrets = (
        (config.mqtt.enabled, "[mqtt] password_file", config.mqtt.password_file, "mqtt_password"),
        (config.web.enabled, "[web] token_file", config.web.token_file, "web_token"),
    )
    for is_used, setting, path, credential in secrets if board.unit_is_installed(device.root) else ():
        with suppress(OSError):  # another check says so
            if is_used and path and not os.stat(path).st_mode & 0o044:
                move = f"sudo mv {shlex.quote(path)} {SETTINGS_FOLDER}/{credential}"
                mend = f"take {setting} out of the settings; {move} (the service gets it as a credential)"
                return warning(f"the service runs as a user of its own, which cannot read {path}", mend)
    return None


def _environment(device: Device) -> dict[str, str]:
    environment = dict(os.environ)
    if board.unit_is_installed(device.root):  # where the unit file takes the password from
        environment.setdefault("CREDENTIALS_DIRECTORY", str(device.root / "etc/affectd"))
    return environment


CHECKS: dict[str, Callable[[Device], Finding]] = {
    "configuration": installation.configuration,
    "numpy": installation.numpy,
    "model": installation.model,
    "interpreter": installation.interpreter,
    "self-test": installation.self_test,
    "microphone": microphone.microphone,
    "service user": microphone.service_user,
    "permissions": _permissions,
    "broker": _broker,
    "page": _page,
    "file": _file,
    "clock": lambda device: board.clock(),
    "disk": lambda device: board.disk(device.root),
    "temperature": lambda device: board.temperature(device.root),
    "throttling": lambda device: board.throttling(device.root, device.run),
    "unit": lambda device: board.unit(device.root, device.run),
}


def as_text(name: str, finding: Finding) -> str:
    """Format a finding as text: one line, and below it the fix."""
    found, mend = (text.replace("\n", "\\n") for text in (finding.found, finding.mend))
    line = f"{finding.grade:8} {name:14} {found}"
    return f"{line}\n{'':24}-> {mend}" if mend else line


def as_json(name: str, finding: Finding) -> dict[str, Any]:
    """Format a finding as a JSON object."""
    return {"check": name, **asdict(finding)}
