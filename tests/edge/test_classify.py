"""`affectd classify` of folders and of standard input, and what it shows while it works."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from sounds import as_int16, gain, raw_sound, silence, syllables, write_wav
from terminals import at_terminal

SPEECH = as_int16(np.concatenate([silence(1), gain(syllables(3), -12), silence(1.5)]))
QUIET = silence(0.5)
COMMAND = [sys.executable, "-m", "affectd", "classify"]
PATIENCE_SECONDS = 120


def classify(*words: object, model: Path, stdin: bytes = b"", **options: object) -> subprocess.CompletedProcess[bytes]:
    command = [*COMMAND, *map(str, words), "--model", str(model)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=PATIENCE_SECONDS, check=False, **options)


def found(done: subprocess.CompletedProcess[bytes]) -> list[dict]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def paths(done: subprocess.CompletedProcess[bytes], folder: Path) -> list[str]:
    return [Path(line["path"]).relative_to(folder).as_posix() for line in found(done)]


def test_a_folder_stands_for_all_its_recordings_in_order(model: Path, tmp_path: Path) -> None:
    (tmp_path / "talks/b").mkdir(parents=True)
    for name in ("c.wav", "b/z.WAV", "a.wave"):
        write_wav(tmp_path / "talks" / name, QUIET)
    other = write_wav(tmp_path / "other", QUIET)  # a file is read whatever its name
    done = classify(other, tmp_path / "talks", other, model=model)
    assert (done.returncode, done.stderr) == (0, b"")
    assert paths(done, tmp_path) == ["other", "talks/a.wave", "talks/b/z.WAV", "talks/c.wav", "other"]
    alone = classify(tmp_path / "talks/c.wav", model=model)
    assert found(alone)[0] == found(done)[3]


def test_what_is_odd_is_said_of_every_recording_of_a_folder(model: Path, tmp_path: Path) -> None:
    (tmp_path / "talks").mkdir()
    for number in range(30):
        path = write_wav(tmp_path / "talks" / f"{number}.wav", QUIET)
        path.write_bytes(path.read_bytes()[:40] + b"\xff\xff\xff\xff" + path.read_bytes()[44:])
    done = classify(tmp_path / "talks", model=model)
    assert done.returncode == 0
    assert [name for name in paths(done, tmp_path) if f"{name} does not know its length".encode() in done.stderr] == (
        paths(done, tmp_path)
    )
    assert b"left out" not in done.stderr


def test_links_are_followed_once_and_what_is_left_out_is_said(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "talks"
    (folder / "deep").mkdir(parents=True)
    write_wav(folder / "deep/a.wav", QUIET)
    write_wav(tmp_path / "b.wav", QUIET)
    (folder / "linked.wav").symlink_to(tmp_path / "b.wav")
    (folder / "again").symlink_to("deep")
    (folder / "up").symlink_to(tmp_path)
    write_wav(folder / ".hidden.wav", QUIET)
    os.mkfifo(folder / "pipe.wav")
    (folder / "notes.txt").write_text("no sound")
    (folder / "list.csv").write_text("no sound")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "s.wav"))
        done = classify(folder, model=model)
    assert done.returncode == 0
    assert paths(done, folder) == ["deep/a.wav", "linked.wav"]
    said = done.stderr.decode().splitlines()
    for name, why in (
        ("again", "a link to a folder that is read already"),
        ("up", "a link back to a folder that it lies in"),
        (".hidden.wav", "a hidden file"),
        ("pipe.wav", "a named pipe, not a file"),
        ("s.wav", "a socket, not a file"),
        ("2 files, such as list.csv", "not a recording"),
    ):
        assert f"affectd: {folder}: skipped {name}: {why} (in {folder})" in said
    assert len(said) == 6


@pytest.mark.skipif(os.geteuid() != 0, reason="root reads everything: needs root to become another user")
def test_what_may_not_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    for name in ("closed/a.wav", "b.wav", "c.wav"):
        write_wav(tmp_path / name, QUIET)
    (tmp_path / "closed").chmod(0)
    (tmp_path / "b.wav").chmod(0)
    for folder in (tmp_path, *tmp_path.parents):
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    code = "import sys; from os import setuid; from affectd.classify import Recordings; setuid(65534)\n"
    code += "print(*Recordings(sys.argv[1:], together=False).paths)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path}/c.wav\n"
    assert "skipped closed: a folder that cannot be read (Permission denied)" in done.stderr
    assert "skipped b.wav: may not be read by this user" in done.stderr


def test_other_sound_is_counted_with_a_line_that_converts_it(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "talks of monday"
    folder.mkdir()
    for name in ("a.wav", "b.mp3", "c.FLAC", "d.m4a"):
        write_wav(folder / name, QUIET)
    done = classify(folder, model=model)
    assert done.returncode == 0
    assert paths(done, folder) == ["a.wav"]
    (said,) = done.stderr.decode().splitlines()
    assert said.startswith(f"affectd: {folder}: skipped 3 files that are not WAV, such as {folder}/b.mp3: convert")
    words = shlex.split(said.partition("first: ")[2])
    assert words[0] == "ffmpeg"
    assert str(folder / "b.mp3") in words


def test_a_folder_without_a_recording_is_66_and_the_others_are_classified(model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    wav = write_wav(tmp_path / "a.wav", QUIET)
    done = classify(tmp_path / "empty", wav, model=model)
    assert done.returncode == 66
    assert paths(done, tmp_path) == ["a.wav"]
    assert done.stderr.decode() == f"affectd: The folder {tmp_path / 'empty'} holds no WAV file.\n"


def test_a_damaged_recording_in_a_folder_is_a_sentence_and_the_others_are_classified(
    model: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF\0\0\0\0WAVE")
    write_wav(tmp_path / "b.wav", QUIET)
    done = classify(tmp_path, model=model)
    assert done.returncode == 65
    assert paths(done, tmp_path) == ["b.wav"]
    assert "a.wav" in done.stderr.decode()


@pytest.mark.parametrize("form", ["wav", "raw"])
def test_standard_input_gives_what_the_file_does(model: Path, tmp_path: Path, form: str) -> None:
    path = write_wav(tmp_path / "speech.wav", SPEECH)
    content = path.read_bytes()
    done = classify("-", path, model=model, stdin=content if form == "wav" else content[44:])
    assert (done.returncode, done.stderr) == (0, b"")
    piped, read = found(done)
    assert piped["path"] == "-"
    assert {**piped, "path": str(path)} == read
    assert read["speech_seconds"] > 2


def test_a_pause_of_the_sender_adds_nothing_to_a_recording(model: Path, tmp_path: Path) -> None:
    config = tmp_path / "affectd.toml"
    config.write_text("[audio]\nstalled_seconds = 1\n")
    content = write_wav(tmp_path / "speech.wav", SPEECH).read_bytes()
    command = [*COMMAND, "-", "--model", str(model), "--config", str(config)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(content[:50000])
        process.stdin.flush()
        with suppress(subprocess.TimeoutExpired):
            process.wait(2.5)  # the pause itself
        out, complaints = process.communicate(content[50000:], timeout=PATIENCE_SECONDS)
    assert (process.returncode, complaints) == (0, b"")
    assert json.loads(out)["seconds"] == 5.5


@pytest.mark.parametrize("words", [["-", "-"], ["-", "--together"]])
def test_standard_input_is_read_once(model: Path, words: list[str]) -> None:
    done = classify(*words, model=model)
    assert (done.returncode, done.stdout) == (64, b"")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("content", "code"), [(b"", 66), (b"ID3\4" + bytes(4000), 65), (b"no sound at all\n" * 99, 65)]
)
def test_standard_input_that_is_no_sound_is_a_sentence(model: Path, content: bytes, code: int) -> None:
    done = classify("-", model=model, stdin=content)
    assert (done.returncode, done.stdout) == (code, b"")
    assert done.stderr.startswith(b"affectd: Standard input ")
    assert (b"| affectd classify -" in done.stderr) == content.startswith(b"ID3")


@pytest.mark.parametrize("command", ["classify", "timeline"])
def test_long_work_says_how_far_it_is_in_a_line_that_goes_away(model: Path, command: str) -> None:
    screen, terminal = pty.openpty()
    words = [sys.executable, "-m", "affectd", command, "-", "--format", "json", "--model", str(model)]
    second = raw_sound(gain(syllables(1), -12))
    shown, until = b"", time.monotonic() + PATIENCE_SECONDS
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=terminal, env=environment
    ) as process:
        os.close(terminal)
        assert process.stdin is not None
        while b"of standard input" not in shown and time.monotonic() < until:
            process.stdin.write(second)
            process.stdin.flush()
            if select.select([screen], [], [], 0.05)[0]:
                shown += os.read(screen, 1 << 16)
        process.stdin.close()
        with suppress(OSError):  # EIO: it has ended
            while data := os.read(screen, 1 << 16):
                shown += data
        assert process.stdout is not None
        answer = json.loads(process.stdout.read())
        assert process.wait(PATIENCE_SECONDS) == 0
    os.close(screen)
    assert answer["seconds"] > 0
    assert b"\n" not in shown, "one line, drawn over itself"
    assert re.match(rb"\r\x1b\[K\d+:\d\d\.\d of standard input", shown)
    assert shown.endswith(b"\r\x1b[K"), "nothing of it stays"


PROGRESS = """
import logging, sys
from affectd.words.progress import Progress
logging.basicConfig(format="%(message)s")
now = [0.0]
with Progress(lambda: now[0]) as progress:
    for step in range(40):
        now[0] += 0.1
        progress.show(lambda: f"step {step} of a\\x1b[1m rather long name that does not fit into the line at all")
    logging.warning("a word")
    now[0] += 9
    progress.show(lambda: "again")
logging.warning("the end")
"""


def test_progress_waits_is_drawn_now_and_then_and_makes_room_for_the_log() -> None:
    code, shown, _ = at_terminal([sys.executable, "-c", PROGRESS], columns=40)
    assert code == 0
    drawn = shown.split("\r\x1b[K")
    steps = [int(part.split()[1]) for part in drawn if part.startswith("step")]
    assert steps[0] >= 8, "not in the first second"
    assert 10 <= len(steps) <= 16, "five times a second"
    assert max(map(len, (part for part in drawn if "\n" not in part))) < 40
    assert shown.replace("\r\x1b[K", "").replace("\n", "").isprintable()
    assert drawn[-3:] == ["a word\n", "again", "the end\n"]


@pytest.mark.parametrize("how", ["pipe", "dumb"])
def test_progress_is_for_terminals_alone(how: str) -> None:
    if how == "dumb":
        program = "import os; os.environ['TERM'] = 'dumb'\n" + PROGRESS
        code, shown, _ = at_terminal([sys.executable, "-c", program])
    else:
        code, shown, through = at_terminal([sys.executable, "-c", PROGRESS], piped=["stderr"])
        assert shown == ""
        shown = through
    assert (code, shown) == (0, "a word\nthe end\n")
