"""Events that an older version left in an SQLite database are taken over at the first start."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from itertools import count
from pathlib import Path

import pytest

from faulty_disk import FULL, HALF, IO_ERROR, Answer, Step, faulty_disk
from outboxes import (
    EVENT,
    NAME,
    OLD_NAME,
    Clock,
    deliver,
    filled,
    insert_old,
    many,
    old_database,
    opened,
    payloads,
    put,
)


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_what_waits_in_both_folders_is_taken_over_once_and_in_order(
    state: Path, runtime: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    old_database(state, ["a", "Glück\n\0", "c"])
    old_database(runtime, ["c", "d", EVENT], first=3)  # a move that was cut off: one is in both
    outbox = opened(state, runtime, clock)
    assert payloads(outbox) == ["a", "Glück\n\0", "c", "d", EVENT]
    assert (len(outbox), outbox.on_disk, outbox.n_dropped) == (5, 3, 0)
    assert (names(state), names(runtime)) == ({NAME}, {NAME})
    put(outbox, "new")
    outbox.settle(connected=False)
    assert outbox.on_disk == 6
    deliver(outbox, 5)
    outbox.close()
    outbox = opened(state, runtime, clock)
    assert payloads(outbox) == ["new"]
    outbox.close()
    assert caplog.messages == []


def test_without_an_old_database_sqlite_is_not_even_loaded(state: Path, runtime: Path) -> None:
    code = f"""
import sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from affectd.outbox.outbox import Outbox
outbox = Outbox(Path({str(state)!r}), Path({str(runtime)!r}), max_events=10, max_bytes=1000)
outbox.put("a")
outbox.settle(False)
outbox.close()
print([name for name in sys.modules if "sqlite" in name])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    old_database(state, ["b"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'sqlite3'" in done.stdout


def test_the_bounds_hold_for_what_is_taken_over(state: Path, runtime: Path) -> None:
    old_database(state, many(1000))
    outbox = opened(state, runtime, max_events=100)
    assert payloads(outbox) == many(1000)[-100:]
    outbox.close()


def test_a_transaction_that_the_power_cut_off_is_undone(state: Path) -> None:
    file = old_database(state, many(200))
    child = os.fork()
    if child == 0:
        database = sqlite3.connect(file, isolation_level=None)
        database.execute("PRAGMA cache_size=2")
        database.execute("BEGIN EXCLUSIVE")
        database.execute("DELETE FROM events WHERE sequence < 100")
        insert_old(database, many(300), 1000)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert names(state) == {OLD_NAME, OLD_NAME + "-journal"}
    outbox = opened(state, None)
    assert payloads(outbox) == many(200)
    outbox.close()
    assert names(state) == {NAME}


def test_an_older_version_that_still_runs_is_not_robbed(
    state: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    file = old_database(state, ["a"])
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.execute("PRAGMA locking_mode=EXCLUSIVE")
        database.execute("BEGIN EXCLUSIVE")
        outbox = opened(state, None, clock)
        put(outbox, "b")
        outbox.settle(connected=False)
        assert payloads(outbox) == ["b"]
    clock.now += 60
    outbox.settle(connected=False)
    assert payloads(outbox) == ["a", "b"]
    assert [message.split(": ")[1].split(";")[0] for message in caplog.messages[:1]] == ["another affectd is using it"]
    assert "again" in caplog.messages[1]
    outbox.close()


class Death(BaseException):
    """The process has ended."""


@pytest.mark.parametrize("fault", ["death", "half a write", "an error", "errors", "a full disk"])
def test_a_fault_at_any_step_loses_nothing(in_memory: Path, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the process dies there, or the disk fails there or from there on until the next start."""

    def dies() -> None:
        raise Death

    monkeypatch.setattr("faulty_disk.die", dies)
    for bad in count(1):
        state, n_steps = in_memory / f"{bad}", 0
        old_database(state, many(600))

        def before(step: Step) -> Answer:
            nonlocal n_steps
            n_steps += 1
            if n_steps < bad or (n_steps > bad and fault == "an error"):  # noqa: B023
                return None
            if fault == "death" or (fault == "half a write" and step.kind != "write"):
                raise Death
            return {"half a write": HALF, "a full disk": FULL if step.kind in ("open", "write") else None}.get(
                fault, IO_ERROR
            )

        with faulty_disk(before), suppress(Death):
            opened(state, None, Clock()).close()
        outbox = opened(shutil.copytree(state, in_memory / f"{bad}-left"), None)
        assert payloads(outbox) == many(600), bad
        assert len(outbox) == outbox.on_disk == 600
        outbox.close()
        assert names(in_memory / f"{bad}-left") - {NAME + ".new"} == {NAME}
        if n_steps < bad:
            assert bad > 8
            return


@pytest.mark.parametrize("page", [1, 2, 3, 5, 9])
def test_of_a_database_with_one_bad_page_what_can_be_read_is_saved(
    state: Path, page: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The first two pages hold the structure; without the structure nothing can be found."""
    file = old_database(state, many(200))
    content = bytearray(file.read_bytes())
    content[4096 * (page - 1) : 4096 * page] = b"\xff" * 4096
    file.write_bytes(content)
    outbox = opened(state, None)
    left = payloads(outbox)
    put(outbox, "new")
    outbox.close()
    assert len(left) == 0 if page < 3 else len(left) >= 180
    assert left == [event for event in many(200) if event in set(left)]
    assert (state / f"{OLD_NAME}.broken").read_bytes() == bytes(content)
    assert len(caplog.messages) == 1
    assert f"{len(left)} events in it could be saved" in caplog.messages[0]
    assert caplog.records[0].levelname == "WARNING"
    outbox = opened(state, None)
    assert payloads(outbox) == [*left, "new"]
    outbox.close()
    assert len(caplog.messages) == 1
    assert names(state) == {NAME, OLD_NAME + ".broken"}


@pytest.mark.parametrize("length", [0, 1, 15, 100, 511, 512, 4095, 4096, 4097, 8192, 10_000, 15_000])
def test_a_truncated_database_gives_what_is_left(state: Path, length: int) -> None:
    file = old_database(state, many(60))
    file.write_bytes(file.read_bytes()[:length])
    outbox = opened(state, None)
    left = payloads(outbox)
    assert left == [event for event in many(60) if event in set(left)]
    assert len(left) >= (15 if length == 15_000 else 0)
    outbox.close()


@pytest.mark.parametrize(
    ("change", "n"),
    [
        ("sequence = 9223372036854775807", 1),
        ("sequence = -1", 1),
        ("sequence = 1007", 1),
        ("payload = 'nonsense'", 1),
        ("payload = CAST(x'ff' AS TEXT)", 1),
        ("crc = NULL", 1),
        ("made = 'nonsense'", 0),
    ],
)
def test_a_damaged_row_is_not_published_and_spoils_no_others(state: Path, change: str, n: int) -> None:
    file = old_database(state, many(20))
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(f"UPDATE events SET {change} WHERE sequence = 6")
    outbox = opened(state, None)
    put(outbox, "new")
    assert payloads(outbox) == [*many(20)[:5], *many(20)[5 + n :], "new"]
    outbox.close()


@pytest.mark.parametrize(
    "change", [(b"INTEGER P", b"INTEGEB P"), (b"INTEGER P", b"INTEGER$P"), (b"(sequence", b"(seq\xf5ence")]
)
def test_a_damaged_schema_costs_no_event(state: Path, change: tuple[bytes, bytes]) -> None:
    file = old_database(state, many(20))
    file.write_bytes(file.read_bytes().replace(*change, 1))
    outbox = opened(state, None)
    assert payloads(outbox) == many(20)
    outbox.close()


@pytest.mark.parametrize("content", [b"\0" * 8192, b"not a database\n" * 1000, bytes(range(256)) * 64])
@pytest.mark.parametrize("suffix", ["", "-journal", "-wal"])
def test_nonsense_in_place_of_a_database_does_no_harm(state: Path, content: bytes, suffix: str) -> None:
    for _ in range(3):
        if suffix:
            old_database(state, ["old"])
        else:
            filled(state, 1)
        (state / (OLD_NAME + suffix)).write_bytes(content)
        outbox = opened(state, None)
        assert payloads(outbox) == (["old"] if suffix else many(1))
        put(outbox, "new")
        deliver(outbox)
        outbox.close()
    assert len(list(state.glob("*.broken*"))) == (0 if suffix else 1)


def test_a_database_of_another_program_is_set_aside(state: Path) -> None:
    state.mkdir()
    with closing(sqlite3.connect(state / OLD_NAME)) as database, database:
        database.execute("CREATE TABLE events (id TEXT)")
        database.execute("PRAGMA user_version=7")
    outbox = opened(state, None)
    put(outbox, "a")
    outbox.settle(connected=False)
    assert outbox.on_disk == 1
    outbox.close()
    with closing(sqlite3.connect(state / f"{OLD_NAME}.broken")) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (7,)
