"""The buffer between the sound card's callback and the pipeline."""

from __future__ import annotations

import math
import threading
import time

import numpy as np

from affectd.arrays import Int16


class SampleRing:
    """A preallocated ring of int16 samples that drops the oldest when it is full, and counts them.

    One thread writes (PortAudio's callback), one reads. The lock is held only while copying, so the writer does
    not wait for the reader's work. Plain locks and not `threading.Condition`, which does not survive a signal
    handler that raises during a wait.

    `capacity` is in samples per channel.
    """

    def __init__(self, capacity: int, n_channels: int) -> None:
        if capacity < 1 or n_channels < 1:
            raise ValueError(f"capacity and n_channels must be at least 1, got {capacity} and {n_channels}")
        self._enough = 1
        # Not np.zeros, whose memory is allocated at the first write: in the callback.
        self._data = np.full((capacity, n_channels), 0, np.int16)
        self._start = 0
        self._n_stored = 0
        self._n_dropped = 0
        self._n_missing = 0
        self._n_overflows = 0
        self._lock = threading.Lock()
        # Works as an event: the writer releases it, the reader waits to acquire it.
        self._ready = threading.Lock()
        self._ready.acquire()

    @property
    def losses(self) -> tuple[int, int]:
        """Samples per channel dropped because they were not read in time, and overflows reported by the writer."""
        with self._lock:
            return self._n_dropped, self._n_overflows

    def write(self, samples: Int16, *, overflowed: bool = False) -> None:
        """Append samples of shape (n, n_channels); does not wait for the reader, does not allocate."""
        capacity = len(self._data)
        with self._lock:
            self._n_overflows += overflowed
            lost = max(0, self._n_stored + len(samples) - capacity)
            self._n_dropped += lost
            self._n_missing += lost
            samples = samples[-capacity:]
            end = self._start + self._n_stored
            self._n_stored = min(capacity, self._n_stored + len(samples))
            # Of a block longer than the ring only the newest part is copied, right behind what is stored.
            _copy_in(self._data, end % capacity, samples)
            self._start = (end + len(samples) - self._n_stored) % capacity
        if self._n_stored >= self._enough and self._ready.locked():
            self._ready.release()

    def read(self, max_samples: int, timeout_seconds: float | None = None, enough: int = 1) -> tuple[int, Int16]:
        """Wait until `enough` samples are stored, or for `timeout_seconds`, and take the oldest.

        `enough` is at least 1 and at most the capacity.

        Returns
        -------
        n_missing : int
            Samples dropped between the previous read and these.
        samples : ndarray of int16, shape (n, n_channels)
            At most `max_samples`; none after a timeout.
        """
        if not 1 <= enough <= len(self._data):
            raise ValueError(f"enough must lie in 1 to the capacity of {len(self._data)}, got {enough}")
        self._enough = enough  # before the look at what is stored, so that the writer misses no reader
        deadline = math.inf if timeout_seconds is None else time.monotonic() + timeout_seconds
        # No lock is needed to look: only this thread makes the count smaller.
        while self._n_stored < enough and (left := deadline - time.monotonic()) > 0:
            self._ready.acquire(timeout=min(left, threading.TIMEOUT_MAX))
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
