"""`scripts/run` shows people a screen and programs events, with a microphone and without."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from terminals import pseudo_terminal

REPOSITORY = Path(__file__).parents[2]
DEMO = "--source tests/data/demo.wav"
STAND_IN = """#!/bin/sh
echo "$@" >> calls
case "$1" in
devices) cat microphones ;;
*) exit "$(cat code)" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in which everything is installed; the program only notes how it was called."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(REPOSITORY / "scripts" / "run", tmp_path / "scripts")
    (tmp_path / "pyproject.toml").touch()
    os.utime(tmp_path / "pyproject.toml", (0, 0))
    program = tmp_path / ".venv" / "bin" / "affectd"
    program.parent.mkdir(parents=True)
    program.write_text(STAND_IN)
    program.chmod(0o755)
    (tmp_path / ".venv" / "installed").touch()
    (tmp_path / "code").write_text("0")
    (tmp_path / "microphones").write_text("")
    return tmp_path


def calls(checkout: Path, *arguments: str, on_terminal: bool) -> list[str]:
    command = [str(checkout / "scripts" / "run"), *arguments]
    if on_terminal:
        with pseudo_terminal(command) as terminal:
            terminal.end()
    else:
        subprocess.run(command, stdout=subprocess.PIPE, check=False, timeout=60)
    return (checkout / "calls").read_text().splitlines()


def test_on_a_terminal_it_watches_the_microphone(checkout: Path) -> None:
    (checkout / "microphones").write_text("{}\n")
    assert calls(checkout, on_terminal=True) == ["devices", "watch"]


def test_in_a_pipe_it_prints_events(checkout: Path) -> None:
    (checkout / "microphones").write_text("{}\n")
    assert calls(checkout, on_terminal=False) == ["devices", "run --realtime"]


@pytest.mark.parametrize(("on_terminal", "command"), [(True, "watch"), (False, "run --realtime")])
def test_without_a_microphone_that_works_it_plays_the_recording(
    checkout: Path, on_terminal: bool, command: str
) -> None:
    (checkout / "code").write_text("74")
    assert calls(checkout, on_terminal=on_terminal) == ["devices", f"{command} {DEMO}"]
    (checkout / "calls").unlink()
    (checkout / "microphones").write_text("{}\n")
    assert calls(checkout, on_terminal=on_terminal) == ["devices", command, f"{command} {DEMO}"]


def test_why_there_is_no_microphone_is_said(checkout: Path) -> None:
    program = checkout / ".venv" / "bin" / "affectd"
    program.write_text(STAND_IN.replace("cat microphones", "echo 'affectd: PyAudio is missing' >&2; exit 69"))
    done = subprocess.run([checkout / "scripts" / "run"], capture_output=True, check=False, timeout=60)
    assert done.stderr.startswith(
        b"affectd: PyAudio is missing\nno microphone that works: playing the bundled recording"
    )


@pytest.mark.parametrize("on_terminal", [True, False])
def test_arguments_go_to_run(checkout: Path, on_terminal: bool) -> None:
    assert calls(checkout, "--source", "-", on_terminal=on_terminal) == ["run --source -"]
