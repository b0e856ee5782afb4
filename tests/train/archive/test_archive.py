"""Archives: every recording is answered exactly once, as `affectd classify` does."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from archives import answers, clips, rows, run
from disks import small_disk
from sounds import silence

for _name in ("ray", "pyarrow", "pandas", "duckdb"):
    pytest.importorskip(_name, reason=f"no {_name}: pip install 'affectd[ray]' duckdb")

CLIPS = 12
DEMO = Path(__file__).parents[2] / "data" / "demo.wav"


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
        ("calls", "table", ["--timeline"], 64, "table of other answers (rows: recordings, not segments)"),
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
    assert not answers(archive / "new")


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
    assert 'pip install ".[ray]" in the checkout' in done.stderr
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


def test_what_a_full_disk_of_copies_refuses_is_heard_by_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = clips(tmp_path / "calls", 4)
    soundfile.write(calls / "long.wav", silence(10), 16000)  # 320 kB
    paths = sorted(calls.iterdir())
    (tmp_path / "list.txt").write_text("".join(f"{path.as_uri()}\n" for path in paths))
    words = (tmp_path / "list.txt", "--out", tmp_path / "table", "--workers", "1")
    with small_disk(tmp_path / "small") as disk, monkeypatch.context() as patch:
        patch.setenv("TMPDIR", str(disk))
        done = run(*words)
        assert done.returncode == 74
        last = done.stderr.splitlines()[-1]
        assert last.startswith("affectd-train: 1 of 5 recordings are not heard: ")
        assert last.endswith("no room for a temporary file (No space left on device); the same command hears them")
        assert [row["path"] for row in answers(tmp_path / "table")] == [path.as_uri() for path in paths[:4]]
        assert not list(disk.iterdir())
    assert run(*words).returncode == 0
    assert [row["path"] for row in answers(tmp_path / "table")] == [path.as_uri() for path in paths]


def test_a_table_without_rows_can_be_read(tmp_path: Path) -> None:
    import duckdb

    from affectd_train.archive.table import opened
    from affectd_train.archive.worker import schema

    with opened(tmp_path / "table", schema(("happy", "sad"), is_timed=False), {"schema": 1}):
        pass
    for place in ("table", "table/_broken"):
        assert duckdb.sql(f"SELECT path FROM '{tmp_path}/{place}/*.parquet'").fetchall() == []


def test_segments_are_those_of_affectd_timeline(archive: Path) -> None:
    from affectd.recognition.model_file import find_model, read_model
    from affectd_train.archive.sources import Found
    from affectd_train.archive.worker import Worker, batch_of

    paths = [str(DEMO), *(str(archive / "calls" / name) for name in ("0004.wav", "silence.wav"))]
    worker = Worker(read_model(find_model()), is_timed=True)
    found = worker(batch_of([Found(path, path) for path in paths])).to_pylist()
    words = [sys.executable, "-m", "affectd", "timeline", "--format", "json", *paths]
    device = [json.loads(line) for line in subprocess.check_output(words, text=True).splitlines()]
    segments = [segment for recording in device for segment in recording["segments"]]
    assert len(segments) >= 6
    assert [{name: row[name] for name in segments[0]} for row in found[:-1]] == segments
    assert found[-1]["path"] == paths[2]
    assert [found[-1][name] for name in ("label", "seconds", "speech_seconds", "broken")] == [None, 1.0, 0.0, None]
