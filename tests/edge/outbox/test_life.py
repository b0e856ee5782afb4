"""The outbox against a model of it, in any order of what can happen."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from affectd.outbox import journal
from faulty_disk import HALF, Answer, Step, faulty_disk
from outboxes import EVENT, IN_MEMORY, Clock, opened, payloads


class Death(BaseException):
    """The process has ended."""


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
        self._patch = pytest.MonkeyPatch()
        self._begin(None, None)

    @initialize(small=st.sampled_from([65536, 2000, 0]))
    def choose_when_a_file_is_rewritten(self, small: int) -> None:
        self._patch.setattr(journal, "_SMALL_BYTES", small)

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

    @rule(
        what=st.sampled_from(["put", "deliver", "settle", "close"]),
        n_steps=st.integers(0, 8),
        last=st.sampled_from([None, HALF]),
        n=st.integers(1, 400),
    )
    def die_in_the_middle(self, what: str, n_steps: int, last: Answer, n: int) -> None:
        def dies() -> None:
            raise Death

        def before(step: Step) -> Answer:
            nonlocal n_steps
            n_steps -= 1
            if n_steps >= 0:
                return None
            if last == HALF and step.kind == "write":
                return HALF
            raise Death

        event = f"{self._n_made + 1:06} {EVENT[:100]}"
        due = self._outbox.pending(0, n)
        with pytest.MonkeyPatch.context() as patch, faulty_disk(before), suppress(Death):
            patch.setattr("faulty_disk.die", dies)
            if what == "put":
                self._n_made += 1
                self._outbox.put(event)
            elif what == "deliver":
                self._outbox.delivered([sequence for sequence, _ in due])
            elif what == "settle":
                self._outbox.settle(connected=False)
            else:
                self._outbox.close()
        old = self._outbox
        self._begin(self._state, self._runtime)
        old.close()
        there = payloads(self._outbox)
        if what == "put" and event in there:  # it need not be, as `put` has not returned
            self._waiting.append(event)
            surplus = max(0, len(self._waiting) - 1000)
            self._on_disk.difference_update(self._waiting[:surplus])
            del self._waiting[:surplus]
        elif what == "deliver":  # each of them may come again, and may not
            self._delivered.update(event for _, event in due)
            self._waiting = [event for event in self._waiting if event not in self._delivered]

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
        self._patch.undo()


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=40, stateful_step_count=25)
