"""What the device tells about itself, compared with what others say of it."""

from __future__ import annotations

import json
import math
import resource
import sys
import threading
import time
import tracemalloc
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectd import pipeline
from affectd.audio.microphone import Losses, open_microphone
from affectd.board import resident
from affectd.config.sections import Config, DeviceConfig, MqttConfig
from affectd.config.state import Folders
from affectd.features.framing import frame_clip
from affectd.features.spec import FeatureSpec
from affectd.mqtt.mute import Mute
from affectd.mqtt.publisher import Publisher
from affectd.mqtt.telemetry import Meter, Telemetry
from affectd.recognition.vad import LEVEL_FLOOR_DBFS, band_level
from broker import wait_until
from fake_broker import FakeBroker
from fake_network import FakeNetwork
from fake_pyaudio import FakeDevice, FakePyAudio
from sounds import SAMPLE_RATE, gain, noise, silence, syllables

SCHEMA = json.loads(resources.files("affectd.mqtt").joinpath("telemetry.schema.json").read_text("utf-8"))
CEPSTRA = np.zeros((1, 1), np.float32)


def dbfs(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def spoken(*values: bool) -> np.ndarray:
    return np.array(values, bool)


def telemetry(root: Path = Path("/nowhere"), place: Any = None) -> Telemetry:
    return Telemetry("kitchen", "a1b2c3", Losses(), Mute(None), place, root=root)


def test_every_report_obeys_the_schema_and_tells_what_it_was_given(tmp_path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    losses, mute = Losses(), Mute(None)
    mute.is_muted = True
    for zone, text in enumerate(("41200\n", "55875\n", "broken")):
        folder = tmp_path / f"sys/class/thermal/thermal_zone{zone}"
        folder.mkdir(parents=True)
        (folder / "temp").write_text(text)
    dropped, told = {"standard_output": 0, "file": 0}, []
    telemetry = Telemetry("kitchen", "a1b2c3", losses, mute, None, lambda: dict(dropped), tmp_path)
    config = Config(mqtt=MqttConfig(outbox_events=2))
    publisher = Publisher(config, FakeNetwork().model, Folders(tmp_path, None), telemetry, mute, told.append, {})  # type: ignore[arg-type]
    for _ in range(2):
        publisher.write({"type": "status", "part": "file"})
    first = publisher.report(telemetry)
    jsonschema.Draft202012Validator(SCHEMA).validate(first)
    assert first["temperature_celsius"] == 55.9
    assert (first["outbox_events"], first["outbox_dropped"], first["muted"]) == (2, 0, True)
    assert first["events_dropped"] == {"standard_output": 0, "file": 0}
    for _ in range(7):
        publisher.write({"type": "status", "part": "file"})
    publisher.backlog.delivered(sequence for sequence, _ in publisher.backlog.pending(0, 2))
    mute.is_muted, dropped["file"] = False, 3
    losses.dropped_seconds, losses.overflows, losses.degraded = 1.23456, 3, {"rate": 0.5}
    second = publisher.report(telemetry)
    jsonschema.Draft202012Validator(SCHEMA).validate(second)
    assert (second["outbox_events"], second["outbox_dropped"], second["muted"]) == (0, 7, False)
    assert second["events_dropped"] == {"standard_output": 0, "file": 3}
    assert (second["dropped_seconds"], second["overflows"]) == (1.235, 3)
    assert (first["degraded"], second["degraded"]) == ({}, {"rate": 0.5})
    assert (first["refused"], told) == ([], [])
    assert set(first) == set(SCHEMA["properties"])
    json.dumps(second, allow_nan=False)


@given(
    levels=st.lists(st.floats(-120, 0, width=32), max_size=40),
    seed=st.integers(0, 1000),
    seconds=st.lists(st.floats(0, 1e6), max_size=5),
)
def test_whatever_is_measured_obeys_the_schema(levels: list[float], seed: int, seconds: list[float]) -> None:
    measured = telemetry()
    measured.meter.push(dbfs(*levels), np.random.default_rng(seed).random(len(levels)) < 0.5)
    for one in seconds:
        measured.meter._add_time(one)
    report = measured()
    jsonschema.Draft202012Validator(SCHEMA).validate(report)
    json.dumps(report, allow_nan=False)


def test_the_level_is_the_mean_power_since_the_last_report() -> None:
    meter = Meter()
    sound = gain(noise("pink", 8), -20)
    frames = sound[: len(sound) // 1024 * 1024].reshape(-1, 1024)
    levels = band_level(frames, SAMPLE_RATE)
    for start in range(0, len(levels), 16):
        meter.push(levels[start : start + 16], np.zeros(len(levels[start : start + 16]), bool))
    expected = 10 * math.log10(float((10 ** (levels.astype(float) / 10)).mean()))
    assert meter.take()["level_dbfs"] == pytest.approx(expected, abs=0.06)
    meter.push(dbfs(-30, -120), spoken(False, False))
    assert meter.take()["level_dbfs"] == -33.0
    meter.push(dbfs(-50), spoken(False))
    assert meter.take()["level_dbfs"] == -50.0


def test_digital_silence_has_no_level_and_the_faintest_sound_has() -> None:
    meter = Meter()
    assert meter.take() == {"level_dbfs": None, "speech_ratio": 0.0, "inference_ms": {"median": None, "max": None}}
    meter.push(dbfs(), spoken())
    assert meter.take()["level_dbfs"] is None
    for value in (0.0, 0.25):  # a microphone's offset is no sound either
        meter.push(band_level(np.full((16, 1024), value, np.float32), SAMPLE_RATE), np.zeros(16, bool))
        assert meter.take()["level_dbfs"] is None
    frames = np.random.default_rng(0).integers(0, 2, (16, 1024)).astype(np.float32) / 2**15  # the last bit alone
    meter.push(band_level(frames, SAMPLE_RATE), np.zeros(16, bool))
    measured = meter.take()["level_dbfs"]
    assert measured is not None
    assert LEVEL_FLOOR_DBFS < measured < -90


def test_two_seconds_without_speech_are_quiet() -> None:
    meter = Meter()
    assert not meter.is_quiet
    for active in (True, False):
        for n in range(8):
            meter.push(np.full(16, -40, np.float32), np.arange(16) == 3 if active else np.zeros(16, bool))
            assert meter.is_quiet == (not active and n == 7)


def test_the_share_of_speech_is_that_since_the_last_report() -> None:
    meter = Meter()
    meter.push(dbfs(-30, -30, -30), spoken(True, False, False))
    meter.push(dbfs(-30), spoken(False))
    assert meter.take()["speech_ratio"] == 0.25
    meter.push(dbfs(-30), spoken(True))
    assert meter.take()["speech_ratio"] == 1.0


def test_the_network_is_timed_and_otherwise_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)

    class Slow(FakeNetwork):
        def __call__(self, cepstra: np.ndarray) -> np.ndarray:
            nonlocal now
            now += next(durations)
            return super().__call__(cepstra)

    durations = iter([0.004, 0.001, 0.010, 0.002, 0.003, 0.007])
    slow, meter = Slow("cah"), Meter()
    timed = meter.timed(slow)  # type: ignore[arg-type]
    assert timed.model is slow.model
    answers = [timed(CEPSTRA).argmax() for _ in range(5)]
    assert answers == [1, 0, 2, 2, 2]
    assert meter.take()["inference_ms"] == {"median": 3.0, "max": 10.0}
    assert meter.take()["inference_ms"] == {"median": None, "max": None}
    timed(CEPSTRA)
    assert meter.take()["inference_ms"] == {"median": 7.0, "max": 7.0}


def test_a_day_without_a_report_takes_no_more_memory_than_a_minute() -> None:
    meter = Meter()
    levels, active = np.full(16, -40, np.float32), np.ones(16, bool)

    def listen(n_strides: int) -> int:
        for n in range(n_strides):
            meter.push(levels, active)
            meter._add_time(n / 1000)
        return tracemalloc.get_traced_memory()[0]

    listen(2000)
    tracemalloc.start()
    try:
        before = listen(10)
        assert listen(50_000) - before < 100_000
    finally:
        tracemalloc.stop()
    assert meter.take()["level_dbfs"] == -40.0


def test_nothing_is_lost_between_who_pushes_and_who_takes() -> None:
    meter = Meter()
    n_strides, stop = 20_000, threading.Event()
    taken: list[float] = []

    def take() -> None:
        while not stop.is_set():
            longest = meter.take()["inference_ms"]["max"]
            if longest is not None:
                taken.append(longest)

    thread = threading.Thread(target=take)
    thread.start()
    for n in range(n_strides):
        meter._add_time(float(n))
    stop.set()
    thread.join()
    rest = meter.take()["inference_ms"]["max"]
    taken += [] if rest is None else [rest]
    assert taken == sorted(taken)  # each is told once, in the report of its time
    assert taken[-1] == 1000.0 * (n_strides - 1)


def test_what_it_costs_agrees_with_the_kernel() -> None:
    def used() -> tuple[float, float]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime, time.monotonic()

    def work(seconds: float) -> None:
        until = used()[0] + seconds
        while used()[0] < until:
            math.factorial(500)

    began = time.monotonic()
    report = telemetry(Path("/"))
    work(0.2)
    moments = [used()]
    report()
    moments.append(used())
    work(0.2)
    moments.append(used())
    told = report()
    moments.append(used())
    (cpu_0, at_0), (cpu_1, at_1), (cpu_2, at_2), (cpu_3, at_3) = moments
    # Whatever else this machine did between two looks at the clock.
    assert 100 * (cpu_2 - cpu_1) / (at_3 - at_0) - 0.1 <= told["cpu_percent"]
    assert told["cpu_percent"] <= 100 * (cpu_3 - cpu_0) / (at_2 - at_1) + 0.1
    assert abs(told["uptime_seconds"] - (at_3 - began)) <= 0.5 + at_3 - at_2
    status = Path("/proc/self/status").read_text()
    resident_kib = int(status.split("VmRSS:")[1].split()[0])
    assert told["resident_mb"] == pytest.approx(resident_kib * 1024 / 1e6, rel=0.03)


def test_where_the_system_says_nothing_the_report_says_null() -> None:
    report = telemetry()()
    jsonschema.Draft202012Validator(SCHEMA).validate(report)
    assert report["resident_mb"] is None
    assert report["temperature_celsius"] is None


def test_a_process_whose_name_is_cut_off_within_a_letter_has_memory_too() -> None:
    comm = Path("/proc/self/comm")
    before = comm.read_bytes()
    comm.write_bytes(b"mikrofon-k\xc3\xbcche"[:11])  # as the kernel does after 15 bytes
    try:
        assert resident()["resident_mb"] > 1
    finally:
        comm.write_bytes(before)


def test_it_says_how_far_the_device_knows_its_place() -> None:
    settled = iter((0.0, 0.98765))
    report = telemetry(place=SimpleNamespace(settled=lambda: next(settled)))
    for told in (0.0, 0.988):
        found = report()
        jsonschema.Draft202012Validator(SCHEMA).validate(found)
        assert found["settled"] == told
    assert telemetry()()["settled"] is None


def test_a_report_says_what_the_broker_refuses() -> None:
    told: list[list[str]] = []
    with FakeBroker() as broker:
        config = Config(
            device=DeviceConfig(id="kitchen"), mqtt=MqttConfig(port=broker.port, discovery=False, listen_command=True)
        )
        mute, measured = Mute(None), telemetry()
        publisher = Publisher(config, FakeNetwork().model, Folders(None, None), measured, mute, told.append, {})  # type: ignore[arg-type]
        assert publisher.report(measured)["refused"] == []
        publisher.start()
        try:
            broker.welcome().confirm(0x80)
            wait_until(lambda: told == [["affectd/kitchen/listen"]])
            assert publisher.report(measured)["refused"] == ["affectd/kitchen/listen"]
        finally:
            publisher.close(lambda: 0.0)


def test_a_second_reader_of_telemetry_has_periods_of_its_own() -> None:
    first = telemetry()
    second = first.branch()
    first.meter.push(dbfs(-30), spoken(True))
    assert first()["speech_ratio"] == 1.0
    assert (first()["speech_ratio"], second()["speech_ratio"], second()["speech_ratio"]) == (0.0, 1.0, 0.0)


def test_lost_sound_is_counted_over_all_openings(monkeypatch: pytest.MonkeyPatch) -> None:
    rate = 48000
    fake = FakePyAudio(FakeDevice(n_channels=1, accepts=lambda asked, n: asked == rate, rate=rate))
    monkeypatch.setitem(sys.modules, "pyaudio", fake)
    losses = Losses()
    for opening in range(3):
        with open_microphone(16000, losses=losses) as stream:
            stream.read(0)
            fake.play(np.ones(12 * rate, np.int16))  # the ring holds ten seconds of it
            while len(stream.read(0)[1]):
                pass
            fake.play(np.ones(10 * 441, np.int16), status=FakePyAudio.paInputOverflow)
            stream.read(0)
            stream.read(0)
        assert losses.dropped_seconds == pytest.approx(2.0 * (opening + 1))
        assert losses.overflows == 10 * (opening + 1)  # blocks of 441


def test_measuring_changes_no_event_and_tells_how_loud_it_was_and_who_spoke() -> None:
    class Kept(list[dict]):
        def write(self, event: dict) -> None:
            self.append({key: value for key, value in event.items() if key not in ("id", "time")})

    sound = np.concatenate([silence(1), gain(syllables(6), -20), silence(3)])
    plain, measured, meter = Kept(), Kept(), Meter()
    blocks = np.array_split(sound, 100)
    pipeline.run(blocks, FakeNetwork("cccccaaaaa"), plain, Config())  # type: ignore[arg-type]
    network = FakeNetwork("cccccaaaaa")
    pipeline.run(blocks, meter.timed(network), measured, Config(), measure=meter.push)  # type: ignore[arg-type]
    assert measured == plain != []
    taken = meter.take()
    level = band_level(frame_clip(sound, FeatureSpec()), SAMPLE_RATE)
    assert taken["level_dbfs"] == pytest.approx(10 * math.log10(float((10 ** (level / 10)).mean())), abs=0.1)
    assert 0.2 < taken["speech_ratio"] < 0.7
    assert 0 < taken["inference_ms"]["median"] <= taken["inference_ms"]["max"]
