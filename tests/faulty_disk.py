"""A disk that fails when asked to: every step of Python that changes a file first passes a function of the test.

A step may be noted, refused or held up, or be the last one of the process, even in the middle of a write. The calls
of other libraries, as those of SQLite, are not seen.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# What a step may be answered with, besides None. PART writes the first half, HALF ends the process after that.
IO_ERROR, FULL, HALF, PART = errno.EIO, errno.ENOSPC, -1, -2
_SECTOR = 512


@dataclass(frozen=True)
class Step:
    """One change: what and where; for a write the bytes and where they go; for a rename or a link where from.

    The kinds are open (of a file that it makes or empties), write, truncate (to the offset), sync, replace, link,
    unlink and mkdir.
    """

    kind: str
    path: str
    data: bytes = b""
    offset: int = 0
    source: str = ""


Answer = int | None


def die() -> None:
    """End this process at once."""
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def faulty_disk(before: Callable[[Step], Answer]) -> Iterator[None]:
    """Let `before` be asked before every step that changes a file; it answers None to let it happen."""
    names = ("open", "write", "fsync", "replace", "link", "unlink", "mkdir", "ftruncate")
    true = {name: getattr(os, name) for name in names}

    def ask(step: Step) -> Answer:
        answer = before(step)
        if answer and answer > 0:
            raise OSError(answer, os.strerror(answer), step.path)
        return answer

    def open_file(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & os.O_TRUNC or (flags & os.O_CREAT and not os.path.exists(path)):
            ask(Step("open", os.fspath(path)))
        return int(true["open"](path, flags, *arguments, **options))

    def write(file: int, data: bytes) -> int:
        if not os.path.isabs(_path(file)):  # a pipe
            return int(true["write"](file, data))
        answer = ask(Step("write", _path(file), data, os.fstat(file).st_size))
        n = int(true["write"](file, data[: len(data) // 2] if answer in (HALF, PART) else data))
        if answer == HALF:
            die()
        return n

    def sync(file: int) -> None:
        ask(Step("sync", _path(file)))
        true["fsync"](file)

    def truncate(file: int, size: int) -> None:
        ask(Step("truncate", _path(file), offset=size))
        true["ftruncate"](file, size)

    def hooked(name: str) -> Callable[..., Any]:
        def function(*paths: Any, **options: Any) -> Any:
            names = [os.fspath(path) for path in paths if not isinstance(path, int)]
            ask(Step(name, names[-1], source=names[0]))
            return true[name](*paths, **options)

        return function

    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "link", "unlink", "mkdir"):
            patch.setattr(os, name, hooked(name))
        patch.setattr(os, "open", open_file)
        patch.setattr(os, "write", write)
        patch.setattr(os, "fsync", sync)
        patch.setattr(os, "ftruncate", truncate)
        yield


def _path(file: int) -> str:
    return os.readlink(f"/proc/self/fd/{file}")


class _File:
    """What is on the disk for certain, and what was written since."""

    def __init__(self) -> None:
        self.synced = b""
        self.later: list[Step] = []


def after_a_power_cut(steps: list[Step], folder: Path, is_kept: Callable[[], bool]) -> None:
    """Put into `folder` what a disk may hold after these steps and a power cut.

    What was synced is there: the content by a sync of the file, its name by one of the folder. Of every sector written
    since, and of every time when a file was emptied, nothing is certain: `is_kept` decides, in any order. Names
    change in their order, as a file system with a journal has it, up to where `is_kept` decides.
    """
    now: dict[str, _File] = {}  # what a name stands for
    on_disk: dict[str, _File] = {}
    changes: list[dict[str, _File | None]] = []  # of names, since the folder was synced; None: it is gone
    for step in steps:
        name, source = Path(step.path).name, Path(step.source).name
        if step.kind == "sync" and name in now:
            file = now[name]
            file.synced, file.later = _applied(file.synced, file.later), []
        elif step.kind == "sync":
            on_disk, changes = dict(now), []
        elif step.kind == "write":
            now[name].later += _sectors(step)
        elif step.kind in ("open", "truncate") and name in now:
            now[name].later.append(step)
        elif step.kind != "mkdir":
            changes.append(
                {
                    "open": {name: _File()},
                    "unlink": {name: None},
                    "link": {name: now.get(source)},
                    "replace": {name: now.get(source), source: None},
                }[step.kind]
            )
            now = _renamed(now, changes[-1])
    while changes and is_kept():
        on_disk = _renamed(on_disk, changes.pop(0))
    for name, file in on_disk.items():
        (folder / name).write_bytes(_applied(file.synced, [step for step in file.later if is_kept()]))


def _renamed(names: dict[str, _File], change: dict[str, _File | None]) -> dict[str, _File]:
    return {name: file for name, file in {**names, **change}.items() if file is not None}


def _sectors(step: Step) -> list[Step]:
    return [
        Step("write", step.path, step.data[begin : begin + _SECTOR], step.offset + begin)
        for begin in range(0, len(step.data), _SECTOR)
    ]


def _applied(content: bytes, steps: list[Step]) -> bytes:
    for step in steps:
        if step.kind == "write":
            end = step.offset + len(step.data)
            content = content[: step.offset].ljust(step.offset, b"\0") + step.data + content[end:]
        elif step.kind == "truncate":
            content = content[: step.offset]
        else:
            content = b""
    return content
