"""Too few clips, speakers or emotions are one sentence, or figures of what there is; never a traceback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tiny_corpora
from affectd_train.arguments import PROTOCOLS
from affectd_train.cli import main
from affectd_train.protocols.baselines import SEED_SYSTEMS

NUMBERS = ("pretrain_steps=0", "finetune_steps=0", "batch_size=4", "augmented_copies=0")  # nothing is trained
TRAINING = [word for number in NUMBERS for word in ("--set", number)]
RAVDESS, EMODB, TESS = (
    "ravdess/Actor_{0}/03-01-0{1}-01-01-01-{0}.wav",
    "emodb/wav/{0}a01{1}a.wav",
    "tess/{0}_back_{1}.wav",
)
MODEL = str(Path(__file__).parents[3] / "models" / "affectd.tflite")
SILENCE = np.zeros(16000, np.float32)

pytestmark = pytest.mark.usefixtures("small_network")


def write(root: Path, names: list[str], sound: np.ndarray | None = None) -> None:
    for number, name in enumerate(names):
        tiny_corpora.write(root / name, tiny_corpora.voice(200 + 80 * number) if sound is None else sound)


def all_corpora(root: Path, sound: np.ndarray | None = None) -> None:
    names = [RAVDESS.format(actor, emotion) for actor, emotion in (("01", 3), ("02", 4))]
    names += [EMODB.format(speaker, letter) for speaker, letter in (("03", "F"), ("08", "T"))]
    names += [TESS.format(speaker, emotion) for speaker, emotion in (("OAF", "happy"), ("YAF", "sad"))]
    write(root, [*names, "cremad/1001_DFA_HAP_XX.wav", "cremad/1002_DFA_SAD_XX.wav"], sound)


FEW: dict[str, Callable[[Path], None]] = {
    "two clips of a corpus": all_corpora,
    "nothing heard": lambda root: all_corpora(root, SILENCE),
    "one clip": lambda root: write(root, [EMODB.format("03", "F")]),
    "one speaker": lambda root: write(root, [EMODB.format("03", letter) for letter in "FTW"]),
    "one label": lambda root: write(root, [EMODB.format(speaker, "F") for speaker in ("03", "08")]),
    "no label in common": lambda root: write(root, [EMODB.format("03", "F"), RAVDESS.format("02", 2)]),
}


# Who trains and who tests is the same with and without sound: one protocol of each kind tells what silence does.
OF_SILENCE = ("emodb-loso", "cross-corpus", "ravdess-random", "own")
# Of those that test each corpus in turn, two are enough.
OF_CORPORA = {name: ["--corpora", "emodb,ravdess"] for name in ("cross-corpus", "leave-one-corpus-out")}


@pytest.mark.parametrize("few", FEW)
def test_every_command_ends_with_figures_or_with_a_sentence(
    few: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for systems in SEED_SYSTEMS.values():
        for name, system in systems.items():
            monkeypatch.setitem(systems, name, replace(system, epochs=1))
    monkeypatch.chdir(tmp_path)  # what a command writes without --out
    FEW[few](tmp_path / "data")
    data, run, out = ["--data", str(tmp_path / "data")], tmp_path / "run", ["--out", str(tmp_path / "pictures")]
    for protocol in OF_SILENCE if few == "nothing heard" else PROTOCOLS:
        words = [*data, "--out", str(tmp_path / protocol), *TRAINING, *OF_CORPORA.get(protocol, [])]
        code = main(["evaluate", "--protocol", protocol, *words])
        said = capfd.readouterr().err.splitlines()
        assert code in (0, 64, 65, 66), (protocol, said)
        assert (code == 0) == (tmp_path / protocol / "metrics.json").exists()
        assert code == 0 or said[-1].startswith("affectd-train: "), (protocol, said)

    evaluation = tmp_path / "emodb-loso"
    tested = (evaluation / "metrics.json").exists()
    assert main(["fit", *data, "--out", str(run), "--cache", str(tmp_path / "cache"), *TRAINING]) == 0
    assert main(["quantize", str(run)]) == 0
    packed = ["pack", str(run), "--evaluation", str(evaluation), "--out", str(tmp_path / "a.tflite")]
    heard = few != "nothing heard"
    assert main(packed) == ((0 if heard else 65) if tested else 66)
    assert main(["explore", str(tmp_path / "data"), *out]) == 0
    codes = [
        main(["pictures", "--evaluation", str(evaluation), *out]),
        main(["behavior", *data, "--evaluation", str(evaluation), "--model", MODEL]),
        main(["robustness", *data, "--evaluation", str(evaluation)]),
    ]
    assert set(codes) <= {0, 65, 66}, capfd.readouterr().err
