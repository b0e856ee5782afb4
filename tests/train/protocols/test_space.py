"""The file of a sweep: what it may say, which trials are drawn of it, and one sentence for what cannot be tried."""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectd.errors import ConfigError, NoInputError
from affectd_train.protocols.space import Space, read_space
from affectd_train.training.recipe import Recipe, with_settings
from documents import REPOSITORY, blocks


def space(folder: Path, text: str, head: str = 'data = "DATA"') -> Space:
    path = folder / "space.toml"
    path.write_text(f"{head}\n{text}", "utf-8")
    return read_space(path)


def recipe_of(options: argparse.Namespace) -> Recipe:
    return with_settings(Recipe(), options.set)


def test_lists_give_every_combination_in_their_order(tmp_path: Path) -> None:
    found = space(tmp_path, "[set]\nseed = [0, 1]\nbatch_size = 8\ntilt_db = [1.5, 2]\n[set.spec]\ndeltas = 'first'\n")
    rest = "spec.deltas=first"
    assert found.drawn() == [
        (f"seed={seed}", "batch_size=8", f"tilt_db={tilt}", rest) for seed in (0, 1) for tilt in ("1.5", "2")
    ]
    recipe = found.recipes(recipe_of)["seed=1", "batch_size=8", "tilt_db=2", rest]
    assert (recipe.seed, recipe.tilt_db, recipe.spec.deltas) == (1, 2.0, "first")


def test_all_that_fit_takes_can_be_said(tmp_path: Path) -> None:
    head = """data = "d"
    labels = "l.txt"
    corpora = ["emodb", "nemo"]
    recipe = "r.toml"
    start = "s.tflite"
    teacher = "t.onnx"
    hold_out = ["emodb-03"]
    trials = 2
    seed = 5
    grace = 100
    reduction = 4"""
    found = space(tmp_path, "[set]\nseed = [0, 1]", head)
    paths = {"data": "d", "labels": "l.txt", "recipe": "r.toml", "start": "s.tflite", "teacher": "t.onnx"}
    assert found.options == {key: Path(path) for key, path in paths.items()} | {"corpora": "emodb,nemo"}
    numbers = (found.hold_out, found.trials, found.seed, found.grace, found.reduction)
    assert numbers == (("emodb-03",), 2, 5, 100, 4)


ENDS = st.floats(1e-6, 1e6).map(lambda x: float(f"{x:.4g}"))


