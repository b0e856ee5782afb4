"""`affectd record` with the real PyAudio, PortAudio and ALSA, at a terminal and without; soxi looks at the file."""

from __future__ import annotations

import json
import os
import resource
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from room import file_card, needs_card

PATIENCE_SECONDS = 120

pytestmark = [*needs_card, pytest.mark.skipif(not shutil.which("soxi"), reason="sox is not installed")]


@pytest.fixture
def card(tmp_path: Path) -> dict[str, str]:
    """The environment of a card with a sawtooth, whose period divides every buffer."""
    return file_card(tmp_path, np.tile(np.arange(64) * 300 - 9600, 500))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "affectd", "record", *map(str, words)]


def soxi(path: Path, what: str) -> str:
    done = subprocess.run(["soxi", what, path], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


@pytest.mark.parametrize("seconds", ["1", "2.5", "30"])
def test_a_recording_is_as_long_as_it_was_to_be_and_for_its_owner_alone(
    card: dict[str, str], out: Path, seconds: str
) -> None:
    path = out / "talk.wav"
    words = command(path, "--seconds", seconds, "--label", "happy", "--everyone-knows")
    done = subprocess.run(
        words, env=card, capture_output=True, stdin=subprocess.DEVNULL, timeout=PATIENCE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert float(soxi(path, "-D")) == float(seconds)
    assert [soxi(path, what) for what in ("-r", "-c", "-b", "-t")] == ["16000", "1", "16", "wav"]
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in out.iterdir()} == {
        "talk.wav": 0o600,
        "talk.json": 0o600,
    }
    known = json.loads((out / "talk.json").read_text())
    assert (known["label"], known["microphone"], known["seconds"]) == ("happy", "default", float(seconds))
    assert (
        done.stdout
        == subprocess.run(
            [sys.executable, "-m", "affectd", "timeline", path], env=card, capture_output=True, check=True, timeout=60
        ).stdout
    )
    # Plain lines, for they do not go to a terminal.
    assert not {0x1B, 0x0D} & {*done.stderr}


def test_without_a_terminal_nothing_is_recorded_unless_someone_says_that_everyone_knows(
    card: dict[str, str], out: Path
) -> None:
    done = subprocess.run(
        command(out / "talk.wav", "--seconds", "3"),
        env=card,
        capture_output=True,
        input=b"y\n" * 9,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout, [*out.iterdir()]) == (64, b"", [])
    assert done.stderr.startswith(b"affectd: Everyone in the room must know before they are recorded.")
    assert done.stderr.count(b"\n") == 1


def test_at_a_terminal_it_asks_and_counts_down(card: dict[str, str], out: Path) -> None:
    ours, theirs = os.openpty()
    path = out / "talk.wav"
    with subprocess.Popen(
        command(path, "--seconds", "20"), env=card, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs
    ) as program:
        os.close(theirs)
        shown = b""
        while b"[y/N] " not in shown:
            shown += os.read(ours, 4096)
        assert [*out.iterdir()] == []
        os.write(ours, b"y\n")
        try:
            while data := os.read(ours, 4096):
                shown += data
        except OSError:  # the other end is closed
            pass
        assert program.stdout is not None
        assert program.stdout.read().decode().startswith(f"{path}: 0:20 long")
        assert program.wait(PATIENCE_SECONDS) == 0
    os.close(ours)
    lines = shown.decode().replace("\r\n", "\n").replace("\r", "\n").splitlines()
    assert any(line.startswith("0:") and " left  [" in line and "dBFS" in line for line in lines), lines
    assert any(line.startswith(f"affectd: {path}: 20.0 s, ") for line in lines), lines
    assert float(soxi(path, "-D")) == 20


def test_a_file_that_may_not_grow_keeps_what_fits(card: dict[str, str], out: Path) -> None:
    path = out / "talk.wav"
    done = subprocess.run(
        command(path, "--seconds", "20", "--everyone-knows"),
        env=card,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE_SECONDS,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_001, 100_001)),
    )
    assert done.returncode == 69
    assert done.stderr.decode().splitlines()[-1] == f"affectd: {path} cannot be written: File too large."
    assert path.stat().st_size == 100_000
    assert int(soxi(path, "-s")) == (100_000 - 44) // 2
    assert json.loads((out / "talk.json").read_text())["seconds"] == pytest.approx(49978 / 16000, abs=1e-3)


def test_without_a_microphone_nothing_is_left(card: dict[str, str], out: Path) -> None:
    config = out.parent / "asoundrc"
    config.write_text(config.read_text().splitlines()[0] + "\n")
    done = subprocess.run(
        command(out / "talk.wav", "--seconds", "3", "--everyone-knows"),
        env=card,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout, [*out.iterdir()]) == (74, b"", [])
    assert done.stderr == (
        b"affectd: There is no microphone: PortAudio knows no default input device. "
        b"Connect one; affectd devices lists it.\n"
    )
