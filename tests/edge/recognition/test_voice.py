"""Format 4 of the model file: beside the network's logits a head on functionals, believed where it is one voice."""

from __future__ import annotations

import dataclasses
import itertools
import json
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affectd.config.sections import Config
from affectd.errors import ModelFileError
from affectd.features.functionals import N_FUNCTIONALS, Functionals
from affectd.features.spec import FeatureSpec
from affectd.pipeline import run
from affectd.recognition.baseline import Baseline, Learned, Placed, head_of
from affectd.recognition.baseline_file import decode, encode
from affectd.recognition.classifier import Classifier, softmax
from affectd.recognition.description import describe
from affectd.recognition.golden import self_test
from affectd.recognition.model_file import ModelFile, model_id, read_model, write_model
from affectd.recognition.recording import classify_recording
from affectd.recognition.voice import Voice
from kept import Repeatable
from sounds import gain, silence, syllables
from tiny_model import (
    DATA,
    LABELS,
    VOICE,
    place_model,
    resealed,
    tiny_model,
    voice_model,
)

MODEL = voice_model()
assert MODEL.voice is not None
VOICES: Voice = MODEL.voice
SHORT = dataclasses.replace(
    place_model().head or VOICES.head, weights=np.ones((3, len(LABELS)), np.float32), bias=np.ones(3, np.float32)
)
TALK = np.concatenate([np.concatenate([gain(syllables(2, rate), -15), silence(1.5)]) for rate in (2.5, 4.0, 5.5, 3.0)])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "voice.tflite"
    write_model(path, MODEL)
    return path


def listen(blocks: list[np.ndarray], model: ModelFile = MODEL) -> tuple[Repeatable, Placed]:
    kept, placed = Repeatable(), Placed(Classifier(model))
    run(blocks, placed, kept, Config(), ended=placed.ended)
    return kept, placed


def utterances(spread: float, n: int, seed: int = 0) -> list[np.ndarray]:
    """Functionals of utterances whose deviation along the directions is `spread`."""
    random = np.random.default_rng(seed)
    along = np.linalg.pinv(VOICES.directions.astype(np.float64))  # (n_directions, N_FUNCTIONALS)
    return [VOICES.head.baseline + random.normal(0, spread, along.shape[0]) @ along for _ in range(n)]


def answered(placed: Placed, share: float = 1.0) -> np.ndarray:
    """What is answered to the golden cepstra in an utterance of its own, if this share of them were speech."""
    classifier, cepstra = Classifier(MODEL), MODEL.golden["cepstra"]
    placed.reset()
    return placed.answer(classifier.embed(cepstra), lambda: (classifier.functionals(cepstra), share))


def learned_from(said: list[np.ndarray], seconds: float = 5.0) -> Baseline:
    baseline = Baseline(VOICES.head, voice=VOICES)
    for i, one in enumerate(said):
        assert baseline.learn(one, speech_seconds=seconds, speech_ratio=0.9, at_hours=i / 1000)
    return baseline


def test_the_file_is_read_as_it_was_written_and_is_deflated(written: Path) -> None:
    back = read_model(written)
    assert back.voice is not None
    assert back.voice.spec == VOICES.spec
    assert back.voice.head.spec == VOICES.head.spec
    for name, array in VOICES.arrays().items():
        np.testing.assert_array_equal(back.voice.arrays()[name], array)
    assert back.head is None
    assert back.n_outputs == len(LABELS)
    with zipfile.ZipFile(written) as archive:
        assert json.loads(archive.read("spec.json"))["format"] == 4
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_DEFLATED}
    assert head_of(back).n_embedding == N_FUNCTIONALS


