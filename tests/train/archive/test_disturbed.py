"""Archives in which drivers, workers and recordings kill or are killed, on one machine and on two nodes."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from archives import answers, clips, command, rows, run
from ray_nodes import nodes

for _name in ("ray", "pyarrow"):
    pytest.importorskip(_name, reason=f"no {_name}: pip install 'affectd[ray]'")

CLIPS = 12
DEADLY = """
import os, sys
sys.addaudithook(lambda event, words: os._exit(1) if event == "open" and "deadly" in str(words[0]) else None)
"""
"""Of a folder in PYTHONPATH: every process that opens a recording with this name dies at once."""


def started(*words: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(command(*words), stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(process: subprocess.Popen[str], percent: int) -> None:
    said = ""
    while not any(int(found) >= percent for found in re.findall(r"(\d+)%", said)):
        assert process.stderr is not None
        more = process.stderr.read(60)
        assert more, said
        said += more


def workers() -> list[int]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if b"ray::MapWorker" in Path("/proc", pid, "cmdline").read_bytes():
                found.append(int(pid))
    return found


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    """A folder of recordings, and what an undisturbed run answers."""
    folder = tmp_path_factory.mktemp("many")
    calls = clips(folder / "calls", 1500)
    (calls / "0700.wav").write_text("no sound")
    assert run(calls, "--out", folder / "whole").returncode == 0
    yield calls, answers(folder / "whole")
    shutil.rmtree(folder)


@pytest.mark.slow
def test_whatever_dies_nothing_is_lost_and_nothing_is_there_twice(many: Any, tmp_path: Path) -> None:
    calls, expected = many
    table = tmp_path / "table"
    for percent, number in ((30, signal.SIGKILL), (50, signal.SIGINT), (60, signal.SIGTERM), (70, signal.SIGKILL)):
        process = started(calls, "--out", table)
        wait_for(process, percent)
        os.killpg(process.pid, number)
        process.communicate(timeout=60)
        assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    process = started(calls, "--out", table)
    wait_for(process, 80)
    os.kill(workers()[0], signal.SIGKILL)
    process.communicate(timeout=300)
    assert process.returncode == 0
    assert answers(table) == expected
    assert not list(table.rglob("*partial*"))


@pytest.mark.slow
def test_a_recording_at_which_every_worker_dies_is_broken_and_the_others_are_answered(tmp_path: Path) -> None:
    calls = clips(tmp_path / "calls", CLIPS)
    shutil.copy(calls / "0000.wav", calls / "deadly.wav")
    (tmp_path / "sitecustomize.py").write_text(DEADLY)
    done = run(calls, "--out", tmp_path / "table", path=tmp_path)
    assert done.stdout == f"{tmp_path}/table: {CLIPS + 1} recordings; 1 broken: {tmp_path}/table/_broken\n"
    assert [Path(row["path"]).name for row in rows(tmp_path / "table/_broken")] == ["deadly.wav"]
    assert len(rows(tmp_path / "table")) == CLIPS


@pytest.mark.slow
def test_two_nodes_answer_as_one_machine(many: Any, tmp_path: Path) -> None:
    calls, expected = many
    with nodes(2) as cluster:
        process = started(calls, "--out", tmp_path / "table", "--address", cluster.address)
        wait_for(process, 30)
        parents = {Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1] for pid in workers()}
        process.communicate(timeout=300)
        assert process.returncode == 0
    assert len(parents) == 2
    assert answers(tmp_path / "table") == expected


@pytest.mark.slow
def test_memory_is_flat_and_a_worker_has_no_tensorflow(many: Any, tmp_path: Path) -> None:
    calls, _ = many
    process = started(calls, "--out", tmp_path / "table")
    peaks: dict[int, int] = {}
    while process.poll() is None:
        for pid in workers():
            with contextlib.suppress(OSError):
                peak = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
                peaks[pid] = int(peak[1]) if peak else 0
                assert not re.search("tensorflow|keras", Path(f"/proc/{pid}/maps").read_text())
        time.sleep(0.2)
    process.communicate()
    assert peaks
    assert max(peaks.values()) < 250e6 / 1024
