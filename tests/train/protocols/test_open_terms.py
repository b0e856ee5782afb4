"""From two corpora of open terms to a model file with its card, by the commands that the card names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from affectd.recognition.classifier import Classifier
from affectd.recognition.golden import self_test
from affectd.recognition.model_file import read_model
from affectd_train.cli import main
from tiny_corpora import cremad, emodb, ravdess

NUMBERS = ("augmented_copies=0", "batch_size=4", "finetune_steps=0", "pretrain_steps=0")  # nothing is trained
QUICK = [word for number in NUMBERS for word in ("--set", number)]
SIX = ("neutral", "happy", "sad", "angry", "fearful", "disgust")

pytestmark = pytest.mark.usefixtures("small_network")


def test_the_commands_of_the_card_make_the_file_and_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    emodb(Path("DATA"))
    cremad(Path("DATA"))
    ravdess(Path("DATA"), actors=(1,))  # is at hand, and must not train
    corpora = ["--corpora", "cremad,emodb"]
    evaluated = ["evaluate", "--data", "DATA", "--protocol", "open-terms", *corpora]
    fitted = ["fit", "--data", "DATA", "--out", "runs/commercial", "--cache", "runs/open-terms/cache", *corpora]
    packed = ["pack", "runs/commercial", "--evaluation", "runs/open-terms", "--out", "runs/commercial/affectd.tflite"]
    reported = ["report", "runs/commercial/affectd.tflite", "--out", "runs/commercial/README.md"]
    for words in ([*evaluated, *QUICK], [*fitted, *QUICK], ["quantize", "runs/commercial"], packed, reported):
        assert main(words) == 0, capsys.readouterr().err
    assert "has another recipe" not in capsys.readouterr().err

    model = read_model(Path("runs/commercial/affectd.tflite"))
    assert model.labels == SIX
    self_test(model, Classifier(model))
    assert set(model.card["training"]["clips"]) == {"cremad", "emodb"}
    page = Path("runs/commercial/README.md").read_text()
    told = [line.split("   #")[0] for line in re.findall(r"^affectd-train .*", page, re.MULTILINE)]
    for words in ([*evaluated, *QUICK], [*fitted, *QUICK], ["quantize", "runs/commercial"], packed, reported):
        assert " ".join(["affectd-train", *words]) in told
    metrics = json.loads(Path("runs/open-terms/metrics.json").read_text())
    assert metrics["clips"] == 6 * 6 + 3 * 6
