"""A recipe as TOML: what is printed is what is trained by; every mistake is one sentence with the key."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path

import pytest

from affectd.errors import ConfigError, NoInputError, UsageError
from affectd_train.cli import main
from affectd_train.training.recipe import Recipe, documented_numbers, wide_recipe, with_corpora, with_settings
from affectd_train.training.recipe_file import asked_recipe, read_recipe, recipe_toml


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text, "utf-8")
    return path


def test_the_printed_recipe_is_the_default_and_names_the_same_caches(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["recipe"]) == 0
    read = read_recipe(written(tmp_path, capfd.readouterr().out), wide_recipe())
    assert dataclasses.replace(read, shares=Recipe().shares) == Recipe()
    read = read_recipe(tmp_path / "mine.toml", Recipe())
    assert json.dumps(read.as_json()) == json.dumps(Recipe().as_json())  # also the order


def test_every_key_but_the_front_end_is_printed_below_its_sentence() -> None:
    text = recipe_toml(Recipe())
    assert set(tomllib.loads(text)) == {field.name for field in dataclasses.fields(Recipe)} - {
        "spec",
        "start",
    }  # whose front end it is
    words = " ".join(text.replace("\n# ", " ").split())
    for number in documented_numbers():
        assert f"{number.words} ({number.bounds()}) {number.key} = {number.default}" in words


@pytest.mark.parametrize("words", [["--wide"], ["--corpora", "cremad,emodb"], ["--set", "seed=3", "--wide"]])
def test_a_variant_is_printed_and_read_back(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["recipe", *words]) == 0
    recipe = with_settings(wide_recipe() if "--wide" in words else Recipe(), ["seed=3"] if "--set" in words else [])
    if "--corpora" in words:
        recipe = with_corpora(recipe, ["cremad", "emodb"])
    assert read_recipe(written(tmp_path, capfd.readouterr().out), Recipe()) == recipe


def test_the_command_line_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    file = written(tmp_path, 'seed = 4\ntilt_db = 1\ncorpora = ["nemo", "emodb"]\n[shares]\nemodb = 3\n')
    read = asked_recipe(is_wide=False, file=file, settings=["seed=5"], corpora=[], teacher=None)
    assert (read.seed, read.tilt_db, read.corpora) == (5, 1.0, ("nemo", "emodb"))
    assert isinstance(read.tilt_db, float)  # as --set makes it: the same name in a cache
    assert read.shares == Recipe().shares | {"emodb": 3.0, "nemo": 2.0}
    read = asked_recipe(is_wide=False, file=file, settings=[], corpora=["cremad"], teacher=None)
    assert (read.seed, read.corpora) == (4, ("cremad",))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("finetune_step = 3", "the recipe has no key finetune_step; did you mean finetune_steps?"),
        ("[spec]\nn_mfcc = 40", "the recipe has no key spec"),
        ("seed = 1.0", "seed = 1.0: must be a whole number"),
        ("seed = true", "seed = true: must be a whole number"),
        ('tilt_db = "2"', 'tilt_db = "2": must be a number'),
        ("tilt_db = nan", "tilt_db = nan: must be 2147483647 or less"),
        ("target_share = 1.5", "target_share = 1.5: must be 1 or less"),
        ("batch_size = 0", "batch_size = 0: must be 1 or more"),
        (f"pretrain_rate = {10**400}", "must be 2147483647 or less"),
        ('target = "emdb"', 'target: no corpus is called "emdb"; did you mean emodb?'),
        ("target = []", "target = []: must be a text in quotation marks"),
        ("corpora = []", "must be a list of corpora"),
        ('corpora = "emodb"', "must be a list of corpora"),
        ('corpora = ["emodb", "emodb"]', "a corpus is named twice"),
        ("shares = 3", "shares = 3: must be a table, [shares]"),
        ("[shares]\nemodb = 0", "shares.emodb = 0: must be more than 0"),
        ("[shares]\nemodb = -1", "shares.emodb = -1: must be 0 or more"),
        ("[shares]\nemdb = 1", 'shares: no corpus is called "emdb"; did you mean emodb?'),
        ("seed 3", "not TOML"),
        ("seed = 3\nseed = 4", "not TOML"),
        (f"a = {'[' * 100_000}", "not TOML"),
        (f"seed = {'9' * 5000}", "not TOML"),
    ],
)
def test_a_mistake_is_one_sentence_with_the_file_and_the_key(text: str, sentence: str, tmp_path: Path) -> None:
    file = written(tmp_path, text)
    with pytest.raises(ConfigError) as refused:
        read_recipe(file, Recipe())
    assert str(refused.value).startswith(f"{file}: ")
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


def test_what_is_no_text_or_not_there_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b'teacher = "\xe4"')
    with pytest.raises(ConfigError, match="not TOML"):
        read_recipe(tmp_path / "latin.toml", Recipe())
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(NoInputError, match=f"{path}: (cannot be read|not a regular file)"):
            read_recipe(path, Recipe())


def test_a_corpus_for_development_and_a_teacher_that_is_gone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="never trained on"):
        read_recipe(written(tmp_path, 'corpora = ["kor_emotiontts"]'), Recipe())
    file = written(tmp_path, 'teacher = "gone.onnx"')
    with pytest.raises(NoInputError, match=r"gone\.onnx: no such file"):
        asked_recipe(is_wide=False, file=file, settings=[], corpora=[], teacher=None)


def test_fit_refuses_a_wrong_file_before_it_reads_a_recording(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, "sed = 3")
    words = ["fit", "--data", str(tmp_path / "nowhere"), "--recipe", str(file), "--out", str(tmp_path / "run")]
    assert main(words) == 78
    assert capfd.readouterr().err == f"affectd-train: {file}: the recipe has no key sed; did you mean seed?\n"
    assert not (tmp_path / "run").exists()
