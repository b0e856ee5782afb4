"""What Prometheus is told, read back by its official parsers: that of the Python client, and promtool."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from affectd.audio.liveness import State
from affectd.mqtt.telemetry import _DURATIONS, Meter
from affectd.web import process as process_module
from affectd.web.exposition import CONTENT_TYPE
from affectd.web.metrics import Metrics
from affectd.web.process import Process

LABELS = ["neutral", "happy", "angry"]
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (apt install prometheus)")

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def state(**changes: Any) -> dict[str, Any]:
    telemetry = {
        "dropped_seconds": 1.25,
        "overflows": 3,
        "outbox_dropped": 2,
        "events_dropped": {"standard_output": 0, "file": 7},
    }
    return {
        "schema": 1,
        "version": "0.9",
        "device": "kitchen",
        "model": "621fc7c7a29e",
        "labels": LABELS,
        "listening": True,
        "microphone": {"state": "healthy", "reason": "heard", "figure": None},
        "broker": {"connected": True, "refused": ["a/b"], "outbox": 5},
        "telemetry": telemetry,
        "baseline": {"settled": 0.75},
        "card": {},
        **changes,
    }


def trace(start: float, end: float, *, gate_open: bool = False, level: float | None = -31.2) -> dict[str, Any]:
    return {"type": "trace", "start_seconds": start, "end_seconds": end, "gate_open": gate_open, "level_dbfs": level}


def emotion(phase: str, label: str) -> dict[str, Any]:
    return {"type": "emotion", "phase": phase, "label": label}


def read(text: str) -> Samples:
    """Return every sample by name and labels, as the parser of Prometheus' Python client reads it."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
    assert len(found) == len(samples), "a sample is there twice"
    return found


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def metrics(meter: Meter | None = None) -> Metrics:
    return Metrics((meter or Meter()).durations)


def test_everything_is_there_from_the_start() -> None:
    samples = read(metrics().render(state()))
    for phase in ("start", "change", "end"):
        for label in (*LABELS, "uncertain"):
            assert value(samples, "affectd_events_total", phase=phase, label=label) == 0
    for name in ("sound_seconds_total", "speech_seconds_total", "gate_open"):
        assert value(samples, f"affectd_{name}") == 0
    assert math.isnan(value(samples, "affectd_level_dbfs"))
    assert value(samples, "affectd_classification_duration_seconds_bucket", le="+Inf") == 0
    assert value(samples, "affectd_status_events_total", part="microphone", state="alarmed") == 0


def test_the_state_of_the_device_is_told() -> None:
    samples = read(metrics().render(state()))
    assert value(samples, "affectd_build_info", version="0.9", model="621fc7c7a29e", device="kitchen") == 1
    assert value(samples, "affectd_dropped_sound_seconds_total") == 1.25
    assert value(samples, "affectd_sound_overflows_total") == 3
    assert value(samples, "affectd_listening") == 1
    assert value(samples, "affectd_broker_connected") == 1
    assert value(samples, "affectd_broker_refused_topics") == 1
    assert value(samples, "affectd_outbox_events") == 5
    assert value(samples, "affectd_outbox_dropped_events_total") == 2
    assert value(samples, "affectd_sink_dropped_events_total", sink="file") == 7
    assert value(samples, "affectd_baseline_settled_ratio") == 0.75
    away = read(metrics().render(state(listening=False, broker={"connected": False, "refused": [], "outbox": 9})))
    assert value(away, "affectd_listening") == value(away, "affectd_broker_connected") == 0


def test_what_a_device_does_not_have_is_not_told() -> None:
    names = {name for name, _ in read(metrics().render(state(broker=None, baseline=None)))}
    assert not {name for name in names if "broker" in name or "outbox" in name or "baseline" in name}
    assert "affectd_sink_dropped_events_total" in names


