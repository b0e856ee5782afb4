"""The download of a file of known length over HTTP, which goes on where the connection broke.

Only in a process of its own: `urllib` takes 7.5 MB.
"""

from __future__ import annotations

import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from affectd.delivery.message import RefusedError
from affectd.errors import UnavailableError
from affectd.files import write_whole

_STEP_BYTES = 65536
_QUIET_SECONDS = 20.0
_MOST_SECONDS = 600.0
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further attempt that brings nothing."""


def download(url: str, n_bytes: int, part: Path, wait: Callable[[float], None] = time.sleep) -> None:
    """Bring the file `part` to its whole length; what it has already is not fetched again.

    Raises
    ------
    RefusedError
        The server has more or fewer bytes than were signed.
    UnavailableError
        The server does not give them, or not in time; `part` keeps what came. Or the disk does not take them; then
        `part` is removed, which would leave no room for the events that wait.
    """
    until = time.monotonic() + _MOST_SECONDS
    waits = list(WAITS)
    while (had := _size(part)) < n_bytes:
        try:
            _go_on(url, n_bytes, part, had, until)
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = f"{error.code} {error.reason}" if isinstance(error, urllib.error.HTTPError) else str(error)
            if _size(part) > had:
                waits = list(WAITS)
            if not waits or time.monotonic() > until:
                raise UnavailableError(f"{url} cannot be downloaded: {reason or type(error).__name__}") from error
            wait(waits.pop(0))


def _go_on(url: str, n_bytes: int, part: Path, had: int, until: float) -> None:
    request = urllib.request.Request(url, headers={"Range": f"bytes={had}-"} if had else {})
    try:
        answer = _opener().open(request, timeout=_QUIET_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # it is shorter than what has come already
            part.unlink(missing_ok=True)
            raise _other_size(f"{url} has no more than {had} bytes", n_bytes) from error
        raise
    if answer is None:
        raise OSError("it leads to an address that is not of HTTP")
    with answer:
        if answer.status == 206:
            found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            if found is None or int(found[1]) != had:
                raise OSError("the server sends another part than was asked for")
            total = found[2]
        else:
            had, total = 0, answer.headers.get("Content-Length", "*")
        if total.isdecimal() and int(total) != n_bytes:
            part.unlink(missing_ok=True)
            raise _other_size(f"{url} has {total} bytes", n_bytes)
        _save(answer, n_bytes, part, had, until)
    if _size(part) < n_bytes:
        raise OSError("the connection broke")


def _save(answer: http.client.HTTPResponse, n_bytes: int, part: Path, had: int, until: float) -> None:
    with _writing(part):
        file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (0 if had else os.O_TRUNC), 0o600)
    try:
        os.lseek(file, had, os.SEEK_SET)
        while data := answer.read1(_STEP_BYTES):
            had += len(data)
            if had > n_bytes:
                part.unlink()
                raise _other_size(f"the server sends at least {had} bytes", n_bytes)
            with _writing(part):
                write_whole(file, data)
            if time.monotonic() > until:
                raise OSError("it takes too long")
    finally:
        os.close(file)


@contextmanager
def _writing(part: Path) -> Iterator[None]:
    """Tell a failure of the disk from those of the server, which are tried again."""
    try:
        yield
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise UnavailableError(f"{part.parent} cannot be written: {error.strerror}") from error


def _other_size(found: str, n_bytes: int) -> RefusedError:
    # Not for good: the file may be on its way to the server.
    return RefusedError("size", f"{found}, but {n_bytes} were signed", is_final=False)


def _opener() -> urllib.request.OpenerDirector:
    """Return what opens an address of HTTP, also where a server or a proxy leads, and of nothing else."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _size(part: Path) -> int:
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0
