"""Training on every kind of column: the rows that training sees are the device's, and the file that comes out runs."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tiny_corpora
from affectd.config.sections import GateConfig
from affectd.errors import DataError
from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec
from affectd.recognition.vad import band_level, trim
from affectd_train.cli import main
from affectd_train.data.corpora import read_corpus
from affectd_train.data.labels import LABELS
from affectd_train.export.pack import pack
from affectd_train.export.quantize import quantize
from affectd_train.training.bands import load_bands
from affectd_train.training.batches import Batches, normalization
from affectd_train.training.fit import fit
from affectd_train.training.recipe import Recipe

SPEC = FeatureSpec(n_mfcc=20, deltas="first", pitch="semitones", rms="decibel", zero_crossings="rate", chroma="power")
PATIENCE_SECONDS = 120

pytestmark = pytest.mark.usefixtures("small_network")


def device_rows(path: Path, spec: FeatureSpec = SPEC) -> np.ndarray:
    """The bands and further columns that the device computes of the speech in a recording."""
    features = Mfcc(spec)
    frames = features.frames(tiny_corpora.soundfile.read(path, dtype="float32")[0])
    span = trim(band_level(frames, spec.sample_rate), GateConfig(), spec.frame_rate)
    assert span is not None
    return features.bands(frames)[slice(*span)]


def test_training_and_device_have_the_same_rows(tmp_path: Path) -> None:
    tiny_corpora.emodb(tmp_path, speakers=("03",))
    clips = read_corpus("emodb", tmp_path / "emodb").clips
    store = load_bands(clips, SPEC, tmp_path / "cache")
    for i, clip in enumerate(store.clips):
        theirs = device_rows(clip.path)
        assert store[i].shape == theirs.shape == (len(theirs), SPEC.n_bands)
        further = slice(SPEC.n_mels, None)
        # In half precision, as all that training keeps.
        np.testing.assert_allclose(store[i][:, further], theirs[:, further], rtol=1e-3, atol=1e-3)
    batches = Batches(
        store=store,
        shares={"emodb": 1.0},
        labels=LABELS,
        noise=[store[0]],
        everyday=[store[1]],
        spec=SPEC,
        n_frames=64,
        normalization=normalization(store, SPEC, 64, 0),
        batch_size=40,
        label_smoothing=0.1,
        seed=0,
        has_noise_floor=True,
    )
    x, y = batches.draw(0)
    assert x.shape == (40, 64, SPEC.n_columns)
    assert len(y) == 40
    assert np.isfinite(x).all()
    contexts, _ = batches.contexts(0)
    pitch, chroma = contexts[:, :, SPEC.n_mels], contexts[:, :, -12:]
    lowest, highest = store.rows[:, SPEC.n_mels].min(), 12 * np.log2(SPEC.sample_rate / 32 / SPEC.pitch_fmin)
    assert pitch.min() >= lowest - 1e-3
    assert pitch.max() <= highest + 1e-2, "no noise, tone or mask reaches the further columns"
    assert 0 <= chroma.min() <= chroma.max() <= 1.001


@pytest.mark.parametrize("changes", [{"reference": "one", "energy": True}, {"energy": True, "top_db": None}])
def test_level_and_energy_are_trained_on_as_the_device_has_them(changes: dict[str, object], tmp_path: Path) -> None:
    spec = dataclasses.replace(FeatureSpec(n_mfcc=20, log_floor=1e-10), **changes)
    tiny_corpora.emodb(tmp_path, speakers=("03",))
    clips = read_corpus("emodb", tmp_path / "emodb").clips
    store = load_bands(clips, spec, tmp_path / "cache")
    for i, clip in enumerate(store.clips):
        # Cepstra of what is kept in half precision, and of the device's own bands.
        theirs = Mfcc(spec).cepstra(device_rows(clip.path, spec))
        np.testing.assert_allclose(Mfcc(spec).cepstra(store[i]), theirs, atol=0.3)


def test_clips_without_sound_have_no_further_columns(tmp_path: Path) -> None:
    tiny_corpora.cremad(tmp_path)
    clips = read_corpus("cremad", tmp_path / "cremad").clips[:2]
    with pytest.raises(DataError, match="pitch, rms, zero_crossings, chroma can be had from sound only"):
        load_bands(clips, SPEC, tmp_path)
    for changes in ({"hop_length": 512}, {"n_mels": 64}, {"reference": "one"}, {"energy": True}):
        (field,) = changes
        with pytest.raises(DataError, match=f"cremad is there as mel bands alone .*, and {field} can be had"):
            load_bands(clips, dataclasses.replace(FeatureSpec(), **changes), tmp_path)
    bands_alone = dataclasses.replace(FeatureSpec(), deltas="second", mel="log")
    assert load_bands(clips, bands_alone, tmp_path).rows.shape[1] == FeatureSpec().n_mels


def affectd(*words: object) -> str:
    command = [sys.executable, "-m", "affectd", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_network_trained_on_columns_runs_on_the_device(tmp_path: Path) -> None:
    tiny_corpora.ravdess(tmp_path, actors=(1,))
    tiny_corpora.emodb(tmp_path, speakers=("03",))
    corpora = ("ravdess", "emodb")
    clips = [clip for name in corpora for clip in read_corpus(name, tmp_path / name).clips]
    recipe = Recipe(
        spec=SPEC,
        n_frames=64,
        pretrain_frames=64,
        corpora=corpora,
        shares={"ravdess": 1.0, "emodb": 1.0},
        pretrain_steps=2,
        finetune_steps=2,
        batch_size=4,
        augmented_copies=0,
    )
    run = tmp_path / "run"
    fit(clips, recipe, tmp_path, run, tmp_path / "cache")
    quantize(run)
    model = pack(run, tmp_path / "columns.tflite", {})
    assert model.spec == SPEC
    described = json.loads(affectd("model", "--self-test", "--model", tmp_path / "columns.tflite"))
    assert described["columns"] == {"mfcc": 20, "delta": 20, "pitch": 1, "rms": 1, "zero_crossings": 1, "chroma": 12}
    heard = clips[0].path
    (answer,) = map(json.loads, affectd("classify", heard, "--model", tmp_path / "columns.tflite").splitlines())
    assert abs(sum(answer["probabilities"].values()) - 1) < 1e-2
    events = affectd("run", "--source", heard, "--model", tmp_path / "columns.tflite").splitlines()
    assert [json.loads(line)["phase"] for line in events][-1:] == ["end"]


RECIPE = """
n_frames = 40
pretrain_frames = 40
pretrain_steps = 0
finetune_steps = 0
batch_size = 4
augmented_copies = 0
[spec]
n_mfcc = 0
mel = "power"
n_mels = 32
hop_length = 512
reference = "one"
rms = "linear"
chroma = "magnitude"
"""


def test_a_recipe_file_with_columns_trains_and_tests_a_file_that_runs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data, recipe, run, model = (tmp_path / name for name in ("data", "mine.toml", "run", "mine.tflite"))
    tiny_corpora.emodb(data, speakers=("03", "08"))
    recipe.write_text(RECIPE)
    common = ["--data", str(data), "--recipe", str(recipe)]
    assert main(["fit", *common, "--out", str(run), "--cache", str(tmp_path / "cache")]) == 0
    assert main(["quantize", str(run)]) == 0
    assert main(["evaluate", *common, "--protocol", "emodb-loso", "--out", str(tmp_path / "loso")]) == 0
    assert main(["pack", str(run), "--evaluation", str(tmp_path / "loso"), "--out", str(model)]) == 0
    capfd.readouterr()
    described = json.loads(affectd("model", "--self-test", "--model", model))
    assert described["columns"] == {"mel": 32, "rms": 1, "chroma": 12}
    heard = next((data / "emodb").rglob("*.wav"))
    (answer,) = map(json.loads, affectd("classify", heard, "--model", model).splitlines())
    assert abs(sum(answer["probabilities"].values()) - 1) < 1e-2


def test_a_corpus_without_sound_is_refused_by_name_before_anything_is_computed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data, recipe = tmp_path / "data", tmp_path / "mine.toml"
    tiny_corpora.emodb(data, speakers=("03", "08"))
    tiny_corpora.cremad(data, n_actors=2)
    recipe.write_text(RECIPE)
    places = ["--out", str(tmp_path / "run"), "--cache", str(tmp_path / "cache")]
    assert main(["fit", "--data", str(data), "--recipe", str(recipe), *places]) == 65
    (*_, said) = capfd.readouterr().err.splitlines()
    assert said.startswith("affectd-train: cremad is there as mel bands alone (")
    assert "and rms, chroma, hop_length, n_mels, reference can be had from sound only: leave it out" in said
    assert not (tmp_path / "cache").exists()