@pytest.mark.parametrize("now", [*State.__args__, None])  # type: ignore[attr-defined]
def test_the_microphone_is_in_one_state_or_in_none(now: str | None) -> None:
    samples = read(metrics().render(state(microphone={"state": now, "reason": None, "figure": None})))
    told = {dict(labels)["state"]: on for (name, labels), on in samples.items() if name == "affectd_microphone_state"}
    assert set(told) == set(State.__args__)  # type: ignore[attr-defined]
    assert [name for name, on in told.items() if on] == ([] if now is None else [now])
    assert set(told.values()) <= {0, 1}


lines = st.one_of(
    st.builds(emotion, st.sampled_from(["start", "change", "end"]), st.sampled_from([*LABELS, "uncertain"])),
    st.builds(
        lambda seconds, gate_open, level: trace(0.0, seconds, gate_open=gate_open, level=level),
        st.floats(0.001, 0.3),
        st.booleans(),
        st.none() | st.floats(-119, 0),
    ),
    st.builds(
        lambda part, state: {"type": "status", "state": state, **({"part": part} if part else {})},
        st.sampled_from([None, "broker", "file"]),
        st.sampled_from(["healthy", "alarmed", "muted"]),
    ),
)


@given(st.lists(lines, max_size=60))
def test_counts_are_those_of_the_lines_and_never_go_back(written: list[dict[str, Any]]) -> None:
    under_test, before = metrics(), read(metrics().render(state()))
    events: Counter[tuple[str, str]] = Counter()
    for line in written:
        under_test.write(line)
        if line["type"] == "emotion":
            events[line["phase"], line["label"]] += 1
        text = under_test.render(state())
        now = read(text)
        types = {family.name: family.type for family in text_string_to_metric_families(text)}
        for (name, labels), number in before.items():
            if types.get(name.removesuffix("_total")) == "counter":
                assert now[name, labels] >= number
        before = now
    traces = [line for line in written if line["type"] == "trace"]
    seconds = [line["end_seconds"] - line["start_seconds"] for line in traces]
    assert value(before, "affectd_sound_seconds_total") == pytest.approx(math.fsum(seconds), abs=1e-9)
    spoken = [s for s, line in zip(seconds, traces, strict=True) if line["gate_open"]]
    assert value(before, "affectd_speech_seconds_total") == pytest.approx(math.fsum(spoken), abs=1e-9)
    for (name, labels), number in before.items():
        if name == "affectd_events_total":
            assert number == events[dict(labels)["phase"], dict(labels)["label"]]
    statuses = Counter((line.get("part", "microphone"), line["state"]) for line in written if line["type"] == "status")
    for (part, name), n in statuses.items():
        assert value(before, "affectd_status_events_total", part=part, state=name) == n
    if traces:
        level = traces[-1]["level_dbfs"]
        assert value(before, "affectd_level_dbfs") == (-120 if level is None else level)
        assert value(before, "affectd_gate_open") == traces[-1]["gate_open"]


def test_a_level_is_that_of_now_or_none() -> None:
    under_test = metrics()
    under_test.write(trace(0.0, 0.256, gate_open=True))
    samples = read(under_test.render(state()))
    assert (value(samples, "affectd_level_dbfs"), value(samples, "affectd_gate_open")) == (-31.2, 1)
    samples = read(under_test.render(state(listening=False)))
    assert math.isnan(value(samples, "affectd_level_dbfs"))
    assert value(samples, "affectd_gate_open") == 0
    assert value(samples, "affectd_speech_seconds_total") == 0.256


@given(st.text(), st.text())
def test_any_text_comes_back_as_a_label(device: str, label: str) -> None:
    under_test = metrics()
    under_test.write(emotion("start", label))
    samples = read(under_test.render(state(device=device)))
    assert value(samples, "affectd_events_total", phase="start", label=label) == 1
    assert value(samples, "affectd_build_info", version="0.9", model="621fc7c7a29e", device=device) == 1


