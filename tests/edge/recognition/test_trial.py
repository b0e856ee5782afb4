"""A network that the interpreter does not survive is a sentence, not the end of the service."""

from __future__ import annotations

import errno
import faulthandler
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from affectd.errors import ModelFileError, UnavailableError
from affectd.recognition import trial
from affectd.recognition.model_file import write_model
from affectd.recognition.trial import survive
from tiny_model import DATA, tiny_model

TINY = (DATA / "tiny.tflite").read_bytes()
CRASHES = TINY[:1360] + b"\xff\xff\xff\xff" + TINY[1364:]  # found by mutation, as the others
NEEDS_MUCH = TINY[:2134] + b"\x80" + TINY[2135:]
NAME_IS_NO_TEXT = TINY.replace(b"StatefulPart", b"Stateful\xffart")


@pytest.mark.parametrize(
    ("tflite", "sentence"),
    [(CRASHES, "expected a network"), (NEEDS_MUCH, "expected a network"), (NAME_IS_NO_TEXT, "UnicodeDecodeError")],
    ids=["crashes", "190 MB", "name"],
)
def test_the_program_refuses_a_network_that_the_interpreter_does_not_survive(
    tmp_path: Path, tflite: bytes, sentence: str
) -> None:
    path = tmp_path / "model.tflite"
    write_model(path, tiny_model(tflite=tflite))
    for command in (["model"], ["classify", "x.wav"], ["run", "--source", "x.wav"], ["bench"]):
        ran = subprocess.run(
            [sys.executable, "-m", "affectd", *command, "--model", path],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
        )
        assert (ran.returncode, ran.stdout) == (78, ""), ran.stderr
        assert ran.stderr.startswith(f"affectd: model file {path}: tflite: ")
        assert sentence in ran.stderr
        assert ran.stderr.count("\n") == 1


def test_what_an_attempt_does_and_raises_is_known_and_has_no_effect_here() -> None:
    done: list[int] = []
    survive(lambda: done.append(1))
    assert done == []

    def fail(error: BaseException) -> None:
        raise error

    for error in (ModelFileError("input: expected"), UnavailableError("none is installed")):
        with pytest.raises(type(error), match=f"^{error}$"):
            survive(lambda error=error: fail(error))
    with pytest.raises(ModelFileError, match="IndexError"):
        survive(lambda: fail(IndexError()))
    with pytest.raises(UnavailableError, match="Too many open files"):
        survive(lambda: fail(OSError(errno.EMFILE, os.strerror(errno.EMFILE))))


def test_where_limits_may_not_be_set_an_attempt_is_made_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("resource.setrlimit", refuse)
    survive(lambda: None)


def children() -> set[str]:
    """The processes that this one has started and not yet waited for, also for other tests."""
    found = set[str]()
    for listed in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # a thread may end meanwhile
            found.update(listed.read_text().split())
    return found


def crash() -> None:
    faulthandler.disable()  # pytest's would print where, into the log of the tests
    os.kill(os.getpid(), signal.SIGSEGV)


def test_an_attempt_that_crashes_needs_much_or_does_not_end_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    before = children()
    with pytest.raises(ModelFileError, match="it crashes"):
        survive(crash)
    with pytest.raises(ModelFileError, match="MemoryError"):
        survive(lambda: bytearray(200_000_000))
    monkeypatch.setattr(trial, "_MOST_SECONDS", 0.05)
    began = time.monotonic()
    with pytest.raises(UnavailableError, match="too busy"):  # it was hardly let run, which may be over soon
        survive(lambda: time.sleep(60))
    assert time.monotonic() - began < 10
    monkeypatch.setattr(trial, "_ENOUGH_SECONDS", 0.0)
    began = time.monotonic()
    with pytest.raises(ModelFileError, match=r"takes more than 0\.05 s"):
        survive(lambda: time.sleep(60))
    assert time.monotonic() - began < 10
    assert children() <= before  # none is left
