from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from affectd.outbox.outbox import Outbox
from outboxes import IN_MEMORY, Clock, opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def in_memory() -> Iterator[Path]:
    with TemporaryDirectory(dir=IN_MEMORY) as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "affectd")


@pytest.fixture(params=["runtime", "memory"])
def outbox(request: pytest.FixtureRequest, state: Path, runtime: Path, clock: Clock) -> Iterator[Outbox]:
    """An outbox with a folder for the runtime, and one without."""
    made = opened(state, runtime if request.param == "runtime" else None, clock)
    yield made
    made.close()
