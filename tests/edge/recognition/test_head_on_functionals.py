"""Format 5 of the model file: a head that sees the functionals of the context after the embedding."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affectd.errors import ModelFileError
from affectd.features.functionals import N_FUNCTIONALS
from affectd.recognition.baseline import Placed
from affectd.recognition.classifier import Classifier
from affectd.recognition.golden import self_test
from affectd.recognition.model_file import read_model, write_model
from tiny_model import LABELS, draft_place_model, functionals_model, voice_model

MODEL = functionals_model()


def test_it_is_read_as_it_was_written_and_replays_itself(tmp_path: Path) -> None:
    write_model(tmp_path / "model.tflite", MODEL)
    back = read_model(tmp_path / "model.tflite")
    assert back.sees_functionals
    assert back.head is not None
    assert MODEL.head is not None
    assert back.head.far_functionals == MODEL.head.far_functionals
    assert back.n_outputs == len(LABELS)
    found = self_test(back, Classifier(back))
    assert found["logits_difference"] == found["functionals_difference"] == 0


def test_the_answer_is_of_both() -> None:
    classifier, cepstra, head = Classifier(MODEL), MODEL.golden["cepstra"], MODEL.head
    assert head is not None
    both = np.concatenate([classifier.embed(cepstra), classifier.functionals(cepstra)])
    logits = (both.astype(np.float64) - head.baseline) @ head.weights + head.bias
    expected = np.exp(logits / MODEL.temperature)
    expected /= expected.sum()
    np.testing.assert_allclose(classifier(cepstra), expected, rtol=1e-4)
    np.testing.assert_allclose(Placed(classifier)(cepstra), expected, rtol=1e-4)


def test_a_live_device_computes_functionals_at_every_fourth_context_and_anew_in_each_utterance() -> None:
    classifier, asked = Classifier(MODEL), []

    def heard() -> tuple[np.ndarray, float]:
        asked.append(True)
        return MODEL.golden["functionals"], 1.0

    placed = Placed(classifier)
    for _ in range(6):
        placed.answer(classifier.embed(MODEL.golden["cepstra"]), heard)
    assert len(asked) == 2
    placed.reset()
    placed.answer(classifier.embed(MODEL.golden["cepstra"]), heard)
    assert len(asked) == 3


def test_what_is_far_from_all_that_was_fitted_is_doubted_and_what_is_near_is_not() -> None:
    cepstra, functionals = MODEL.golden["cepstra"], MODEL.golden["functionals"]
    distance = float(np.sqrt(np.mean(functionals.astype(np.float64) ** 2)))  # from 0, in units of 1
    plain = Classifier(MODEL)(cepstra)
    for far, share in ((1.01 * distance, 1.0), (distance / 1.5, 1.5**-8), (distance / 8, 8.0**-8)):
        classifier = Classifier(functionals_model(far))
        probabilities = classifier(cepstra)
        expected = plain**share / (plain**share).sum()
        np.testing.assert_allclose(probabilities, expected, rtol=1e-3)
        np.testing.assert_array_equal(Placed(classifier)(cepstra), probabilities)
        assert probabilities.argmax() == plain.argmax()
    assert probabilities.max() < 1 / len(LABELS) + 1e-3


def test_the_self_test_is_of_all_that_the_layer_says_however_far_the_clip_is() -> None:
    model = functionals_model(1e-3)
    np.testing.assert_array_equal(model.golden["logits"], MODEL.golden["logits"])
    assert self_test(model, Classifier(model))["logits_difference"] == 0


def test_functionals_of_no_sound_say_nothing() -> None:
    assert MODEL.head is not None
    output = np.zeros(len(LABELS), np.float32)
    silent = MODEL.head.seen(output, np.full(N_FUNCTIONALS, np.nan, np.float32))
    assert (silent == np.concatenate([output, MODEL.head.baseline[len(LABELS) :]])).all()


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("voice", {"voice": voice_model().voice}),
        ("golden.weights", {"head": dataclasses.replace(draft_place_model().head, far_functionals=1.0)}),
        *[
            ("far_functionals", {"head": dataclasses.replace(MODEL.head, far_functionals=far)})
            for far in (0, -1.0, 1e7, float("nan"), float("inf"), "1", True, [1.0])
        ],
        ("golden.functionals", {"golden": {**MODEL.golden, "functionals": np.zeros(61, np.float32)}}),
        ("golden.functionals", {"golden": {k: v for k, v in MODEL.golden.items() if k != "functionals"}}),
        ("features.log", {"spec": dataclasses.replace(MODEL.spec, log="natural", log_floor=1e-6)}),
    ],
)
def test_what_cannot_be_is_refused(field: str, changes: dict[str, Any]) -> None:
    with pytest.raises(ModelFileError, match=f"^{field}: expected"):
        dataclasses.replace(MODEL, **changes)
