"""The trace: lines that cover the stream, say what the events say and why nothing is named, and stay on the device."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from affectd.config.sections import Config
from affectd.events.event import EventMaker, event_schema
from affectd.events.sinks import Several
from affectd.events.trace import Tracer, began_at, trace_schema
from affectd.features.framing import frame_strides
from affectd.features.spec import FeatureSpec
from affectd.pipeline import run
from affectd.recognition.vad import Gate, band_level
from broker import Broker, Subscriber
from fake_network import LABELS, FakeNetwork
from kept import Kept
from sounds import CONVERSATION, recording, silence, syllables, write_wav

DEMO = Path(__file__).parents[2] / "data" / "demo.wav"
SPEC = FeatureSpec()
HOP_SECONDS = SPEC.hop_length / SPEC.sample_rate
PATIENCE_SECONDS = 60


def traced(samples: np.ndarray, network: FakeNetwork, size: int = 1600) -> tuple[list[dict], list[dict]]:
    """Return the events and the trace, without the times of day and the ids."""
    events, trace = Kept(), Kept()
    maker = EventMaker("kitchen", network.model)  # type: ignore[arg-type]
    tracer = Tracer(maker, network.model, trace.write)  # type: ignore[arg-type]
    blocks = (samples[start : start + size] for start in range(0, len(samples), size))
    run(blocks, network, events, Config(), events=maker, tracer=tracer)
    for line in trace:
        jsonschema.Draft202012Validator(trace_schema()).validate(line)
        del line["time"]
    return events, trace


def affectd(*words: object, **more: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "affectd", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS, **more)


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_lines_follow_each_other_and_cover_the_stream() -> None:
    _, trace = traced(CONVERSATION, FakeNetwork("cccccaaaa"))
    edges = [0.0, *(line["end_seconds"] for line in trace)]
    assert [line["start_seconds"] for line in trace] == edges[:-1]
    assert edges == sorted(edges)
    assert edges[-1] == pytest.approx(len(CONVERSATION) / SPEC.sample_rate, abs=SPEC.window_length / SPEC.sample_rate)


def test_lines_with_the_gate_open_cover_exactly_the_open_gate() -> None:
    _, trace = traced(CONVERSATION, FakeNetwork())
    frames = np.concatenate(list(frame_strides([CONVERSATION], SPEC, lambda: 16 * SPEC.hop_length)))
    opened = Gate(Config().gate, 1 / HOP_SECONDS).push(band_level(frames, SPEC.sample_rate))
    assert opened.any()
    n_open = [round((line["end_seconds"] - line["start_seconds"]) / HOP_SECONDS) for line in trace if line["gate_open"]]
    assert sum(n_open) == np.count_nonzero(opened)
    changes = [is_open for is_open, _ in itertools.groupby(opened.tolist())]
    assert [is_open for is_open, _ in itertools.groupby(line["gate_open"] for line in trace)] == changes


@settings(deadline=None, max_examples=20)
@given(size=st.integers(1, 48_000))
@example(size=1)
@example(size=4097)
def test_the_trace_is_the_same_whatever_the_block_size(size: int) -> None:
    expected = traced(CONVERSATION, FakeNetwork("cccccaaaa"), len(CONVERSATION))[1]
    assert traced(CONVERSATION, FakeNetwork("cccccaaaa"), size)[1] == expected


def test_a_trace_changes_no_event() -> None:
    plain = Kept()
    run([CONVERSATION], FakeNetwork("cccccaaaa"), plain, Config())
    events, _ = traced(CONVERSATION, FakeNetwork("cccccaaaa"))
    for event in (*plain, *events):
        for key in ("id", "time", "clock_synchronized", "device"):
            del event[key]
    assert events == plain
    assert plain


def test_the_labels_of_the_trace_are_those_of_the_events_and_change_with_them() -> None:
    events, trace = traced(CONVERSATION, FakeNetwork("cccccccaaaaaaahhhhhhhhh"))
    told = [event["label"] for event in events if event["phase"] != "end"]
    seen = []
    for is_open, of_utterance in itertools.groupby(trace, lambda line: line["gate_open"]):
        if is_open:
            labels = [line["label"] for line in of_utterance if line["label"]]
            seen += [label for label, _ in itertools.groupby(labels)]
    assert len(set(told)) > 1
    assert seen == told


def test_raw_and_smoothed_probabilities_are_those_of_the_network_and_their_mean() -> None:
    network = FakeNetwork("cah")
    _, trace = traced(CONVERSATION, network)
    raw = [line["probabilities"] for line in trace if line["probabilities"]]
    assert len(raw) == len(network.calls)
    assert [max(p, key=p.__getitem__)[0] for p in raw[:3]] == ["c", "a", "h"]
    second = [line for line in trace if line["probabilities"]][1]
    assert second["smoothed"] == {label: pytest.approx((raw[0][label] + raw[1][label]) / 2) for label in LABELS}
    assert second["probability"] == max(second["smoothed"].values())


@pytest.mark.parametrize("words", [("run", "--trace", "-", "--source"), ("timeline", "--format", "trace")])
def test_how_far_strangers_and_what_sounds_like_noise_are_doubted(words: tuple[str, ...], tmp_path: Path) -> None:
    speech, noise = recording(DEMO)[: 3 * SPEC.sample_rate], syllables(3.0)
    path = write_wav(tmp_path / "both.wav", np.concatenate([speech, silence(1.0), noise, silence(1.0)]))
    done = affectd(*words, path)
    assert done.returncode == 0, done.stderr
    trace = [line for line in lines(done.stdout) if line["type"] == "trace"]
    assert all((line["sure"] is None) == (line["probabilities"] is None) for line in trace)
    sure = [(line["end_seconds"] < 3.5, line["sure"]) for line in trace if line["sure"] is not None]
    assert all(share == 0.7 if is_speech else 0.17 <= share < 0.5 for is_speech, share in sure), sure
    assert {is_speech for is_speech, _ in sure} == {True, False}


def test_why_nothing_is_named() -> None:
    network = FakeNetwork("c")
    network.model.thresholds["uncertain"] = 0.9
    _, trace = traced(CONVERSATION, network)
    first = next(n for n, line in enumerate(trace) if line["gate_open"])
    reasons = [reason for reason, _ in itertools.groupby(line["reason"] for line in trace)]
    assert reasons[:3] == ["gate_shut", "too_short", "below_threshold"]
    assert {line["label"] for line in trace[:first]} == {None}
    assert {line["reason"] for line in trace if line["label"] == "uncertain"} == {"below_threshold"}
    _, named = traced(CONVERSATION, FakeNetwork("c"))
    assert {line["reason"] for line in named if line["label"] == "calm"} == {None}


def test_levels_are_of_the_sound_and_null_in_digital_silence() -> None:
    _, trace = traced(np.concatenate([silence(1), CONVERSATION[SPEC.sample_rate :]]), FakeNetwork())
    assert trace[0]["level_dbfs"] is None
    loud = max(line["level_dbfs"] or -120 for line in trace)
    assert -25 < loud < -5


def test_a_recording_carries_the_time_of_its_sound() -> None:
    done = affectd("run", "--source", DEMO, "--trace", "-", "--began", "2026-01-31T13:00:00+01:00")
    assert (done.returncode, done.stderr) == (0, "")
    began = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert {line["type"] for line in lines(done.stdout)} == {"emotion", "trace"}
    for line in lines(done.stdout):
        passed = (datetime.fromisoformat(line["time"]) - began).total_seconds()
        assert passed == pytest.approx(line["end_seconds"], abs=0.0015)
        if line["type"] == "emotion":
            assert line["clock_synchronized"] is None
            jsonschema.validate(line, event_schema())
    stamps = [line["time"] for line in lines(done.stdout) if line["type"] == "trace"]
    assert stamps == sorted(stamps)


@pytest.mark.parametrize("text", ["yesterday", "", "2026-13-01", "12:00", "9999-12-31T23:59:59-12:00", "\0"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Exception, match=r"is no time; write it like 2026-01-31T12:00:00\+01:00") as caught:
        began_at(text)
    assert caught.value.exit_code == 64  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["2026-03-29T02:30", "2026-10-25T02:30"], ids=["never", "twice"])
def test_a_local_time_while_the_clocks_are_changed_needs_its_offset(text: str) -> None:
    done = affectd("run", "--source", DEMO, "--began", text, env=os.environ | {"TZ": "CET-1CEST,M3.5.0,M10.5.0/3"})
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr == (
        f"affectd: '{text}' was twice by local time or never, for the clocks were changed then: add its offset, as in"
        " +01:00.\n"
    )
    assert began_at(f"{text}+01:00") == datetime.fromisoformat(f"{text}+01:00").timestamp()


def test_a_recording_that_would_outlast_the_years_is_refused() -> None:
    done = affectd("run", "--source", DEMO, "--began", "9999-12-31T23:59:59")
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr == "affectd: '9999-12-31T23:59:59' is too late for a recording.\n"
    assert affectd("run", "--source", DEMO, "--began", "9998-12-31T23:59:59Z").returncode == 0


def test_a_microphone_hears_what_is_now() -> None:
    done = affectd("run", "--source", "mic", "--began", "2026-01-31")
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr == "affectd: --began is for a recording: the sound of a microphone is of now.\n"


def test_a_file_gets_the_trace_and_standard_output_the_events(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    done = affectd("run", "--source", DEMO, "--trace", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert {line["type"] for line in lines(done.stdout)} == {"emotion"}
    trace = lines(path.read_text())
    assert {line["type"] for line in trace} == {"trace"}
    assert trace[0]["start_seconds"] == 0.0
    assert trace[-1]["end_seconds"] == pytest.approx(DEMO.stat().st_size / 32000, abs=0.1)


@pytest.mark.parametrize(("place", "code"), [("folder", 78), ("missing/trace.jsonl", 69), ("mine.txt", 78)])
def test_a_place_where_no_trace_can_be_is_refused(place: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "mine.txt").write_text("mine")
    done = affectd("run", "--source", DEMO, "--trace", tmp_path / place)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(f"affectd: --trace: {tmp_path / place} cannot be written: ")
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("events", "trace"),
    [
        ("events.jsonl", "link.jsonl"),
        ("events.jsonl", "events.jsonl.1"),
        ("events.jsonl", "events.jsonl.3"),
        ("events.jsonl.1", "events.jsonl"),
    ],
)
def test_events_and_trace_do_not_share_a_file(events: str, trace: str, tmp_path: Path) -> None:
    settings_file = tmp_path / "affectd.toml"
    settings_file.write_text(f'[file]\npath = "{tmp_path / events}"\n')
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "events.jsonl")
    done = affectd("run", "--source", DEMO, "--config", settings_file, "--trace", tmp_path / trace)
    assert (done.returncode, done.stdout) == (64, "")
    assert "must be a file of its own" in done.stderr


@pytest.mark.parametrize("stream", ["/dev/stdout", "/dev/stderr", "/proc/self/fd/1", "log", "out"])
@pytest.mark.parametrize("name", ["--trace", "[file] path"])
def test_the_log_and_standard_output_are_no_files_of_their_own(name: str, stream: str, tmp_path: Path) -> None:
    path = tmp_path / stream  # which an absolute path replaces
    words = ["--trace", path] if name == "--trace" else []
    environment = {**os.environ, "AFFECTD_FILE_PATH": "" if words else str(path)}
    command = [sys.executable, "-m", "affectd", "run", "--source", DEMO, *words]
    with open(tmp_path / "log", "w") as log, open(tmp_path / "out", "w") as out:
        done = subprocess.run(command, stdout=out, stderr=log, env=environment, check=False)
    assert (done.returncode, (tmp_path / "out").read_text()) == (78, "")
    said = (
        f"affectd: {name}: {path} cannot be written: it is standard output or standard error, not a file of its own.\n"
    )
    assert (tmp_path / "log").read_text() == said


def test_the_broker_never_gets_the_trace(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker, Subscriber(broker.port, "#") as subscriber:
        environment = {
            "AFFECTD_MQTT_ENABLED": "true",
            "AFFECTD_MQTT_PORT": str(broker.port),
            "AFFECTD_DEVICE_ID": "kitchen",
            "STATE_DIRECTORY": str(tmp_path / "state"),
            "RUNTIME_DIRECTORY": str(tmp_path),
            "PYTHONPATH": ":".join(filter(None, sys.path)),
        }
        done = affectd("run", "--source", DEMO, "--trace", "-", env=environment)
        assert done.returncode == 0, done.stderr
        subscriber.wait_for("affectd/kitchen/status", "stopped")
        printed = done.stdout.splitlines()
        events = [line for line in printed if json.loads(line)["type"] == "emotion"]
        assert 0 < len(events) < len(printed)
        assert subscriber.payloads("affectd/kitchen/event") == events
        assert not [message for message in subscriber.messages if "gate_open" in str(message.payload)]


def test_a_listener_that_fails_stops_neither_events_nor_the_others() -> None:
    class Faulty:
        def write(self, line: object) -> None:
            raise OSError("no")

    kept, events = Kept(), Kept()
    network = FakeNetwork("c")
    maker = EventMaker("kitchen", network.model)  # type: ignore[arg-type]
    both = Several([("faulty", Faulty()), ("kept", kept)])
    run([CONVERSATION], network, events, Config(), events=maker, tracer=Tracer(maker, network.model, both.write))  # type: ignore[arg-type]
    assert kept
    assert events


def test_the_trace_is_only_imported_when_it_is_asked_for() -> None:
    program = (
        "import sys; from affectd.__main__ import main; code = main();"
        "print('affectd.events.trace' in sys.modules, file=sys.stderr); sys.exit(code)"
    )
    for words, expected in ((), "False\n"), (("--trace", "-"), "True\n"):
        command = [sys.executable, "-c", program, "run", "--source", str(DEMO), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
        assert (done.returncode, done.stderr) == (0, expected)
