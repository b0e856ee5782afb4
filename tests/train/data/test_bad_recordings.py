"""Recordings of one's own that will not do: each command says a sentence, gives a code, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

import tiny_corpora
from affectd_train.cli import main


def tabled(folder: Path, labels: list[str], who: tuple[str, ...] = ("a", "b"), takes: int = 5, **sound: float) -> None:
    """Write a table and its recordings: so many of each label by each speaker."""
    rows = ["file,emotion,speaker"]
    for i, label in enumerate(labels):
        for j, speaker in enumerate(who):
            for k in range(takes):
                name = f"{i}{j}{k}.wav"
                samples = tiny_corpora.voice(150 * 1.3**i, sound.get("seconds", 0.6), seed=10 * j + k)
                if "value" in sound:
                    samples[5] = sound["value"]
                folder.mkdir(exist_ok=True)
                soundfile.write(folder / name, samples, 16000, subtype="FLOAT")
                rows.append(f"{name},{label},{speaker}")
    (folder / "labels.csv").write_text("\n".join(rows), "utf-8")


def hours(folder: Path) -> None:
    folder.mkdir()
    soundfile.write(folder / "a.flac", np.zeros(8000 * 36000, np.int16), 8000)
    (folder / "labels.csv").write_text("file,emotion\na.flac,sad\n")


CASES = {
    "two clips": (lambda folder: tabled(folder, ["happy", "sad"], ("a",), 1), 0, 65, "training needs 5 or more"),
    "one class": (lambda folder: tabled(folder, ["happy"]), 0, 65, "training needs two labels or more"),
    "empty label": (lambda folder: tabled(folder, ["happy", ""]), 65, 65, "labels.csv, line"),
    "another label": (lambda folder: tabled(folder, ["happy", "bored"]), 65, 65, "'bored'"),
    "3 ms": (lambda folder: tabled(folder, ["happy", "sad"], seconds=0.003), 66, 66, "3 ms long"),
    "NaN": (lambda folder: tabled(folder, ["happy", "sad"], value=np.nan), 66, 66, "not finite"),
    "10 h": (hours, 66, 66, "600 minutes long"),
    "nothing": (lambda folder: folder.mkdir(), 66, 66, "no recording with a label"),
}


@pytest.mark.parametrize("case", list(CASES))
def test_what_will_not_do_is_a_sentence_and_a_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], case: str
) -> None:
    make, code_of_inspect, code, words = CASES[case]
    monkeypatch.chdir(tmp_path)
    make(Path("data"))
    Path("labels.txt").write_text("happy\nsad\n")
    for command, expected in (
        (["inspect", "data"], code_of_inspect),
        (["fit", "--data", "data", "--out", "run"], code),
        (["evaluate", "--data", "data", "--protocol", "own", "--out", "folds"], code),
    ):
        assert main([*command, "--labels", "labels.txt"]) == expected, command
        said = capfd.readouterr()
        text = said.out if expected == 0 else said.err.rstrip().splitlines()[-1]
        assert words in text, command
        assert "Traceback" not in said.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "labels.txt"]


def test_one_speaker_leaves_none_to_test_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tabled(tmp_path / "data", ["happy", "sad"], ("a",))
    assert main(["evaluate", "--data", str(tmp_path / "data"), "--protocol", "own", "--out", str(tmp_path / "f")]) == 65
    assert "speaker" in capfd.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize("words", ["inspect", "personalize --out a.tflite", "fit --data", "make data --out"])
def test_an_empty_name_is_not_the_current_folder(words: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*words.split(), ""]) == 64
    assert "the name is empty; the current folder is ." in capfd.readouterr().err


def test_corpora_are_not_taken_for_recordings_of_ones_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tiny_corpora.tabled(tmp_path / "data", "kor_emotiontts")  # which is never trained on
    asked = ["evaluate", "--data", str(tmp_path / "data"), "--protocol", "own", "--out", str(tmp_path / "f")]
    assert main(asked) == 64
    assert f"{tmp_path / 'data'} holds corpora; " in capfd.readouterr().err
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('"own-Doe, Ann", own-b', "all speakers of own are held out: no speaker is left to train on"),
        ('"own-Doe, Ann",own-c', "--hold-out: no clip of own-c"),
    ],
)
def test_a_speaker_with_a_comma_is_held_out_in_quotes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    tabled(tmp_path / "data", ["happy", "sad"], ('"Doe, Ann"', "b"))
    said = ["fit", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "run"), "--hold-out", text]
    assert main(said) == 64
    assert capfd.readouterr().err.splitlines()[-1] == f"affectd-train: {words}"
