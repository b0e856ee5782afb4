"""NumPy has one thread in ``affectd-train``, unless it is told otherwise: figures depend on it to the last bit."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("threadpoolctl")
CODE = """
import affectd_train.cli, numpy, threadpoolctl
print(*{found["num_threads"] for found in threadpoolctl.threadpool_info() if "numpy" in found["filepath"]})
"""


def threads(**told: str) -> str:
    environment = {key: value for key, value in os.environ.items() if "NUM_THREADS" not in key} | told
    return subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env=environment
    ).stdout


@pytest.mark.skipif(os.cpu_count() == 1, reason="one processor")
def test_numpy_has_one_thread_unless_it_is_told_otherwise() -> None:
    assert (threads(), threads(OPENBLAS_NUM_THREADS="2")) == ("1\n", "2\n")
