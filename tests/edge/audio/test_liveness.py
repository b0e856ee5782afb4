"""The state of a microphone: what is noticed, when, and how often it is tried again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectd.audio.liveness import ESCALATED_SECONDS, FAILED_SECONDS, FIRST_RETRY_SECONDS, PROOF_SECONDS, Liveness
from affectd.config.sections import AudioConfig
from sounds import SAMPLE_RATE, as_int16, gain, noise

CONFIG = AudioConfig(stalled_seconds=5.0, constant_seconds=10.0, retry_seconds=4.0)
ORDER = [None, "healthy", "alarmed", "recovering", "escalated", "failed"]
SOUND = np.array([0.1, -0.1], np.float32)
FLAT = np.full(2, 0.25, np.float32)
NOTHING = np.zeros(0, np.float32)


class World:
    """A microphone with a clock that the test turns; every block of sound lasts 0.1 s."""

    def __init__(self, jitter: float = 0.0) -> None:
        self.now = 1000.0
        self.liveness = Liveness(CONFIG, clock=lambda: self.now, jitter=lambda: jitter)

    def hear(self, samples: np.ndarray, seconds: float) -> str | None:
        """Hear one thing for so long, or until it is judged a fault."""
        for _ in range(round(seconds / 0.1)):
            self.now += 0.1
            fault = self.liveness.heard(samples, 0.1 if len(samples) else 0.0)
            if fault is not None:
                return fault
        return None

    def play(self, samples: np.ndarray, rate: int) -> str | None:
        """Hear a sound in blocks of 0.1 s, to its end or until it is judged a fault."""
        for start in range(0, len(samples), rate // 10):
            block = samples[start : start + rate // 10]
            self.now += len(block) / rate
            fault = self.liveness.heard(block, len(block) / rate)
            if fault is not None:
                return fault
        return None

    def healthy(self) -> World:
        self.liveness.opened()
        self.hear(SOUND, 60.0)
        return self


def test_sound_that_varies_is_healthy_after_the_proof_and_not_before() -> None:
    world = World()
    world.liveness.opened()
    world.hear(SOUND, PROOF_SECONDS - 0.1)
    assert world.liveness.state is None
    world.hear(SOUND, 0.2)
    assert (world.liveness.state, world.liveness.reason) == ("healthy", "heard")


def test_a_trickle_of_sound_is_a_stall_and_a_burst_after_a_pause_is_none() -> None:
    world = World().healthy()
    began = world.now
    fault = None
    while fault is None and world.now < began + 60:
        fault = world.hear(NOTHING, 3.9) or world.hear(SOUND, 0.1)
    assert fault == "stalled"
    assert world.now - began < 6.0

    world = World().healthy()
    for _ in range(100):  # as a sound server that delivers every two seconds what it has
        assert world.hear(NOTHING, 1.9) is None
        assert world.liveness.heard(SOUND, 2.0) is None


@pytest.mark.parametrize(
    ("samples", "seconds", "reason"),
    [(NOTHING, 5.0, "stalled"), (np.zeros(2, np.float32), 10.0, "constant"), (FLAT, 10.0, "constant")],
    ids=["stalled", "all zero", "constant"],
)
def test_a_fault_is_noticed_in_its_time_and_not_sooner(samples: np.ndarray, seconds: float, reason: str) -> None:
    world = World().healthy()
    began = world.now
    assert world.hear(samples, 100.0) == reason
    assert world.now - began == pytest.approx(seconds, abs=0.21)


def test_quiet_is_not_constant_and_a_pause_is_no_stall() -> None:
    world = World().healthy()
    least = np.array([0.0, 2.0**-15], np.float32)  # one step of 16 bits
    assert world.hear(least, 100.0) is None
    for _ in range(10):
        assert world.hear(NOTHING, 4.8) is None
        assert world.hear(SOUND, 4.8) is None


def test_a_value_that_changes_only_between_blocks_is_not_constant() -> None:
    world = World().healthy()
    for _ in range(100):
        assert world.hear(FLAT, 0.1) is None
        assert world.hear(-FLAT, 0.1) is None


def test_sound_between_two_flat_stretches_parts_them() -> None:
    world = World().healthy()
    for _ in range(3):
        assert world.hear(FLAT, 9.0) is None
        assert world.hear(SOUND, 0.1) is None


def test_a_caller_that_was_away_is_no_fault_of_the_microphone() -> None:
    world = World().healthy()
    world.now += 600.0
    assert world.hear(SOUND, 1.0) is None
    world.hear(FLAT, 5.0)
    world.now += 600.0
    assert world.hear(FLAT, 1.0) is None


def test_an_outage_goes_down_the_table_once_and_ends_healthy() -> None:
    world = World().healthy()
    seen, began = ["healthy"], world.now
    times = {}
    while world.now - began < 2 * FAILED_SECONDS:
        world.now += world.liveness.failed("constant")
        if seen[-1] != world.liveness.state:
            seen.append(world.liveness.state)
            times[seen[-1]] = world.now - began
        world.liveness.opened()
        if seen[-1] != world.liveness.state:
            seen.append(world.liveness.state)
        world.hear(FLAT, 1.0)
    assert seen == ["healthy", "alarmed", "recovering", "escalated", "failed"]
    assert times["escalated"] == pytest.approx(ESCALATED_SECONDS, abs=12)
    assert times["failed"] == pytest.approx(FAILED_SECONDS, abs=12)
    world.hear(SOUND, 1.0)
    assert world.liveness.state == "healthy"


def test_a_click_at_the_opening_is_no_recovery() -> None:
    world = World().healthy()
    world.liveness.failed("constant")
    world.liveness.opened()
    world.hear(SOUND, PROOF_SECONDS / 2)
    world.hear(FLAT, 5.0)
    assert world.liveness.state == "recovering"


def test_waits_double_up_to_the_cap_for_ever_and_start_afresh_after_health() -> None:
    world = World().healthy()
    waits = [world.liveness.failed("missing") for _ in range(5000)]
    assert waits[:5] == [FIRST_RETRY_SECONDS, 1.0, 2.0, 4.0, 4.0]
    assert set(waits[5:]) == {4.0}
    world.healthy()
    assert world.liveness.failed("missing") == FIRST_RETRY_SECONDS


def test_a_microphone_that_comes_and_goes_is_not_asked_ever_more_often() -> None:
    world = World().healthy()
    waits = []
    for _ in range(6):
        waits.append(world.liveness.failed("stalled"))
        world.now += waits[-1]
        world.liveness.opened()
        world.hear(SOUND, 1.3)  # healthy, for 0.8 s
        assert world.liveness.state == "healthy"
    assert waits == [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    world.liveness.failed("stalled")
    waits = []
    for _ in range(6):
        waits.append(world.liveness.failed("stalled"))
        world.now += waits[-1]
        world.liveness.opened()
        world.hear(SOUND, 1.3)
    assert waits == [1.0, 2.0, 4.0, 4.0, 4.0, 4.0]


def test_a_microphone_that_comes_and_goes_for_a_day_is_told_a_few_times_and_is_healthy_when_it_lasts() -> None:
    world = World().healthy()
    told = ["healthy"]

    def tell() -> None:
        if told[-1] != world.liveness.state:
            told.append(world.liveness.state)

    began = world.now
    while world.now < began + 86400:
        world.now += world.liveness.failed("stalled")
        tell()
        world.liveness.opened()
        tell()
        for _ in range(8):
            world.now += 1.0
            world.liveness.heard(SOUND, 1.0)
            tell()
    assert told[-4:] == ["alarmed", "recovering", "escalated", "failed"]
    assert 20 < len(told) < 40
    world.hear(SOUND, 290.0)
    assert world.liveness.state == "failed"
    world.hear(SOUND, 20.0)
    assert world.liveness.state == "healthy"
    world.hear(SOUND, FAILED_SECONDS)  # what comes after that is an outage like any other
    world.liveness.failed("stalled")
    world.liveness.opened()
    world.hear(SOUND, 1.0)
    assert world.liveness.state == "healthy"


@given(jitter=st.floats(0, 1, exclude_max=True), n=st.integers(0, 20))
def test_jitter_shortens_a_wait_by_up_to_half(jitter: float, n: int) -> None:
    world = World(jitter)
    waits = [world.liveness.failed("missing") for _ in range(n + 1)]
    full = min(4.0, FIRST_RETRY_SECONDS * 2**n)
    assert waits[-1] == pytest.approx(full * (1 - jitter / 2))


STEPS = st.one_of(
    st.just(("opened",)),
    st.tuples(st.just("failed"), st.sampled_from(["missing", "busy", "refused"])),
    st.tuples(st.just("hear"), st.sampled_from(["sound", "flat", "nothing"]), st.floats(0.1, 15.0)),
    st.tuples(st.just("pass"), st.floats(0.0, 400.0)),
)


@given(steps=st.lists(STEPS, max_size=60))
def test_whatever_happens_the_rules_hold(steps: list[tuple]) -> None:
    world = World()
    liveness = world.liveness
    heard_well = 0.0  # seconds of varying sound since the device was opened
    for kind, *arguments in steps:
        before = liveness.state
        if kind == "opened":
            liveness.opened()
            heard_well = 0.0
        elif kind == "failed":
            wait = liveness.failed(arguments[0])
            assert 0.0 < wait <= CONFIG.retry_seconds
            assert liveness.state not in (None, "healthy")
            assert liveness.reason == arguments[0]
        elif kind == "hear":
            samples = {"sound": SOUND, "flat": FLAT, "nothing": NOTHING}[arguments[0]]
            began = world.now
            fault = world.hear(samples, arguments[1])
            heard_well += world.now - began if arguments[0] == "sound" else 0.0
            assert fault in {"sound": (None,), "flat": (None, "constant"), "nothing": (None, "stalled")}[arguments[0]]
        else:
            world.now += arguments[0]
        after = liveness.state
        if after == "healthy" and before != "healthy":
            assert heard_well >= PROOF_SECONDS - 0.2
        elif before not in (None, "healthy"):
            assert ORDER.index(after) >= ORDER.index(before)  # an outage never looks better than it did


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
@pytest.mark.parametrize("period_seconds", [0.001, 0.02, 0.1337, 0.5, 0.9])
def test_a_card_that_repeats_one_buffer_for_ever_hears_nothing(rate: int, period_seconds: float) -> None:
    buffer = noise("pink", period_seconds * rate / SAMPLE_RATE)
    world = World().healthy()
    assert world.play(np.tile(as_int16(buffer), round(13 / period_seconds)), rate) == "repeated"
    assert world.now == pytest.approx(1060 + CONFIG.constant_seconds, abs=2.5)

    # Opened again it is not believed at once, and then wrong again without ever having been healthy.
    world.liveness.failed("repeated")
    world.liveness.opened()
    assert world.play(np.tile(as_int16(buffer), round(13 / period_seconds)), rate) == "repeated"
    assert world.liveness.state == "recovering"
    world.liveness.failed("repeated")
    world.liveness.opened()
    assert world.play(as_int16(noise("pink", 12)), rate) is None
    assert (world.liveness.state, world.liveness.reason) == ("healthy", "heard")


@pytest.mark.parametrize("level_dbfs", [-10, -60, -88, -94])
@pytest.mark.parametrize("kind", ["white", "pink", "hum"])
def test_a_real_microphone_never_repeats_itself(kind: str, level_dbfs: float) -> None:
    """A hum is periodic, but the microphone's own noise in its last bits is not."""
    sound = gain(noise(kind, 30), level_dbfs) + gain(noise("white", 30, seed=1), -90)
    assert World().healthy().play(as_int16(sound), 16000) is None
