"""Ray, where work is done by several processes or machines: how it is started, joined, and missed.

Ray is imported where it is used, after this.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from affectd.errors import UnavailableError
from affectd.stdio import quiet

# Read when Ray is imported. It would tell its makers that it is used, and write what concerns developers.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

RETRIES = 2
"""Of work whose process was killed; it goes on from what it left."""

_CONNECT_SECONDS = 10.0
_STORE_BYTES = 256 << 20


def without_ray(command: str, error: ImportError) -> UnavailableError:
    """Say how to get Ray, or what comes with it, where a command needs it and it is not installed."""
    return UnavailableError(f'affectd-train {command} needs Ray ({error}): pip install ".[ray]" in the checkout')


def work_in(folder: str) -> None:
    """Let a process of Ray work in a folder, with as many threads as any other: what is computed depends on them."""
    os.chdir(folder)
    os.environ.pop("OMP_NUM_THREADS", None)  # Ray's own


@contextmanager
def cluster(address: str | None, workers: int | None) -> Iterator[int]:
    """Join a cluster, or start one on this machine; give the number of workers.

    Parameters
    ----------
    address
        Of a cluster to join; None: this machine alone.
    workers
        How many; None: one for each processor.

    Raises
    ------
    UnavailableError
        If Ray cannot be started, or does not answer at the address.
    """
    import ray

    n_workers = workers or os.cpu_count() or 1
    with (
        # The path of a socket has at most 107 characters, so it is not where TMPDIR may lead to.
        tempfile.TemporaryDirectory(prefix="affectd-", dir="/tmp", ignore_cleanup_errors=True) as folder,
        # Where Ray says at length that a worker died.
        open(os.devnull, "w") as nothing,
        redirect_stdout(nothing),
    ):
        try:
            _start(address, n_workers, Path(folder))
            yield n_workers if address is None or workers else max(1, int(ray.cluster_resources().get("CPU", 1)))
        finally:
            ray.shutdown()


def _start(address: str | None, n_workers: int, folder: Path) -> None:
    """Start Ray, or what joins a cluster."""
    import ray

    # It takes over what ends a program.
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    words: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address is not None and (n_threads := os.environ.get("OPENBLAS_NUM_THREADS")):
        # Read when NumPy is imported, which Ray does; processes that this one starts inherit it.
        words["runtime_env"] = {"env_vars": {"OPENBLAS_NUM_THREADS": n_threads}}
    if address is None:
        words |= {"num_cpus": n_workers, "object_store_memory": _STORE_BYTES, "_temp_dir": str(folder)}
        words |= {"include_dashboard": False}
    try:
        _check(address)
        with quiet():
            try:
                ray.init(address or "local", **words)
            except RuntimeError:
                if address:
                    raise
                ray.shutdown()
                ray.init("local", **words)  # a port that it had found free may be taken by the time it is used
    except (OSError, RuntimeError, ValueError) as error:
        where = f"answers at {address}" if address else "can be started on this machine"
        raise UnavailableError(f"no Ray {where}: {_first_line(error)}") from error
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _check(address: str | None) -> None:
    """Raise OSError if nothing answers at HOST:PORT: Ray itself would try for minutes."""
    host, colon, port = (address or "").rpartition("://")[2].rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
