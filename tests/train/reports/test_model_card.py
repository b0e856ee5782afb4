"""The card says what its own file may be used for, and how to make it again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from affectd.recognition.model_file import ModelFile
from affectd_train.evaluation.metrics import metrics
from affectd_train.evaluation.settled import KINDS
from affectd_train.reports.model_card import accuracy_table, card, markdown
from affectd_train.reports.plots import pictures
from tiny_model import tiny_model, voice_model

RECIPE = {"seed": 0, "pretrain_steps": 20, "finetune_steps": 20, "batch_size": 64}
LABELS = ("angry", "happy")


def figures(name: str, corpora: tuple[str, ...]) -> dict[str, Any]:
    predictions = [
        {"path": "x", "corpus": corpus, "speaker": f"{corpus}-{speaker}", "gender": "female", "truth": label}
        | {network: {"angry": 0.7, "happy": 0.3} for network in ("int8", "float")}
        for corpus in corpora
        for speaker in ("1001", "1016", "09")
        for label in LABELS
    ]
    summary = metrics(predictions, "speakers disjoint", n_resamples=10)
    mean = {"int8": 1 / 3, "float": 1 / 3}
    return summary | {"name": name, "folds": {"1": mean}, "fold_mean": mean, "published": "54.3 % wav2vec2-base"}


def packed(tmp_path: Path, name: str, clips: dict[str, int]) -> ModelFile:
    (tmp_path / "metrics.json").write_text(json.dumps(figures(name, tuple(clips))))
    (tmp_path / "fit.json").write_text(json.dumps({"clips": clips}))
    recipe = RECIPE | ({"corpora": ["cremad", "emodb"]} if name == "open-terms" else {})
    training = {"recipe": recipe, "clips": clips, "speakers": ["a", "b"]}
    return tiny_model(card=card(tmp_path, tmp_path) | {"training": training})


def test_the_card_of_open_terms_speaks_of_no_other_corpus(tmp_path: Path) -> None:
    page = markdown(packed(tmp_path, "open-terms", {"cremad": 5, "emodb": 3}))
    assert page.startswith("# Model card: affectd-commercial.tflite")
    for word in ("RAVDESS", "EmoBox", "TESS", "SAVEE", "CC BY-NC", "non-commercial", "ravdess"):
        assert word not in page
    assert "Use of the weights: any, with attribution of CREMA-D." in page
    assert "evaluate --data DATA --protocol open-terms --corpora cremad,emodb" in page
    assert "fit --data DATA --out runs/commercial --cache runs/open-terms/cache --corpora cremad,emodb" in page
    assert "report runs/commercial/affectd.tflite --out runs/commercial/README.md" in page
    for row in ("CREMA-D", "EmoDB", "speakers aged 20 to 29", "speakers aged 60 and over"):
        assert f"| unweighted, {row} |" in page


def test_the_card_of_everything_is_for_non_commercial_use(tmp_path: Path) -> None:
    page = markdown(packed(tmp_path, "ravdess-emobox", {"cremad": 5, "ravdess": 3}))
    assert page.startswith("# Model card: affectd.tflite")
    assert "non-commercial only, as RAVDESS demand" in page
    assert "Published figures on this corpus: 54.3 % wav2vec2-base." in page
    assert "--corpora cremad,emodb` trains on the two corpora that allow commercial use" in page
    assert "affectd-train fit --data DATA --out runs/final --cache runs/ravdess-emobox/cache" in page
    assert page.endswith("steps of 64.")


def test_further_evaluations_are_in_the_commands(tmp_path: Path) -> None:
    model = packed(tmp_path, "ravdess-emobox", {"ravdess": 3})
    model.card["measured"]["also"] = {"emodb-loso": "--set finetune_steps=9", "tess-random": ""}
    page = markdown(model)
    assert "--evaluation runs/ravdess-emobox --also runs/emodb-loso runs/tess-random" in page
    assert "--protocol emodb-loso --set finetune_steps=9\n" in page


def evaluated(folder: Path, recipe: dict[str, Any], right: float) -> Path:
    """An evaluation by this recipe, with networks that are right in this share of a fold."""
    (folder / "fold-1").mkdir(parents=True)
    (folder / "fold-1" / "fit.json").write_text(json.dumps({"recipe": recipe}))
    share = {"fold_mean": {"int8": right, "float": right + 0.01}, "any_label": {"int8": 0.3, "float": 0.3}}
    (folder / "metrics.json").write_text(json.dumps(figures("ravdess-emobox", ("ravdess",)) | share))
    return folder


def test_evaluations_that_differ_in_the_seed_alone_stand_below_the_one_they_repeat(tmp_path: Path) -> None:
    """The standard deviation is that of a sample: 0.62, 0.68 and 0.65 have 0.03."""
    (tmp_path / "fit.json").write_text(json.dumps({"clips": {"ravdess": 3}}))
    first = evaluated(tmp_path / "ravdess-emobox", RECIPE, 0.62)
    also = [
        evaluated(tmp_path / "b", RECIPE | {"seed": 2}, 0.65),
        evaluated(tmp_path / "a", RECIPE | {"seed": 1}, 0.68),
        evaluated(tmp_path / "others", RECIPE | {"seed": 1, "finetune_steps": 21}, 0.7),
    ]
    training = {"recipe": RECIPE, "clips": {"ravdess": 3}, "speakers": ["a", "b"]}
    model = tiny_model(card=json.loads(json.dumps(card(first, tmp_path, also) | {"training": training})))
    rows = accuracy_table(model).splitlines()[2:]
    assert rows[:4] == [
        "| unweighted accuracy, mean of the folds | **0.620** | **0.630** |",
        "| the same, seed 1 | 0.680 | 0.690 |",
        "| the same, seed 2 | 0.650 | 0.660 |",
        "| 3 seeds, mean (standard deviation) | 0.650 (0.030) | 0.660 (0.030) |",
    ]
    page = markdown(model)
    options = "--set finetune_steps=20 --set pretrain_steps=20"
    assert f"--protocol ravdess-emobox {options} --set seed=2 --out runs/b\n" in page
    assert "--evaluation runs/ravdess-emobox --also runs/a runs/b runs/others --out" in page


def test_figures_are_rounded_in_the_card_to_what_the_page_shows(tmp_path: Path) -> None:
    model = packed(tmp_path, "ravdess-emobox", {"ravdess": 3})
    assert model.card["evaluation"]["fold_mean"] == {"int8": 0.333, "float": 0.333}
    assert "| unweighted, fold 1 | 0.333 | 0.333 |" in accuracy_table(model)


def test_the_page_shows_the_pictures_beside_it(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib draws the pictures")
    model = packed(tmp_path, "ravdess-emobox", {"ravdess": 3})
    names = [path.name for path in pictures(tmp_path, tmp_path)]
    assert names == ["confusion.png"]
    assert "![confusion](confusion.png)" in markdown(model, names)


def with_settled(figures: dict[str, Any], settled: bool = True) -> dict[str, Any]:
    """Figures of an evaluation that left RAVDESS out, with those after days of a voice if asked."""

    def row(unweighted: float) -> dict[str, Any]:
        others = {"arousal": 0.7, "named": 0.5, "precision": unweighted + 0.1, "valence": None}
        return {"unweighted": unweighted, "unweighted_interval": (0.1, 0.9), **others}

    days = {kind: row(0.4 + number / 64) for number, kind in enumerate(KINDS)}
    corpus = {"note": "", "clips": 9, "cold": row(0.3125), **({"settled": days} if settled else {})}
    means = {"mean": row(0.25), "mean_settled": days if settled else {}, "development": {"kor_emotiontts": corpus}}
    return figures | {"corpora": {"ravdess": corpus}, "any_label": {"int8": 0.3, "float": 0.3}} | means


def test_a_card_shows_what_a_voice_changes_where_the_file_has_one(tmp_path: Path) -> None:
    training = {"training": {"recipe": RECIPE, "clips": {"ravdess": 3}, "speakers": ["a", "b"]}}
    (tmp_path / "fit.json").write_text(json.dumps({"clips": {"ravdess": 3}}))
    found = with_settled(figures("leave-one-corpus-out", ("ravdess",)))
    (tmp_path / "metrics.json").write_text(json.dumps(found))
    content = card(tmp_path, tmp_path) | training
    plain = markdown(tiny_model(card=content))
    assert "that it never heard\n" not in plain

    note = {"clips": {"emodb": 4, "nemo": 5}, "speakers": 9, "settings": {}}
    page = markdown(voice_model(card=content | {"training": training["training"] | {"voice": note}}))
    heading = "| corpus | at first | after 20 s of one voice | after 60 s of one voice | after 200 s of one voice |"
    assert heading in page
    of_ravdess = " | ".join(f"{right} (0.100 to 0.900)" for right in ("0.312", "0.400", "0.416", "0.431", "0.447"))
    assert f"| RAVDESS | {of_ravdess} |" in page
    assert "| mean | 0.250" in page
    assert "| RAVDESS | 0.70 | 0.50 | 0.41 | 0.70 | 0.50 | 0.52 |" in page  # the last: how much named is right
    runs = "runs/final"
    speak = f"voice {runs}/affectd.tflite --data DATA --corpora emodb,nemo --out {runs}/voice.tflite\n"
    assert page.count(speak) == 2
    heard = "affectd-train behavior --data DATA --evaluation runs/leave-one-corpus-out"
    assert f"{speak}{heard} --model {runs}/voice.tflite\n" in page
    assert f"affectd-train report {runs}/voice.tflite --out {runs}/README.md" in page

    # Of another evaluation, too; only what is shown is kept.
    (tmp_path / "other").mkdir()
    (tmp_path / "other/metrics.json").write_text(json.dumps(found))
    (tmp_path / "metrics.json").write_text(json.dumps(figures("ravdess-emobox", ("ravdess",))))
    content = card(tmp_path, tmp_path, [tmp_path / "other"]) | training
    kept = content["measured"]["settled"]["corpora"]["ravdess"]["settled"]["60"]  # type: ignore[index]
    assert kept.keys() == {"unweighted", "unweighted_interval", "arousal", "named", "precision"}
    page = markdown(voice_model(card=content))
    assert f"| RAVDESS | {of_ravdess} |" in page
    assert page.index("that it never heard\n") < page.index("## How right it is about strangers")


def test_without_days_of_a_voice_a_card_is_as_before(tmp_path: Path) -> None:
    (tmp_path / "fit.json").write_text(json.dumps({"clips": {"ravdess": 3}}))
    found = with_settled(figures("leave-one-corpus-out", ("ravdess",)), settled=False)
    (tmp_path / "metrics.json").write_text(json.dumps(found))
    evaluation: Any = card(tmp_path, tmp_path)["evaluation"]
    assert "mean_settled" not in evaluation
    assert evaluation["corpora"]["ravdess"]["cold"]["unweighted_interval"] == [0.1, 0.9]
    (tmp_path / "other").mkdir()
    (tmp_path / "other/metrics.json").write_text(json.dumps(found))
    measured: Any = card(tmp_path, tmp_path, [tmp_path / "other"])["measured"]
    assert "settled" not in measured
