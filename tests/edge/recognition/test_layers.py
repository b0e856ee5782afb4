"""What layers say: of a voice that is known beside the head, of one that is not the less the better it is known."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from affectd.config.sections import Config
from affectd.errors import ModelFileError
from affectd.features.functionals import N_FUNCTIONALS, Functionals
from affectd.recognition.baseline import Baseline, Learned, Placed
from affectd.recognition.baseline_file import decode, encode
from affectd.recognition.classifier import Classifier, softmax
from affectd.recognition.golden import self_test
from affectd.recognition.head import Head
from affectd.recognition.layers import RELATIVE, STRANGER, Layers
from affectd.recognition.model_file import ModelFile, model_id, read_model, write_model
from affectd.recognition.recording import classify_recording
from affectd.recognition.voice import Voice, without_voice
from sounds import gain, syllables
from tiny_model import LABELS, layered_model, tiny_model, voice_model

MODEL = layered_model()
assert MODEL.voice is not None
VOICE: Voice = MODEL.voice
assert VOICE.stranger is not None
assert VOICE.relative is not None
OF_STRANGER: Layers = VOICE.stranger
OF_KNOWN: Layers = VOICE.relative
CEPSTRA = MODEL.golden["cepstra"]
START = VOICE.head.baseline


def by_hand(layers: Layers, functionals: np.ndarray, baseline: np.ndarray = START) -> np.ndarray:
    """What layers say, as the docstring of `Layers` has it."""
    away = np.clip((functionals.astype(np.float64) - baseline) / VOICE.head.spread, -4, 4)
    units = np.maximum(0, away @ layers.hidden.astype(np.float64) + layers.hidden_bias)
    return units @ layers.outer.astype(np.float64) + layers.outer_bias


def says(voice: Voice, functionals: np.ndarray, baseline: np.ndarray, known: float) -> np.ndarray:
    return voice.said(functionals, baseline, known, voice.of_stranger(functionals))


def replaced(which: str = "stranger", **changes: Any) -> ModelFile:
    layers = dataclasses.replace(getattr(VOICE, which), **changes)
    return dataclasses.replace(MODEL, voice=dataclasses.replace(VOICE, **{which: layers}))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "layered.tflite"
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
    others = [replaced(which, outer=getattr(VOICE, which).outer * 2) for which in ("stranger", "relative")]
    assert len({model_id(model) for model in (MODEL, voice_model(), *others)}) == 4


def test_it_is_added_to_the_network_where_nothing_is_known() -> None:
    classifier = Classifier(MODEL)
    functionals = Functionals(MODEL.spec)(CEPSTRA)
    expected = softmax(
        (classifier.embed(CEPSTRA) + by_hand(OF_STRANGER, functionals)).astype(np.float32), MODEL.temperature
    )
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


def test_each_says_as_much_as_the_voice_is_known_or_is_not() -> None:
    functionals = Functionals(MODEL.spec)(CEPSTRA)
    usual = START + np.float32(0.3) * VOICE.head.spread
    for baseline in (START, usual):
        of_known = VOICE.head.logits(functionals, baseline) + by_hand(OF_KNOWN, functionals, baseline)
        for known in (0.0, 0.25, 1.0):
            expected = known * of_known + (1 - known) * by_hand(OF_STRANGER, functionals)  # as it is, not relative
            np.testing.assert_allclose(says(VOICE, functionals, baseline, known), expected, atol=1e-4)
    # So also at a place.
    off = np.array([0.4, -2.0, 1.0])
    learned = Learned(VOICE.head.spec.prior_seconds, np.append(0.6 * VOICE.head.spread, 2 * off))
    sure = dataclasses.replace(
        VOICE, spec=dataclasses.replace(VOICE.spec, same_scatter=1e4, other_scatter=1e5, far_voice=1e6)
    )
    classifier = Classifier(MODEL)
    placed = Placed(classifier, learned)
    placed.baseline.voice = sure
    np.testing.assert_allclose(placed.baseline.value, usual, atol=1e-6)
    known = placed.baseline.settled * placed.baseline.trust
    assert 0.3 < known < 0.5
    of_known = VOICE.head.logits(functionals, usual) + by_hand(OF_KNOWN, functionals, usual)
    said = known * of_known + (1 - known) * by_hand(OF_STRANGER, functionals)
    logits = (classifier.embed(CEPSTRA) - off) * (1 - 0.5 * known) + said
    found = placed.answer(classifier.embed(CEPSTRA), lambda: (functionals, 1.0))  # speech enough
    np.testing.assert_allclose(found, softmax(logits.astype(np.float32), MODEL.temperature), rtol=1e-4)


def test_a_place_learns_what_is_usually_answered_there() -> None:
    silent = Head(**{**vars(VOICE.head), "weights": VOICE.head.weights * 0, "bias": VOICE.head.bias * 0})
    spec = dataclasses.replace(VOICE.spec, network_share=1.0)
    voice = dataclasses.replace(VOICE, head=silent, spec=spec, relative=None, stranger=None)
    classifier = Classifier(dataclasses.replace(MODEL, voice=voice))
    placed, usual = Placed(classifier), np.asarray(VOICE.usual)
    differences = []
    for _ in range(100):
        differences.append(np.abs(placed(CEPSTRA) - softmax(usual, MODEL.temperature)).max())
        assert placed.ended(SimpleNamespace(end_seconds=9.0, speech_frames=500, speech_ratio=1.0))
    assert (np.diff(differences) < 0).all()  # the one thing that is ever said there comes to be what is usual
    assert differences[-1] < 0.02 < 0.4 < differences[0]
    expected = placed.baseline.settled * (classifier.embed(CEPSTRA) - usual)
    np.testing.assert_allclose(placed.baseline.off, expected, atol=1e-4)


def test_what_was_learned_of_answers_is_kept() -> None:
    known = Learned(9.0, np.append(VOICE.head.spread, [0.5, -1.25, 3.0]), scatter=1.0)
    content = encode(known, "kitchen", MODEL)
    np.testing.assert_allclose(decode(content, "kitchen", MODEL).offset, known.offset, rtol=1e-3)
    without = dataclasses.replace(MODEL, voice=dataclasses.replace(VOICE, usual=None))
    for one, other in ((MODEL, without), (without, MODEL)):
        offset = known.offset[: len(Baseline(VOICE.head, voice=one.voice).start)]
        with pytest.raises(ValueError, match="of another model"):
            decode(encode(Learned(9.0, offset), "kitchen", one), "kitchen", other)
    assert len(encode(known, "k" * 40, MODEL)) < 1000


def test_no_sound_and_far_sound_do_not_decide() -> None:
    nan = np.full(N_FUNCTIONALS, np.nan, np.float32)
    np.testing.assert_array_equal(says(VOICE, nan, START, 0.5), np.zeros(len(LABELS)))
    far, farther = (START + VOICE.head.spread * np.float32(steps) for steps in (5, 5000))
    np.testing.assert_array_equal(says(VOICE, far, START, 0.0), says(VOICE, farther, START, 0.0))
    silent = dataclasses.replace(VOICE.head, weights=np.zeros_like(VOICE.head.weights))
    voice = dataclasses.replace(VOICE, head=silent)
    np.testing.assert_array_equal(says(voice, far, START, 1.0), says(voice, farther, START, 1.0))


@pytest.mark.parametrize("which", ["stranger", "relative"])
def test_the_self_test_finds_other_layers(which: str) -> None:
    assert self_test(MODEL, Classifier(MODEL))["logits_difference"] == 0
    other = replaced(which, outer_bias=getattr(VOICE, which).outer_bias + np.float16(0.25))
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
    with pytest.raises(ModelFileError, match="^" + message.replace("golden.", "golden.relative_")):
        replaced("relative", **change)


@pytest.mark.parametrize(
    ("message", "usual"),
    [
        (r"expected float32 \(3,\)", np.zeros(2, np.float32)),
        (r"expected float32 \(3,\)", np.zeros(3)),
        (r"expected finite numbers up to 1e\+09, found nan$", np.full(3, np.nan, np.float32)),
        (r"expected finite numbers up to 1e\+09, found 4000000000.0$", np.float32([1, -4e9, 2])),
    ],
    ids=["labels", "float64", "no number", "too large"],
)
def test_what_is_usual_is_a_number_for_each_label(message: str, usual: np.ndarray) -> None:
    with pytest.raises(ModelFileError, match=rf"^golden\.usual: {message}"):
        dataclasses.replace(MODEL, voice=dataclasses.replace(VOICE, usual=usual))


@pytest.mark.parametrize("prefix", [STRANGER, RELATIVE])
def test_some_of_the_arrays_are_too_few(prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Voice.arrays
    left_out = [prefix + name for name in ("hidden_bias", "outer", "outer_bias")]
    monkeypatch.setattr(
        Voice, "arrays", lambda self: {name: array for name, array in whole(self).items() if name not in left_out}
    )
    write_model(tmp_path / "part.tflite", MODEL)
    message = rf"golden: expected the arrays {prefix}hidden, .* together; found {prefix}hidden$"
    with pytest.raises(ModelFileError, match=message):
        read_model(tmp_path / "part.tflite")


def test_a_voice_may_have_either_or_none(tmp_path: Path) -> None:
    path = tmp_path / "some.tflite"
    for layers in ({}, {"stranger": None}, {"relative": None}, {"stranger": None, "relative": None}):
        model = dataclasses.replace(MODEL, voice=dataclasses.replace(VOICE, **layers))
        write_model(path, model)
        voice = read_model(path).voice
        assert voice is not None
        assert [voice.relative is None, voice.stranger is None] == ["relative" in layers, "stranger" in layers]
        assert len(voice.arrays()) == 6 + 4 * (2 - len(layers))


def test_a_linear_layer_says_on_the_average_how_the_layers_rise() -> None:
    heard = np.random.default_rng(0).normal(0, 1, (100_000, N_FUNCTIONALS))
    is_above = heard @ OF_KNOWN.hidden.astype(np.float64) + OF_KNOWN.hidden_bias > 0
    mean = np.einsum("fu,u,ul->fl", OF_KNOWN.hidden.astype(np.float64), is_above.mean(0), OF_KNOWN.outer)
    assert np.abs(mean).max() > 0.2
    np.testing.assert_allclose(OF_KNOWN.slopes(), mean, atol=0.01)
    expected = VOICE.head.weights + mean / VOICE.head.spread[:, None]
    np.testing.assert_allclose(VOICE.weights(), expected, atol=0.02)
    np.testing.assert_array_equal(dataclasses.replace(VOICE, relative=None).weights(), VOICE.head.weights)
    still = dataclasses.replace(OF_KNOWN, hidden=np.zeros_like(OF_KNOWN.hidden))
    np.testing.assert_array_equal(still.slopes(), np.zeros((N_FUNCTIONALS, len(LABELS))))
