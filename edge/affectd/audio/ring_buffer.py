"""The buffer between the sound card, which cannot wait, and the pipeline, which may be late."""

from __future__ import annotations

import math
import threading
import time

import numpy as np

from affectd.arrays import Int16


class SampleRing:
    """A preallocated ring of int16 samples that drops the oldest when it is full, and counts them.

    One thread writes (PortAudio's callback), one reads. The lock is held only for a copy of at most
    `capacity` samples, so the writer never waits for the reader's work. A signal handler may raise while the
    reader waits: plain locks survive that wherever it happens, `threading.Condition` does not.

    Parameters
    ----------
    capacity : int
        Samples per channel that fit.
    n_channels : int
        Interleaved channels.
    enough : int
        So many samples wake a reader that waits.
    """

    def __init__(self, capacity: int, n_channels: int, enough: int = 1) -> None:
        if capacity < 1 or n_channels < 1:
            raise ValueError(f"capacity and n_channels must be at least 1, got {capacity} and {n_channels}")
        if not 1 <= enough <= capacity:
            raise ValueError(f"enough must lie in 1 to the capacity of {capacity}, got {enough}")
        self._enough = enough
        # Filled and not np.zeros, which leaves it to the first use to get the memory: that would be the callback.
        self._data = np.full((capacity, n_channels), 0, np.int16)
        self._start = 0
        self._n_stored = 0
        self._n_dropped = 0
        self._n_missing = 0
        self._n_overflows = 0
        self._lock = threading.Lock()
        # Locked while there is not enough: the writer unlocks it, the reader waits to lock it.
        self._news = threading.Lock()
        self._news.acquire()

    @property
    def losses(self) -> tuple[int, int]:
        """Samples per channel that were not read in time, and how often the writer said it had lost some before."""
        with self._lock:
            return self._n_dropped, self._n_overflows

    def write(self, samples: Int16, *, overflowed: bool = False) -> None:
        """Append samples of shape (n, n_channels); never waits for the reader, never grows."""
        capacity = len(self._data)
        with self._lock:
            self._n_overflows += overflowed
            lost = max(0, self._n_stored + len(samples) - capacity)
            self._n_dropped += lost
            self._n_missing += lost
            samples = samples[-capacity:]
            end = self._start + self._n_stored
            self._n_stored = min(capacity, self._n_stored + len(samples))
            # When a block is longer than the ring, only its newest part is copied, still right behind
            # what is stored: the dropped samples in between take no room.
            _copy_in(self._data, end % capacity, samples)
            self._start = (end + len(samples) - self._n_stored) % capacity
        if self._n_stored >= self._enough and self._news.locked():
            self._news.release()

    def read(self, max_samples: int, timeout_seconds: float | None = None) -> tuple[int, Int16]:
        """Wait until there are enough samples, or for `timeout_seconds`, and take the oldest of them.

        Returns
        -------
        n_missing : int
            Samples that were dropped between the last ones read and these: where they are missing in time.
        samples : ndarray of int16, shape (n, n_channels)
            1 to `max_samples` samples; none if nothing came in time.
        """
        deadline = math.inf if timeout_seconds is None else time.monotonic() + timeout_seconds
        # No lock to look: only this thread makes it smaller. The news may be old, so look again.
        while self._n_stored < self._enough and (left := deadline - time.monotonic()) > 0:
            self._news.acquire(timeout=min(left, threading.TIMEOUT_MAX))
        with self._lock:
            n = min(max_samples, self._n_stored)
            wrapped = max(0, self._start + n - len(self._data))
            taken = np.concatenate([self._data[self._start : self._start + n], self._data[:wrapped]])
            self._start = (self._start + n) % len(self._data)
            self._n_stored -= n
            n_missing, self._n_missing = self._n_missing, 0
            return n_missing, taken


def _copy_in(data: Int16, at: int, samples: Int16) -> None:
    until_wrap = min(len(samples), len(data) - at)
    data[at : at + until_wrap] = samples[:until_wrap]
    if until_wrap < len(samples):
        data[: len(samples) - until_wrap] = samples[until_wrap:]
