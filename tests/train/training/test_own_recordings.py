"""Training on recordings of one's own: the network tells the labels that are there, and corrected labels count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tiny_corpora
from affectd.errors import DataError, UsageError
from affectd_train.backend import keras
from affectd_train.data.clips import Clip
from affectd_train.data.own import read_own, read_own_clips
from affectd_train.training.bands import load_bands
from affectd_train.training.batches import normalization
from affectd_train.training.dataset import load_dataset
from affectd_train.training.distillation import TeacherOutputs
from affectd_train.training.fit import batches_of, claim, fit, phases, pretraining_key
from affectd_train.training.recipe import Recipe, with_own

RECIPE = with_own(Recipe(augmented_copies=0, batch_size=32))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for i, label in enumerate(("müde", "stressed", "Freude")):
        for take in range(5):
            tiny_corpora.write(tmp_path / "data" / label / f"{take}.wav", tiny_corpora.voice(150 * 1.5**i, seed=take))
    (tmp_path / "words.txt").write_text("tired: müde\nstressed\nhappy\n", "utf-8")
    return tmp_path / "data"


def test_a_network_of_ones_own_labels(data: Path, tmp_path: Path) -> None:
    clips = read_own_clips(data, tmp_path / "words.txt")
    dataset = load_dataset(clips, RECIPE, data, tmp_path / "cache", frozenset())
    assert dataset.labels == ["happy", "stressed", "tired"]
    first, second = phases(RECIPE, list(dataset.stores))
    assert list(first.shares) == list(second.shares) == ["own"]
    store = dataset.join(second.shares)
    mean_std = normalization(store, RECIPE.spec, second.n_frames, 0)
    _, targets = batches_of(second, store, mean_std, dataset, TeacherOutputs(), RECIPE).draw(0)
    assert targets.shape == (32, 3)
    assert set(np.argmax(targets, axis=1)) == {0, 1, 2}


@pytest.mark.parametrize(("corpus", "recipe"), [("own", RECIPE), ("emodb", Recipe(augmented_copies=0))])
def test_corrected_labels_are_trained_on(data: Path, tmp_path: Path, corpus: str, recipe: Recipe) -> None:
    network = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1, name="logits")])
    clips = [replace(clip, corpus=corpus) for clip in read_own(data, tmp_path / "words.txt").clips]
    other = {"tired": "stressed", "stressed": "tired", "happy": "happy"}
    corrected = [replace(clip, emotion=other[clip.emotion]) for clip in clips]  # as many of each, of the same files

    def key(clips: list[Clip]) -> str:
        dataset = load_dataset(clips, recipe, data, tmp_path / "cache", frozenset())
        return pretraining_key(recipe, dataset, dataset.stores[corpus], network)

    assert key(clips) == key(clips) != key(corrected)


def test_a_run_of_other_labels_is_not_taken_for_this_one(data: Path, tmp_path: Path) -> None:
    clips = read_own(data, tmp_path / "words.txt").clips
    claim(tmp_path / "run", clips, RECIPE, tmp_path, frozenset())
    (tmp_path / "run/float.keras").touch()
    claim(tmp_path / "run", clips, RECIPE, tmp_path, frozenset())
    renamed = [replace(clip, emotion="weary" if clip.emotion == "tired" else clip.emotion) for clip in clips]
    with pytest.raises(UsageError, match=r"holds a run with labels \['happy', 'stressed', 'tired'\], now \['happy'"):
        claim(tmp_path / "run", renamed, RECIPE, tmp_path, frozenset())


def test_a_run_of_a_recording_that_was_replaced_is_not_taken_for_this_one(tmp_path: Path) -> None:
    tiny_corpora.own(tmp_path / "data")
    clips = read_own(tmp_path / "data").clips
    claim(tmp_path / "run", clips, RECIPE, tmp_path, frozenset())
    (tmp_path / "run/float.keras").touch()
    tiny_corpora.write(clips[0].path, tiny_corpora.voice(333, seed=99))
    with pytest.raises(UsageError, match="holds a run with content of recordings"):
        claim(tmp_path / "run", read_own(tmp_path / "data").clips, RECIPE, tmp_path, frozenset())


def test_parts_of_a_file_have_bands_of_their_own(tmp_path: Path) -> None:
    data = tmp_path / "data"
    tiny_corpora.write(data / "a.wav", tiny_corpora.voice(200, 4))
    (data / "labels.csv").write_text("file,emotion,start,end\na.wav,sad,0,1\na.wav,sad,1,3.5\n")
    clips = read_own(data).clips
    store = load_bands(clips, RECIPE.spec, tmp_path)
    first, second = store.ends - store.starts
    assert first < 70 < second < 160  # 16 ms each
    other = load_bands([replace(clip, end_seconds=clip.start_seconds + 0.5) for clip in clips], RECIPE.spec, tmp_path)
    assert max(other.ends - other.starts) < 35


def test_a_recording_shorter_than_a_frame_is_left_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    for name, seconds in (("long", 0.5), ("short", 0.12)):
        tiny_corpora.write(data / "sad" / f"{name}.wav", tiny_corpora.voice(200, seconds))
    spec = replace(RECIPE.spec, n_fft=4096, window_length=4096, center=False)
    store = load_bands(read_own(data).clips, spec, tmp_path / "cache")
    assert [clip.path.stem for clip in store.clips] == ["long"]
    assert "short.wav: shorter than one frame of the front end" in capfd.readouterr().err


def test_a_label_of_which_nothing_is_left_to_train_on_is_said(tmp_path: Path) -> None:
    tiny_corpora.own(tmp_path / "data", ("anna", "bo"))
    rows = (tmp_path / "data/labels.csv").read_text()
    (tmp_path / "data/labels.csv").write_text(rows.replace("bo,calm", "bo,sad"))
    places = tmp_path / "data", tmp_path / "run", tmp_path / "cache"
    untrained = replace(RECIPE, pretrain_steps=0, finetune_steps=0)
    with pytest.raises(DataError, match="nothing of calm is left to train on"):
        fit(read_own(tmp_path / "data").clips, untrained, *places, {"own-anna"})
    assert not list((tmp_path / "run").glob("*.keras"))
