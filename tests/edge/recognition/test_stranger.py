"""What is said of a voice that is not known: added to the network's logits, less the better the voice is known."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affectd.config.sections import Config
from affectd.errors import ModelFileError
from affectd.features.functionals import N_FUNCTIONALS, Functionals
from affectd.recognition.baseline import Baseline, Learned, Placed
from affectd.recognition.classifier import Classifier, softmax
from affectd.recognition.golden import self_test
from affectd.recognition.model_file import ModelFile, model_id, read_model, write_model
from affectd.recognition.recording import classify_recording
from affectd.recognition.stranger import Stranger
from affectd.recognition.voice import Voice, without_voice
from sounds import gain, syllables
from tiny_model import LABELS, assert_every_flipped_byte_is_found, stranger, stranger_model, tiny_model, voice_model

MODEL = stranger_model()
assert MODEL.voice is not None
assert MODEL.voice.stranger is not None
VOICE: Voice = MODEL.voice
STRANGER: Stranger = MODEL.voice.stranger
CEPSTRA = MODEL.golden["cepstra"]


def by_hand(functionals: np.ndarray) -> np.ndarray:
    """What the layers say, as the docstring of `Stranger` has it."""
    away = np.clip((functionals.astype(np.float64) - VOICE.head.baseline) / VOICE.head.spread, -4, 4)
    units = np.maximum(0, away @ STRANGER.hidden.astype(np.float64) + STRANGER.hidden_bias)
    return units @ STRANGER.outer.astype(np.float64) + STRANGER.outer_bias


def replaced(**changes: Any) -> ModelFile:
    return dataclasses.replace(
        MODEL, voice=dataclasses.replace(VOICE, stranger=dataclasses.replace(STRANGER, **changes))
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "stranger.tflite"
    write_model(path, MODEL)
    return path


def test_the_file_is_read_as_it_was_written(written: Path) -> None:
    back = read_model(written)
    assert back.voice is not None
    assert back.voice.arrays().keys() == VOICE.arrays().keys()
    for name, array in VOICE.arrays().items():
        np.testing.assert_array_equal(back.voice.arrays()[name], array)
        assert back.voice.arrays()[name].dtype == array.dtype
    assert model_id(back) == model_id(MODEL)
    assert len({model_id(MODEL), model_id(voice_model()), model_id(replaced(outer=STRANGER.outer * 2))}) == 3


def test_every_flipped_byte_is_found(written: Path, tmp_path: Path) -> None:
    assert_every_flipped_byte_is_found(written, tmp_path / "broken.tflite")


def test_it_is_added_to_the_network_where_nothing_is_known() -> None:
    classifier = Classifier(MODEL)
    functionals = Functionals(MODEL.spec)(CEPSTRA)
    expected = softmax((classifier.embed(CEPSTRA) + by_hand(functionals)).astype(np.float32), MODEL.temperature)
    np.testing.assert_allclose(classifier(CEPSTRA), expected, rtol=1e-5)
    assert np.abs(expected - Classifier(voice_model())(CEPSTRA)).max() > 0.01
    np.testing.assert_array_equal(Placed(classifier)(CEPSTRA), classifier(CEPSTRA))


def test_a_recording_is_classified_so_too_and_personal_files_go_without() -> None:
    talk = gain(syllables(2, 4.0), -15)
    found = classify_recording([talk], Classifier(MODEL), Config())
    alone = classify_recording([talk], Classifier(tiny_model()), Config())
    assert found.probabilities != alone.probabilities
    assert without_voice(MODEL).voice is None
    assert classify_recording([talk], Classifier(without_voice(MODEL)), Config()) == alone


def test_it_says_the_less_the_better_the_voice_is_known() -> None:
    functionals = Functionals(MODEL.spec)(CEPSTRA)
    head = VOICE.head.logits(functionals, VOICE.head.baseline)
    for known in (0.0, 0.25, 1.0):
        expected = known * head + (1 - known) * by_hand(functionals)
        np.testing.assert_allclose(VOICE.said(functionals, VOICE.head.baseline, known), expected, atol=1e-4)
    # So also at a place.
    learned = Learned(VOICE.head.spec.prior_seconds, np.zeros(N_FUNCTIONALS))
    sure = dataclasses.replace(
        VOICE, spec=dataclasses.replace(VOICE.spec, same_scatter=1e4, other_scatter=1e5, far_voice=1e6)
    )
    classifier = Classifier(MODEL)
    placed = Placed(classifier, Baseline(VOICE.head, learned, sure))
    known = placed.baseline.settled * placed.baseline.trust
    assert 0.3 < known < 0.5
    logits = classifier.embed(CEPSTRA) * (1 - 0.5 * known) + known * head + (1 - known) * by_hand(functionals)
    np.testing.assert_allclose(placed(CEPSTRA), softmax(logits.astype(np.float32), MODEL.temperature), rtol=1e-4)


def test_no_sound_and_far_sound_do_not_decide() -> None:
    nan = np.full(N_FUNCTIONALS, np.nan, np.float32)
    np.testing.assert_array_equal(VOICE.said(nan, VOICE.head.baseline, 0.5), np.zeros(len(LABELS)))
    far, farther = (VOICE.head.baseline + VOICE.head.spread * np.float32(steps) for steps in (5, 5000))
    np.testing.assert_array_equal(
        VOICE.said(far, VOICE.head.baseline, 0.0), VOICE.said(farther, VOICE.head.baseline, 0.0)
    )


def test_the_self_test_finds_other_layers() -> None:
    assert self_test(MODEL, Classifier(MODEL))["logits_difference"] == 0
    other = replaced(outer_bias=STRANGER.outer_bias + np.float16(0.25))
    with pytest.raises(ModelFileError, match=r"^golden\.logits: expected within"):
        self_test(other, Classifier(other))


@pytest.mark.parametrize(
    ("message", "change"),
    [
        (r"golden.hidden: expected float16 \(62, 1 to 256\)", {"hidden": np.zeros((N_FUNCTIONALS, 0), np.float16)}),
        (r"golden.hidden: expected float16 \(62, 1 to 256\)", {"hidden": np.zeros((N_FUNCTIONALS, 3), np.float32)}),
        (r"golden.hidden_bias: expected float16 \(5,\)", {"hidden_bias": np.zeros(4, np.float16)}),
        (r"golden.outer: expected float16 \(5, 3\)", {"outer": np.zeros((5, 2), np.float16)}),
        ("golden.outer_bias: expected finite numbers", {"outer_bias": np.full(len(LABELS), np.inf, np.float16)}),
    ],
    ids=["no units", "float32", "bias", "labels", "infinite"],
)
def test_impossible_arrays_are_named(message: str, change: dict[str, np.ndarray]) -> None:
    with pytest.raises(ModelFileError, match=f"^{message}"):
        replaced(**change)


def test_some_of_the_arrays_are_too_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Stranger.arrays
    monkeypatch.setattr(Stranger, "arrays", lambda self: {"hidden": whole(self)["hidden"]})
    write_model(tmp_path / "part.tflite", MODEL)
    with pytest.raises(ModelFileError, match=r"golden: expected the arrays hidden, .* together; found hidden$"):
        read_model(tmp_path / "part.tflite")


def test_a_voice_without_it_is_a_file_as_before() -> None:
    assert set(VOICE.arrays()) - set(voice_model().voice.arrays()) == set(stranger().arrays())  # type: ignore[union-attr]
