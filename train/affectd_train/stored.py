"""What one call leaves for another: read with care, made again when damaged, made by one process at a time."""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NotRequired, TypedDict, TypeVar

import numpy as np

from affectd.arrays import Array
from affectd.errors import AffectdError, DataError, NoInputError
from affectd.features.spec import FeatureSpec
from affectd_train.files import needed, remove_partial, say

T = TypeVar("T")
_REMEDY = "remove it, and the same command makes it again"


@contextmanager
def reading(path: Path, remedy: str) -> Iterator[None]:
    """Turn whatever a file that is damaged makes its reader raise into one sentence, which ends with the remedy.

    Raises
    ------
    NoInputError
        If the file cannot be opened or is none.
    DataError
        If its content is not what it should be.
    """
    if path.exists() and not path.is_file():  # before it is opened: a pipe would be waited for
        raise NoInputError(f"{path}: not a regular file; {remedy}")
    try:
        yield
    except AffectdError:
        raise
    except Exception as error:  # NumPy, json, zipfile, h5py and Keras raise many kinds for damaged content
        if isinstance(error, OSError) and error.errno is not None:
            raise NoInputError(f"{path}: cannot be read ({error.strerror})") from error
        raise DataError(f"{path}: damaged ({_reason(error)}); {remedy}") from error


def again(command: str) -> str:
    """Say how to have a file written again."""
    return f"remove it, and affectd-train {command} writes it again"


def read_json(path: Path, command: str) -> Any:
    """Read the JSON object that a command wrote; see `needed` and `reading` for what is raised."""
    needed(path, command)
    with reading(path, again(command)):
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError("not an object")
    return content


def cached(path: Path, read: Callable[[Path], T], make: Callable[[Path], None]) -> T:
    """Read what an earlier call stored in a cache, or make it now.

    Parameters
    ----------
    read
        Returns the content, and raises anything if it is not what it should be. Then it is made again, and said.
    make
        Writes the file, whole or not at all. One process makes it at a time; others wait and read what it made.
    """
    if path.exists():
        try:
            with reading(path, _REMEDY):
                return read(path)
        except DataError:
            pass  # another process may be making it again
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path):
        remove_partial(path)
        if not (path.exists() and sound(path, read)):
            make(path)
    with reading(path, _REMEDY):
        return read(path)


def sound(path: Path, read: Callable[[Path], object]) -> bool:
    """Tell whether a file can be read; one that is damaged is removed, which is said, so that it is made again."""
    try:
        with reading(path, _REMEDY):
            read(path)
    except DataError as error:
        say(f"{str(error).partition(';')[0]}; it is made again")
        path.unlink(missing_ok=True)
        return False
    return True


def arrays(path: Path, *names: str) -> list[Array]:
    """Read arrays of an ``.npz`` file, whose checksums tell every damage."""
    # NumPy leaves a file open that it cannot read.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return [stored[name] for name in names]


def check(right: bool, what: str) -> None:
    """Raise ValueError unless something read is as it should be."""
    if not right:
        raise ValueError(what)


class Origin(TypedDict):
    """The model file that training started from: its id, and what its card says of its recordings and their terms.

    ``clips`` (corpus -> how many) and ``speakers`` are those that its weights were ever trained on; what earlier
    versions wrote does not say the speakers.
    """

    model: str
    clips: dict[str, int]
    speakers: NotRequired[list[str]]
    data: list[dict[str, Any]]
    use: str


class Choice(TypedDict):
    """Whether training starts from a model file or from nothing, ``start`` or ``scratch``, and why.

    Unweighted accuracy of the int8 network either way, on ``clips`` of ``speakers`` that were held back of those that
    train; 0 speakers where none is known.
    """

    chosen: str
    start: float
    scratch: float
    clips: int
    speakers: int


CHOSEN = ("start", "finetune_steps", "finetune_rate")
"""What of a recipe a `Choice` is about."""


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
    start: NotRequired[Origin]
    choice: NotRequired[Choice]


def read_fitted(run: Path, command: str = "fit") -> Fitted:
    """Read what training noted about a finished run; the command is the one that writes it again.

    Raises
    ------
    NoInputError
        If nothing was fitted in ``run``.
    DataError
        If the note is damaged.
    """
    fitted: Fitted = read_json(run / "fit.json", command)
    with reading(run / "fit.json", again(command)):
        n_columns = FeatureSpec.from_dict(fitted["recipe"]["spec"]).n_columns
        check(len(fitted["mean"]) == len(fitted["std"]) == n_columns, f"mean and std are not of {n_columns} columns")
        numbers = [*fitted["mean"], *fitted["std"]]
        check(all(isinstance(n, int | float) and math.isfinite(n) for n in numbers), "mean or std holds no number")
        labels = fitted["labels"]
        is_list = isinstance(labels, list) and bool(labels) and all(isinstance(label, str) for label in labels)
        check(is_list, "labels are no names")
        check(all(isinstance(n, int) for n in fitted["clips"].values()), "clips are no numbers")
        check(isinstance(fitted["recipe"]["n_frames"], int), "n_frames is no number")
        check(isinstance(fitted["speakers"], list), "speakers are no list")
        for name in ("start", "choice"):
            check(isinstance(fitted.get(name, {}), dict), f"{name} is no object")
    return fitted


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time make a file; the others say that they wait. A killed one keeps nothing locked.

    Where the folder knows no locks, as on some network file systems, that is said, and nothing waits.
    """
    lock = path.with_name(f".{path.name}.lock")
    number = _acquired(lock, path)
    try:
        yield
    finally:
        # While it is locked, so that no other process has the file open and takes a lock that no third would see.
        with suppress(OSError):  # on a disk that may only be read by now, which what was to be written tells better
            lock.unlink()
        os.close(number)


def _acquired(lock: Path, path: Path) -> int:
    while True:
        try:
            number = _opened(lock)
        except OSError as error:
            error.filename = str(path)
            raise
        try:
            _wait(number, path)
            if _is(lock, number):
                return number
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                os.close(number)
                raise
            say(f"{path.parent} knows no locks ({error.strerror}): start nothing else that writes there")
            return number
        except BaseException:
            os.close(number)
            raise
        os.close(number)  # the process waited for has removed it


def _opened(lock: Path) -> int:
    try:
        return os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
    except PermissionError:
        if not lock.exists():
            raise
        return os.open(lock, os.O_RDONLY | os.O_CLOEXEC)  # of another user, who was killed or has it


def _wait(number: int, path: Path) -> None:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"{path}: another affectd-train is making it; waiting for that")
        fcntl.flock(number, fcntl.LOCK_EX)


def _is(lock: Path, number: int) -> bool:
    try:
        return os.path.samestat(lock.stat(), os.fstat(number))
    except FileNotFoundError:
        return False


def _reason(error: Exception) -> str:
    """Shorten what a library says to its first line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:120]}" if lines else type(error).__name__
