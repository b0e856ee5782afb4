"""A sweep as a program: the weights of `fit`, poor trials stopped, the same table whatever is killed."""

from __future__ import annotations

import csv
import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

import tiny_corpora
from affectd_train.cli import main
from affectd_train.protocols.space import Space
from affectd_train.protocols.sweep import COLUMNS, FINISHED, Sweep, Trial
from affectd_train.training.recipe import Recipe
from disks import mounted
from documents import REPOSITORY, blocks, commands
from ray_nodes import nodes

POOR = 0  # a rate at which nothing is learned
SPACE = """
data = "data"
grace = 10
hold_out = ["emodb-12"]

[set]
finetune_rate = [0.006, {rates}]
finetune_steps = 20
pretrain_steps = 0
save_every = 5
batch_size = 8
n_frames = 64
pretrain_frames = 64
augmented_copies = 0
"""
HELD_BACK = "emodb-09"


def program(*words: str) -> list[str]:
    return [sys.executable, "-m", "affectd_train", *words]


def environment(path: Path | None = None) -> dict[str, str]:
    """As a user's, who has not said how many threads there are."""
    known = [str(path), os.environ.get("PYTHONPATH", "")] if path else [os.environ.get("PYTHONPATH", "")]
    return {k: v for k, v in os.environ.items() if "NUM_THREADS" not in k} | {"PYTHONPATH": os.pathsep.join(known)}


def run(folder: Path, *words: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        program(*words), cwd=folder, env=environment(path), capture_output=True, text=True, check=False, timeout=1200
    )


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(program(*words), cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True)


