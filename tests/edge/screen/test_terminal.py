"""The terminal is given back as it was, however the program ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sounds import as_int16, gain, silence, syllables, write_wav
from terminals import GIVEN_BACK, PATIENCE_SECONDS, TAKEN, pseudo_terminal

WATCH = [sys.executable, "-m", "affectd", "watch"]
COLOR = re.compile(rb"\x1b\[[0-9;]*[1-9][0-9;]*m")
BROKEN = """
import affectd.screen.layout as layout
def broken(*arguments):
    raise RuntimeError("a mistake")
layout.picture = broken
import sys
from affectd.__main__ import main
sys.exit(main())
"""


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sound = np.concatenate([silence(0.3), gain(syllables(1), -12), silence(0.9)])
    return write_wav(tmp_path_factory.mktemp("short") / "talk.wav", as_int16(sound))


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wav(tmp_path_factory.mktemp("long") / "talk.wav", as_int16(gain(syllables(PATIENCE_SECONDS), -12)))


def given_back(shown: bytes) -> bytes:
    """Check that the screen was taken and given back, with its cursor; return what was shown afterwards."""
    assert shown.count(TAKEN) == shown.count(GIVEN_BACK) == 1
    assert shown.index(TAKEN) < shown.index(GIVEN_BACK)
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")
    assert shown.rindex(b"\x1b[?7h") > shown.rindex(b"\x1b[?7l")
    after = shown[shown.index(GIVEN_BACK) + len(GIVEN_BACK) :]
    assert b"\x1b" not in after
    return after


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 0),
        (signal.SIGTERM, 0),
        (signal.SIGHUP, -signal.SIGHUP),
        (signal.SIGQUIT, -signal.SIGQUIT),
    ],
)
def test_a_signal_gives_the_terminal_back(model: Path, long: Path, number: signal.Signals, code: int) -> None:
    with pseudo_terminal([*WATCH, "--source", str(long), "--model", str(model)]) as terminal:
        terminal.read_until(b" dBFS")
        assert terminal.attributes() != terminal.before  # keys are not echoed
        terminal.process.send_signal(number)
        assert terminal.end() == code
        assert given_back(terminal.shown).strip() == b""
        assert terminal.attributes() == terminal.before


def test_keys_do_nothing_but_ctrl_c_ends(model: Path, long: Path) -> None:
    with pseudo_terminal([*WATCH, "--source", str(long), "--model", str(model)]) as terminal:
        terminal.read_until(b" dBFS")
        terminal.type(b"a key\r")
        seen = len(terminal.shown)
        terminal.read_until(b"0:02")
        assert b"a key" not in terminal.shown[seen:]
        terminal.type(b"\x03")
        assert terminal.end() == 0
        assert given_back(terminal.shown).strip() == b""
        assert terminal.attributes() == terminal.before


def test_an_error_is_said_after_the_terminal_was_given_back(model: Path, tmp_path: Path) -> None:
    with pseudo_terminal([*WATCH, "--source", str(tmp_path / "none.wav"), "--model", str(model)]) as terminal:
        assert terminal.end() == 66
        shown = terminal.shown
        after = given_back(shown) if TAKEN in shown else shown  # it may fail before there is a first picture
        assert re.fullmatch(rb"affectd: .*none\.wav.*\r\n", after), after
        assert terminal.attributes() == terminal.before


def test_a_mistake_in_the_picture_gives_the_terminal_back_and_is_said(model: Path, long: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", BROKEN, "watch", "--source", str(long), "--model", str(model)]
    with pseudo_terminal(command, environment={"STATE_DIRECTORY": str(tmp_path)}) as terminal:
        assert terminal.end() == 70
        after = given_back(terminal.shown)
        assert b"unforeseen error" in after
        assert b"a mistake" in after
        assert terminal.attributes() == terminal.before


def test_at_the_end_of_a_recording_what_was_heard_stays(model: Path, short: Path) -> None:
    with pseudo_terminal([*WATCH, "--source", str(short), "--model", str(model)]) as terminal:
        assert terminal.end() == 0
        lines = given_back(terminal.shown).decode().splitlines()
        assert re.fullmatch(r"\d\d:\d\d:\d\d  begins .*", lines[0])
        assert re.fullmatch(r"\d\d:\d\d:\d\d  ended .*, \d\.\d s", lines[-1])


def test_a_terminal_that_takes_nothing_holds_up_neither_the_sound_nor_the_end(model: Path, short: Path) -> None:
    with pseudo_terminal([*WATCH, "--source", str(short), "--model", str(model)], size=(200, 60)) as terminal:
        assert terminal.process.wait(60) == 0  # nothing is read meanwhile
        assert terminal.attributes() == terminal.before


def test_a_terminal_that_is_gone_ends_it(model: Path, long: Path) -> None:
    """Even where the hangup signal is ignored, as below nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        command = [*WATCH, "--source", str(long), "--model", str(model)]
        master, slave = os.openpty()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=slave,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "TERM": "xterm"},
        )
    finally:
        signal.signal(signal.SIGHUP, before)
    os.close(slave)
    assert os.read(master, 1)
    os.close(master)
    assert process.wait(PATIENCE_SECONDS) == 0


@pytest.mark.parametrize(
    ("environment", "is_colored", "is_ascii"),
    [({}, True, False), ({"NO_COLOR": "1"}, False, False), ({"LC_ALL": "C", "PYTHONUTF8": "0"}, True, True)],
)
def test_colors_and_signs_are_those_of_the_terminal(
    model: Path, long: Path, environment: dict[str, str], is_colored: bool, is_ascii: bool
) -> None:
    surroundings = {"LC_ALL": "C.UTF-8", "NO_COLOR": "", **environment}
    with pseudo_terminal([*WATCH, "--source", str(long), "--model", str(model)], environment=surroundings) as terminal:
        terminal.read_until(b" dBFS")
        terminal.process.terminate()
        assert terminal.end() == 0
        assert (COLOR.search(terminal.shown) is not None) == is_colored
        assert terminal.shown.isascii() == is_ascii


@pytest.mark.parametrize("where", ["a pipe", "a terminal that only prints"])
def test_elsewhere_it_prints_plain_lines(model: Path, short: Path, where: str) -> None:
    command = [*WATCH, "--source", str(short), "--model", str(model)]
    began = time.monotonic()
    if where == "a pipe":
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE_SECONDS, check=True)
        shown = done.stdout
        assert done.stderr == b""
    else:
        with pseudo_terminal(command, environment={"TERM": "dumb"}) as terminal:
            assert terminal.end() == 0
            shown = terminal.shown
    assert time.monotonic() - began > 2.2  # it is played in real time
    assert b"\x1b" not in shown
    lines = shown.decode().splitlines()
    assert sum(line.endswith("no speech") for line in lines) >= 1
    assert any(re.fullmatch(r" +0:0\d  begins  .+", line) for line in lines)
    assert any(re.fullmatch(r" +0:0\d  ended   .+, \d\.\d s", line) for line in lines)
    assert any(re.fullmatch(r" +0:0\d +-\d+\.\d dBFS  .*", line) for line in lines)
    seconds = [line.split()[0] for line in lines if "dBFS" in line or "no sound" in line]
    assert len(seconds) == len(set(seconds))  # a line a second


def test_a_reader_that_leaves_ends_it(model: Path, long: Path) -> None:
    command = [*WATCH, "--source", str(long), "--model", str(model)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(PATIENCE_SECONDS) == 0
        assert process.stderr.read() == b""
