"""The benchmark of archives runs, and finds what it is about."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import archive_documents

for _name in ("ray", "pyarrow"):
    pytest.importorskip(_name, reason=f"no {_name}: pip install 'affectd[ray]'")

BENCHMARK = Path(__file__).parents[2] / "benchmark_archives.py"


@pytest.mark.slow
def test_every_way_answers_all_and_is_measured(speech_data: Path, tmp_path: Path) -> None:
    file = tmp_path / "cost.json"
    words = [sys.executable, BENCHMARK, "--files", "400", "--turns", "1", "--json", file]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    assert found["recordings"]["files"] == 400
    assert 3 < found["recordings"]["seconds"] < 4
    runs = {run["kind"]: run for run in found["runs"]}
    assert set(runs) == {*archive_documents.NAMES, "tenth 1"}
    for kind, run in runs.items():
        assert run["answered"] >= (0.8 * 40 if kind == "tenth 1" else 0.9 * 400)
        assert 50 < run["worker_mb"] <= 250
        assert run["cpu_seconds"]["worker"] > 0.1
        # Of two cores; and what a pool costs besides is little.
        assert sum(run["cpu_seconds"].values()) < 1.2 * run["seconds"] * found["machine"]["cores"]
        assert (run["cpu_seconds"]["rest"] > 1) == (not kind.startswith("pool"))
    assert done.stdout == archive_documents.as_text(found) + "\n"
    assert all(f"| {name} |" in done.stdout for name in archive_documents.NAMES.values())
