from __future__ import annotations

import os
import random
import shutil
import sqlite3
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from affectd.outbox import Outbox
from faulty_disk import FULL, IO_ERROR, Answer, Step, faulty_disk, needs_faulty_disk

NAME = "outbox.sqlite"
# For tests with thousands of transactions, that would take minutes on a real disk.
IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
EVENT = '{"type": "emotion", "label": "happy", "note": "' + "x" * 550 + '"}'


class Clock:
    """Goes when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def in_memory() -> Iterator[Path]:
    with TemporaryDirectory(dir=IN_MEMORY) as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "affectd")


def opened(
    state: Path | None,
    runtime: Path | None,
    clock: Clock | None = None,
    *,
    max_events: int = 1000,
    max_bytes: int = 1_000_000,
) -> Outbox:
    return Outbox(state, runtime, max_events=max_events, max_bytes=max_bytes, clock=clock or time.monotonic)


def payloads(outbox: Outbox, n: int = 100_000) -> list[str]:
    return [payload for _, payload in outbox.pending(0, n)]


def put(outbox: Outbox, *events: str) -> None:
    for event in events:
        outbox.put(event)


def deliver(outbox: Outbox, n: int = 100_000) -> None:
    outbox.delivered([sequence for sequence, _ in outbox.pending(0, n)])


def died(*folders: Path) -> list[Path]:
    """Return copies of what a process that dies now would leave."""
    copies = []
    for folder in folders:
        copies.append(folder.with_name(folder.name + "-left"))
        shutil.rmtree(copies[-1], ignore_errors=True)
        if folder.exists():
            shutil.copytree(folder, copies[-1])
    return copies


@pytest.fixture(params=["runtime", "memory"])
def outbox(request: pytest.FixtureRequest, state: Path, runtime: Path, clock: Clock) -> Iterator[Outbox]:
    """An outbox with a folder for the runtime, and one without."""
    made = opened(state, runtime if request.param == "runtime" else None, clock)
    yield made
    made.close()


def test_events_come_out_in_order_until_they_are_delivered(outbox: Outbox) -> None:
    put(outbox, "a", "b", "c")
    assert payloads(outbox) == ["a", "b", "c"]
    (first, _), (second, _) = outbox.pending(0, 2)
    assert first < second
    assert [payload for _, payload in outbox.pending(first, 2)] == ["b", "c"]
    outbox.delivered([second])
    assert payloads(outbox) == ["a", "c"]
    outbox.delivered([first, second, 12345])  # again, or never seen: nothing happens
    assert payloads(outbox) == ["c"]
    assert (len(outbox), outbox.n_bytes) == (1, 1)


def test_order_and_numbers_hold_across_the_places(outbox: Outbox) -> None:
    put(outbox, "a", "bb")
    outbox.settle(connected=False)
    put(outbox, "ccc", "dddd")
    assert (outbox.on_disk, len(outbox), outbox.n_bytes) == (2, 4, 10)
    assert payloads(outbox) == ["a", "bb", "ccc", "dddd"]
    assert payloads(outbox, 3) == ["a", "bb", "ccc"]
    deliver(outbox, 3)
    assert payloads(outbox) == ["dddd"]
    assert (outbox.on_disk, len(outbox), outbox.n_bytes) == (0, 1, 4)


def test_a_payload_is_kept_as_it_is(outbox: Outbox) -> None:
    events = ["", "Glück\u2028\0\n", "\U0001f600", "x" * 100_000]
    put(outbox, *events)
    outbox.settle(connected=False)
    put(outbox, *events)
    assert payloads(outbox) == events + events


def test_half_a_character_becomes_its_escape_in_json(outbox: Outbox) -> None:
    outbox.put('{"device": "\udc80"}')
    assert payloads(outbox) == [r'{"device": "\udc80"}']


@needs_faulty_disk
def test_nothing_touches_the_disk_while_everything_is_delivered(state: Path, runtime: Path, clock: Clock) -> None:
    steps: list[Step] = []
    with faulty_disk(steps.append):
        outbox = opened(state, runtime, clock)
        for _ in range(50):
            put(outbox, EVENT, EVENT)
            clock.now += 1.0
            outbox.settle(connected=True)
            deliver(outbox)
        outbox.settle(connected=True)
        outbox.close()
    assert {Path(step.path).parent for step in steps} <= {runtime, runtime.parent}
    assert not state.exists()


@needs_faulty_disk
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
    assert steps == []  # the files were opened before
    outbox.close()
    with faulty_disk(before):
        runtime_fails = False
        outbox = opened(state, runtime, clock, max_events=10)
        steps.clear()
        put(outbox, *"defghijklmnop")
        runtime_fails = True
        put(outbox, *"qrs")
        clock.now += 3600
        put(outbox, *"tuv")
        assert {Path(step.path).parent for step in steps} == {runtime}
        outbox.close()


def test_what_is_not_delivered_in_time_goes_to_the_disk(state: Path, runtime: Path, clock: Clock) -> None:
    outbox = opened(state, runtime, clock)
    outbox.put("a")
    clock.now += 1.0
    outbox.put("b")
    outbox.settle(connected=True)
    assert outbox.on_disk == 0
    clock.now += 1.0
    outbox.settle(connected=True)
    assert outbox.on_disk == 1
    clock.now += 1.0
    outbox.settle(connected=True)
    assert outbox.on_disk == 2
    outbox.close()


def test_without_a_connection_it_goes_to_the_disk_at_once(state: Path, runtime: Path, clock: Clock) -> None:
    outbox = opened(state, runtime, clock)
    put(outbox, *(str(n) for n in range(600)))  # more than one transaction's worth
    outbox.settle(connected=False)
    assert outbox.on_disk == 600
    (left,) = died(state)  # with the power, and with it everything in memory
    outbox.close()
    outbox = opened(left, None)
    assert payloads(outbox) == [str(n) for n in range(600)]
    outbox.close()


def test_what_was_just_put_survives_the_process(state: Path, runtime: Path) -> None:
    outbox = opened(state, runtime)
    put(outbox, *"abc")
    outbox.settle(connected=False)
    put(outbox, *"def")
    deliver(outbox, 1)
    left = died(state, runtime)
    outbox.close()
    outbox = opened(*left)
    assert payloads(outbox)[-5:] == list("bcdef")
    assert set(payloads(outbox)) <= set("abcdef")
    outbox.close()


def test_sequences_rise_over_restarts_whatever_the_time_says(
    state: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = 0
    for hours, dies in ((9, True), (8, True), (7, False), (6, False)):
        monkeypatch.setattr(time, "time_ns", lambda hours=hours: hours * 3600 * 10**9)
        outbox = opened(state, runtime)
        put(outbox, *"ab")
        new = [sequence for sequence, _ in outbox.pending(last, 100)]
        assert len(new) == 2
        assert new == sorted(new)
        last = new[-1]
        if dies:
            state, runtime = died(state, runtime)
        outbox.close()
    monkeypatch.undo()
    outbox = opened(None, None)  # nothing at all is left, but the clock is right
    outbox.put("c")
    assert outbox.pending(last, 1) != []
    outbox.close()


def test_a_clean_stop_loses_nothing_and_leaves_nothing_in_memory(state: Path, runtime: Path) -> None:
    outbox = opened(state, runtime)
    put(outbox, *"abc")
    outbox.close()
    assert list(runtime.iterdir()) == []
    outbox = opened(state, runtime)
    assert payloads(outbox) == list("abc")
    deliver(outbox)
    outbox.close()
    assert [*runtime.iterdir(), *state.iterdir()] == []


@needs_faulty_disk
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


def test_no_file_stays_big_after_an_outage(state: Path, runtime: Path, clock: Clock) -> None:
    outbox = opened(state, runtime, clock, max_events=3000, max_bytes=10_000_000)
    for _ in range(3000):
        outbox.put(EVENT)
    big = (runtime / NAME).stat().st_size
    assert big > 1_500_000
    outbox.settle(connected=False)
    assert (state / NAME).stat().st_size > 1_500_000
    outbox.put(EVENT)
    while len(outbox) > 1:
        deliver(outbox, 100)
        clock.now += 0.01
        outbox.settle(connected=True)
    assert list(state.iterdir()) == []  # not even a small one
    for _ in range(20):
        outbox.settle(connected=True)
    assert (runtime / NAME).stat().st_size < 300_000
    assert payloads(outbox) == [EVENT]
    outbox.close()


def test_only_this_user_may_read_what_waits(state: Path, runtime: Path) -> None:
    outbox = opened(state, runtime)
    put(outbox, "a")
    outbox.settle(connected=False)
    put(outbox, "b")
    for folder in (state, runtime):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        files = list(folder.iterdir())
        assert files
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    outbox.close()


def test_the_oldest_are_dropped_when_there_are_too_many(clock: Clock, runtime: Path) -> None:
    outbox = opened(None, runtime, clock, max_events=5)
    put(outbox, *"abcdefgh")
    assert payloads(outbox) == list("defgh")
    assert (len(outbox), outbox.n_bytes, outbox.n_dropped) == (5, 5, 3)
    outbox.close()


@needs_faulty_disk
def test_the_oldest_are_dropped_wherever_they_are(runtime: Path, clock: Clock) -> None:
    is_full = False
    with faulty_disk(lambda step: FULL if is_full and step.kind == "write" else None):
        outbox = opened(None, runtime, clock, max_events=6)
        put(outbox, *"ab")
        is_full = True
        put(outbox, *"cde")  # into memory
        is_full = False
        clock.now += 60
        put(outbox, *"fghi")
        assert payloads(outbox) == list("defghi")
        outbox.settle(connected=True)
        put(outbox, *"jk")
        assert payloads(outbox) == list("fghijk")
        assert outbox.n_dropped == 5
        outbox.close()


def test_the_oldest_are_dropped_when_they_are_too_big(clock: Clock, runtime: Path) -> None:
    outbox = opened(None, runtime, clock, max_bytes=100)
    put(outbox, "a" * 40, "b" * 40, "c" * 20)
    assert (len(outbox), outbox.n_bytes, outbox.n_dropped) == (3, 100, 0)
    put(outbox, "d" * 30)
    assert [payload[0] for payload in payloads(outbox)] == ["b", "c", "d"]
    assert (outbox.n_bytes, outbox.n_dropped) == (90, 1)
    put(outbox, "e" * 101)  # larger than everything: it drives nobody out
    assert [payload[0] for payload in payloads(outbox)] == ["b", "c", "d"]
    assert outbox.n_dropped == 2
    put(outbox, "f" * 100)
    assert [payload[0] for payload in payloads(outbox)] == ["f"]
    assert outbox.n_dropped == 5
    outbox.close()


def test_the_bounds_hold_for_all_places_together(outbox: Outbox, state: Path, clock: Clock) -> None:
    outbox.close()
    outbox = opened(state, None, clock, max_events=5, max_bytes=50)
    put(outbox, *"abcd")
    outbox.settle(connected=False)
    put(outbox, *"efg")
    outbox.settle(connected=True)
    assert payloads(outbox) == list("cdefg")
    assert outbox.n_dropped == 2
    put(outbox, "h" * 47)
    outbox.settle(connected=True)
    assert [payload[0] for payload in payloads(outbox)] == ["e", "f", "g", "h"]
    for n in range(20):
        outbox.put(str(n))
        outbox.settle(connected=False)
        assert len(outbox) <= 5
        assert outbox.n_bytes <= 50
    assert payloads(outbox) == ["15", "16", "17", "18", "19"]
    assert outbox.n_dropped == 28 - 5
    outbox.close()
    outbox = opened(state, None, clock, max_events=3)  # a smaller bound than the last time
    outbox.settle(connected=True)
    assert payloads(outbox) == ["17", "18", "19"]
    outbox.close()


def test_the_file_on_the_disk_is_bounded_too(state: Path, runtime: Path, clock: Clock) -> None:
    outbox = opened(state, runtime, clock, max_events=200)
    sizes = set()
    for n in range(20):
        for _ in range(100):
            outbox.put(EVENT)
        outbox.settle(connected=False)
        if n > 4:
            sizes.add((state / NAME).stat().st_size)
    assert max(sizes) < 2 * 200 * len(EVENT)
    outbox.close()


def test_one_line_tells_that_events_are_dropped_and_one_that_it_is_over(
    state: Path, caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    outbox = opened(state, None, clock, max_events=10)
    for _ in range(50):
        outbox.put("x")
        outbox.settle(connected=False)
        outbox.settle(connected=False)
    assert caplog.messages == ["the outbox is full; events are being dropped, the oldest first"]
    deliver(outbox, 6)
    outbox.settle(connected=True)
    outbox.settle(connected=True)
    assert caplog.messages[1:] == ["the outbox has room again; 40 events were dropped since the start"]
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


@needs_faulty_disk
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


def grows(step: Step) -> bool:
    """Return whether a step needs room on the disk."""
    size = Path(step.path).stat().st_size if Path(step.path).exists() else 0
    return step.kind in ("open", "mkdir") or (step.kind == "write" and step.offset + len(step.data) > size)


@needs_faulty_disk
@pytest.mark.parametrize("place", ["state", "run"])
@pytest.mark.parametrize("fault", ["an error", "errors", "a full disk"])
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
            if Path(step.path).parent.name != place:
                return None
            n_steps += 1
            if is_over or n_steps < bad or (fault == "an error" and n_steps > bad):  # noqa: B023
                return None
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
            assert bad > 20
            return
        assert len(caplog.messages) <= 2, (bad, caplog.messages)
    raise AssertionError


def filled(folder: Path, n: int = 60) -> list[str]:
    """Leave `n` events in the file of this folder, and return them."""
    outbox = opened(folder, None)
    events = [f"{number:03} {EVENT[: 20 + 37 * number % 550]}" for number in range(n)]
    put(outbox, *events)
    outbox.close()
    return events


@given(draw=st.randoms(use_true_random=False), where=st.sampled_from(["state", "run"]))
@settings(max_examples=60)
def test_a_damaged_file_gives_what_it_has_in_order_and_no_nonsense(draw: random.Random, where: str) -> None:
    with TemporaryDirectory(dir=IN_MEMORY) as folder:
        file = Path(folder) / where / NAME
        events = filled(file.parent)
        content = bytearray(file.read_bytes())
        if draw.random() < 0.5:
            del content[draw.randrange(len(content)) :]
        for _ in range(draw.randrange(4)):
            begin = draw.randrange(len(content) + 1)
            content[begin : begin + draw.choice([1, 16, 512, 4096])] = draw.randbytes(draw.choice([1, 16, 512, 4096]))
        file.write_bytes(content)
        outbox = opened(Path(folder) / "state", Path(folder) / "run")
        left = payloads(outbox)
        assert left == [event for event in events if event in set(left)]
        put(outbox, "new")
        outbox.settle(connected=False)
        assert payloads(outbox) == [*left, "new"]
        outbox.close()
        outbox = opened(Path(folder) / "state", Path(folder) / "run")
        assert payloads(outbox) == [*left, "new"]
        deliver(outbox)
        outbox.settle(connected=True)
        assert len(outbox) == 0
        outbox.close()


@pytest.mark.parametrize("page", [1, 2, 3, 5, 9])
def test_of_a_file_with_one_bad_page_everything_else_is_saved(
    state: Path, page: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The first two pages hold the structure; without the structure nothing can be found."""
    events = filled(state, 200)
    file = state / NAME
    content = bytearray(file.read_bytes())
    content[4096 * (page - 1) : 4096 * page] = b"\xff" * 4096
    file.write_bytes(content)
    outbox = opened(state, None)
    left = payloads(outbox)
    outbox.close()
    assert len(left) == 0 if page < 3 else len(left) >= 180
    assert left == [event for event in events if event in set(left)]
    assert (state / f"{NAME}.broken").read_bytes() == bytes(content)
    assert len(caplog.messages) == 1
    assert f"{len(left)} events in it could be saved" in caplog.messages[0]
    assert caplog.records[0].levelname == "WARNING"


