"""What is said while the screen is taken is said afterwards."""

from __future__ import annotations

import logging
import os
import threading

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


def test_a_busy_terminal_gets_it_late() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    full = b"." * os.fpathconf(writer, "PC_PIPE_BUF")
    n_full = 0
    while _fits(writer, full):
        n_full += len(full)
    before = os.dup(2)
    reading = threading.Timer(0.25, lambda: os.read(reader, n_full))
    try:
        os.dup2(writer, 2)
        with kept_log.kept_log(lambda line: None):
            os.write(2, b"a mistake")
            reading.start()
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(writer)
    reading.join()
    assert os.read(reader, n_full) == b"a mistake"
    os.close(reader)


def _fits(descriptor: int, data: bytes) -> bool:
    try:
        return os.write(descriptor, data) == len(data)
    except BlockingIOError:
        return False
