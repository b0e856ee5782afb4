"""Every augmentation does by measure what it says, and the seed alone decides what happens."""

from __future__ import annotations

import json
import pickle
import random
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from affectd.errors import DataError, NoInputError
from affectd_train.augmentation.waveform import (
    GAIN_DB,
    Augmenter,
    add_noise,
    add_room,
    change_level,
    shift_pitch,
    shift_time,
    stretch,
)
from affectd_train.data.recordings import read_audio

Float32 = npt.NDArray[np.float32]
RATE = 16000


def tone(hertz: float, seconds: float = 1.0, amplitude: float = 0.3) -> Float32:
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def global_generators() -> tuple[object, str]:
    """Return the states of the generators everybody shares."""
    return random.getstate(), str(np.random.get_state(legacy=False))  # noqa: NPY002


def white(n_samples: int, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).normal(0, 0.1, n_samples).astype(np.float32)


def frequency(samples: Float32) -> float:
    """Return the strongest frequency in Hz, from the middle half, to a fraction of a bin."""
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 8 * len(middle)))
    return float(np.argmax(spectrum)) * RATE / (8 * len(middle))


def decibel(ratio: float) -> float:
    return float(10 * np.log10(ratio))


def power(samples: Float32) -> float:
    return float(np.mean(samples.astype(np.float64) ** 2))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Return a folder of noises and, inside it, one of room responses."""
    noise, rooms = tmp_path / "noise", tmp_path / "noise" / "rooms"
    (noise / "car").mkdir(parents=True)
    rooms.mkdir()
    soundfile.write(noise / "car" / "long.wav", white(3 * RATE, 1), RATE)
    soundfile.write(noise / "short.flac", white(RATE // 10, 2), 8000)
    soundfile.write(noise / "lossy.opus", white(2 * RATE, 3), RATE, format="OGG", subtype="OPUS")
    response = white(RATE // 2, 4) * np.exp(-np.arange(RATE // 2) / 1000)
    soundfile.write(rooms / "hall.wav", response, RATE)
    return noise, rooms


@pytest.mark.parametrize("semitones", [-4.0, -1.5, 2.0, 7.0])
def test_pitch_moves_by_the_semitones_and_the_length_stays(semitones: float) -> None:
    shifted = shift_pitch(tone(440), RATE, semitones)
    assert shifted.shape == (RATE,)
    assert shifted.dtype == np.float32
    assert 12 * np.log2(frequency(shifted) / 440) == pytest.approx(semitones, abs=0.1)


@pytest.mark.parametrize("rate", [0.8, 0.9, 1.1, 1.25])
def test_stretching_changes_the_duration_and_keeps_the_pitch(rate: float) -> None:
    # The duration of the sound itself, not only of the array.
    samples = np.concatenate([np.zeros(4000, np.float32), tone(220), np.zeros(4000, np.float32)])
    stretched = stretch(samples, RATE, rate)
    assert stretched.dtype == np.float32
    assert len(stretched) == pytest.approx(len(samples) / rate, abs=2)
    loud = np.flatnonzero(np.abs(stretched) > 0.1)
    assert (loud[-1] - loud[0]) / RATE == pytest.approx(1 / rate, abs=0.03)
    assert frequency(stretched) == pytest.approx(220, rel=0.01)


@pytest.mark.parametrize("seconds", [-0.1, 0.0, 0.1])
def test_shifting_moves_the_samples_and_fills_with_silence(seconds: float) -> None:
    samples = white(RATE)
    shifted = shift_time(samples, RATE, seconds)
    assert shifted.shape == samples.shape
    n_samples = round(seconds * RATE)
    fade = 80  # 5 ms at the seam
    if n_samples > 0:
        np.testing.assert_array_equal(shifted[:n_samples], 0)
        np.testing.assert_array_equal(shifted[n_samples + fade :], samples[fade:-n_samples])
    elif n_samples < 0:
        np.testing.assert_array_equal(shifted[n_samples:], 0)
        np.testing.assert_array_equal(shifted[: n_samples - fade], samples[-n_samples:-fade])
    else:
        np.testing.assert_array_equal(shifted, samples)


@pytest.mark.parametrize("seconds", [-0.1, 0.1])
def test_a_shift_longer_than_the_clip_leaves_silence(seconds: float) -> None:
    np.testing.assert_array_equal(shift_time(white(1600), RATE, seconds), np.zeros(1600, np.float32))


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 12.0, 30.0])
def test_noise_comes_in_at_the_requested_ratio(snr_db: float) -> None:
    samples = tone(300) * np.linspace(0, 1, RATE, dtype=np.float32)
    noisy = add_noise(samples, white(RATE) * 0.01, snr_db)
    assert noisy.dtype == np.float32
    assert decibel(power(samples) / power(noisy - samples)) == pytest.approx(snr_db, abs=0.5)


def test_silence_and_silent_noise_are_left_as_they_are() -> None:
    silence = np.zeros(100, np.float32)
    np.testing.assert_array_equal(add_noise(silence, white(100), 10), silence)
    np.testing.assert_array_equal(add_noise(white(100), silence, 10), white(100))
    np.testing.assert_array_equal(add_room(silence, white(50)), silence)


def test_a_room_lets_sound_decay_at_its_own_rate() -> None:
    t60 = 0.4
    time = np.arange(RATE) / RATE
    response = (white(RATE) * 10 ** (-3 * time / t60)).astype(np.float32)
    response[0] = 1  # the direct sound
    click = np.zeros(RATE, np.float32)
    click[800:816] = 0.5
    wet = add_room(click, np.concatenate([np.zeros(2000, np.float32), response]))
    assert wet.shape == click.shape
    assert wet.dtype == np.float32
    assert np.abs(wet[:800]).max() < 0.01 * np.abs(wet).max(), "nothing before the sound: the delay is taken out"
    assert np.abs(wet[800:816]).max() == np.abs(wet).max()
    assert power(wet) == pytest.approx(power(click), rel=1e-3)
    # Backward integration (Schroeder, New method of measuring reverberation time, 1965) from -5 to -35 dB.
    tail = wet[820:].astype(np.float64)
    decay = np.cumsum(tail[::-1] ** 2)[::-1]
    level = 10 * np.log10(decay / decay[0])
    section = (level < -5) & (level > -35)
    slope = np.polyfit(np.arange(len(tail))[section] / RATE, level[section], 1)[0]
    assert -60 / slope == pytest.approx(t60, rel=0.1)


@pytest.mark.parametrize(("gain_db", "peak"), [(-6.0206, 0.15), (6.0206, 0.6), (20.0, 32767 / 32768)])
def test_gain_is_exact_until_it_would_clip(gain_db: float, peak: float) -> None:
    louder = change_level(tone(250), gain_db)
    assert louder.dtype == np.float32
    assert np.abs(louder).max() == pytest.approx(peak, rel=1e-4)
    np.testing.assert_allclose(louder / peak, tone(250) / 0.3, atol=1e-4)  # scaled, never cut off


def vary(augmenter: Augmenter, samples: np.ndarray, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return augmenter.surround(augmenter.voice(samples, RATE, generator), RATE, generator)


def test_the_seed_alone_decides_whatever_the_order_and_the_global_generators(
    folders: tuple[Path, Path],
) -> None:
    augmenter, samples = Augmenter(*folders), tone(200)
    first = [vary(augmenter, samples, seed) for seed in range(12)]
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    state = global_generators()
    elsewhere = pickle.loads(pickle.dumps(augmenter))
    again = [vary(elsewhere, samples, seed) for seed in reversed(range(12))][::-1]
    assert global_generators() == state, "no other draws change"
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len({one.tobytes() for one in first}) == 12
    np.testing.assert_array_equal(samples, tone(200), "the clip itself is untouched")


@pytest.mark.parametrize("n_samples", [1, 100, 5000, 48000])
def test_every_variation_is_finite_float32_within_full_scale(n_samples: int, folders: tuple[Path, Path]) -> None:
    augmenter, samples = Augmenter(*folders), 8 * white(n_samples)
    lengths = set()
    for seed in range(30):
        varied = vary(augmenter, samples, seed)
        assert varied.dtype == np.float32
        assert np.isfinite(varied).all()
        assert np.abs(varied).max() < 1
        assert 0.9 * n_samples - 2 <= len(varied) <= n_samples / 0.9 + 2
        lengths.add(len(varied))
    if n_samples > 1:
        assert n_samples in lengths
        assert len(lengths) > 5


def test_without_folders_there_is_no_noise_and_no_room() -> None:
    # What is left keeps a silent stretch silent, apart from the spread of the pitch shift.
    samples = np.concatenate([tone(200), np.zeros(2 * RATE, np.float32)])
    for seed in range(20):
        varied = vary(Augmenter(None, None), samples, seed)
        assert np.abs(varied[-RATE:]).max() < 1e-3


def test_a_noise_shorter_than_the_clip_goes_round(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", white(RATE // 10), RATE)
    samples = np.concatenate([tone(200), np.zeros(2 * RATE, np.float32)])
    tails = [vary(Augmenter(tmp_path, None), samples, seed)[-RATE:] for seed in range(10)]
    noisy = [tail for tail in tails if power(tail) > 1e-7]
    assert 0 < len(noisy) < len(tails)
    for tail in noisy:
        assert tail.std() == pytest.approx(np.sqrt(power(tail)), rel=0.1), "noise, not its last sample held"


def test_room_responses_inside_the_noise_folder_are_not_taken_for_noise(folders: tuple[Path, Path]) -> None:
    augmenter = Augmenter(*folders)
    assert sorted(path.name for path in augmenter.noises) == ["long.wav", "lossy.opus", "short.flac"]
    assert [path.name for path in augmenter.responses] == ["hall.wav"]


def test_settings_are_json_and_change_with_the_noises(folders: tuple[Path, Path]) -> None:
    before = json.dumps(Augmenter(*folders).settings())
    assert json.dumps(Augmenter(*folders).settings()) == before
    soundfile.write(folders[0] / "more.wav", white(100), RATE)
    assert json.dumps(Augmenter(*folders).settings()) != before


def test_an_augmenter_in_another_process_carries_no_audio(folders: tuple[Path, Path]) -> None:
    augmenter = Augmenter(*folders)
    vary(augmenter, tone(200), 3)
    assert len(pickle.dumps(augmenter)) < 2000


def test_missing_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match="gone"):
        Augmenter(tmp_path / "gone", None)
    with pytest.raises(DataError, match="no audio file"):
        Augmenter(None, tmp_path)


def test_the_shared_noises_load_and_vary_a_real_recording(speech_data: Path) -> None:
    noise = speech_data / "noise"
    augmenter = Augmenter(noise, noise / "impulse_responses")
    assert len(augmenter.noises) == 27
    assert len(augmenter.responses) == 4
    samples = read_audio(next((speech_data / "emodb").rglob("*.flac")), RATE)
    for seed in range(8):
        varied = vary(augmenter, samples, seed)
        assert np.isfinite(varied).all()
        assert power(varied) >= power(samples) * 10 ** ((GAIN_DB[0] - 3) / 10)
