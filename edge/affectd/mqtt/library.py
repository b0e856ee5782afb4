"""The MQTT library, paho-mqtt, imported when it is needed and without what it does not need."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from affectd.errors import UnavailableError


def paho() -> ModuleType:
    """Return paho's client module.

    Raises
    ------
    UnavailableError
        It is not installed.
    """
    try:
        with _postponed("urllib.request"):
            from paho.mqtt import client
    except ImportError as error:
        raise UnavailableError(
            'MQTT needs paho-mqtt: pip install "affectd[mqtt]", or sudo apt install python3-paho-mqtt'
        ) from error
    return client


class _Later(ModuleType):
    """Stands for a module until something of it is used."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def _postponed(name: str) -> Iterator[None]:
    """Import a module of a package later than what is imported in the block asks for it.

    paho imports ``urllib.request`` to look for a proxy, which it does only beside PySocks. That would load http and
    email: 2 MB.
    """
    if name not in sys.modules:
        package, _, last = name.partition(".")
        sys.modules[name] = _Later(name)
        setattr(importlib.import_module(package), last, sys.modules[name])
        try:
            yield
        finally:
            del sys.modules[name]
    else:
        yield
