"""Fixtures for all tests."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path

# Before NumPy is imported, as the programs do it (affectd.cli).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Ray's processes would give way to all others, and so to the tests beside theirs, for which they would wait.
os.environ.setdefault("RAY_worker_niceness", "0")

# A shell's background job ignores it, and so would the programs under test.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
from hypothesis import settings

# How long an example takes says more about a busy machine than about the code.
settings.register_profile("affectd", deadline=None)
settings.load_profile("affectd")


_STATES = itertools.count()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the system tests that take many minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="takes many minutes; run with --slow"))


@pytest.fixture(scope="session")
def speech_data() -> Path:
    """Return the folder of real recordings: $AFFECTD_DATA, else shared/data beside the repository."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("AFFECTD_DATA") or default)
    if not folder.is_dir():
        pytest.skip(f"no recordings in {folder}; set AFFECTD_DATA to the folder with ravdess, tess, ...")
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model file with a tiny network, for tests that need no other."""
    from affectd.recognition.model_file import write_model
    from tiny_model import tiny_model

    path = tmp_path_factory.mktemp("model") / "tiny.tflite"
    write_model(path, tiny_model())
    return path


@pytest.fixture(scope="session", autouse=True)
def _state_of_fixtures(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.getbasetemp() / "state")


@pytest.fixture(autouse=True)
def _state_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    # A program remembers where it ran: from one test to the next, and in the home of who tests.
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / f"state-{next(_STATES)}"))
