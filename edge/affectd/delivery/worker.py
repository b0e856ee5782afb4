"""A thread that is there from its first job on, and of jobs with one name does only the newest."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

_log = logging.getLogger(__name__)

# Limits the work that a client can cause which sends messages without end.
_BETWEEN_SECONDS = 1.0


class Worker:
    """Does jobs one after the other; any thread may add some.

    Attributes
    ----------
    is_closing : bool
        Whether a job that is being done should end.
    """

    def __init__(self) -> None:
        self.is_closing = False
        self._changed = threading.Condition()  # a lock that one thread may take twice
        self._jobs: dict[str, tuple[float, Callable[[], object]]] = {}  # when, and what
        self._thread: threading.Thread | None = None

    def do(self, name: str, job: Callable[[], object], seconds: float = 0.0) -> None:
        """Do this next, or in so many seconds, instead of a job of the same name that waits."""
        with self._changed:
            self._jobs[name] = time.monotonic() + seconds, job
            self._changed.notify()
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="delivery", daemon=True)
                thread.start()
                self._thread = thread  # only now: `close` would wait for one that was never started

    def drop(self, name: str) -> None:
        """Do not do a job that waits."""
        with self._changed:
            self._jobs.pop(name, None)

    def close(self, patience_seconds: float) -> None:
        """End after the present job; one that takes longer is not waited for."""
        with self._changed:
            self.is_closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(patience_seconds)

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                job()
            except Exception:  # a bug must not end what comes after
                _log.exception("a delivery failed; please report this")
            with self._changed:
                self._changed.wait_for(lambda: self.is_closing, _BETWEEN_SECONDS)

    def _next(self) -> Callable[[], object] | None:
        """Wait for the next job that is due and return it; None at the end."""
        with self._changed:
            while not self.is_closing:
                name = min(self._jobs, key=lambda name: self._jobs[name][0], default=None)
                seconds = None if name is None else self._jobs[name][0] - time.monotonic()
                if name is not None and seconds is not None and seconds <= 0:
                    return self._jobs.pop(name)[1]
                self._changed.wait(seconds)
            return None
