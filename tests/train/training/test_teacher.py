"""The teacher judges voices that it was not trained on, and what it is shown of log-mel clips is what they hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import keras
import librosa
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sklearn.linear_model import LogisticRegression

from affectd.features.spec import FeatureSpec
from affectd_train.augmentation.waveform import Augmenter
from affectd_train.data.clips import Clip
from affectd_train.data.corpora import read_corpus
from affectd_train.data.everyday_speech import everyday_recordings
from affectd_train.data.recordings import load_audio
from affectd_train.training.network import build_network, deployed, loss
from affectd_train.training.teacher import LAYERS, Basis, embeddings, fit_linear, invert, soft_targets


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file like the real encoder's: its three layers give one, two and three times steps of 416 samples."""
    width = helper.make_tensor("width", TensorProto.INT64, [3], [1, -1, 416])
    size = [helper.make_tensor(name, TensorProto.INT64, [1], [value]) for name, value in (("from", 0), ("axis", 1))]
    whole = helper.make_tensor("whole", TensorProto.INT64, [1], [416 * 20])
    factors = [helper.make_tensor(f"factor{i}", TensorProto.FLOAT, [], [float(i)]) for i in (1, 2, 3)]
    nodes = [
        helper.make_node("Slice", ["input_values", "from", "whole", "axis"], ["cut"]),
        helper.make_node("Reshape", ["cut", "width"], ["steps"]),
        *(helper.make_node("Mul", ["steps", f"factor{i}"], [LAYERS[i - 1]]) for i in (1, 2, 3)),
        helper.make_node("Relu", [LAYERS[2]], ["last_hidden_state"]),
    ]
    sound = helper.make_tensor_value_info("input_values", TensorProto.FLOAT, ["batch", "n_samples"])
    last = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "encoder", [sound], [last], [width, *size, whole, *factors])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path_factory.mktemp("encoder") / "encoder_model.onnx"
    onnx.save(model, path)
    return path


def test_an_inverted_spectrogram_has_that_spectrogram(speech_data: Path) -> None:
    samples = load_audio(read_corpus("emodb", speech_data / "emodb").clips[0], 16000)[:32000]

    def logmel(sound: np.ndarray) -> np.ndarray:
        power = librosa.feature.melspectrogram(y=sound, sr=16000, n_fft=1024, hop_length=256, n_mels=128)
        return librosa.power_to_db(power, ref=np.max, top_db=80).T

    bands = logmel(samples)
    again = logmel(invert(bands))
    loud = bands > -40
    assert np.abs(again[: len(bands)] - bands)[loud].mean() < 2.0


def test_embeddings_are_means_and_deviations_of_the_layers(speech_data: Path, encoder: Path, tmp_path: Path) -> None:
    clips = read_corpus("emodb", speech_data / "emodb").clips[:3]
    x = embeddings(clips, FeatureSpec(), encoder, tmp_path)
    assert x.shape == (3, 3 * 832)
    first, second, third = np.split(x, 3, axis=1)
    np.testing.assert_allclose(second, 2 * first, rtol=0.01, atol=1e-4)
    np.testing.assert_allclose(third, 3 * first, rtol=0.01, atol=1e-4)
    samples = load_audio(clips[0], 16000)
    # The loudest sample of a clip is brought to 0.5, so louder recordings have the same embedding.
    assert np.abs(first[0, :416]).max() < 0.5
    assert first[0, 416:].std() > 0
    assert len(samples) > 416
    files = list(tmp_path.glob("embeddings-emodb-*.npz"))
    assert len(files) == 1
    before = files[0].stat().st_mtime_ns
    np.testing.assert_array_equal(embeddings(clips, FeatureSpec(), encoder, tmp_path), x)
    assert files[0].stat().st_mtime_ns == before
    copies = embeddings(clips, FeatureSpec(), encoder, tmp_path, Augmenter(None, None), 1)
    assert (copies != x).any(1).all()


