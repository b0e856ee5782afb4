"""Work on all cores gives its results in order, and takes no more threads than there are cores."""

from __future__ import annotations

import operator
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from affectd_train.parallel import in_parallel


def test_results_come_in_the_order_of_the_items() -> None:
    assert list(in_parallel(partial(operator.mul, 2), range(50), "doubled")) == list(range(0, 100, 2))


def test_what_is_done_alone_is_done_in_this_process() -> None:
    assert list(in_parallel(lambda _: os.getpid(), range(3), "alone", alone=True)) == [os.getpid()] * 3


def test_each_process_of_a_pool_computes_in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    assert list(in_parallel(os.getenv, ["OPENBLAS_NUM_THREADS"], "asked")) == ["1"]
    assert "OPENBLAS_NUM_THREADS" not in os.environ


def test_what_a_function_imports_is_imported_once_for_all_pools(tmp_path: Path) -> None:
    (tmp_path / "counted.py").write_text(
        'import os\n\nos.write(os.open("importers", os.O_CREAT | os.O_WRONLY | os.O_APPEND), b"x")\n\n\n'
        "def same(x):\n    return x\n"
    )
    program = (
        "import counted; from affectd_train.parallel import in_parallel\n"
        'for _ in range(2): print(*in_parallel(counted.same, [1, 2], ""))'
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, stdout=-1, check=True
    )
    assert done.stdout == b"1 2\n1 2\n"
    assert (tmp_path / "importers").read_bytes() == b"xx"  # the program, and what its pools are forked from
