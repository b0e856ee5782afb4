"""Folds as tasks of Ray: the same files as one after the other, killed or not; without Ray a sentence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

import tiny_corpora
from affectd_train.arguments import PROTOCOLS
from affectd_train.data.splits import EMOBOX_RAVDESS
from open_files import open_files
from ray_nodes import nodes

ACTORS = tuple(int(name[-2:]) for fold in (1, 2) for name in EMOBOX_RAVDESS[fold])
NUMBERS = ("pretrain_steps=0", "finetune_steps=3", "batch_size=4", "augmented_copies=1", "save_every=1")
NUMBERS += ("n_frames=64", "pretrain_frames=64")


def command(folder: Path, out: str, *words: str, protocol: str = "emodb-loso") -> list[str]:
    numbers = [word for number in NUMBERS for word in ("--set", number)]
    program = [sys.executable, "-m", "affectd_train", "evaluate", "--data", str(folder / "data")]
    return [*program, "--protocol", protocol, "--out", str(folder / out), *numbers, *words]


def run(words: list[str], path: str | Path = "") -> subprocess.CompletedProcess[str]:
    known = os.pathsep.join(filter(None, [str(path), os.environ.get("PYTHONPATH", "")]))
    environment = os.environ | {"PYTHONPATH": known}
    return subprocess.run(words, capture_output=True, text=True, check=False, env=environment, timeout=1200)


def files(out: Path) -> dict[str, bytes]:
    """All that is not dated: networks, answers, figures, notes, what quantization saw, the caches."""
    found = {p.relative_to(out).as_posix(): p for p in sorted(out.rglob("*")) if p.is_file() and p.suffix != ".csv"}
    return {name: weights(p) if p.suffix == ".keras" else p.read_bytes() for name, p in found.items()}


def weights(network: Path) -> bytes:
    """Of a Keras file, which besides holds a date and addresses in memory."""
    with zipfile.ZipFile(network) as file:
        return file.read("model.weights.h5")


def runs_of(folder: Path) -> list[str]:
    """The processes that have to do with a folder, but for this one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in words and int(process.name) != os.getpid():
            found.append(words)
    return found


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings, and an evaluation of one fold after the other, which has no Ray to import."""
    folder = tmp_path_factory.mktemp("folds")
    tiny_corpora.emodb(folder / "data", ("03", "08"))
    (folder / "without").mkdir()
    (folder / "without" / "ray.py").write_text("raise SystemExit('imported')")
    done = run(command(folder, "one"), folder / "without")
    assert done.returncode == 0, done.stderr
    (folder / "stdout").write_text(done.stdout)
    return folder


@pytest.fixture(scope="module")
def folder(one: Path) -> Path:
    """The same, for what needs Ray besides."""
    pytest.importorskip("ray", reason="no ray: pip install 'affectd[ray]'")
    return one


def test_tasks_leave_what_one_fold_after_the_other_does(folder: Path) -> None:
    done = run(command(folder, "many", "--address"))
    assert done.returncode == 0, done.stderr
    assert done.stdout == (folder / "stdout").read_text()
    one, many = files(folder / "one"), files(folder / "many")
    assert sum(name.endswith(".tflite") for name in one) == 4
    assert one.keys() == many.keys()
    assert [name for name in one if one[name] != many[name]] == []


@pytest.mark.slow
def test_killed_it_goes_on(folder: Path) -> None:
    out = folder / "killed"
    words = command(folder, "killed", "--address", "local")
    program = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(out.glob("fold-*/predictions.jsonl")):
        assert program.poll() is None
        time.sleep(0.05)
    program.send_signal(signal.SIGKILL)
    program.wait()
    (done,) = list(out.glob("fold-*/predictions.jsonl"))[:1]
    before = done.stat().st_mtime_ns
    again = run(words)
    assert again.returncode == 0, again.stderr
    assert again.stdout == (folder / "stdout").read_text()
    assert done.stat().st_mtime_ns == before
    one, many = files(folder / "one"), files(out)
    assert sum(name.endswith(".tflite") for name in one) == 4
    assert [name for name in one if one[name] != many.get(name)] == []


def test_interrupted_it_says_so_and_leaves_no_process(folder: Path) -> None:
    out = folder / "stopped"
    program = subprocess.Popen(command(folder, "stopped", "--address"), stderr=subprocess.PIPE, text=True)
    while not list(out.glob("fold-*/asked.json")):
        assert program.poll() is None
        time.sleep(0.05)
    program.send_signal(signal.SIGINT)
    _, said = program.communicate(timeout=100)
    assert program.returncode == 130
    assert said.splitlines()[-1].endswith("interrupted; the same command goes on from the last checkpoint")
    assert "Traceback" not in said
    assert runs_of(folder) == []


def test_what_a_task_refuses_is_said_as_without_it(folder: Path) -> None:
    done = run(command(folder, "one", "--set", "seed=1", "--address"))
    assert (done.returncode, done.stdout) == (64, "")
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"affectd-train: {folder / 'one'}/fold-")
    assert "holds a run with seed 0, now 1: choose another folder" in last


@pytest.mark.slow
def test_what_a_disk_refuses_a_task_is_said_as_without_it(folder: Path) -> None:
    (folder / "refused").mkdir()
    (folder / "refused" / "fold-03").touch()  # where a folder has to be
    one, many = run(command(folder, "refused")), run(command(folder, "refused", "--address"))
    assert (many.returncode, many.stdout) == (one.returncode, one.stdout) == (74, "")
    assert many.stderr.splitlines()[-1] == one.stderr.splitlines()[-1]


def test_where_nothing_answers_a_sentence_says_so(folder: Path) -> None:
    done = run(command(folder, "nowhere", "--address", "127.0.0.1:1"))
    assert (done.returncode, done.stdout) == (69, "")
    assert "no Ray answers at 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_ray_a_sentence_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError('no ray here')")
    tiny_corpora.emodb(tmp_path / "data")
    done = run(command(tmp_path, "out", "--address"), tmp_path)
    words = 'affectd-train evaluate --address needs Ray (no ray here): pip install ".[ray]" in the checkout'
    assert (done.returncode, done.stdout, done.stderr) == (69, "", f"affectd-train: {words}\n")
    assert not (tmp_path / "out").exists()


def test_without_an_address_ray_is_not_imported(one: Path) -> None:
    assert json.loads((one / "stdout").read_text())["name"] == "emodb-loso"


OTHERS = {
    "ravdess-emobox": ("ravdess",),
    "cremad-speakers": ("cremad",),
    "open-terms": ("cremad", "emodb"),
    "cross-corpus": ("ravdess", "emodb"),
    "leave-one-corpus-out": ("emodb", "nemo"),
    "ravdess-random": ("ravdess",),
    "tess-random": ("tess",),
    "pooled-random": ("ravdess", "tess"),
    "own": ("own",),
}
"""Protocol -> the corpora that are enough for it; the first one here, emodb-loso, is what the other tests are about."""


@pytest.mark.slow
@pytest.mark.parametrize("protocol", OTHERS)
def test_every_protocol_leaves_what_it_does_one_after_the_other(protocol: str, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="no ray: pip install 'affectd[ray]'")
    for corpus in OTHERS[protocol]:
        make = getattr(tiny_corpora, corpus)
        make(tmp_path / "data", *([ACTORS] if protocol == "ravdess-emobox" else []))
    if protocol == "leave-one-corpus-out":
        tiny_corpora.tabled(tmp_path / "data", "kor_emotiontts")  # tested by all networks, trains none
    one, many = (
        run(command(tmp_path, "one", protocol=protocol)),
        run(command(tmp_path, "many", "--address", protocol=protocol)),
    )
    assert (one.returncode, many.returncode) == (0, 0), one.stderr + many.stderr
    assert json.loads(many.stdout) == json.loads(one.stdout)
    assert many.stdout == one.stdout
    first, second = files(tmp_path / "one"), files(tmp_path / "many")
    assert sum(name.endswith("predictions.jsonl") for name in first) >= 2
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_the_protocols_above_are_all_there_are() -> None:
    assert {*OTHERS, "emodb-loso"} == set(PROTOCOLS)


def tasks(folder: Path) -> dict[int, str]:
    """The processes of Ray that train in a folder: the locks of folds that each holds, and its node."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"ray::" in (process / "cmdline").read_bytes():
                held = open_files(int(process.name)).values()
                if mine := [name for name in held if name.startswith(f"{folder}/fold-")]:
                    found[int(process.name)] = mine[0]
        except OSError:
            continue
    return found


