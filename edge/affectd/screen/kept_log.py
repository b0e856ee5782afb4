"""What is said on standard error while the screen is taken: kept, and said afterwards."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from affectd.stdio import write_when_ready

_MOST_RECORDS = 50
_MOST_BYTES = 8192
_LAST_SECONDS = 0.5  # a busy kernel may still be passing on the screen that was given back


@contextmanager
def kept_log(note: Callable[[str], None]) -> Iterator[None]:
    """Keep the log, and what else is written to standard error, until the ``with`` block ends.

    Each line of the log is also passed to `note`. If standard error is no terminal, nothing is kept.
    """
    if not os.isatty(2):
        yield
        return
    root = logging.getLogger()
    handlers = root.handlers[:]
    keeper = _Keeper(note)
    terminal, file = os.dup(2), os.memfd_create("affectd-stderr", os.MFD_CLOEXEC)
    root.handlers[:] = [keeper]
    os.dup2(file, 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        root.handlers[:] = handlers
        size = os.fstat(file).st_size
        said = os.pread(file, _MOST_BYTES, max(0, size - _MOST_BYTES))
        os.close(file)
        os.close(terminal)
        for record in keeper.records:
            for handler in handlers:
                handler.handle(record)
        write_when_ready(2, said, _LAST_SECONDS)


class _Keeper(logging.Handler):
    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()
        self._note = note
        self.records: deque[logging.LogRecord] = deque(maxlen=_MOST_RECORDS)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        with suppress(Exception):  # of a message that its arguments do not fit
            self._note(record.getMessage())
