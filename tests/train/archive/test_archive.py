"""Archives: every recording is answered exactly once, as `affectd classify` does, whatever dies on the way."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sounds import gain, noise, silence, syllables

for _name in ("ray", "pyarrow", "pandas", "duckdb"):
    pytest.importorskip(_name, reason=f"no {_name}: pip install 'affectd[ray]' duckdb")

REPOSITORY = Path(__file__).parents[3]
CLIPS = 12
DEADLY = """
import os, sys
sys.addaudithook(lambda event, words: os._exit(1) if event == "open" and "deadly" in str(words[0]) else None)
"""
"""Of a folder in PYTHONPATH: every process that opens a recording with this name dies at once."""

CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster()
for _ in range(2):
    cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
print("address", cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "affectd_train", "archive", *map(str, words)]


def run(*words: str | Path, path: str | Path = "") -> subprocess.CompletedProcess[str]:
    known = os.pathsep.join(filter(None, [str(path), os.environ.get("PYTHONPATH", "")]))
    environment = os.environ | {"PYTHONPATH": known}
    return subprocess.run(command(*words), capture_output=True, text=True, check=False, env=environment, timeout=400)


def clips(folder: Path, n: int) -> Path:
    """Speech-like sounds of different lengths, rates, channels and formats."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(n):
        sound = gain(syllables(1 + i % 5 / 4, 3 + i % 3), -12) + gain(noise("pink", 1 + i % 5 / 4, i), -50)
        sound = sound * rng.uniform(0.2, 1)
        samples = np.stack([sound, 0.5 * sound], axis=1) if i % 4 == 1 else sound
        soundfile.write(folder / f"{i:04}.{'flac' if i % 3 == 2 else 'wav'}", samples, 8000 if i % 6 == 3 else 16000)
    return folder


def rows(table: Path) -> list[dict[str, Any]]:
    """All rows, with the file that each is in, read by the library that the others are compared with."""
    import pyarrow.parquet

    found = []
    for part in sorted(table.glob("*.parquet")):
        found += [row | {"part": part.name} for row in pyarrow.parquet.read_table(part).to_pylist()]
    return sorted(found, key=lambda row: (row["path"], row.get("start_seconds") or 0))