def test_a_clip_that_cannot_be_decoded_has_no_embedding(encoder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    clip = Clip(path=broken, corpus="emodb", speaker="emodb-03", emotion="sad", gender="male", text="a")
    assert np.isnan(embeddings([clip], FeatureSpec(), encoder, tmp_path / "cache")).all()


def test_a_missing_encoder_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "affectd_train.cli", "fit", "--data", str(tmp_path), "--teacher", "nowhere.onnx"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 66
    assert done.stderr.splitlines()[-1].startswith("affectd-train: nowhere.onnx: no such file")


def test_the_classifier_is_scikit_learns(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = rng.integers(0, 4, 400)
    z = (rng.normal(size=(400, 6)) + labels[:, None] * rng.normal(size=6)).astype(np.float32)
    monkeypatch.setattr("affectd_train.training.teacher.L2", 10.0)
    ours = fit_linear(z, labels, 4, np.ones(400, np.float32))
    theirs = LogisticRegression(C=0.1, tol=1e-8, max_iter=1000).fit(z, labels)
    logits = z @ ours[:-1] + ours[-1]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(probabilities, theirs.predict_proba(z), atol=5e-3)


def test_a_label_that_no_clip_has_is_never_guessed(rng: np.random.Generator) -> None:
    labels = rng.integers(0, 2, 200)
    x = (rng.normal(size=(200, 8)) + np.eye(8)[labels] * 3).astype(np.float32)
    speakers = [f"speaker-{i % 10}" for i in range(200)]
    judged = soft_targets(x, Basis.of(x), labels, 3, np.ones(200, np.float32), speakers)
    assert judged.probabilities[:, 2].max() < 0.05
    np.testing.assert_allclose(judged.probabilities.sum(1), 1, atol=1e-5)


def test_no_clip_is_judged_by_a_classifier_that_knows_its_voice(rng: np.random.Generator) -> None:
    # Everyone has a voice, and each voice one label at random: who knows the voices is always right.
    n_speakers, n_each = 100, 4
    voice = rng.normal(size=(n_speakers, 60)) * 3
    labels = np.repeat(rng.integers(0, 2, n_speakers), n_each)
    x = (np.repeat(voice, n_each, axis=0) + 0.1 * rng.normal(size=(n_speakers * n_each, 60))).astype(np.float32)
    speakers = [f"speaker-{i // n_each}" for i in range(len(x))]
    weights = np.ones(len(x), np.float32)
    judged = soft_targets(x, Basis.of(x), labels, 2, weights, speakers)
    right = judged.probabilities.argmax(1) == labels
    assert 0.3 < right.mean() < 0.7
    z = Basis.of(x)(x)
    known = fit_linear(z, labels, 2, weights)
    assert ((z @ known[:-1] + known[-1]).argmax(1) == labels).mean() > 0.75


def test_what_weighs_nothing_is_judged_and_teaches_nothing(rng: np.random.Generator) -> None:
    labels = rng.integers(0, 2, 200)
    x = (rng.normal(size=(200, 8)) + np.eye(8)[labels] * 3).astype(np.float32)
    speakers = [f"speaker-{i % 10}" for i in range(200)]
    alone = soft_targets(x, Basis.of(x), labels, 2, np.ones(200, np.float32), speakers)
    # Copies with wrong labels: a classifier that learned from them would answer otherwise.
    weights = np.repeat(np.array([1, 0], np.float32), 200)
    both = soft_targets(
        np.concatenate([x, x]), Basis.of(x), np.concatenate([labels, 1 - labels]), 2, weights, speakers * 2
    )
    np.testing.assert_allclose(both.probabilities, np.tile(alone.probabilities, (2, 1)), atol=1e-3)


def test_hints_are_uncorrelated_and_of_equal_size(rng: np.random.Generator) -> None:
    x = (rng.normal(size=(500, 4)) @ rng.normal(size=(4, 30))).astype(np.float32) + rng.normal(
        size=(500, 30), scale=0.1
    ).astype(np.float32)
    judged = soft_targets(
        x, Basis.of(x), rng.integers(0, 2, 500), 2, np.ones(500, np.float32),
        [str(i % 10) for i in range(500)],
    )  # fmt: skip
    np.testing.assert_allclose(np.cov(judged.hints.T), np.eye(judged.hints.shape[1]), atol=0.05)


def test_the_loss_counts_hints_only_where_they_are_known() -> None:
    target = np.array([[1, 0, 0.5, 0.5, 1], [1, 0, 0.0, 0.0, 0]], np.float32)  # two labels, two hints
    output = np.array([[2, 1, 1.5, 0.5], [2, 1, 9, 9]], np.float32)
    both = np.asarray(loss(2, 2, 0, 3.0, 1.0)(target, output))
    plain = np.log(1 + np.exp(-1.0))  # the first label leads by 1
    np.testing.assert_allclose(both - plain, [3.0 * 0.5, 0.0], atol=1e-6)


def test_the_loss_counts_hints_of_frames_only_where_they_are_known() -> None:
    # Two labels, one hint of the clip, two steps with two hints each, of which the first is unknown in the second clip.
    clip = [1, 0, 0.25, 1]
    target = np.array([[*clip, 1, 2, 1, 3, 4, 1], [*clip, 0, 0, 0, 3, 4, 1], [*clip, 0, 0, 0, 0, 0, 0]], np.float32)
    output = np.array([[0, 0, 0.25, 1, 4, 3, 4]] * 3, np.float32)  # wrong by 2 in one hint of the first step
    with_frames = np.asarray(loss(2, 1, 2, 1.0, 6.0)(target, output))
    np.testing.assert_allclose(with_frames - np.log(2), [6.0 * 2 / 3, 0.0, 0.0], atol=1e-6)


def test_the_device_gets_the_logits_alone() -> None:
    network = build_network(188, 40, 8, n_hints=5, n_frame_hints=3)
    assert network.output_shape == (None, 8 + 5 + 47 * 3)
    x = np.random.default_rng(0).normal(size=(2, 188, 40)).astype(np.float32)
    np.testing.assert_allclose(
        np.asarray(deployed(network)(x)), np.asarray(network(x))[:, :8], atol=1e-6
    )  # fmt: skip
    assert deployed(network).count_params() == build_network(188, 40, 8).count_params()


def test_fitting_with_a_teacher(encoder: Path, tmp_path: Path, speech_data: Path) -> None:
    data = tmp_path / "data"
    folder = data / "emodb" / "wav"
    folder.mkdir(parents=True)
    for clip in read_corpus("emodb", speech_data / "emodb").clips[::12]:
        (folder / clip.path.name).symlink_to(clip.path)
    (data / "speech").mkdir()
    for recording in everyday_recordings(speech_data / "speech")[:4]:
        (data / "speech" / recording.name).symlink_to(recording)
    out = tmp_path / "run"
    lengths = ("pretrain_steps=6", "finetune_steps=6", "save_every=3", "batch_size=8", "augmented_copies=0")
    command = [sys.executable, "-m", "affectd_train.cli", "fit", "--data", str(data), "--out", str(out)]
    command += ["--cache", str(tmp_path / "cache"), "--teacher", str(encoder)]
    command += [word for length in lengths for word in ("--set", length)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert keras.models.load_model(out / "float.keras", compile=False).output_shape == (None, 6)
    assert not list(out.glob("whole*.keras"))
    assert len(list((tmp_path / "cache").glob("frames-emodb-*.npz"))) == 1
    assert str(encoder) not in (out / "fit.json").read_text()