def test_another_voice_is_another_model() -> None:
    other = dataclasses.replace(VOICES.head, bias=VOICES.head.bias + np.float32(0.5))
    changed = dataclasses.replace(MODEL, voice=dataclasses.replace(VOICES, head=other))
    assert len({model_id(MODEL), model_id(changed), model_id(tiny_model())}) == 3


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("voice.network_share: expected a number from 0 to 1, found 1.5", {"network_share": 1.5}),
        ("voice.network_share: expected a number from 0 to 1, found NaN", {"network_share": float("nan")}),
        ("voice.same_scatter: expected a number from 0.001", {"same_scatter": 0}),
        ("voice.other_scatter: expected more than same_scatter", {"other_scatter": 1.0}),
        ("voice.far_voice: expected a number from 0.001", {"far_voice": "far"}),
        ("voice: expected an object with network_share", {"near_voice": 1.0}),
    ],
)
def test_an_impossible_number_is_named(message: str, changes: dict[str, Any], written: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(written) as archive:
        spec = json.loads(archive.read("spec.json"))
    spec["voice"] |= changes
    path = tmp_path / "model.tflite"
    path.write_bytes(resealed(written, {"spec.json": json.dumps(spec).encode()}))
    with pytest.raises(ModelFileError) as raised:
        read_model(path)
    assert message.lower() in str(raised.value).lower()


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("golden.directions", {"directions": np.zeros((N_FUNCTIONALS, 0), np.float32)}),
        ("golden.directions", {"directions": np.zeros((3, 2), np.float32)}),
        ("golden.directions", {"directions": np.full((N_FUNCTIONALS, 2), np.nan, np.float32)}),
        ("golden.weights", {"head": SHORT}),
    ],
    ids=["none", "short", "nan", "head"],
)
def test_impossible_arrays_are_named(message: str, change: dict[str, Any]) -> None:
    with pytest.raises(ModelFileError, match=f"^{message}: expected"):
        dataclasses.replace(MODEL, voice=dataclasses.replace(VOICES, **change))


@pytest.mark.parametrize(
    ("field", "spec"),
    [
        ("features.log", FeatureSpec(log="natural")),
        ("features.lifter", FeatureSpec(lifter=22)),
        ("features.fmin", FeatureSpec(fmin=300.0)),
        ("features.energy", FeatureSpec(energy=True)),
        ("features.n_mels", FeatureSpec(fmax=200.0)),
    ],
)
def test_cepstra_of_another_kind_are_refused(field: str, spec: FeatureSpec) -> None:
    with pytest.raises(ModelFileError, match=f"^{field}: expected .* with a voice"):
        dataclasses.replace(MODEL, spec=spec)


def test_a_head_beside_a_voice_is_refused() -> None:
    with pytest.raises(ModelFileError, match=r"^voice: expected none beside a head"):
        dataclasses.replace(MODEL, head=SHORT)


def test_the_self_test_finds_another_head_and_other_functionals() -> None:
    classifier = Classifier(MODEL)
    assert self_test(MODEL, classifier)["functionals_difference"] == 0
    head = dataclasses.replace(VOICES.head, bias=VOICES.head.bias + np.float32(0.01))
    golden = {**MODEL.golden, "functionals": MODEL.golden["functionals"] + np.float32(2.0)}
    for message, change in (
        ("logits", {"voice": dataclasses.replace(VOICES, head=head)}),
        ("functionals", {"golden": golden}),
    ):
        with pytest.raises(ModelFileError, match=f"^golden.{message}: expected within"):
            self_test(dataclasses.replace(MODEL, **change), classifier)


def test_a_device_that_knows_nothing_answers_as_the_network_to_the_last_bit() -> None:
    alone, kept = Repeatable(), Repeatable()
    run([TALK], Classifier(tiny_model()), alone, Config())
    placed = Placed(Classifier(MODEL))
    run([TALK], placed, kept, Config())  # of which nothing is learned
    without_id = [{key: value for key, value in event.items() if key != "model"} for event in alone]
    assert [{key: value for key, value in event.items() if key != "model"} for event in kept] == without_id != []
    assert classify_recording([TALK], Classifier(MODEL), Config()) == classify_recording(
        [TALK], Classifier(tiny_model()), Config()
    )


