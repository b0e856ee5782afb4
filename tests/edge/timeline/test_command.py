"""The program as a program: recordings in, timelines out, a sentence for every failure."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from affectd.events.trace import trace_schema
from affectd.program.commands import TIMELINE_FORMATS
from sounds import CONVERSATION, gain, syllables, write_wav

DEMO = Path(__file__).parents[2] / "data" / "demo.wav"
PATIENCE_SECONDS = 120
FFMPEG = shutil.which("ffmpeg")


def timeline(*words: object, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "affectd", "timeline", *map(str, words)],
        input=stdin,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=False,
        env=os.environ | environment,
    )


def fails(done: subprocess.CompletedProcess[bytes], code: int, *words: str) -> None:
    """It must end with the code and one plain sentence."""
    sentence = done.stderr.decode()
    assert done.returncode == code, sentence
    assert sentence.startswith("affectd: ")
    assert sentence.count("\n") == 1, sentence
    for word in words:
        assert word in sentence
    assert done.stdout == b""


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "talk.wav", CONVERSATION)


@pytest.mark.parametrize("form", TIMELINE_FORMATS)
def test_two_runs_print_the_same_bytes(form: str, talk: Path) -> None:
    first, second = (timeline(talk, "--format", form, PYTHONHASHSEED=seed) for seed in ("1", "2"))
    assert (first.returncode, first.stderr) == (0, b"")
    assert first.stdout == second.stdout != b""


def test_the_default_is_a_table_of_the_demo() -> None:
    done = timeline(DEMO)
    assert (done.returncode, done.stderr) == (0, b"")
    head, _, titles, *rows = done.stdout.decode().splitlines()
    assert re.match(rf"{DEMO}: 0:\d\d long, 0:\d\d of it speech: .* \d+ %", head)
    assert titles.split() == ["from", "to", "sounds", "probability", "valence", "arousal"]
    assert len(rows) >= 4, "of four sentences or more"


def test_the_example_in_the_user_guide_is_as_it_is_printed() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "user-guide.md").read_text()
    example = guide.split("$ affectd timeline talk.wav\n")[1].split("```")[0].splitlines()
    printed = timeline(DEMO).stdout.decode().splitlines()
    assert example[2].split() == printed[2].split()
    assert all(re.fullmatch(r" +\S+ +\S+  \S.* +\d+ %( +[+-]\d\.\d\d){2}", row) for row in example[3:] + printed[3:])


def test_every_format_is_in_the_user_guide() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "user-guide.md").read_text()
    rows = guide.split("| `--format` |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", rows, re.MULTILINE)) == set(TIMELINE_FORMATS)


def test_the_trace_has_the_schema_of_the_live_one_and_covers_the_recording(talk: Path) -> None:
    done = timeline(talk, "--format", "trace", "--began", "2026-01-31T12:00:00+01:00")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    validator = jsonschema.Draft202012Validator(trace_schema())
    for line in lines:
        validator.validate(line)
    assert [line["start_seconds"] for line in lines] == [0.0, *(line["end_seconds"] for line in lines[:-1])]
    assert lines[-1]["end_seconds"] == 8.8
    assert lines[-1]["time"].startswith("2026-01-31T11:00:08.8")


def test_standard_input_is_heard_as_a_recording(talk: Path) -> None:
    from_file = json.loads(timeline(talk, "--format", "json").stdout)
    as_wav = json.loads(timeline("-", "--format", "json", stdin=talk.read_bytes()).stdout)
    as_pcm = json.loads(timeline("-", "--format", "json", stdin=talk.read_bytes()[44:]).stdout)
    assert as_wav.pop("path") == as_pcm.pop("path") == "-"
    from_file.pop("path")
    assert as_wav == as_pcm == from_file
    assert timeline("-", stdin=talk.read_bytes()).stdout.startswith(b"standard input: ")


def test_several_recordings_are_one_table(talk: Path, tmp_path: Path) -> None:
    other = write_wav(tmp_path / "other.wav", gain(syllables(3), -20))
    done = timeline(talk, other, "--format", "csv", "--period", "5")
    rows = list(csv.DictReader(done.stdout.decode().splitlines()))
    assert [row["file"] for row in rows] == [str(talk), str(talk), str(other)]
    assert [float(row["end"]) for row in rows] == [5.0, 8.8, 3.0]


def test_each_recording_is_of_a_new_place() -> None:
    alone, *several = (
        [{**json.loads(line), "path": ""} for line in timeline("--format", "json", *paths).stdout.splitlines()]
        for paths in ([DEMO], [DEMO, DEMO])
    )
    assert several == [alone * 2]


def test_a_recording_that_cannot_be_read_does_not_stop_the_others(talk: Path, tmp_path: Path) -> None:
    done = timeline(tmp_path / "missing.wav", talk, "--format", "json")
    assert done.returncode == 66
    assert done.stderr.decode() == f"affectd: {tmp_path / 'missing.wav'} does not exist.\n"
    assert json.loads(done.stdout)["path"] == str(talk)


def test_a_recording_cut_off_in_its_middle_gives_nothing(talk: Path) -> None:
    fails(timeline("-", "--format", "html", stdin=talk.read_bytes()[:60_001]), 65, "Standard input ended")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["a.wav", "b.wav", "--format", "html"], "--format html holds one recording: call it once for each FILE"),
        (["-", "-"], "standard input can be read only once"),
        (["a.wav", "--period", "60", "--format", "vtt"], "--period goes with --format table, csv"),
        (["a.wav", "--period", "0"], "--period must be from 1 to 86400 seconds"),
        (["a.wav", "--period", "nan"], "--period must be from 1 to 86400 seconds"),
        (["a.wav", "--began", "yesterday"], "'yesterday' is no time; write it like 2026-01-31T12:00:00+01:00"),
        (["a.wav", "--began", "9999-12-31T23:59:59"], "'9999-12-31T23:59:59' is too late for a recording"),
        (["a.wav", "b.wav", "--began", "2026-01-31"], "--began is the time of one recording"),
        (["a.wav", "--format", "mp3"], "invalid choice: 'mp3'"),
        ([], "the following arguments are required: FILE"),
    ],
)
def test_what_does_not_go_together_is_said_at_once(words: list[str], sentence: str) -> None:
    fails(timeline(*words), 64, sentence)


def test_a_time_without_a_zone_is_local(talk: Path) -> None:
    done = timeline(talk, "--began", "2026-07-01T12:00:00", TZ="Europe/Berlin")
    assert b"began 2026-07-01 12:00:00+02:00" in done.stdout


def test_other_sound_is_refused_with_the_pipe_that_converts_it(tmp_path: Path) -> None:
    other = tmp_path / "talk.flac"
    other.write_bytes(b"fLaC" + bytes(5000))
    fails(timeline(other), 65, "is a FLAC file; convert it first: ffmpeg -i")
    fails(timeline("-", stdin=other.read_bytes()), 65, "-c:a pcm_s16le -f wav - | affectd timeline -")


@pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed")
def test_the_pipe_that_a_refusal_names_works(tmp_path: Path) -> None:
    subprocess.run([str(FFMPEG), "-loglevel", "error", "-i", DEMO, tmp_path / "talk.flac"], check=True)
    refusal = timeline("-", "--format", "csv", stdin=(tmp_path / "talk.flac").read_bytes()).stderr.decode()
    pipe = refusal.split("convert it first: ")[1].rstrip("\n").replace("FILE", "talk.flac")
    pipe = pipe.replace("affectd", f"{sys.executable} -m affectd")
    done = subprocess.run(f"{pipe} --format csv", shell=True, cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout.replace(b"-,", f"{DEMO},".encode()) == timeline(DEMO, "--format", "csv").stdout


@pytest.mark.slow
def test_an_hour_takes_little_memory_and_time(tmp_path: Path) -> None:
    hour = write_wav(tmp_path / "hour.wav", np.tile(gain(syllables(600), -20), 6))  # of speech without a pause
    code = (
        "import resource, subprocess, sys\n"
        "subprocess.run([sys.executable, '-m', 'affectd', 'timeline', *sys.argv[1:]], check=True)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(used.ru_maxrss * 1024, used.ru_utime + used.ru_stime, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, hour, "--format", "html", "--period", "60"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=1800)
    n_bytes, seconds = map(float, done.stderr.split())
    assert n_bytes <= 65e6
    assert seconds <= 36
    assert done.stdout.endswith("</html>\n")
