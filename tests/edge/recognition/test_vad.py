"""The gate: opens for speech at any gain, stays shut for everything that only stands or rises."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affectd.config.sections import GateConfig
from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec
from affectd.recognition.vad import Gate, band_level, preroll_frames, trim
from sounds import as_int16, gain, noise, recording, recordings, silence, syllables

SPEC = FeatureSpec()
FRAME_RATE = SPEC.sample_rate / SPEC.hop_length
CONFIG = GateConfig()
LOUD, QUIET = -20.0, -60.0


def level_of(samples: np.ndarray) -> np.ndarray:
    return band_level(Mfcc(SPEC).frames(samples), SPEC.sample_rate)


def opened(samples: np.ndarray) -> np.ndarray:
    return Gate(CONFIG, FRAME_RATE).push(level_of(samples))


def seconds_open(samples: np.ndarray) -> float:
    return opened(samples).sum() / FRAME_RATE


@pytest.mark.parametrize("frequency", [50, 300, 1000, 2000, 3000, 6000])
def test_level_of_a_tone_is_the_gain_of_the_comb(frequency: int) -> None:
    tone = 0.1 * np.sin(2 * np.pi * frequency * np.arange(16000) / 16000)
    # |1 - exp(-i w d)| / 2 = |sin(w d / 2)| with d = 4 samples; a tone's RMS is 3 dB below its peak.
    expected = -20 - 10 * math.log10(2) + 20 * math.log10(abs(math.sin(math.pi * frequency * 4 / 16000)))
    level = level_of(tone.astype(np.float32))[4:-4]
    assert level.dtype == np.float32
    np.testing.assert_allclose(level, expected, atol=0.3)


@pytest.mark.parametrize("samples", [np.zeros(4000), np.ones(4000)], ids=["silence", "dc"])
def test_level_of_silence_and_of_dc_is_the_floor(samples: np.ndarray) -> None:
    level = band_level(samples.astype(np.float32).reshape(4, 1000), 16000)
    np.testing.assert_allclose(level, -120, atol=1e-4)


def test_level_is_measured_in_hertz_and_not_in_samples() -> None:
    for sample_rate in (8000, 16000, 48000):
        tone = np.sin(2 * np.pi * 1000 * np.arange(sample_rate) / sample_rate).astype(np.float32)
        assert band_level(tone[np.newaxis], sample_rate)[0] == pytest.approx(-6.0, abs=0.1)


def shapes(samples: np.ndarray) -> dict[str, np.ndarray]:
    n = len(samples)
    t = np.arange(n) / n
    return {
        "steady": np.ones(n),
        "switched on": (t > 0.4).astype(float),
        "switched off": (t < 0.4).astype(float),
        "turned down": np.where(t < 0.4, 1.0, 0.03),
        "turned up": np.where(t < 0.4, 0.03, 1.0),
        "faded in over 1 s": np.clip((t - 0.2) * 10, 0, 1),
        "faded in over 5 s": np.clip((t - 0.2) * 2, 0, 1),
        "faded in by 10 dB a second": 10 ** (5 * (t - 1)),
    }


@pytest.mark.parametrize("decibel", [0, -20, -40, -60, -90])
@pytest.mark.parametrize("kind", ["white", "pink", "brown", "hum", "dc"])
def test_stationary_noise_never_opens_however_it_begins(kind: str, decibel: float) -> None:
    samples = gain(noise(kind, 10), decibel)
    for name, shape in shapes(samples).items():
        for card in (lambda x: x, as_int16):
            assert seconds_open(card((samples * shape).astype(np.float32))) == 0, name


@pytest.mark.parametrize("kind", ["white", "pink", "brown"])
def test_noise_that_comes_in_a_rush_opens_for_less_than_four_classifications(kind: str) -> None:
    samples = noise(kind, 6)
    rise = np.clip((np.arange(len(samples)) / 16000 - 2) / 0.3, 0, 1)
    assert seconds_open((samples * 10 ** (4 * (rise - 1))).astype(np.float32)) < 3 * 0.256


@pytest.mark.parametrize("kind", ["white", "pink", "brown", "hum"])
def test_the_click_of_a_switch_before_a_noise_does_not_open(kind: str) -> None:
    samples = np.concatenate([silence(2), gain(noise(kind, 3), -20)])
    samples[32000:32008] = 1.0
    assert seconds_open(samples) == 0


@pytest.mark.parametrize("kind", ["white", "pink", "hum"])
def test_a_thump_before_a_noise_opens_for_about_a_second(kind: str) -> None:
    samples = np.concatenate([silence(2), gain(noise(kind, 5), -20)])
    samples[32000 : 32000 + 3200] *= 4
    assert 0 < seconds_open(samples) < 1.2


@pytest.mark.parametrize("dither", ["none", "rectangular", "triangular"])
@pytest.mark.parametrize("kind", ["dc", "hum", "white", "pink"])
def test_the_rounding_noise_of_16_bits_never_opens(kind: str, dither: str) -> None:
    random = np.random.default_rng(0)
    for decibel in range(-106, -80, 2):
        for offset in (0.0, 0.3, 0.5):
            samples = gain(noise(kind, 5), decibel) * 32768 + offset
            added = {"none": 0.0, "rectangular": random.random(len(samples)) - 0.5}.get(
                dither, random.random(len(samples)) - random.random(len(samples))
            )
            assert seconds_open((np.round(samples + added) / 32768).astype(np.float32)) == 0, (decibel, offset)


# Derandomized: a level that stands on a threshold to the last bit may fall on either side of it.
@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.floats(-95.9, -50.0), st.floats(8.0, 40.0))
def test_no_gain_of_the_microphone_moves_the_gate(quietest_dbfs: float, snr_db: float) -> None:
    # Down to a room as quiet as the dithered rounding noise of a 16-bit card.
    samples = gain(noise("pink", 6), -20 - snr_db)
    samples[2 * 16000 : 4 * 16000] += gain(syllables(2), -20)
    gate_open = opened(samples)
    assert gate_open.any()
    other_gain = quietest_dbfs - float(level_of(samples).min())
    np.testing.assert_array_equal(opened(gain(samples, other_gain)), gate_open)


def test_digital_silence_never_opens() -> None:
    assert seconds_open(silence(5)) == 0


@pytest.mark.parametrize("decibel", [0, -10, -20, -30, -40, -50])
def test_syllables_open_the_gate_at_any_gain_and_silence_closes_it(decibel: float) -> None:
    samples = np.concatenate([silence(2), gain(syllables(2), decibel), silence(2)])
    gate_open = opened(as_int16(samples))
    first, last = np.flatnonzero(gate_open)[[0, -1]] / FRAME_RATE
    assert 2.0 < first < 2.35, "within the first syllable and a half"
    assert 4.0 < last < 4.2 + CONFIG.hangover_seconds
    assert gate_open[round(first * FRAME_RATE) : round(4 * FRAME_RATE)].all(), "open throughout"


def test_speech_opens_above_noise_and_the_noise_alone_closes() -> None:
    background = gain(noise("pink", 9), -40)
    background[3 * 16000 : 5 * 16000] += gain(syllables(2), -10)
    gate_open = opened(background)
    first, last = np.flatnonzero(gate_open)[[0, -1]] / FRAME_RATE
    assert 3.0 < first < 3.35
    assert 5.0 < last < 5.2 + CONFIG.hangover_seconds


def test_a_pause_of_300_ms_within_speech_does_not_close() -> None:
    word = gain(syllables(0.75), -20)
    samples = np.concatenate([silence(1), word, silence(0.3), word, silence(1)])
    edges = np.diff(opened(samples).astype(int))
    assert (edges == 1).sum() == 1
    assert (edges == -1).sum() == 1


def test_a_click_does_not_open() -> None:
    samples = silence(4)
    samples[32000:32010] = 1.0
    assert seconds_open(samples) == 0


def test_the_gate_closes_one_hangover_after_the_last_frame_of_speech() -> None:
    burst = np.array([LOUD] * 8 + [LOUD - 6] * 8, np.float32)
    level = np.concatenate([np.full(100, QUIET), burst, np.full(100, QUIET)]).astype(np.float32)
    gate = Gate(CONFIG, FRAME_RATE)
    gate_open = np.flatnonzero(gate.push(level))
    last_active = np.flatnonzero(gate.active)[-1]
    assert last_active == 115
    assert gate_open[-1] == last_active + round(CONFIG.hangover_seconds * FRAME_RATE)


def test_nothing_is_speech_that_does_not_stand_above_the_minimum() -> None:
    level = level_of(np.concatenate([silence(1), syllables(2)]))
    threshold = CONFIG.minimum_dbfs + CONFIG.margin_db
    quiet = np.maximum(level - level.max() + threshold - 0.1, -120).astype(np.float32)
    assert not Gate(CONFIG, FRAME_RATE).push(quiet).any()
    assert Gate(CONFIG, FRAME_RATE).push(quiet + 10).any()


@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, 300), max_size=20))
def test_frames_may_come_in_groups_of_any_size(cuts: list[int]) -> None:
    level = level_of(np.concatenate([gain(noise("pink", 1), -50), gain(syllables(2), -10), silence(2)]))
    whole, cut = (Gate(CONFIG, FRAME_RATE) for _ in range(2))
    expected = whole.push(level)
    parts = np.split(level, sorted(min(c, len(level)) for c in cuts))
    pushed = [(cut.push(part), cut.active) for part in parts]
    np.testing.assert_array_equal(np.concatenate([p[0] for p in pushed]), expected)
    np.testing.assert_array_equal(np.concatenate([p[1] for p in pushed]), whole.active)
    assert cut.is_open == whole.is_open


def test_reset_forgets_everything() -> None:
    level = level_of(np.concatenate([silence(1), syllables(2)]))
    gate = Gate(CONFIG, FRAME_RATE)
    first = gate.push(level)
    assert gate.is_open
    gate.reset()
    assert not gate.is_open
    np.testing.assert_array_equal(gate.push(level), first)


def test_trim_is_what_the_gate_opens_with_the_pre_roll_before_it() -> None:
    level = level_of(np.concatenate([silence(2), syllables(2), silence(2)]))
    gate_open = np.flatnonzero(Gate(CONFIG, FRAME_RATE).push(level))
    span = trim(level, CONFIG, FRAME_RATE)
    assert span == (gate_open[0] - preroll_frames(CONFIG, FRAME_RATE), gate_open[-1] + 1)


def test_trim_reaches_back_to_the_first_frame_of_a_clip_that_begins_with_speech() -> None:
    span = trim(level_of(syllables(2)), CONFIG, FRAME_RATE)
    assert span is not None
    assert span[0] == 0


def test_trim_finds_nothing_without_speech() -> None:
    assert trim(level_of(silence(2)), CONFIG, FRAME_RATE) is None
    assert trim(level_of(noise("white", 2)), CONFIG, FRAME_RATE) is None
    assert trim(np.zeros(0, np.float32), CONFIG, FRAME_RATE) is None


@pytest.mark.parametrize(("corpus", "every"), [("ravdess", 12), ("emodb", 5), ("tess", 28)])
def test_real_recordings_open_the_gate_and_keep_their_speech(speech_data: Path, corpus: str, every: int) -> None:
    kept = []
    for path in recordings(speech_data, corpus, every):
        samples = recording(path)
        span = trim(level_of(samples), CONFIG, FRAME_RATE)
        assert span is not None, path.name
        power = 10 ** (level_of(samples) / 10)
        kept.append(power[slice(*span)].sum() / power.sum())
    assert np.mean(kept) > 0.99
    assert np.mean(np.array(kept) > 0.95) > 0.97


@pytest.mark.parametrize("decibel", [0, -25, -50])
def test_real_recordings_open_the_gate_at_any_gain_above_noise_of_a_tenth_of_it(
    speech_data: Path, decibel: float
) -> None:
    paths = recordings(speech_data, "ravdess", 60)
    found = 0
    for path in paths:
        samples = recording(path)
        speech = samples / np.abs(samples).max()
        rms = math.sqrt(np.mean(speech[16000:32000] ** 2))
        background = noise("pink", len(speech) / 16000)[: len(speech)]
        background *= 10 ** (-10 / 20) * rms / math.sqrt(np.mean(background**2))
        found += opened(as_int16(gain((speech[: len(background)] + background) / 2, decibel))).any()
    assert found >= 0.95 * len(paths)
