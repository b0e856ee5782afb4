"""Functionals: the pitch against synthetic voices and librosa's pYIN, and what must leave them as they are."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affectd.features.functionals import N_CEPSTRA, N_FUNCTIONALS, Functionals
from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec
from sounds import SAMPLE_RATE, gain, noise, recording, recordings

SPEC = FeatureSpec(n_mfcc=64)
FUNCTIONALS, MFCC = Functionals(SPEC), Mfcc(SPEC)
PITCH = 3 * N_CEPSTRA
MEDIAN, STEP, SLOPE, VOICED, STRETCHES = PITCH + 2, PITCH + 7, PITCH + 8, PITCH + 10, PITCH + 13


def voice(hertz: np.ndarray) -> np.ndarray:
    """A voice of this pitch at each sample: all harmonics below 5 kHz, falling by 6 dB an octave, with two formants."""
    phase = 2 * np.pi * np.cumsum(hertz) / SAMPLE_RATE
    samples = np.zeros(len(hertz))
    for k in range(1, 60):
        at = k * hertz
        formants = 1 + 3 * np.exp(-(((at - 600) / 200) ** 2)) + 2 * np.exp(-(((at - 1700) / 300) ** 2))
        samples += np.where(at < 5000, np.sin(k * phase) * formants / k, 0)
    return gain((samples / np.abs(samples).max()).astype(np.float32), -6)


def of(samples: np.ndarray) -> np.ndarray:
    return FUNCTIONALS(MFCC(samples))


@pytest.mark.parametrize("hertz", [100, 120, 150, 220, 250, 330, 400, 450])
def test_the_pitch_of_a_steady_voice(hertz: int) -> None:
    found = of(voice(np.full(SAMPLE_RATE, float(hertz))))
    assert 100 * 2 ** found[MEDIAN] == pytest.approx(hertz, rel=0.03)
    assert found[VOICED] > 0.9
    assert abs(found[SLOPE]) < 0.05
    assert found[STEP] < 0.02


def test_a_pitch_too_low_for_the_cepstra_is_none() -> None:
    found = of(voice(np.full(SAMPLE_RATE, 90.0)))
    assert found[VOICED] < 0.1
    assert found[MEDIAN] == 0


@pytest.mark.parametrize("octaves", [-0.5, 0.5])
def test_the_slope_of_the_pitch_is_in_octaves_a_second(octaves: float) -> None:
    t = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    assert of(voice(180 * 2 ** (octaves * t)))[SLOPE] == pytest.approx(octaves, rel=0.25)


def test_noise_has_little_pitch() -> None:
    assert of(gain(noise("white", 2), -10))[VOICED] < 0.2


def test_more_stretches_of_voice_are_more_a_second() -> None:
    t = np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    steady, hiss = voice(np.full(len(t), 200.0)), gain(noise("white", 3), -6)
    hiss *= np.sqrt(np.mean(steady**2) / np.mean(hiss**2))
    found = []
    for stretches in (1, 2, 4):  # a second, with hiss as loud between them
        is_voice = (t * stretches % 1.0) < 0.5
        found.append(of(np.where(is_voice, steady, hiss).astype(np.float32))[STRETCHES])
        assert stretches - 0.5 < found[-1] < stretches + 2  # some of the hiss has a pitch
    assert of(steady)[STRETCHES] < 0.5 < found[0] < found[1] < found[2]


def test_mean_deviation_and_step_are_those_of_the_frames_of_speech() -> None:
    cepstra = MFCC(voice(np.linspace(120, 240, SAMPLE_RATE)))
    found = FUNCTIONALS(cepstra)
    bands = librosa.feature.melspectrogram(
        y=voice(np.linspace(120, 240, SAMPLE_RATE)), sr=SAMPLE_RATE, n_fft=1024, hop_length=256
    )
    loud = 10 * np.log10(bands.sum(0) / bands.sum(0).max()) > -15
    first = cepstra[loud, :N_CEPSTRA].astype(np.float64)
    np.testing.assert_allclose(found[:N_CEPSTRA], first.mean(0), rtol=0.02, atol=0.5)
    np.testing.assert_allclose(found[N_CEPSTRA : 2 * N_CEPSTRA], first.std(0), rtol=0.1, atol=0.5)
    steps = np.abs(np.diff(first, axis=0)).mean(0)
    np.testing.assert_allclose(found[2 * N_CEPSTRA : PITCH], steps, rtol=0.1, atol=0.3)


@settings(max_examples=20)
@given(decibel=st.floats(-30, 6))
def test_a_gain_changes_nothing(decibel: float) -> None:
    samples = gain(voice(np.linspace(120, 240, SAMPLE_RATE)), -6)
    np.testing.assert_allclose(of(gain(samples, decibel)), of(samples), rtol=0.01, atol=0.05)


@settings(max_examples=20, deadline=None)
@given(seconds=st.floats(0.1, 2.5), before=st.floats(0.0, 1.0))
def test_they_say_of_how_much_speech_they_are(seconds: float, before: float) -> None:
    quiet = np.zeros(round(before * SAMPLE_RATE), np.float32)
    samples = np.concatenate([quiet, voice(np.full(round(seconds * SAMPLE_RATE), 180.0))])
    cepstra = MFCC(samples)
    functionals, share = FUNCTIONALS.heard(cepstra)
    np.testing.assert_array_equal(functionals, of(samples))
    assert share * len(cepstra) / SPEC.frame_rate == pytest.approx(seconds, abs=0.08)  # a window of 64 ms


def test_silence_before_a_voice_changes_nothing() -> None:
    bands = MFCC.bands(MFCC.frames(voice(np.linspace(120, 240, SAMPLE_RATE))))
    padded = np.vstack([np.full((100, bands.shape[1]), MFCC.fill, np.float32), bands])
    np.testing.assert_allclose(
        FUNCTIONALS(MFCC.cepstra(padded)), FUNCTIONALS(MFCC.cepstra(bands)), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("n_frames", [1, 2, 3, 188])
def test_silence_and_short_contexts_give_numbers(n_frames: int) -> None:
    for bands in (
        np.full((n_frames, 128), MFCC.fill, np.float32),
        MFCC.bands(MFCC.frames(noise("pink", 4)))[:n_frames],
    ):
        found = FUNCTIONALS(MFCC.cepstra(bands))
        assert found.shape == (N_FUNCTIONALS,)
        assert found.dtype == np.float32
        assert np.isfinite(found).all()


@pytest.mark.parametrize("value", [1e30, -1e30, 3e38])
def test_what_no_sound_has_is_no_number_and_no_error(value: float) -> None:
    found = FUNCTIONALS(np.full((8, 64), value, np.float32))
    assert found.shape == (N_FUNCTIONALS,)


def test_the_pitch_agrees_with_librosa(speech_data: Path) -> None:
    paths = recordings(speech_data, "emodb", every=40) + recordings(speech_data, "ravdess", every=120)
    away = []
    for path in paths:
        samples = recording(path)
        pitch, voiced, _ = librosa.pyin(
            samples, fmin=65, fmax=500, sr=SAMPLE_RATE, frame_length=1024, hop_length=SPEC.hop_length
        )
        away.append(of(samples)[MEDIAN] - np.log2(np.median(pitch[voiced]) / 100))
    assert len(away) >= 15
    assert np.median(np.abs(away)) < 0.1
    assert np.mean(np.abs(away) < 0.3) > 0.75