def test_damage_that_only_the_checksum_sees_is_not_published(state: Path, clock: Clock) -> None:
    events = filled(state, 50)
    file = state / NAME
    content = file.read_bytes()
    assert content.count(b"017 ") == 1
    file.write_bytes(content.replace(b"017 ", b"O17 "))
    outbox = opened(state, None, clock)
    put(outbox, "new")
    expected = [*events[:17], *events[18:], "new"]
    assert payloads(outbox) == expected
    deliver(outbox, 20)
    outbox.settle(connected=True)
    assert payloads(outbox) == expected[20:]
    outbox.close()


@pytest.mark.parametrize("sequence", [2**63 - 1, -1, 7])
def test_a_damaged_sequence_spoils_no_others(state: Path, sequence: int) -> None:
    """The highest there can be would leave no room for another."""
    events = filled(state, 20)
    with closing(sqlite3.connect(state / NAME)) as database, database:
        database.execute("UPDATE events SET sequence = ? WHERE CAST(payload AS TEXT) LIKE '005 %'", (sequence,))
    outbox = opened(state, None)
    put(outbox, "new")
    assert payloads(outbox) == [*events[:5], *events[6:], "new"]
    outbox.close()


@pytest.mark.parametrize("length", [0, 1, 15, 100, 511, 512, 4095, 4096, 4097, 8192, 10_000, 15_000])
def test_a_truncated_file_begins_anew_with_what_is_left(state: Path, length: int) -> None:
    events = filled(state, 60)
    file = state / NAME
    file.write_bytes(file.read_bytes()[:length])
    outbox = opened(state, None)
    left = payloads(outbox)
    assert left == [event for event in events if event in set(left)]
    assert len(left) >= (15 if length == 15_000 else 0)
    put(outbox, "new")
    outbox.close()
    outbox = opened(state, None)
    assert payloads(outbox) == [*left, "new"]
    outbox.close()


