"""Where events go."""

from __future__ import annotations

import errno
import json
import logging
import os
import stat
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol, TextIO

from affectd.errors import AffectdError, ConfigError, UnavailableError

if TYPE_CHECKING:
    from affectd.config.sections import FileConfig

_log = logging.getLogger(__name__)

# What may pass by itself: the disk is full or ailing. Everything else is a path that never works.
_PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


class Sink(Protocol):
    """Anything that takes events one by one."""

    def write(self, event: Mapping[str, object]) -> None:
        """Take one event."""


def as_line(event: Mapping[str, object]) -> str:
    """Write an event, or anything else that is JSON, on one line, the same for every sink."""
    return json.dumps(event, ensure_ascii=False, allow_nan=False)


class JsonLines:
    """Writes one JSON object per line and flushes it, so that a reader has it at once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, event: Mapping[str, object]) -> None:
        """Write one event, or anything else that is JSON, on one line; it fails as `write_text` does."""
        self.write_text(as_line(event))

    def write_text(self, text: str) -> None:
        """Write a result for people instead.

        Raises
        ------
        BrokenPipeError
            The reader has gone; `affectd.cli` ends quietly then.
        UnavailableError
            Nothing can be written, for instance because the disk is full.
        """
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise UnavailableError(f"Standard output cannot be written: {error.strerror}.") from error


class Several:
    """Passes each event to several sinks; one that fails stops none of the others, and is tried again.

    Parameters
    ----------
    sinks : sequence of (str, Sink)
        Each with its name in the log.
    """

    def __init__(self, sinks: Sequence[tuple[str, Sink]]) -> None:
        self._sinks = list(sinks)
        self._missed: dict[str, int] = {}  # events that a failing sink did not get

    def write(self, event: Mapping[str, object]) -> None:
        """Take one event; only the first failure of a sink, and its end, are logged.

        Raises
        ------
        BrokenPipeError
            The last sink is unread: its reader has gone. Of several, such a one is given up.
        """
        for name, sink in list(self._sinks):
            try:
                sink.write(event)
            except BrokenPipeError:
                if len(self._sinks) == 1:
                    raise
                self._sinks.remove((name, sink))
                _log.warning("%s is unread, its reader has gone; events go on elsewhere", name)
            except (AffectdError, OSError, ValueError) as error:
                if name not in self._missed:
                    _log.warning("events do not reach %s: %s", name, error)
                self._missed[name] = self._missed.get(name, 0) + 1
            else:
                if name in self._missed:
                    _log.info("events reach %s again; it missed %d", name, self._missed.pop(name))


class Detached:
    """Passes events on in a thread of its own: a sink that hangs, as a file does on a dying disk, holds up no other.

    Its ``with`` block ends when everything has been written, or after `patience_seconds`.

    Parameters
    ----------
    name : str
        What the sink is called in the log.
    sink : Sink
        Only that thread writes to it; its failures are logged as those of `Several` are.
    patience_seconds : float
        How long the end may take.
    max_events : int
        How many may wait.
    """

    def __init__(self, name: str, sink: Sink, patience_seconds: float = 2.0, max_events: int = 1000) -> None:
        self._sink = Several([(name, sink)])
        self._patience_seconds = patience_seconds
        self._max_events = max_events
        self._waiting: SimpleQueue[Mapping[str, object] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._pass_on, name=name, daemon=True)
        self._thread.start()

    def __enter__(self) -> Detached:
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting.put(None)
        self._thread.join(self._patience_seconds)

    def write(self, event: Mapping[str, object]) -> None:
        """Take one event and return at once.

        Raises
        ------
        UnavailableError
            Too many wait already.
        """
        if self._waiting.qsize() >= self._max_events:
            raise UnavailableError(f"it hangs, and {self._max_events} events wait for it")
        self._waiting.put(event)

    def _pass_on(self) -> None:
        while (event := self._waiting.get()) is not None:
            self._sink.write(event)


class RotatingFile:
    """Appends one JSON object per line to a file; before that grows too big it is renamed and a new one begins.

    The file is opened for each event. So it may be taken away, moved or unmounted at any time, and a
    line is in it before `write` returns.

    Parameters
    ----------
    config : FileConfig
        The section ``[file]``.

    Raises
    ------
    ConfigError
        The file can never be written, for instance because its folder does not exist.
    """

    def __init__(self, config: FileConfig) -> None:
        # The file itself and not a link to it is renamed, or the next one would lie elsewhere.
        self._path = Path(os.path.realpath(config.path))
        self._max_bytes = int(config.max_mb * 1e6)
        self._keep = config.keep
        try:
            self._open().close()
        except OSError as error:
            if error.errno not in _PASSING:
                raise ConfigError(f"[file] path: {self._path} cannot be written: {error.strerror}.") from error

    def write(self, event: Mapping[str, object]) -> None:
        """Append one event.

        Raises
        ------
        UnavailableError
            It cannot be written now; nothing of it is in the file.
        """
        line = (as_line(event) + "\n").encode("utf-8", "backslashreplace")
        try:
            self._append(line)
        except OSError as error:
            raise UnavailableError(f"{self._path} cannot be written: {error.strerror}.") from error

    def _append(self, line: bytes) -> None:
        with suppress(FileNotFoundError):
            size = self._path.stat().st_size
            if size and size + len(line) > self._max_bytes:
                self._rotate()
        with self._open() as file:
            size = os.fstat(file.fileno()).st_size
            # A power cut may have left half a line: it spoils itself alone and not the next one too.
            if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
                line = b"\n" + line
            if file.write(line) != len(line):
                file.truncate(size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _open(self) -> FileIO:
        file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        # A pipe could hold up everything, and a device must not be renamed.
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise OSError(errno.EINVAL, "it is not a regular file")
        return FileIO(file, "a+")

    def _rotate(self) -> None:
        """Rename the file to ``.1``, what was ``.1`` to ``.2``, and so on; the last one goes."""
        old = [self._path.with_name(f"{self._path.name}.{number}") for number in range(1, self._keep + 1)]
        # Where a number is free the renaming ends: one that failed halfway must not push another file out.
        n_taken = next((n for n, path in enumerate(old) if not path.exists()), self._keep - 1)
        for n in range(n_taken, 0, -1):
            os.replace(old[n - 1], old[n])
        os.replace(self._path, old[0])
