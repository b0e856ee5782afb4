"""Protocols: who trains, who is tested, and what is written; networks that guess stand in for trained ones."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from affectd.errors import NoInputError
from affectd.recognition.classifier import Classifier
from affectd.recognition.model_file import read_model, write_model
from affectd_train import arguments, commands
from affectd_train.cli import main
from affectd_train.data.clips import Clip
from affectd_train.data.corpora import read_corpus
from affectd_train.data.labels import LABELS
from affectd_train.data.splits import Split, random_split_sharing_speakers
from affectd_train.evaluation.on_device import hear
from affectd_train.evaluation.predictions import about, among
from affectd_train.protocols import baselines, random_splits, runs, speaker_independent
from affectd_train.protocols.baseline_features import seed_features
from affectd_train.protocols.baselines import SEED_SYSTEMS, SeedSystem, load_seed_network, run_seed_system
from affectd_train.protocols.runs import run_split
from affectd_train.training.recipe import Recipe, swap_phases
from tiny_corpora import canceled, cremad, emodb, ravdess
from tiny_model import tiny_model

TINY = Recipe(pretrain_steps=2, finetune_steps=2, batch_size=4, augmented_copies=0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpora")
    ravdess(root)
    emodb(root)
    cremad(root)
    return root


@pytest.fixture(scope="module")
def clips(data: Path) -> list[Clip]:
    return [clip for name in ("ravdess", "emodb", "cremad") for clip in read_corpus(name, data / name).clips]


@pytest.fixture
def splits(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Split, Recipe]]:
    """Instead of training, guess, and note what would have been trained."""
    seen: dict[str, tuple[Split, Recipe]] = {}

    def guess(split: Split, recipe: Recipe, data: Path, run: Path, cache: Path) -> list[dict[str, object]]:
        run.mkdir(parents=True)
        write_model(run / "affectd.tflite", tiny_model())
        seen[run.name] = split, recipe
        rng = np.random.default_rng(0)
        rows = rng.dirichlet(np.ones(len(LABELS)), len(split.test))
        answers = [dict(zip(LABELS, row.tolist(), strict=True)) for row in rows]
        return [about(clip) | {"int8": p, "float": p} for clip, p in zip(split.test, answers, strict=True)]

    for module in (runs, speaker_independent, random_splits):
        monkeypatch.setattr(module, "run_split", guess)
    return seen


def speakers(side: list[Clip]) -> set[str]:
    return {clip.speaker for clip in side}


def test_the_command_offers_every_protocol() -> None:
    strangers = [name for name in arguments.PROTOCOLS if not name.endswith("-random")]
    assert [commands.protocol(name).__name__ for name in strangers] == [name.replace("-", "_") for name in strangers]
    assert {f"{name}-random" for name in random_splits.CORPORA} == {*arguments.PROTOCOLS} - {*strangers}
    assert random_splits.CORPORA.keys() == SEED_SYSTEMS.keys()


def test_emodb_leaves_each_speaker_out_once(
    clips: list[Clip], data: Path, tmp_path: Path, splits: dict[str, tuple[Split, Recipe]]
) -> None:
    figures = commands.protocol("emodb-loso")(clips, TINY, data, tmp_path)
    assert json.loads(json.dumps(figures)) == json.loads((tmp_path / "metrics.json").read_text())
    assert list(splits) == ["fold-03", "fold-08", "fold-09"]
    for name, (split, recipe) in splits.items():
        assert speakers(split.test) == {f"emodb-{name[-2:]}"}
        assert not speakers(split.test) & speakers(split.train)
        assert {clip.corpus for clip in split.train} == {"ravdess", "emodb", "cremad"}
        assert recipe.target == "emodb"
    assert figures["clips"] == 18
    assert "LIGHT-SERNET" in figures["published"]
    assert set(figures["int8"]["by_age"]) == {"20 to 29", "30 to 59"}
    assert figures["int8"]["unweighted"] >= figures["any_label"]["int8"]
    told = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert all(set(p["int8"]) == {"neutral", "happy", "sad", "angry", "fearful", "disgust"} for p in told)
    assert all(sum(p["int8"].values()) == pytest.approx(1) for p in told)
    assert 0 <= figures["calibration"]["ece"] <= 1


def test_cremad_tests_every_actor_once(
    clips: list[Clip], data: Path, tmp_path: Path, splits: dict[str, tuple[Split, Recipe]]
) -> None:
    figures = commands.protocol("cremad-speakers")(clips, replace(TINY, pretrain_steps=7), data, tmp_path)
    assert len(splits) == len(figures["folds"]) == 5
    tested = [speaker for split, _ in splits.values() for speaker in speakers(split.test)]
    assert sorted(tested) == [f"cremad-{actor}" for actor in range(1001, 1007)]
    for split, recipe in splits.values():
        assert not speakers(split.test) & speakers(split.train)
        assert (recipe.target, recipe.finetune_steps, recipe.pretrain_steps) == ("cremad", 7, 2)
    assert figures["clips"] == 36
    assert len({p["path"] for p in map(json.loads, (tmp_path / "predictions.jsonl").read_text().splitlines())}) == 36


def test_open_terms_train_and_test_on_their_own_corpora_alone(
    clips: list[Clip], data: Path, tmp_path: Path, splits: dict[str, tuple[Split, Recipe]]
) -> None:
    figures = commands.protocol("open-terms")(clips, TINY, data, tmp_path)
    assert figures["name"] == "open-terms"
    assert figures["trained_on"] == ["cremad", "emodb"]
    assert set(figures["int8"]["by_corpus"]) == {"cremad", "emodb"}
    tested = [speaker for split, _ in splits.values() for speaker in speakers(split.test)]
    assert sorted(tested) == sorted({c.speaker for c in clips if c.corpus != "ravdess"})
    for split, recipe in splits.values():
        assert not speakers(split.test) & speakers(split.train)
        assert {clip.corpus for clip in [*split.train, *split.test]} == {"cremad", "emodb"}
        # As affectd-train fit --corpora cremad,emodb has it: the figures are of the network that is packed.
        assert recipe == replace(TINY, corpora=("cremad", "emodb"))


def test_phases_change_places_and_nothing_else() -> None:
    recipe = replace(TINY, pretrain_steps=7, pretrain_rate=0.5)
    swapped = swap_phases(recipe)
    assert (swapped.finetune_steps, swapped.finetune_rate) == (7, 0.5)
    assert (swapped.pretrain_steps, swapped.pretrain_rate) == (TINY.finetune_steps, TINY.finetune_rate)
    assert swap_phases(swapped) == recipe


def test_across_corpora_nothing_of_the_tested_one_trains(
    clips: list[Clip], data: Path, tmp_path: Path, splits: dict[str, tuple[Split, Recipe]]
) -> None:
    figures = commands.protocol("cross-corpus")(clips, TINY, data, tmp_path)
    assert set(splits) == {"all-but-ravdess", "all-but-emodb", "all-but-cremad"}
    for split, _ in splits.values():
        assert not {clip.corpus for clip in split.test} & {clip.corpus for clip in split.train}
    # Neither EmoDB nor CREMA-D has calm or surprised, so no network can be blamed for missing them.
    assert figures["experiments"]["all-but-ravdess: ravdess"]["labels"] == [
        *("neutral", "happy", "sad", "angry", "fearful", "disgust")
    ]


def test_open_terms_are_tested_on_every_other_corpus(
    clips: list[Clip], data: Path, tmp_path: Path, splits: dict[str, tuple[Split, Recipe]]
) -> None:
    tess = [Clip("tess", Path(f"OAF_{n}_{e}.wav"), "tess-oaf", "female", e, "x") for n, e in enumerate(LABELS[2:])]
    figures = commands.protocol("cross-corpus")([*clips, *tess], TINY, data, tmp_path)
    split, _ = splits["open-terms"]
    assert {clip.corpus for clip in split.train} == {"emodb", "cremad"}
    assert {"open-terms: ravdess", "open-terms: tess"} <= set(figures["experiments"])


@pytest.mark.parametrize("protocol", ["emodb-loso", "cremad-speakers", "open-terms", "cross-corpus", "tess-random"])
def test_a_corpus_that_is_not_there_is_one_sentence(
    clips: list[Clip], data: Path, tmp_path: Path, protocol: str
) -> None:
    with pytest.raises(NoInputError, match=r"in it|at least two"):
        commands.protocol(protocol)([clip for clip in clips if clip.corpus == "ravdess"], TINY, data, tmp_path)


def test_among_keeps_the_order_of_what_is_left() -> None:
    case = {"int8": {"calm": 0.6, "sad": 0.3, "happy": 0.1}, "float": {}}
    assert among([case], {"sad", "happy"}) == [
        {"int8": {"sad": pytest.approx(0.75), "happy": pytest.approx(0.25)}, "float": {}}
    ]
    assert case["int8"]["calm"] == 0.6  # type: ignore[index]


QUICK = {
    "three": SeedSystem(features="mfcc_mean", network="three_convolutions", published="62 %", epochs=2),
    "memory": SeedSystem(features="mfcc_frames", network="long_short_term_memory", published=None, epochs=1),
    "copies": SeedSystem(features="five_means", network="four_convolutions", published=None, n_copies=2, epochs=1),
    "leak": SeedSystem(
        features="five_means", network="four_convolutions", published=None, n_copies=2, epochs=1, leak=True
    ),
}


def test_ours_and_the_seed_systems_are_tested_on_the_same_clips(
    clips: list[Clip],
    data: Path,
    tmp_path: Path,
    splits: dict[str, tuple[Split, Recipe]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(SEED_SYSTEMS, "pooled", {"three": QUICK["three"]})
    figures = commands.protocol("pooled-random")(clips, TINY, data, tmp_path)
    assert json.loads(json.dumps(figures)) == json.loads((tmp_path / "metrics.json").read_text())
    split, _ = splits["ours"]
    assert not set(split.test) & set(split.train)
    assert set(split.test) | set(split.train) == set(clips)
    assert {clip.corpus for clip in split.test} == {"ravdess", "cremad"}
    assert "SAME SPEAKERS ON BOTH SIDES" in figures["protocol"]
    audio = [clip for clip in split.test if not clip.is_logmel]
    assert figures["seed_systems"]["three"]["clips"] == figures["ours_on_audio"]["clips"] == len(audio)
    assert figures["ours"]["clips"] == len(split.test) > len(audio)
    assert figures["table"]["three"]["published"] == "62 %"
    assert set(figures["table"]["ours, int8"]) == {"published", "weighted", "unweighted"}


def test_seed_systems_leave_out_what_is_damaged_within(
    tmp_path: Path, splits: dict[str, tuple[Split, Recipe]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ravdess(tmp_path, actors=(1, 2))
    mine = read_corpus("ravdess", tmp_path / "ravdess").clips
    split = random_split_sharing_speakers(mine, random_splits.TEST_FRACTION, TINY.seed)
    for clip in (split.train[0], split.test[0]):
        canceled(clip.path)
    monkeypatch.setitem(SEED_SYSTEMS, "ravdess", {"three": QUICK["three"]})
    figures = commands.protocol("ravdess-random")(mine, TINY, tmp_path, tmp_path / "out")
    n_tested = len(split.test) - 1
    assert figures["seed_systems"]["three"]["clips"] == figures["ours_on_audio"]["clips"] == n_tested


def test_a_seed_system_is_tested_on_what_it_did_not_train_on(clips: list[Clip], tmp_path: Path) -> None:
    mine = [clip for clip in clips if clip.corpus == "ravdess"]
    split = random_split_sharing_speakers(mine, 0.25, 0)
    tested = run_seed_system(QUICK["copies"], split, tmp_path / "run", tmp_path / "cache")
    assert sorted(p["path"] for p in tested) == sorted(about(clip)["path"] for clip in split.test)
    assert all(sum(p["float"].values()) == pytest.approx(1, abs=1e-3) for p in tested)
    leaking = run_seed_system(QUICK["leak"], split, tmp_path / "leak", tmp_path / "cache")
    assert len({p["path"] for p in leaking}) > len(split.test)  # copies of recordings that train


def test_a_seed_system_learns_and_a_finished_run_is_read_back(clips: list[Clip], tmp_path: Path) -> None:
    mine = [clip for clip in clips if clip.corpus == "ravdess"]
    split = random_split_sharing_speakers(mine, 0.25, 0)
    system = replace(QUICK["three"], epochs=80)
    tested = run_seed_system(system, split, tmp_path / "run", tmp_path / "cache")
    right = [max(p["float"], key=p["float"].__getitem__) == p["truth"] for p in tested]
    assert np.mean(right) > 0.6  # a pitch per emotion is easily learned; chance is 1/8
    (tmp_path / "cache").rename(tmp_path / "elsewhere")
    assert run_seed_system(system, split, tmp_path / "run", tmp_path / "cache") == tested
    assert not (tmp_path / "cache").exists()
    features = seed_features([*split.train, *split.test], system.features, 0, tmp_path / "elsewhere")[0]
    network = load_seed_network(tmp_path / "run")  # its weights are kept
    again = network.probabilities(features[len(split.train) :])
    for prediction, row in zip(tested, again, strict=True):
        found = dict(zip(network.labels, row.tolist(), strict=True))
        assert prediction["float"] == pytest.approx(found, abs=1e-3)
    (tmp_path / "run/network.keras").unlink()
    with pytest.raises(NoInputError, match=r"network\.keras: no such file"):
        load_seed_network(tmp_path / "run")


def test_a_seed_system_leaves_the_same_whatever_was_trained_before_it(clips: list[Clip], tmp_path: Path) -> None:
    split = random_split_sharing_speakers([clip for clip in clips if clip.corpus == "emodb"], 0.25, 0)
    left = []
    for run in (tmp_path / "first", tmp_path / "second"):
        run_seed_system(QUICK["three"], split, run, tmp_path / "cache")
        with zipfile.ZipFile(run / "network.keras") as file:
            left.append([file.read("model.weights.h5"), (run / "predictions.jsonl").read_bytes()])
    assert left[0] == left[1]


def test_a_seed_system_of_labels_that_were_corrected_is_trained_anew(clips: list[Clip], tmp_path: Path) -> None:
    split = random_split_sharing_speakers([clip for clip in clips if clip.corpus == "emodb"], 0.25, 0)
    first, *others = split.test
    corrected = replace(split, test=[replace(first, emotion=others[0].emotion), *others])
    assert first.emotion != others[0].emotion
    told = [run_seed_system(QUICK["three"], s, tmp_path / "run", tmp_path / "cache") for s in (split, corrected)]
    assert [predictions[0]["truth"] for predictions in told] == [first.emotion, others[0].emotion]


def test_a_seed_system_that_is_killed_leaves_nothing_that_is_taken_for_its_answers(
    clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = random_split_sharing_speakers([clip for clip in clips if clip.corpus == "emodb"], 0.25, 0)
    corrected = replace(split, test=[replace(split.test[0], emotion=split.test[1].emotion), *split.test[1:]])
    for step in ("write_predictions", "write_json"):  # at which the disk is full
        run_seed_system(QUICK["three"], split, tmp_path / step, tmp_path / "cache")
        with monkeypatch.context() as full:
            full.setattr(baselines, step, raising)
            with pytest.raises(OSError, match="full"):
                run_seed_system(QUICK["three"], corrected, tmp_path / step, tmp_path / "cache")
        for asked in (corrected, split):
            told = run_seed_system(QUICK["three"], asked, tmp_path / step, tmp_path / "cache")
            assert told[0]["truth"] == asked.test[0].emotion


def raising(*_: object) -> None:
    raise OSError("full")


def test_a_seed_system_becomes_a_file_that_answers_as_its_float_network(clips: list[Clip], tmp_path: Path) -> None:
    mine = [clip for clip in clips if clip.corpus == "ravdess"]
    split = random_split_sharing_speakers(mine, 0.25, 0)
    memory = ("mfcc_frames", "long_short_term_memory")
    for features, kind in (memory, ("mfcc_pitch_energy", "three_convolutions"), ("five_means", "three_convolutions")):
        run, out = tmp_path / features, tmp_path / f"{features}.tflite"
        system = SeedSystem(features, kind, None, epochs=2)
        tested = run_seed_system(system, split, run, tmp_path / "cache")
        assert main(["pack", str(run), "--out", str(out)]) == 0
        network = Classifier(read_model(out))
        heard = [hear(clip, network) for clip in split.test]  # through the device's own front end, in int8
        off = [abs(ours[label] - p["float"][label]) for ours, p in zip(heard, tested, strict=True) for label in ours]
        assert len(off) == len(tested) * len(network.model.labels)
        assert np.mean(off) < 0.04, features
        for ours, prediction in zip(heard, tested, strict=True):
            second, first = sorted(prediction["float"].values())[-2:]
            if first - second > 0.5:  # where rounding decides nothing
                assert max(ours, key=ours.__getitem__) == max(prediction["float"], key=prediction["float"].__getitem__)
    assert main(["pack", str(run), "--out", str(out)]) == 0  # the same again
    assert main(["pack", str(tmp_path / "mfcc_pitch_energy"), "--out", str(out)]) == 64  # not over another


def test_the_recurrent_network_runs_on_frames(clips: list[Clip], tmp_path: Path) -> None:
    mine = [clip for clip in clips if clip.corpus == "emodb"]
    split = random_split_sharing_speakers(mine, 0.34, 0)
    assert len(run_seed_system(QUICK["memory"], split, tmp_path / "run", tmp_path / "cache")) == len(split.test)


@pytest.mark.parametrize("name", baselines.NETWORKS)
def test_seed_networks_end_in_one_logit_a_label(name: str) -> None:
    shape = (162, 1) if name == "four_convolutions" else (94, 42)
    assert baselines.seed_network(name, shape, 7).output_shape == (None, 7)


def test_ours_trains_on_neither_side_of_a_random_split_what_it_is_tested_on(
    clips: list[Clip], data: Path, tmp_path: Path
) -> None:
    split = random_split_sharing_speakers([clip for clip in clips if clip.corpus == "cremad"], 0.5, 0)
    predictions = run_split(split, TINY, data, tmp_path / "run", tmp_path / "cache")
    details = json.loads((tmp_path / "run/fit.json").read_text())
    assert details["clips"] == {"cremad": len(split.train)}
    assert [p["path"] for p in predictions] == [about(clip)["path"] for clip in split.test]
    assert all(p["int8"] and p["float"] for p in predictions)
    again = run_split(split, TINY, data, tmp_path / "run", tmp_path / "cache")
    assert again == predictions
    file = tmp_path / "run/predictions.jsonl"
    content = str(predictions[0].get("content"))
    file.write_text(file.read_text().replace(content, "another"))  # as if the recordings were replaced since then
    assert run_split(split, TINY, data, tmp_path / "run", tmp_path / "cache") == predictions
    assert content in file.read_text()
