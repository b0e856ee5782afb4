"""The outbox on disks that fail, hang or belong to another process."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from affectd.outbox import journal
from faulty_disk import FULL, IO_ERROR, PART, Answer, Step, faulty_disk
from outboxes import NAME, Clock, deliver, opened, payloads, put


def test_put_touches_no_disk_whatever_is_wrong(state: Path, runtime: Path, clock: Clock) -> None:
    outbox = opened(state, runtime, clock, max_events=10)
    put(outbox, *"abc")
    outbox.settle(connected=False)
    runtime_fails = False
    steps: list[Step] = []

    def before(step: Step) -> Answer:
        steps.append(step)
        return FULL if runtime_fails and step.kind == "write" else None

    with faulty_disk(before):
        put(outbox, *"defghijklmnop")
        runtime_fails = True
        put(outbox, *"qrs")
        clock.now += 3600
        put(outbox, *"tuv")
    assert {Path(step.path).parent for step in steps} == {runtime}
    assert {step.kind for step in steps} == {"open", "write"}
    outbox.close()


@pytest.mark.parametrize("place", ["devices/kitchen", "."])
@pytest.mark.parametrize("name", ["outbox.journal", "outbox.sqlite", "outbox.journal.new"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pipe_or_device_in_place_of_a_file_is_not_waited_for(
    kind: str, name: str, place: str, tmp_path: Path
) -> None:
    path = tmp_path / place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    # Another process, because one that waits for a pipe cannot be stopped here.
    program = """
from affectd.config.state import claimed_folders
from affectd.outbox.outbox import Outbox
with claimed_folders("kitchen") as folders:
    outbox = Outbox(folders.state, folders.runtime, max_events=9, max_bytes=999)
    outbox.put("{}")
    outbox.settle(False)
    print(len(outbox))
"""
    environment = {**os.environ, "STATE_DIRECTORY": str(tmp_path), "RUNTIME_DIRECTORY": str(tmp_path)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=30, check=True)
    assert done.stdout == "1\n"
    assert f"the outbox cannot use {path.parent}: a pipe, socket or device, not a regular file" in done.stderr


def test_a_clean_stop_tries_once_more(state: Path) -> None:
    is_full = True
    with faulty_disk(lambda step: FULL if is_full and step.kind == "write" else None):
        outbox = opened(state, None)
        put(outbox, *"abc")
        outbox.settle(connected=False)
        is_full = False  # less than a minute later
        outbox.close()
        outbox = opened(state, None)
        assert payloads(outbox) == list("abc")
        outbox.close()


def test_a_second_process_does_not_take_the_events_of_the_first(
    state: Path, runtime: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    first = opened(state, runtime, clock)
    put(first, "a")
    first.settle(connected=False)
    second = opened(state, runtime, clock)
    put(second, "b")
    second.settle(connected=False)
    assert (payloads(first), payloads(second)) == (["a"], ["b"])
    assert sum("another affectd is using it" in message for message in caplog.messages) == 2
    first.close()
    clock.now += 60
    second.settle(connected=False)
    assert payloads(second) == ["a", "b"]
    assert sum("again" in message for message in caplog.messages) == 2
    second.close()


def test_put_does_not_wait_for_a_disk_that_hangs(state: Path, runtime: Path) -> None:
    hangs, goes_on = threading.Event(), threading.Event()

    def before(step: Step) -> Answer:
        if Path(step.path).parent == state and step.kind == "sync":
            hangs.set()
            assert goes_on.wait(60)
        return None

    with faulty_disk(before):
        outbox = opened(state, runtime)
        put(outbox, "a")
        voice = threading.Thread(target=outbox.settle, args=(False,))
        pipeline = threading.Thread(target=put, args=(outbox, *"bcdef"))
        voice.start()
        try:
            assert hangs.wait(60)
            pipeline.start()
            pipeline.join(30)
            assert not pipeline.is_alive()
            assert len(outbox) >= 5  # so the telemetry does not wait either
            assert voice.is_alive()
            goes_on.set()
            voice.join(60)
            assert payloads(outbox) == list("abcdef")
        finally:
            goes_on.set()
            voice.join(60)
            pipeline.join(60)
            outbox.close()


def test_what_is_dropped_while_the_disk_is_written_is_counted_once(state: Path, runtime: Path, clock: Clock) -> None:
    outbox = opened(state, runtime, clock, max_events=1)
    later = iter("bcd")

    def before(step: Step) -> Answer:
        if step.kind == "write" and Path(step.path).parent == state and (event := next(later, None)):
            outbox.put(event)
        return None

    put(outbox, "a")
    with faulty_disk(before):
        for _ in range(4):
            outbox.settle(connected=False)
    assert (payloads(outbox), outbox.n_dropped, outbox.n_lost) == (["d"], 3, 3)
    outbox.close()
    reopened = opened(state, runtime, clock)
    assert payloads(reopened) == ["d"]
    reopened.close()


def test_no_child_keeps_the_file_locked(state: Path, runtime: Path, caplog: pytest.LogCaptureFixture) -> None:
    outbox = opened(state, runtime)
    put(outbox, "a")
    outbox.settle(connected=False)
    put(outbox, "b")
    with subprocess.Popen(["sleep", "60"], close_fds=False) as child:
        outbox.close()
        outbox = opened(state, runtime)
        put(outbox, "c")
        assert payloads(outbox) == list("abc")
        child.kill()
    outbox.close()
    assert caplog.messages == []


def test_a_file_stays_locked_when_another_takes_its_place(
    state: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_SMALL_BYTES", 0)
    first = opened(state, None, clock)
    put(first, *"abcdef")
    first.settle(connected=False)
    file = (state / NAME).stat().st_ino
    deliver(first, 4)
    clock.now += 10
    first.settle(connected=True)
    assert (state / NAME).stat().st_ino != file
    second = opened(state, None, clock)
    put(second, "g")
    second.settle(connected=False)
    assert (payloads(first), payloads(second)) == (["e", "f"], ["g"])
    first.close()
    second.close()


@pytest.fixture(params=[False, True], ids=["appended", "rewritten"])
def sometimes_rewritten(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a file that is rewritten only when it is large, and with one that is as soon as half of it is dead."""
    if request.param:
        monkeypatch.setattr(journal, "_SMALL_BYTES", 0)


