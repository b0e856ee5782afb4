from __future__ import annotations

import random
import stat
import sys
import threading
import time
from pathlib import Path

import pytest

from affectd.outbox.outbox import Outbox
from faulty_disk import FULL, Step, faulty_disk
from outboxes import EVENT, NAME, Clock, deliver, died, opened, payloads, put


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


@pytest.mark.parametrize("place", ["state", "runtime"])
def test_a_file_is_bounded_although_something_always_waits(
    state: Path, runtime: Path, clock: Clock, place: str
) -> None:
    """One event is stuck; all others are delivered one by one, without an outage or in one without end."""
    outbox = opened(state, runtime, clock, max_events=3000)
    outbox.put("stuck")
    sizes = []
    for _ in range(600):
        outbox.put(EVENT)
        outbox.settle(connected=place == "runtime")
        outbox.delivered([sequence for sequence, _ in outbox.pending(0, 2)[1:]])
        clock.now += 0.0001 if place == "runtime" else 2.0
        sizes.append(sum(file.stat().st_size for folder in (state, runtime) for file in folder.glob("*")))
    assert max(sizes) < 80_000
    assert payloads(outbox) == ["stuck"]
    outbox.close()


def test_deliveries_after_an_outage_wear_the_disk_little(state: Path, runtime: Path, clock: Clock) -> None:
    outbox = opened(state, runtime, clock, max_events=1000)
    for _ in range(1000):
        outbox.put(EVENT)
    outbox.settle(connected=False)
    steps: list[Step] = []
    with faulty_disk(steps.append):
        for n in range(900):
            deliver(outbox, 1)
            clock.now += 0.01
            if n % 100 == 99:  # every second, as the connection does
                outbox.settle(connected=True)
    on_disk = [step for step in steps if state in (Path(step.path), Path(step.path).parent)]
    assert 9 <= sum(step.kind == "sync" for step in on_disk) <= 20  # once a second, for nine
    assert sum(len(step.data) for step in on_disk) < 1000 * len(EVENT)  # rewritten when half of it was dead
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
    put(outbox, "e" * 101)  # larger than everything: it drives none out
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
