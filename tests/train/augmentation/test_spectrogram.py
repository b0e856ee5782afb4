"""Augmentation of bands against what the same change does to sound."""

from __future__ import annotations

import numpy as np
import pytest

from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec
from affectd_train.augmentation.spectrogram import add_noise, band_limit, crop, mask, roll_off, stretch, tilt, warp

SPEC = FeatureSpec()
RNG = np.random.default_rng(0)
BANDS = RNG.normal(-40, 10, (120, SPEC.n_mels)).astype(np.float32)


def bands_of(samples: np.ndarray) -> np.ndarray:
    mfcc = Mfcc(SPEC)
    return mfcc.bands(mfcc.frames(samples.astype(np.float32)))


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 30.0])
def test_noise_added_to_bands_is_noise_added_to_sound(snr_db: float) -> None:
    rng = np.random.default_rng(1)
    t = np.arange(32000) / 16000
    speech = 0.3 * np.sin(2 * np.pi * 500 * t) * (1 + np.sin(2 * np.pi * 3 * t))
    noise = rng.normal(0, 0.1, len(t))
    power = np.mean(bands_power(speech)) / np.mean(bands_power(noise))
    scaled = noise * np.sqrt(power / 10 ** (snr_db / 10))
    expected = bands_of(speech + scaled)
    got = add_noise(bands_of(speech), bands_of(noise), snr_db)
    # Powers add on average; in one frame the phases decide.
    assert abs(np.mean(got - expected)) < 1.0
    assert np.median(np.abs(got - expected)) < 2.0


def bands_power(samples: np.ndarray) -> np.ndarray:
    return np.exp(bands_of(samples) * np.log(10) / 10)


def test_stretch_changes_the_length_and_keeps_the_ends() -> None:
    longer = stretch(BANDS, 1.5)
    assert longer.shape == (180, SPEC.n_mels)
    np.testing.assert_allclose(longer[[0, -1]], BANDS[[0, -1]], rtol=1e-5)


def test_warp_moves_a_peak_by_its_factor() -> None:
    bands = np.full((3, SPEC.n_mels), -60, np.float32)
    bands[:, 80] = 0
    assert warp(bands, 0.9)[0].argmax() == pytest.approx(80 / 0.9, abs=1)
    np.testing.assert_array_equal(warp(bands, 1.0), bands)


def test_tilt_is_one_smooth_curve_for_all_frames_without_a_change_of_level() -> None:
    curve = tilt(BANDS, 2.0, np.random.default_rng(0)) - BANDS
    np.testing.assert_allclose(curve, np.broadcast_to(curve[0], curve.shape), atol=1e-4)
    assert np.abs(np.diff(curve[0])).max() < 1.5
    assert abs(curve[0].mean()) < 1.0


def test_roll_off_spares_the_bands_before_it() -> None:
    rolled = roll_off(BANDS, 120, 40.0)
    np.testing.assert_array_equal(rolled[:, :120], BANDS[:, :120])
    np.testing.assert_allclose(rolled[:, -1], BANDS[:, -1] - 40, atol=1e-4)
    assert (np.diff((BANDS - rolled)[0, 119:]) > 0).all()


def test_a_band_limit_spares_what_is_inside_and_takes_at_most_60_db() -> None:
    limited = band_limit(BANDS, 10, 80, 4.0)
    np.testing.assert_array_equal(limited[:, 10:81], BANDS[:, 10:81])
    np.testing.assert_allclose((BANDS - limited)[0, [9, 5, 81, 90]], [4, 20, 4, 40], atol=1e-4)
    np.testing.assert_allclose((BANDS - limited)[:, 96:], 60, atol=1e-4)


def test_mask_blanks_at_most_one_range_of_each_kind() -> None:
    for seed in range(20):
        masked = mask(BANDS, np.random.default_rng(seed))
        changed = masked != BANDS
        assert np.allclose(masked[changed], BANDS.mean(), atol=1e-3)
        columns, rows = changed.all(0), changed.all(1)
        assert columns.sum() <= 16
        assert rows.sum() <= 16
        assert (changed == (columns[None, :] | rows[:, None])).all()


def test_crop_is_a_run_of_the_clip_and_leaves_short_ones_whole() -> None:
    part = crop(BANDS, 50, np.random.default_rng(0))
    assert part.shape == (50, SPEC.n_mels)
    first = int(np.flatnonzero((part[0] == BANDS).all(1))[0])
    np.testing.assert_array_equal(part, BANDS[first : first + 50])
    assert crop(BANDS, 500, np.random.default_rng(0)).shape == BANDS.shape
