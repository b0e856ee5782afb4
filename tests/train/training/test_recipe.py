"""The recipe of the file in ``models/`` is the default, and trains on all corpora but those that are for tests."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from affectd.errors import UsageError
from affectd.recognition.model_file import read_model
from affectd_train.data.clips import Clip
from affectd_train.data.labels import CORPORA, LABEL_OF_CODE
from affectd_train.data.terms import DEVELOPMENT, TERMS
from affectd_train.training.fit import claim, phases
from affectd_train.training.recipe import LATER, SHARES, SHIPPED, Recipe, options_of, with_corpora, with_own

MODEL = Path(__file__).parents[3] / "models" / "affectd.tflite"


def test_the_default_recipe_is_the_one_of_the_file_in_models() -> None:
    made_by = read_model(MODEL).card["training"]["recipe"]
    now = json.loads(json.dumps(Recipe().as_json()))
    assert now.pop("spec") == read_model(MODEL).spec.to_dict()
    assert now == made_by | {"teacher": ""}


def test_numbers_that_came_later_are_of_the_recipe_where_they_have_an_effect() -> None:
    before = replace(Recipe(), everyday_by_source=0)
    assert not before.as_json().keys() & set(LATER)
    every = replace(Recipe(), n_embedding=1, noise_floor=1)
    assert {name: value for name, value in every.as_json().items() if name in LATER} == dict.fromkeys(LATER, 1)
    assert options_of(every.as_json()) == "--set n_embedding=1 --set noise_floor=1"
    # What an earlier file was made by is said in full.
    assert options_of(before.as_json()) == "--set everyday_by_source=0"
    assert options_of(Recipe().as_json()) == options_of(with_own(Recipe()).as_json()) == ""


def test_the_recipe_trains_on_all_that_may_train_but_savee() -> None:
    assert set(SHARES) == set(CORPORA) - set(DEVELOPMENT)
    assert set(Recipe().corpora) == set(SHIPPED) == set(SHARES) - {"savee"}
    for phase in phases(Recipe(), list(SHIPPED)):
        shares = {name: share / sum(phase.shares.values()) for name, share in phase.shares.items()}
        assert shares["emospeech"] + shares["turev"] < 0.05  # their labels are weak


def test_corpora_that_are_asked_for_have_a_share() -> None:
    recipe = with_corpora(Recipe(), ["nemo", "emodb"])
    assert recipe.corpora == ("nemo", "emodb")
    assert recipe.shares == Recipe().shares | {"nemo": SHARES["nemo"]}
    assert with_corpora(Recipe(), ["emodb"]).shares == Recipe().shares


def test_a_corpus_for_development_never_trains(tmp_path: Path) -> None:
    (corpus,) = DEVELOPMENT
    clips = [Clip(c, Path("a.wav"), f"{c}-01", "", "sad", "") for c in ("emodb", corpus)]
    with pytest.raises(UsageError, match=f"{corpus}: for development, to be tested on and never trained on"):
        claim(tmp_path / "run", clips, Recipe(), tmp_path, set())
    with pytest.raises(UsageError, match="never trained on"):
        claim(tmp_path / "run", clips, Recipe(), tmp_path, {f"{corpus}-01"})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", [["fit"], ["evaluate", "--protocol", "cross-corpus"]])
def test_the_command_refuses_it_too(words: list[str], tmp_path: Path) -> None:
    more = ["--data", str(tmp_path), "--corpora", "emodb,kor_emotiontts", "--out", str(tmp_path / "run")]
    program = [sys.executable, "-m", "affectd_train.cli", *words, *more]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 64
    assert done.stderr == "affectd-train: kor_emotiontts: for development, to be tested on and never trained on\n"


def test_the_terms_of_every_corpus_are_known() -> None:
    assert list(TERMS) == list(LABEL_OF_CODE) == list(CORPORA)
    assert {name for name, (_, _, limit) in TERMS.items() if not limit} == {"cremad", "emodb"}
