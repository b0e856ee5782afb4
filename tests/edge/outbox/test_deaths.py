"""What a process leaves that dies between two steps."""

from __future__ import annotations

from pathlib import Path

from outboxes import Clock, deliver, died, opened, payloads, put


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
