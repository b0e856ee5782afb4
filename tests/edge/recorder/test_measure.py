"""What is said of a recording is what others measure in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from affectd.audio.source import wav_blocks
from affectd.config.sections import Config, GateConfig
from affectd.recognition.classifier import load_classifier
from affectd.recognition.model_file import find_model
from affectd.recognition.recording import classify_recording
from affectd.recorder.measure import level_dbfs, speech_seconds, spoken_part
from sounds import CONVERSATION, as_int16, gain, noise, silence, syllables

DEMO = Path(__file__).parents[2] / "data" / "demo.wav"
pytestmark = pytest.mark.skipif(not find_model().exists(), reason="no model file")


def pieces(samples: np.ndarray, length: int = 4096) -> list[np.ndarray]:
    return np.split(samples, range(length, len(samples), length))


@pytest.mark.parametrize("offset", [0.0, 0.25])
def test_the_level_is_the_standard_deviation(offset: float) -> None:
    samples = gain(noise("pink", 3), -20) + np.float32(offset)
    assert level_dbfs(pieces(samples)) == pytest.approx(20 * np.log10(samples.astype(float).std()), abs=1e-3)


def test_the_least_that_16_bits_can_hold_has_a_level_and_silence_has_none() -> None:
    step = np.zeros(600 * 16000, np.float32)
    assert level_dbfs(pieces(step)) is None
    step[1000] = 1 / 32768
    assert level_dbfs(pieces(step, 65536)) == pytest.approx(20 * np.log10(step.astype(float).std()), abs=0.1)
    assert level_dbfs([]) is None


@pytest.mark.parametrize("what", ["conversation", "demo", "noise"])
def test_speech_is_as_long_as_classify_says(what: str) -> None:
    classifier = load_classifier(Config().model)
    sounds = {"conversation": CONVERSATION, "demo": None, "noise": as_int16(gain(noise("pink", 3), -30))}
    samples = np.concatenate([*wav_blocks(DEMO, 16000)]) if what == "demo" else sounds[what]
    expected = classify_recording([samples], classifier, Config()).speech_seconds
    assert speech_seconds(pieces(samples), classifier.model.spec, GateConfig()) == pytest.approx(expected, abs=1e-3)
    assert (expected == 0) == (what == "noise")


def test_the_spoken_part_has_all_words_and_little_else() -> None:
    spec = load_classifier(Config().model).model.spec
    before, word, after = 3.0, 2.0, 4.0
    samples = as_int16(np.concatenate([silence(before), gain(syllables(word), -12), silence(after)]))
    first, stop = spoken_part(pieces(samples), spec, GateConfig())
    said = np.flatnonzero(np.abs(samples) > 0.01)
    assert first <= said[0]
    assert stop > said[-1]
    gate = GateConfig()
    # The gate opens within the first syllable.
    assert (said[0] - first) / 16000 <= gate.preroll_seconds + 0.1
    assert (stop - said[-1]) / 16000 <= gate.hangover_seconds + 0.5
    assert spoken_part(pieces(silence(2)), spec, gate) is None
    assert spoken_part([], spec, gate) is None
