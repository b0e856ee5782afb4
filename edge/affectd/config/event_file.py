"""Where events may be written: not over a file that the settings name for something else, nor into the state."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from affectd.config.directories import is_of_state, runtime_directory, state_directory
from affectd.errors import ConfigError


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
