"""MFCCs against librosa and python_speech_features, at the settings those two are used with."""

from __future__ import annotations

import json
import math
import tracemalloc
from dataclasses import fields, replace
from pathlib import Path

import librosa
import numpy as np
import pytest

from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec
from mfcc_references import (
    EPSILON,
    LIBROSA_SETTINGS,
    PSF_SETTINGS,
    Reference,
    like_librosa,
    like_psf,
    speech,
    synthetic,
)

TOLERANCE = 1e-3


def assert_agrees(spec: FeatureSpec, reference: Reference, signals: dict[str, np.ndarray]) -> None:
    mfcc = Mfcc(spec)
    for name, samples in signals.items():
        ours, theirs = mfcc(samples), reference(samples)
        assert ours.dtype == np.float32
        assert ours.shape == theirs.shape, name
        assert np.abs(ours - theirs).max() <= TOLERANCE, name


@pytest.mark.parametrize("setting", LIBROSA_SETTINGS)
def test_agrees_with_librosa_on_noise_silence_and_square_waves(setting: str) -> None:
    assert_agrees(*like_librosa(**LIBROSA_SETTINGS[setting]), synthetic())


@pytest.mark.parametrize("setting", LIBROSA_SETTINGS)
def test_agrees_with_librosa_on_speech(setting: str, speech_data: Path) -> None:
    assert_agrees(*like_librosa(**LIBROSA_SETTINGS[setting]), speech(speech_data))


@pytest.mark.parametrize("setting", PSF_SETTINGS)
def test_agrees_with_python_speech_features_on_noise_silence_and_square_waves(setting: str) -> None:
    assert_agrees(*like_psf(**PSF_SETTINGS[setting]), synthetic())


@pytest.mark.parametrize("setting", PSF_SETTINGS)
def test_agrees_with_python_speech_features_on_speech(setting: str, speech_data: Path) -> None:
    assert_agrees(*like_psf(**PSF_SETTINGS[setting]), speech(speech_data))


def test_default_specification_is_decibels_below_the_maximum(speech_data: Path) -> None:
    def reference(samples: np.ndarray) -> np.ndarray:
        settings = {"sr": 16000, "n_fft": 1024, "hop_length": 256, "n_mels": 128}
        mel = librosa.feature.melspectrogram(y=samples.astype(np.float64), **settings)
        return librosa.feature.mfcc(S=librosa.power_to_db(mel, ref=np.max, amin=1e-14, top_db=50), n_mfcc=40).T

    assert_agrees(FeatureSpec(), reference, speech(speech_data) | synthetic())


def test_microphone_gain_does_not_change_the_cepstra(speech_data: Path) -> None:
    mfcc = Mfcc(FeatureSpec(reference="max"))
    for name, samples in speech(speech_data).items():
        samples = samples * np.float32(0.3 / np.abs(samples).max())
        plain = mfcc(samples)
        for gain_db in (-30, -20, -10, -3, 3, 10):
            louder = mfcc(samples * np.float32(10 ** (gain_db / 20)))
            assert np.abs(louder - plain).max() <= 1e-2, (name, gain_db)


def test_each_row_of_bands_depends_on_its_own_frame_alone() -> None:
    mfcc = Mfcc(FeatureSpec())
    frames = mfcc.frames(synthetic()["noise"])
    others = np.ones_like(frames)
    others[17] = frames[17]
    np.testing.assert_array_equal(mfcc.bands(frames)[17], mfcc.bands(others)[17])
    np.testing.assert_allclose(mfcc.bands(frames[17:18])[0], mfcc.bands(frames)[17], atol=1e-4)


def test_silence_has_the_floor_in_every_band_and_zero_cepstra() -> None:
    mfcc = Mfcc(FeatureSpec())
    bands = mfcc.bands(mfcc.frames(synthetic()["silence"]))
    np.testing.assert_allclose(bands, mfcc.floor, atol=1e-4)
    np.testing.assert_array_equal(mfcc.cepstra(bands), 0)
    assert mfcc.floor == pytest.approx(-140)
    assert Mfcc(like_psf()[0]).floor == pytest.approx(math.log(EPSILON))


