"""A network that gives an embedding, from fit to the device: what the recipe changes, and what it leaves alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import tiny_corpora
from affectd.config.sections import Config
from affectd.recognition.baseline import Placed
from affectd.recognition.classifier import Classifier, softmax
from affectd.recognition.golden import self_test
from affectd.recognition.model_file import ModelFile, read_model
from affectd.recognition.recording import classify_recording
from affectd_train.backend import load_network
from affectd_train.data.corpora import read_clips
from affectd_train.evaluation.predictions import predict
from affectd_train.export.pack import pack
from affectd_train.export.quantize import quantize, representative
from affectd_train.training.fit import fit
from affectd_train.training.network import build_network, deployed
from affectd_train.training.recipe import Recipe, options_of, with_settings
from affectd_train.training.start import agreement, in_float

N_EMBEDDING = 24
RECIPE = Recipe(
    n_embedding=N_EMBEDDING,
    pretrain_steps=0,
    finetune_steps=20,
    batch_size=16,
    augmented_copies=0,
    corpora=("ravdess",),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    tiny_corpora.ravdess(root)
    return root


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    fit(read_clips(data, ["ravdess"]), RECIPE, data, folder / "run", folder / "cache", frozenset({"ravdess-03"}))
    quantize(folder / "run")
    pack(folder / "run", folder / "run" / "affectd.tflite", {"protocol": "a test"})
    return folder / "run"


@pytest.fixture(scope="module")
def model(run: Path) -> ModelFile:
    return read_model(run / "affectd.tflite")


def test_training_can_start_from_it(run: Path, model: ModelFile) -> None:
    contexts = contexts_of(run, model)
    assert agreement(in_float(model, contexts), model, contexts) > 0.99


def contexts_of(run: Path, model: ModelFile) -> np.ndarray:
    return representative(run / "representative.npy", (model.n_frames, model.spec.n_mfcc))


def test_the_file_is_of_format_2_and_replays_itself(run: Path, model: ModelFile) -> None:
    assert model.head is not None
    assert model.n_outputs == model.head.n_embedding == N_EMBEDDING
    assert len(model.labels) == 8
    assert model.card["training"]["recipe"]["n_embedding"] == N_EMBEDDING
    assert self_test(model, Classifier(model))["logits_difference"] == 0


def test_it_answers_as_the_float_network_does(run: Path, model: ModelFile) -> None:
    network, classifier = load_network(run / "float.keras", ""), Classifier(model)
    contexts = contexts_of(run, model)[::8]
    wanted = softmax(network.predict(contexts, verbose=0))
    answers = np.stack([classifier(context * model.std + model.mean) for context in contexts])
    assert np.abs(answers - wanted).max() < 0.1
    assert np.abs(answers - wanted).mean() < 0.02
    assert wanted.std(0).max() > 0.02  # it has learned something to compare


def test_the_baseline_starts_at_the_mean_of_what_the_device_computes(run: Path, model: ModelFile) -> None:
    classifier, head = Classifier(model), model.head
    assert head is not None
    heard = np.stack([classifier.embed(c * model.std + model.mean) for c in contexts_of(run, model)])
    np.testing.assert_allclose(head.baseline, heard.mean(0, dtype=float), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(head.spread, np.maximum(heard.std(0, dtype=float), 1e-3), rtol=1e-3)
    assert np.mean([head.distance(embedding) ** 2 for embedding in heard]) == pytest.approx(1, abs=0.1)
    layer = load_network(run / "float.keras", "").get_layer("logits")
    weights, bias = layer.get_weights()
    np.testing.assert_allclose(head.logits(heard[0], head.baseline), heard[0] @ weights + bias, atol=1e-4)


def test_it_is_evaluated_by_the_code_of_the_device(data: Path, run: Path) -> None:
    clips = [clip for clip in read_clips(data, ["ravdess"]) if clip.speaker == "ravdess-03"][:4]
    predictions = predict(run / "affectd.tflite", run / "float.keras", clips, "a test")
    assert len(predictions) == 4
    for prediction in predictions:
        assert prediction["int8"].keys() == prediction["float"].keys() != set()
        assert sum(prediction["int8"].values()) == pytest.approx(1, abs=1e-3)
        for label, probability in prediction["int8"].items():
            assert probability == pytest.approx(prediction["float"][label], abs=0.1)


def test_the_device_runs_it_and_gets_to_know_its_place(
    run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    recording = next(iter(sorted((data / "ravdess" / "Actor_03").iterdir())))

    def affectd(*arguments: object) -> dict[str, object]:
        command = [sys.executable, "-m", "affectd", *map(str, arguments), "--model", str(run / "affectd.tflite")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found: dict[str, object] = json.loads(done.stdout)
        return found

    described = affectd("model", "--self-test")
    assert described["output"] == [1, N_EMBEDDING]
    assert affectd("classify", recording)["label"] in described["labels"]  # type: ignore[operator]
    assert affectd("baseline", "--json")["settled"] == 0.0


def test_the_recipe_of_today_and_its_caches_stay_what_they_are() -> None:
    usual = Recipe().as_json()
    assert "n_embedding" not in usual
    assert Recipe(n_embedding=24).as_json() == usual | {"n_embedding": 24}
    shape = (60, 13, 4, 3, 2)
    keras.utils.clear_session()
    before = build_network(*shape).to_json()
    keras.utils.clear_session()
    assert build_network(*shape, 0).to_json() == before
    assert "embedding" not in before
    assert with_settings(Recipe(), ["n_embedding=128"]).n_embedding == 128
    assert options_of(Recipe(n_embedding=128).as_json()) == "--set n_embedding=128"
    assert options_of(usual) == ""


def test_logits_and_hints_are_computed_from_the_embedding() -> None:
    network = build_network(60, 13, 4, 3, 0, N_EMBEDDING)
    assert network.output_shape == (None, 7)
    assert network.get_layer("embedding").output.shape == (None, N_EMBEDDING)
    for name in ("logits", "hints"):
        assert network.get_layer(name).get_weights()[0].shape[0] == N_EMBEDDING
    assert deployed(network).output_shape == (None, 4)


def test_a_recording_is_classified_from_the_mean_of_the_training(model: ModelFile) -> None:
    """Until a place is known, the head's own baseline is the one in force."""
    sound = tiny_corpora.voice(400)
    classifier = Classifier(model)
    first = classify_recording([sound], classifier, Config())
    assert first == classify_recording([sound], Placed(classifier), Config())
    assert first.label in model.labels
