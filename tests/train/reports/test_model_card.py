"""The card says what its own file may be used for, and how to make it again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from affectd.recognition.model_file import ModelFile
from affectd_train.evaluation.metrics import metrics
from affectd_train.reports.model_card import accuracy_table, card, markdown
from affectd_train.reports.plots import pictures
from tiny_model import tiny_model

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
    training = {"recipe": RECIPE, "clips": clips, "speakers": ["a", "b"]}
    return tiny_model(card=card(tmp_path, tmp_path) | {"training": training})


def test_the_card_of_open_terms_speaks_of_no_other_corpus(tmp_path: Path) -> None:
    page = markdown(packed(tmp_path, "open-terms", {"cremad": 5, "emodb": 3}))
    assert page.startswith("# Model card: affectd-commercial.tflite")
    for word in ("RAVDESS", "EmoBox", "TESS", "SAVEE", "CC BY-NC", "non-commercial", "ravdess"):
        assert word not in page
    assert "Use of the weights: any, with attribution of CREMA-D." in page
    assert "evaluate --data DATA --corpora cremad,emodb --protocol open-terms" in page
    assert "fit --data DATA --corpora cremad,emodb --out runs/commercial --cache runs/open-terms/cache" in page
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
