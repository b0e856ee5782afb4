"""Tables of labels: what they list, and every way in which one can be wrong, each said with its file and line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

import tiny_corpora
from affectd.errors import DataError
from affectd_train.data.corpora import read_corpus
from affectd_train.data.label_tables import NEEDED
from affectd_train.data.labels import labels_of

HEADER = "file,speaker,gender,language,emotion\n"
GOOD = "a.wav,01,female,da,angry\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "emotale"
    (root / "deep").mkdir(parents=True)
    for name in ("a.wav", "b.wav", "deep/c.wav"):
        soundfile.write(root / name, np.linspace(-0.5, 0.5, 80, dtype=np.float32), 16000)
    return root


def described(root: Path) -> list[tuple[str, str, str, str]]:
    corpus = read_corpus("emotale", root)
    return [(c.path.relative_to(root).as_posix(), c.speaker, c.gender, c.emotion) for c in corpus.clips]


def reasons(root: Path) -> dict[str, str]:
    skipped = read_corpus("emotale", root).skipped
    return {path.relative_to(root).as_posix(): reason for path, reason in skipped}


def test_a_table_says_who_speaks_and_how(folder: Path) -> None:
    (folder / "labels.csv").write_text(HEADER + GOOD + "deep/c.wav,02,,en,sad\nb.wav,02,male,en,other:boredom\n")
    assert described(folder) == [
        ("a.wav", "emotale-01", "female", "angry"),
        ("deep/c.wav", "emotale-02", "", "sad"),
    ]
    assert reasons(folder) == {"b.wav": "boredom is none of the eight labels"}


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + (HEADER + GOOD).encode(),
        (HEADER + GOOD).replace("\n", "\r\n").encode(),
        (HEADER + GOOD).replace("\n", "\r").encode(),
        b"\xef\xbb\xbf" + (HEADER + GOOD).replace("\n", "\r\n").encode(),
        (HEADER + '"a.wav","01","female","da, a dialect","angry"\n').encode(),
        (HEADER + '"a.wav","01","female","two\nlines",angry\n').encode(),
        (HEADER + "\n" + GOOD.rstrip() + "\n\n").encode(),
        (HEADER + GOOD.rstrip()).encode(),
        (HEADER.replace(",", ", ") + GOOD.replace(",", " , ")).encode(),
        b"Emotion,Speaker,File\nangry,01,a.wav\n",
        b"file,note,speaker,emotion\na.wav,loud,01,angry\n",
        b",,\r\nfile,speaker,emotion\r\n , ,\r\na.wav,01,angry\r\n,,\r\n,,,,\r\n",
        b"sep=,\r\nfile,speaker,emotion\r\na.wav,01,angry\r\n",
        (HEADER + GOOD).replace(",", ";").encode(),
        (HEADER + GOOD).replace(",", "\t").encode(),
        b"file,speaker,gender,emotion\na.wav,01,Female,Angry\n",
    ],
)
def test_as_spreadsheets_and_people_write_it(folder: Path, content: bytes) -> None:
    (folder / "labels.csv").write_bytes(content)
    ((file, speaker, gender, emotion),) = described(folder)
    assert (file, speaker, emotion) == ("a.wav", "emotale-01", "angry")
    assert gender == ("female" if b"emale" in content else "")


def test_a_table_is_found_at_any_depth_and_in_any_case_and_a_copy_of_the_corpus_is_not_read(folder: Path) -> None:
    inside = folder / "deep/EmoTale"
    inside.mkdir()
    soundfile.write(inside / "a.wav", np.linspace(-0.5, 0.5, 90, dtype=np.float32), 16000)
    (inside / "Labels.CSV").write_text(HEADER + GOOD)
    assert described(folder) == [("deep/EmoTale/a.wav", "emotale-01", "female", "angry")]
    assert reasons(folder)["a.wav"] == "not in Labels.CSV"
    (folder / "LABELS.csv").write_text(HEADER + GOOD)
    assert described(folder) == [("a.wav", "emotale-01", "female", "angry")]


def test_a_path_as_windows_writes_it_is_found_and_leads_nowhere_else(folder: Path) -> None:
    (folder / "odd\\b.wav").write_bytes((folder / "b.wav").read_bytes())
    (folder / "labels.csv").write_text(HEADER + "deep\\c.wav,02,,en,sad\n" + "odd\\b.wav,03,,en,sad\n")
    assert [row[0] for row in described(folder)] == ["deep/c.wav", "odd\\b.wav"]
    (folder / "labels.csv").write_text(HEADER + "..\\b.wav,02,,en,sad\n")
    with pytest.raises(DataError, match=r"line 2: \.\./b\.wav leads out of the folder"):
        described(folder)


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        ("", 1, "empty, expected the columns file, speaker, emotion"),
        ("file,speaker,gender\n", 1, "needs one column 'emotion', found file, speaker, gender"),
        ("file|speaker|emotion\na.wav|1|sad\n", 1, "needs one column 'file', found file|speaker|emotion"),
        ("file,file,speaker,emotion\n", 1, "needs one column 'file'"),
        ("file,speaker,speaker,emotion\n", 1, "needs one column 'speaker'"),
        ("file,speaker,start,emotion,start\n", 1, "needs one column 'start'"),
        (HEADER + GOOD + "b.wav,01,female,da,angre\n", 3, "emotion 'angre' is none of neutral, happy, sad, angry in"),
        (HEADER + "b.wav,01,female,da,\n", 2, "emotion '' is none of"),
        (HEADER + "b.wav,01,female,da,other:\n", 2, "emotion 'other:' is none of"),
        (HEADER + "b.wav,01,female,da,fearful\n", 2, "emotion 'fearful' is none of"),
        (HEADER + GOOD + "\n../b.wav,01,female,da,sad\n", 4, "../b.wav leads out of the folder"),
        (HEADER + "deep/../../b.wav,01,female,da,sad\n", 2, "leads out of the folder"),
        (HEADER + "/etc/passwd,01,female,da,sad\n", 2, "/etc/passwd leads out of the folder"),
        (HEADER + ",01,female,da,sad\n", 2, "no file"),
        (HEADER + "b.wav,,female,da,sad\n", 2, "no speaker"),
        (HEADER + "b.wav,01,f,da,sad\n", 2, "gender 'f' is neither female nor male nor empty"),
        (HEADER + GOOD + "b.wav,01,sad\n", 3, "has 3 fields, the first line 5"),
        (HEADER + GOOD + "a.wav,02,male,da,sad\n", 3, "a.wav is also in line 2"),
        (HEADER + '"b.wav,01,female,da,sad\n' + GOOD, 2, "not a row of a table"),
        (HEADER + 'x.wav,"1\n2",,,sad\n' + "b.wav,01,female,da,angre\n", 4, "emotion 'angre'"),
        (HEADER + GOOD + "b\0.wav,01,female,da,sad\n", 3, "not text"),
        ("sep=,\n" + HEADER + GOOD + "b.wav,01,sad\n", 4, "has 3 fields, the first line 5"),
        ("sep=|\n" + HEADER.replace(",", "|"), 1, "needs one column 'file', found sep=|"),
    ],
)
def test_a_wrong_table_is_one_sentence_with_its_line(folder: Path, content: str, line: int, what: str) -> None:
    (folder / "labels.csv").write_text(content)
    with pytest.raises(DataError) as caught:
        read_corpus("emotale", folder)
    message = str(caught.value)
    assert message.startswith(f"{folder / 'labels.csv'}, line {line}: ")
    assert what in message
    assert "\n" not in message


def test_bytes_that_are_no_text_are_named_by_their_line(folder: Path) -> None:
    (folder / "labels.csv").write_bytes((HEADER + GOOD).encode() + b"b\xe9.wav,01,female,da,sad\n")
    with pytest.raises(DataError, match=r"labels\.csv, line 3: not UTF-8"):
        read_corpus("emotale", folder)


def test_recordings_that_are_missing_damaged_or_not_listed_are_said(folder: Path) -> None:
    (folder / "b.wav").write_text("not a sound")
    (folder / "memo.m4a").write_text("not read")
    os.mkfifo(folder / "pipe.wav")
    names = ("gone.wav", "b.wav", "pipe.wav", "memo.m4a")
    rows = "".join(f"{name},01,female,da,sad\n" for name in names)
    (folder / "labels.csv").write_text(HEADER + GOOD + rows)
    (folder / "notes.txt").write_text("")
    found = reasons(folder)
    assert found["gone.wav"] == "no such file (line 3 of labels.csv)"
    assert found["b.wav"].startswith("cannot be read as audio")
    assert found["b.wav"].endswith("(line 4 of labels.csv)")
    assert found["pipe.wav"] == "not a regular file (line 5 of labels.csv)"
    assert "convert it first: ffmpeg" in found["memo.m4a"]
    assert len(read_corpus("emotale", folder).skipped) == 6
    assert found["deep/c.wav"] == "not in labels.csv"
    assert found["notes.txt"] == "not an audio file"
    assert [file for file, *_ in described(folder)] == ["a.wav"]


def test_the_command_ends_with_one_sentence_and_the_right_code(folder: Path, tmp_path: Path) -> None:
    (folder / "labels.csv").write_text(HEADER + "b.wav,01,female,da,angre\n")
    words = ["fit", "--data", str(tmp_path), "--corpora", "emotale", "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-m", "affectd_train.cli", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 65
    assert done.stderr.endswith(
        f"affectd-train: {folder / 'labels.csv'}, line 2: emotion 'angre' is none of neutral, happy, sad, angry in "
        "emotale, nor other:NAME\n"
    )
    assert not (tmp_path / "run").exists()


@given(st.text(max_size=200))
def test_whatever_stands_in_it_is_read_or_is_one_sentence(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    root = tmp_path_factory.mktemp("any")
    (root / "labels.csv").write_text(text, "utf-8", errors="surrogatepass")
    with pytest.raises(DataError, match=r"labels\.csv"):  # no recording is there, so none can be listed
        read_corpus("emotale", root)


@pytest.mark.parametrize("name", tiny_corpora.TABLED)
def test_every_corpus_with_a_table_is_read_with_its_labels(name: str, tmp_path: Path) -> None:
    tiny_corpora.tabled(tmp_path, name)
    corpus = read_corpus(name, tmp_path / name)
    assert {clip.emotion for clip in corpus.clips} == labels_of(name)
    assert set(Counter(clip.speaker for clip in corpus.clips)) == {f"{name}-01", f"{name}-02"}
    assert NEEDED == ("file", "speaker", "emotion")


def test_names_that_differ_in_how_they_are_written_are_files_of_their_own(folder: Path) -> None:
    one, two = "\xe9.wav", "e\u0301.wav"  # one letter as one character, and as two
    names = [one, two, " x.wav", "y.wav ", "z /w.wav", "v.wav", "V.wav"]
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((folder / "a.wav").read_bytes())
    (folder / "labels.csv").write_text(
        HEADER + "".join(f"{name},01,,en,sad\n" for name in [*names, " V.WAV", "\xc9.wav"])
    )
    assert {path for path, *_ in described(folder)} == set(names)
    assert {path: reason for path, reason in reasons(folder).items() if "line" in reason} == {
        "V.WAV": "no such file (line 9 of labels.csv)",  # for two are written so
        "\xc9.wav": "no such file (line 10 of labels.csv)",
    }
