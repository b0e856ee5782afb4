"""Muting: it survives a restart, nonsense changes nothing, and no disk can keep it from working."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from affectd.mqtt import mute as mute_module
from affectd.mqtt.mute import Mute
from broker import wait_until
from faulty_disk import FULL, Step, faulty_disk


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_muting_survives_a_restart_and_so_does_its_end(tmp_path: Path) -> None:
    folder = tmp_path / "lib" / "affectd"  # it is not made yet
    assert not Mute(folder).is_muted
    for muted in (True, False, True, True, False):
        mute = Mute(folder)
        mute.set(muted)
        assert mute.is_muted is muted
        assert Mute(folder).is_muted is muted


@pytest.mark.parametrize("is_folder", [False, True])
def test_muting_survives_a_restart_although_its_file_was_deleted(tmp_path: Path, is_folder: bool) -> None:
    """As with all of the state folder: the microphone that a command has closed must not be open after that."""
    folder = tmp_path / "state"
    mute = Mute(folder)
    mute.set(True)
    (folder / "muted").unlink()
    if is_folder:
        folder.rmdir()
    mute.close()
    assert Mute(folder).is_muted


def test_muting_survives_a_kill_right_after_it(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys, pathlib, affectd.mqtt.mute\n"
        "affectd.mqtt.mute.Mute(pathlib.Path(sys.argv[1])).set(True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert Mute(tmp_path).is_muted


def test_it_is_on_the_disk_when_set_returns_and_what_says_nothing_new_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    fsync = os.fsync

    def noted(file: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{file}")))
        fsync(file)

    monkeypatch.setattr(os, "fsync", noted)
    mute = Mute(tmp_path)
    mute.set(False)
    assert synced == []
    mute.set(True)
    assert tmp_path in synced  # the name is what counts
    synced.clear()
    before = tmp_path.stat().st_mtime_ns
    for _ in range(100):
        mute.command(b"OFF", retained=False)
    assert synced == []
    assert tmp_path.stat().st_mtime_ns == before
    mute.set(False)
    assert synced == [tmp_path]


def test_without_a_place_to_keep_it_it_works_and_says_once_that_a_restart_ends_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    mute = Mute(None)
    for muted in (True, False, True):
        mute.set(muted)
        assert mute.is_muted is muted
    assert warnings(caplog) == [
        "whether it is muted cannot be saved and is lost at a restart: there is no state directory"
    ]


def test_a_disk_that_fails_for_some_time_is_complained_of_once_and_then_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "state"
    folder.write_text("no folder")
    mute = Mute(folder)
    for muted in (True, False, True):
        mute.set(muted)
        assert mute.is_muted is muted
    assert len(warnings(caplog)) == 1
    assert "lost at a restart" in warnings(caplog)[0]
    folder.unlink()
    mute.set(True)  # nothing new, but it is not kept yet
    assert Mute(folder).is_muted
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize("failing", ["open", "fsync", "unlink"])
def test_whatever_the_disk_refuses_the_wish_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, caplog: pytest.LogCaptureFixture
) -> None:
    mute = Mute(tmp_path)
    if failing == "unlink":
        mute.set(True)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, refuse)
        mute.set(failing != "unlink")
    assert mute.is_muted is (failing != "unlink")
    assert len(warnings(caplog)) == 1
    mute.set(mute.is_muted)
    assert Mute(tmp_path).is_muted is mute.is_muted


def test_if_it_cannot_be_known_whether_it_was_muted_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "loop").symlink_to("loop")
    mute = Mute(tmp_path / "loop")
    assert mute.is_muted
    assert len(warnings(caplog)) == 1
    assert "stays closed" in warnings(caplog)[0]
    mute.set(False)
    assert not mute.is_muted


def test_what_many_threads_ask_for_at_once_is_kept_as_it_holds(tmp_path: Path) -> None:
    for _ in range(20):
        mute = Mute(tmp_path)
        threads = [threading.Thread(target=mute.set, args=(n % 2 == 0,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert Mute(tmp_path).is_muted is mute.is_muted


def test_on_and_off_are_obeyed(tmp_path: Path) -> None:
    mute = Mute(tmp_path)
    for payload, muted in ((b"OFF", True), (b"OFF", True), (b"ON", False), (b"OFF", True)):
        assert mute.command(payload, retained=False)
        assert mute.is_muted is muted
    assert mute.command(bytearray(b"ON"), retained=False)  # as some versions of the client deliver it
    assert not mute.is_muted


@given(payload=st.binary(max_size=100), retained=st.booleans(), muted=st.booleans())
@example(payload=b"on", retained=False, muted=True)
@example(payload=b"ON\n", retained=False, muted=True)
@example(payload=b" OFF", retained=False, muted=False)
@example(payload=b"", retained=False, muted=False)
@example(payload=b"OFF" * 1_000_000, retained=False, muted=False)
@example(payload=b"ON", retained=True, muted=True)
@example(payload=b"OFF", retained=True, muted=False)
def test_nonsense_and_retained_commands_change_nothing(payload: bytes, retained: bool, muted: bool) -> None:
    mute = Mute(None)
    mute.set(muted)
    if payload in (b"ON", b"OFF") and not retained:
        return
    assert not mute.command(payload, retained)
    assert mute.is_muted is muted


def test_nonsense_is_logged_in_characters_that_can_be_seen_and_at_most_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    mute = Mute(None, clock=lambda: now)
    for second in range(150):
        now = float(second)
        mute.command(b"\x1b[2J\n" + b"x" * 1000, retained=False)
    assert len(warnings(caplog)) == 3
    assert all(line.isprintable() and len(line) < 200 for line in warnings(caplog))
    assert "only ON and OFF" in warnings(caplog)[0]
    now = 1000.0
    mute.command(b"OFF", retained=True)
    assert "retained" in warnings(caplog)[-1]


def test_a_storm_of_commands_costs_a_bounded_number_of_writes_and_a_closed_microphone_stays_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_synced = 0
    fsync = os.fsync

    def counted(file: int) -> None:
        nonlocal n_synced
        n_synced += 1
        fsync(file)

    monkeypatch.setattr(os, "fsync", counted)
    now = 0.0
    mute = Mute(tmp_path, lambda: now)
    for minute in range(3):
        for _ in range(1000):
            assert mute.command(b"OFF", retained=False)
            assert Mute(tmp_path).is_muted, "at once, whatever came before"
            assert mute.command(b"ON", retained=False)
            assert not mute.is_muted
        assert n_synced <= (minute + 1) * 25
        now += 61.0
    mute.close()
    assert not Mute(tmp_path).is_muted


def test_an_opening_that_had_to_wait_is_written_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("affectd.mqtt.mute._WRITES_SECONDS", 0.5)
    mute = Mute(tmp_path)
    for _ in range(50):
        mute.set(True)
        mute.set(False)
    assert Mute(tmp_path).is_muted
    wait_until(lambda: not Mute(tmp_path).is_muted)


def test_a_disk_that_hangs_holds_up_no_command_and_gets_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mute_module, "_HANG_SECONDS", 0.1)
    go_on, fsync = threading.Event(), os.fsync

    def hanging(file: int) -> None:
        assert go_on.wait(30.0)
        fsync(file)

    monkeypatch.setattr(os, "fsync", hanging)
    mute = Mute(tmp_path)
    done = threading.Event()

    def commands() -> None:
        for word in (b"OFF", b"ON", b"OFF", b"ON"):
            assert mute.command(word, retained=False)
        mute.close()
        done.set()

    threading.Thread(target=commands, daemon=True).start()
    assert done.wait(5.0)
    assert not mute.is_muted
    assert warnings(caplog)[0] == f"whether it is muted is not saved yet: {tmp_path} hangs"
    go_on.set()
    wait_until(lambda: not (tmp_path / "muted").exists())


def test_what_a_full_disk_refused_is_kept_by_itself_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("affectd.mqtt.mute._WRITES_SECONDS", 0.2)
    n_tried = 0

    def refuse(step: Step) -> int:
        nonlocal n_tried
        n_tried += 1
        return FULL

    mute = Mute(tmp_path)
    with faulty_disk(refuse):
        mute.set(True)
        wait_until(lambda: n_tried > 2)
    wait_until(lambda: Mute(tmp_path).is_muted)
    assert len(warnings(caplog)) == 1


def test_after_the_end_nothing_is_written_any_more(tmp_path: Path) -> None:
    mute = Mute(tmp_path)
    with faulty_disk(lambda step: FULL):
        mute.set(True)
        mute.close()
    assert mute._later is None  # the folder may be that of the next run
