"""Of a voice that is not known the device is less sure: it gets no other answer, and is named once it is known."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from affectd.errors import ModelFileError
from affectd.features.functionals import N_FUNCTIONALS, Functionals
from affectd.recognition.baseline import Baseline, Learned, Placed
from affectd.recognition.classifier import Classifier, softmax
from affectd.recognition.description import describe
from affectd.recognition.golden import self_test
from affectd.recognition.model_file import ModelFile, find_model, model_id, read_model, write_model
from affectd.recognition.voice import Voice
from tiny_model import layered_model, resealed

EASY = {"same_scatter": 1e4, "other_scatter": 1e5, "far_voice": 1e6}  # every place is of one voice
BELIEVING = layered_model(spec=EASY)
assert BELIEVING.voice is not None
VOICE: Voice = BELIEVING.voice
CEPSTRA = BELIEVING.golden["cepstra"]
FUNCTIONALS = Functionals(BELIEVING.spec)(CEPSTRA)


def doubting(share: float) -> ModelFile:
    """The model that leaves this share of the logits where the voice is not known."""
    spec = dataclasses.replace(VOICE.spec, stranger_share=share)
    return dataclasses.replace(BELIEVING, voice=dataclasses.replace(VOICE, spec=spec))


def at_place(model: ModelFile, seconds: float) -> tuple[np.ndarray, Placed]:
    """What is answered, and by what, once so much speech was heard that sounds as the mean of the training."""
    placed = Placed(Classifier(model), Learned(seconds, np.zeros(len(VOICE.start))))
    output = Classifier(model).embed(CEPSTRA)
    return placed.answer(output, lambda: (FUNCTIONALS, 1.0)), placed


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_a_stranger_gets_the_same_answer_less_sure(share: float) -> None:
    classifier = Classifier(doubting(share))
    logits = VOICE.cold(classifier.embed(CEPSTRA), FUNCTIONALS)
    expected = softmax(logits * np.float32(share), BELIEVING.temperature)
    np.testing.assert_allclose(classifier(CEPSTRA), expected, atol=1e-6)
    np.testing.assert_array_equal(Placed(classifier)(CEPSTRA), classifier(CEPSTRA))
    assert classifier.sure == pytest.approx(share)
    before = Classifier(BELIEVING)(CEPSTRA)
    assert classifier(CEPSTRA).argmax() == before.argmax()
    assert (classifier(CEPSTRA).max() < before.max()) == (share < 1)


def test_the_doubt_fades_as_the_voice_gets_known() -> None:
    seen = []
    for seconds in (0.0, 10.0, 30.0, 1e9):
        (plain, _), (doubted, placed) = (at_place(model, seconds) for model in (BELIEVING, doubting(0.5)))
        sure = 0.5 + 0.5 * placed.baseline.settled * placed.baseline.trust
        assert placed.sure == pytest.approx(sure, abs=1e-4)
        seen.append(placed.sure)
        expected = softmax(np.log(plain) * np.float32(sure), 1.0)  # logits, but for a number that all share
        np.testing.assert_allclose(doubted, expected, atol=1e-4)
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0.5, pytest.approx(1.0))


def test_what_sounds_like_noise_is_doubted_besides() -> None:
    speech = np.append(np.zeros(N_FUNCTIONALS), -1.0).astype(np.float16)  # all is noise
    model = doubting(0.8)
    assert model.voice is not None
    noisy = Classifier(dataclasses.replace(model, voice=dataclasses.replace(model.voice, speech=speech)))
    noisy(CEPSTRA)
    assert noisy.sure == pytest.approx(0.25 * 0.8)


def test_a_place_learns_the_same() -> None:
    both = [Baseline(VOICE.head, voice=model.voice) for model in (BELIEVING, doubting(0.5))]
    noted = VOICE.noted(Classifier(BELIEVING).embed(CEPSTRA), FUNCTIONALS, VOICE.of_stranger(FUNCTIONALS))
    assert all(one.learn(noted, speech_seconds=5, speech_ratio=1, at_hours=0) for one in both)
    np.testing.assert_array_equal(both[0].learned.offset, both[1].learned.offset)


def test_a_file_keeps_it_and_one_without_it_believes_strangers(tmp_path: Path) -> None:
    files = {share: tmp_path / f"{share}.tflite" for share in (0.5, 1.0)}
    for share, file in files.items():
        write_model(file, doubting(share))
        back = read_model(file)
        self_test(back, Classifier(back))
        assert back.voice is not None
        assert back.voice.spec.stranger_share == share
        with zipfile.ZipFile(file) as archive:
            numbers = json.loads(archive.read("spec.json"))["voice"]
        assert describe(file, Classifier(back))["voice"] == numbers
        assert numbers.get("stranger_share", 1.0) == share
        assert ("stranger_share" in numbers) == (share < 1)
    # As its temperature, it is no part of the network: what a device learned of its place stays.
    assert len({model_id(read_model(file)) for file in files.values()}) == 1


@pytest.mark.parametrize("share", [0.2, 1.5, "all"])
def test_an_impossible_share_is_named(share: float | str, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    write_model(path, doubting(0.5))
    with zipfile.ZipFile(path) as archive:
        spec = json.loads(archive.read("spec.json"))
    spec["voice"]["stranger_share"] = share
    path.write_bytes(resealed(path, {"spec.json": json.dumps(spec).encode()}))
    with pytest.raises(ModelFileError, match=r"voice\.stranger_share: expected a number from 0\.25 to 1, found"):
        read_model(path)


def test_the_packaged_files_doubt_strangers() -> None:
    for model in (read_model(find_model()), read_model(Path(__file__).parents[3] / "models/affectd-commercial.tflite")):
        assert model.voice is not None
        assert 0.25 < model.voice.spec.stranger_share < 1