def test_rows_of_floor_count_as_silence_before_the_sound() -> None:
    mfcc = Mfcc(FeatureSpec(center=False))
    sound = synthetic()["noise"]
    bands = mfcc.bands(mfcc.frames(sound))
    padded = np.full((len(bands) + 4, 128), mfcc.floor, dtype=np.float32)
    padded[4:] = bands
    whole = mfcc(np.concatenate((np.zeros(4 * 256 + 768, dtype=np.float32), sound)))
    np.testing.assert_allclose(mfcc.cepstra(padded)[:4], whole[:4], atol=TOLERANCE)
    np.testing.assert_allclose(mfcc.cepstra(padded)[4:], mfcc.cepstra(bands), atol=TOLERANCE)


def test_energy_column_follows_the_reference_too() -> None:
    mfcc = Mfcc(FeatureSpec(energy=True))
    assert mfcc.bands(mfcc.frames(synthetic()["noise"])).shape[1] == 129
    noise = synthetic()["noise"] * np.float32(0.5)
    np.testing.assert_allclose(mfcc(noise), mfcc(noise * np.float32(0.1)), atol=1e-2)


@pytest.mark.parametrize("n_samples", [0, 1, 255, 256, 1023, 1024, 1025])
def test_short_clips_have_the_frames_the_specification_counts(n_samples: int) -> None:
    for spec in (FeatureSpec(), FeatureSpec(center=False), FeatureSpec(center=False, pad_end=True)):
        cepstra = Mfcc(spec)(np.ones(n_samples, dtype=np.float32))
        assert cepstra.shape == (spec.count_frames(n_samples), 40)
        assert np.isfinite(cepstra).all()


def test_samples_that_are_not_one_float_channel_are_refused() -> None:
    mfcc = Mfcc(FeatureSpec())
    with pytest.raises(ValueError, match="int16"):
        mfcc.frames(np.zeros(16000, dtype=np.int16))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="2"):
        mfcc.frames(np.zeros((16000, 2), dtype=np.float32))


def test_specification_survives_json() -> None:
    for spec in (FeatureSpec(), like_psf()[0], FeatureSpec(mel_norm=None, top_db=None, n_mfcc=13)):
        assert FeatureSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize("name", [field.name for field in fields(FeatureSpec)])
def test_a_missing_or_nonsensical_field_is_named(name: str) -> None:
    good = FeatureSpec().to_dict()
    if name in good:  # else it is of a further column, which the model files of before do not know
        with pytest.raises(ValueError, match=f"^{name} is missing"):
            FeatureSpec.from_dict({key: value for key, value in good.items() if key != name})
    for nonsense in ("seven", [1], math.nan):
        with pytest.raises(ValueError, match=f"^{name} = "):
            FeatureSpec.from_dict(good | {name: nonsense})


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(ValueError, match=r"^n_mel is not a field"):
        FeatureSpec.from_dict(FeatureSpec().to_dict() | {"n_mel": 40})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sample_rate", 0),
        ("sample_rate", True),
        ("window_length", 0),
        ("hop_length", 0),
        ("hop_length", 2.5),
        ("n_fft", 1023),
        ("pad_end", True),
        ("center", 1),
        ("preemphasis", 1.5),
        ("full_scale", 0),
        ("n_mels", 0),
        ("fmin", -1),
        ("fmin", 8000),
        ("fmax", 8000.5),
        ("log_floor", 0),
        ("top_db", 0),
        ("n_mfcc", 0),
        ("n_mfcc", 129),
        ("lifter", -1),
        ("lifter", 1e-308),
        ("lifter_start", 2),
        ("window", None),
        ("deltas", "third"),
        ("delta_width", 8),
        ("delta_width", 1),
        ("mel", "linear"),
        ("rms", True),
        ("chroma", None),
    ],
)
def test_an_impossible_value_is_refused_and_named(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{name} = "):
        replace(FeatureSpec(), **{name: value})  # type: ignore[arg-type]


@pytest.mark.skipif(np.__version__.startswith("1."), reason="NumPy 1 knows no transform in float32")
def test_the_spectrum_of_float32_is_taken_in_float32() -> None:
    """Cast to float64 and back it would be right too, at half the speed."""
    spec = FeatureSpec()
    mfcc, frames = Mfcc(spec), np.ones((32, spec.window_length), np.float32)
    mfcc.bands(frames)
    tracemalloc.start()
    try:
        mfcc.bands(frames)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < frames.nbytes, "bytes; a copy of the frames in float64 has twice as many"
