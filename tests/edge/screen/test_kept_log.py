"""What is said while the screen is taken is said afterwards."""

from __future__ import annotations

import logging
import os

import pytest

from affectd.screen import kept_log


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "isatty", lambda descriptor: True)


def test_the_end_of_what_is_written_is_said_afterwards(capfd: pytest.CaptureFixture[str]) -> None:
    with kept_log.kept_log(lambda line: None):
        os.write(2, b"begin" + b"." * 2 * kept_log._MOST_BYTES + b"end")
        assert capfd.readouterr().err == ""
    said = capfd.readouterr().err
    assert said.endswith("end")
    assert len(said) == kept_log._MOST_BYTES


def test_the_log_is_noted_at_once_and_said_afterwards(caplog: pytest.LogCaptureFixture) -> None:
    noted: list[str] = []
    with kept_log.kept_log(noted.append):
        logging.getLogger("affectd").warning("the card %s", "is gone")
        assert noted == ["the card is gone"]
        assert not caplog.records
    assert [record.getMessage() for record in caplog.records] == noted
