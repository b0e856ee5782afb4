"""Where events may be written: not over a file that the settings name for something else, nor into the state.

Nor into a file that holds something else, whatever its name.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from affectd.config.directories import is_of_state, runtime_directory, state_directory
from affectd.errors import ConfigError
from affectd.files import check_regular

_FIRST_BYTES = 1 << 16  # many times an event
_BEGIN = b'{"schema": '  # of an event


def check_event_file(path: str, keep: int, others: Iterable[tuple[str, str]]) -> None:
    """Check that a file of events, rotated to `keep` more, is none of the `others`, which are names and paths.

    What is in the file is not looked at: it may be new, or empty.

    Raises
    ------
    ConfigError
        It is one of them, also through links, or belongs to the state.
    """
    try:
        target = os.path.realpath(path)
        for name, other in others:
            real = os.path.realpath(other)
            number = real.removeprefix(f"{target}.")
            is_rotated = real != number and number.isdecimal() and 1 <= int(number) <= keep
            if real == target or is_rotated or _is_same(real, target):
                raise ConfigError(f"[file] path must be a file of its own, not {name} {other}")
        for folder in filter(None, (state_directory(), runtime_directory())):
            if _is_state(Path(target), Path(os.path.realpath(folder))):
                raise ConfigError(f"[file] path must be a file of its own, not one of the state in {folder}")
    except (OSError, ValueError):  # the folder that it is relative to is gone
        return


def _is_same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _is_state(path: Path, folder: Path) -> bool:
    if not path.is_relative_to(folder) or path == folder:
        return False
    return is_of_state(path.relative_to(folder).parts[0])


def rotated(path: Path, keep: int) -> list[Path]:
    """Return where a file of events goes when it is rotated, the newest first."""
    return [path.with_name(f"{path.name}.{number}") for number in range(1, keep + 1)]


def check_content(path: Path, keep: int) -> None:
    """Raise OSError if a file of events, or one that it would become, holds something else; nothing is made."""
    for old in rotated(path, keep):
        check_rotated(old)
    with suppress(FileNotFoundError):
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            check_events(file)
        finally:
            os.close(file)


def check_rotated(path: Path) -> None:
    """Raise OSError if there is something else than a file of events."""
    try:
        check_regular(path.lstat())
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OSError(error.errno, f"{path.name}, which it would become, cannot be used ({error.strerror})") from error
    try:
        check_events(file)
    except OSError as error:
        raise OSError(error.errno, f"{path.name}, which it would become: {error.strerror}") from error
    finally:
        os.close(file)


def check_events(file: int) -> None:
    """Raise OSError if a file holds something else than events."""
    begin = os.pread(file, _FIRST_BYTES, 0)
    first, *others = begin.split(b"\n")
    if _is_event(first) and others:
        return
    # Without an end it may be anything, such as the image of a disk.
    has_end = bool(others) or len(begin) < _FIRST_BYTES
    if not (has_end and all(_is_event(line) or _is_piece(line) for line in (first, *others[:-1]))):
        raise OSError(errno.EEXIST, "it holds something else than events of affectd")


def _is_piece(line: bytes) -> bool:
    """Return whether a power cut may leave that of an event: half of it, or zeros in place of a part."""
    start, _, rest = line.partition(b"\0")
    rest = rest.lstrip(b"\0")
    is_rest = _BEGIN.startswith(rest) or rest.startswith(_BEGIN)
    is_end = rest.endswith(b"}") and rest.decode(errors="replace").isprintable()
    return start.startswith(_BEGIN) or (_BEGIN.startswith(start) and (is_rest or is_end))


def _is_event(line: bytes) -> bool:
    try:
        event = json.loads(line.lstrip(b"\0"))
    except (ValueError, RecursionError):
        return False
    return isinstance(event, dict) and {"schema", "type"} <= event.keys()
