"""Every degradation does what its name says, by measuring what comes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from affectd_train.evaluation.conditions import (
    CODECS,
    amplified,
    conditions,
    noisy,
    pink,
    reaches_full_scale,
    seed_of,
    telephone,
)
from affectd_train.evaluation.denoise import denoise, normalize_level
from sounds import noise, syllables
from tiny_corpora import write

SPEECH = (0.3 * syllables(2.0)).astype(np.float32)


def level(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64))))


def tone(hz: float) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(32000) / 16000)).astype(np.float32)


@pytest.fixture
def noises(tmp_path: Path) -> Path:
    write(tmp_path / "car" / "hum.wav", 0.2 * noise("hum", 3.0))
    write(tmp_path / "rain" / "white.wav", 0.2 * noise("white", 1.0))  # shorter than the speech
    write(tmp_path / "impulse_responses" / "rir1.wav", np.r_[1.0, np.zeros(500), 0.5].astype(np.float32))
    return tmp_path


def test_conditions_are_those_the_data_allow(noises: Path) -> None:
    listed = conditions(noises, 16000)
    assert (listed[0].group, listed[0].name) == ("clean", "clean")
    groups = [condition.group for condition in listed]
    assert groups.count("noise car") == groups.count("noise rain") == 4
    assert "noise babble" not in groups
    assert groups.count("room") == 1
    assert groups.count("gain") == 6
    assert len({(c.group, c.name) for c in listed}) == len(listed)
    for condition in listed:
        degraded = condition.apply(SPEECH, 1)
        assert degraded.shape == SPEECH.shape, condition
        assert degraded.dtype == np.float32, condition
        assert np.abs(degraded).max() <= 1.0, condition


def test_kinds_of_noise_that_are_not_measured_are_named(noises: Path, capfd: pytest.CaptureFixture[str]) -> None:
    conditions(noises, 16000)
    assert "left out" not in capfd.readouterr().err
    write(noises / "Vacuum" / "near.wav", noise("white", 1.0))
    write(noises / "loose.wav", noise("white", 1.0))
    assert "noise Vacuum" not in [condition.group for condition in conditions(noises, 16000)]
    assert "noise: Vacuum, loose.wav left out; what is measured are car, road," in capfd.readouterr().err


@pytest.mark.parametrize("snr_db", [20, 0])
def test_noise_has_the_wanted_ratio(snr_db: int) -> None:
    added = noisy([noise("white", 5.0)], snr_db)(SPEECH, 3) - SPEECH
    assert level(SPEECH) - level(added) == pytest.approx(snr_db, abs=0.2)


def test_a_clip_meets_the_same_noise_at_every_ratio(noises: Path) -> None:
    of_car = [c for c in conditions(noises, 16000) if c.group == "noise car"]
    seeds = {seed_of("ravdess/x", condition) for condition in of_car}
    assert len(seeds) == 1
    assert seed_of("ravdess/y", of_car[0]) not in seeds


def test_gain_clips_and_rounds_as_a_sound_card() -> None:
    loud = amplified(+20)(SPEECH, 0)
    assert np.abs(loud).max() == pytest.approx(1.0, abs=1e-4)
    assert np.mean(np.abs(loud) > 0.999) > 0.01
    quiet = amplified(-60)(SPEECH, 0)
    assert set(np.unique(np.round(quiet * 32768, 6))) <= set(range(-32768, 32768))
    assert reaches_full_scale(loud)
    assert reaches_full_scale(-loud)
    assert not reaches_full_scale(SPEECH)


@pytest.mark.parametrize(("hz", "passes"), [(100, False), (1000, True), (3000, True), (5000, False)])
def test_the_telephone_has_its_band(hz: float, passes: bool) -> None:
    loss = level(tone(hz)) - level(telephone(tone(hz)) + 1e-9)
    assert (loss < 1.0) if passes else (loss > 20.0)


@pytest.mark.parametrize("name", CODECS)
def test_codecs_are_lossy_but_not_deaf(name: str) -> None:
    coded = CODECS[name](SPEECH, 0)
    assert not np.array_equal(coded, SPEECH)
    # Spectra and not samples: codecs delay.
    spectra = [np.abs(np.fft.rfft(s * np.hanning(len(s)))) for s in (SPEECH, coded)]
    bands = [np.add.reduceat(s**2, np.arange(200, 7000, 400)) for s in spectra]
    assert np.corrcoef(np.log(bands[0] + 1e-6), np.log(bands[1] + 1e-6))[0, 1] > 0.7


def test_pink_noise_falls_by_3_db_an_octave() -> None:
    power = np.abs(np.fft.rfft(pink(160000))) ** 2
    octaves = [power[int(hz * 10) : int(2 * hz * 10)].mean() for hz in (200, 400, 800, 1600, 3200)]
    np.testing.assert_allclose(np.diff(10 * np.log10(octaves)), -3.0, atol=0.5)


def test_denoising_lowers_what_is_always_there_and_keeps_what_comes_and_goes() -> None:
    rng = np.random.default_rng(0)
    bands = (-40 + rng.normal(0, 0.5, (200, 4))).astype(np.float32)
    voiced = np.arange(200) % 40 >= 30
    bands[voiced, 1] = -10.0
    cleaned = denoise(bands, 62.5)
    assert np.median(bands[100:, 0] - cleaned[100:, 0]) > 8.0
    np.testing.assert_allclose(cleaned[voiced, 1], -10.0, atol=0.1)


def test_denoising_knows_nothing_of_the_future() -> None:
    bands = np.random.default_rng(0).normal(-30, 5, (300, 3)).astype(np.float32)
    changed = bands.copy()
    changed[150:] += 20
    np.testing.assert_array_equal(denoise(bands, 62.5)[:150], denoise(changed, 62.5)[:150])


def test_levels_are_normalized_together() -> None:
    level_, bands = normalize_level(np.array([-60.0, -45.0]), np.array([[-70.0], [-50.0]]))
    np.testing.assert_allclose(level_, [-35.0, -20.0])
    np.testing.assert_allclose(bands, [[-45.0], [-25.0]])


def test_a_name_that_is_no_utf8_seeds_too(noises: Path) -> None:
    car = next(condition for condition in conditions(noises, 16000) if condition.group == "noise car")
    assert seed_of("own/anna-\udce9.wav", car) != seed_of("own/anna-\udce8.wav", car)
