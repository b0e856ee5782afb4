"""The checks of `affectd doctor`.

A check is a function from a `Device` to a `Finding`; `CHECKS` lists them. Each imports what it needs itself, so
that a broken NumPy does not stop the others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

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

    environment = dict(os.environ)
    if board.unit_is_installed(device.root):  # where the unit file takes the password from
        environment.setdefault("CREDENTIALS_DIRECTORY", str(device.root / "etc/affectd"))
    return broker(device.config.mqtt, device.config.device.id, environment)


CHECKS: dict[str, Callable[[Device], Finding]] = {
    "configuration": installation.configuration,
    "numpy": installation.numpy,
    "model": installation.model,
    "interpreter": installation.interpreter,
    "self-test": installation.self_test,
    "microphone": microphone.microphone,
    "service user": microphone.service_user,
    "permissions": microphone.permissions,
    "broker": _broker,
    "clock": lambda device: board.clock(),
    "disk": lambda device: board.disk(device.root),
    "temperature": lambda device: board.temperature(device.root),
    "throttling": lambda device: board.throttling(device.root, device.run),
    "unit": lambda device: board.unit(device.root, device.run),
}


def as_text(name: str, finding: Finding) -> str:
    """Format a finding as text: one line, and below it the fix."""
    line = f"{finding.grade:8} {name:14} {finding.found}"
    return f"{line}\n{'':24}-> {finding.mend}" if finding.mend else line


def as_json(name: str, finding: Finding) -> dict[str, Any]:
    """Format a finding as a JSON object."""
    return {"check": name, **asdict(finding)}
