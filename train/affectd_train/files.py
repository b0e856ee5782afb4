"""Files and messages: written whole or not at all, listed, asked for by the command that makes them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tqdm import tqdm

from affectd.errors import NoInputError


def needed(path: Path, command: str) -> Path:
    """Return the path of what an earlier command wrote.

    Raises
    ------
    NoInputError
        If it is not there; the message names the command.
    """
    if not path.is_file():
        raise NoInputError(f"{path}: no such file; affectd-train {command} writes it")
    return path


def write_text(path: Path, text: str) -> None:
    """Write a text file beside its place, then rename."""
    beside = path.with_name(path.name + ".partial")
    beside.write_text(text + "\n")
    os.replace(beside, path)


def say(line: str) -> None:
    """Write a line to standard error without breaking a progress bar."""
    tqdm.write(line, file=sys.stderr)


def audio_files(folder: Path) -> list[Path]:
    """List the recordings under a folder, at any depth."""
    return sorted(path for path in folder.rglob("*") if path.suffix in {".opus", ".wav", ".flac", ".ogg"})


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file beside its place, then rename."""
    beside = path.with_name(path.name + ".partial")
    beside.write_bytes(content)
    os.replace(beside, path)
