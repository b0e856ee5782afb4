"""Fixtures for the tests of training."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from small_network import DILATIONS


@pytest.fixture(scope="module")
def small_network() -> Iterator[None]:
    """Let what is trained in this process be small, for tests in which its size is not the point."""
    from affectd_train.training import network

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "DILATIONS", DILATIONS)
        yield