def node(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]


@pytest.mark.slow
def test_a_task_that_is_killed_goes_on_from_its_checkpoint(folder: Path) -> None:
    words = ["--set", "finetune_steps=60", "--set", "save_every=4"]
    once = run(command(folder, "long", *words))
    assert once.returncode == 0, once.stderr
    out = folder / "struck"
    program = subprocess.Popen(command(folder, "struck", *words, "--address"), stdout=-1, stderr=-3, text=True)
    while not (struck := {pid: held for pid, held in tasks(out).items() if rows(Path(held).parent) > 4}):
        assert program.poll() is None
        time.sleep(0.01)
    pid, held = struck.popitem()
    os.kill(pid, signal.SIGKILL)
    log = Path(held).parent / "whole-log.csv"
    before = log.read_text().splitlines()
    said, _ = program.communicate(timeout=1200)
    assert program.returncode == 0
    assert said == once.stdout
    # Rows have the seconds in training, so those of a second try from the first step on would be others.
    assert log.read_text().splitlines()[: len(before) - 1] == before[:-1]
    one, many = files(folder / "long"), files(out)
    assert one.keys() == many.keys()
    assert [name for name in one if one[name] != many[name]] == []


def rows(run: Path) -> int:
    log = run / "whole-log.csv"
    return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.mark.slow
def test_the_nodes_of_a_cluster_leave_what_one_machine_does(folder: Path) -> None:
    out, places = folder / "joined", set()
    with nodes(2) as cluster:
        words = command(folder, "joined", "--address", cluster.address)
        program = subprocess.Popen(words, stdout=-1, stderr=subprocess.PIPE, text=True)
        while program.poll() is None:
            places |= {node(pid) for pid in tasks(out)}
            time.sleep(0.05)
        said, errors = program.communicate(timeout=100)
    assert program.returncode == 0, errors
    assert said == (folder / "stdout").read_text()
    assert len(places) == 2
    one, many = files(folder / "one"), files(out)
    assert one.keys() == many.keys()
    assert [name for name in one if one[name] != many[name]] == []
