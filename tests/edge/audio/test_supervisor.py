"""The microphone as a source that never ends: outages, late readers, and the time of the stream through both."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectd import pipeline
from affectd.audio.liveness import FIRST_RETRY_SECONDS, Liveness
from affectd.audio.microphone import PIECE_SECONDS, Losses, open_microphone
from affectd.audio.supervisor import Supervisor, microphone_blocks
from affectd.config.sections import AudioConfig, Config
from affectd.errors import MicrophoneError
from affectd.events.event import EventMaker, event_schema
from affectd.events.status import Reports
from fake_network import FakeNetwork
from fake_pyaudio import FakeDevice, FakePyAudio
from sounds import SAMPLE_RATE, as_int16, gain, noise, syllables

CONFIG = AudioConfig(stalled_seconds=5.0, constant_seconds=10.0, retry_seconds=4.0)
ROOM = np.random.default_rng(0)  # sounds a little, and never the same twice
HELD_SECONDS = 10.0  # as much as the ring keeps


@dataclass
class Plug:
    """A microphone on a machine whose clock advances only while it is waited for."""

    now: float = 50.0
    rate: int = SAMPLE_RATE
    plugged: bool = True
    sounding: bool = True
    sound: Iterator[np.ndarray] | None = None
    opened_at: list[float] = field(default_factory=list)  # or tried
    n_opened: int = 0
    n_closed: int = 0
    muted: bool = False
    name: str = "a microphone"
    step_seconds: float = 0.1  # between two pieces of a tenth of a second
    n_lost: int = 0  # before each of them
    quiet: bool = False
    n_pieces: list[int] = field(default_factory=list)  # that were waited for

    @property
    def sample_rate(self) -> int:
        return self.rate

    @contextmanager
    def open(self) -> Iterator[Plug]:
        self.opened_at.append(self.now)
        if not self.plugged:
            raise MicrophoneError("missing", "It is not there.")
        self.n_opened += 1
        try:
            yield self
        finally:
            self.n_closed += 1

    def read(self, timeout_seconds: float, n_pieces: int) -> tuple[int, np.ndarray]:
        self.n_pieces.append(n_pieces)
        if not self.plugged:
            raise MicrophoneError("stalled", "It has ended its stream.")
        if not self.sounding:
            self.now += timeout_seconds
            return 0, np.zeros(0, np.float32)
        self.now += self.step_seconds
        return self.n_lost, next(self.sound) if self.sound else ROOM.standard_normal(self.rate // 10).astype(
            np.float32
        ) * 0.01

    def wait(self, seconds: float) -> None:
        assert 0 < seconds <= 0.25, "muting or stopping it takes no longer"
        self.now += seconds

    def blocks(
        self, report: Callable[[str, str], None], *, patient: bool = False, losses: Losses | None = None
    ) -> Iterator[np.ndarray]:
        liveness = Liveness(CONFIG, clock=lambda: self.now, jitter=lambda: 0.5)
        opening: Callable[[], AbstractContextManager[Plug]] = self.open
        return Supervisor(
            opening,
            SAMPLE_RATE,
            liveness,
            report,
            patient=patient,
            muted=lambda: self.muted,
            quiet=lambda: self.quiet,
            clock=lambda: self.now,
            wait=self.wait,
            losses=losses,
        ).blocks()

    @property
    def is_open(self) -> bool:
        return self.n_opened > self.n_closed


class Listener:
    """Takes blocks until told otherwise, and keeps what was reported."""

    def __init__(self, plug: Plug, *, patient: bool = False, losses: Losses | None = None) -> None:
        self.reports: list[tuple[str, str]] = []
        self.plug = plug
        self.n_samples = 0
        self.blocks = plug.blocks(lambda *report: self.reports.append(report), patient=patient, losses=losses)

    def listen(self, seconds: float) -> None:
        until = self.plug.now + seconds
        while self.plug.now < until:
            self.n_samples += len(next(self.blocks))

    def states(self) -> list[str]:
        return [state for state, _ in self.reports]


def test_while_all_is_quiet_the_pipeline_is_woken_half_as_often() -> None:
    plug = Plug()
    listener = Listener(plug)
    for plug.quiet, n_pieces in ((False, 1), (True, 2), (False, 1)):
        next(listener.blocks)  # which was waited for as before
        plug.n_pieces.clear()
        listener.listen(1.0)
        assert set(plug.n_pieces) == {n_pieces}


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


@pytest.mark.parametrize("speed", [1.0, 2.0])
def test_what_was_being_said_when_the_plug_was_pulled_ends_soon(speed: float) -> None:
    """Also if the card has delivered more sound than time has passed, as one does that is fast, in months."""
    plug = Plug(sound=iter((syllables(60.0) * 0.3).reshape(-1, SAMPLE_RATE // 10)), step_seconds=0.1 / speed)
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
    assert end["end_seconds"] == pytest.approx(10.0 * speed, abs=0.7)


def test_muted_it_is_closed_within_half_a_second_and_only_what_was_heard_before_is_delivered() -> None:
    plug = Plug()
    n_read = 0

    def sound() -> Iterator[np.ndarray]:
        nonlocal n_read
        while True:
            n_read += 1
            yield np.full(SAMPLE_RATE // 10, -0.5 if plug.muted else 0.5, np.float32) + next(varying)

    varying = (ROOM.standard_normal(SAMPLE_RATE // 10).astype(np.float32) * 0.01 for _ in iter(int, 1))
    plug.sound = sound()
    listener = Listener(plug)
    heard = [next(listener.blocks) for _ in range(30)]
    plug.muted = True
    muted_at, n_before = plug.now, n_read
    while plug.is_open:
        heard.append(next(listener.blocks))
        assert plug.now - muted_at <= 0.5
    heard += [next(listener.blocks) for _ in range(100)]
    assert n_read == n_before
    assert np.concatenate(heard).min() >= 0.0
    assert listener.reports == [("healthy", "heard"), ("muted", "asked")]


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("seconds", [0.3, 10.0, 4000.0])
def test_while_muted_blocks_keep_coming_and_afterwards_the_stream_is_where_the_clock_is(
    seconds: float, rate: int
) -> None:
    plug = Plug(rate=rate)
    listener = Listener(plug)
    began = plug.now
    listener.listen(5.0)
    for _ in range(3):
        listener.reports.clear()
        plug.muted = True
        unmuted_at = plug.now + seconds
        while plug.now < unmuted_at:
            before = plug.now
            listener.n_samples += len(next(listener.blocks))
            assert plug.now - before <= 0.5
        assert not plug.is_open
        assert listener.reports == [("muted", "asked")]
        plug.muted = False
        listener.listen(0.5)
        # Told as soon as it is open, not only when there is something to hear.
        assert listener.reports[1] == ("recovering", "asked")
        listener.listen(3.0)
        assert listener.reports == [("muted", "asked"), ("recovering", "asked"), ("healthy", "heard")]
        assert listener.n_samples / SAMPLE_RATE == pytest.approx(plug.now - began, abs=0.15)
    assert len(plug.opened_at) == 4


@pytest.mark.parametrize("patient", [True, False])
def test_muted_at_the_start_nothing_is_opened_and_the_stream_begins_with_the_first_sound(patient: bool) -> None:
    plug = Plug(muted=True)
    listener = Listener(plug, patient=patient)
    listener.listen(60.0)
    assert plug.opened_at == []
    assert listener.n_samples == 0
    assert listener.reports == [("muted", "asked")]
    plug.muted = False
    unmuted_at = plug.now
    listener.listen(5.0)
    assert plug.opened_at[0] - unmuted_at <= 0.25
    assert listener.n_samples / SAMPLE_RATE == pytest.approx(plug.now - unmuted_at, abs=0.4)
    assert listener.reports == [("muted", "asked"), ("recovering", "asked"), ("healthy", "heard")]


@pytest.mark.parametrize("patient", [True, False])
def test_a_microphone_that_is_absent_after_muting_is_waited_for(patient: bool) -> None:
    plug = Plug(muted=True, plugged=False)
    listener = Listener(plug, patient=patient)
    listener.listen(10.0)
    plug.muted = False
    listener.listen(60.0)
    assert listener.reports == [("muted", "asked"), ("alarmed", "missing"), ("escalated", "missing")]
    plug.plugged = True
    listener.listen(5.0)
    assert listener.states()[-1] == "healthy"


def test_an_outage_can_be_muted_and_goes_on_afterwards_if_it_lasts() -> None:
    plug = Plug()
    listener = Listener(plug)
    listener.listen(5.0)
    plug.plugged = False
    listener.listen(100.0)
    n_tried = len(plug.opened_at)
    plug.muted = True
    listener.listen(0.5)
    assert listener.reports[-1] == ("muted", "asked")
    listener.listen(100.0)
    assert len(plug.opened_at) == n_tried
    plug.muted = False
    listener.listen(1.0)
    assert listener.states() == ["healthy", "alarmed", "escalated", "muted", "alarmed"]
    plug.plugged = True
    listener.listen(5.0)
    assert listener.states()[5:] in (["healthy"], ["recovering", "healthy"])


def test_who_mutes_while_the_device_is_being_opened_is_not_listened_to() -> None:
    plug = Plug()
    plug.sound = iter([])  # it is not read

    @contextmanager
    def opening() -> Iterator[Plug]:
        plug.muted = True
        with plug.open() as stream:
            yield stream

    listener = Listener(plug)
    listener.blocks = Supervisor(
        opening,
        SAMPLE_RATE,
        Liveness(CONFIG, clock=lambda: plug.now),
        lambda *report: listener.reports.append(report),
        patient=False,
        muted=lambda: plug.muted,
        clock=lambda: plug.now,
        wait=plug.wait,
    ).blocks()
    listener.listen(10.0)
    assert (plug.n_opened, plug.n_closed) == (1, 1)
    assert listener.reports == [("muted", "asked")]


@given(steps=st.lists(st.tuples(st.sampled_from(["mute", "pull", "hush"]), st.floats(0.0, 20.0)), max_size=20))
def test_whatever_happens_nothing_is_heard_while_muted(steps: list[tuple[str, float]]) -> None:
    plug = Plug()
    listener = Listener(plug)
    listener.listen(1.0)
    muted_for, began = 0.0, plug.now - 1.0
    for step, seconds in steps:
        if step == "mute":
            plug.muted = not plug.muted
        elif step == "pull":
            plug.plugged = not plug.plugged
        else:
            plug.sounding = not plug.sounding
        until = plug.now + seconds
        while plug.now < until:
            before = plug.now
            listener.n_samples += len(next(listener.blocks))
            muted_for = muted_for + plug.now - before if plug.muted else 0.0
            assert not (plug.is_open and muted_for > 0.5)
            assert (listener.reports[-1:] == [("muted", "asked")]) or muted_for <= 0.5
    for (before_state, _), (state, reason) in pairwise(listener.reports):
        assert state != before_state
        assert (reason == "asked") == (state == "muted" or (before_state, state) == ("muted", "recovering"))
    plug.muted, plug.plugged, plug.sounding = False, True, True
    listener.listen(10.0)
    assert listener.reports[-1] == ("healthy", "heard")
    assert listener.n_samples / SAMPLE_RATE == pytest.approx(plug.now - began, abs=0.3)


def test_what_was_being_said_when_it_was_muted_ends_soon_and_what_is_said_then_is_in_no_event() -> None:
    plug = Plug(sound=iter((syllables(60.0) * 0.3).reshape(-1, SAMPLE_RATE // 10)))
    began = plug.now
    events: list[tuple[float, dict]] = []

    class Sink:
        def write(self, event: dict) -> None:
            jsonschema.Draft202012Validator(event_schema()).validate(event)
            events.append((plug.now - began, event))

    reports = Reports(EventMaker("kitchen", FakeNetwork().model).status)  # type: ignore[arg-type]

    def blocks() -> Iterator[np.ndarray]:
        for block in reports.between(plug.blocks(reports), Sink()):  # type: ignore[arg-type]
            yield block
            plug.muted = 10.0 <= plug.now - began < 20.0
            if plug.now - began >= 30.0:
                return

    pipeline.run(blocks(), FakeNetwork(), Sink(), Config())  # type: ignore[arg-type]
    states = [event["state"] for _, event in events if event["type"] == "status"]
    assert states == ["healthy", "muted", "recovering", "healthy"]
    (_, first), (ended_at, end), (_, second), _ = [
        (seconds, event) for seconds, event in events if event.get("phase") in ("start", "end")
    ]
    assert (first["phase"], end["phase"], second["phase"]) == ("start", "end", "start")
    assert ended_at <= 13.0
    assert end["end_seconds"] == pytest.approx(10.0, abs=0.7)
    assert second["start_seconds"] >= 20.0 - Config().gate.preroll_seconds


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
        fake.play(number[2 * rate : -2 * rate].astype(np.int16))  # nothing is read meanwhile
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
            # All but what is no whole piece yet, and what waits in the resampler, whose batches are of up to 0.1 s.
            while n_heard < (until - PIECE_SECONDS - 0.1) * SAMPLE_RATE:
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


def paced(samples: np.ndarray) -> Iterator[np.ndarray]:
    """Yield a sound in pieces of 0.1 s, and then the noise of a room."""
    step = SAMPLE_RATE // 10
    for start in range(0, len(samples) - step + 1, step):
        yield as_int16(samples[start : start + step])
    while True:
        yield as_int16(ROOM.standard_normal(step).astype(np.float32) * 0.01)


def test_unfit_sound_is_told_once_measured_and_over_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    loop, fit = np.tile(gain(noise("pink", 2.3), -20), 12), gain(noise("pink", 15, seed=2), -20)
    plug, losses = Plug(sound=paced(np.concatenate([loop, fit]))), Losses()
    listener = Listener(plug, losses=losses)
    listener.listen(26.0)
    assert listener.reports == [("healthy", "heard"), ("degraded", "repeated")]
    assert losses.degraded == {"repeated": 2.3}
    assert "microphone degraded (repeated): a microphone delivers the same 2.30 s of sound over and over" in caplog.text
    assert plug.n_opened == 1  # opening it again would not mend it
    listener.listen(17.0)
    assert listener.reports[2:] == [("healthy", "heard")]
    assert losses.degraded == {}


@pytest.mark.parametrize("speed", [0.3, 0.5, 1.5, 2.0])
def test_a_card_with_a_wrong_clock_is_told_and_a_right_one_that_loses_sound_is_not(speed: float) -> None:
    plug, losses = Plug(step_seconds=0.1 / speed), Losses()
    listener = Listener(plug, losses=losses)
    listener.listen(40.0)
    assert listener.reports == [("healthy", "heard"), ("degraded", "rate")]
    assert losses.degraded == {"rate": speed}
    # What is not read in time is lost by this machine and not by the card.
    plug = Plug(step_seconds=0.2, n_lost=SAMPLE_RATE // 10)
    listener = Listener(plug)
    listener.listen(60.0)
    assert listener.reports == [("healthy", "heard")]


def test_an_outage_of_a_degraded_microphone_begins_and_ends_as_any(caplog: pytest.LogCaptureFixture) -> None:
    plug, losses = Plug(sound=paced(np.tile(gain(noise("pink", 1.9), -20), 40))), Losses()
    listener = Listener(plug, losses=losses)
    listener.listen(20.0)
    plug.plugged = False
    listener.listen(3.0)
    assert losses.degraded == {}
    plug.plugged = True
    listener.listen(30.0)
    assert listener.states() == ["healthy", "degraded", "alarmed", "recovering", "healthy", "degraded"]
    plug.muted = True
    listener.listen(1.0)
    assert (listener.reports[-1], losses.degraded) == (("muted", "asked"), {})
