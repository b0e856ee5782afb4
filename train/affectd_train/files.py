"""What all rooms share: files written whole or not at all, process pools, messages.

Imports no other module of `affectd_train`.
"""

from __future__ import annotations

import glob
import io
import itertools
import json
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from affectd.errors import NoInputError, UnavailableError
from affectd.stdio import printable

_CHUNK = 16
_stop: Event | None = None  # of a process of a pool

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
        left.unlink(missing_ok=True)


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


def in_parallel(function: Callable[[T], R], items: Sequence[T], title: str) -> Iterator[R]:
    """Map a function over items on all cores, with a progress bar; the results come in the order of the items.

    The function is sent to the processes by the name of its module. Whatever ends the caller ends the processes too.

    Raises
    ------
    UnavailableError
        If a process is killed, as the system does when memory runs out.
    """
    # Not fork: the parent may already run TensorFlow's threads.
    context = multiprocessing.get_context("forkserver")
    # Ctrl-C reaches all processes of a terminal. This one tells the others, which inherit that they do not hear it.
    resource_tracker.ensure_running()  # before, because it lets the signal through again when it has started
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with _one_thread():
            forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, heard)
    stop = context.Event()
    pool = ProcessPoolExecutor(os.cpu_count(), context, _start, (stop,))
    try:
        chunks = [items[i : i + _CHUNK] for i in range(0, len(items), _CHUNK)]
        # Not pool.map, which cancels behind the back of the pool: that falls over it when a process is killed then.
        futures = deque(pool.submit(_all_of, function, chunk) for chunk in chunks)
        results = (futures.popleft().result() for _ in chunks)
        yield from tqdm(itertools.chain.from_iterable(results), title, total=len(items))
    except BrokenProcessPool:
        raise UnavailableError(f"{title}: a process was killed, as happens when memory runs out") from None
    finally:
        stop.set()  # rather than to kill them, at which the pool itself falls over
        pool.shutdown(cancel_futures=True)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let NumPy take one thread in each process that is started here, unless the user wants more.

    As many threads in as many processes as there are cores wait for each other most of the time.
    """
    names = [name for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS") if name not in os.environ]
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name in names:
            del os.environ[name]


def _start(stop: Event) -> None:
    """Prepare a process of a pool: it ends with the one that started it, and finishes at most one item more."""
    global _stop
    _stop = stop

    def watch() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _all_of(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    return [function(item) for item in items if not (_stop and _stop.is_set())]


def say(line: str) -> None:
    """Write a line to standard error without breaking a progress bar; what a terminal would obey is escaped."""
    tqdm.write(printable(line), file=sys.stderr)
