"""Leave one corpus out: nothing of the tested corpus trains, and what comes out goes on into a file and its card."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affectd.errors import NoInputError
from affectd.recognition.model_file import read_model, write_model
from affectd_train.cli import main
from affectd_train.commands import protocol
from affectd_train.data.clips import Clip
from affectd_train.data.corpora import read_clips
from affectd_train.data.labels import LABELS, labels_of
from affectd_train.data.splits import Split
from affectd_train.data.terms import DEVELOPMENT
from affectd_train.evaluation.calibration import named_at
from affectd_train.evaluation.predictions import about, read_predictions
from affectd_train.evaluation.settled import KINDS
from affectd_train.protocols import runs, speaker_independent, voices
from affectd_train.protocols.speaker_independent import UNHEARD
from affectd_train.reports.card_sections import rounded
from affectd_train.reports.model_card import markdown
from affectd_train.training.recipe import Recipe
from tiny_corpora import canceled, emodb, everyday, nemo, tabled, write
from tiny_model import place_model, tiny_model, voice_model

QUICK = [word for name in ("pretrain_steps", "finetune_steps") for word in ("--set", f"{name}=0")]
QUICK += ["--set", "augmented_copies=0", "--set", "batch_size=4"]

pytestmark = pytest.mark.usefixtures("small_network")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    emodb(root, speakers=("03", "08"))
    canceled(root / "emodb/wav/08a01Na.wav")
    nemo(root, speakers=("IC0", "KS0", "MK0"))  # enough for a voice
    tabled(root, "ased", speakers=("01", "02", "03"))
    tabled(root, "emospeech")
    tabled(root, "kor_emotiontts")
    everyday(root, ("speech", "everyday_en_wakeword", "everyday_lt"))
    return root


def test_the_folds_are_seven_corpora() -> None:
    assert UNHEARD == ("ravdess", "tess", "cremad", "emodb", "nemo", "ased", "emotale")
    assert not set(UNHEARD) & set(DEVELOPMENT)
    assert set(UNHEARD) <= set(Recipe().corpora)


def test_a_corpus_is_tested_by_a_network_that_heard_nothing_of_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Split] = {}

    def guess(split: Split, recipe: Recipe, data: Path, run: Path, cache: Path) -> list[Any]:
        run.mkdir(parents=True)
        write_model(run / "affectd.tflite", tiny_model())
        seen[run.name] = split
        rows = np.random.default_rng(0).dirichlet(np.ones(len(LABELS)), len(split.test))
        answers = [dict(zip(LABELS, row.round(4).tolist(), strict=True)) for row in rows]
        return [about(clip) | {"int8": p, "float": p} for clip, p in zip(split.test, answers, strict=True)]

    monkeypatch.setattr(runs, "run_split", guess)
    monkeypatch.setattr(speaker_independent, "add_settled", lambda *told: None)  # no network is there
    clips = [clip for clip in read_clips(data, Recipe().corpora) if clip.corpus not in DEVELOPMENT]
    found = protocol("leave-one-corpus-out")(clips, Recipe(), data, tmp_path)
    assert list(seen) == ["fold-emodb", "fold-nemo", "fold-ased"]
    for name, split in seen.items():
        corpus = name.removeprefix("fold-")
        assert {clip.corpus for clip in split.test} == {corpus}
        assert {clip.corpus for clip in split.train} == {"emodb", "nemo", "ased", "emospeech"} - {corpus}
        assert not {clip.speaker for clip in split.test} & {clip.speaker for clip in split.train}
        assert set(found["corpora"][corpus]["labels"]) == labels_of(corpus)
        # The accuracy of a fold is the one of its corpus: what the card says twice, it says the same.
        assert found["folds"][corpus]["int8"] == pytest.approx(found["corpora"][corpus]["cold"]["unweighted"])
    assert found["fold_mean"]["int8"] == pytest.approx(found["mean"]["unweighted"])
    assert found["development"] == {}
    assert json.loads(json.dumps(found)) == json.loads((tmp_path / "metrics.json").read_text())


def test_one_corpus_is_not_enough(tmp_path: Path) -> None:
    clips = [Clip("nemo", Path("a.wav"), "nemo-ic0", "female", "sad", "1")]
    with pytest.raises(NoInputError, match=r"at least two of ravdess, .* are needed, found nemo"):
        protocol("leave-one-corpus-out")(clips, Recipe(), tmp_path, tmp_path / "out")


def test_a_fold_of_few_voices_or_of_another_kind_goes_without_one(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    clips = read_clips(data, ["emodb", "nemo"])
    clips = [replace(clip, emotion=("angry", "happy")[i % 2]) for i, clip in enumerate(clips)]  # as the tiny model has
    few = Split("of two speakers", [clip for clip in clips if clip.corpus == "emodb"], [])
    enough, file = Split("plain", clips, []), tmp_path / "fold-a" / "affectd.tflite"
    assert not voices.is_voice_as_now(file, few, tmp_path / "cache")  # it is not there
    file.parent.mkdir()
    reasons = {
        "too few speakers for a voice: 3 of one corpus are needed": (few, tiny_model()),
        "a voice goes with a network of format 1": (enough, place_model()),
    }
    for reason, (split, model) in reasons.items():
        write_model(file, model)
        before = file.read_bytes()
        voices.give_voice(file, split, tmp_path, tmp_path / "cache")
        assert file.read_bytes() == before
        assert voices.is_voice_as_now(file, split, tmp_path / "cache")  # none is all it can have
        voices.add_settled({}, {}, {"a": split}, clips, tmp_path)
        assert f"{split.name}: without a voice: {reason}" in capfd.readouterr().err
    write_model(file, tiny_model())
    assert not voices.is_voice_as_now(file, enough, tmp_path / "cache")
    voices.give_voice(file, enough, tmp_path, tmp_path / "cache")
    assert voices.is_voice_as_now(file, enough, tmp_path / "cache")
    write_model(file, voice_model())  # with other settings
    assert not voices.is_voice_as_now(file, enough, tmp_path / "cache")


@pytest.mark.parametrize("silent", [("KS0",), ("IC0", "KS0", "MK0")])
def test_a_fold_goes_without_a_voice_where_too_few_speakers_are_heard(tmp_path: Path, silent: tuple[str, ...]) -> None:
    nemo(tmp_path, speakers=("IC0", "KS0", "MK0"))
    for path in (tmp_path / "nemo/samples").iterdir():
        if path.name.startswith(silent):
            write(path, np.zeros(16000, np.float32))
    clips = [replace(clip, emotion=("angry", "happy")[i % 2]) for i, clip in enumerate(read_clips(tmp_path, ["nemo"]))]
    split, file = Split("of silence", clips, []), tmp_path / "affectd.tflite"
    write_model(file, tiny_model())
    before = file.read_bytes()
    voices.give_voice(file, split, tmp_path, tmp_path / "cache")
    assert file.read_bytes() == before
    assert voices.is_voice_as_now(file, split, tmp_path / "cache")


def test_from_corpora_to_a_file_with_its_card(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    evaluated = ["evaluate", "--data", str(data), "--protocol", "leave-one-corpus-out", *QUICK]
    assert main(evaluated) == 0
    printed = capfd.readouterr().out
    found = json.loads(printed)
    assert list(found["corpora"]) == ["emodb", "nemo", "ased"]
    assert found["trained_on"] == ["ased", "emodb", "emospeech", "nemo"]
    assert found["development"]["kor_emotiontts"]["clips"] == 3 * 16  # by the networks of all folds
    assert found["development"]["kor_emotiontts"]["speakers"] == 2
    out = Path("runs/leave-one-corpus-out")
    for corpus in found["corpora"]:
        note = json.loads((out / f"fold-{corpus}/fit.json").read_text())
        assert not {corpus, *DEVELOPMENT} & set(note["clips"])
        assert note["recipe"]["everyday_by_source"] == 1

    # The voice of a fold heard what its network was trained on.
    n_clips = {"emodb": 11, "nemo": 36, "ased": 30}
    for corpus in n_clips:
        file = read_model(out / f"fold-{corpus}/affectd.tflite")
        assert file.card["training"]["voice"]["clips"] == {name: n for name, n in n_clips.items() if name != corpus}
        settled = found["corpora"][corpus]["settled"]
        assert tuple(settled) == KINDS
        assert all(row.keys() == found["corpora"][corpus]["cold"].keys() for row in settled.values())
    sixty = [corpus["settled"]["60"]["unweighted"] for corpus in found["corpora"].values()]
    assert found["mean_settled"]["60"]["unweighted"] == pytest.approx(np.mean(sixty))
    assert tuple(found["mean_settled"]) == tuple(found["development"]["kor_emotiontts"]["settled"]) == KINDS

    # Once more: nothing is trained or heard again.
    kinds = ("float.keras", "*.jsonl", "affectd.tflite", "*-heard.npz")
    made = {path: path.stat().st_mtime_ns for kind in kinds for path in out.glob(f"fold-*/{kind}")}
    assert len(made) == 3 * 3 + 3 + 3 * 2
    assert main(evaluated) == 0
    assert capfd.readouterr().out == printed
    assert {path: path.stat().st_mtime_ns for path in made} == made

    assert main(["fit", "--data", str(data), *QUICK, "--cache", str(out / "cache")]) == 0
    assert main(["quantize", "runs/final"]) == 0
    assert main(["pack", "runs/final", "--evaluation", str(out), "--out", "packed.tflite"]) == 0
    assert main(["report", "packed.tflite", "--out", "card.md"]) == 0
    assert "has another recipe" not in capfd.readouterr().err
    card = read_model(Path("packed.tflite")).card
    assert card["evaluation"]["corpora"].keys() == found["corpora"].keys()
    page = Path("card.md").read_text()
    assert "evaluate --data DATA --protocol leave-one-corpus-out" in page
    assert "`speech/` (Apache-2.0) and `everyday_en_wakeword/` (Apache-2.0), which have no labels" in page
    assert "nEMO" in page
    # Beside another evaluation, which the card is about, it still says how sure to be.
    known = ["evaluate", "--data", str(data), "--protocol", "emodb-loso", *QUICK]
    assert main(known) == 0
    both = ["--evaluation", "runs/emodb-loso", "--also", str(out)]
    assert main(["pack", "runs/final", *both, "--out", "both.tflite"]) == 0
    of_both, alone = read_model(Path("both.tflite")), read_model(Path("packed.tflite"))
    assert (of_both.temperature, of_both.thresholds) == (alone.temperature, alone.thresholds)
    predictions = read_predictions(out / "predictions.jsonl")
    share, right = named_at(predictions, alone.temperature, alone.thresholds["uncertain"])
    assert of_both.card["named"]["unheard"] == rounded([share, right])
    assert f"of strangers of known corpora {of_both.card['named']['known'][0]:.0%} are named" in markdown(of_both)
    capfd.readouterr()
    assert main(["unheard", "packed.tflite", "--data", str(data)]) == 0
    assert list(json.loads(capfd.readouterr().out)["corpora"]) == ["kor_emotiontts"]