def answers(table: Path) -> list[dict[str, Any]]:
    """What all tables of the same recordings have in common."""
    return [{k: v for k, v in row.items() if k != "part"} for row in (*rows(table), *rows(table / "_broken"))]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clips, what is wrong with recordings, and a table of them."""
    folder = tmp_path_factory.mktemp("archive")
    calls = clips(folder / "calls", CLIPS)
    soundfile.write(calls / "silence.wav", silence(1), 16000)
    (calls / "cut.flac").write_bytes((calls / "0002.flac").read_bytes()[:3000])
    (calls / "text.wav").write_text("no sound")
    shutil.copy(calls / "0000.wav", os.fsencode(calls) + b"/caf\xe9.wav")
    done = run(calls, "--out", folder / "table", "--workers", "2")
    assert done.returncode == 0, done.stderr
    (folder / "empty").mkdir()
    (folder / "stdout").write_text(done.stdout)
    (folder / "stderr").write_text(done.stderr)
    return folder


def test_every_recording_is_answered_as_affectd_classify_does(archive: Path) -> None:
    found = {row["path"]: row for row in rows(archive / "table")}
    paths = [str(path) for path in sorted((archive / "calls").glob("0*.wav"))] + [str(archive / "calls/silence.wav")]
    words = [sys.executable, "-m", "affectd", "classify", "--format", "json", *paths]
    device = subprocess.run(words, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in device.stdout.splitlines()]
    assert len(lines) == len(paths) >= 9
    for line in lines:
        row = found[line["path"]]
        line["probabilities"] = line["probabilities"] or None
        assert {name: row[name] for name in line} == line
    assert len(found) == CLIPS + 2  # the silence, and the name that is not UTF-8
    assert len({json.dumps(row["probabilities"]) for row in found.values()}) > CLIPS / 2


def test_broken_recordings_have_a_table_with_the_reasons(archive: Path) -> None:
    broken = {Path(row["path"]).name: row["reason"] for row in rows(archive / "table/_broken")}
    assert set(broken) == {"cut.flac", "text.wav"}
    assert re.search(r"ends after \d+ of \d+ samples|cannot be read as audio", broken["cut.flac"])
    assert "cannot be read as audio" in broken["text.wav"]


def test_only_progress_and_the_result_are_said(archive: Path) -> None:
    table = archive / "table"
    said = f"{table}: {CLIPS + 4} recordings; 2 broken: {table / '_broken'}\n"
    assert (archive / "stdout").read_text() == said
    lines = [line for line in re.split(r"[\r\n]+", (archive / "stderr").read_text()) if line]
    assert all(re.match(r"archive: +\d+%.*\d+/16 \[.*file", line) for line in lines), lines


def test_pandas_and_duckdb_read_the_table_without_what_is_beside_it(archive: Path) -> None:
    expected = {row["path"]: row["probability"] for row in rows(archive / "table")}
    words = "import json, sys, pandas; table = pandas.read_parquet(sys.argv[1])"
    words += "; print(table.set_index('path')['probability'].to_json())"
    printed = subprocess.run([sys.executable, "-c", words, archive / "table"], capture_output=True, check=True).stdout
    assert json.loads(printed) == expected
    import duckdb

    found = duckdb.sql(f"SELECT path, probability, probabilities.happy FROM '{archive}/table/*.parquet'").fetchall()
    assert {path: probability for path, probability, _ in found} == expected
    assert sum(happy is not None for *_, happy in found) == CLIPS + 1
    assert len(duckdb.sql(f"SELECT * FROM '{archive}/table/_broken/*.parquet'").fetchall()) == 2


def test_what_is_in_the_table_is_not_heard_again(archive: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (archive / "table").rglob("*.parquet")}
    done = run(archive / "calls", "--out", archive / "table")
    assert done.returncode == 0, done.stderr
    assert f"{CLIPS + 4} recordings, {CLIPS + 4} of them already" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in (archive / "table").rglob("*.parquet")} == before


@pytest.mark.parametrize(
    ("source", "out", "words", "code", "said"),
    [
        ("calls", "table", ["--timeline"], 64, "table of other answers"),
        ("calls", "calls", [], 64, "name a new folder"),
        ("calls", "new", ["--workers", "0"], 64, "must be 1 or more"),
        ("nowhere", "new", [], 66, "no such file or folder"),
        ("empty", "new", [], 66, "no recording in it"),
        ("memory://nowhere", "new", [], 66, "no recording in it"),
        ("table/_archive.json", "new", ["--model", "nowhere.tflite"], 78, "nowhere.tflite"),
        ("unknown://calls", "new", [], 69, "unknown"),
        ("calls", "new", ["--address", "127.0.0.1:1"], 69, "no Ray answers at 127.0.0.1:1"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    archive: Path, source: str, out: str, words: list[str], code: int, said: str
) -> None:
    place = source if "://" in source else archive / source
    done = run(place, "--out", archive / out, *words)
    assert done.returncode == code
    assert said in done.stderr
    assert done.stderr.splitlines()[-1].startswith("affectd-train: ")
    assert "Traceback" not in done.stderr
    assert not list((archive / "new").glob("*.parquet"))


def test_a_table_is_written_by_one_process_at_a_time(archive: Path) -> None:
    import fcntl

    with (archive / "table/_archive.json").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = run(archive / "calls", "--out", archive / "table")
    assert done.returncode == 69
    assert "another affectd-train archive writes to it" in done.stderr


def test_without_ray_a_sentence_says_what_to_install(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ModuleNotFoundError(\"No module named 'ray'\", name='ray')")
    done = run(archive / "calls", "--out", tmp_path / "table", path=tmp_path)
    assert done.returncode == 69
    assert "pip install 'affectd[ray]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_sources_of_every_kind_name_the_same_recordings(archive: Path, tmp_path: Path) -> None:
    import pyarrow.parquet

    from affectd_train.archive.sources import recordings_of

    calls = archive / "calls"
    expected = {str(path) for path in calls.glob("0*")}
    (tmp_path / "list.txt").write_text("\n".join([*sorted(expected), "", min(expected)]) + "\n")
    table = pyarrow.table({"path": sorted(expected), "caller": [1] * len(expected)})
    pyarrow.parquet.write_table(table, tmp_path / "list.parquet")
    for source in (f"{calls}/0*", str(tmp_path / "list.txt"), str(tmp_path / "list.parquet"), f"file://{calls}/0*"):
        found = recordings_of(source)
        assert [one.path for one in found] == sorted(expected), source
        assert {one.location for one in found} == expected
    assert {one.path for one in recordings_of(str(calls))} > expected


def test_what_lies_elsewhere_is_heard_alike(archive: Path) -> None:
    import fsspec
    import pyarrow

    from affectd.recognition.model_file import find_model, read_model
    from affectd_train.archive.sources import recordings_of
    from affectd_train.archive.worker import Worker, batch_of

    memory = fsspec.filesystem("memory")
    for path in sorted((archive / "calls").glob("000[01].wav")):
        memory.pipe_file(f"/calls/{path.name}", path.read_bytes())
    memory.pipe_file("/calls/notes.md", b"no recording")
    memory.pipe_file("/list.txt", b"calls/0000.wav\nmemory://calls/0001.wav\nmemory://gone.wav\n")
    worker = Worker(read_model(find_model()), is_timed=False)
    carried, listed = recordings_of("memory://calls"), recordings_of("memory://list.txt")
    assert [one.content is None for one in carried] == [False, False]
    assert [one.content is None for one in listed] == [True, True, True]  # this worker has the same memory
    here = {Path(row["path"]).name: row["probabilities"] for row in rows(archive / "table")}
    found = pyarrow.concat_tables([worker(batch_of(carried)), worker(batch_of(listed))]).to_pylist()
    assert [row["probabilities"] for row in found[:4]] == 2 * [here["0000.wav"], here["0001.wav"]]
    assert "FileNotFoundError" in found[4]["broken"]
    memory.rm("/calls", recursive=True)


def test_segments_are_those_of_affectd_timeline(archive: Path) -> None:
    from affectd.recognition.model_file import find_model, read_model
    from affectd_train.archive.sources import Found
    from affectd_train.archive.worker import Worker, batch_of

    paths = [str(archive / "calls" / name) for name in ("0004.wav", "silence.wav")]
    worker = Worker(read_model(find_model()), is_timed=True)
    found = worker(batch_of([Found(path, path) for path in paths])).to_pylist()
    words = [sys.executable, "-m", "affectd", "timeline", "--format", "json", *paths]
    device = [json.loads(line) for line in subprocess.check_output(words, text=True).splitlines()]
    segments = device[0]["segments"]
    assert len(segments) >= 1
    assert [{name: row[name] for name in segments[0]} for row in found[:-1]] == segments
    assert found[-1]["path"] == paths[1]
    assert [found[-1][name] for name in ("label", "seconds", "speech_seconds", "broken")] == [None, 1.0, 0.0, None]


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
    cluster = subprocess.Popen([sys.executable, "-c", CLUSTER], stdin=-1, stdout=-1, stderr=-3, text=True)
    try:
        assert cluster.stdout is not None
        address = next(line.split()[1] for line in cluster.stdout if line.startswith("address"))
        process = started(calls, "--out", tmp_path / "table", "--address", address)
        wait_for(process, 30)
        nodes = {Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1] for pid in workers()}
        process.communicate(timeout=300)
        assert process.returncode == 0
    finally:
        cluster.communicate("", timeout=60)
    assert len(nodes) == 2
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
