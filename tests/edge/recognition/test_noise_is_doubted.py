"""What sounds like noise is doubted: it gets no other answer, but a less sure one, and no place learns from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from affectd.config.sections import Config
from affectd.errors import ModelFileError
from affectd.features.functionals import N_FUNCTIONALS, Functionals
from affectd.recognition.baseline import Baseline, Placed
from affectd.recognition.classifier import Classifier, softmax
from affectd.recognition.golden import self_test
from affectd.recognition.model_file import ModelFile, find_model, model_id, read_model, write_model
from affectd.recognition.voice import Voice
from affectd_train.evaluation.event_rates import listen
from sounds import SAMPLE_RATE, recording
from tiny_model import layered_model

MODEL = layered_model()
assert MODEL.voice is not None
VOICE: Voice = MODEL.voice
CEPSTRA = MODEL.golden["cepstra"]
FUNCTIONALS = Functionals(MODEL.spec)(CEPSTRA)
WEIGHTS = np.random.default_rng(3).normal(0, 0.05, N_FUNCTIONALS).astype(np.float16)
DEMO = Path(__file__).parents[2] / "data" / "demo.wav"


def by_hand(functionals: np.ndarray) -> float:
    """How far these are of speech, by `WEIGHTS`."""
    away = np.clip((functionals.astype(np.float64) - VOICE.head.baseline) / VOICE.head.spread, -4, 4)
    return float(away @ WEIGHTS.astype(np.float64))


def telling(like: float) -> ModelFile:
    """The model with weights by which its golden clip is so far like speech."""
    speech = np.append(WEIGHTS, like - by_hand(FUNCTIONALS)).astype(np.float16)
    return dataclasses.replace(MODEL, voice=dataclasses.replace(VOICE, speech=speech))


def voice_of(model: ModelFile) -> Voice:
    assert model.voice is not None
    return model.voice


@pytest.mark.parametrize(("like", "expected"), [(-3.0, 0.0), (0.25, 0.25), (0.75, 0.75), (4.0, 1.0)])
def test_how_far_it_is_speech_is_linear_between_noise_and_speech(like: float, expected: float) -> None:
    voice = voice_of(telling(like))
    assert voice.like_speech(FUNCTIONALS) == pytest.approx(expected, abs=0.005)
    # As everywhere, what is farther than four spreads is as far as that.
    far, farther = (VOICE.head.baseline + VOICE.head.spread * np.float32(steps) for steps in (5, 5000))
    assert voice.like_speech(far) == voice.like_speech(farther)
    assert voice.like_speech(np.full(N_FUNCTIONALS, np.nan, np.float32)) == 1
    assert VOICE.like_speech(FUNCTIONALS) == 1  # a file that cannot tell


@pytest.mark.parametrize(("like", "share"), [(-3.0, 0.25), (0.5, 0.625), (4.0, 1.0)])
def test_an_answer_is_less_sure_and_the_same(like: float, share: float) -> None:
    classifier, before = Classifier(telling(like)), Classifier(MODEL)
    logits = VOICE.cold(before.embed(CEPSTRA), FUNCTIONALS)
    expected = softmax(logits * np.float32(share), MODEL.temperature)
    np.testing.assert_allclose(classifier(CEPSTRA), expected, atol=0.005)
    np.testing.assert_array_equal(Placed(classifier)(CEPSTRA), classifier(CEPSTRA))
    assert classifier(CEPSTRA).argmax() == before(CEPSTRA).argmax()
    assert (classifier(CEPSTRA).max() < before(CEPSTRA).max()) == (share < 1)


def test_without_layers_it_is_doubted_too() -> None:
    alone = dataclasses.replace(voice_of(telling(-1.0)), relative=None, stranger=None)
    classifier = Classifier(dataclasses.replace(MODEL, voice=alone))
    expected = softmax(classifier.embed(CEPSTRA) * np.float32(0.25), MODEL.temperature)
    np.testing.assert_array_equal(classifier(CEPSTRA), expected)


@pytest.mark.parametrize("like", [-0.5, 0.5])
def test_a_place_learns_from_speech_alone(like: float) -> None:
    voice = voice_of(telling(like))
    head = dataclasses.replace(voice.head, spec=dataclasses.replace(voice.head.spec, far_distance=1e6))
    baseline = Baseline(head, voice=dataclasses.replace(voice, head=head))
    noted = np.concatenate([FUNCTIONALS, np.zeros(len(MODEL.labels))])
    learns = baseline.learn(noted, speech_seconds=10, speech_ratio=1, at_hours=0)
    assert learns == (like > 0) == (baseline.settled > 0)


def test_a_file_keeps_it(tmp_path: Path) -> None:
    model = telling(0.5)
    write_model(tmp_path / "telling.tflite", model)
    back = read_model(tmp_path / "telling.tflite")
    assert voice_of(model).speech is not None
    np.testing.assert_array_equal(voice_of(back).speech, voice_of(model).speech)  # type: ignore[arg-type]
    others = [telling(0.75), MODEL]
    assert model_id(back) == model_id(model) not in [model_id(other) for other in others]
    with pytest.raises(ModelFileError, match=r"^golden\.logits: expected within"):  # its golden vector is of another
        self_test(back, Classifier(back))


@pytest.mark.parametrize(
    ("message", "speech"),
    [
        (r"expected float16 \(63,\)", np.zeros(N_FUNCTIONALS, np.float16)),
        (r"expected float16 \(63,\)", np.zeros(N_FUNCTIONALS + 1, np.float32)),
        ("expected finite numbers", np.full(N_FUNCTIONALS + 1, np.inf, np.float16)),
    ],
    ids=["too few", "float32", "infinite"],
)
def test_impossible_weights_are_named(message: str, speech: np.ndarray) -> None:
    with pytest.raises(ModelFileError, match=rf"^golden\.speech: {message}"):
        dataclasses.replace(MODEL, voice=dataclasses.replace(VOICE, speech=speech))


def wind(seconds: int, seed: int = 0) -> np.ndarray:
    """Noise below 400 Hz in gusts, which no training had; the loudest are 10 dB below full scale."""
    random = np.random.default_rng(seed)
    n = seconds * SAMPLE_RATE
    spectrum = np.fft.rfft(random.normal(size=n))
    spectrum[np.fft.rfftfreq(n, 1 / SAMPLE_RATE) > 400] = 0
    gusts = np.interp(np.arange(n), np.arange(0, n + SAMPLE_RATE, SAMPLE_RATE), random.uniform(0, 1, seconds + 1))
    sound = np.fft.irfft(spectrum, n) * gusts**3
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)


def chords(seconds: int, seed: int = 0) -> np.ndarray:
    """Three plucked strings at a time, three times a second."""
    random, n = np.random.default_rng(seed), seconds * SAMPLE_RATE
    sound, t = np.zeros(n + 2 * SAMPLE_RATE), np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    for start in range(0, n, SAMPLE_RATE // 3):
        for hz in 110 * 2 ** (random.integers(0, 36, 3) / 12):
            partials = sum(np.sin(2 * np.pi * k * hz * t) / k for k in range(1, 8))
            sound[start : start + len(t)] += np.exp(-3 * t) * partials
    return (0.3 * sound[:n] / np.abs(sound).max()).astype(np.float32)


def surest(sound: np.ndarray, model: ModelFile) -> float:
    """The highest probability in any event of a device that hears this."""
    return max(event["probability"] for event in listen(sound, Classifier(model), Config()))


def believing(model: ModelFile) -> ModelFile:
    """The model without its doubt of strangers, which is another one."""
    voice = voice_of(model)
    spec = dataclasses.replace(voice.spec, stranger_share=1.0)
    return dataclasses.replace(model, voice=dataclasses.replace(voice, spec=spec))


def unable(model: ModelFile) -> ModelFile:
    """The model without what tells speech from noise."""
    return dataclasses.replace(model, voice=dataclasses.replace(voice_of(model), speech=None))


ABLE = believing(read_model(find_model()))
BOTH = (ABLE, unable(ABLE))


@pytest.mark.parametrize("sound", [wind, chords])
def test_the_packaged_file_is_unsure_of_sounds_that_it_never_heard(sound: Callable[[int], np.ndarray]) -> None:
    assert surest(sound(60), ABLE) < 0.25 < 0.3 < surest(sound(60), unable(ABLE))


def test_the_packaged_file_names_what_the_demo_says() -> None:
    labels = [[event["label"] for event in listen(recording(DEMO), Classifier(model), Config())] for model in BOTH]
    assert labels[0] == labels[1]