@pytest.mark.parametrize("content", [b"\0" * 8192, b"not a database\n" * 1000, bytes(range(256)) * 64])
@pytest.mark.parametrize("suffix", ["", "-journal", "-wal"])
def test_nonsense_in_place_of_a_file_does_no_harm(state: Path, content: bytes, suffix: str) -> None:
    events = filled(state)
    for _ in range(3):
        (state / (NAME + suffix)).write_bytes(content)
        outbox = opened(state, None)
        assert payloads(outbox) == (events if suffix else [])
        put(outbox, "new")
        outbox.settle(connected=False)
        assert payloads(outbox)[-1:] == ["new"]
        outbox.delivered([sequence for sequence, _ in outbox.pending(0, 1000)[-1:]])
        outbox.close()
    assert len(list(state.glob("*.broken*"))) == (0 if suffix else 1)


def test_a_file_of_somebody_else_is_set_aside(state: Path) -> None:
    state.mkdir()
    with closing(sqlite3.connect(state / NAME)) as database, database:
        database.execute("CREATE TABLE events (id TEXT)")
        database.execute("PRAGMA user_version=7")
    outbox = opened(state, None)
    put(outbox, "a")
    outbox.settle(connected=False)
    assert outbox.on_disk == 1
    outbox.close()
    with closing(sqlite3.connect(state / f"{NAME}.broken")) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (7,)


