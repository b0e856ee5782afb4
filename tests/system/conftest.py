"""Fixtures for what is tested with a real browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from browser import Browser
from page_device import Device


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Return a Chromium; its tabs share nothing."""
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture
def device() -> Iterator[Device]:
    """Return a device whose page shows that it has heard nothing yet."""
    device = Device()
    yield device
    device.stop()
