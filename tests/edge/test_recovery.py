"""The microphone as a source that never ends: outages, late readers, and the time of the stream through both."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import jsonschema
import numpy as np
import pytest

from affectd import pipeline
from affectd.config import AudioConfig, Config
from affectd.errors import MicrophoneError
from affectd.events import EventMaker, event_schema
from affectd.liveness import FIRST_RETRY_SECONDS, Liveness
from affectd.microphone import open_microphone
from affectd.recovery import Reports, lively_blocks, microphone_blocks
from fake_network import FakeNetwork
from fake_pyaudio import FakeDevice, FakePyAudio
from sounds import SAMPLE_RATE, gain, noise, syllables

CONFIG = AudioConfig(stalled_seconds=5.0, constant_seconds=10.0, retry_seconds=4.0)
ROOM = np.random.default_rng(0)  # sounds a little, and never the same twice
HELD_SECONDS = 10.0  # as much as the ring keeps


@dataclass
class Plug:
    """A microphone on a machine whose clock goes on only while somebody waits for it."""

    now: float = 50.0
    rate: int = SAMPLE_RATE
    plugged: bool = True
    sounding: bool = True
    sound: Iterator[np.ndarray] | None = None
    opened_at: list[float] = field(default_factory=list)
    n_closed: int = 0
    name: str = "a microphone"

    @property
    def sample_rate(self) -> int:
        return self.rate

    @contextmanager
    def open(self) -> Iterator[Plug]:
        self.opened_at.append(self.now)
        if not self.plugged:
            raise MicrophoneError("missing", "It is not there.")
        try:
            yield self
        finally:
            self.n_closed += 1

    def read(self, timeout_seconds: float) -> tuple[int, np.ndarray]:
        if not self.plugged:
            raise MicrophoneError("stalled", "It has ended its stream.")
        if not self.sounding:
            self.now += timeout_seconds
            return 0, np.zeros(0, np.float32)
        self.now += 0.1
        return 0, next(self.sound) if self.sound else ROOM.standard_normal(self.rate // 10).astype(np.float32) * 0.01

    def wait(self, seconds: float) -> None:
        assert 0 < seconds <= 0.25, "nobody who mutes it or stops it waits longer"
        self.now += seconds

    def blocks(self, report: Callable[[str, str], None], *, patient: bool = False) -> Iterator[np.ndarray]:
        liveness = Liveness(CONFIG, clock=lambda: self.now, jitter=lambda: 0.5)
        opening: Callable[[], AbstractContextManager[Plug]] = self.open
        return lively_blocks(
            opening, SAMPLE_RATE, liveness, report, patient=patient, clock=lambda: self.now, wait=self.wait
        )


class Listener:
    """Takes blocks until told otherwise, and keeps what was reported."""

    def __init__(self, plug: Plug, *, patient: bool = False) -> None:
        self.reports: list[tuple[str, str]] = []
        self.plug = plug
        self.n_samples = 0
        self.blocks = plug.blocks(lambda *report: self.reports.append(report), patient=patient)

    def listen(self, seconds: float) -> None:
        until = self.plug.now + seconds
        while self.plug.now < until:
            self.n_samples += len(next(self.blocks))

    def states(self) -> list[str]:
        return [state for state, _ in self.reports]


@pytest.mark.parametrize("rate", [16000, 44100])
def test_a_microphone_that_is_pulled_and_plugged_in_again_is_heard_again(rate: int) -> None:
    plug = Plug(rate=rate)
    listener = Listener(plug)
    began = plug.now
    listener.listen(20.0)
    for outage in (1.0, 3.0, 100.0, 2000.0):
        plug.plugged = False
        listener.listen(outage)
        plug.plugged = True
        plugged_in = plug.now
        listener.listen(5.0)
        assert listener.states()[-1] == "healthy"
        # The time of the stream stays that of the clock, whatever the outage.
        assert listener.n_samples / SAMPLE_RATE == pytest.approx(plug.now - began, abs=0.15)
        assert plug.now - plugged_in == pytest.approx(5.0, abs=0.2)
    waits = np.diff(plug.opened_at)
    waits = waits[waits < 4.9]  # the rest is sound
    assert waits.min() >= FIRST_RETRY_SECONDS / 2
    assert waits.max() <= CONFIG.retry_seconds
    assert plug.n_closed == 4
    assert listener.states()[:4] == ["healthy", "alarmed", "recovering", "healthy"]
    assert listener.states()[-4:] == ["alarmed", "escalated", "failed", "healthy"]
    assert listener.reports[-2] == ("failed", "missing")


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_all_that_was_heard_before_the_plug_was_pulled_is_delivered(rate: int) -> None:
    plug = Plug(rate=rate, sound=iter(np.full((100, rate // 10), 0.25, np.float32)))
    blocks = plug.blocks(lambda *_: None)
    heard = []
    for block in blocks:
        heard.append(block)
        plug.plugged = plug.now < 53.0
        if plug.now > 54.0:
            break
    loud = np.concatenate(heard) > 0.125
    assert loud.sum() / SAMPLE_RATE == pytest.approx(3.0, abs=0.001)
    assert loud[: loud.sum()].all()


def test_a_stalled_stream_is_opened_again_in_its_time() -> None:
    plug = Plug()
    listener = Listener(plug)
    listener.listen(10.0)
    plug.sounding = False
    stalled_at = plug.now
    while len(listener.reports) < 2:
        next(listener.blocks)
    assert listener.reports[-1] == ("alarmed", "stalled")
    assert plug.now - stalled_at == pytest.approx(CONFIG.stalled_seconds, abs=0.3)
    plug.sounding = True
    listener.listen(2.0)
    assert listener.states() == ["healthy", "alarmed", "recovering", "healthy"]
    assert len(plug.opened_at) == 2


def test_a_microphone_absent_at_the_start_is_an_error_or_waited_for() -> None:
    with pytest.raises(MicrophoneError):
        next(Plug(plugged=False).blocks(lambda *_: None))
    plug = Plug(plugged=False)
    listener = Listener(plug, patient=True)
    listener.listen(60.0)
    assert listener.n_samples == 0  # no silence before the first sound: the stream has not begun
    assert listener.states() == ["alarmed", "escalated"]
    assert 15 <= len(plug.opened_at) <= 60 / (CONFIG.retry_seconds / 2)
    plug.plugged = True
    listener.listen(5.0)
    assert listener.states() == ["alarmed", "escalated", "healthy"]


def test_a_microphone_that_worked_once_is_always_waited_for() -> None:
    plug = Plug()
    listener = Listener(plug, patient=False)
    listener.listen(1.0)
    plug.plugged = False
    listener.listen(3600.0)
    assert listener.states() == ["healthy", "alarmed", "escalated", "failed"]


def test_every_attempt_is_followed_by_a_block_so_that_a_watchdog_sees_it() -> None:
    plug = Plug()
    listener = Listener(plug)
    listener.listen(1.0)
    plug.plugged = False
    for _ in range(50):
        attempts, before = len(plug.opened_at), plug.now
        next(listener.blocks)
        assert len(plug.opened_at) <= attempts + 1
        assert plug.now - before <= 0.26


def test_what_was_being_said_when_the_plug_was_pulled_ends_soon() -> None:
    plug = Plug(sound=iter((syllables(60.0) * 0.3).reshape(-1, SAMPLE_RATE // 10)))
    began = plug.now
    events: list[tuple[float, dict]] = []

    class Sink:
        def write(self, event: dict) -> None:
            events.append((plug.now - began, event))

    def blocks() -> Iterator[np.ndarray]:
        for block in plug.blocks(lambda *_: None):
            yield block
            plug.plugged = plug.now - began < 10.0
            if plug.now - began >= 15.0:
                return

    pipeline.run(blocks(), FakeNetwork(), Sink(), Config())  # type: ignore[arg-type]
    seconds, end = events[-1]
    assert end["phase"] == "end"
    assert seconds <= 13.0
    assert end["end_seconds"] == pytest.approx(10.0, abs=0.7)


def test_reports_are_written_between_two_blocks_and_obey_the_schema() -> None:
    plug = Plug()
    order: list[object] = []

    class Sink:
        def write(self, event: dict) -> None:
            jsonschema.Draft202012Validator(event_schema()).validate(event)
            order.append((event["state"], event["reason"]))

    reports = Reports(EventMaker("kitchen", FakeNetwork().model).status)  # type: ignore[arg-type]
    blocks = reports.between(plug.blocks(reports), Sink())  # type: ignore[arg-type]
    while plug.now < 60.0:
        order.append(len(next(blocks)) > 0)
    plug.plugged = False
    while plug.now < 70.0:
        next(blocks)
    blocks.close()  # type: ignore[attr-defined]
    assert [entry for entry in order if isinstance(entry, tuple)] == [("healthy", "heard"), ("alarmed", "stalled")]
    assert order.index(("healthy", "heard")) == 5  # an empty block, and 0.5 s of proof less the one that proved it


def test_reports_of_a_source_that_ended_are_written_too() -> None:
    written: list[object] = []

    class Sink:
        def write(self, event: object) -> None:
            written.append(event)

    reports = Reports(lambda state, reason: {"state": state})

    def blocks() -> Iterator[np.ndarray]:
        yield np.zeros(1, np.float32)
        reports("failed", "missing")

    assert len(list(reports.between(blocks(), Sink()))) == 1  # type: ignore[arg-type]
    assert written == [{"state": "failed"}]


@pytest.mark.parametrize("rate", [16000, 48000])
@pytest.mark.parametrize("stalled_seconds", [1, 5, 30])
def test_a_stalled_consumer_loses_the_oldest_only_and_counts_them_exactly(
    monkeypatch: pytest.MonkeyPatch, stalled_seconds: int, rate: int
) -> None:
    fake = FakePyAudio(FakeDevice(n_channels=1, accepts=lambda asked, n: asked == rate, rate=rate))
    monkeypatch.setitem(sys.modules, "pyaudio", fake)
    number = np.arange((stalled_seconds + 4) * rate) % 32749 + 1  # never 0, and a prime period

    with open_microphone(16000) as stream:
        heard: list[np.ndarray] = []
        n_lost = 0

        def drain() -> None:
            nonlocal n_lost
            while True:
                lost, samples = stream.read(0)
                if not len(samples):
                    return
                n_lost += lost
                heard.append(np.zeros(lost, int))
                heard.append((samples * 2**15).round().astype(int))

        fake.play(number[: 2 * rate].astype(np.int16))
        drain()
        fake.play(number[2 * rate : -2 * rate].astype(np.int16))  # nobody reads meanwhile
        drain()
        fake.play(number[-2 * rate :].astype(np.int16))
        drain()

    expected = number.copy()
    expected_lost = max(0, round((stalled_seconds - HELD_SECONDS) * rate))
    expected[2 * rate : 2 * rate + expected_lost] = 0
    assert n_lost == expected_lost
    np.testing.assert_array_equal(np.concatenate(heard), expected)


@pytest.mark.parametrize("rate", [16000, 48000])
@pytest.mark.parametrize("stalled_seconds", [1, 5, 30])
def test_after_a_stall_of_the_consumer_the_times_of_events_are_right(
    monkeypatch: pytest.MonkeyPatch, stalled_seconds: int, rate: int
) -> None:
    fake = FakePyAudio(FakeDevice(n_channels=1, accepts=lambda asked, n: asked == rate, rate=rate))
    monkeypatch.setitem(sys.modules, "pyaudio", fake)
    stall_at, speech_at, speech_seconds = 5.0, 5.0 + stalled_seconds + 5.0, 3.0
    total = speech_at + speech_seconds + 4.0
    sound = gain(noise("pink", total), -50)
    start = round(speech_at * SAMPLE_RATE)
    sound[start : start + round(speech_seconds * SAMPLE_RATE)] += syllables(speech_seconds) * 0.3
    at_rate = np.interp(np.arange(round(total * rate)) / rate, np.arange(len(sound)) / SAMPLE_RATE, sound)
    pcm = (at_rate * 32767).astype(np.int16)

    def blocks() -> Iterator[np.ndarray]:
        source = microphone_blocks(SAMPLE_RATE, CONFIG, lambda *_: None, patient=False)
        n_heard = n_played = 0
        for until in (*np.arange(0.5, stall_at + 0.1, 0.5), *np.arange(stall_at + stalled_seconds, total + 0.1, 0.5)):
            fake.play(pcm[n_played : round(until * rate)])
            n_played = round(until * rate)
            # All but what waits in the resampler, whose batches are of up to 0.1 s.
            while n_heard < (until - 0.2) * SAMPLE_RATE:
                block = next(source)
                n_heard += len(block)
                yield block

    events: list[dict] = []

    class Sink:
        def write(self, event: dict) -> None:
            events.append(event)

    pipeline.run(blocks(), FakeNetwork(), Sink(), Config())  # type: ignore[arg-type]
    begin, end = events[0], events[-1]
    assert (begin["phase"], end["phase"]) == ("start", "end")
    assert sum(event["phase"] == "start" for event in events) == 1  # the gap itself is no speech
    preroll, hangover = Config().gate.preroll_seconds, Config().gate.hangover_seconds
    assert begin["start_seconds"] == pytest.approx(speech_at - preroll / 2, abs=preroll / 2 + 0.1)
    assert end["end_seconds"] == pytest.approx(speech_at + speech_seconds + hangover, abs=0.3)