def test_a_folder_in_place_of_the_file_degrades_to_memory(
    state: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    (state / NAME).mkdir(parents=True)
    outbox = opened(state, None, clock)
    put(outbox, "a")
    for _ in range(150):
        clock.now += 1
        outbox.settle(connected=False)
    assert payloads(outbox) == ["a"]
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"the outbox cannot use {state}: ")
    outbox.close()
    assert caplog.messages[1:] == ["1 events that nobody could take are lost"]


def test_what_was_dropped_does_not_come_back_after_a_death(state: Path, runtime: Path) -> None:
    outbox = opened(state, runtime, max_events=10, clock=Clock())  # which stands still: nothing is tidied in time
    put(outbox, *"abcd")
    outbox.settle(connected=False)
    put(outbox, *"efghijk")
    for dropped, more in (("a", "l"), ("ab", "")):
        outbox.settle(connected=True)
        assert outbox.n_dropped == len(dropped)
        put(outbox, *more)
    after, before = died(state, runtime)
    outbox.close()
    outbox = opened(after, before, max_events=10)
    assert payloads(outbox) == list("cdefghijkl")
    outbox.close()


def test_there_are_never_too_many_also_after_a_death(state: Path, runtime: Path) -> None:
    outbox = opened(state, runtime, max_events=10, clock=Clock())
    put(outbox, *"abcd")
    outbox.settle(connected=False)
    deliver(outbox, 1)  # leaves the disk with the next `settle`
    put(outbox, *"efghijk")
    after, before = died(state, runtime)
    outbox.close()
    outbox = opened(after, before, max_events=10)
    assert len(outbox) == 10
    assert payloads(outbox) == list("bcdefghijk")
    outbox.close()


