"""Standard output carries results, standard error the log; what libraries print goes to neither."""

from __future__ import annotations

import fcntl
import logging
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import TextIO

from affectd.errors import UnavailableError

_MOST_RECORDS = 10
_MINUTE_SECONDS = 60.0
# A terminal may be slow; a pipe that is unread for longer loses lines of the log.
LOG_SECONDS = 0.1
_FULL_SECONDS = 0.05
_CUT = "..."
_streams = [1, 2]  # and what was standard output, while that is claimed
_ON_TOP = ("Mn", "Me", "Cf")  # Unicode's categories of what takes no column of its own


class ReaderGoneError(BrokenPipeError):
    """The reader of standard output has closed the pipe, as in ``affectd run | head -1``."""


@contextmanager
def quiet() -> Iterator[None]:
    """Discard what is printed in the ``with`` block, even from C; exceptions pass.

    ALSA and JACK (fifty lines while PortAudio probes), TFLite and tflite-runtime print messages that look like
    failures; JACK's go to stdout, which carries the events.
    """
    saved = [os.dup(1), os.dup(2)]
    try:
        # Python's streams too: a program that embeds affectd may have replaced them.
        with open(os.devnull, "w") as nothing, redirect_stdout(nothing), redirect_stderr(nothing):
            os.dup2(nothing.fileno(), 1)
            os.dup2(nothing.fileno(), 2)
            try:
                yield
            finally:  # a handler that a library has made meanwhile would fail at each later message
                for handler in [*logging.root.handlers]:
                    if getattr(handler, "stream", None) is nothing:
                        logging.root.removeHandler(handler)
    finally:
        for number, copy in enumerate(saved, start=1):
            os.dup2(copy, number)
            os.close(copy)


@contextmanager
def claimed_stdout() -> Iterator[TextIO]:
    """Give standard output as a stream; what libraries print to it in the ``with`` block goes to stderr."""
    try:
        kept = os.dup(1)
    except OSError as error:
        raise UnavailableError("Standard output is closed.") from error
    os.dup2(2, 1)
    _streams.append(kept)
    # A file name that is not UTF-8 holds surrogates, whose Python escape is also valid JSON.
    out = os.fdopen(os.dup(kept), "w", encoding="utf-8", errors="backslashreplace", newline="\n")
    try:
        yield out
    finally:
        with suppress(OSError):  # the write that failed has been reported
            out.close()
        sys.stdout.flush()
        _streams.remove(kept)
        os.dup2(kept, 1)
        os.close(kept)


def is_stream(found: os.stat_result) -> bool:
    """Tell whether a file is standard output, also while it is claimed, or standard error."""
    return any(os.path.samestat(found, os.fstat(number)) for number in _streams)


def fill_descriptors() -> None:
    """Open /dev/null where standard input, output or error is closed: the next file opened would take its place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free


def printable(text: str) -> str:
    r"""Return text on one line that no terminal obeys: what cannot be printed is escaped.

    Examples
    --------
    >>> printable("a\x1b[31m.wav")
    'a\\x1b[31m.wav'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: str) -> str:
    """Return text of several lines, each as of `printable`."""
    return "\n".join(map(printable, text.split("\n")))


