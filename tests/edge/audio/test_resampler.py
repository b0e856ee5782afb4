"""The resampler: exact in time, clean in frequency, blind to how its input was cut."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affectd.audio.resampler import PASSBAND, Resampler

RATES = [8000, 11025, 12345, 22050, 24000, 32000, 44100, 44101, 48000, 96000, 191999, 192000]


def resample(samples: np.ndarray, rate_in: int, rate_out: int = 16000) -> np.ndarray:
    resampler = Resampler(rate_in, rate_out)
    return np.concatenate([resampler.push(samples), resampler.flush()])


def tone(frequency: float, rate: int, n: int) -> np.ndarray:
    return np.sin(2 * np.pi * frequency / rate * np.arange(n) + 0.3)


def decibel(ratio: float) -> float:
    return 20 * math.log10(ratio)


def rms(samples: np.ndarray) -> float:
    return math.sqrt(np.mean(np.square(samples, dtype=np.float64)))


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_in_the_pass_band_keeps_amplitude_and_phase(rate: int) -> None:
    edge = PASSBAND * min(rate, 16000) / 2
    for frequency in np.linspace(20, edge, 12):
        output = resample(tone(frequency, rate, rate // 2).astype(np.float32), rate)
        # Compared at the same time: a delay of a hundredth of a sample would already show here.
        error = (output - tone(frequency, 16000, len(output)))[1000:-1000]
        assert decibel(rms(error) / rms(output)) < -75


@pytest.mark.parametrize("rate", [rate for rate in RATES if rate > 16000])
def test_a_tone_above_half_the_output_rate_is_at_least_60_db_down(rate: int) -> None:
    # From the very edge on: no transition band folds back.
    for frequency in np.linspace(8000, rate / 2, 20, endpoint=False):
        samples = tone(frequency, rate, rate // 2)
        output = resample(samples.astype(np.float32), rate)[1000:-1000]
        assert decibel(rms(output) / rms(samples)) < -60


@pytest.mark.parametrize("rate", [8000, 11025, 12345])
def test_images_above_half_of_a_low_input_rate_are_at_least_60_db_down(rate: int) -> None:
    for frequency in np.linspace(100, PASSBAND * rate / 2, 8):
        output = resample(tone(frequency, rate, rate).astype(np.float32), rate)[2000:-2000]
        spectrum = np.abs(np.fft.rfft(output * np.blackman(len(output))))
        bins = np.fft.rfftfreq(len(output), 1 / 16000)
        assert decibel(spectrum[bins > rate / 2].max() / spectrum.max()) < -60


@pytest.mark.parametrize("rate", [rate for rate in RATES if rate > 16000])
def test_a_swept_tone_leaves_nothing_behind_after_it_has_left_the_band(rate: int) -> None:
    seconds = 2.0
    time = np.arange(int(rate * seconds)) / rate
    sweep = np.sin(np.pi * (rate / 2) / seconds * time**2).astype(np.float32)
    output = resample(sweep, rate)
    above = int((8300 / (rate / 2)) * len(output))
    assert decibel(rms(output[above:-500]) / rms(sweep)) < -60


@settings(max_examples=60, deadline=None)
@given(
    rate_in=st.sampled_from([*RATES, 16000]),
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(0, 5000), max_size=8),
)
def test_any_blocks_give_the_same_samples_bit_for_bit(rate_in: int, seed: int, sizes: list[int]) -> None:
    samples = np.random.default_rng(seed).standard_normal(sum(sizes)).astype(np.float32)
    resampler = Resampler(rate_in, 16000)
    blocks = np.split(samples, np.cumsum(sizes))
    output = np.concatenate([*map(resampler.push, blocks), resampler.flush()])
    np.testing.assert_array_equal(output, resample(samples, rate_in))
    assert output.dtype == np.float32
    assert len(output) == math.ceil(len(samples) * 16000 / rate_in)


def test_single_samples_give_the_same_as_one_block() -> None:
    samples = np.random.default_rng(1).standard_normal(4000).astype(np.float32)
    resampler = Resampler(44100, 16000)
    output = [resampler.push(samples[i : i + 1]) for i in range(len(samples))]
    np.testing.assert_array_equal(np.concatenate([*output, resampler.flush()]), resample(samples, 44100))


@pytest.mark.parametrize("rate", [12345, 44100, 48000])
@pytest.mark.parametrize("end", ["reset", "flush"])
def test_a_second_stream_does_not_hear_the_first(rate: int, end: str) -> None:
    samples = np.random.default_rng(2).standard_normal(9999).astype(np.float32)
    resampler = Resampler(rate, 16000)
    resampler.push(samples[::-1])
    getattr(resampler, end)()
    np.testing.assert_array_equal(np.concatenate([resampler.push(samples), resampler.flush()]), resample(samples, rate))


@settings(max_examples=25, deadline=None)
@given(rate_in=st.integers(8000, 192000), rate_out=st.sampled_from([8000, 16000, 22050, 48000]))
def test_any_pair_of_rates_keeps_a_click_where_it_was(rate_in: int, rate_out: int) -> None:
    n = rate_in // 10
    time = (np.arange(n) - n // 2) / rate_in
    click = np.exp(-0.5 * (time / 0.001) ** 2).astype(np.float32)
    output = resample(click, rate_in, rate_out)
    expected = np.exp(-0.5 * ((np.arange(len(output)) / rate_out - n // 2 / rate_in) / 0.001) ** 2)
    assert len(output) == math.ceil(n * rate_out / rate_in)
    np.testing.assert_allclose(output, expected, atol=1e-3)


@pytest.mark.parametrize("rate", [48000, 44100, 22050, 12345])
def test_agrees_with_an_independent_resampler_on_real_speech(rate: int, speech_data: Path) -> None:
    soundfile = pytest.importorskip("soundfile", reason="soundfile reads the recordings")
    signal = pytest.importorskip("scipy.signal", reason="SciPy is the reference")
    recording = min((speech_data / "ravdess" / "Actor_01").glob("*.flac"))
    speech, original = soundfile.read(recording, dtype="float64", frames=32000)
    assert (original, len(speech)) == (16000, 32000)
    spectrum = np.fft.rfft(speech * np.hanning(len(speech)))
    spectrum[int(PASSBAND * min(rate, 16000)) :] = 0
    speech = np.fft.irfft(spectrum)
    # Raised by SciPy through the spectrum, which is exact here, and lowered by ours: the speech itself again.
    output = resample(signal.resample(speech, 2 * rate).astype(np.float32), rate)
    assert decibel(rms(output - speech) / rms(speech)) < -75


def test_the_table_stays_small_for_rates_without_a_common_divisor() -> None:
    state = vars(Resampler(191_999, 16_000)).values()
    assert sum(value.nbytes for value in state if isinstance(value, np.ndarray)) < 1_000_000


def test_equal_rates_pass_unchanged() -> None:
    samples = np.random.default_rng(3).standard_normal(1000).astype(np.float32)
    np.testing.assert_array_equal(resample(samples, 16000), samples)


def test_an_empty_stream_stays_empty() -> None:
    assert resample(np.zeros(0, np.float32), 44100).shape == (0,)


@pytest.mark.parametrize(("rate_in", "rate_out"), [(0, 16000), (16000, -1)])
def test_an_impossible_rate_is_refused(rate_in: int, rate_out: int) -> None:
    with pytest.raises(ValueError, match="at least 1 Hz"):
        Resampler(rate_in, rate_out)
