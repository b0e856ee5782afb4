"""The life of an outbox, that can be cut off anywhere, and what must be left of it.

As a program it lives that life again and again, dies at every step at which a file is changed, and looks at what
is left; it tells as JSON how often it died and how many events would arrive twice.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from affectd.outbox import journal
from affectd.outbox.outbox import Outbox
from faulty_disk import HALF, Answer, Step, die, faulty_disk

Tell = Callable[[str, str], object]


def open_outbox(state: Path | None, runtime: Path | None, clock: Callable[[], float] = time.monotonic) -> Outbox:
    """Return an outbox with more than enough room."""
    return Outbox(state, runtime, max_events=1000, max_bytes=1_000_000, clock=clock)


def live(state: Path, runtime: Path | None, tell: Tell) -> None:
    """Put, settle and deliver, while the broker comes and goes; `tell` what has happened."""
    now = 0.0
    outbox = open_outbox(state, runtime, lambda: now)
    made = count()

    def put(n: int) -> None:
        for _ in range(n):
            event = f"event {next(made):03} " + "x" * 1300  # three to a page
            outbox.put(event)
            tell("put", event)

    def settle(connected: bool) -> None:
        nonlocal now
        now += 1.5
        outbox.settle(connected)
        if not connected:
            tell("settled", "")

    def deliver(n: int) -> None:
        due = outbox.pending(0, n)
        for _, event in due:
            tell("delivered", event)
        outbox.delivered([sequence for sequence, _ in due])

    put(2)
    settle(connected=True)
    deliver(1)
    put(1)
    settle(connected=True)  # the older of the two has waited for too long
    settle(connected=False)
    put(7)
    settle(connected=False)
    put(1)
    deliver(2)
    settle(connected=True)
    deliver(100)
    settle(connected=True)
    put(2)
    settle(connected=False)
    put(1)
    outbox.close()
    tell("settled", "")


class Witness:
    """Notes what an outbox has promised."""

    def __init__(self) -> None:
        self.put: list[str] = []
        self.delivered: set[str] = set()
        self.settled: list[str] = []

    def tell(self, what: str, event: str) -> None:
        """Note one thing that has happened."""
        if what == "put":
            self.put.append(event)
        elif what == "delivered":
            self.delivered.add(event)
        else:
            self.settled = list(self.put)

    def check(self, left: list[str], *, promised: list[str]) -> int:
        """Check what is `left` of what was `promised` to survive, and return how many would arrive twice."""
        # The last may have been written although `put` has not returned.
        unseen = f"event {len(self.put):03} "
        known = [*self.put, *(event for event in left if event.startswith(unseen))]
        assert left == [event for event in known if event in set(left)], f"not in order, or not ours: {left}"
        missing = [event for event in promised if event not in self.delivered and event not in left]
        assert not missing, f"lost: {missing}"
        return len(self.delivered.intersection(left))


def what_is_left(state: Path | None, runtime: Path | None) -> list[str]:
    """Return the events that a new outbox finds, and see that it works."""
    outbox = open_outbox(state, runtime)
    found = outbox.pending(0, 10_000)
    assert len(outbox) == len(found)
    assert outbox.n_bytes == sum(len(event) for _, event in found)
    outbox.put("new")
    assert [event for _, event in outbox.pending(0, 10_000)] == [event for _, event in found] + ["new"]
    outbox.settle(connected=False)
    outbox.delivered([sequence for sequence, _ in outbox.pending(0, 10_000)])
    outbox.settle(connected=True)
    assert len(outbox) == 0
    outbox.close()
    return [event for _, event in found]


def _in_a_child(function: Callable[[Tell], None], death: int, last: Answer) -> tuple[bool, Witness]:
    """Run `function` in a process that dies at the step with this number, or in the middle of that write.

    Returns whether it did, and its witness.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        steps = count(1)

        def before(step: Step) -> Answer:
            if last is not None and step.kind != "write":
                return None
            if next(steps) == death:
                if last is None:
                    die()
                return last
            return None

        with faulty_disk(before):
            function(lambda what, event: os.write(writer, (json.dumps([what, event]) + "\n").encode()))
        os._exit(0)
    os.close(writer)
    witness = Witness()
    with open(reader) as lines:
        for line in lines:
            witness.tell(*json.loads(line))
    status = os.waitpid(child, 0)[1]
    assert status == 0 or os.WIFSIGNALED(status), "it failed instead of dying"
    return status != 0, witness


def die_at_every_step(folder: Path, last: Answer) -> dict[str, int]:
    """Die in the middle of life."""
    twice = []
    for death in count(1):
        state, runtime = folder / "state", folder / "runtime"
        died, witness = _in_a_child(lambda tell: live(state, runtime, tell), death, last)  # noqa: B023
        # It dies once more as it comes back.
        _in_a_child(lambda _: open_outbox(state, runtime).close(), death % 7 + 1, last)  # noqa: B023
        twice.append(witness.check(what_is_left(state, runtime), promised=witness.put))
        shutil.rmtree(folder)
        if not died:
            return {"deaths": death - 1, "most events twice": max(twice)}
    raise AssertionError


def die_while_mending(folder: Path, last: Answer) -> dict[str, int]:
    """Die while a damaged file is being replaced."""
    whole, mended = folder / "whole", folder / "mended"
    outbox = open_outbox(whole, None)
    for number in range(200):
        outbox.put(f"event {number:03} " + "x" * 300)
    outbox.close()
    content = bytearray((whole / "outbox.journal").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4096] = b"\xff" * 4096
    (whole / "outbox.journal").write_bytes(content)
    shutil.copytree(whole, mended)
    saved = what_is_left(mended, None)
    assert 100 < len(saved) < 200
    for death in count(1):
        state = folder / "state"
        shutil.copytree(whole, state)
        died, _ = _in_a_child(lambda _: open_outbox(state, None).close(), death, last)  # noqa: B023
        assert what_is_left(state, None) == saved, death
        shutil.rmtree(state)
        if not died:
            shutil.rmtree(folder)
            return {"deaths": death - 1, "events saved": len(saved)}
    raise AssertionError


if __name__ == "__main__":
    logging.disable()
    place = Path(sys.argv[1])
    results = {}
    for small in (journal._SMALL_BYTES, 0):  # the file is appended to, and it is rewritten as often as can be
        journal._SMALL_BYTES = small
        for what in (die_at_every_step, die_while_mending):
            for how, last in (("before it", None), ("half-way", HALF)):
                results[f"{what.__name__}, {how}, {small}"] = what(place / "life", last)
    print(json.dumps(results))