def test_a_move_that_was_cut_off_is_finished(state: Path, runtime: Path) -> None:
    outbox = opened(state, runtime)
    put(outbox, *"abc")
    (before,) = died(runtime)
    outbox.settle(connected=False)
    (after,) = died(state)
    outbox.close()
    outbox = opened(after, before)  # on the disk already, but not yet gone from the other place
    assert payloads(outbox) == list("abc")
    assert len(outbox) == 3
    deliver(outbox)
    outbox.settle(connected=True)
    assert (payloads(outbox), len(outbox)) == ([], 0)
    outbox.close()


def test_two_threads_at_once(state: Path, runtime: Path) -> None:
    """One puts, the other delivers while the connection comes and goes: each event once, in order."""
    outbox = opened(state, runtime, max_events=100_000, max_bytes=100_000_000)
    n_events, seen = 5000, []

    def voice() -> None:
        draw, by = random.Random(1), time.monotonic() + 120
        while len(seen) < n_events and time.monotonic() < by:
            outbox.settle(connected=draw.random() < 0.9)
            due = outbox.pending(0, 100)
            seen.extend(payload for _, payload in due)
            outbox.delivered([sequence for sequence, _ in due])

    thread = threading.Thread(target=voice)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        thread.start()
        for n in range(n_events):
            outbox.put(str(n))
        thread.join(150)
    finally:
        sys.setswitchinterval(interval)
    assert seen == [str(n) for n in range(n_events)]
    assert (len(outbox), outbox.n_bytes, outbox.n_dropped) == (0, 0, 0)
    outbox.close()