@given(low=ENDS, high=ENDS, is_log=st.booleans(), trials=st.integers(1, 12), seed=st.integers(0, 2**31 - 1))
def test_drawn_trials_are_in_range_all_different_and_begin_the_same(
    low: float, high: float, is_log: bool, trials: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if low >= high:
        low, high = high, low + 1
    folder = tmp_path_factory.getbasetemp()
    log = ", log = true" if is_log else ""
    text = f"[set]\nfinetune_rate = {{low = {low}, high = {high}{log}}}\nsave_every = {{low = 1, high = 3}}\n"

    def drawn(n: int) -> list[tuple[str, ...]]:
        return space(folder, text, f'data = "DATA"\ntrials = {n}\nseed = {seed}').drawn()

    found = drawn(trials)
    assert found == drawn(trials + 3)[:trials]
    assert len(set(found)) == len(found) <= trials
    for settings in found:
        recipe = with_settings(Recipe(), settings)  # what is printed is what is tried
        assert low <= recipe.finetune_rate <= high
        assert recipe.save_every in (1, 2, 3)
        assert settings == (f"finetune_rate={recipe.finetune_rate}", f"save_every={recipe.save_every}")


def test_a_logarithmic_range_is_drawn_evenly_in_orders_of_magnitude(tmp_path: Path) -> None:
    text = "[set]\nfinetune_rate = {low = 1e-6, high = 1, log = true}\n"
    found = space(tmp_path, text, 'data = "DATA"\ntrials = 600').drawn()
    decades = [math.floor(math.log10(float(rate.partition("=")[2]))) for (rate,) in found]
    assert all(60 <= decades.count(decade) <= 140 for decade in range(-6, 0))


def test_where_there_are_fewer_combinations_there_are_fewer_trials(tmp_path: Path) -> None:
    found = space(tmp_path, "[set]\nseed = [0, 1]\nbatch_size = {low = 4, high = 5}", 'data = "DATA"\ntrials = 20')
    assert {*found.drawn()} == {(f"seed={seed}", f"batch_size={size}") for seed in (0, 1) for size in (4, 5)}


WRONG = [
    ("", "[set] is missing"),
    ("[set]\n", "[set] is missing"),
    ("trails = 3\n[set]\nseed = 1", "a sweep has no key trails; did you mean trials?"),
    ("trials = 0\n[set]\nseed = 1", "trials = 0: must be a whole number, 1 or more"),
    ("trials = 1001\n[set]\nseed = 1", "trials = 1001: must be 1000 or less"),
    ("trials = true\n[set]\nseed = 1", "trials = true: must be a whole number, 1 or more"),
    ("reduction = 1\n[set]\nseed = 1", "reduction = 1: must be a whole number, 2 or more"),
    ("labels = 3\n[set]\nseed = 1", "labels = 3: must be a path in quotation marks"),
    ('hold_out = "emodb-03"\n[set]\nseed = 1', 'hold_out = "emodb-03": must be a list of names'),
    ("[set]\nfinetune_rat = 1", "[set] finetune_rat=1: the recipe has no number of this name; did you mean finetune_r"),
    ("[set]\nbatch_size = [4, 0]", "[set] batch_size=0: must be 1 or more"),
    ("trials = 1\n[set]\nbatch_size = {low = 0, high = 9}", "[set] batch_size=0: must be 1 or more"),
    ("[set]\nbatch_size = [4, 8.5]", "[set] batch_size=8.5: '8.5' is no int"),
    ("[set]\nbatch_size = nan", "[set] batch_size=nan: 'nan' is no int"),
    ("[set]\nseed = []", "[set] seed = []: must be a value, a list of them, or a range"),
    ("[set]\nseed = [1, [2]]", "must be a value, a list of them, or a range"),
    ("[set]\nseed = [1, 1]", "[set] seed = [1, 1]: a value is there twice"),
    ("[set]\ntilt_db = {low = 1, hihg = 2}", "[set] tilt_db: a range has no key hihg; did you mean high?"),
    ("[set]\ntilt_db = {low = 1}", "[set] tilt_db: a range needs low and high, which are numbers"),
    (f"[set]\ntilt_db = {{low = 1, high = {10**400}}}", "[set] tilt_db: a range needs low and high, which are numbers"),
    ("[set]\ntilt_db = {low = 2, high = 2}", "[set] tilt_db: low = 2 must be less than high = 2"),
    (
        "[set]\ntilt_db = {low = 0, high = 2, log = true}",
        "[set] tilt_db: low = 0 must be more than 0 where log is true",
    ),
    ("[set]\ntilt_db = {low = 1, high = 2, log = 1}", "[set] tilt_db: log = 1: must be true or false"),
    ("[set]\ntilt_db = {low = 1, high = 2}", "trials is missing: how many, where a setting has a range?"),
    (f"[set]\nseed = {[*range(1001)]}", "trials is missing: there are 1001 combinations of the values"),
    ("[set]\nspec = 3", "[set] spec = 3: must be a table, [set.spec]"),
    ("[set.spec]\nn_mfc = 3", "did you mean spec.n_mfcc?"),
    ("[set.spec]\nn_mfcc = [40, 4000]", "[set] spec.n_mfcc=4000:"),
    ("set = 3", "[set] is missing"),
    ("[set", "not TOML"),
]


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[said[:40] + f" {n}" for n, (_, said) in enumerate(WRONG)])
def test_what_cannot_be_tried_is_said_in_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        space(tmp_path, text).recipes(recipe_of)
    assert str(caught.value).startswith(str(tmp_path / "space.toml"))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 78


def test_without_the_file_or_the_recordings_a_sentence_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match=r"space\.toml: cannot be read"):
        read_space(tmp_path / "space.toml")
    with pytest.raises(ConfigError, match="data is missing"):
        space(tmp_path, "[set]\nseed = 1", "")


def test_the_example_of_the_page_is_a_space_of_twelve_trials(tmp_path: Path) -> None:
    (text,) = blocks(REPOSITORY / "docs" / "sweeps.md", "toml")
    found = space(tmp_path, text, "")
    recipes = found.recipes(recipe_of)
    assert len(recipes) == found.trials == 12
    assert {recipe.finetune_steps for recipe in recipes.values()} == {1200}