def terminal_columns(descriptor: int) -> int | None:
    """Return the width of a terminal as `shutil.get_terminal_size` finds it; None if this is none."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(descriptor).columns or None
    except OSError:
        return None


def width_of(text: str) -> int:
    """Return how many columns of a terminal text takes."""
    if text.isascii():
        return len(text)
    import unicodedata  # a library of a megabyte, which the service does without

    return sum(
        0 if unicodedata.category(c) in _ON_TOP else 2 if unicodedata.east_asian_width(c) in ("F", "W") else 1
        for c in text
    )


def shortened(text: str, width: int) -> str:
    """Return text that fits, without its middle if need be: both ends tell files apart.

    Examples
    --------
    >>> shortened("recordings/of/monday/talk.wav", 16)
    'reco.../talk.wav'
    """
    if width_of(text) <= width:
        return text
    head = fitting(text, (width - len(_CUT)) // 3)
    tail = fitting(text[::-1], width - len(_CUT) - width_of(head))[::-1]
    return head + _CUT + tail


def fitting(text: str, width: int) -> str:
    """Return the beginning of text that fits."""
    end = 0
    while end < len(text) and width_of(text[: end + 1]) <= width:
        end += 1
    return text[:end]


def print_error(program: str, sentence: str) -> None:
    """Write a sentence to standard error; if that is closed or full, the exit code still tells."""
    with suppress(OSError):
        write_when_ready(2, f"{program}: {printable(sentence)}\n".encode(), LOG_SECONDS)


def print_result(text: str) -> None:
    """Write text, which may have several lines, to standard output.

    Raises
    ------
    ReaderGoneError
        The reader has closed the pipe.
    UnavailableError
        It cannot be written.
    """
    safe = printable_lines(text)
    encoding = sys.stdout.encoding or "utf-8"
    with writing_results():
        print(safe.encode(encoding, "backslashreplace").decode(encoding), flush=True)


@contextmanager
def writing_results() -> Iterator[None]:
    """Raise `ReaderGoneError` if the reader of standard output has left, `UnavailableError` if it cannot be written."""
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderGoneError(error.errno, error.strerror) from error
    except OSError as error:
        raise UnavailableError(f"Standard output cannot be written: {error.strerror}.") from error


def log_to_stderr(explain: Callable[[BaseException], str] = repr) -> None:
    """Send the log to standard error, one line for a record; `explain` puts an exception into words."""
    handler = logging.StreamHandler(_Log(own(2)))
    handler.addFilter(PerMinute())
    handler.setFormatter(_OneLine(explain))
    logging.raiseExceptions = False  # a record that cannot be formatted would print a traceback
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class _OneLine(logging.Formatter):
    def __init__(self, explain: Callable[[BaseException], str]) -> None:
        super().__init__()
        self._explain = explain

    def format(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        try:
            message = record.getMessage()
        except Exception:  # the arguments do not fit
            message = str(record.msg)
        explained = f": {self._explain(error)}" if error is not None else ""
        return f"affectd: {printable(message + explained)}"


class PerMinute(logging.Filter):
    """Lets ten records of a kind pass in a minute, so that nothing outside can fill the log.

    A kind is a logger and a message before its arguments are filled in. The last record before the pause says so.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}  # when the minute began, how many since

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is written."""
        kind, now = (record.name, str(record.msg)), self._clock()
        began, n = self._seen.get(kind, (now, 0))
        if now - began >= _MINUTE_SECONDS:
            began, n = now, 0
        self._seen[kind] = began, n + 1
        if n + 1 == _MOST_RECORDS:
            record.msg = f"{record.msg} (more like this are left out for a minute)"
        return n < _MOST_RECORDS


def own(descriptor: int) -> int:
    """Return a descriptor of the same file, which `quiet` does not redirect; of a terminal one that never blocks."""
    opened = None
    if os.isatty(descriptor):
        # A terminal that is ready may block nevertheless; the mode of what other programs have opened must not change.
        with suppress(OSError):  # a terminal of another user
            opened = os.open(os.ttyname(descriptor), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    # Above 2, because a closed standard output would otherwise be replaced by the log.
    own = fcntl.fcntl(descriptor if opened is None else opened, fcntl.F_DUPFD_CLOEXEC, 3)
    if opened is not None:
        os.close(opened)
    return own


def write_when_ready(descriptor: int, data: bytes, timeout_seconds: float | None = None) -> bool:
    """Write to a descriptor, but only while it has room; raises what `os.write` raises.

    Returns False if it had none for `timeout_seconds`; then the rest is not written.
    """
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    for start in range(0, len(data), select.PIPE_BUF):
        piece = data[start : start + select.PIPE_BUF]
        while piece:
            if not poll.poll(None if timeout_seconds is None else 1000 * timeout_seconds):
                return False
            try:
                piece = piece[os.write(descriptor, piece) :]
            except BlockingIOError:  # it is ready, but has no room
                if timeout_seconds is not None:
                    return False
                time.sleep(_FULL_SECONDS)
    return True


class _Log:
    """A stream for the log whose lines are lost, instead of blocking the sound, if nothing reads it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._n_lost = 0

    def write(self, text: str) -> None:
        before = f"affectd: {self._n_lost} log lines lost\n" if self._n_lost else ""
        timeout = 0.0 if self._n_lost else LOG_SECONDS
        with suppress(OSError):  # closed or full; the exit code still tells
            if write_when_ready(self._descriptor, (before + text).encode(), timeout):
                self._n_lost = 0
            else:
                self._n_lost += 1

    def flush(self) -> None:
        pass
