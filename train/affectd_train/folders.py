"""What lies in a folder of recordings, what of it is left out and why, and whether a file is still the same.

Every folder that the desktop reads is listed by `affectd.folders.walk`: corpora, noise, rooms, everyday speech.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from affectd.errors import DataError
from affectd.folders import Skipped, skipped_lines, walk
from affectd_train.files import say

AUDIO_SUFFIXES = frozenset(
    (
        ".wav",
        ".wave",
        ".bwf",
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

_OTHER_SOUND = frozenset(
    [
        ".3gp",
        ".aac",
        ".ac3",
        ".amr",
        ".avi",
        ".flv",
        ".m4a",
        ".m4b",
        ".m4v",
        ".mka",
        ".mkv",
        ".mov",
        ".mp2",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".spx",
        ".webm",
        ".wma",
        ".wmv",
        ".wv",
    ]
)
"""What telephones, browsers and cameras record besides."""

_ARCHIVES = frozenset((".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"))
_UNFINISHED = frozenset((".part", ".partial", ".crdownload", ".download", ".aria2", ".tmp"))

_NO_AUDIO = "not an audio file"

_said: set[str] = set()


def audio_files(folder: Path) -> list[Path]:
    """List the recordings under a folder as `walk` does, and say what is left out; none where there is no folder."""
    if not os.path.isdir(folder):
        return []
    found = walk(folder)
    others = [Skipped(path, reason) for path in found.files if (reason := no_audio(path))]
    say_skipped(folder, [*found.skipped, *others])
    return [path for path in found.files if not no_audio(path)]


def no_audio(path: Path) -> str:
    """Return why a file is no recording by its name, in words; empty if it is one."""
    suffix = path.suffix.lower()
    if suffix in AUDIO_SUFFIXES:
        return ""
    if suffix in _OTHER_SOUND:
        return f"soundfile does not read {suffix}; convert it first: ffmpeg -i IN{suffix} OUT.wav"
    if suffix in _ARCHIVES:
        return "an archive, into which nothing looks: unpack it"
    return "a download that is not complete" if suffix in _UNFINISHED else _NO_AUDIO


def say_packed(folder: Path) -> None:
    """Say which files right in a folder are archives or unfinished downloads: they may hold what is missed there."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    reasons = ((path, no_audio(path)) for path in files)
    say_skipped(folder, [Skipped(path, reason) for path, reason in reasons if reason not in ("", _NO_AUDIO)])


def say_skipped(what: object, skipped: Iterable[Skipped]) -> None:
    """Say what was left out as `skipped_lines` puts it; the same line once."""
    for line in skipped_lines(what, skipped):
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