def grows(step: Step) -> bool:
    """Return whether a step needs room on the disk."""
    size = Path(step.path).stat().st_size if Path(step.path).exists() else 0
    return step.kind in ("open", "mkdir") or (step.kind == "write" and step.offset + len(step.data) > size)


@pytest.mark.parametrize("place", ["state", "run"])
@pytest.mark.parametrize("fault", ["an error", "errors", "a full disk", "a part of a write"])
@pytest.mark.usefixtures("sometimes_rewritten")
def test_an_error_at_any_step_loses_nothing(
    in_memory: Path, fault: str, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether one step fails or all that follow, until it is tried again a minute later."""
    for bad in range(1, 1000):
        folder = in_memory / f"{bad}"
        folder.mkdir()
        clock, n_steps, is_over, made, delivered = Clock(), 0, False, list("abcdefghijkl"), set()

        def before(step: Step) -> Answer:
            nonlocal n_steps
            if place not in (Path(step.path).parent.name, Path(step.path).name):
                return None
            n_steps += 1
            if is_over or n_steps < bad or (fault == "an error" and n_steps > bad):  # noqa: B023
                return None
            if fault == "a part of a write":
                return PART if step.kind == "write" else None
            if fault == "a full disk":
                return FULL if grows(step) else None
            return IO_ERROR

        def left() -> list[str]:
            there = payloads(outbox)  # noqa: B023
            assert there == sorted(there)
            return [event for event in there if event not in delivered]  # noqa: B023

        def deliver_some() -> None:
            due = outbox.pending(0, 2)  # noqa: B023
            delivered.update(event for _, event in due)  # noqa: B023
            outbox.delivered([sequence for sequence, _ in due])  # noqa: B023

        caplog.clear()
        with faulty_disk(before):
            outbox = opened(folder / "state", folder / "run", clock)
            put(outbox, *made[:4])
            outbox.settle(connected=False)
            put(outbox, *made[4:8])
            deliver_some()
            clock.now += 1.5
            outbox.settle(connected=True)
            put(outbox, *made[8:10])
            deliver_some()
            clock.now += 1.5
            outbox.settle(connected=True)
            put(outbox, *made[10:])
            if fault != "errors":  # what cannot even be read cannot be there
                assert left() == made[4:], bad
            is_over = True
            clock.now += 60.0
            outbox.settle(connected=False)
            assert left() == [event for event in made if event not in delivered], bad
            assert outbox.on_disk == len(outbox) <= 12, bad
            outbox.close()
        outbox = opened(folder / "state", None)
        assert left() == [event for event in made if event not in delivered], bad
        outbox.close()
        shutil.rmtree(folder)
        if n_steps < bad:
            assert bad > 10
            return
        assert len(caplog.messages) <= 2, (bad, caplog.messages)
    raise AssertionError


def test_a_quota_takes_a_part_first_and_is_called_one(
    state: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([PART, errno.EDQUOT])
    outbox = opened(state, None, clock)
    put(outbox, "a")
    outbox.settle(connected=False)
    with faulty_disk(lambda step: next(answers, None) if step.kind == "write" else None):
        put(outbox, "b")
        outbox.settle(connected=False)
    assert "the quota is used up" in caplog.text
    assert (payloads(outbox), outbox.on_disk) == (["a", "b"], 1)
    clock.now += 60
    outbox.settle(connected=False)
    outbox.close()
    outbox = opened(state, None, clock)
    assert payloads(outbox) == ["a", "b"]
    outbox.close()


def test_a_disk_without_room_for_a_second_file_goes_on_with_the_first(
    state: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journal, "_SMALL_BYTES", 0)
    n_attempts = 0

    def before(step: Step) -> Answer:
        nonlocal n_attempts
        if not step.path.endswith(".new") or step.kind not in ("write", "sync"):
            return None
        n_attempts += 1
        return FULL

    with faulty_disk(before):
        outbox = opened(state, None, clock)
        put(outbox, *"abcdefgh")
        outbox.settle(connected=False)
        deliver(outbox, 6)
        outbox.settle(connected=True)
        assert n_attempts == 1
        assert {file.name for file in state.iterdir()} == {NAME}
        put(outbox, "i")
        outbox.settle(connected=False)
        assert (outbox.on_disk, n_attempts) == (2, 1)
        clock.now += 60
        outbox.settle(connected=False)
        assert (outbox.on_disk, n_attempts) == (3, 1)
        assert payloads(outbox) == list("ghi")
        outbox.close()
    assert "the disk is full" in caplog.messages[0]
    outbox = opened(state, None, clock)
    assert payloads(outbox) == list("ghi")
    outbox.close()


def test_a_delivery_that_a_full_disk_cannot_note_is_not_forgotten_when_the_file_is_read_again(
    state: Path, clock: Clock
) -> None:
    outbox = opened(state, None, clock)
    put(outbox, *"abcdef")
    outbox.settle(connected=False)
    deliver(outbox, 2)
    file = state / NAME
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:3], b"nonsense\n", *lines[4:]]))
    with faulty_disk(lambda step: FULL if step.kind == "write" else None):
        assert payloads(outbox) == []  # it is found out, and the file is closed
        clock.now += 60
        outbox.settle(connected=True)
        assert payloads(outbox) == list("cef")
        outbox.close()


@pytest.mark.parametrize("is_waiting", [False, True])
@pytest.mark.parametrize("name", ["state", "run"])
def test_a_folder_that_was_deleted_is_made_anew(tmp_path: Path, clock: Clock, name: str, is_waiting: bool) -> None:
    outbox = opened(tmp_path / "state", tmp_path / "run", clock)
    put(outbox, "a")
    if name == "state":
        outbox.settle(connected=False)
    if not is_waiting:
        deliver(outbox)
        outbox.settle(connected=True)
    shutil.rmtree(tmp_path / name)
    put(outbox, "b")
    outbox.settle(connected=False)
    clock.now += 60
    outbox.settle(connected=False)
    put(outbox, "c")
    outbox.settle(connected=False)
    left = ["a", "b", "c"] if is_waiting else ["b", "c"]
    assert outbox.on_disk == len(left)
    assert payloads(outbox) == left
    assert (tmp_path / name).exists()
    outbox.close()
    outbox = opened(tmp_path / "state", None)
    assert payloads(outbox) == left
    outbox.close()


@pytest.mark.parametrize("is_quiet", [False, True])
@pytest.mark.parametrize("what", ["deleted", "renamed", "replaced", "folder renamed"])
@pytest.mark.parametrize("name", ["state", "run"])
def test_a_file_that_another_program_takes_away_is_written_anew(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture, name: str, what: str, is_quiet: bool
) -> None:
    """What waits in it is not lost, whether an event follows or only the end."""
    outbox = opened(tmp_path / "state", tmp_path / "run", clock)
    put(outbox, *"abc")
    if name == "state":
        outbox.settle(connected=False)
        deliver(outbox, 1)  # which the file does not say yet
    left, file = list("bc" if name == "state" else "abc"), tmp_path / name / NAME
    sentence = f"{file} was deleted or replaced; the {len(left)} events in it are written anew"
    if what == "deleted":
        file.unlink()
    elif what == "folder renamed":
        file.parent.rename(tmp_path / "elsewhere")
    else:
        file.rename(file.with_name("old"))
    if what == "replaced":
        file.write_bytes(b"")
    if not is_quiet:
        put(outbox, "d")
        left.append("d")
        assert payloads(outbox) == left
    outbox.close()
    assert caplog.messages == [sentence]
    outbox = opened(tmp_path / "state", None)
    assert payloads(outbox) == left
    outbox.close()


def test_what_was_taken_away_and_cannot_be_written_anew_is_said_to_be_lost(
    state: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = opened(state, None, clock)
    put(outbox, *"abc")
    outbox.settle(connected=False)
    (state / NAME).unlink()
    (state / NAME).mkdir()
    outbox.settle(connected=False)
    assert payloads(outbox) == list("abc")  # a broker may still get them
    outbox.close()
    assert "Is a directory" in caplog.messages[0]
    assert caplog.messages[-1] == "3 events that could not be written are lost"


@pytest.mark.parametrize("content", [b"", b"nonsense\n"])
def test_a_file_that_another_program_empties_is_said_to_lose_events(
    state: Path, clock: Clock, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    outbox = opened(state, None, clock)
    put(outbox, *"abc")
    outbox.settle(connected=False)
    (state / NAME).write_bytes(content)
    put(outbox, "d")
    outbox.settle(connected=False)
    assert (payloads(outbox), outbox.on_disk) == (["d"], 1)
    assert caplog.messages[0] == f"{state / NAME} was changed by another program; 3 events in it are lost"
    outbox.close()
    outbox = opened(state, None)
    assert payloads(outbox) == ["d"]
    outbox.close()


@pytest.mark.parametrize("n_lines", [0, 1, 3])
@pytest.mark.parametrize("when", ["at the start", "when it is rewritten"])
def test_what_a_disk_does_not_let_read_is_there_when_it_does(
    state: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, n_lines: int, when: str
) -> None:
    class Unreadable:
        def __init__(self, file: int, mode: str, *, closefd: bool) -> None:
            self._file = open(file, mode, closefd=closefd)  # noqa: SIM115
            self.fileno = self._file.fileno
            self._left = n_lines

        def __enter__(self) -> Unreadable:
            return self

        def __exit__(self, *error: object) -> None:
            self._file.close()

        def readline(self, most: int) -> Any:
            if not self._left:
                raise OSError(errno.EIO, "unreadable")
            self._left -= 1
            return self._file.readline(most)

    outbox = opened(state, None, clock)
    put(outbox, *"abcdefgh")
    outbox.settle(connected=False)
    if when == "at the start":
        outbox.close()
        monkeypatch.setattr(journal, "open", Unreadable, raising=False)
        outbox = opened(state, None, clock)
        left = [*"abcdefgh", "new"]
    else:
        monkeypatch.setattr(journal, "_SMALL_BYTES", 0)
        monkeypatch.setattr(journal, "open", Unreadable, raising=False)
        deliver(outbox, 6)
        left = ["g", "h", "new"]
    put(outbox, "new")
    for _ in range(3):
        outbox.settle(connected=False)
        clock.now += 60
    monkeypatch.undo()
    outbox.settle(connected=False)
    assert payloads(outbox) == left
    outbox.close()
    outbox = opened(state, None)
    assert payloads(outbox) == left
    outbox.close()


def test_while_the_disk_hangs_events_are_delivered_and_forgotten_and_none_comes_twice_later(
    state: Path, runtime: Path, clock: Clock
) -> None:
    outbox = opened(state, runtime, clock)
    put(outbox, "a")
    outbox.settle(connected=False)
    assert outbox.on_disk == 1
    put(outbox, "b")
    go_on, hangs = threading.Event(), threading.Event()

    def before(step: Step) -> Answer:
        if step.kind == "sync":
            hangs.set()
            assert go_on.wait(30.0)
        return None

    with faulty_disk(before):
        settling = threading.Thread(target=outbox.settle, args=(False,))
        settling.start()
        assert hangs.wait(30.0)
        put(outbox, "c")
        assert payloads(outbox) == ["b", "c"]
        outbox.delivered([sequence for sequence, _ in outbox.pending(0, 10)])
        assert payloads(outbox) == []
        go_on.set()
        settling.join(30.0)
        outbox.settle(connected=True)
    assert payloads(outbox) == ["a"]
    outbox.close()
    again = opened(state, runtime, clock)
    assert payloads(again) == ["a"]
    again.close()
