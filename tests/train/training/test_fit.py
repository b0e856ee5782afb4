"""Training: it writes what the next step reads, resumes after a kill, and leaves speakers out."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import soundfile

import tiny_corpora
from affectd.errors import UsageError
from affectd_train.augmentation.waveform import Augmenter
from affectd_train.cli import main
from affectd_train.data.clips import Clip
from affectd_train.data.corpora import read_clips
from affectd_train.data.everyday_speech import trained_on
from affectd_train.evaluation.predictions import write_predictions
from affectd_train.training import fit as fitting
from affectd_train.training import network
from affectd_train.training.fit import claim, save
from affectd_train.training.recipe import Recipe, options_of, swap_phases
from affectd_train.training.variants import versions
from small_network import PROGRAM

PREDICTIONS = [
    {"truth": "sad", "int8": {"sad": 0.6, "calm": 0.4}},
    {"truth": "calm", "int8": {"sad": 0.7, "calm": 0.3}},
]
LENGTHS = {"pretrain_steps": 12, "finetune_steps": 12, "save_every": 4, "batch_size": 8, "augmented_copies": 0}
UNTRAINED = ("--set", "finetune_steps=0", "--set", "pretrain_steps=0")

pytestmark = pytest.mark.usefixtures("small_network")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RAVDESS and EmoDB as far as file names go; tones with syllables instead of voices."""
    root = tmp_path_factory.mktemp("data")
    seconds = np.arange(16000) / 16000
    rng = np.random.default_rng(0)

    def write(path: Path, hz: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        syllables = np.sin(2 * np.pi * 3 * seconds) ** 2
        sound = 0.3 * syllables * np.sin(2 * np.pi * hz * seconds) + rng.normal(0, 1e-3, len(seconds))
        soundfile.write(path, sound, 16000)

    for actor in (1, 2, 3):
        for emotion in range(1, 9):
            name = f"03-01-{emotion:02d}-01-01-01-{actor:02d}.wav"
            write(root / "ravdess" / f"Actor_{actor:02d}" / name, 200 + 100 * emotion)
    for code, letter in enumerate("WEAFTN"):
        write(root / "emodb" / "wav" / f"03a01{letter}a.wav", 300 + 100 * code)
    (root / "emodb" / "wav" / "03a02Wa.wav").write_bytes(b"RIFF")
    return root


def command(data: Path, folder: Path, *more: str) -> list[str]:
    settings = [word for key, value in LENGTHS.items() for word in ("--set", f"{key}={value}")]
    paths = ["--data", str(data), "--out", str(folder / "run"), "--cache", str(folder / "cache")]
    return ["fit", *paths, *settings, *more]


Run = Callable[[list[str]], subprocess.CompletedProcess[str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """What calls the program in this process, which has Keras already."""

    def call(words: list[str]) -> subprocess.CompletedProcess[str]:
        capfd.readouterr()
        return subprocess.CompletedProcess(words, main(words), *capfd.readouterr())

    return call


@pytest.fixture(scope="module")
def straight(data: Path, tmp_path_factory: pytest.TempPathFactory, small_network: None) -> tuple[Path, str]:
    """A run without an interruption, and what it said."""
    folder = tmp_path_factory.mktemp("straight")
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        assert main(command(data, folder)) == 0, said.getvalue()
    return folder / "run", said.getvalue()


def test_damaged_files_are_listed_and_progress_shows_the_time_left(straight: tuple[Path, str]) -> None:
    said = straight[1]
    assert "skipped 03a02Wa.wav" in said
    assert "fine-tuning" in said
    assert "it/s" in said or "s/it" in said or "step/s" in said or "s/step" in said


def test_a_finished_run_is_not_trained_again(data: Path, straight: tuple[Path, str], run: Run) -> None:
    result = straight[0] / "float.keras"
    before = result.stat().st_mtime_ns
    done = run(command(data, straight[0].parent))
    assert done.returncode == 0, done.stderr
    assert result.stat().st_mtime_ns == before


def test_a_killed_run_resumes_and_ends_where_an_uninterrupted_one_does(
    data: Path, straight: tuple[Path, str], tmp_path: Path, run: Run
) -> None:
    killed = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *command(data, tmp_path)],
        stderr=subprocess.PIPE,
        env=os.environ | {"COLUMNS": "80"},
    )
    assert killed.stderr is not None
    seen = b""
    while not list(tmp_path.glob("run/whole-checkpoint.keras")):  # each read waits for the next sign of progress
        piece = killed.stderr.read1(4096)  # type: ignore[attr-defined]
        assert piece, seen.decode()
        seen += piece
    killed.kill()
    killed.wait()
    killed.stderr.close()
    assert not (tmp_path / "run" / "float.keras").exists()

    done = run(command(data, tmp_path))
    assert done.returncode == 0, done.stderr
    assert "pretraining" not in done.stderr  # that phase was over
    resumed = keras.models.load_model(tmp_path / "run" / "float.keras", compile=False).get_weights()
    uninterrupted = keras.models.load_model(straight[0] / "float.keras", compile=False).get_weights()
    for a, b in zip(resumed, uninterrupted, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)


def test_held_out_speakers_are_not_trained_on(data: Path, tmp_path: Path, run: Run) -> None:
    logs = tmp_path / "run/pretraining-log.csv", tmp_path / "run/whole-log.csv"
    logs[0].parent.mkdir()
    for log in logs:  # of a call that was killed before its first checkpoint, and asked for something else
        log.write_text("step\n")
    done = run(command(data, tmp_path, "--hold-out", "ravdess-02", *UNTRAINED))
    assert done.returncode == 0, done.stderr
    assert not any(log.exists() for log in logs)
    details = json.loads((tmp_path / "run" / "fit.json").read_text())
    assert details["speakers"] == ["emodb-03", "ravdess-01", "ravdess-03"]
    assert details["clips"] == {"ravdess": 16, "emodb": 6}


@pytest.fixture
def phases(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The phases that training would go through, for tests that only ask which: nothing is trained."""
    noted = []

    def note(untrained: keras.Model, *told: Any) -> None:
        _, _, phase, _, result, _ = told
        noted.append(phase.title)
        save(untrained, result)

    monkeypatch.setattr(fitting, "train", note)
    return noted


def test_another_fine_tuning_shares_the_pretraining(
    data: Path, straight: tuple[Path, str], tmp_path: Path, run: Run, phases: list[str]
) -> None:
    (tmp_path / "cache").symlink_to(straight[0].parent / "cache")
    done = run(command(data, tmp_path, "--set", "finetune_steps=2"))
    assert done.returncode == 0, done.stderr
    assert phases == ["fine-tuning"]


def test_a_changed_network_is_pretrained_anew(
    data: Path, straight: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run, phases: list[str]
) -> None:
    (tmp_path / "cache").symlink_to(straight[0].parent / "cache")
    monkeypatch.setattr(network, "DILATIONS", (1,))
    done = run(command(data, tmp_path))
    assert done.returncode == 0, done.stderr
    assert phases == ["pretraining", "fine-tuning"]  # although its weights have the same shapes


@pytest.mark.parametrize("folder", ["noise", "speech"])
def test_with_another_noise_or_everyday_recording_it_is_pretrained_anew(
    folder: str, data: Path, straight: tuple[Path, str], tmp_path: Path, run: Run, phases: list[str]
) -> None:
    (tmp_path / "cache").symlink_to(straight[0].parent / "cache")
    more = tmp_path / "data"
    shutil.copytree(data, more)
    (more / folder).mkdir()
    hiss = np.random.default_rng(0).normal(0, 0.1, 48000)
    assert trained_on(Path("street.wav"))  # half of the everyday recordings are left for tests
    soundfile.write(more / folder / "street.wav", hiss, 16000)
    done = run(command(more, tmp_path))
    assert done.returncode == 0, done.stderr
    assert phases == ["pretraining", "fine-tuning"]


def test_corpora_without_a_label_give_a_network_without_it(data: Path, tmp_path: Path, run: Run) -> None:
    done = run(command(data, tmp_path, "--corpora", "emodb", *UNTRAINED))
    assert done.returncode == 0, done.stderr
    details = json.loads((tmp_path / "run" / "fit.json").read_text())
    assert details["labels"] == ["neutral", "happy", "sad", "angry", "fearful", "disgust"]
    assert details["clips"] == {"emodb": 6}
    trained = keras.models.load_model(tmp_path / "run" / "float.keras", compile=False)
    assert trained.output_shape == (None, 6)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--set", "pretrain_step=3"], "did you mean pretrain_steps?"),
        (["--set", "seed=x"], "'x' is no int"),
        (["--corpora", "ravdes"], "'ravdes' is not one of"),
        (["--corpora", "emodb,ravdess,emodb"], "emodb is named twice"),
        (["--hold-out", "ravdess-99"], "no clip of ravdess-99"),
        (["--set", "batch_size=0"], "must be 1 or more"),
        (["--set", "seed=-1"], "must be 0 or more"),
        (["--corpora", "emodb", "--hold-out", "emodb-03"], "no speaker is left to train on"),
    ],
)
def test_a_mistyped_option_is_one_sentence(
    data: Path, tmp_path: Path, arguments: list[str], sentence: str, run: Run
) -> None:
    done = run(command(data, tmp_path, *arguments))
    assert done.returncode == 64
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("settings", "phase"),
    [(["pretrain_rate=1e9"], "pretraining"), (["pretrain_steps=0", "finetune_rate=1e9"], "fine-tuning")],
)
def test_training_that_diverges_says_so_and_leaves_no_network(
    data: Path, tmp_path: Path, settings: list[str], phase: str, run: Run
) -> None:
    words = [word for setting in settings for word in ("--set", setting)]
    done = run(command(data, tmp_path, *words))
    assert done.returncode == 65, done.stderr
    said = re.sub(r"\d+:", "N:", done.stderr.splitlines()[-1])
    assert said == f"affectd-train: {phase} diverged at step N: its loss is nan; lower {settings[-1][:-4]}"
    assert not list((tmp_path / "run").glob("*.keras"))
    assert not list((tmp_path / "cache").glob("*checkpoint*"))
    assert len(list((tmp_path / "cache").glob("pretrained-*.keras"))) == len(settings) - 1


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path, run: Run) -> None:
    done = run(command(tmp_path / "nowhere", tmp_path))
    assert done.returncode == 66
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_without_the_corpora_is_one_sentence(data: Path, tmp_path: Path, run: Run) -> None:
    done = run(command(data, tmp_path, "--corpora", "savee"))
    assert done.returncode == 66
    assert done.stderr.endswith(f"affectd-train: {data}: none of savee in it\n")


def test_a_result_that_cannot_be_written_is_one_sentence(data: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "run").write_text("a file where a folder should be made")
    done = run(command(data, tmp_path))
    assert done.returncode == 74
    assert str(tmp_path / "run") in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "change"),
    [
        (["--set", "finetune_steps=13"], "finetune_steps 12, now 13"),
        (["--corpora", "ravdess"], "now ['ravdess']"),
        (["--hold-out", "ravdess-02"], "held out [], now ['ravdess-02']"),
    ],
)
def test_a_run_that_was_asked_for_something_else_is_not_taken_for_the_answer(
    data: Path, straight: tuple[Path, str], arguments: list[str], change: str, run: Run
) -> None:
    again = command(data, straight[0].parent, *arguments)
    done = run(again)
    assert done.returncode == 64, done.stderr
    assert change in done.stderr
    assert "Traceback" not in done.stderr


def test_a_checkpoint_of_another_recipe_is_not_gone_on_from(tmp_path: Path) -> None:
    claim(tmp_path / "run", [], Recipe(seed=2), tmp_path, {"ravdess-01"})
    claim(tmp_path / "run", [], Recipe(), tmp_path, {"ravdess-01"})  # nothing was trained yet
    (tmp_path / "run" / "float-checkpoint.keras").touch()
    claim(tmp_path / "run", [], Recipe(), tmp_path, {"ravdess-01"})
    with pytest.raises(UsageError, match=r"seed 0, now 1"):
        claim(tmp_path / "run", [], Recipe(seed=1), tmp_path, {"ravdess-01"})


@pytest.mark.parametrize("name", ["fit.json", "int8.tflite", "affectd.tflite", "predictions.jsonl", "float.keras"])
def test_what_is_left_of_a_run_answers_to_what_was_asked_for(tmp_path: Path, name: str) -> None:
    claim(tmp_path, [], Recipe(), tmp_path, set())
    (tmp_path / name).write_text("{}")
    claim(tmp_path, [], Recipe(), tmp_path, set())
    with pytest.raises(UsageError, match=r"holds a run with seed 0, now 1"):
        claim(tmp_path, [], Recipe(seed=1), tmp_path, set())
    (tmp_path / "asked.json").unlink()
    with pytest.raises(UsageError, match=rf"holds {name}, and no asked\.json that says what it is of"):
        claim(tmp_path, [], Recipe(), tmp_path, set())
    assert (tmp_path / name).read_text() == "{}"


def test_a_run_of_a_corpus_of_which_a_recording_was_replaced_is_not_taken_for_the_answer(tmp_path: Path) -> None:
    tiny_corpora.emodb(tmp_path / "data", ("03",))
    clips = read_clips(tmp_path / "data", ["emodb"])
    claim(tmp_path / "run", clips, Recipe(), tmp_path, set())
    (tmp_path / "run/float.keras").touch()
    claim(tmp_path / "run", clips, Recipe(), tmp_path, set())
    tiny_corpora.write(clips[0].path, tiny_corpora.voice(333, seed=99))
    with pytest.raises(UsageError, match="holds a run with content of recordings"):
        claim(tmp_path / "run", clips, Recipe(), tmp_path, set())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["quantize", "nowhere"], "nowhere/float.keras: no such file; affectd-train fit writes it"),
        (["pack", "nowhere"], "nowhere/fit.json: no such file; affectd-train fit writes it"),
        (["pack", "nowhere", "--evaluation", "gone"], "gone/metrics.json: no such file; affectd-train evaluate"),
        (["pack", "nowhere", "--evaluation", "done"], "done/metrics.json: no such file; affectd-train evaluate"),
        (["report", "nowhere"], "model file nowhere: cannot be read"),
        (["evaluate", "--protocol", "ravdess-emobox", "--data", "{data}"], "of any EmoBox fold in it"),
    ],
)
def test_a_step_without_the_one_before_is_one_sentence(
    data: Path, tmp_path: Path, words: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "done").mkdir()
    write_predictions(tmp_path / "done" / "predictions.jsonl", PREDICTIONS)
    done = run([word.format(data=data) for word in words])
    assert done.returncode in {66, 78}
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_the_options_of_a_recipe_are_those_it_was_made_with() -> None:
    recipe = json.loads(json.dumps(asdict(replace(Recipe(), pretrain_steps=5, hint_weight=0.5))))
    assert options_of(recipe) == "--set hint_weight=0.5 --set pretrain_steps=5"
    assert options_of(recipe | {"teacher": "0123"}).startswith("--teacher encoder_model.onnx --set hint")
    # Of CREMA-D the phases are swapped; who asks for it names them as they are in the recipe.
    swapped = asdict(replace(swap_phases(replace(Recipe(), pretrain_steps=5)), target="cremad"))
    assert options_of(json.loads(json.dumps(swapped))) == "--set pretrain_steps=5"
    assert options_of(json.loads(json.dumps(asdict(Recipe())))) == ""


@pytest.mark.parametrize(
    ("n_clips", "wanted", "n_copies"), [(350, 4, 4), (350, 1, 1), (1200, 4, 1), (2800, 4, 1), (2800, 0, 0)]
)
def test_large_corpora_have_fewer_copies(n_clips: int, wanted: int, n_copies: int) -> None:
    clips = [Clip("emodb", Path(f"{n}.wav"), "emodb-03", "male", "sad", "a01") for n in range(n_clips)]
    listed = versions("emodb", clips, replace(Recipe(), augmented_copies=wanted), Augmenter(None, None))
    assert [(by is not None, copy) for _, by, copy in listed] == [(copy > 0, copy) for copy in range(n_copies + 1)]
    bands = [replace(clip, first_frame=0, n_frames=9) for clip in clips]
    assert [copy for *_, copy in versions("emodb", bands, Recipe(), Augmenter(None, None))] == [0]
