"""What lies in a folder of recordings, what of it is left out and why, and whether a file is still the same.

Every folder that the desktop reads is listed by `walk`: corpora, noise, rooms, everyday speech.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import stat
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from affectd.errors import DataError
from affectd_train.files import say

AUDIO_SUFFIXES = frozenset(
    (
        ".wav",
        ".wave",
        ".flac",
        ".ogg",
        ".oga",
        ".opus",
        ".mp3",
        ".aif",
        ".aiff",
        ".aifc",
        ".au",
        ".caf",
        ".w64",
        ".rf64",
    )
)
"""What soundfile reads, in lower case."""

_OTHER_KINDS = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
_said: set[str] = set()


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
    target = os.path.realpath(link)
    return any(os.path.commonpath([target, place]) == target for place in map(os.path.realpath, (root, link.parent)))


def audio_files(folder: Path) -> list[Path]:
    """List the recordings under a folder as `walk` does, and say what is left out; none where there is no folder."""
    if not os.path.isdir(folder):
        return []
    found = walk(folder)
    audio = [path for path in found.files if path.suffix.lower() in AUDIO_SUFFIXES]
    others = (Skipped(path, "not an audio file") for path in found.files if path.suffix.lower() not in AUDIO_SUFFIXES)
    say_skipped(folder, [*found.skipped, *others])
    return audio


def say_skipped(what: object, skipped: Iterable[Skipped]) -> None:
    """Say what was left out: a line for every reason, with the number of files and one of them; the same line once.

    Reasons that differ in a number or a name alone are one.
    """
    groups: dict[str, list[Skipped]] = {}
    for path, reason in skipped:
        groups.setdefault(re.sub(r"\S*[\d/_'\"]\S*", "*", reason), []).append(Skipped(path, reason))
    for group in groups.values():
        (path, reason), *others = group
        how_many = f"{len(group)} files, such as {path.name}" if others else path.name
        line = f"{what}: skipped {how_many}: {reason} (in {path.parent})"
        if line not in _said:
            _said.add(line)
            say(line)


def fingerprint(path: Path) -> str:
    """Name the content of a file: a copy has the same name, whatever its time, and another content has another.

    Read once per process and version of the file. Of a file that cannot be read it says so.
    """
    try:
        now = path.stat()
        return _digest(path, (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns))
    except OSError as error:
        return f"unreadable: {error.strerror}"


@functools.cache
def _digest(path: Path, version: tuple[int, ...]) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


def named_contents(paths: Sequence[Path]) -> list[list[str]]:
    """Return name and `fingerprint` of files, fit for JSON: a key for caches."""
    return [[path.name, fingerprint(path)] for path in paths]


def find_folders(root: Path, names: Collection[str]) -> dict[str, Path]:
    """Find folders by name, in any case and with or without dashes; what has such a name and is none is said.

    Raises
    ------
    DataError
        If two folders claim the same name.
    """
    found: dict[str, Path] = {}
    named = {_plain(name): name for name in names}
    for path in sorted(root.iterdir(), key=lambda path: (path.is_symlink(), path)):
        name = named.get(_plain(path.name), "")
        if path.name.startswith(".") or not name:
            continue
        if not os.path.isdir(path):
            kind = "not a folder" if os.path.exists(path) else "a link to nothing"
            say_skipped(root, [Skipped(path, kind)])
        elif name not in found:
            found[name] = path
        elif not path.samefile(found[name]):
            raise DataError(f"{found[name]} and {path} both look like {name}; rename one of them")
    return found


def _plain(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())
