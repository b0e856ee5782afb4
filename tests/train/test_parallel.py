"""Work on all cores gives its results in order, and takes no more threads than there are cores."""

from __future__ import annotations

import operator
import os
from functools import partial

import pytest

from affectd_train.parallel import in_parallel


def test_results_come_in_the_order_of_the_items() -> None:
    assert list(in_parallel(partial(operator.mul, 2), range(50), "doubled")) == list(range(0, 100, 2))


def test_each_process_of_a_pool_computes_in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    assert list(in_parallel(os.getenv, ["OPENBLAS_NUM_THREADS"], "asked")) == ["1"]
    assert "OPENBLAS_NUM_THREADS" not in os.environ