def test_what_is_known_is_added_to_the_network() -> None:
    classifier = Classifier(MODEL)
    placed = Placed(classifier, learned_from(utterances(0.1, 20)).learned)
    placed.baseline.voice = dataclasses.replace(VOICES, spec=dataclasses.replace(VOICES.spec, far_voice=1e6))
    cepstra = MODEL.golden["cepstra"]
    functionals = Functionals(MODEL.spec)(cepstra)
    known, value = placed.baseline.settled * placed.baseline.trust, placed.baseline.value.astype(np.float64)
    assert known == pytest.approx(100 / 120, rel=1e-3)  # some of it is half a minute old
    head = (functionals - value) @ VOICES.head.weights.astype(np.float64) + VOICES.head.bias
    logits = classifier.embed(cepstra) * (1 - known / 2) + known * head
    np.testing.assert_allclose(answered(placed), softmax(logits.astype(np.float32), MODEL.temperature), rtol=1e-4)


@pytest.mark.parametrize("reason", ["many voices", "a passenger"])
def test_many_voices_and_a_passenger_are_answered_by_the_network(reason: str) -> None:
    far = 1e6 if reason == "many voices" else 1e-3
    voice = dataclasses.replace(VOICES, spec=dataclasses.replace(VOICES.spec, far_voice=far))
    classifier = Classifier(MODEL)
    cepstra = MODEL.golden["cepstra"]
    expected = classifier(cepstra)
    placed = Placed(classifier, learned_from(utterances(2.5 if reason == "many voices" else 0.1, 40)).learned)
    baseline = placed.baseline
    baseline.voice = voice
    assert baseline.settled > 0.8
    np.testing.assert_array_equal(answered(placed), expected)
    baseline.voice = dataclasses.replace(
        VOICES, spec=dataclasses.replace(VOICES.spec, far_voice=1e6, other_scatter=1e6)
    )
    assert (answered(placed) != expected).any()


def test_of_a_few_frames_of_speech_a_known_voice_is_answered_as_any_other() -> None:
    placed = Placed(Classifier(MODEL), learned_from(utterances(0.1, 20)).learned)
    placed.baseline.voice = dataclasses.replace(VOICES, spec=dataclasses.replace(VOICES.spec, far_voice=1e6))
    cold, known = np.log(Classifier(MODEL)(MODEL.golden["cepstra"])), np.log(answered(placed))
    assert abs(known - cold).max() > 0.01
    for share, believed in ((0.0, 0.0), (0.106, 0.0), (0.1595, 0.5), (0.213, 1.0)):
        logits = cold + believed * (known - cold)
        expected = logits - np.log(np.exp(logits).sum())
        np.testing.assert_allclose(np.log(answered(placed, share)), expected, atol=1e-4)


def test_one_voice_is_trusted_and_many_are_not() -> None:
    one, many = learned_from(utterances(0.7, 40)), learned_from(utterances(2.5, 40))
    assert one.trust == 1.0
    assert many.trust == 0.0
    assert one.settled == many.settled > 0.8
    assert 0.3 < learned_from(utterances(np.sqrt(1.5), 400)).trust < 0.7


def test_the_scatter_tends_to_the_variance_from_half_way_between_one_voice_and_many() -> None:
    said = utterances(1.3, 600)
    expected = float((np.array(said) @ VOICES.directions).var(0).mean())
    spec = dataclasses.replace(VOICES.head.spec, half_life_hours=1e6)
    voice = dataclasses.replace(VOICES, head=dataclasses.replace(VOICES.head, spec=spec))
    baseline = Baseline(voice.head, voice=voice)
    for number, one in enumerate(said):
        baseline.learn(one, speech_seconds=3.0, speech_ratio=0.9, at_hours=0.0)
        if not number:
            assert baseline.learned.scatter == VOICES.spec.middle_scatter
            assert baseline.trust == 0.5
    assert baseline.learned.scatter == pytest.approx(expected, rel=0.03)


