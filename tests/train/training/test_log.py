"""The log of a training: every step once whatever was killed, right figures, and a network that it does not touch."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from affectd.features.spec import FeatureSpec
from affectd_train.backend import keras
from affectd_train.cli import main
from affectd_train.data.clips import Clip
from affectd_train.training import fit
from affectd_train.training.bands import BandStore
from affectd_train.training.batches import Batches
from affectd_train.training.log import COLUMNS, TrainingLog, cross_entropy, read_log
from affectd_train.training.network import build_network, loss
from affectd_train.training.recipe import Recipe

SPEC = FeatureSpec(n_mfcc=16)
RECIPE = replace(Recipe(), spec=SPEC, n_frames=32, save_every=2, batch_size=4, finetune_rate=1e-2)
PHASE = replace(fit.phases(RECIPE, ["emodb"])[1], n_frames=32, steps=7)
LABELS = ("happy", "sad")


def store(speaker: str, seed: int) -> BandStore:
    rng = np.random.default_rng(seed)
    clips = tuple(Clip("emodb", Path(f"{n}.wav"), speaker, "male", LABELS[n % 2], "a01") for n in range(6))
    rows = rng.normal(-30, 10, (6 * 40, SPEC.n_mels)).astype(np.float16)
    starts = np.arange(6, dtype=np.int64) * 40
    return BandStore(clips, rows, starts, starts + 40, (0,) * 6)


def batches() -> Batches:
    mean_std = (np.zeros(SPEC.n_mfcc, np.float32), np.full(SPEC.n_mfcc, 30, np.float32))
    numbers = {"batch_size": 4, "label_smoothing": 0.05, "seed": 1}
    return Batches(
        store=store("emodb-03", 0),
        shares={"emodb": 1.0},
        labels=LABELS,
        noise=[],
        everyday=[],
        spec=SPEC,
        n_frames=32,
        normalization=mean_std,
        **numbers,
    )


def trained(folder: Path) -> tuple[list[np.ndarray], list[dict[str, str]]]:
    """Train a few steps; return the weights and the rows of the log."""
    folder.mkdir(exist_ok=True)
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    network = build_network(32, SPEC.n_mfcc, 2)
    held_out = {"emodb": store("emodb-08", 5)}
    fit.train(network, batches(), loss(2, 0, 0, 1.0, 1.0), PHASE, RECIPE, folder / "whole.keras", held_out)
    weights = keras.models.load_model(folder / "whole.keras", compile=False).get_weights()
    if not (log := folder / "whole-log.csv").exists():
        return weights, []
    with log.open(newline="") as file:
        return weights, list(csv.DictReader(file))


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[np.ndarray], list[dict[str, str]]]:
    """A folder of a training that was not interrupted, its weights, and the rows of its log."""
    folder = tmp_path_factory.mktemp("straight")
    return folder, *trained(folder)


class Killed(BaseException):
    """Stands for a signal that ends the process."""


def test_the_log_leaves_every_weight_as_it_is_to_the_last_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged, rows = trained(tmp_path / "logged")
    monkeypatch.setattr(TrainingLog, "add", lambda *_: None)
    bare, none = trained(tmp_path / "bare")
    assert none == []
    assert len(rows) == 4
    for a, b in zip(logged, bare, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_killed_training_logs_every_step_once(
    straight: tuple[Path, list[np.ndarray], list[dict[str, str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, weights, rows = straight
    with monkeypatch.context() as patch:
        calls = 0

        def die_the_second_time(*arguments: object) -> None:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise Killed
            save(*arguments)

        save = fit.save
        patch.setattr(fit, "save", die_the_second_time)
        with pytest.raises(Killed):
            trained(tmp_path / "killed")
    before = read_log(tmp_path / "killed/whole-log.csv")
    assert [row["step"] for row in before] == [2, 4]  # the checkpoint is of step 2
    resumed, again = trained(tmp_path / "killed")
    assert [row["step"] for row in again] == [row["step"] for row in rows] == ["2", "4", "6", "7"]
    seconds = [float(row["seconds"]) for row in again]
    assert seconds == sorted(seconds)
    for a, b in zip(again, rows, strict=True):
        for key in ("objective", "loss", "validation_loss", "rate"):
            assert float(a[key]) == pytest.approx(float(b[key]), abs=2e-3), (a["step"], key)
    for x, y in zip(resumed, weights, strict=True):
        np.testing.assert_allclose(x, y, atol=2e-3)


def test_the_last_row_is_of_the_network_that_is_written(
    straight: tuple[Path, list[np.ndarray], list[dict[str, str]]],
) -> None:
    folder, _, rows = straight
    network = keras.models.load_model(folder / "whole.keras", compile=False)
    found = fit.held_out_contexts([store("emodb-08", 5)], batches())
    assert found is not None
    contexts, truth = found
    assert contexts.shape == (6, 32, 16)
    logits = network.predict(contexts, verbose=0)
    expected = float(keras.losses.CategoricalCrossentropy(from_logits=True)(truth, logits))
    assert float(rows[-1]["validation_loss"]) == pytest.approx(expected, rel=1e-4)
    right = float(np.mean(logits.argmax(1) == truth.argmax(1)))
    assert float(rows[-1]["validation_accuracy"]) == pytest.approx(right, rel=1e-4)


def test_cross_entropy_is_that_of_keras_and_leaves_out_what_has_no_label() -> None:
    rng = np.random.default_rng(3)
    logits = (50 * rng.normal(size=(9, 5))).astype(np.float32)  # the last two are hints of a teacher
    truth = rng.integers(0, 3, 9)
    targets = np.concatenate([0.9 * np.eye(3)[truth] + 0.1 / 3, rng.normal(size=(9, 2))], axis=1).astype(np.float32)
    targets[4, :3] = 1 / 3  # noise
    kept = np.arange(9) != 4
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(truth[kept], logits[kept, :3])
    value, accuracy = cross_entropy([(logits[:5], targets[:5]), (logits[5:], targets[5:])], 3)
    assert value == pytest.approx(float(expected), rel=1e-5)
    assert accuracy == pytest.approx(np.mean(logits[kept, :3].argmax(1) == truth[kept]))
    assert cross_entropy([(logits[4:5], targets[4:5])], 3) == (None, None)
    assert cross_entropy([], 3) == (None, None)


def test_without_held_out_speakers_their_columns_are_empty(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "log.csv", 0, 2)
    log.seen((np.zeros((2, 3, 4), np.float32), np.eye(2, dtype=np.float32)), 0.75)
    log.add(1, lambda x: np.zeros((len(x), 2), np.float32), 0.1)
    (row,) = csv.DictReader((tmp_path / "log.csv").read_text().splitlines())
    assert tuple(row) == COLUMNS
    assert (row["objective"], row["accuracy"], row["validation_loss"], row["rate"]) == ("0.75", "0.5", "", "0.1")
    assert fit.held_out_contexts([], batches()) is None


@pytest.mark.parametrize("content", ["", "step,loss\n1,2\n", f"{','.join(COLUMNS)}\n2,1,1,1,1,1", "\x00"])
def test_a_damaged_log_does_not_stop_a_training_that_goes_on(
    content: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "whole-log.csv"
    path.write_text(content)
    assert TrainingLog(path, 4, 2).rows == []
    assert f"{path}: damaged" in capfd.readouterr().err


def test_curves_are_drawn_over_a_picture_and_over_no_other_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="no matplotlib")
    log, asked = tmp_path / "whole-log.csv", tmp_path / "asked.json"
    log.write_text(f"{','.join(COLUMNS)}\n200,2,1.5,0.4,1.6,0.3,0.01,9\n")
    asked.write_text("{}")
    before = log.read_text()
    for file in (asked, log):
        assert main(["curves", str(tmp_path), "--out", str(file)]) == 64
        expected = f"affectd-train: {file} is there and is no picture: name another file with --out\n"
        assert capfd.readouterr().err == expected
    assert (log.read_text(), asked.read_text()) == (before, "{}")
    for _ in range(2):
        assert main(["curves", str(tmp_path), "--out", str(tmp_path / "a.png")]) == 0


def test_a_new_training_does_not_go_on_with_an_old_log(tmp_path: Path) -> None:
    path = tmp_path / "whole-log.csv"
    path.write_text(f"{','.join(COLUMNS)}\n2,1,1,1,,,0.1,3\n")
    assert [row["step"] for row in TrainingLog(path, 2, 2).rows] == [2]
    assert TrainingLog(path, 0, 2).rows == []
    assert not path.exists()