@given(st.lists(st.floats(0, 2) | st.sampled_from(_DURATIONS[:-1]), max_size=30))
def test_the_histogram_is_that_of_the_durations(durations: list[float]) -> None:
    meter = Meter()
    for seconds in durations:
        meter._add_time(seconds)
        meter.take()  # what a report takes must not be missing here
    samples = read(metrics(meter).render(state()))
    name = "affectd_classification_duration_seconds"
    found = {float(dict(labels)["le"]): n for (other, labels), n in samples.items() if other == f"{name}_bucket"}
    assert found == {bound: sum(seconds <= bound for seconds in durations) for bound in _DURATIONS}
    assert value(samples, f"{name}_count") == len(durations)
    assert value(samples, f"{name}_sum") == pytest.approx(math.fsum(durations))


def test_a_reader_in_another_thread_sees_counts_that_only_rise() -> None:
    under_test, stop, seen = metrics(), threading.Event(), []
    n = 20_000

    def look() -> None:
        while not stop.is_set():
            samples = read(under_test.render(state()))
            events = sum(number for (name, _), number in samples.items() if name == "affectd_events_total")
            seen.append((events, value(samples, "affectd_sound_seconds_total")))

    reader = threading.Thread(target=look)
    reader.start()
    for i in range(n):
        under_test.write(emotion("start", f"label {i % 500}"))
        under_test.write(trace(i, i + 1))
    stop.set()
    reader.join()
    assert seen == sorted(seen)
    samples = read(under_test.render(state()))
    assert value(samples, "affectd_sound_seconds_total") == n
    assert sum(number for (name, _), number in samples.items() if name == "affectd_events_total") == n


@needs_promtool
def test_promtool_finds_nothing_to_object_to() -> None:
    meter = Meter()
    meter._add_time(0.003)
    under_test = metrics(meter)
    under_test.write(emotion("end", 'an "odd"\nlabel \\'))
    under_test.write({"type": "status", "part": "broker", "state": "alarmed"})
    assert PROMTOOL is not None
    for told in (state(), state(broker=None, baseline=None)):
        done = subprocess.run(
            [PROMTOOL, "check", "metrics"], input=under_test.render(told), capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_names_the_format_that_prometheus_accepts() -> None:
    from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

    assert CONTENT_TYPE == CONTENT_TYPE_PLAIN_0_0_4


def test_the_figures_of_the_process_are_those_of_the_official_client() -> None:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    with Path("/dev/null").open() as _, Path("/dev/null").open() as _:
        mine = read(metrics().render(state()))
        theirs = {family.name: family.samples[0].value for family in registry.collect()}
    # Theirs counts the descriptor that it lists the folder with, and knows the boot to a second.
    assert value(mine, "process_open_fds") == theirs["process_open_fds"] - 1
    assert value(mine, "process_start_time_seconds") == pytest.approx(theirs["process_start_time_seconds"], abs=1.1)
    assert value(mine, "process_resident_memory_bytes") == pytest.approx(
        theirs["process_resident_memory_bytes"], rel=0.1
    )
    assert 0 <= theirs["process_cpu_seconds"] - value(mine, "process_cpu_seconds_total") + 0.02 < 5


def test_the_start_does_not_move_with_a_slewed_clock_but_with_a_set_one(monkeypatch: pytest.MonkeyPatch) -> None:
    wall = time.time()
    boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    monkeypatch.setattr(process_module.time, "time", lambda: wall)
    monkeypatch.setattr(process_module.time, "clock_gettime", lambda clock: boot)
    process = Process()
    first = process.start_seconds()
    assert first is not None
    wall += 0.4
    assert process.start_seconds() == first
    wall += 3600
    assert process.start_seconds() == pytest.approx(first + 3600.4, abs=0.02)


def test_without_proc_the_figures_of_the_process_are_not_told(tmp_path: Path) -> None:
    process = Process(tmp_path)
    assert (process.resident_bytes(), process.start_seconds(), process.open_files()) == (None, None, None)
    (tmp_path / "proc/self").mkdir(parents=True)
    fields = ["S", *["0"] * 18, "200", "4096", "3", "0"]
    (tmp_path / "proc/self/stat").write_text(f"1 (a) name) {' '.join(fields)}\n")
    assert process.resident_bytes() == 3 * os.sysconf("SC_PAGE_SIZE")
