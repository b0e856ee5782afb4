"""What lies in a folder of recordings, what of it is left out and why: for both programs.

A place of its own, which only those commands import that are given folders.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

WAV_SUFFIXES = (".wav", ".wave", ".bwf", ".rf64")
"""How the names of recordings end that the device reads, in lower case."""

_OTHER_KINDS = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}


class Skipped(NamedTuple):
    """A file, a folder, or a row of CREMA-D's table (`clips.csv:NAME`), that is left out, and why."""

    path: Path
    reason: str


class Listing(NamedTuple):
    """What `walk` found, each sorted: regular files that can be opened, and everything left out."""

    files: list[Path]
    skipped: list[Skipped]


def walk(root: Path) -> Listing:
    """List the files under a folder, at any depth and through links; hidden ones are left out.

    Every folder is read once, at the place where it lies rather than where a link to it is, so links that lead back
    end. Nothing is opened: a pipe without a writer does not hang.
    """
    found = Listing([], [])
    seen: set[tuple[int, int]] = set()
    waiting = [root]  # reached by links: after all that lie here themselves
    while waiting:
        waiting.sort()
        folders = [waiting.pop(0)]
        while folders:
            folder = folders.pop()
            try:
                status = folder.stat()
                with os.scandir(folder) as entries:
                    names = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                found.skipped.append(Skipped(folder, f"a folder that cannot be read ({error.strerror})"))
                continue
            if (status.st_dev, status.st_ino) in seen:
                found.skipped.append(Skipped(folder, "a link to a folder that is read already"))
                continue
            seen.add((status.st_dev, status.st_ino))
            for entry in names:
                _sort_in(entry, root, found, waiting if entry.is_symlink() else folders)
    return Listing(sorted(found.files), sorted(found.skipped))


def _sort_in(entry: os.DirEntry[str], root: Path, found: Listing, folders: list[Path]) -> None:
    """Add an entry of a folder to the files, to the folders still to be read, or to what is left out."""
    path = Path(entry.path)
    try:
        mode = entry.stat().st_mode
    except OSError as error:
        gone = "a link to nothing" if entry.is_symlink() else "gone"
        reason = gone if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        found.skipped.append(Skipped(path, reason))
        return
    is_folder = stat.S_ISDIR(mode)
    if entry.name.startswith("."):
        reason = f"a hidden {'folder' if is_folder else 'file'}"
    elif is_folder and entry.is_symlink() and _leads_back(path, root):
        reason = "a link back to a folder that it lies in"
    elif not (is_folder or stat.S_ISREG(mode)):
        reason = f"{_OTHER_KINDS.get(stat.S_IFMT(mode), 'a device')}, not a file"
    elif not is_folder and not os.access(path, os.R_OK):
        reason = "may not be read by this user"
    else:
        (folders if is_folder else found.files).append(path)
        return
    found.skipped.append(Skipped(path, reason))


def _leads_back(link: Path, root: Path) -> bool:
    try:
        target, *places = map(os.path.realpath, (link, root, link.parent))
    except OSError:  # the working folder, to which they are relative, is gone
        return False
    return any(os.path.commonpath([target, place]) == target for place in places)


def skipped_lines(what: object, skipped: Iterable[Skipped]) -> Iterator[str]:
    """Put into words what was left out: a line for every reason, with the number of files and one of them.

    Reasons that differ in a number or a name alone are one.
    """
    groups: dict[str, list[Skipped]] = {}
    for path, reason in skipped:
        groups.setdefault(re.sub(r"\S*[\d/_'\"]\S*", "*", reason), []).append(Skipped(path, reason))
    for group in groups.values():
        (path, reason), *others = group
        how_many = f"{len(group)} files, such as {path.name}" if others else path.name
        yield f"{what}: skipped {how_many}: {reason} (in {path.parent})"
