"""What all rooms share: files written whole or not at all, records of runs, process pools, messages.

Imports no other module of `affectd_train`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from affectd.errors import NoInputError

T = TypeVar("T")
R = TypeVar("R")


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


class Fitted(TypedDict):
    """What ``fit.json`` holds, beside the weights of a run.

    ``recipe`` may be of an earlier version, with other numbers; ``mean`` and ``std`` are per coefficient;
    ``speakers`` and ``clips`` (corpus -> how many) are those trained on.
    """

    recipe: dict[str, Any]
    labels: list[str]
    mean: list[float]
    std: list[float]
    speakers: list[str]
    clips: dict[str, int]


def read_fitted(run: Path) -> Fitted:
    """Read what training noted about a finished run.

    Raises
    ------
    NoInputError
        If nothing was fitted in ``run``.
    """
    fitted: Fitted = json.loads(needed(run / "fit.json", "fit").read_text())
    return fitted


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a file beside ``path`` to write to, with the same suffix, and rename it to ``path`` at the end."""
    beside = path.with_name(f"{path.stem}.partial{path.suffix}")
    yield beside
    os.replace(beside, path)


def write_text(path: Path, text: str) -> None:
    """Write a text file and its last newline, whole or not at all."""
    with written_whole(path) as beside:
        beside.write_text(text + "\n")


def write_arrays(path: Path, **arrays: npt.ArrayLike) -> None:
    """Write an ``.npz`` file, whole or not at all, into a folder that is made if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as beside:
        np.savez(beside, **arrays)  # type: ignore[arg-type]  # an array may have any name but "allow_pickle"


def write_json(path: Path, content: Any) -> None:
    """Write what JSON can hold, whole or not at all."""
    write_text(path, json.dumps(content, indent=1))


def in_parallel(function: Callable[[T], R], items: Sequence[T], title: str) -> Iterator[R]:
    """Map a function over items on all cores, with a progress bar; the results come in the order of the items.

    The function is sent to the processes by the name of its module.
    """
    # Not fork: the parent may already run TensorFlow's threads.
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(os.cpu_count(), context) as pool:
        yield from tqdm(pool.map(function, items, chunksize=16), title, total=len(items))


def say(line: str) -> None:
    """Write a line to standard error without breaking a progress bar; what a terminal would obey is escaped."""
    tqdm.write(escaped(line), file=sys.stderr)


def escaped(line: str) -> str:
    r"""Make a line of text that may hold any file name fit to print.

    Examples
    --------
    >>> print(escaped("été\\n.wav"), escaped("\\x1b[2J"))
    été\\n.wav \\x1b[2J
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
