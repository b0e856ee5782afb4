"""The last layer taken off an int8 network: the rest and the layer in real numbers answer as the whole."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affectd.config.sections import Config
from affectd.errors import ModelFileError
from affectd.personal import last_layer
from affectd.personal.hearing import with_float_head
from affectd.personal.last_layer import without_last_layer
from affectd.recognition.classifier import Classifier
from affectd.recognition.golden import EMBEDDING_LIMIT, self_test
from affectd.recognition.model_file import find_model, read_model, write_model
from affectd.recognition.recording import classify_recording
from affectd.recognition.voice import without_voice
from documents import REPOSITORY
from tiny_model import DATA, place_model

MODELS = [REPOSITORY / "models" / name for name in ("affectd.tflite", "affectd-commercial.tflite")]


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_both_parts_answer_as_the_whole(path: Path) -> None:
    model = read_model(path)
    whole, parts = Classifier(model), with_float_head(model)
    assert parts.head is not None
    rest = Classifier(parts)
    zero, one = (whole.dequantize(np.array([step], np.int8))[0] for step in (0, 1))
    random = np.random.default_rng(0)
    for _ in range(60):
        steps = np.cumsum(random.normal(0, 6, (model.n_frames, model.spec.n_columns)), 0).clip(-128, 127)
        given = steps.astype(np.int8)
        logits = parts.head.logits(rest.dequantize(rest.invoke(given)), parts.head.baseline)
        # Nothing but the rounding of the logits to int8 is between them; the interpreter rounds weights besides.
        assert np.abs(logits - whole.dequantize(whole.invoke(given))).max() <= 0.52 * (one - zero)


def test_the_new_file_replays_itself_and_is_no_longer(tmp_path: Path) -> None:
    model = with_float_head(read_model(find_model()))
    write_model(tmp_path / "parts.tflite", model)
    again = read_model(tmp_path / "parts.tflite")
    assert again.head is not None
    assert again.n_outputs == 208
    assert len(again.tflite) == len(read_model(find_model()).tflite)
    assert self_test(again, Classifier(again))["output_steps"] == 0


class _Both:
    """A network that notes what another one says of the same contexts, and how near the two best logits are."""

    def __init__(self, first: Classifier, second: Classifier) -> None:
        self.model, self._first, self._second = first.model, first, second
        self.same: list[bool] = []
        self.apart: list[float] = []

    def __call__(self, cepstra: np.ndarray) -> np.ndarray:
        second, best = np.sort(self._first.embed(cepstra))[-2:]
        self.apart.append(float(best - second))
        probabilities = self._first(cepstra)
        self.same.append(bool(probabilities.argmax() == self._second(cepstra).argmax()))
        return probabilities


def test_it_names_the_same_in_real_speech_but_where_int8_cannot_tell(speech_data: Path) -> None:
    from affectd_train.data.recordings import read_audio

    model = without_voice(read_model(find_model()))
    first, second = Classifier(model), Classifier(with_float_head(model))
    both = _Both(first, second)
    paths = sorted((speech_data / "ravdess").rglob("*.flac"))[::40]
    if not paths:
        pytest.skip("no RAVDESS there")
    for path in paths:
        samples = read_audio(path, 16000)
        label = classify_recording([samples], both, Config()).label
        assert classify_recording([samples], second, Config()).label == label
    same, apart = np.array(both.same), np.array(both.apart)
    step = float(np.diff(first.dequantize(np.array([0, 1], np.int8)))[0])
    assert len(same) > 500
    assert same[apart > 1.5 * step].all()
    assert same.mean() > 0.98


def test_a_file_of_format_2_stays_as_it_is() -> None:
    model = place_model()
    assert with_float_head(model) is model


@settings(max_examples=60)
@given(
    places=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), min_size=1, max_size=8),
    from_end=st.booleans(),
)
def test_a_damaged_network_is_refused_or_read_and_nothing_else(places: list[tuple[int, int]], from_end: bool) -> None:
    data = bytearray((DATA / "tiny.tflite").read_bytes())
    for place, byte in places:
        data[-1 - place % len(data) if from_end else place % len(data)] = byte
    with suppress(ModelFileError):
        assert len(without_last_layer(bytes(data)).tflite) == len(data)


def test_every_shorter_file_is_refused_or_read() -> None:
    data = (DATA / "tiny.tflite").read_bytes()
    for length in range(0, len(data), 7):
        with suppress(ModelFileError):
            without_last_layer(data[:length])


def test_another_last_layer_is_refused_by_name() -> None:
    data = bytearray((DATA / "tiny.tflite").read_bytes())
    model = last_layer._Table(data, last_layer._follow(data, 0))
    operator = model.tables(last_layer._SUBGRAPHS)[0].tables(last_layer._OPERATORS)[-1]
    code = model.tables(last_layer._OPERATOR_CODES)[operator.number(last_layer._CODE, "I")]
    for field in (last_layer._OLD_NUMBER, last_layer._NUMBER):
        if place := code.place(field):
            data[place] = 25  # a softmax
    with pytest.raises(ModelFileError, match="expected a network that ends in an int8 dense layer, found another last"):
        without_last_layer(bytes(data))


def test_the_self_test_knows_how_far_interpreters_differ_in_an_embedding() -> None:
    model = with_float_head(read_model(find_model()))
    assert model.head is not None
    classifier = Classifier(model)
    for steps, is_near in ((EMBEDDING_LIMIT, True), (EMBEDDING_LIMIT + 1, False)):
        output = model.golden["output"].copy()
        output[int(output.argmin())] += steps
        logits = model.head.logits(classifier.dequantize(output), model.head.baseline)
        moved = dataclasses.replace(model, golden=model.golden | {"output": output, "logits": logits})
        if is_near:
            assert self_test(moved, classifier)["output_steps"] == steps
        else:
            with pytest.raises(ModelFileError, match=r"golden\.output: expected within 8"):
                self_test(moved, classifier)