def rows(out: Path) -> list[dict[str, str]]:
    """The table, without what depends on the clock."""
    with (out / "sweep.csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def weights(network: Path) -> bytes:
    with zipfile.ZipFile(network) as file:
        return file.read("model.weights.h5")


def space(folder: Path, rates: str = str(POOR), change: Callable[[str], str] = str) -> None:
    (folder / "space.toml").write_text(change(SPACE.format(rates=rates)))


def copy(folder: Path, to: Path, rates: str = str(POOR)) -> Path:
    shutil.copytree(folder / "data", to / "data")
    space(to, rates)
    return to


def wait_for(found: Callable[[], object], process: subprocess.Popen[str]) -> None:
    while not found():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


def processes(folder: Path) -> list[int]:
    """Those that work in a folder, but for this one."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            is_there = (entry / "cwd").readlink() == folder
        except OSError:
            continue
        if is_there and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


def assert_left_alone(folder: Path) -> None:
    """What the program has started ends with it, or soon after it: tests beside this one may take all processors."""
    for _ in range(600):
        if not processes(folder):
            return
        time.sleep(0.1)
    assert [Path("/proc", str(pid), "cmdline").read_bytes() for pid in processes(folder)] == []


def trials(folder: Path) -> list[int]:
    found = []
    for pid in processes(folder):
        with suppress(OSError):  # it may end meanwhile
            if Path("/proc", str(pid), "cmdline").read_bytes().startswith(b"ray::Implicit"):
                found.append(pid)
    return found


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with a sweep of two trials, one after the other, and what it printed."""
    pytest.importorskip("ray.tune", reason="no ray: pip install 'affectd[ray]'")
    folder = tmp_path_factory.mktemp("sweep")
    tiny_corpora.emodb(folder / "data", ("03", "08", "09", "10", "12"))
    space(folder)
    done = run(folder, "sweep", "space.toml", "--out", "out", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return folder, done.stdout


def test_the_poor_trial_is_stopped_and_the_table_says_so(swept: tuple[Path, str]) -> None:
    folder, said = swept
    good, poor = rows(folder / "out")
    assert list((folder / "out").rglob("*-checkpoint*")) == []
    assert (good["trial"], good["finetune_rate"], good["state"], good["steps"]) == ("1", "0.006", "finished", "20")
    assert (poor["trial"], poor["finetune_rate"], poor["state"], poor["steps"]) == ("2", "0", "stopped early", "10")
    log = csv.DictReader((folder / "out" / "trial-001" / "whole-log.csv").read_text().splitlines())
    last = list(log)[-1]
    assert float(good["validation_accuracy"]) == pytest.approx(float(last["validation_accuracy"]), abs=6e-4)
    assert float(good["validation_loss"]) == pytest.approx(float(last["validation_loss"]), abs=6e-4)
    titles, *lines = said.splitlines()[:3]
    assert titles.split() == ["trial", "finetune_rate", *COLUMNS]
    assert [line.split()[:3] for line in lines] == [["1", "0.006", "finished"], ["2", "0", "stopped"]]
    assert not (folder / "out" / "trial-002" / "float.keras").exists()
    with Image.open(folder / "out" / "sweep.png") as picture:
        assert len(picture.getcolors()) > 5
    left = {path.name for path in (folder / "out").iterdir()}
    assert left == {"sweep.csv", "sweep.json", "sweep.png", "cache", "trial-001", "trial-002"}
    assert_left_alone(folder)


def test_the_speakers_who_choose_do_not_train_and_those_who_test_do_neither(swept: tuple[Path, str]) -> None:
    folder, _ = swept
    assert json.loads((folder / "out" / "sweep.json").read_text())["held back"] == [HELD_BACK]
    fitted = json.loads((folder / "out" / "trial-001" / "fit.json").read_text())
    assert fitted["speakers"] == ["emodb-03", "emodb-08", "emodb-10"]
    asked = json.loads((folder / "out" / "trial-001" / "asked.json").read_text())
    assert (asked["held out"], asked["clips of emodb"]) == ([HELD_BACK], 24)


def test_a_finished_trial_has_the_weights_of_fit_to_the_last_bit(swept: tuple[Path, str], tmp_path: Path) -> None:
    folder, said = swept
    *_, sentence, last = said.splitlines()
    assert sentence.startswith("trial 1 is best: it was right about 0.")
    assert "this is no test" in sentence
    words = shlex.split(last)
    assert words[:4] == ["affectd-train", "fit", "--data", "data"]
    at = words.index("--hold-out") + 1
    assert words[at] == "emodb-12"
    # Without the one who tests in the data, as the sweep has it, and with the one who chooses held out.
    shutil.copytree(folder / "data", tmp_path / "data", ignore=shutil.ignore_patterns("12*"))
    words[at], words[words.index("--out") + 1], words[words.index("--cache") + 1] = HELD_BACK, "fitted", "cache"
    done = run(tmp_path, *words[1:])
    assert done.returncode == 0, done.stderr
    assert weights(tmp_path / "fitted" / "float.keras") == weights(folder / "out" / "trial-001" / "float.keras")


@pytest.mark.slow
def test_a_trial_that_diverges_is_stopped_and_the_others_go_on(swept: tuple[Path, str], tmp_path: Path) -> None:
    folder = copy(swept[0], tmp_path)
    space(folder, change=lambda text: text.replace("0.006, 0", "1e9, 0.006"))
    done = run(folder, *LONGER)
    assert done.returncode == 0, done.stderr
    assert "trial 1: fine-tuning diverged at step " in done.stderr
    diverged, good = rows(folder / "out")
    assert (diverged["trial"], float(diverged["finetune_rate"]), diverged["state"]) == ("1", 1e9, "diverged")
    assert (good["trial"], good["state"], good["steps"]) == ("2", "finished", "20")
    assert "trial 2 is best" in done.stdout
    assert run(folder, *LONGER).stdout == done.stdout  # nothing is trained again


def test_a_trial_without_a_number_is_behind_all_others(tmp_path: Path) -> None:
    space = Space(path=tmp_path / "space.toml", values={}, options={})

    def trial(number: int, accuracy: float, loss: float | None) -> Trial:
        steps = {20: {"accuracy": accuracy, "loss": loss, "seconds": 1.0}}
        return Trial(number, (), Recipe(), tmp_path, steps, FINISHED)

    trials = [trial(1, 0.9, math.nan), trial(2, 0.2, 3.0), trial(3, 0.2, 2.0), trial(4, 0.9, math.inf)]
    for some in (trials, trials[::-1]):
        best = Sweep(space, some, [], frozenset(), tmp_path).best
        assert best is not None
        assert best.number == 3
    assert Sweep(space, [trials[0], trials[3]], [], frozenset(), tmp_path).best is None


def test_typed_again_it_prints_its_table_at_once(swept: tuple[Path, str], tmp_path: Path) -> None:
    folder, said = swept
    (tmp_path / "ray.py").write_text("raise SystemExit('imported')")
    (tmp_path / "keras.py").write_text("raise SystemExit('imported')")
    done = run(folder, "sweep", "space.toml", "--out", "out", path=tmp_path)
    assert (done.returncode, done.stdout) == (0, said)


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (lambda text: text.replace("0.006", "0.007"), 64, "trial-001 is of finetune_rate=0.006"),
        (lambda text: text.replace("emodb-12", "emodb-03"), 64, "out holds a sweep with other speakers: choose"),
        (lambda text: text.replace("emodb-12", "emodb-99"), 66, "hold_out: no clip of emodb-99"),
        (lambda text: text.replace("= 20", "= 0"), 64, "nothing is trained"),
        (lambda text: text.replace("finetune_steps", "finetune_step"), 78, "did you mean finetune_steps?"),
        (lambda text: text.replace('"data"', '"nowhere"'), 66, "nowhere"),
        (
            lambda text: text.replace('"emodb-12"', '"emodb-03", "emodb-08", "emodb-09", "emodb-10"'),
            65,
            "no speaker can",
        ),
    ],
    ids=["other settings", "other speakers", "unknown speaker", "no steps", "unknown key", "no data", "one speaker"],
)
def test_what_cannot_be_is_said_before_anything_is_trained(
    swept: tuple[Path, str],
    change: Callable[[str], str],
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder, _ = swept
    monkeypatch.chdir(folder)
    space(folder, change=change)
    before = sorted((path, path.stat().st_mtime_ns) for path in (folder / "out").rglob("*"))
    try:
        assert main(["sweep", "space.toml", "--out", "out"]) == code
    finally:
        space(folder)
    assert said in capfd.readouterr().err.splitlines()[-1]
    assert sorted((path, path.stat().st_mtime_ns) for path in (folder / "out").rglob("*")) == before


def test_without_ray_a_sentence_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "ray.py").write_text("raise ImportError('no ray here')")
    tiny_corpora.emodb(tmp_path / "data", ("03", "08", "12"))
    space(tmp_path)
    done = run(tmp_path, "sweep", "space.toml", "--out", "out", path=tmp_path / "modules")
    assert (done.returncode, done.stdout) == (69, "")
    last = done.stderr.splitlines()[-1]
    assert last == 'affectd-train: affectd-train sweep needs Ray (no ray here): pip install ".[ray]" in the checkout'
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def longer(swept: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep with a third trial added."""
    folder = tmp_path_factory.mktemp("longer") / "sweep"
    shutil.copytree(swept[0], folder)
    space(folder, f"{POOR}, 0.004")
    done = run(folder, *LONGER)
    assert done.returncode == 0, done.stderr
    return folder


LONGER = ("sweep", "space.toml", "--out", "out", "--workers", "1")


@pytest.mark.slow
def test_a_trial_that_is_added_leaves_the_others_as_they_are(swept: tuple[Path, str], longer: Path) -> None:
    found = rows(longer / "out")
    assert found[:2] == rows(swept[0] / "out")
    assert [row["finetune_rate"] for row in found] == ["0.006", "0", "0.004"]
    for name in ("trial-001/float.keras", "trial-002/whole-log.csv"):
        assert (longer / "out" / name).stat().st_mtime_ns == (swept[0] / "out" / name).stat().st_mtime_ns


@pytest.mark.slow
def test_a_killed_driver_goes_on_with_every_trial_once(longer: Path, tmp_path: Path) -> None:
    folder = copy(longer, tmp_path, f"{POOR}, 0.004")
    first, second, third = (folder / "out" / f"trial-00{n}" for n in (1, 2, 3))
    for is_far in ((first / "whole-checkpoint.keras").exists, (third / "asked.json").exists):
        process = start(folder, *LONGER)
        wait_for(is_far, process)
        process.kill()
        process.communicate()
    while trials(folder):  # which notice it
        time.sleep(0.05)
    made = [first / "float.keras", second / "whole-log.csv"]
    dated = [path.stat().st_mtime_ns for path in made]
    again = run(folder, *LONGER)
    assert again.returncode == 0, again.stderr
    assert rows(folder / "out") == rows(longer / "out")
    assert weights(first / "float.keras") == weights(longer / "out" / "trial-001" / "float.keras")
    assert [path.stat().st_mtime_ns for path in made] == dated
    assert sorted((folder / "out").glob("trial-*")) == [first, second, third]


@pytest.mark.slow
def test_a_killed_trial_goes_on(swept: tuple[Path, str], tmp_path: Path) -> None:
    folder = copy(swept[0], tmp_path)
    process = start(folder, "sweep", "space.toml", "--out", "out", "--workers", "1")
    wait_for((folder / "out" / "trial-001" / "whole-log.csv").exists, process)
    (trial,) = trials(folder)
    os.kill(trial, signal.SIGKILL)
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 0, said
    assert rows(folder / "out") == rows(swept[0] / "out")
    assert weights(folder / "out/trial-001/float.keras") == weights(swept[0] / "out/trial-001/float.keras")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_it_says_so_and_leaves_no_process(
    swept: tuple[Path, str], tmp_path: Path, number: signal.Signals
) -> None:
    folder = copy(swept[0], tmp_path)
    process = start(folder, "sweep", "space.toml", "--out", "out")
    wait_for((folder / "out" / "trial-001" / "asked.json").exists, process)
    process.send_signal(number)
    said = process.communicate(timeout=100)[1]
    assert process.returncode == 128 + number
    assert said.splitlines()[-1].endswith("interrupted; the same command goes on from the last checkpoint")
    assert "Traceback" not in said
    assert_left_alone(folder)
    assert not (folder / "out" / ".tune").exists()


@pytest.mark.slow
def test_on_two_nodes_the_weights_are_the_same_to_the_last_bit(swept: tuple[Path, str], tmp_path: Path) -> None:
    folder = copy(swept[0], tmp_path)
    with nodes(2) as cluster:
        done = run(folder, "sweep", "space.toml", "--out", "out", "--address", cluster.address)
    assert done.returncode == 0, done.stderr
    assert rows(folder / "out")[0] == rows(swept[0] / "out")[0]
    assert weights(folder / "out/trial-001/float.keras") == weights(swept[0] / "out/trial-001/float.keras")


@pytest.mark.slow
def test_a_trial_that_cannot_be_trained_ends_the_sweep_with_its_sentence(
    swept: tuple[Path, str], tmp_path: Path
) -> None:
    folder = copy(swept[0], tmp_path)
    (folder / "out" / "trial-001").mkdir(parents=True)
    (folder / "out" / "trial-001" / "asked.json").write_text('{"seed": 1}')
    (folder / "out" / "trial-001" / "whole-checkpoint.keras").write_text("of another run")
    done = run(folder, "sweep", "space.toml", "--out", "out")
    assert (done.returncode, done.stdout) == (64, "")
    assert "out/trial-001 holds a run with seed 1, now 0" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_trial_that_does_not_fit_on_the_disk_ends_the_sweep_with_its_sentence(
    swept: tuple[Path, str], tmp_path: Path
) -> None:
    folder = copy(swept[0], tmp_path)
    with mounted(folder / "out", "-t", "tmpfs", "-o", "size=600k", "tmpfs"):
        done = run(folder, "sweep", "space.toml", "--out", "out/sweep", "--workers", "1")
    assert (done.returncode, done.stdout) == (74, "")
    said = done.stderr.splitlines()[-1]
    assert said.startswith("affectd-train: out/sweep/")
    assert said.endswith(": cannot be written (No space left on device)")


@pytest.mark.slow
def test_the_example_of_the_page_is_swept(swept: tuple[Path, str], tmp_path: Path) -> None:
    folder = copy(swept[0], tmp_path)
    (text,) = blocks(REPOSITORY / "docs" / "sweeps.md", "toml")
    tiny = (
        "batch_size = 8\nn_frames = 64\npretrain_frames = 64\naugmented_copies = 0\nsave_every = 2\npretrain_steps = 2"
    )
    for usual, short in (('"DATA"', '"data"'), ("= 12\n", "= 2\n"), ("= 1200", "= 4")):
        assert usual in text
        text = text.replace(usual, short)
    (folder / "space.toml").write_text(f"{text}{tiny}\n")
    (line,) = [line for line in commands(REPOSITORY / "docs" / "sweeps.md") if line.startswith("affectd-train sweep")]
    done = run(folder, *shlex.split(line)[1:])
    assert done.returncode == 0, done.stderr
    assert [row["steps"] for row in rows(folder / "runs" / "sweep") if row["state"] == "finished"].count("6") >= 1
