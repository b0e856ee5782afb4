"""Sound that is not sound: what is measured, after how long, and what must not be taken for it."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affectd.audio.condition import SENTENCES, Condition
from affectd.audio.pace import Pace
from affectd.audio.vote import Vote
from sounds import SAMPLE_RATE, as_int16, gain, noise, recording, recordings, silence, syllables

STEP = 2.0**-15
CORPORA = (
    "ravdess/*/*.flac",
    "emodb/wav/*.flac",
    "tess/*/*.opus",
    "nemo/samples/*",
    "speech/**/*.*",
    "everyday_mycroft/*.opus",
    "everyday_en_wakeword/*.opus",
    "everyday_lt/*.*",
    "noise/[!i]*/*",
)


def hear(samples: np.ndarray, rate: int = SAMPLE_RATE, block: int = 4096) -> tuple[dict[str, float], dict[str, float]]:
    """Return what is wrong at the end, and after how many seconds each reason was first told."""
    condition = Condition(rate)
    first: dict[str, float] = {}
    for start in range(0, len(samples), block):
        condition.push(samples[start : start + block])
        for reason in condition.figures:
            first.setdefault(reason, (start + block) / rate)
    return condition.figures, first


@functools.cache
def speech(speech_data: Path, seconds: float, pattern: str = "everyday_mycroft/*.opus") -> np.ndarray:
    parts, n = [], 0
    for path in sorted(speech_data.glob(pattern)):
        if path.suffix in (".flac", ".opus", ".wav", ".ogg"):
            parts.append(recording(path))
            n += len(parts[-1])
        if n >= seconds * SAMPLE_RATE:
            break
    return np.concatenate(parts)[: round(seconds * SAMPLE_RATE)].clip(-1, 1)  # Opus goes beyond


def lowpass(samples: np.ndarray, hertz: float) -> np.ndarray:
    spectrum = np.fft.rfft(samples)
    spectrum[np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE) > hertz] = 0
    return np.fft.irfft(spectrum, len(samples)).astype(np.float32)


def click_track(seconds: float, per_second: float, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    samples = silence(seconds)
    for at in random.integers(0, len(samples) - 40, round(seconds * per_second)):
        n = random.integers(1, 33)
        samples[at : at + n] = random.uniform(-1, 1) * random.choice([1.0, 0.1])
    return samples


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
@pytest.mark.parametrize("seconds", [1.0, 1.37, 2.0, 3.333, 4.71, 5.0])
def test_a_loop_of_any_length_is_told_with_its_length(rate: int, seconds: float) -> None:
    loop = np.random.default_rng(int(seconds * 100)).standard_normal(round(seconds * rate)) * 0.1
    before = np.random.default_rng(1).standard_normal(7 * rate) * 0.1
    samples = as_int16(np.concatenate([before, np.tile(loop, round(25 / seconds))]))
    figures, first = hear(samples, rate, 4097)
    assert figures == {"repeated": pytest.approx(len(loop) / rate, abs=0.01)}
    assert first["repeated"] < 7 + 10 + seconds + 3


def test_a_loop_of_speech_with_pauses_of_zeros_is_told() -> None:
    word = np.concatenate([gain(syllables(1.3) + 0.02 * noise("pink", 1.3), -10), silence(1.4)])
    figures, _ = hear(as_int16(np.tile(word, 14)))
    assert figures["repeated"] == pytest.approx(2.7, abs=0.01)


def test_a_loop_that_a_resampler_rounds_is_told() -> None:
    loop = np.tile(noise("pink", 3.0), 10) * 0.3
    wobble = np.random.default_rng(0).uniform(-1, 1, len(loop)) * STEP * 0.005
    figures, _ = hear((as_int16(loop) + 0.5 * STEP * 0.98 + wobble).astype(np.float32))
    assert figures["repeated"] == pytest.approx(3.0, abs=0.01)


@pytest.mark.parametrize("per_second", [1, 3, 10, 40])
def test_zeros_with_clicks_are_told(per_second: float) -> None:
    for seed in range(3):
        for offset in (0.0, 0.1):
            figures, first = hear(as_int16(click_track(60, per_second, seed) * 0.8 + offset))
            assert list(figures) == ["clicks"]
            assert first["clicks"] < 40


@pytest.mark.parametrize("hertz", [1000, 1500, 2000])
def test_speech_without_anything_above_2_khz_is_told(speech_data: Path, hertz: float) -> None:
    figures, first = hear(as_int16(lowpass(speech(speech_data, 60), hertz)))
    assert list(figures) == ["narrow"]
    assert figures["narrow"] < -46
    assert first["narrow"] < 45


@pytest.mark.parametrize("volume", [0.005, 0.01, 0.02])
@pytest.mark.parametrize("pattern", CORPORA[:7])
def test_speech_at_a_low_volume_is_told(speech_data: Path, volume: float, pattern: str) -> None:
    figures, _ = hear(as_int16(speech(speech_data, 90, pattern) * volume))
    assert list(figures) == ["quiet"]
    assert figures["quiet"] < 20 * np.log10(volume) + 0.1


@pytest.mark.parametrize("pattern", CORPORA[:3])
def test_speech_that_is_cut_off_at_full_scale_is_told(speech_data: Path, pattern: str) -> None:
    sound = speech(speech_data, 60, pattern)
    loud = gain(sound / np.quantile(np.abs(sound), 0.999), 20).clip(-1, 1)
    figures, first = hear(as_int16(loud))
    assert list(figures) == ["clipped"]
    assert 0.1 < figures["clipped"] < 100
    assert first["clipped"] < 30


def test_speech_that_is_cut_off_on_one_side_is_told_and_one_that_reaches_full_scale_is_fit() -> None:
    voice = syllables(40) + gain(noise("pink", 40), -50)
    voice /= np.abs(voice).max()
    assert list(hear(as_int16((3 * voice - 0.6).clip(-1, 1)))[0]) == ["clipped"]
    assert hear(as_int16(voice)) == ({}, {})


@pytest.mark.parametrize("pattern", CORPORA)
def test_what_is_really_heard_is_fit(speech_data: Path, pattern: str) -> None:
    sound = as_int16(speech(speech_data, 600, pattern))
    assert hear(sound) == ({}, {})
    telephone = lowpass(sound, 3400)
    assert hear(as_int16(telephone)) == ({}, {})


def beep() -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * 1000 * SECONDS)


def hiss() -> np.ndarray:
    return gain(noise("white", 90), -65)


def gated_voices() -> np.ndarray:
    gated = np.concatenate([np.concatenate([gain(syllables(1.1, 3.0 + k % 3), -12), silence(1.9)]) for k in range(30)])
    return gated + (gated != 0) * gain(noise("pink", len(gated) / SAMPLE_RATE), -40)


SECONDS = np.arange(90 * SAMPLE_RATE) / SAMPLE_RATE
SOUNDS_OF_A_ROOM: dict[str, Callable[[], np.ndarray]] = {
    "night": lambda: gain(noise("pink", 90), -70),
    "night, few bits": lambda: gain(noise("white", 90), -93),
    "night, one bit now and then": lambda: (np.random.default_rng(0).random(len(SECONDS)) < 1e-4) * np.float32(STEP),
    "hum": lambda: gain(noise("hum", 90), -20) + hiss(),
    "beep": lambda: beep() + hiss(),
    "beeps": lambda: (SECONDS % 1.0 < 0.5) * beep() + hiss(),
    "square wave": lambda: np.tile(np.repeat(np.float32([0.03, -0.03]), 50), 90 * 160),
    "noise gate": gated_voices,
    "digital silence": lambda: silence(90),
    "a voice": lambda: gain(syllables(90), -20) + hiss(),
    "clipping": lambda: np.clip(4 * noise("pink", 90), -1, 1),
    "beyond full scale": lambda: 3 * noise("pink", 90),
    "a knock every ten seconds": lambda: hiss() + gain((SECONDS % 10 < 0.1) * noise("pink", 90), -50),
}


@pytest.mark.parametrize("kind", SOUNDS_OF_A_ROOM)
def test_the_sounds_of_a_room_are_fit(kind: str) -> None:
    sound = as_int16(SOUNDS_OF_A_ROOM[kind]())
    with np.errstate(all="raise"):
        assert hear(sound) == ({}, {})


def test_it_ends_when_the_sound_is_fit_again_and_silence_ends_nothing() -> None:
    condition = Condition(SAMPLE_RATE)
    loud = gain(syllables(60), -6) + gain(noise("pink", 60), -50)
    condition.push(as_int16(loud * 0.01))
    assert condition.reason == "quiet"
    assert "the loudest of the last 20 s of speech is -4" in condition.sentence()
    condition.push(silence(600))
    assert condition.reason == "quiet"
    condition.push(as_int16(loud[: 7 * SAMPLE_RATE]))
    assert condition.reason == "quiet"
    condition.push(as_int16(loud[: 5 * SAMPLE_RATE]))
    assert condition.figures == {}


def test_what_is_between_comes_and_goes_ever_more_rarely() -> None:
    condition = Condition(SAMPLE_RATE)
    changes, before = 0, ""
    faint, loud = (as_int16(gain(syllables(1), level)) for level in (-45, -6))
    for minute in range(8 * 60):
        for _ in range(60):
            condition.push(faint if minute % 2 else loud)
            changes += condition.reason != before
            before = condition.reason
    assert 6 <= changes <= 30


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 3), cuts=st.lists(st.integers(1, 40000), min_size=1, max_size=40))
def test_the_blocks_do_not_matter(seed: int, cuts: list[int]) -> None:
    random = np.random.default_rng(seed)
    kinds = [
        np.tile(as_int16(noise("pink", 1.7, seed) * 0.4), 12),
        click_track(20, 5, seed),
        as_int16(gain(syllables(25) + 0.01 * noise("pink", 25), -42)),
        as_int16(lowpass(syllables(20, 3.0), 1500)),
    ]
    samples = np.concatenate([kinds[k] for k in random.permutation(4)]).astype(np.float32)
    whole, parts = Condition(SAMPLE_RATE), Condition(SAMPLE_RATE)
    whole.push(samples)
    at = 0
    for cut in itertools.cycle([*cuts, 40000]):  # the last one ends it in good time if all others are of a few samples
        parts.push(samples[at : at + cut])
        at += cut
        if at >= len(samples):
            break
    assert whole.figures == parts.figures


def pace(
    speed: float, seconds: float = 60, *, piece: float = 0.256, busy: bool = False, waited: float = 1.0
) -> list[bool | None]:
    """Return the verdicts on sound that comes in pieces, to a machine that may stand still for seconds."""
    random = np.random.default_rng(0)
    meter, verdicts = Pace(SAMPLE_RATE), []
    now = late = 0.0
    for k in range(round(seconds * speed / piece)):
        due = (k + 1) * piece / speed
        if busy and random.random() < 0.03:
            late = due + random.uniform(0.5, 6.0)
        before, now = now, max(due, late)
        if meter.push(round(piece * SAMPLE_RATE), now, waited * (now - before)):
            verdicts.append(meter.verdict)
    return verdicts


@pytest.mark.parametrize("piece", [0.02, 0.256, 1.0])
@pytest.mark.parametrize("speed", [0.3, 0.5, 0.9, 1.1, 1.5, 2.0])
def test_a_wrong_speed_is_seen_from_the_second_window_on(speed: float, piece: float) -> None:
    verdicts = pace(speed, piece=piece)
    assert verdicts[0] is None
    assert set(verdicts[1:]) == {True}


@pytest.mark.parametrize("speed", [0.999, 1.0, 1.001])
def test_a_right_speed_is_right_in_pieces_of_any_length(speed: float) -> None:
    for piece in (0.01, 0.256, 1.0, 2.0):
        assert set(pace(speed, piece=piece)) == {False}


def test_a_busy_machine_and_a_recording_have_no_wrong_speed() -> None:
    vote = Vote(12.0, 2.0, 0.25)
    for verdict in pace(1.0, 36000, busy=True):
        vote.push(verdict, 6.0)
        assert not vote.is_on
    assert set(pace(1.5, waited=0.1)) == {None}  # it is the reader that is so slow
    assert set(pace(20.0, piece=1.0)) == {None}
    assert set(pace(0.05, 600)) == {None}


def test_every_reason_has_a_sentence_and_a_proof() -> None:
    condition = Condition(SAMPLE_RATE)
    assert list(condition._votes) == list(SENTENCES)
    assert (condition.reason, condition.sentence()) == ("", "")


def test_a_recording_of_a_corpus_is_found_by_the_tests(speech_data: Path) -> None:
    assert recordings(speech_data, "ravdess")
