"""Sinks of events: standard output, a file, several at once."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from affectd.config.event_file import check_events, check_rotated, rotated
from affectd.errors import PASSING, AffectdError, ConfigError, UnavailableError
from affectd.files import check_regular, write_whole
from affectd.stdio import is_stream, printable_lines, writing_results

if TYPE_CHECKING:
    from affectd.config.sections import FileConfig

_log = logging.getLogger(__name__)

AsLine = Callable[[Mapping[str, Any]], str]
"""Makes a line of an event, printable and without its end, and above the first one perhaps another."""


class Sink(Protocol):
    """An object that takes events one by one."""

    def write(self, event: Mapping[str, object]) -> None:
        """Take one event."""


def as_line(event: Mapping[str, object]) -> str:
    """Return a JSON object on one line, without characters that a terminal would obey."""
    line = json.dumps(event, ensure_ascii=False, allow_nan=False)
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


class JsonLines:
    """Writes one JSON object per line and flushes it.

    Parameters
    ----------
    stream : TextIO
        Where it writes.
    lines : callable, optional
        For who prints events to the stream itself: gets the labels of a model, and returns what makes their lines.

    Examples
    --------
    >>> import sys
    >>> JsonLines(sys.stdout).write({"label": "sad", "probability": 0.9})
    {"label": "sad", "probability": 0.9}
    """

    def __init__(self, stream: TextIO, lines: Callable[[Sequence[str]], AsLine] = lambda labels: as_line) -> None:
        self.stream, self.lines = stream, lines

    def write(self, event: Mapping[str, object]) -> None:
        """Write a JSON object on one line; raises what `write_text` raises."""
        self.write_text(as_line(event))

    def write_text(self, text: str) -> None:
        """Write text of one line or several, without what a terminal would obey.

        Raises
        ------
        BrokenPipeError
            The reader has closed the pipe.
        UnavailableError
            The stream cannot be written, for instance because the disk is full.
        """
        with writing_results():
            self.stream.write(printable_lines(text) + "\n")
            self.stream.flush()


class Several:
    """Passes each event to several sinks; a sink that fails does not affect the others, and gets the next event.

    Each sink comes with its name in the log.

    Examples
    --------
    >>> import sys
    >>> Several([("first", JsonLines(sys.stdout)), ("second", JsonLines(sys.stdout))]).write({"label": "sad"})
    {"label": "sad"}
    {"label": "sad"}
    """

    def __init__(self, sinks: Sequence[tuple[str, Sink]]) -> None:
        self._sinks = list(sinks)
        self._missed: dict[str, int] = {}  # events that a failing sink did not get
        self.n_missed = 0
        """Events that one of them did not get, since the start."""

    def write(self, event: Mapping[str, object]) -> None:
        """Take one event; logs the first failure of a sink and its recovery.

        Raises
        ------
        BrokenPipeError
            The reader of the last sink has closed the pipe; of several sinks, such a sink is removed.
        """
        for name, sink in list(self._sinks):
            try:
                sink.write(event)
            except BrokenPipeError:
                if len(self._sinks) == 1:
                    raise
                self._sinks.remove((name, sink))
                _log.warning("the reader of %s has closed it; events go to the other sinks", name)
            except (AffectdError, OSError, ValueError) as error:
                if name not in self._missed:
                    _log.warning("events do not reach %s: %s", name, error)
                self._missed[name] = self._missed.get(name, 0) + 1
                self.n_missed += 1
            else:
                if name in self._missed:
                    _log.info("events reach %s again; it missed %d", name, self._missed.pop(name))


def joined(sinks: Sequence[tuple[str, Sink]]) -> Sink:
    """Return `Several`; of one sink itself, which raises what it fails with, for there are no others to go on for."""
    return sinks[0][1] if len(sinks) == 1 else Several(sinks)


class RotatingFile:
    """Appends one JSON object per line to a file, which is rotated before it grows too large.

    The file is opened for each event, so it may be moved or unmounted at any time, and mounted only later if the
    program is `patient`. A file that holds something else than events is left as it is, whatever name it has.

    Raises
    ------
    ConfigError
        The file cannot be written, or it is not a file of events, or it is a stream of this program, as
        ``/dev/stdout`` is.
    UnavailableError
        Its folder is missing, and the program is not `patient`.
    """

    def __init__(self, config: FileConfig, name: str = "[file] path", *, patient: bool = False) -> None:
        self._max_bytes = int(config.max_mb * 1e6)
        self._keep = config.keep
        self._known: tuple[int, int] | None = None  # the file that was found to hold events
        try:
            _check_stream(config.path)
            # Resolved, because renaming a link would leave the file behind it in place.
            self._path = Path(os.path.realpath(config.path))
            for old in rotated(self._path, self._keep):
                check_rotated(old)
            self._open().close()
            self._look_beyond()
        except OSError as error:
            said = f"{name}: {config.path} cannot be written"
            if error.errno == errno.ENOENT and error.filename:  # else the current folder is gone
                said += ": its folder is missing; it is mistyped, or on a disk that is not mounted"
                if not patient:
                    raise UnavailableError(f"{said}.") from error
                _log.warning("%s; trying again at each event", said)
            elif error.errno not in PASSING and not self._became_read_only(error):
                raise ConfigError(f"{said}: {error.strerror}.") from error

    def _look_beyond(self) -> None:
        """Say that a file is there which was kept by an earlier `keep`, and is never deleted."""
        beyond = rotated(self._path, self._keep + 1)[-1]
        if beyond.exists():
            kept = f"{self._keep} rotated {'file is' if self._keep == 1 else 'files are'} kept"
            _log.warning("%s is never deleted, because only %s: remove it, and those after it", beyond, kept)

    def _became_read_only(self, error: OSError) -> bool:
        """Return whether it is a disk that was written to before, as after an error of a card; else it is a mistake."""
        return error.errno == errno.EROFS and any(map(os.path.exists, (self._path, *rotated(self._path, self._keep))))

    def write(self, event: Mapping[str, object]) -> None:
        """Append one event.

        Raises
        ------
        UnavailableError
            It cannot be written now; no part of it is in the file.
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
            # After a power cut the file may end in half a line; end it, so that only that line is invalid.
            if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
                line = b"\n" + line
            try:
                write_whole(file.fileno(), line)
            except OSError:
                file.truncate(size)
                raise

    def _open(self) -> FileIO:
        with suppress(FileNotFoundError):  # before opening, which has an effect on some devices
            check_regular(self._path.stat())
        file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o640)
        found = os.fstat(file)
        try:
            check_regular(found)
            if self._known != (found.st_dev, found.st_ino):
                check_events(file)
                self._known = found.st_dev, found.st_ino
        except OSError:
            os.close(file)
            raise
        return FileIO(file, "a+")

    def _rotate(self) -> None:
        """Rename the file to ``.1``, ``.1`` to ``.2``, and so on; the last one is overwritten."""
        old = rotated(self._path, self._keep)
        # Only up to the first free number, so that a rotation that failed halfway does not drop another file.
        n_taken = next((n for n, path in enumerate(old) if not os.path.lexists(path)), self._keep - 1)
        for path in old[: n_taken + 1]:
            check_rotated(path)
        for n in range(n_taken, 0, -1):
            os.replace(old[n - 1], old[n])
        os.replace(self._path, old[0])


def _check_stream(path: str) -> None:
    """Raise OSError for what is also standard output or error: events would be there twice, or among the log."""
    with suppress(FileNotFoundError):
        if is_stream(os.stat(path)):
            raise OSError(errno.EINVAL, "it is standard output or standard error, not a file of its own")
