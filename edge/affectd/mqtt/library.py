"""The MQTT library, paho-mqtt, imported when it is needed and without what it does not need."""

from __future__ import annotations

import importlib
import sys
import urllib
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
        with _without_urllib():
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
def _without_urllib() -> Iterator[None]:
    """Let paho import ``urllib.request`` later: it looks there for a proxy, which it does only beside PySocks.

    That would load http and email: 2 MB.
    """
    name = "urllib.request"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = urllib.request = _Later(name)
    try:
        yield
    finally:
        del sys.modules[name]
