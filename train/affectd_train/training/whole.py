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

LEAST_STEPS = 20
"""Before so many steps nothing is known: the first ones wait for the network to be compiled."""


class Whole:
    """The steps of all networks, one after the other, and how fast they go.

    Parameters
    ----------
    steps
        Of each network, in the order in which they are trained.
    """

    def __init__(self, steps: Sequence[int]) -> None:
        self.steps = list(steps)
        self._number, self._done, self._seen, self._began = -1, 0, 0, 0.0

    def begin(self, steps: int | None = None) -> None:
        """Note that the next network begins, and its steps if they are others than were planned."""
        self._number, self._done = self._number + 1, 0
        if steps is not None:
            self.steps[self._number] = steps

    def step(self, done: int) -> None:
        """Note that so many steps of the network are done, those of an earlier call included."""
        if not self._began:
            self._began = time.monotonic()
        else:
            self._seen += 1
        self._done = done

    def left(self) -> str:
        """Say how long the steps that are left will take, as those before took with all that was between them."""
        if self._seen < LEAST_STEPS:
            return ""
        steps = sum(self.steps[max(self._number, 0) :]) - self._done
        minutes = math.ceil(steps * (time.monotonic() - self._began) / self._seen / 60)
        return f"{minutes} {'minute' if minutes == 1 else 'minutes'} left"


_PLAN: ContextVar[Whole | None] = ContextVar("whole", default=None)


@contextmanager
def planned(whole: Whole) -> Iterator[Whole]:
    """Count every step of training in this block."""
    token = _PLAN.set(whole)
    try:
        yield whole
    finally:
        _PLAN.reset(token)


def begin(steps: int | None = None) -> None:
    """Note that the next network begins; see `Whole.begin`. Nothing is noted outside `planned`."""
    if (whole := _PLAN.get()) is not None:
        whole.begin(steps)


def step(done: int) -> dict[str, str]:
    """Note a step of training, and return what a bar adds about the whole, by its name; nothing outside `planned`."""
    if (whole := _PLAN.get()) is None:
        return {}
    whole.step(done)
    return {"all": left} if (left := whole.left()) else {}
