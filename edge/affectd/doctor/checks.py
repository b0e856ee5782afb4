"""Everything that can be wrong with this device, one line each, and how to mend it.

A check is a function from a `Device` to a `Finding`; `CHECKS` is the table of them all. What a check needs it
imports itself: a broken NumPy must not keep the others from looking.
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
    """Yield the name and the finding of every check; one that fails itself is a fault like any other.

    What a check needs and cannot have is the fault of the check before that is about it.
    """
    for name, check in CHECKS.items():
        try:
            yield name, check(device)
        except AffectdError as error:
            yield name, warning(f"not checked: {error}", "mend that first")
        except Exception as error:
            yield name, fault(f"the check itself failed: {type(error).__name__}: {error}", "please report this")


def _broker(device: Device) -> Finding:
    from affectd.doctor.broker import broker

    environment = dict(os.environ)
    if board.unit_is_installed(device.root):  # the folder that the unit takes the password from
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
    """Write a finding for people: one line, and below it how to mend it."""
    line = f"{finding.grade:8} {name:14} {finding.found}"
    return f"{line}\n{'':24}-> {finding.mend}" if finding.mend else line


def as_json(name: str, finding: Finding) -> dict[str, Any]:
    """Write a finding for programs."""
    return {"check": name, **asdict(finding)}
