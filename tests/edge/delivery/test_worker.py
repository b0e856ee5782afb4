"""The thread of deliveries."""

from __future__ import annotations

import threading

import pytest

from affectd.delivery.worker import Worker


def test_a_thread_that_cannot_be_started_is_started_with_the_next_job_and_not_waited_for() -> None:
    worker, done = Worker(), threading.Event()
    usual = threading.stack_size(1 << 46)  # more than there is
    try:
        with pytest.raises(RuntimeError, match="start new thread"):
            worker.do("first", done.set)
        worker.close(1.0)
        worker.is_closing = False
    finally:
        threading.stack_size(usual)
    worker.do("second", list)
    assert done.wait(30)
    worker.close(30.0)
