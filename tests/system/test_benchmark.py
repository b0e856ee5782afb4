"""The benchmark as a user runs it, shorter; its figures are held against what is known otherwise."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affectd.audio.microphone import PIECE_SECONDS
from affectd.bench import service
from affectd.bench.broker import broker
from affectd.bench.command import add_arguments, as_text, compare, read_report, run
from affectd.bench.service import listening
from affectd.bench.sounds import speech_clips, words
from affectd.config.loading import load_config
from affectd.config.sections import Config
from affectd.config.state import claimed_folders
from affectd.errors import DataError, NoInputError, UnavailableError, UsageError
from affectd.outbox.outbox import Outbox
from affectd.recognition.model_file import find_model, read_model
from broker import wait_until
from cost_documents import script

SCRIPTS = Path(__file__).parents[2] / "scripts"
STAGES = {"capture", "resample", "framing", "gate", "mfcc", "context"}
STAGES |= {"quantize", "inference", "classify", "smoothing", "emit"}


def program(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "AFFECTD_GATE_MARGIN_DB": "60"}  # a setting of the user, which must not matter
    return subprocess.run(
        [sys.executable, str(SCRIPTS / f"{name}.py"), *arguments], capture_output=True, text=True, env=environment
    )


def test_without_room_for_the_sound_of_the_service_it_is_one_sentence(tmp_path: Path) -> None:
    limited = (  # by the system, as a full disk would
        "import resource, numpy\n"
        "from affectd.bench.service import _service; from affectd.program.guard import guarded\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "start = _service(numpy.zeros(50_000, numpy.int16), '').__enter__\n"
        "raise SystemExit(guarded('affectd', start, is_program=True))"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", limited], capture_output=True, text=True, env=environment, check=False)
    assert done.stderr == (
        "affectd: The sound that the service is to hear, 0.1 MB, cannot be written to the folder for temporary files: "
        "File too large. $TMPDIR names another one.\n"
    )
    assert done.returncode == 69
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    done = program("benchmark", "--json", "--seconds", "4", "--hours", "0.05")
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_every_stage_has_its_percentiles(report: dict[str, Any]) -> None:
    assert set(report["stages"]) == STAGES
    for name, row in report["stages"].items():
        assert 0 < row["p50_us"] <= row["p95_us"] <= row["p99_us"] <= row["max_us"], name
    # To classify is to quantize, to run the network, and a little more.
    stages = {name: row["p50_us"] for name, row in report["stages"].items()}
    assert stages["classify"] > 0.9 * (stages["quantize"] + stages["inference"])


def test_it_says_what_it_ran_on(report: dict[str, Any]) -> None:
    assert report["libraries"]["numpy"] == np.__version__
    assert report["libraries"]["threads"] == 1
    assert report["board"]["cores"] == os.cpu_count()
    assert report["model_bytes"] == find_model().stat().st_size
    assert report["footprint_mb"]["numpy"] > 10 > report["footprint_mb"]["affectd"] > 0.3
    assert report["before"].keys() == report["after"].keys()


def test_speech_costs_more_than_silence(report: dict[str, Any]) -> None:
    factors = report["real_time_factor"]
    assert factors["speech"] > 2 * factors["silence"]
    assert factors["speech"] > 2 * factors["noise"], "the gate opens for noise"
    for row in report["service"].values():
        assert 0 < row["cpu_percent"] < 30
        assert 20 < row["resident_mb"] <= row["resident_peak_mb"] < 200
        # Once for each piece of sound in the card's thread and in the pipeline's, and now and then for the broker.
        assert 2 / PIECE_SECONDS - 2 < row["wakes_per_second"] < 2 / PIECE_SECONDS + 10


def test_the_start_has_its_parts(report: dict[str, Any]) -> None:
    start = report["start"]
    assert {"python", "numpy", "affectd", "model file", "interpreter"} <= start["parts_seconds"].keys()
    assert all(seconds > 0 for seconds in start["parts_seconds"].values())
    parts = start["parts_seconds"]
    assert parts["python"] + parts["numpy"] < start["ready_seconds"] <= start["ready_max_seconds"]


def test_latency_is_the_sum_of_its_parts_and_no_shorter_than_the_settings_make_it(report: dict[str, Any]) -> None:
    latency = report["latency"]
    assert latency["heard"] == latency["words"] > 1
    names = [name for name in latency if name.endswith("_ms") and name not in ("start_ms", "end_ms")]
    total = sum(latency[name]["p50"] for name in names)
    assert latency["start_ms"]["p50"] == pytest.approx(total, abs=60), "medians of the parts and of their sum"
    config = Config()
    strides = config.smoothing.minimum_count * config.model.stride_frames * 256 / 16
    assert latency["strides_ms"]["p50"] == strides
    assert 0 < latency["gate_ms"]["p50"] < 1000
    assert 0 <= latency["delivery_ms"]["p50"] <= 1000 * PIECE_SECONDS
    assert latency["compute_ms"]["p50"] > 0
    assert latency["end_ms"]["p50"] > 1000 * config.gate.hangover_seconds - 100


def test_cost_is_linear_and_memory_flat(report: dict[str, Any]) -> None:
    rows = report["growth"]
    assert [row["audio_seconds"] for row in rows] == [60, 180]
    assert rows[1]["cpu_ms_per_second"] == pytest.approx(rows[0]["cpu_ms_per_second"], rel=0.5)
    assert rows[1]["resident_mb"] < rows[0]["resident_mb"] + 1


def test_the_table_has_every_figure(report: dict[str, Any]) -> None:
    text = as_text(report)
    assert all(f"\n{name} " in text for name in STAGES)
    assert f"{report['stages']['mfcc']['p99_us']:.1f}" in text
    assert f"{report['service']['silence']['cpu_percent']:.2f}" in text
    assert f"{report['start']['ready_seconds']:.3f} s" in text
    assert max(map(len, text.splitlines())) < 200


def test_a_report_is_compared_with_an_earlier_one(report: dict[str, Any], tmp_path: Path) -> None:
    before = json.loads(json.dumps(report))
    before["stages"]["mfcc"]["p50_us"] = report["stages"]["mfcc"]["p50_us"] / 2
    del before["stages"]["emit"]
    (tmp_path / "before.json").write_text(json.dumps(before))
    compared = compare(report, read_report(str(tmp_path / "before.json")))
    assert compared["stages.mfcc.p50_us"]["ratio"] == pytest.approx(2)
    assert compared["service.silence.cpu_percent"]["ratio"] == 1
    assert not any(name.startswith("stages.emit") for name in compared)
    text = as_text({**report, "compared": compared})
    assert "stages.mfcc.p50_us" in text.partition("compared")[2]


@pytest.mark.parametrize("content", [None, "{", "[]", '{"format": 999}', "[" * 100_000])
def test_what_is_no_report_is_refused(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "before.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises((NoInputError, DataError), match=r"before\.json"):
        read_report(str(path))
    # At once, and not after two minutes of measuring.
    assert program("benchmark", "--compare", str(path)).returncode in (NoInputError.exit_code, DataError.exit_code)


@pytest.mark.parametrize(
    "argument",
    ["--threads=0", "--seconds=0", "--hours=-1", "--threads=65", "--seconds=inf", "--hours=1e300", "--hours=nan"],
)
def test_impossible_numbers_are_refused(argument: str) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(UsageError):
        run(parser.parse_args([argument]), None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("seconds", "words"), [(1, "is silent"), (36_000, "too long")])
def test_speech_that_is_none_or_never_ends_is_refused(tmp_path: Path, seconds: int, words: str) -> None:
    path = tmp_path / "a.wav"
    fmt = struct.pack("<HHIIHH", 1, 1, 16000, 32000, 2, 16)
    header = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + fmt + b"data" + struct.pack("<I", seconds * 32000)
    path.write_bytes(header)
    os.truncate(path, len(header) + seconds * 32000)
    with pytest.raises(DataError, match=words):
        speech_clips(read_model(find_model()), [str(path)])


def test_a_service_that_does_not_start_gives_its_reason_when_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_PATIENCE_SECONDS", 1e6)
    with pytest.raises(UnavailableError, match=r"missing\.tflite"):
        listening(np.zeros(16000, np.int16), str(tmp_path / "missing.tflite"), 1.0)


@pytest.mark.parametrize("variable", ["XDG_RUNTIME_DIR", "RUNTIME_DIRECTORY"])
def test_a_running_service_and_the_events_that_wait_are_left_alone(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    with claimed_folders(load_config().device.id) as folders:
        assert folders.runtime is not None
        waiting = Outbox(None, folders.runtime, max_events=9, max_bytes=999)
        waiting.put("{}")
        journal = folders.runtime / "outbox.journal"
        before = journal.read_bytes()
        listening(np.zeros(16000, np.int16), "", 0.0)
        assert journal.read_bytes() == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_no_service_and_no_folder(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "affectd", "bench", "--hours", "0.001"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}

    def heed() -> None:
        signal.signal(number, signal.SIG_DFL)  # which nohup takes away

    bench = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, preexec_fn=heed)
    try:
        wait_until(lambda: any(tmp_path.glob("affectd-bench-*/began")), 60)  # the microphone is open
        children = Path(f"/proc/{bench.pid}/task/{bench.pid}/children").read_text().split()
        bench.send_signal(number)
        assert bench.wait(60) == 128 + number
    finally:
        bench.kill()
        bench.wait()
    assert children
    assert not any(Path("/proc", child).exists() for child in children)
    assert not [*tmp_path.iterdir()]


def test_the_times_of_the_words_are_where_they_are_heard() -> None:
    clips = speech_clips(read_model(find_model()), [])
    joined = words(clips, 16000, 10.0)
    assert len(joined.onsets) == len(joined.ends) >= 3
    for onset, end in zip(joined.onsets, joined.ends, strict=True):
        before, word = joined.samples[: round(onset * 16000)][-16000:], joined.samples[round(onset * 16000) :]
        assert np.abs(before).max() < np.abs(word[: round((end - onset) * 16000)]).max() / 10
        assert np.abs(joined.samples[round(end * 16000) :][:16000]).max() < np.abs(word).max() / 10


def test_the_broker_answers_what_a_client_waits_for() -> None:
    with broker() as port, socket.create_connection(("127.0.0.1", port), timeout=10) as client:

        def ask(packet: bytes, n: int) -> bytes:
            client.sendall(packet)
            answer = b""
            while len(answer) < n:
                answer += client.recv(n - len(answer))
            return answer

        assert ask(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a", 4) == b"\x20\x02\x00\x00"
        assert ask(b"\x82\x0b\x00\x07\x00\x01a\x01\x00\x02bc\x01", 6) == b"\x90\x04\x00\x07\x00\x00"
        # QoS 0 gets no answer, QoS 1 its number; a body of 200 bytes has a length of two bytes.
        client.sendall(b"\x30\x04\x00\x01ax")
        assert ask(b"\x32\xc8\x01\x00\x01a\x12\x34" + bytes(195), 4) == b"\x40\x02\x12\x34"
        assert ask(b"\xc0\x00", 2) == b"\xd0\x00"


COUNTED = {"made_with": {"python": "3"}, "instructions_per_second": {"speech": 1000, "silence": 100}}


@pytest.mark.parametrize(
    ("speech", "silence", "code"), [(1000, 100, 0), (1050, 104, 0), (1051, 100, 1), (900, 106, 1), (900, 50, 0)]
)
def test_more_than_five_percent_more_instructions_fail(speech: int, silence: int, code: int) -> None:
    now = {**COUNTED, "instructions_per_second": {"speech": speech, "silence": silence}}
    found, lines = script("instructions").judge(now, COUNTED)
    assert found == code
    assert any("above the baseline" in line for line in lines) == bool(code)


def test_counts_made_with_other_libraries_are_not_compared() -> None:
    now = {"made_with": {"python": "4"}, "instructions_per_second": {"speech": 9999, "silence": 9999}}
    assert script("instructions").judge(now, COUNTED) == (
        0,
        ["not compared, because these have changed: python 3 -> 4"],
    )


def test_the_committed_baseline_is_of_this_shape() -> None:
    baseline = json.loads((SCRIPTS / "instructions.json").read_text())
    assert set(baseline["instructions_per_second"]) == {"speech", "silence"}
    assert baseline["instructions_per_second"]["speech"] > 2 * baseline["instructions_per_second"]["silence"] > 0
    assert {"architecture", "python", "numpy", "model"} <= baseline["made_with"].keys()


@pytest.mark.slow
def test_the_pipeline_takes_no_more_instructions_than_the_baseline_allows() -> None:
    done = program("instructions")
    if done.returncode == 69:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout
