"""What an earlier call left is made again when it is damaged, or named with what to do; nothing shows a traceback."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_corpora
from affectd.recognition.model_file import find_model
from affectd_train.cli import main
from affectd_train.training.fit import finished
from affectd_train.training.network import build_network
from affectd_train.training.recipe import Recipe, with_settings
from disks import fill, small_disk

NUMBERS = ("pretrain_steps=0", "finetune_steps=0", "batch_size=4", "augmented_copies=0")  # nothing is trained
TRAINING = [word for number in NUMBERS for word in ("--set", number)]

pytestmark = pytest.mark.usefixtures("small_network")


def other_arrays(path: Path) -> None:
    if path.suffix == ".npz":
        with np.load(path) as stored:
            np.savez(path, **{name: stored[name][:1] for name in stored.files})
    elif path.suffix == ".npy":
        np.save(path, np.zeros((3, 2)))
    elif path.suffix == ".keras":
        build_network(16, 8, 3).save(path)
    else:
        path.write_text('{"a": [1]}\n')


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not what it should be"),
    "flipped": lambda path: path.write_bytes(bytes(b ^ 255 if i > 40 else b for i, b in enumerate(path.read_bytes()))),
    "pickle": lambda path: path.write_bytes(pickle.dumps({"a": [1, 2, 3]})),
    "other": other_arrays,
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "pipe": lambda path: (path.unlink(), os.mkfifo(path)),
}
damaged = pytest.mark.parametrize("damage", DAMAGES)


def fit(folder: Path, *more: str) -> int:
    paths = ["--data", str(folder / "data"), "--out", str(folder / "run"), "--cache", str(folder / "cache")]
    return main(["fit", *paths, *TRAINING, *more])


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, small_network: None) -> Path:
    """A folder in which a network was fitted, quantized and tested."""
    folder = tmp_path_factory.mktemp("done")
    tiny_corpora.emodb(folder / "data", ("03", "08"))
    assert fit(folder) == 0
    assert main(["quantize", str(folder / "run")]) == 0
    evaluation = ["--out", str(folder / "evaluation"), "--data", str(folder / "data"), *TRAINING]
    assert main(["evaluate", "--protocol", "emodb-loso", *evaluation]) == 0
    return folder


@pytest.fixture
def copy(done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # what a command writes without --out
    shutil.copytree(done, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


def damage_one(copy: Path, pattern: str, damage: str) -> Path:
    (path,) = copy.glob(pattern)
    DAMAGES[damage](path)
    return path


def check_refused(code: int, path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    said = capfd.readouterr().err
    assert code in (65, 66, 78), said
    assert str(path) in said.splitlines()[-1], said


@damaged
def test_a_damaged_cache_is_made_again(damage: str, copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    names = ("cache/emodb-0-*.npz", "cache/pretrained-*.keras")
    shutil.rmtree(copy / "run")
    if damage in ("folder", "pipe"):
        for name in reversed(names):  # the bands, which are read first, last
            path = damage_one(copy, name, damage)
            check_refused(fit(copy), path, capfd)
        return
    paths = [damage_one(copy, name, damage) for name in names]
    code = fit(copy)
    said = capfd.readouterr().err
    assert code == 0, said
    for path in paths:
        assert f"{path}: damaged" in said
    assert said.count("it is made again") == 2
    assert sorted(p.name for p in (copy / "cache").iterdir()) == sorted(p.name for p in (copy / "cache").glob("[ep]*"))


@damaged
@pytest.mark.parametrize("name", ["float.keras", "representative.npy", "fit.json"])
def test_a_damaged_run_is_named_by_the_next_step_and_made_again_by_fit(
    name: str, damage: str, copy: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = damage_one(copy, f"run/{name}", damage)
    (copy / "run/int8.tflite").unlink()
    next_step = ["pack", str(copy / "run"), "--evaluation", str(copy / "evaluation"), "--out", str(copy / "a.tflite")]
    if name != "fit.json":
        next_step = ["quantize", str(copy / "run")]
    else:
        shutil.copy(copy / "evaluation/fold-03/int8.tflite", copy / "run")
    if not (name == "float.keras" and damage == "other"):  # which is a whole network, of other shapes
        check_refused(main(next_step), path, capfd)
    capfd.readouterr()
    if damage in ("folder", "pipe"):
        return
    recipe = with_settings(Recipe(), NUMBERS)
    assert not finished(copy / "run", recipe)
    assert f"{path}: damaged" in capfd.readouterr().err
    assert not path.exists()
    if damage == "cut":  # what is not there is made again, however it was damaged
        assert fit(copy) == 0
        assert finished(copy / "run", recipe)
        assert main(["quantize", str(copy / "run")]) == 0


@damaged
def test_a_damaged_checkpoint_is_not_gone_on_from(damage: str, copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("float.keras", "fit.json"):
        (copy / "run" / name).unlink()
    checkpoint = copy / "run/whole-checkpoint.keras"
    build_network(16, 8, 3).save(checkpoint)  # which was never compiled
    DAMAGES[damage](checkpoint)
    code = fit(copy)
    if damage in ("folder", "pipe"):
        check_refused(code, checkpoint, capfd)
    else:
        assert code == 0
        assert f"{checkpoint}: damaged" in capfd.readouterr().err
        assert not checkpoint.exists()


@damaged
def test_a_damaged_note_of_what_was_asked_for_is_named(
    damage: str, copy: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = damage_one(copy, "run/asked.json", damage)
    if damage != "other":
        check_refused(fit(copy), path, capfd)
    else:
        assert fit(copy) == 64


@damaged
def test_a_damaged_int8_network_is_made_again_by_quantize(
    damage: str, copy: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = damage_one(copy, "run/int8.tflite", damage)
    words = ["pack", str(copy / "run"), "--evaluation", str(copy / "evaluation"), "--out", str(copy / "a.tflite")]
    code = main(words)  # 69: no interpreter can run it
    check_refused(66 if code == 69 else code, path, capfd)
    if damage not in ("folder", "pipe"):
        assert main(["quantize", str(copy / "run")]) == 0
        assert f"{path}: damaged" in capfd.readouterr().err
        assert main(words) == 0


@damaged
@pytest.mark.parametrize("name", ["fold-03/predictions.jsonl", "predictions.jsonl", "metrics.json"])
def test_a_damaged_evaluation_is_named_and_made_again(
    name: str, damage: str, copy: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = damage_one(copy, f"evaluation/{name}", damage)
    behavior = ["behavior", "--data", str(copy / "data"), "--model", str(copy / "evaluation/fold-08/affectd.tflite")]
    step = behavior if "fold" in name else ["pack", str(copy / "run"), "--out", str(copy / "a.tflite")]
    check_refused(main([*step, "--evaluation", str(copy / "evaluation")]), path, capfd)
    if damage in ("folder", "pipe"):
        return
    evaluation = ["--out", str(copy / "evaluation"), "--data", str(copy / "data"), *TRAINING]
    assert main(["evaluate", "--protocol", "emodb-loso", *evaluation]) == 0
    assert json.loads((copy / "evaluation/metrics.json").read_text())["clips"] == 12


@damaged
@pytest.mark.parametrize("name", ["metrics.json", "robustness.json", "cache/x-loss.jsonl"])
def test_pictures_and_cards_name_the_damaged_file(
    name: str, damage: str, copy: Path, done: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = copy / "evaluation" / name
    if not path.exists():
        path.write_text('{"conditions": []}\n')
    DAMAGES[damage](path)
    if name.endswith("jsonl") and damage == "empty":
        return  # nothing was logged yet
    check_refused(
        main(["pictures", "--evaluation", str(path.parents[len(name.split("/")) - 1]), "--out", str(copy)]),
        path,
        capfd,
    )
    if name == "robustness.json":
        check_refused(main(["pack", str(copy / "run"), "--evaluation", str(path.parent)]), path, capfd)
    if name == "metrics.json":
        check_refused(
            main(["pack", str(copy / "run"), "--evaluation", str(done / "evaluation"), "--also", str(path.parent)]),
            path,
            capfd,
        )


def changed(file: Path, change: Callable[[Any], object]) -> None:
    """Change what the first line of a file of JSON holds, or all of it."""
    first, *others = [file.read_text()] if file.suffix == ".json" else file.read_text().splitlines()
    content = json.loads(first)
    change(content)
    file.write_text("\n".join([json.dumps(content), *others]))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("metrics.json", dict.clear),
        ("metrics.json", lambda found: found["int8"].update(unweighted="much")),
        ("metrics.json", lambda found: found["float"].pop("by_gender")),
        ("metrics.json", lambda found: found["int8"]["confusion"].pop()),
        ("metrics.json", lambda found: found["folds"].update(a={"int8": 0.5})),
        ("metrics.json", lambda found: found.update(labels=[])),
        ("metrics.json", lambda found: found["calibration"].update(ece=[])),
        ("metrics.json", lambda found: found.update(stranger_share=0)),
        ("metrics.json", lambda found: found.update(stranger_share="all")),
        ("predictions.jsonl", lambda found: found.pop("corpus")),
        ("predictions.jsonl", lambda found: found["int8"].popitem()),
        ("predictions.jsonl", lambda found: found["int8"].update(angry=float("nan"))),
        ("predictions.jsonl", lambda found: found["int8"].update(angry=17)),
        ("predictions.jsonl", lambda found: found.update(truth="calm")),
    ],
)
def test_an_evaluation_that_is_none_is_not_packed(
    name: str, change: Callable[[Any], object], copy: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = copy / "evaluation" / name
    changed(file, change)
    assert main(["pack", str(copy / "run"), "--evaluation", str(file.parent), "--out", "a.tflite"]) == 65
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith(f"affectd-train: {file}: damaged (")
    assert last.endswith("; remove it, and affectd-train evaluate writes it again")
    assert not Path("a.tflite").exists()


@pytest.mark.parametrize(
    ("run", "command", "change"),
    [
        ("run", "fit", lambda found: found.update(labels=[])),
        ("run", "fit", lambda found: found["mean"].__setitem__(0, "loud")),
        ("run", "fit", lambda found: found["std"].__setitem__(0, float("nan"))),
        ("evaluation/fold-03", "evaluate", lambda found: found.update(labels=[])),
    ],
)
def test_a_note_of_training_that_is_none_is_not_packed(
    run: str, command: str, change: Callable[[Any], object], copy: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = copy / run / "fit.json"
    changed(file, change)
    words = ["pack", str(copy / "run"), "--evaluation", str(copy / "evaluation"), "--out", "a.tflite"]
    assert main(words) == 65
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith(f"affectd-train: {file}: damaged (")
    assert last.endswith(f"; remove it, and affectd-train {command} writes it again")


def test_a_place_that_cannot_be_written_is_not_taken_for_a_model_that_is_wrong(
    copy: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = Path("/proc/affectd.tflite")  # where root cannot write either
    assert main(["pack", str(copy / "run"), "--evaluation", str(copy / "evaluation"), "--out", str(out)]) == 74
    assert capfd.readouterr().err.splitlines()[-1].startswith(f"affectd-train: {out}: cannot be written (")


@pytest.mark.parametrize(
    "words",
    [
        "pack COPY/run --evaluation COPY/evaluation --out NEW/m.tflite",
        "report MODEL --out NEW/m.md --html NEW/m.html",
        "pictures --evaluation COPY/evaluation --out NEW",
        "explore COPY/data --out NEW",
        "answers --data COPY/data --out NEW",
        "fit --data COPY/data --out NEW --cache COPY/cache",
        "evaluate --protocol emodb-loso --data COPY/data --out NEW",
        "archive COPY/data --out NEW",
    ],
    ids=lambda words: words.partition(" ")[0],
)
def test_a_full_disk_keeps_no_folder_that_nothing_was_written_into(
    words: str, copy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if words.startswith("archive"):
        pytest.importorskip("ray", reason="no ray: pip install 'affectd[ray]'")
    with small_disk(tmp_path / "disk") as disk:
        ballast = fill(disk)
        places = {"COPY": copy, "MODEL": find_model(), "NEW": disk / "new" / "deep"}
        for name, place in places.items():
            words = words.replace(name, str(place))
        assert main(words.split()) == 74
        assert [*disk.iterdir()] == [ballast]
    assert "No space left on device" in capfd.readouterr().err.splitlines()[-1]


@damaged
def test_a_damaged_teacher_is_named(damage: str, copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    teacher = copy / "encoder_model.onnx"
    teacher.write_bytes(io.BytesIO(bytes(range(256)) * 8).getvalue())
    DAMAGES[damage](teacher)
    shutil.rmtree(copy / "run")
    check_refused(fit(copy, "--teacher", str(teacher)), teacher, capfd)
