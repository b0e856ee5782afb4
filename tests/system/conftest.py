"""Fixtures for what is tested with a real browser, and with a real sound server."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from browser import Browser
from page_device import Device
from room import Room


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Return a Chromium for all tests."""
    chromium = Browser(tmp_path_factory.mktemp("chromium"))
    yield chromium
    chromium.close()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """Return a browser without tabs; those that a test opens share nothing."""
    yield chromium
    chromium.close_pages()


@pytest.fixture
def device() -> Iterator[Device]:
    """Return a device whose page shows that it has heard nothing yet."""
    device = Device()
    yield device
    device.stop()


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    """Return a room without speech."""
    room = Room(tmp_path)
    room.start()
    yield room
    room.stop(signal.SIGKILL)
