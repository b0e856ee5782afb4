"""Fixtures for what is tested with a real browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from browser import Browser
from page_device import Device


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
