"""The ring keeps order, keeps the newest, and accounts for every sample."""

from __future__ import annotations

import queue
import resource
import signal
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectd.audio.ring_buffer import SampleRing


@given(
    capacity=st.integers(1, 40),
    n_channels=st.integers(1, 3),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 90)), max_size=40),
)
def test_behaves_like_a_list_that_forgets_its_oldest(
    capacity: int, n_channels: int, steps: list[tuple[bool, int]]
) -> None:
    ring = SampleRing(capacity, n_channels)
    expected: list[int] = []
    dropped = told = counter = 0
    for is_write, n in steps:
        if is_write:
            values = np.arange(counter, counter + n, dtype=np.int16)
            counter += n
            ring.write(np.repeat(values[:, None], n_channels, axis=1))
            expected += values.tolist()
            dropped += max(0, len(expected) - capacity)
            expected = expected[-capacity:]
        else:
            missing, taken = ring.read(n, timeout_seconds=0)
            assert missing == dropped - told
            told = dropped
            assert taken.shape == (min(n, len(expected)), n_channels)
            assert taken[:, 0].tolist() == taken[:, -1].tolist() == expected[: len(taken)]
            expected = expected[len(taken) :]
        assert ring.losses[0] == dropped


def test_what_was_read_is_not_overwritten_by_later_writes() -> None:
    ring = SampleRing(4, 1)
    ring.write(np.array([[1], [2], [3], [4]], np.int16))
    _, taken = ring.read(4)
    ring.write(np.array([[5], [6], [7], [8]], np.int16))
    assert taken.ravel().tolist() == [1, 2, 3, 4]


def test_every_sample_is_either_delivered_in_order_or_counted_when_two_threads_race() -> None:
    n_blocks, block_length = 400, 50
    ring = SampleRing(500, 1)

    def write() -> None:
        for index in range(n_blocks):
            ring.write(np.full((block_length, 1), index, np.int16))

        ring.write(np.full((1, 1), -1, np.int16))

    writer = threading.Thread(target=write)
    writer.start()
    received = [ring.read(70)[1].ravel()]
    while received[-1][-1] != -1:
        received.append(ring.read(70)[1].ravel())
    writer.join()
    delivered = np.concatenate(received)[:-1]
    assert (np.diff(delivered) >= 0).all()
    assert len(delivered) + ring.losses[0] == n_blocks * block_length


def test_the_memory_is_there_before_the_first_write() -> None:
    # 8 MB: so much comes fresh from the system and not from what was freed before.
    samples = np.ones((4_000_000, 1), np.int16)
    ring = SampleRing(*samples.shape)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    ring.write(samples)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 100


def test_a_waiting_reader_is_woken_by_the_writer() -> None:
    ring = SampleRing(10, 2)
    taken: queue.Queue[int] = queue.Queue()

    def read() -> None:
        for _ in range(50):
            taken.put(len(ring.read(10)[1]))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    for _ in range(50):
        ring.write(np.ones((3, 2), np.int16))
        assert taken.get(timeout=10) == 3
    reader.join(timeout=10)
    assert not reader.is_alive()


def test_a_reader_that_waits_is_woken_only_when_there_is_enough() -> None:
    ring = SampleRing(100, 1)
    taken: list[int] = []
    reader = threading.Thread(target=lambda: taken.append(len(ring.read(50, 20.0, enough=30)[1])))
    reader.start()
    for n in (10, 19):
        ring.write(np.ones((n, 1), np.int16))
        reader.join(0.05)
        assert not taken
    ring.write(np.ones((1, 1), np.int16))
    reader.join(10)
    assert taken == [30]


@pytest.mark.parametrize("enough", [0, 101])
def test_enough_must_fit(enough: int) -> None:
    with pytest.raises(ValueError, match="enough"):
        SampleRing(100, 1).read(100, 0.0, enough)


class Stopped(Exception):
    """What the signal handler raises."""


def test_a_signal_that_raises_in_a_waiting_reader_leaves_the_ring_as_it_was() -> None:
    ring = SampleRing(1000, 1)
    waiting, ended = False, threading.Event()

    def stop(*_: object) -> None:
        nonlocal waiting
        if waiting:
            waiting = False
            raise Stopped

    def write() -> None:
        while not ended.wait(1e-4):
            ring.write(np.ones((1, 1), np.int16))

    before = signal.signal(signal.SIGALRM, stop)
    writer = threading.Thread(target=write, daemon=True)  # should it hang, pytest can still end
    writer.start()
    try:
        # At random times, often: a lock that is left held, or freed twice, needs a bad moment.
        for delay in np.random.default_rng(0).uniform(1e-5, 3e-4, 10_000).tolist():
            try:
                waiting = True
                signal.setitimer(signal.ITIMER_REAL, delay)
                while True:
                    ring.read(10, timeout_seconds=10)
            except Stopped:
                pass
        assert len(ring.read(10, timeout_seconds=10)[1]) > 0, "the writer still gets through"
    finally:
        signal.signal(signal.SIGALRM, before)
        ended.set()
        writer.join(10)
    assert not writer.is_alive()


@pytest.mark.parametrize(("capacity", "n_channels"), [(0, 1), (1, 0)])
def test_an_impossible_ring_is_refused(capacity: int, n_channels: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        SampleRing(capacity, n_channels)
