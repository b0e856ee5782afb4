"""What tells speech from noise is fitted to some of each: it knows others of both, and speech with noise in it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from affectd.arrays import Float32
from affectd.features.functionals import N_FUNCTIONALS, Functionals
from affectd.features.mfcc import Mfcc
from affectd.recognition.classifier import Classifier
from affectd.recognition.golden import self_test
from affectd.recognition.model_file import find_model, read_model
from affectd.recognition.offline import context_columns
from affectd.recognition.voice import Voice
from affectd_train.data.corpora import read_clips
from affectd_train.data.everyday_speech import trained_on
from affectd_train.training.speech_like import Sounds, fit_speech, load_sounds
from affectd_train.training.voice import is_as_now, with_voice
from sounds import noise
from tiny_corpora import tabled, voice, write
from tiny_model import tiny_model

MODEL = read_model(find_model())
assert MODEL.voice is not None
VOICE: Voice = MODEL.voice
MFCC = Mfcc(MODEL.spec)


def bands(samples: np.ndarray) -> Float32:
    return MFCC.bands(MFCC.frames(samples.astype(np.float32)))


def talk(seed: int) -> np.ndarray:
    """A voice of a pitch of its own."""
    return voice(120 + 17 * (seed % 12), 1.6, seed)


def hiss(seed: int) -> np.ndarray:
    return noise(("white", "pink")[seed % 2], 4.0, seed) * 0.05


def sounds(first: int = 0) -> Sounds:
    corpora = [[bands(talk(first + 40 * n + i)) for i in range(12)] for n in range(2)]
    return Sounds(corpora, [bands(talk(first + 90 + i)) for i in range(4)], [bands(hiss(first + i)) for i in range(6)])


def like(speech: np.ndarray, one: Float32) -> float:
    """How far the end of a recording is like speech."""
    context = context_columns(one[-MODEL.n_frames :], MODEL, MFCC)
    return dataclasses.replace(VOICE, speech=speech).like_speech(Functionals(MODEL.spec)(context))


def test_others_of_both_are_told_apart() -> None:
    speech = fit_speech(sounds(), MODEL, VOICE.head)
    assert (speech.dtype, speech.shape) == (np.float16, (N_FUNCTIONALS + 1,))
    others = sounds(first=500)
    voices = [like(speech, one) for one in (*others.corpora[0], *others.everyday)]
    noises = [like(speech, one) for one in others.noise]
    assert min(voices) > max(noises)
    assert np.mean(noises) < 0.1 < 0.4 < np.mean(voices)
    np.testing.assert_array_equal(fit_speech(sounds(), MODEL, VOICE.head), speech)  # its chance is seeded


def test_speech_with_noise_in_it_is_speech_because_some_had_noise_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def mean_like(speech: np.ndarray, decibel: int) -> float:
        mixed = [talk(700 + i) + 10 ** (-decibel / 20) * 2.0 * hiss(900 + i)[: len(talk(0))] for i in range(8)]
        return float(np.mean([like(speech, bands(one)) for one in mixed]))

    speech = fit_speech(sounds(), MODEL, VOICE.head)
    assert mean_like(speech, 40) >= mean_like(speech, 15) > 0.3 > mean_like(speech, -10)
    monkeypatch.setattr("affectd_train.training.speech_like._in_noise", lambda clean, *_: clean)
    of_clean = fit_speech(sounds(), MODEL, VOICE.head)
    assert mean_like(speech, 8) > mean_like(of_clean, 8) + 0.02


def test_without_everyday_speech_it_is_fitted_to_the_corpora() -> None:
    alone = fit_speech(sounds()._replace(everyday=[]), MODEL, VOICE.head)
    assert np.isfinite(alone).all()
    assert np.abs(alone - fit_speech(sounds(), MODEL, VOICE.head)).max() > 0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A corpus, and beside it noise with a room in it, and everyday speech."""
    (tmp_path / "elsewhere").mkdir()
    tabled(tmp_path, "ased", speakers=("01", "02", "03"), takes=4)
    for i in range(3):
        write(tmp_path / f"noise/fan/{i}.wav", hiss(i))
    write(tmp_path / "noise/impulse_responses/hall.wav", np.eye(1, 800, dtype=np.float32)[0])
    for i in range(12):
        write(tmp_path / f"speech/{i}.wav", talk(i))
    return tmp_path


def test_speech_that_tests_is_not_fitted_to(data: Path) -> None:
    clips = read_clips(data, ["ased"])
    found = load_sounds(tiny_model(), clips, data, data / "cache")
    assert found is not None
    assert [len(found.corpora), len(found.corpora[0]), len(found.noise)] == [1, len(clips), 3]
    trains = [path for path in (data / "speech").iterdir() if trained_on(path)]
    assert 0 < len(found.everyday) == len(trains) < 12
    by_source = tiny_model(card={"training": {"recipe": {"everyday_by_source": 1}}})
    of_sources = load_sounds(by_source, clips, data, data / "cache")
    assert of_sources is not None
    assert len(of_sources.everyday) == 12
    assert load_sounds(tiny_model(), clips, data / "elsewhere", data / "cache") is None
    write(data / "elsewhere/noise/click.wav", hiss(9)[:200])  # shorter than any context
    assert load_sounds(MODEL, clips, data / "elsewhere", data / "cache") is None


def test_a_voice_tells_noise_where_noise_is_at_hand(data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    clips = read_clips(data, ["ased"])
    model = tiny_model(card={"training": {}})
    made = with_voice(model, clips, data, data / "cache")
    assert made.voice is not None
    assert made.voice.speech is not None
    assert made.card["training"]["voice"]["noise"] == 3
    self_test(made, Classifier(made))
    assert is_as_now(made)
    assert not is_as_now(dataclasses.replace(made, voice=dataclasses.replace(made.voice, speech=None)))
    capfd.readouterr()
    without = with_voice(model, clips, data / "elsewhere", data / "cache")
    assert without.voice is not None
    assert without.voice.speech is None
    assert "does not tell speech from noise" in capfd.readouterr().err
    assert is_as_now(without)
