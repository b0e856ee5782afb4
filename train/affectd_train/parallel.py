"""Work that is done on all cores.

Imports no other module of `affectd_train`.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.synchronize import Event
from typing import TypeVar

from tqdm import tqdm

from affectd.errors import UnavailableError

_CHUNK = 16
_stop: Event | None = None  # of a process of a pool

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(function: Callable[[T], R], items: Sequence[T], title: str, *, alone: bool = False) -> Iterator[R]:
    """Map a function over items on all cores, with a progress bar; the results come in the order of the items.

    The function is sent to the processes by the name of its module. Whatever ends the caller ends the processes too.
    `alone` is to map it in this process: for what takes less time than each process would need to begin.

    Raises
    ------
    UnavailableError
        If a process is killed, as the system does when memory runs out.
    """
    if alone:
        yield from map(function, tqdm(items, title))
        return
    # Not fork: the parent may already run TensorFlow's threads.
    context = multiprocessing.get_context("forkserver")
    # Ctrl-C reaches all processes of a terminal. This one tells the others, which inherit that they do not hear it.
    resource_tracker.ensure_running()  # before, because it lets the signal through again when it has started
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    # Imported once, before the processes of all pools are forked, where each of them would take a second for it.
    context.set_forkserver_preload(["__main__", getattr(function, "func", function).__module__])
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
