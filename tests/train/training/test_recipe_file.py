"""A recipe as TOML: what is printed is what is trained by; every mistake is one sentence with the key."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path

import pytest

from affectd.errors import ConfigError, NoInputError, UsageError
from affectd.features.spec import FeatureSpec
from affectd.recognition.model_file import find_model
from affectd_train.cli import main
from affectd_train.training.recipe import (
    Recipe,
    documented_numbers,
    options_of,
    with_corpora,
    with_settings,
)
from affectd_train.training.recipe_file import asked_recipe, read_recipe, recipe_toml


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text, "utf-8")
    return path


def test_the_printed_recipe_is_the_default_and_names_the_same_caches(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["recipe"]) == 0
    read = read_recipe(
        written(tmp_path, capfd.readouterr().out), dataclasses.replace(Recipe(), seed=9, corpora=("emodb",))
    )
    assert read == Recipe()
    read = read_recipe(tmp_path / "mine.toml", Recipe())
    assert json.dumps(read.as_json()) == json.dumps(Recipe().as_json())  # also the order


def test_every_key_is_printed_below_its_sentence() -> None:
    text = recipe_toml(Recipe())
    # A start is a model file, which brings its own front end.
    assert set(tomllib.loads(text)) == {field.name for field in dataclasses.fields(Recipe)} - {"start"}
    assert set(tomllib.loads(text)["spec"]) == {field.name for field in dataclasses.fields(FeatureSpec)}
    front_end = text.partition("[spec]")[2]
    assert "# Number of mel filters. (int)\nn_mels = 128\n" in front_end
    assert '"slaney" gives every filter unit area, "none" gives it unit height.' in front_end
    assert '("hann", "hamming" or "rectangular")\nwindow = "hann"\n' in front_end
    assert all(part.startswith("# ") for part in front_end.strip().split("\n\n"))
    words = " ".join(text.replace("\n# ", " ").split())
    for number in documented_numbers():
        assert f"{number.words} ({number.bounds()}) {number.key} = {number.default}" in words


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])  # as Windows writes what is redirected
def test_a_recipe_is_read_with_the_mark_that_editors_put_before_it(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("seed = 3", encoding)
    assert read_recipe(tmp_path / "mine.toml", Recipe()).seed == 3


def test_what_is_no_number_is_said_to_be_none(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "--set", "finetune_rate=nan"]) == 64
    assert capfd.readouterr().err == "affectd-train: --set finetune_rate=nan: must be a number\n"


@pytest.mark.parametrize("setting", ["spec.n_mfcc=20", "spec.fmax=7000.0", "n_embedding=3"])
def test_what_goes_with_the_weights_that_training_starts_from_stays(
    setting: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    start = ["recipe", "--start", str(find_model())]
    assert main([*start, "--set", setting]) == 64
    said = capfd.readouterr().err
    assert said == (
        f"affectd-train: --start {find_model()} does not go with {setting}: its weights are those of another network\n"
    )
    assert main([*start, "--set", "n_frames=100"]) == 0  # of which the network takes a mean
    assert main([*start, "--recipe", str(written(tmp_path, capfd.readouterr().out))]) == 0


@pytest.mark.parametrize("words", [["--corpora", "cremad,emodb"], ["--set", "seed=3"]])
def test_a_variant_is_printed_and_read_back(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["recipe", *words]) == 0
    recipe = with_settings(Recipe(), ["seed=3"] if "--set" in words else [])
    if "--corpora" in words:
        recipe = with_corpora(recipe, ["cremad", "emodb"])
    assert read_recipe(written(tmp_path, capfd.readouterr().out), Recipe()) == recipe


def test_the_command_line_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    file = written(tmp_path, 'seed = 4\ntilt_db = 1\ncorpora = ["nemo", "emodb"]\n[shares]\nemodb = 3\n')
    read = asked_recipe(file=file, settings=["seed=5"], corpora=[], teacher=None)
    assert (read.seed, read.tilt_db, read.corpora) == (5, 1.0, ("nemo", "emodb"))
    assert isinstance(read.tilt_db, float)  # as --set makes it: the same name in a cache
    assert read.shares == Recipe().shares | {"emodb": 3.0, "nemo": 2.0}
    read = asked_recipe(file=file, settings=[], corpora=["cremad"], teacher=None)
    assert (read.seed, read.corpora) == (4, ("cremad",))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("finetune_step = 3", "the recipe has no key finetune_step; did you mean finetune_steps?"),
        ("[spec]\nn_mfc = 40", "the recipe has no key spec.n_mfc; did you mean spec.n_mfcc?"),
        ("spec = 3", "spec = 3: must be a table, [spec]"),
        ("[spec]\nn_mfcc = 40.0", "spec.n_mfcc = 40.0 must be a whole number"),
        ("[spec]\nn_mfcc = 200", "spec.n_mfcc = 200 must lie in 1 to n_mels = 128"),
        ("[spec]\nfmax = 9000", "spec.fmax = 9000.0 must not exceed half of 16000 Hz"),
        ("[spec]\nfmin = nan", "spec.fmin = nan must be a finite number"),
        ("[spec]\ncenter = 1", "spec.center = 1 must be a boolean"),
        ('[spec]\ntop_db = "all"', "spec.top_db = 'all' must be a finite number"),
        (
            '[spec]\nwindow = "han"',
            'spec.window = "han": must be "hann", "hamming" or "rectangular"; did you mean hann',
        ),
        ('[spec]\nmel_norm = "htk"', 'spec.mel_norm = "htk": must be "slaney" or "none"'),
        ("[spec]\nlifter_start = true", "spec.lifter_start = true: must be 0 or 1"),
        ("[spec]\nwindow = []", "spec.window = []: must be"),
        (f"[spec]\nn_fft = {10**400}", "spec.n_fft = "),
        ("seed = 1.0", "seed = 1.0: must be a whole number"),
        ("seed = true", "seed = true: must be a whole number"),
        ('tilt_db = "2"', 'tilt_db = "2": must be a number'),
        ("tilt_db = nan", "tilt_db = nan: must be a number"),
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


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[spec]\nlog = "natural"', 'spec.log = "natural": must be "decibel"'),
        ("[spec]\nhop_length = 8", "spec.hop_length = 8: must give 1 to 1000 frames per second, not 2000"),
        ("n_frames = 5\n[spec]\ndeltas = 'first'", "n_frames = 5: must be spec.delta_width = 9 or more"),
    ],
)
def test_a_front_end_that_cannot_be_trained_or_packed_is_refused_at_once(
    text: str, sentence: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, text)
    words = ["fit", "--data", str(tmp_path / "nowhere"), "--recipe", str(file), "--out", str(tmp_path / "run")]
    assert main(words) == 78
    said = capfd.readouterr().err
    assert said.startswith(f"affectd-train: {file}: {sentence}")
    assert said.count("\n") == 1


def test_the_front_end_is_changed_by_a_table_or_by_set(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, '[spec]\nn_mfcc = 20\ntop_db = "none"\ndeltas = "first"\nfmax = 7000\n')
    read = read_recipe(file, Recipe()).spec
    expected = dataclasses.replace(Recipe().spec, n_mfcc=20, top_db=None, deltas="first", fmax=7000.0)
    assert read == expected
    words = ["n_mfcc=20", "top_db=none", "deltas=first", "fmax=7000"]
    settings = [word for setting in words for word in ("--set", f"spec.{setting}")]
    assert main(["recipe", *settings, "--set", "spec.mel_norm=none"]) == 0
    printed = written(tmp_path, capfd.readouterr().out)
    recipe = read_recipe(printed, Recipe())
    assert recipe.spec == dataclasses.replace(expected, mel_norm=None)
    said = options_of(recipe.as_json()).split()  # what the model card says
    assert with_settings(Recipe(), said[1::2]) == recipe
    assert main(["recipe", "--set", "spec.n_mfc=3"]) == 64
    message = "--set spec.n_mfc=3: the recipe has no key spec.n_mfc; did you mean spec.n_mfcc?"
    assert capfd.readouterr().err == f"affectd-train: {message}\n"


def test_settings_of_the_front_end_that_are_possible_only_together_are_taken_in_any_order() -> None:
    spec = dataclasses.replace(Recipe().spec, sample_rate=8000, fmax=4000.0, n_fft=2048, window_length=2048)
    said = options_of(dataclasses.replace(Recipe(), spec=spec).as_json()).split()[1::2]  # what the model card says
    for settings in (said, said[::-1]):
        assert with_settings(Recipe(), settings).spec == spec
    with pytest.raises(UsageError, match=r"^--set spec\.n_fft=64 --set spec\.n_mfcc=20: spec\.n_fft = 64 must hold"):
        with_settings(Recipe(), ["spec.n_fft=64", "seed=1", "spec.n_mfcc=20"])


def test_what_is_no_text_or_not_there_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b'seed = 3\nteacher = "\xe4"')
    with pytest.raises(ConfigError, match=r"latin\.toml: line 2 is not UTF-8; save it as UTF-8$"):
        read_recipe(tmp_path / "latin.toml", Recipe())
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(NoInputError, match=f"{path}: (cannot be read|not a regular file)"):
            read_recipe(path, Recipe())


def test_a_corpus_for_development_and_a_teacher_that_is_gone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="never trained on"):
        read_recipe(written(tmp_path, 'corpora = ["kor_emotiontts"]'), Recipe())
    file = written(tmp_path, 'teacher = "gone.onnx"')
    with pytest.raises(NoInputError, match=r"gone\.onnx: no such file"):
        asked_recipe(file=file, settings=[], corpora=[], teacher=None)


def test_fit_refuses_a_wrong_file_before_it_reads_a_recording(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, "sed = 3")
    words = ["fit", "--data", str(tmp_path / "nowhere"), "--recipe", str(file), "--out", str(tmp_path / "run")]
    assert main(words) == 78
    assert capfd.readouterr().err == f"affectd-train: {file}: the recipe has no key sed; did you mean seed?\n"
    assert not (tmp_path / "run").exists()
