"""Which recordings an archive holds: those of a folder, a pattern, a list, a Parquet file, or an address of fsspec."""

from __future__ import annotations

import codecs
import glob
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import fsspec
import pyarrow
import pyarrow.parquet

from affectd.errors import DataError, NoInputError, UnavailableError
from affectd.folders import Skipped
from affectd_train.folders import AUDIO_SUFFIXES, audio_files, say_skipped

PATH_COLUMN = "path"
"""Of a Parquet file that lists recordings."""

_MAGIC = "*?["


class Found(NamedTuple):
    """A recording of an archive."""

    path: str  # its name in the table: absolute, an address, or as it stands in the list
    location: str  # where it lies: a path, or an address
    content: bytes | None = None  # of what only this process can read


def recordings_of(source: str) -> list[Found]:
    """List the recordings of an archive, each once.

    Raises
    ------
    NoInputError
        If there are none.
    DataError
        If a list cannot be read.
    UnavailableError
        If the package for this kind of address is not installed, or what it leads to does not answer.
    """
    if source.startswith("file://"):
        source = unquote(urlsplit(source).path)
    found = _at_address(source) if "://" in source else _here(source)
    if not found:
        raise NoInputError(f"{source}: no recording in it")
    return list({one.path: one for one in found}.values())


def _here(source: str) -> list[Found]:
    if os.path.isdir(source):
        return [_file(str(path)) for path in audio_files(Path(source))]
    if os.path.isfile(source):
        if Path(source).suffix.lower() in AUDIO_SUFFIXES:
            return [_file(source)]
        folder = os.path.dirname(os.path.abspath(source))
        try:
            with open(source, "rb") as file:
                names = _listed(source, file)
        except OSError as error:
            raise NoInputError(f"{source}: cannot be read ({error.strerror})") from error
        return [Found(_text(name), name if "://" in name else os.path.join(folder, name)) for name in names]
    if any(sign in source for sign in _MAGIC):
        return _matching(source)
    raise NoInputError(f"{source}: {_why_not(source)}")


def _matching(pattern: str) -> list[Found]:
    """List what a pattern matches, and say which folders it would have to look into and may not."""
    closed = [Skipped(Path(folder), "a folder that may not be read by this user") for folder in _closed(pattern)]
    matching = sorted(glob.glob(pattern, recursive=True))
    files = [_file(path) for path in matching if os.path.isfile(path)]
    # All that "**" leads to would be said to be left out once more for each folder that it leads to.
    folders = [] if "**" in pattern else [path for path in matching if os.path.isdir(path)]
    found = files + [_file(str(path)) for folder in folders for path in audio_files(Path(folder))]
    if closed and not found:
        raise NoInputError(f"{pattern}: no recording in it; {closed[0].path} may not be read by this user")
    say_skipped(pattern, closed)
    return found


def _closed(pattern: str) -> list[str]:
    """Return the folders that `glob`, which says nothing of them, cannot list for a pattern."""
    closed: set[str] = set()
    head, tail = os.path.split(pattern)
    while tail:
        if any(sign in tail for sign in _MAGIC):
            of_folders = os.path.join(head, "**" if tail == "**" else "", "")  # with a slash at its end: folders alone
            folders = glob.glob(of_folders, recursive=True) if of_folders else ["."]
            closed |= {os.path.normpath(one) for one in folders if not os.access(one, os.R_OK | os.X_OK)}
        head, tail = os.path.split(head)
    return sorted(closed)


def _why_not(source: str) -> str:
    """Say why what is neither a file nor a folder is no archive."""
    try:
        os.stat(source)
    except FileNotFoundError:
        return "a link to nothing" if os.path.islink(source) else "no such file or folder"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "neither a file nor a folder"


def _file(path: str) -> Found:
    path = os.path.abspath(path)
    return Found(_text(path), path)


def _text(path: str) -> str:
    """Return a path as Parquet can hold it: with escapes for bytes that are not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _at_address(source: str) -> list[Found]:
    try:
        system, path = fsspec.core.url_to_fs(source)
        if any(sign in path for sign in _MAGIC):
            paths = [name for name in system.glob(path) if system.isfile(name)]
        elif not system.isfile(path):
            paths = [name for name in system.find(path) if _suffix(name) in AUDIO_SUFFIXES]
        elif _suffix(path) in AUDIO_SUFFIXES:
            paths = [path]
        else:
            with system.open(path, "rb") as file:
                names = _listed(source, file)
            parent = source.rpartition("/")[0]
            return [Found(name, name if "://" in name else f"{parent}/{name}") for name in names]
        is_here_alone = "memory" in system.protocol
        found = []
        for path in sorted(paths):
            address = system.unstrip_protocol(path)
            found.append(Found(address, address, system.cat_file(path) if is_here_alone else None))
        return found
    except DataError:
        raise
    except FileNotFoundError:
        return []
    except Exception as error:  # each kind of address has failures of its own
        raise UnavailableError(f"{source}: cannot be listed ({type(error).__name__}: {error})") from error


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _listed(name: str, file: Any) -> Iterable[str]:
    """Return the paths that a list names: a column of Parquet, or lines."""
    if _suffix(name) != ".parquet":
        content = file.read().removeprefix(codecs.BOM_UTF8)  # which some editors write
        # As PowerShell writes what is sent to a file.
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            try:
                content = content.decode("utf-16").encode()
            except UnicodeDecodeError:
                raise DataError(f"{name}: not UTF-16, as it says it is") from None
        if b"\0" in content:  # which no path has
            raise DataError(f"{name}: no text with a path on each line; save it as UTF-8")
        return [os.fsdecode(line) for line in content.splitlines() if line.strip()]
    try:
        table = pyarrow.parquet.ParquetFile(file)
        if (names := table.schema_arrow.names).count(PATH_COLUMN) != 1:
            raise DataError(f"{name}: needs one column {PATH_COLUMN}, found {', '.join(names) or 'none'}")
        column = table.read(columns=[PATH_COLUMN])[PATH_COLUMN]
        return [path for path in column.cast(pyarrow.string()).to_pylist() if path]
    except pyarrow.ArrowException as error:
        raise DataError(f"{name}: cannot be read as Parquet ({error})") from error