def test_short_utterances_tell_as_much_as_long_ones() -> None:
    for seconds in (0.5, 6.0):
        assert learned_from(utterances(0.6, 60), seconds).trust > 0.9
        assert learned_from(utterances(2.5, 60), seconds).trust == 0.0


def test_after_long_nothing_is_believed_again() -> None:
    baseline = learned_from(utterances(0.3, 60))
    assert baseline.trust > 0.9
    said = utterances(0.3, 1, seed=5)[0]
    baseline.learn(said, speech_seconds=3.0, speech_ratio=0.9, at_hours=1e4)
    assert baseline.trust == pytest.approx(0.5, abs=0.05)


def test_one_utterance_says_nothing_of_how_they_differ() -> None:
    assert learned_from(utterances(0.1, 1), seconds=60.0).trust == pytest.approx(0.5)
    # On the average many voices are not taken for one, however few were heard.
    few = [learned_from(utterances(np.sqrt(2.0), 3, seed), seconds=60.0).trust for seed in range(200)]
    assert np.mean(few) < 0.5


def test_a_passenger_is_not_measured_by_the_driver() -> None:
    baseline = learned_from(utterances(0.3, 40))
    driver, passenger = utterances(0.3, 1, seed=9)[0], utterances(5.0, 1, seed=8)[0]
    assert baseline.near(driver) == 1.0
    assert baseline.near(passenger) == 0.0
    edge = VOICES.head.baseline + baseline.learned.offset
    assert VOICES.distance(edge, edge) == 0


@settings(max_examples=8)
@given(sizes=st.lists(st.integers(0, 9000), min_size=1, max_size=12).filter(any))
def test_events_and_what_is_learned_are_the_same_in_blocks_of_any_size(sizes: list[int]) -> None:
    expected, whole = listen([TALK])
    edges = itertools.accumulate(itertools.cycle(sizes))
    kept, cut = listen(np.split(TALK, list(itertools.takewhile(lambda edge: edge < len(TALK), edges))))
    assert kept == expected != []
    assert cut.baseline.learned.seconds == whole.baseline.learned.seconds > 1
    assert cut.baseline.learned.scatter == whole.baseline.learned.scatter > 0
    assert cut.baseline.value.tobytes() == whole.baseline.value.tobytes() != cut.baseline.head.baseline.tobytes()


def test_what_was_learned_is_kept_with_its_scatter() -> None:
    known = learned_from(utterances(1.0, 10)).learned
    back = decode(encode(known, "kitchen", MODEL), "kitchen", MODEL)
    assert back.scatter == pytest.approx(known.scatter, abs=1e-4)
    np.testing.assert_allclose(back.offset, known.offset, atol=2e-3 * np.abs(known.offset).max())
    with pytest.raises(ValueError, match="impossible"):
        decode(encode(dataclasses.replace(known, scatter=-1.0), "kitchen", MODEL), "kitchen", MODEL)
    place = place_model()
    assert place.head is not None
    plain = encode(Learned(1.0, np.zeros(place.head.n_embedding)), "kitchen", place)
    assert "scatter" not in json.loads(plain)


def test_each_recording_of_one_place_begins_anew() -> None:
    placed = Placed(Classifier(MODEL))
    for _ in range(3):
        found = classify_recording([TALK], placed, Config())
        frames = round(found.speech_seconds * MODEL.spec.frame_rate)
        assert placed.ended(SimpleNamespace(end_seconds=0.0, speech_frames=frames, speech_ratio=1.0))
    first = classify_recording([TALK], placed, Config())
    placed.reset()
    assert classify_recording([TALK], placed, Config()) == first


def test_the_description_has_the_voice(written: Path) -> None:
    description = describe(written, Classifier(MODEL))
    assert description["voice"] == VOICE
    assert description["baseline"]["prior_seconds"] == VOICES.head.spec.prior_seconds
    assert (DATA / "tiny.tflite").read_bytes() == MODEL.tflite
