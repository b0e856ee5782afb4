"""Training that starts from a model file: its network in float answers as it does, and known labels keep their rows."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

import tiny_corpora
from affectd.errors import DataError, ModelFileError, UsageError
from affectd.features.mfcc import Mfcc
from affectd.recognition.classifier import Classifier
from affectd.recognition.golden import golden_vectors
from affectd.recognition.model_file import ModelFile, find_model, read_model, write_model
from affectd.recognition.offline import padded
from affectd.recognition.voice import without_voice
from affectd_train.cli import main
from affectd_train.data.clips import Clip
from affectd_train.data.corpora import read_corpus
from affectd_train.data.labels import CORPORA
from affectd_train.data.own import read_own_clips
from affectd_train.data.recordings import load_audio
from affectd_train.data.splits import leave_one_speaker_out, strangers_of
from affectd_train.data.terms import terms_of
from affectd_train.evaluation.unheard import unheard_by
from affectd_train.export.quantize import convert_int8
from affectd_train.protocols.sweep import held_back
from affectd_train.reports.model_card import started_from
from affectd_train.training import start
from affectd_train.training.heard import check_start, speakers_of
from affectd_train.training.network import build_network, deployed
from affectd_train.training.recipe import Recipe, options_of, with_own, with_settings, with_start
from tiny_model import tiny_model


@pytest.fixture(scope="module")
def model() -> ModelFile:
    return read_model(find_model())


@pytest.fixture(scope="module")
def contexts(model: ModelFile) -> np.ndarray:
    """Of real voices: (96, n_frames, n_columns), normalized as the file does."""
    folder = Path(os.environ.get("AFFECTD_DATA", Path(__file__).parents[4] / "shared/data")) / "ravdess"
    if not folder.is_dir():
        pytest.skip("no recordings of RAVDESS")
    mfcc, clips = Mfcc(model.spec), read_corpus("ravdess", folder).clips
    cepstra = []
    for clip in clips[:: len(clips) // 96][:96]:
        bands = mfcc.bands(mfcc.frames(load_audio(clip, model.spec.sample_rate)))
        cepstra.append(mfcc.cepstra(padded(bands, mfcc, model.n_frames)))
    return (np.stack(cepstra) - model.mean) / model.std


def test_the_network_in_float_answers_as_the_file_does(model: ModelFile, contexts: np.ndarray) -> None:
    network = start.in_float(model, contexts)
    classifier = Classifier(model)
    expected = np.stack([classifier.embed(context * model.std + model.mean) for context in contexts])
    logits = np.asarray(network(contexts))
    assert np.corrcoef(logits.ravel(), expected.ravel())[0, 1] > 0.99
    # Steps of the int8 logits are coarse: two labels may be equally likely.
    step = classifier._output_scale[0]
    best = expected[np.arange(len(expected)), logits.argmax(1)]
    assert np.mean(best >= expected.max(1) - 1.01 * step) >= 0.97


def test_normalization_by_what_is_heard_changes_nothing_at_the_start(model: ModelFile, contexts: np.ndarray) -> None:
    network = start.in_float(model, contexts)
    known = np.asarray(network(contexts, training=False))
    drops = [layer for layer in network.layers if "dropout" in layer.name]
    for layer in drops:
        layer.rate = 0.0
    assert np.corrcoef(np.asarray(network(contexts, training=True)).ravel(), known.ravel())[0, 1] > 0.99


def test_known_labels_keep_their_rows_and_others_begin_in_the_middle(model: ModelFile, contexts: np.ndarray) -> None:
    labels = ["happy", "sad", "tired"]
    network = build_network(model.n_frames, model.spec.n_columns, len(labels), n_hints=4)
    start.begin(network, model, labels, contexts)
    logits = np.asarray(deployed(network)(contexts))
    expected = np.asarray(start.in_float(model, contexts)(contexts))
    rows = [model.labels.index(label) for label in labels[:2]]
    np.testing.assert_allclose(logits[:, :2], expected[:, rows], atol=1e-4)
    np.testing.assert_allclose(logits[:, 2], expected.mean(1), atol=1e-4)


@pytest.fixture(scope="module", params=[("müde", "wach"), ("gereizt", "müde", "wach")], ids=["two", "three"])
def few(request: pytest.FixtureRequest, model: ModelFile, contexts: np.ndarray) -> ModelFile:
    """A model of few labels, whose last layer gives every logit twice: the shipped network with other last rows."""
    network = build_network(model.n_frames, model.spec.n_columns, len(request.param), n_hints=4)
    start.begin(network, model, request.param, contexts)
    kernel, bias = network.get_layer("logits").get_weights()
    other = np.random.default_rng(1).normal(0, np.abs(kernel).mean(), kernel.shape)
    network.get_layer("logits").set_weights([kernel + other, bias])
    tflite = convert_int8(deployed(network), contexts)
    model = without_voice(model)
    made = dataclasses.replace(model, tflite=tflite, labels=request.param, golden=blank_golden(model, len(bias)))
    return dataclasses.replace(made, golden=golden_vectors(model.golden["samples"], Classifier(made)))


def blank_golden(model: ModelFile, n_labels: int) -> dict[str, np.ndarray]:
    return {**model.golden, "output": np.zeros(n_labels, np.int8)}


def test_a_file_of_few_labels_is_a_start_too(few: ModelFile, contexts: np.ndarray, tmp_path: Path) -> None:
    write_model(tmp_path / "few.tflite", few)
    assert start.read_start(tmp_path / "few.tflite").labels == few.labels
    classifier = Classifier(few)
    expected = np.stack([classifier.embed(context * few.std + few.mean) for context in contexts])
    logits = np.asarray(start.in_float(few, contexts)(contexts))
    assert logits.shape == expected.shape
    assert np.corrcoef(logits.ravel(), expected.ravel())[0, 1] > 0.99

    labels = ["neu", few.labels[1]]
    network = build_network(few.n_frames, few.spec.n_columns, len(labels), n_hints=4)
    start.begin(network, few, labels, contexts)
    begun = np.asarray(deployed(network)(contexts))
    np.testing.assert_allclose(begun[:, 1], logits[:, 1], atol=1e-4)
    np.testing.assert_allclose(begun[:, 0], logits.mean(1), atol=1e-4)


def test_another_network_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "tiny.tflite", tiny_model())
    with pytest.raises(DataError, match=r"tiny\.tflite: its network has other layers than those"):
        start.read_start(tmp_path / "tiny.tflite")
    (tmp_path / "no.tflite").write_bytes(b"no model")
    with pytest.raises(ModelFileError):
        start.read_start(tmp_path / "no.tflite")


def test_the_recipe_takes_over_the_front_end_and_says_what_to_type(model: ModelFile) -> None:
    recipe = with_start(with_own(Recipe()), find_model(), model)
    assert (recipe.spec, recipe.n_frames, recipe.pretrain_steps) == (model.spec, model.n_frames, 0)
    assert len(recipe.as_json()["start"]) == 16
    assert "start" not in Recipe().as_json()
    assert options_of(recipe.as_json()) == "--start START.tflite"
    changed = with_settings(recipe, ["finetune_steps=7"])
    assert options_of(changed.as_json()) == "--start START.tflite --set finetune_steps=7"


def test_what_the_start_was_trained_on_was_heard_and_is_told(model: ModelFile) -> None:
    origin = start.origin(model)
    network = without_voice(model).card
    assert (origin["use"], origin["data"]) == (network["use"], network["data"])
    assert origin["use"].endswith(" and RAVDESS and TESS and TurEV-DB demand")
    assert {terms_of(corpus)[0] for corpus in model.card["training"]["clips"]} == {
        row["corpus"] for row in origin["data"]
    }
    card = {"training": {"clips": {"own": 3}, "start": origin}}
    made = dataclasses.replace(model, card=card)
    assert set(unheard_by(made)) == set(CORPORA) - {*model.card["training"]["clips"]}
    assert start.origin(made)["clips"] == {**model.card["training"]["clips"], "own": 3}
    assert origin["model"] in started_from(origin)


def test_who_trained_is_known_of_a_start_of_a_start(model: ModelFile, tmp_path: Path) -> None:
    first = dataclasses.replace(model, card={"training": {"clips": {"own": 3}, "speakers": ["own-a", "own-b"]}})
    training = {"clips": {"own": 4}, "speakers": ["own-b", "own-c"], "start": start.origin(first)}
    second = dataclasses.replace(model, card={"training": training})
    third = {"clips": {"own": 5}, "speakers": ["own-d"], "start": start.origin(second)}
    write_model(tmp_path / "third.tflite", dataclasses.replace(model, card={"training": third}))
    recordings = [Clip("own", Path(f"{who}.wav"), f"own-{who}", "", "sad", "") for who in "ae"]
    with pytest.raises(
        UsageError, match=r"third\.tflite was trained on own-a, who would be tested as strangers: train"
    ):
        check_start(str(tmp_path / "third.tflite"), strangers_of(leave_one_speaker_out(recordings)))
    check_start(str(tmp_path / "third.tflite"), strangers_of(leave_one_speaker_out(recordings)[1:]))
    with pytest.raises(UsageError, match="was trained on own-A, who"):  # as another table writes the same name
        check_start(str(tmp_path / "third.tflite"), ["own-A"])
    # What earlier versions wrote does not say who trained the first.
    del third["start"]["speakers"]
    assert speakers_of(dataclasses.replace(model, card={"training": third})) == {"own-d"}


@pytest.mark.parametrize("command", ["fit", "sweep that chooses by her", "sweep that holds her out"])
def test_who_trained_the_start_is_not_held_back_to_test(
    command: str, model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    table = ["file,emotion,speaker"]
    for who in range(1, 5):
        for label, hz in (("happy", 300.0), ("sad", 200.0)):
            for take in range(2):
                name = f"{label}-{who}-{take}.wav"
                tiny_corpora.write(Path("data") / name, tiny_corpora.voice(hz, seed=9 * who + take))
                table.append(f"{name},{label},{who}")
    Path("data/labels.csv").write_text("\n".join(table))
    clips = read_own_clips(Path("data"))
    (chosen, *_), (other, *_) = held_back(clips), sorted({clip.speaker for clip in clips} - held_back(clips))
    known = chosen if command == "sweep that chooses by her" else other
    training = {"clips": {"own": 8}, "speakers": [f"{known}.0"]}  # as pandas writes it
    write_model(Path("old.tflite"), dataclasses.replace(model, card={"training": training}))
    space = 'data = "data"\nstart = "old.tflite"\n{}[set]\nfinetune_rate = [0.01, 0.001]\nfinetune_steps = 1\n'
    held_out = "" if command == "sweep that chooses by her" else f'hold_out = ["{known}"]\n'
    Path("space.toml").write_text(space.format(held_out))
    fit = f"fit --data data --start old.tflite --set finetune_steps=1 --out out --hold-out {known}".split()
    assert main(fit if command == "fit" else ["sweep", "space.toml", "--out", "out"]) == 64
    said = capfd.readouterr().err.splitlines()[-1]
    assert said.startswith(f"affectd-train: old.tflite was trained on {known}, who would be tested as strangers")
    assert not Path("out").exists()
