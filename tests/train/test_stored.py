"""Two processes on one cache wait for each other; what cannot be written or read ends with a sentence."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import tiny_corpora
from affectd_train.cli import main
from affectd_train.commands import COMMANDS
from affectd_train.files import write_text
from affectd_train.stored import cached, locked

MAKER = """
import os, sys
from pathlib import Path
from affectd_train.stored import cached

def make(path):
    print("making", flush=True)
    sys.stdin.readline()
    path.write_text(sys.argv[2])

print(cached(Path(sys.argv[1]), lambda path: path.read_text(), make), flush=True)
"""


@contextmanager
def maker(path: Path, content: str) -> Iterator[subprocess.Popen[str]]:
    program = [sys.executable, "-c", MAKER, str(path), content]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(program, text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()


def next_line(stream: object) -> str:
    return str(stream.readline())  # type: ignore[attr-defined]


def test_the_second_waits_says_so_and_reads_what_the_first_made(tmp_path: Path) -> None:
    path = tmp_path / "cache/a"
    with maker(path, "first") as first:
        assert next_line(first.stdout) == "making\n"
        with maker(path, "second") as second:
            assert next_line(second.stderr) == f"{path}: another affectd-train is making it; waiting for that\n"
            assert first.communicate("\n")[0] == "first\n"
            assert second.communicate()[0] == "first\n"
    assert [p.name for p in path.parent.iterdir()] == ["a"]


def test_a_killed_process_keeps_nothing_locked(tmp_path: Path) -> None:
    path = tmp_path / "cache/a"
    with maker(path, "first") as first:
        assert next_line(first.stdout) == "making\n"
        with maker(path, "second") as second, maker(path, "third") as third:
            for waiting in (second, third):
                assert "waiting" in next_line(waiting.stderr)
            first.kill()
            said = {second: "second", third: "third"}
            for process in (second, third):
                process.stdin.write("\n")  # type: ignore[union-attr]
                process.stdin.flush()  # type: ignore[union-attr]
            answers = {process.communicate()[0].splitlines()[-1] for process in said}
    assert len(answers) == 1  # one of them made it, and both read that
    assert [p.name for p in path.parent.iterdir()] == ["a"]


def test_where_there_are_no_locks_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(number: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path / "a"):
        assert "knows no locks" in capsys.readouterr().err


def test_what_a_killed_process_had_begun_to_write_is_removed(tmp_path: Path) -> None:
    path, others = tmp_path / "a[1].json", ("a1.7.partial.json", "b.7.partial.json")
    begun = "import os, sys, pathlib, affectd_train.files as files; path = pathlib.Path(sys.argv[1])\n"
    begun += "with files.written_whole(path) as beside: beside.write_text('ha'); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", begun, str(path)], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    for name in others:
        (tmp_path / name).touch()
    assert cached(path, Path.read_text, lambda path: write_text(path, "whole")) == "whole\n"
    assert {p.name for p in tmp_path.iterdir()} == {path.name, *others}


def test_what_another_user_left_who_was_killed_is_in_no_ones_way(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    with tempfile.TemporaryDirectory() as shared:  # which others can reach, unlike that of this test
        folder = Path(shared)
        folder.chmod(0o1777)  # as /tmp: who did not make a file may not remove it
        for name in (".a.txt.lock", "a.123.partial.txt"):
            (folder / name).touch(0o644)
        code = "import os, sys, pathlib as p; from affectd_train.stored import cached; os.setuid(65534);"
        code += "print(cached(p.Path(sys.argv[1]), p.Path.read_text, lambda path: path.write_text('made')))"
        command = [sys.executable, "-c", code, str(folder / "a.txt")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "made\n"), done.stderr


def test_what_is_there_is_read_from_a_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("content")

    def refuse(*_: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", refuse)
    assert cached(tmp_path / "a", Path.read_text, lambda path: None) == "content"


def test_a_lock_on_a_disk_that_may_only_be_read_hides_no_file_that_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"

    def refuse(file: Path, *_: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(file))

    def fail() -> None:
        with locked(path):
            monkeypatch.setattr(os, "unlink", refuse)
            monkeypatch.setattr(os, "open", refuse)
            with locked(path.with_name("b")):  # as the disk was remounted in between
                pass

    with pytest.raises(OSError, match="Read-only") as failed:
        fail()
    assert failed.value.filename == str(tmp_path / "b")


def fit(folder: Path, *more: str) -> list[str]:
    numbers = ("pretrain_steps=0", "finetune_steps=0", "batch_size=4", "augmented_copies=1", *more)
    paths = ["--data", str(folder / "data"), "--out", str(folder / "run"), "--cache", str(folder / "cache")]
    settings = [word for number in numbers for word in ("--set", number)]
    return [sys.executable, "-m", "affectd_train.cli", "fit", *paths, *settings]


def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    tiny_corpora.emodb(tmp_path / "data")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/representative.7.partial.npy").touch()  # of a call that was killed
    limited = ["bash", "-c", 'trap "" XFSZ; ulimit -f 40; exec "$@"', "-"]  # no file above 40 kB
    done = subprocess.run([*limited, *fit(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 74, done.stderr
    assert "Traceback" not in done.stderr
    assert "cache" in done.stderr.splitlines()[-1]
    assert done.stderr.endswith(": cannot be written (File too large)\n")
    assert list((tmp_path / "cache").iterdir()) == []
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["asked.json"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_pool_with_one_line(number: signal.Signals, tmp_path: Path) -> None:
    tiny_corpora.ravdess(tmp_path / "data", tuple(range(1, 7)))
    pipes = {"stderr": subprocess.PIPE, "start_new_session": True}
    with subprocess.Popen(fit(tmp_path, "augmented_copies=9"), text=True, **pipes) as process:  # type: ignore[call-overload]
        seen = ""
        while "copy 1" not in seen:
            piece = process.stderr.read(1)
            assert piece, seen
            seen += piece
        os.killpg(process.pid, number)  # as a terminal does
        _, said = process.communicate()
        assert process.returncode == 128 + number, said
        assert "Traceback" not in said
        last = said.splitlines()[-1]
        assert last == "affectd-train: interrupted; the same command goes on from the last checkpoint"
        assert_ended(process.pid)
    assert not list(tmp_path.rglob("*.lock"))


def test_a_terminal_that_is_closed_ends_the_pool(tmp_path: Path) -> None:
    tiny_corpora.ravdess(tmp_path / "data", tuple(range(1, 7)))
    number, terminal = pty.fork()
    if number == 0:
        os.execv(sys.executable, fit(tmp_path, "augmented_copies=9"))
    termios.tcsetwinsize(terminal, (24, 200))  # in a terminal without columns no bar has room
    seen = b""
    while b"copy 1" not in seen:
        seen += os.read(terminal, 4096)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) == 128 + signal.SIGHUP
    assert_ended(number)
    assert not list(tmp_path.rglob("*.lock"))


def assert_ended(session: int) -> None:
    deadline = time.monotonic() + 10
    while running(session) and time.monotonic() < deadline:
        os.sched_yield()
    assert running(session) == []


def running(session: int) -> list[int]:
    """List the processes of a session that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of_session = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(of_session) == session and state != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.parametrize(
    ("words", "after"),
    [
        (["fit", "--data", "gone"], "goes on from the last checkpoint"),
        (["robustness", "--data", "gone", "--evaluation", "gone"], "begins anew"),
    ],
)
def test_interrupted_a_command_says_whether_it_goes_on(
    words: list[str], after: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(COMMANDS, words[0], lambda options: signal.raise_signal(signal.SIGINT))
    assert main(words) == 130
    assert capfd.readouterr().err.splitlines()[-1] == f"affectd-train: interrupted; the same command {after}"
