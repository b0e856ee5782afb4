"""A disk that fails when asked to: between SQLite and the operating system, in this process.

SQLite calls the system through tables of functions that can be changed while it runs (a VFS and its methods). Here
every step that changes a file first passes a function of the test; so do the steps of Python's own (``os.replace``
and such). A step may be noted, refused or held up, or be the last one of the process, even in the middle of a write.

Source: https://www.sqlite.org/c3ref/vfs.html, https://www.sqlite.org/c3ref/io_methods.html
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

# What a step may be answered with, besides None. HALF writes the first half and ends the process.
IO_ERROR, FULL, HALF = 778, 13, -1

_P = ctypes.c_void_p
_N_METHODS = 19
_SECTOR = 512
_CLOSE = ctypes.CFUNCTYPE(ctypes.c_int, _P)
_WRITE = ctypes.CFUNCTYPE(ctypes.c_int, _P, _P, ctypes.c_int, ctypes.c_int64)
_TRUNCATE = ctypes.CFUNCTYPE(ctypes.c_int, _P, ctypes.c_int64)
_SYNC = ctypes.CFUNCTYPE(ctypes.c_int, _P, ctypes.c_int)
_OPEN = ctypes.CFUNCTYPE(ctypes.c_int, _P, _P, _P, ctypes.c_int, _P)
_DELETE = ctypes.CFUNCTYPE(ctypes.c_int, _P, ctypes.c_char_p, ctypes.c_int)


class _Vfs(ctypes.Structure):
    _fields_ = (
        ("iVersion", ctypes.c_int),
        ("szOsFile", ctypes.c_int),
        ("mxPathname", ctypes.c_int),
        ("pNext", _P),
        ("zName", ctypes.c_char_p),
        ("pAppData", _P),
        ("xOpen", _P),
        ("xDelete", _P),
    )


@dataclass(frozen=True)
class Step:
    """One change: what and where; for a write the bytes and where they go, for a truncation the size
    as the offset, for a deletion whether the folder is synced."""

    kind: str
    path: str
    data: bytes = b""
    offset: int = 0


Answer = int | None


def sqlite_library() -> ctypes.CDLL | None:
    """Return the SQLite that Python uses, or None if it cannot be reached."""
    import _sqlite3

    with open("/proc/self/maps") as maps:
        loaded = {line.split()[-1] for line in maps if "libsqlite3" in line}
    for path in (*sorted(loaded), _sqlite3.__file__):
        library = ctypes.CDLL(path)
        if hasattr(library, "sqlite3_vfs_find"):
            return library
    return None


needs_faulty_disk = pytest.mark.skipif(
    sqlite_library() is None, reason="the SQLite of this Python is linked into it, where no test can reach it"
)


def die() -> None:
    """End this process at once."""
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def faulty_disk(before: Callable[[Step], Answer]) -> Iterator[None]:
    """Let `before` be asked before every step that changes a file; it answers None to let it happen."""
    library = sqlite_library()
    assert library is not None
    library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
    vfs = library.sqlite3_vfs_find(None).contents
    true_open, true_delete = _OPEN(vfs.xOpen), _DELETE(vfs.xDelete)
    files: dict[int, _OpenFile] = {}
    tables: dict[int, Any] = {}

    def open_file(own: int, name: int | None, file: int, flags: int, flags_out: int | None) -> int:
        result = true_open(own, name, file, flags, flags_out)
        methods = _P.from_address(file)
        if result == 0 and name and methods.value:
            files[file] = _OpenFile(os.fsdecode(ctypes.string_at(name)), methods.value)
            if methods.value not in tables:
                tables[methods.value] = _hooked(methods.value, before, files)
            methods.value = ctypes.addressof(tables[methods.value])
        return result

    def delete(own: int, name: bytes, and_sync: int) -> int:
        return before(Step("delete", os.fsdecode(name), offset=and_sync)) or true_delete(own, name, and_sync)

    hooks = _OPEN(open_file), _DELETE(delete)
    originals = vfs.xOpen, vfs.xDelete
    vfs.xOpen, vfs.xDelete = (ctypes.cast(hook, _P).value for hook in hooks)
    try:
        with _steps_of_python(before):
            yield
    finally:
        vfs.xOpen, vfs.xDelete = originals
        for file, opened in files.items():  # those that are still open
            _P.from_address(file).value = opened.methods


class _OpenFile(NamedTuple):
    path: str
    methods: int


def _hooked(methods: int, before: Callable[[Step], Answer], files: dict[int, _OpenFile]) -> Any:
    """Return a copy of the table of methods at this address that asks first."""
    table = (_P * _N_METHODS)(*(_P * _N_METHODS).from_address(methods))
    true_close, true_write = _CLOSE(table[1]), _WRITE(table[3])
    true_truncate, true_sync = _TRUNCATE(table[4]), _SYNC(table[5])

    def close(file: int) -> int:
        del files[file]
        return true_close(file)

    def write(file: int, data: int, amount: int, offset: int) -> int:
        answer = before(Step("write", files[file].path, ctypes.string_at(data, amount), offset))
        if answer == HALF:
            true_write(file, data, amount // 2, offset)
            die()
        return answer or true_write(file, data, amount, offset)

    def truncate(file: int, size: int) -> int:
        return before(Step("truncate", files[file].path, offset=size)) or true_truncate(file, size)

    def sync(file: int, flags: int) -> int:
        return before(Step("sync", files[file].path)) or true_sync(file, flags)

    table.hooks = {1: _CLOSE(close), 3: _WRITE(write), 4: _TRUNCATE(truncate), 5: _SYNC(sync)}  # freed with the table
    for index, hook in table.hooks.items():
        table[index] = ctypes.cast(hook, _P).value
    return table


@contextmanager
def _steps_of_python(before: Callable[[Step], Answer]) -> Iterator[None]:
    names = ("open", "unlink", "replace", "link", "mkdir")
    true = {name: getattr(os, name) for name in names}

    def hooked(name: str) -> Callable[..., Any]:
        def function(path: Any, *arguments: Any, **options: Any) -> Any:
            is_change = name != "open" or arguments[0] & os.O_CREAT
            if is_change and before(Step(name, os.fspath(path))):
                raise OSError(5, os.strerror(5), os.fspath(path))
            return true[name](path, *arguments, **options)

        return function

    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setattr(os, name, hooked(name))
        yield


def after_a_power_cut(steps: list[Step], folder: Path, is_kept: Callable[[], bool]) -> None:
    """Put into `folder` what a disk may hold after these steps and a power cut.

    What was synced is there. Of every sector written since, every truncation and every deletion nobody knows:
    `is_kept` decides, in any order. A file that was never synced may be missing.
    """
    synced: dict[str, bytes | None] = {}
    later: dict[str, list[Step]] = {}
    for step in steps:
        if step.kind == "sync" or (step.kind == "delete" and step.offset):  # SQLite asked for the folder to be synced
            changes = [*later.pop(step.path, []), *([step] if step.kind == "delete" else [])]
            synced[step.path] = _applied(synced.get(step.path), changes)
        else:
            later.setdefault(step.path, []).append(step)
    for path in {*synced, *later}:
        kept = []
        for step in later.get(path, ()):
            if step.kind == "write":
                kept += [sector for sector in _sectors(step) if is_kept()]
            elif is_kept():
                kept.append(step)
            elif step.kind != "truncate":
                break  # what came after a deletion that did not happen was written into another file
        content = _applied(synced.get(path), kept)
        if content is not None and (path in synced or is_kept()):
            (folder / Path(path).name).write_bytes(content)


def _sectors(step: Step) -> list[Step]:
    return [
        Step("write", step.path, step.data[begin : begin + _SECTOR], step.offset + begin)
        for begin in range(0, len(step.data), _SECTOR)
    ]


def _applied(content: bytes | None, steps: list[Step]) -> bytes | None:
    for step in steps:
        old = content or b""
        if step.kind == "write":
            end = step.offset + len(step.data)
            content = old[: step.offset].ljust(step.offset, b"\0") + step.data + old[end:]
        elif step.kind == "truncate":
            content = old[: step.offset].ljust(step.offset, b"\0")
        elif step.kind in ("delete", "unlink"):
            content = None
        elif step.kind == "open":
            content = old
    return content
