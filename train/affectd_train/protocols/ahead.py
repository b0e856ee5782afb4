"""What a protocol is about to run one after the other, told beforehand, so that it can be run elsewhere all at once.

Each job leaves a result in a folder, and returns at once where it is: the protocol itself goes on as if it were alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

Job = Callable[[], object]
"""Can be sent to another process; what it returns is not looked at."""

_runner: ContextVar[Callable[[Sequence[Job]], None] | None] = ContextVar("runner", default=None)


def ahead(jobs: Iterable[Job]) -> None:
    """Let whatever `running` was told run jobs, all of which the caller runs after this; else do nothing."""
    if runner := _runner.get():
        runner(list(jobs))


@contextmanager
def running(runner: Callable[[Sequence[Job]], None]) -> Iterator[None]:
    """Let protocols give their jobs to a function first, which returns when all of them are done."""
    token = _runner.set(runner)
    try:
        yield
    finally:
        _runner.reset(token)