class Life(RuleBasedStateMachine):
    """Whatever happens in whatever order: what was promised is there, in order, at least once."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = TemporaryDirectory(dir=IN_MEMORY)
        self._n_lives, self._n_made = 0, 0
        self._waiting: list[str] = []  # what has to come, in order
        self._on_disk: set[str] = set()
        self._delivered: set[str] = set()  # may come again after a death
        self._clock = Clock()
        self._begin(None, None)

    def _begin(self, state: Path | None, runtime: Path | None) -> None:
        self._n_lives += 1
        life = Path(self._folder.name) / str(self._n_lives)
        self._state, self._runtime = life / "state", life / "run"
        for old, new in ((state, self._state), (runtime, self._runtime)):
            if old and old.exists():
                shutil.copytree(old, new)
        self._outbox = opened(self._state, self._runtime, self._clock)

    @rule(n=st.integers(1, 300))
    def put(self, n: int) -> None:
        for _ in range(n):
            self._n_made += 1
            event = f"{self._n_made:06} {EVENT[:100]}"
            self._outbox.put(event)
            self._waiting.append(event)
        surplus = max(0, len(self._waiting) - 1000)
        # `settle` drops them, at the latest, and what was delivered and came back after a death.
        if surplus or len(self._outbox) > 1000:
            self._outbox.settle(connected=True)
        del self._waiting[:surplus]

    @rule(n=st.integers(1, 400))
    def deliver(self, n: int) -> None:
        due = self._outbox.pending(0, n)
        self._outbox.delivered([sequence for sequence, _ in due])
        self._delivered.update(event for _, event in due)
        self._waiting = [event for event in self._waiting if event not in self._delivered]

    @rule(connected=st.booleans(), seconds=st.sampled_from([0.0, 1.0, 3.0]))
    def settle(self, connected: bool, seconds: float) -> None:
        self._clock.now += seconds
        self._outbox.settle(connected)
        if not connected:
            self._on_disk.update(self._waiting)

    @rule()
    def stop(self) -> None:
        self._outbox.close()
        self._begin(self._state, self._runtime)
        self._on_disk.update(self._waiting)

    @rule()
    def die(self) -> None:
        old = self._outbox
        self._begin(self._state, self._runtime)
        old.close()

    @rule()
    def lose_power(self) -> None:
        old = self._outbox
        self._begin(self._state, None)
        old.close()
        there = set(payloads(self._outbox))
        assert not [event for event in self._waiting if event in self._on_disk and event not in there]
        self._waiting = [event for event in self._waiting if event in there]

    @invariant()
    def everything_is_there(self) -> None:
        there = payloads(self._outbox)
        assert there == sorted(there)
        assert [event for event in there if event not in self._delivered] == self._waiting
        assert len(there) == len(self._outbox) <= 1000
        assert self._outbox.n_bytes == sum(len(event) for event in there)

    def teardown(self) -> None:
        self._outbox.close()
        self._folder.cleanup()


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=30, stateful_step_count=20)
