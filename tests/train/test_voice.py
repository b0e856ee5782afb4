"""``affectd-train voice``: what it writes, what its card says, and what it refuses with one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from affectd.recognition.classifier import Classifier
from affectd.recognition.golden import self_test
from affectd.recognition.model_file import read_model, write_model
from affectd_train.cli import main
from affectd_train.reports.model_card import ANY_USE, use_of, with_voice_terms
from tiny_corpora import emodb, tabled
from tiny_model import place_model, tiny_model

OPEN = {
    "data": [{"corpus": "CREMA-D", "clips": 5, "terms": "ODbL 1.0 / DbCL 1.0"}],
    "use": ANY_USE,
    "training": {"clips": {"cremad": 5, "ased": 3, "emospeech": 4}},
}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model file, and corpora below ``data``."""
    monkeypatch.chdir(tmp_path)
    tabled(tmp_path / "data", "ased", speakers=("01", "02", "03"), takes=4)
    tabled(tmp_path / "data", "kor_emotiontts")
    emodb(tmp_path / "data", speakers=("03",))
    write_model("plain.tflite", tiny_model(card=OPEN))
    return tmp_path


def run(*words: str) -> int:
    return main(["voice", "plain.tflite", "--data", "data", "--out", "made/voice.tflite", *words])


def test_a_model_file_gets_a_voice(world: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    printed = capfd.readouterr().out
    made = read_model("made/voice.tflite")
    size = Path("made/voice.tflite").stat().st_size
    assert (
        printed == f"made/voice.tflite: {size} bytes, a voice of 3 speakers (ased)\n"
    )  # of what trained, what is there
    assert made.voice is not None
    assert made.tflite == tiny_model().tflite
    self_test(made, Classifier(made))
    assert made.card["training"]["voice"]["clips"] == {"ased": 24}
    assert [row["corpus"] for row in made.card["data"]] == ["CREMA-D", "ASED"]
    assert made.card["data"][1]["clips"] == 24
    assert made.card["use"] == "non-commercial only, as ASED demand"
    assert list(Path("runs/cache").iterdir())

    # Once more, from its own result: the voice is replaced, and nothing is said twice.
    first = Path("made/voice.tflite").read_bytes()
    again = ["voice", "made/voice.tflite", "--data", "data", "--out", "again.tflite", "--cache", "runs/cache"]
    assert main(again) == 0
    assert Path("again.tflite").read_bytes() == first
    assert run() == 0  # a file of the same network is replaced

    assert main(["report", "made/voice.tflite", "--out", "card.md"]) == 65  # as of any file without an evaluation
    assert main(["unheard", "made/voice.tflite", "--data", "data", "--corpora", "ased"]) == 64


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--corpora", "kor_emotiontts"], 64, "kor_emotiontts: for development, to be tested on and never trained on"),
        (["--corpora", "asde"], 64, "'asde' is not one of"),
        (["--corpora", "ased,emospeech"], 64, "--corpora: emospeech does not tell of voices; ravdess, "),
        (["--corpora", "emodb"], 65, "too few speakers for a voice: 3 of one corpus are needed, with 8 recordings"),
        (["--corpora", "nemo"], 66, "data: none of nemo in it"),
        (["--data", "nowhere"], 66, "nowhere: no such folder"),
        (["--out", "other.tflite"], 64, "other.tflite is there and does not hold the network of plain.tflite"),
    ],
    ids=["development", "unknown", "weak", "few", "absent", "nowhere", "another"],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    world: Path, words: list[str], code: int, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("other.tflite").write_text("something else")
    assert run(*words) == code
    *_, last = capfd.readouterr().err.splitlines()
    assert said in last
    assert last.startswith("affectd-train: ")
    assert not Path("made").exists()


def test_networks_that_can_have_no_voice_and_files_that_say_nothing(
    world: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_model("plain.tflite", place_model())
    assert run() == 65
    assert "plain.tflite: a voice goes with a network of format 1, this is format 2" in capfd.readouterr().err
    write_model("plain.tflite", tiny_model())
    assert run() == 64
    assert "does not say what its network was trained on: name the corpora with --corpora" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("use", "clips", "expected"),
    [
        (ANY_USE, {"emodb": 3}, ANY_USE),
        (ANY_USE, {"nemo": 3, "emodb": 3}, "non-commercial only, as nEMO demand"),
        ("as they agreed", {"nemo": 3}, "as they agreed; of the voice: non-commercial only, as nEMO demand"),
        (use_of(["ravdess"]), {"ravdess": 3}, use_of(["ravdess"])),
        (use_of(["tess"]), {"cremad": 3}, use_of(["tess"])),
    ],
)
def test_terms_are_those_of_network_and_voice(use: str, clips: dict[str, int], expected: str) -> None:
    rows: list[dict[str, Any]] = [{"corpus": "RAVDESS", "clips": 9, "terms": "x"}]
    found = with_voice_terms({"data": rows, "use": use, "name": "y"}, clips)
    assert found["use"] == expected
    assert found["data"][0] == rows[0]
    assert len(found["data"]) == len({"ravdess", *clips})
    assert json.loads(json.dumps(found)) == found
    assert with_voice_terms({"protocol": "of a fold"}, clips) == {"protocol": "of a fold"}
