"""How long all of the training of a command takes, of which a bar shows only one network.

A command that trains several networks plans them with `planned`; every step of a training is counted there. Elsewhere
nothing is planned, and nothing is told.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

LEAST_STEPS = 20
"""Before so many steps nothing is known: the first ones wait for the network to be compiled."""


class Work(NamedTuple):
    """Of one network: the steps of its training, and the recordings it is tested on, which take about as long each."""

    steps: int
    tests: int = 0


class Plan:
    """The work on all networks, one after the other, and how fast it goes.

    Parameters
    ----------
    works
        Of each network, in the order in which they are trained.
    """

    def __init__(self, works: Sequence[Work]) -> None:
        self.works = list(works)
        self._number, self._done, self._seen, self._began = -1, 0, 0, 0.0

    def begin(self, work: Work | None = None) -> None:
        """Note that the next network begins, and what it takes if that is not what was planned."""
        if self._done:  # else it was there already
            self._seen += self.works[self._number].tests
        self._number, self._done = self._number + 1, 0
        if work is not None:
            self.works[self._number] = work

    def step(self, done: int) -> None:
        """Note that so many steps of the network are done, those of an earlier call included."""
        if not self._began:
            self._began = time.monotonic()
        else:
            self._seen += 1
        self._done = done

    def left(self) -> str:
        """Say how long what is left will take, as what was done took with all that was between."""
        if self._seen < LEAST_STEPS:
            return ""
        left = sum(sum(work) for work in self.works[max(self._number, 0) :]) - self._done
        minutes = math.ceil(left * (time.monotonic() - self._began) / self._seen / 60)
        return f"{minutes} {'minute' if minutes == 1 else 'minutes'} left"


_PLAN: ContextVar[Plan | None] = ContextVar("plan", default=None)


@contextmanager
def planned(plan: Plan) -> Iterator[Plan]:
    """Count every step of training in this block."""
    token = _PLAN.set(plan)
    try:
        yield plan
    finally:
        _PLAN.reset(token)


def begin(work: Work | None = None) -> None:
    """Note that the next network begins; see `Plan.begin`. Nothing is noted outside `planned`."""
    if (plan := _PLAN.get()) is not None:
        plan.begin(work)


def step(done: int) -> dict[str, str]:
    """Note a step of training, and return what a bar adds about the whole, by its name; nothing outside `planned`."""
    if (plan := _PLAN.get()) is None:
        return {}
    plan.step(done)
    return {"all": left} if (left := plan.left()) else {}
