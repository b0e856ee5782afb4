"""What all rooms share: files written whole or not at all, and messages.

Imports no other module of `affectd_train`.
"""

from __future__ import annotations

import glob
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from affectd.errors import NoInputError
from affectd.stdio import printable


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


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Make a folder and those that it lies in; which of them are empty at the end, as on a full disk, do not stay.

    Raises
    ------
    OSError
        If one cannot be made.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for path in missing:
            with suppress(OSError):
                path.rmdir()


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a file beside ``path`` to write to, with the same suffix, and rename it to ``path`` at the end.

    Its folder is made. Of processes that write it at the same time, the last one decides what it holds.

    Raises
    ------
    OSError
        If it cannot be written; nothing is left of it then, unless the disk may only be read since it was begun.
    """
    beside = _beside(path, str(os.getpid()))
    with made_folder(path.parent):
        try:
            yield beside
            with beside.open("rb") as file:  # else a full disk or a power cut may leave the name without the content
                os.fsync(file.fileno())
            os.replace(beside, path)
        except OSError as error:  # that of a full disk names no file, that of a library perhaps no reason but its words
            raise OSError(f"{path}: cannot be written ({error.strerror or error})") from error
        finally:
            with suppress(OSError):  # on a disk that may only be read, even where it is not there
                beside.unlink()


def remove_partial(path: Path) -> None:
    """Remove what processes that were killed left of a file that they had begun; only while no other writes it."""
    for left in path.parent.glob(_beside(path.with_name(glob.escape(path.name)), "*").name):
        with suppress(OSError):  # of another user it may have to stay
            left.unlink()


def _beside(path: Path, process: str) -> Path:
    return path.with_name(f"{path.stem}.{process}.partial{path.suffix}")


def write_text(path: Path, text: str) -> None:
    """Write a text file and its last newline, whole or not at all."""
    with written_whole(path) as beside:
        beside.write_text(text + "\n", "utf-8")


def write_array(path: Path, array: npt.ArrayLike) -> None:
    """Write an ``.npy`` file, whole or not at all."""
    # Not by NumPy itself, which does not look whether the last 4 kB of a file fit on the disk.
    content = io.BytesIO()
    np.save(content, array)
    with written_whole(path) as beside:
        beside.write_bytes(content.getbuffer())


def write_arrays(path: Path, **arrays: npt.ArrayLike) -> None:
    """Write an ``.npz`` file, whole or not at all."""
    with written_whole(path) as beside:
        np.savez(beside, **arrays)  # type: ignore[arg-type]  # an array may have any name but "allow_pickle"


def write_json(path: Path, content: Any) -> None:
    """Write what JSON can hold, whole or not at all."""
    write_text(path, json.dumps(content, indent=1))


def say(line: str) -> None:
    """Write a line to standard error without breaking a progress bar; what a terminal would obey is escaped."""
    tqdm.write(printable(line), file=sys.stderr)
