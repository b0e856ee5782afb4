"""Recordings of one's own: tables and folders as people make them, what is found in them, and all that can be wrong."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import struct
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from affectd.errors import AffectdError, DataError, NoInputError
from affectd_train.cli import main
from affectd_train.data import own as data_own
from affectd_train.data.inspection import inspect
from affectd_train.data.labels import LABELS
from affectd_train.data.own import is_own, read_own, read_own_clips
from affectd_train.data.recordings import load_audio
from affectd_train.data.splits import TooFewError, file_folds, leave_one_speaker_out, speaker_folds
from affectd_train.data.table_rows import rows
from affectd_train.data.words import EIGHT, read_words

RATE = 16000


def sound(path: Path, seconds: float = 0.5, seed: int | None = None, rate: int = RATE) -> Path:
    """Noise that is another one for every name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(list(str(path).encode()) if seed is None else seed)
    soundfile.write(path, generator.uniform(-0.5, 0.5, round(seconds * rate)).astype(np.float32), rate)
    return path


def labels_of(data: Path, words: Path | None = None) -> dict[str, str]:
    return {clip.path.relative_to(data).as_posix(): clip.emotion for clip in read_own(data, words).clips}


def reasons(data: Path, words: Path | None = None) -> dict[str, str]:
    return {path.relative_to(data).as_posix(): reason for path, reason in read_own(data, words).skipped}


def command(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "affectd_train", *map(str, words)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("word", "label"),
    [
        ("Happy", "happy"),
        ("FRÖHLICH", "happy"),
        ("froehlich", "happy"),
        (unicodedata.normalize("NFD", "wütend"), "angry"),
        ("en_colère", "angry"),
        ("Tristeza", "sad"),
        ("paura", "fearful"),
        ("pleasant-surprise", "surprised"),
        ("ekel", "disgust"),
        ("ruhig", "calm"),
        ("notes", None),
        ("", None),
    ],
)
def test_words_of_five_languages_mean_the_eight_labels(word: str, label: str | None) -> None:
    assert EIGHT.find(word) == label
    assert set(EIGHT.label_of.values()) == set(LABELS)


def test_folders_named_by_emotion_at_any_depth_in_any_format(tmp_path: Path) -> None:
    for name in ("Fröhlich/Äpfel und Birnen.flac", "anna/traurig/1.ogg", "colère/bob/2.mp3", "neutral/a.b.wav"):
        sound(tmp_path / name)
    sound(tmp_path / "happy/sad/1.wav")
    sound(tmp_path / "misc/1.wav")
    sound(tmp_path / "top.wav")
    sound(tmp_path / "noise/fan.wav")
    (tmp_path / "happy/readme.txt").write_text("")
    assert is_own(tmp_path)
    assert labels_of(tmp_path) == {
        "Fröhlich/Äpfel und Birnen.flac": "happy",
        "anna/traurig/1.ogg": "sad",
        "colère/bob/2.mp3": "angry",
        "neutral/a.b.wav": "neutral",
    }
    found = reasons(tmp_path)
    assert found["happy/sad/1.wav"] == "in folders of two labels, happy and sad"
    assert found["misc/1.wav"].startswith("the folder 'misc' is no word for one of the eight labels (--labels FILE")
    assert found["top.wav"] == "in no folder named by emotion"
    assert found["happy/readme.txt"] == "not an audio file"
    assert len(found) == 4  # noise trains without a label, so it is not left out


def test_a_label_in_a_folder_of_unlabeled_speech_is_left_out_and_said(tmp_path: Path) -> None:
    for name in ("Speech/happy/1.wav", "Speech/2.wav", "song/happy/3.wav", "noise/fan/4.wav"):
        sound(tmp_path / name)
    assert labels_of(tmp_path) == {"song/happy/3.wav": "happy"}
    assert list(reasons(tmp_path)) == ["Speech/happy/1.wav"]
    assert "train without labels" in reasons(tmp_path)["Speech/happy/1.wav"]
    (tmp_path / "labels.csv").write_text("file,emotion\nSpeech/2.wav,sad\nnoise/fan/4.wav,sad\nsong/happy/3.wav,sad\n")
    assert labels_of(tmp_path) == {"song/happy/3.wav": "sad"}  # else it would train in the fold that tests on it
    assert list(reasons(tmp_path)) == ["Speech/2.wav", "noise/fan/4.wav"]
    assert reasons(tmp_path)["Speech/2.wav"].endswith("rename it (line 2 of labels.csv)")


TABLE = [["Datei x", "file", "emotion", "speaker"], ["", "ä b.wav", "Wut", "Jürgen"], ["", "deep/c.wav", "joie", ""]]


def as_csv(separator: str) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=separator).writerows(TABLE)
    return text.getvalue()


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_as_spreadsheets_of_all_countries_write_them(tmp_path: Path, separator: str, encoding: str) -> None:
    sound(tmp_path / unicodedata.normalize("NFD", "ä b.wav"))  # as it is unpacked from an archive of another system
    sound(tmp_path / "deep/c.wav")
    (tmp_path / "labels.csv").write_bytes(as_csv(separator).encode(encoding))
    clips = read_own(tmp_path).clips
    assert [(clip.emotion, clip.speaker) for clip in clips] == [("angry", "own-Jürgen"), ("happy", "")]


def test_a_speaker_is_one_however_the_name_is_written(tmp_path: Path) -> None:
    written = ["José", "jose\u0301", "José\u200b", "\ufeff\xa0José", "JOSÉ \u200e", "Jo\xadsé"]
    written += ["Jose", "\u200b", "José Ruiz"]
    rows_ = ["file,emotion,speaker"]
    for number, name in enumerate([*written, "José\xa0 Ruiz"]):
        sound(tmp_path / f"{number}.wav")
        rows_.append(f"{number}.wav,sad,{name}")
    (tmp_path / "labels.csv").write_text("\n".join(rows_), "utf-8")
    speakers = [clip.speaker for clip in sorted(read_own(tmp_path).clips, key=lambda clip: clip.path)]
    assert speakers == [*["own-José"] * 6, "own-Jose", "", *["own-José Ruiz"] * 2]


def test_a_speaker_with_a_number_is_one_however_programs_write_it(tmp_path: Path) -> None:
    """A spreadsheet makes 1 of 01, and pandas 1.0 where a cell of the column is empty."""
    written = {"a": ["01", "2", "10", ""], "b": ["1.0", "2,0", "10.0", "1.5"], "c": ["1", "S02", "S2"]}
    for folder, numbers in written.items():
        rows_ = ["file;emotion;speaker"]
        for take, number in enumerate(numbers):
            sound(tmp_path / folder / f"{take}.wav")
            rows_.append(f"{take}.wav;sad;{number}")
        (tmp_path / folder / "labels.csv").write_text("\n".join(rows_))
    speakers = [clip.speaker for clip in read_own(tmp_path).clips]
    known = ["own-01", "own-2", "own-10"]
    assert speakers == [*known, "", *known, "own-1.5", "own-01", "own-S02", "own-S2"]


def test_a_speaker_that_a_program_wrote_of_an_empty_cell_is_not_known(tmp_path: Path) -> None:
    written = ["nan", "NaN", "<NA>", "None", "null", "#N/A", "Nan", "NA"]
    rows_ = ["file,emotion,speaker"]
    for number, name in enumerate(written):
        sound(tmp_path / f"{number}.wav")
        rows_.append(f"{number}.wav,sad,{name}")
    (tmp_path / "labels.csv").write_text("\n".join(rows_))
    speakers = [clip.speaker for clip in read_own(tmp_path).clips]
    assert speakers == [""] * 6 + ["own-Nan", "own-NA"]  # which are names of people


def test_names_are_found_as_windows_and_notebooks_write_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("Happy/Clip1.WAV", "Happy/c.wav", "Happy/C.wav", "d.wav"):
        sound(tmp_path / "data" / name)
    (tmp_path / "link").symlink_to("data")
    names = ["HAPPY\\clip1.Wav", tmp_path / "link/Happy/c.wav", "Happy/C.wav", tmp_path / "data/d.wav", "HAPPY/c.wav"]
    table = [f"{name},{label}" for name, label in zip(names, ("happy", "sad", "angry", "calm", "fearful"), strict=True)]
    (tmp_path / "data/labels.csv").write_text("\n".join(["file,emotion", *table]))
    expected = {"Happy/Clip1.WAV": "happy", "Happy/c.wav": "sad", "Happy/C.wav": "angry", "d.wav": "calm"}
    monkeypatch.chdir(tmp_path)
    for data in (Path("link"), tmp_path / "link"):
        assert labels_of(data) == expected
        assert reasons(data) == {"HAPPY/c.wav": "no such file (line 6 of labels.csv)"}  # for two are written so


@pytest.mark.parametrize("reason", ["a link to nothing", "a named pipe, not a file"])
def test_a_table_that_cannot_be_read_is_not_done_without(reason: str, tmp_path: Path) -> None:
    """Folders may name other labels, and no speakers."""
    table = tmp_path / "happy/Labels.csv"
    sound(tmp_path / "happy/1.wav")
    if "link" in reason:
        table.symlink_to("nothing")
    else:
        os.mkfifo(table)
    with pytest.raises(DataError) as caught:
        read_own(tmp_path)
    assert str(caught.value) == f"{table}: {reason}"


@pytest.mark.parametrize("step", ["_without_copies", "_piece"])
def test_a_recording_that_is_gone_while_others_are_compared_is_left_out_when_it_is_read(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for number in range(6):
        sound(tmp_path / f"happy/{number}.wav")
    compare = getattr(data_own, step)

    def late(*arguments: object) -> object:
        (tmp_path / "happy/5.wav").unlink(missing_ok=True)
        return compare(*arguments)

    monkeypatch.setattr(data_own, step, late)
    assert main(["inspect", str(tmp_path)]) == 0
    said = capfd.readouterr()
    assert "damaged   1 (such as 5.wav) of 6 heard" in said.out
    assert "skipped 5.wav: no such file" in said.out
    assert "affectd-train:" not in said.err


def test_how_far_reading_is_is_said_where_it_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        sound(tmp_path / f"happy/{number}.wav", 1 + number)
    read_own(tmp_path)
    assert capfd.readouterr().err == ""
    clock = itertools.count(0, 2)
    monkeypatch.setattr("tqdm.std.time", lambda: float(next(clock)))
    read_own(tmp_path)
    assert "headers: " in capfd.readouterr().err


def test_objects_a_line_and_parts_of_a_file(tmp_path: Path) -> None:
    path = sound(tmp_path / "talk.wav", 3)
    lines = [
        {"file": "talk.wav", "emotion": "sad", "start": 0.5, "end": 1, "speaker": 7},
        {"file": "talk.wav", "emotion": "angry", "start": 1, "speaker": 7, "more": [1]},
    ]
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    angry, sad = read_own(tmp_path).clips
    assert (sad.emotion, sad.speaker, angry.emotion) == ("sad", "own-7", "angry")
    whole, _ = soundfile.read(path, dtype="float32")
    np.testing.assert_array_equal(load_audio(sad, RATE), whole[RATE // 2 : RATE])
    np.testing.assert_array_equal(load_audio(angry, RATE), whole[RATE:])


def test_one_of_the_eight_labels_is_that_label_in_any_case(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("Happy: Begeistert\nSAD\nTired\n")
    words = read_words(tmp_path / "words.txt")
    assert words.labels == ("happy", "sad", "Tired")
    assert [words.find(word) for word in ("Freude", "begeistert", "HAPPY", "traurig", "tired")] == [
        "happy", "happy", "happy", "sad", "Tired",
    ]  # fmt: skip


@pytest.mark.parametrize("missing", ["null", "NaN", '""'])
def test_what_json_says_is_missing_is_missing(tmp_path: Path, missing: str) -> None:
    """NaN is what pandas has in place of an empty cell, and Python's json writes it."""
    sound(tmp_path / "a.wav")
    row = f'"speaker": {missing}, "gender": {missing}, "start": {missing}, "end": {missing}'
    (tmp_path / "labels.jsonl").write_text(f'{{"file": "a.wav", "emotion": "sad", {row}}}\n')
    (clip,) = read_own(tmp_path).clips
    assert (clip.speaker, clip.gender, clip.is_part) == ("", "", False)


def test_ones_own_labels_and_words_for_them(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("# ours\ntired: müde, schläfrig\nhappy: anger\nrelaxed\n", "utf-8")
    data = tmp_path / "data"
    for name in ("Muede/1.wav", "freude/1.wav", "anger/1.wav", "relaxed/1.wav", "sad/1.wav"):
        sound(data / name)
    assert labels_of(data, words) == {
        "Muede/1.wav": "tired",
        "freude/1.wav": "happy",
        "anger/1.wav": "happy",
        "relaxed/1.wav": "relaxed",
    }
    (data / "labels.csv").write_text("file,emotion\nsad/1.wav,sad\n")
    with pytest.raises(DataError, match=r"labels\.csv, line 2: emotion 'sad' is no word for a label in words\.txt"):
        read_own(data, words)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "0 labels, must be 2 to 16"),
        ("tired\n", "1 labels, must be 2 to 16"),
        ("\n".join(f"l{i}" for i in range(17)), "17 labels, must be 2 to 16"),
        ("tired\nUncertain\n", "line 2: uncertain is what affectd says"),
        ("tired: a\nhappy: A\n", "line 2: 'A' is also in line 1"),
        ("tired\nTired\n", "line 2: 'Tired' is also in line 1"),
        (": a\n", "line 1: no label before the colon"),
        ("a\x1bb\nc", "line 1: label 'a\\x1bb' has letters that cannot be printed"),
        ("a" * 65 + "\nc", "line 1: a label of 65 letters, may have 64"),
    ],
)
def test_a_wrong_file_of_labels_is_one_sentence(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "words.txt").write_text(text)
    with pytest.raises(DataError) as caught:
        read_words(tmp_path / "words.txt")
    assert what in str(caught.value)


HEADER = "file,emotion,speaker,start,end\n"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"file,speaker\n", "line 1: needs one column 'emotion'"),
        (b"", "line 1: empty"),
        ((HEADER + "a.wav,,1,,\n").encode(), "line 2: no emotion"),
        ((HEADER + "a.wav,angre,1,,\n").encode(), "line 2: emotion 'angre' is no word for one of the eight labels"),
        ((HEADER + "a.wav,sad,1,,\na.wav,sad,1,,\n").encode(), "line 3: a.wav is also in line 2"),
        ((HEADER + "a.wav,sad,1,0,1\na.wav,sad,1,0.5,2\n").encode(), "line 3: a.wav overlaps with line 2"),
        ((HEADER + "a.wav,sad,1,2,1\n").encode(), "line 2: start 2 is not before end 1"),
        ((HEADER + "a.wav,sad,1,-1,1\n").encode(), "line 2: start -1 must be 0 or more seconds"),
        ((HEADER + "a.wav,sad,1,nan,1\n").encode(), "line 2: start nan must be 0 or more seconds"),
        ((HEADER + "a.wav,sad,1,one,1\n").encode(), "line 2: start 'one' is no number of seconds"),
        ((HEADER + "../a.wav,sad,1,,\n").encode(), "line 2: ../a.wav leads out of the folder"),
        ((HEADER + "/etc/passwd,sad,1,,\n").encode(), "line 2: /etc/passwd leads out of the folder"),
        ("file,emotion\nä.wav,sad\n".encode("latin-1"), "line 2: not UTF-8"),
        ("file,emotion\n".encode("utf-16-le"), "line 1: not text"),
        (b"\xff\xfef", "line 1: not UTF-16"),
    ],
)
def test_a_wrong_table_is_one_sentence_with_its_line(tmp_path: Path, content: bytes, what: str) -> None:
    sound(tmp_path / "a.wav", 3)
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_own(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "labels.csv"))
    assert what in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "{",
        '{"file": "a.wav"}',
        '{"file": "\\ud800", "emotion": "sad"}',
        '{"file": "a.wav", "emotion": "sad", "speaker": "\\ud800"}',
        '{"file": "a.wav", "emotion": "other:\\ud800"}',
        "9" * 5000,
    ],
)
def test_a_wrong_object_is_one_sentence_with_its_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "labels.jsonl").write_text("\n" + line)
    with pytest.raises(DataError, match=r"labels\.jsonl, line 2: "):
        read_own(tmp_path)


def test_a_speaker_who_is_no_text_ends_fit_with_the_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines = [
        {"file": str(sound(tmp_path / f"{n}.wav").name), "emotion": "happy" if n % 2 else "sad"} for n in range(12)
    ]
    text = "\n".join(json.dumps({**line, "speaker": f"{n % 3}\ud800"}) for n, line in enumerate(lines))
    (tmp_path / "labels.jsonl").write_text(text)
    assert main(["fit", "--data", str(tmp_path), "--out", str(tmp_path / "run")]) == 65
    *_, last = capfd.readouterr().err.splitlines()
    assert last == f"affectd-train: {tmp_path / 'labels.jsonl'}, line 1: speaker '0\\ud800' is no text"


def test_a_file_of_labels_that_is_a_device_or_a_pipe_is_not_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    for file in ("/dev/null", str(tmp_path / "pipe")):  # the device first: of a pipe without a writer there is no end
        assert main(["inspect", str(tmp_path), "--labels", file]) == 65
        said = capfd.readouterr().err
        assert said == f"affectd-train: {file}: cannot be read (a pipe, socket or device, not a regular file)\n"


def test_a_folder_that_is_not_there_is_said_to_personalize(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["personalize", "nowhere", "--out", "mine.tflite"]) == 66
    assert capfd.readouterr().err == "affectd-train: nowhere: no such folder\n"


def test_sound_that_cannot_be_right_is_left_out_with_its_reason(tmp_path: Path) -> None:
    sound(tmp_path / "sad/good.wav")
    sound(tmp_path / "sad/short.wav", 0.003)
    for name, value in (("nan", np.nan), ("inf", np.inf), ("far", -1e30), ("undivided", 2.0**31)):
        samples = np.full(RATE, 0.1, np.float32)
        samples[-1] = value
        soundfile.write(tmp_path / f"sad/{name}.wav", samples, RATE, "FLOAT")
    with (tmp_path / "sad/long.wav").open("wb") as file:  # 10 hours of silence, most of which the disk does not hold
        size = 10 * 3600 * 2 * 8000
        file.write(
            struct.pack(
                "<4sI8sIHHIIHH4sI", b"RIFF", 36 + size, b"WAVEfmt ", 16, 1, 1, 8000, 16000, 2, 16, b"data", size
            )
        )
        file.truncate(44 + size)
    (tmp_path / "sad/text.wav").write_text("no sound")
    whole = sound(tmp_path / "sad/cut.wav").read_bytes()
    (tmp_path / "sad/cut.wav").write_bytes(whole[:12000])
    assert labels_of(tmp_path) == {"sad/good.wav": "sad", "sad/undivided.wav": "sad"}
    found = reasons(tmp_path)
    assert found["sad/far.wav"] == "holds samples such as 1e+30, beyond any full scale"
    assert found["sad/short.wav"] == "3 ms long, less than 100"
    assert found["sad/nan.wav"] == found["sad/inf.wav"] == "holds samples that are not finite"
    assert found["sad/long.wav"] == "600 minutes long, more than 10: start and end name its parts"
    assert found["sad/text.wav"].startswith("cannot be read as audio")
    assert found["sad/cut.wav"] == "cut off, with 11956 of the 16000 bytes of samples that it promises"


@pytest.mark.parametrize("size", [0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_a_wav_file_that_was_streamed_is_whole(tmp_path: Path, size: int) -> None:
    streamed = sound(tmp_path / "sad/a.wav").read_bytes()
    (tmp_path / "sad/a.wav").write_bytes(streamed[:40] + size.to_bytes(4, "little") + streamed[44:])
    (clip,) = read_own(tmp_path).clips
    assert len(load_audio(clip, RATE)) == RATE // 2


def test_rows_of_what_is_not_there_are_left_out_with_their_line(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    rows_ = ["a.wav,sad,0,0.3", "a.wav,sad,0.3,7", "a.wav,sad,9,", "gone.wav,sad,,", "b.wav,other:bored,,"]
    (tmp_path / "labels.csv").write_text("\n".join(["file,emotion,start,end", *rows_]))
    assert labels_of(tmp_path) == {"a.wav": "sad"}
    assert sorted(reason for _, reason in read_own(tmp_path).skipped) == [
        "0 ms long, less than 100 (line 4 of labels.csv)",
        "0.50 s long, but a row goes on to 7 s (line 3 of labels.csv)",
        "bored is none of the labels",
        "no such file (line 5 of labels.csv)",
    ]


def test_copies_are_known_by_their_content(tmp_path: Path) -> None:
    first = sound(tmp_path / "sad/a.wav")
    (tmp_path / "sad/b.wav").write_bytes(first.read_bytes())
    (tmp_path / "angry").mkdir()
    (tmp_path / "angry/c.wav").write_bytes(first.read_bytes())
    sound(tmp_path / "sad/other.wav")  # as long
    (found,) = inspect(tmp_path)
    assert [Path(row["path"]).name for row in found["duplicates"]] == ["a.wav", "b.wav"]
    assert "recordings that are there under two labels or speakers: 2; the first name was taken" in found["notes"]
    assert found["labels"]["sad"]["clips"] == 1


@pytest.mark.parametrize("folder", ["speech", "noise/car"])
@pytest.mark.parametrize("has_table", [False, True])
def test_what_trains_without_a_label_is_not_tested_under_another_name(
    tmp_path: Path, folder: str, has_table: bool
) -> None:
    first = sound(tmp_path / "sad/a.wav")
    sound(tmp_path / "sad/b.wav")
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "z.wav").write_bytes(first.read_bytes())
    if has_table:
        (tmp_path / "labels.csv").write_text("file,emotion\nsad/a.wav,sad\nsad/b.wav,sad\n")
    corpus = read_own(tmp_path)
    assert [clip.path.name for clip in corpus.clips] == ["b.wav"]
    reason = f"the same recording as {folder}/z.wav, where it is without a label"
    assert [(skipped.path, skipped.reason) for skipped in corpus.skipped] == [(first, reason)]


def test_a_recording_that_two_people_are_said_to_speak_in_is_named(tmp_path: Path) -> None:
    first = sound(tmp_path / "a.wav")
    (tmp_path / "b.wav").write_bytes(first.read_bytes())
    (tmp_path / "c.wav").write_bytes(first.read_bytes())
    (tmp_path / "labels.csv").write_text("file,emotion,speaker\na.wav,sad,ann\nb.wav,sad,bo\nc.wav,sad,Ann\n")
    (found,) = inspect(tmp_path)
    reasons = [row["reason"] for row in found["duplicates"]]
    assert reasons == ["the same recording as a.wav, where it is of ann", "the same recording as a.wav"]
    assert "recordings that are there under two labels or speakers: 1; the first name was taken" in found["notes"]


def test_inspect_says_what_is_there(tmp_path: Path) -> None:
    rows_ = ["file,emotion,speaker"]
    for number in range(6):
        sound(tmp_path / f"{number}.wav", 1 + number, rate=RATE if number else 44100)
        rows_.append(f"{number}.wav,{'sad' if number % 2 else 'happy'},{'ab'[number // 3]}")
    soundfile.write(tmp_path / "loud.wav", np.ones(RATE, np.float32), RATE)
    opposite = np.outer(np.random.default_rng(0).normal(0, 0.1, RATE), [1, -1])  # nothing is left of their mean
    soundfile.write(tmp_path / "still.wav", opposite, RATE)
    (tmp_path / "labels.csv").write_text("\n".join([*rows_, "loud.wav,sad,a", "still.wav,happy,b"]))
    done = command("inspect", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert found["clips"] == 8
    assert found["minutes"] == round(23 / 60, 2)
    assert found["rates_hz"] == {"16000": 7, "44100": 1}
    assert found["speakers"] == {"own-a": 4, "own-b": 4}
    assert [Path(path).name for path in found["clipped"] + found["silent"]] == ["loud.wav", "still.wav"]
    assert found["labels"] == {"happy": {"clips": 4, "speakers": 2}, "sad": {"clips": 4, "speakers": 2}}
    words = command("inspect", tmp_path).stdout
    assert "8, 0.38 minutes, of 1.0 to 6.0 s" in words
    assert "happy has 4 clips: training needs 5 or more of every label" in " ".join(words.split())


def recorded(path: Path, label: str | None) -> None:
    """A recording as ``affectd record --label`` leaves it: the label is in a file beside it."""
    sound(path)
    path.with_suffix(".json").write_text(json.dumps({"schema": 1, "file": path.name, "label": label}), "utf-8")


@pytest.mark.parametrize(("word", "hint"), [("tired", ""), ("happpy", " (did you mean happy?)")])
def test_only_a_near_word_is_guessed(word: str, hint: str) -> None:
    with pytest.raises(ValueError, match=word) as caught:
        EIGHT.label(word)
    assert str(caught.value).endswith(f"(--labels FILE names others){hint}, nor other:NAME")


def test_recordings_of_affectd_record_have_the_label_beside_them(tmp_path: Path) -> None:
    recorded(tmp_path / "happy-1.wav", "happy")
    recorded(tmp_path / "monday/2.wav", "Müde")
    recorded(tmp_path / "sad/3.wav", "happy")  # what was said counts, not where it was put
    recorded(tmp_path / "sad/4.wav", None)
    recorded(tmp_path / "5.wav", "bored")
    recorded(tmp_path / "6.wav", None)
    recorded(tmp_path / "sad/7.wav", "happy")
    (tmp_path / "sad/7.json").write_bytes(bytes(64))  # as a power cut leaves it
    recorded(tmp_path / "sad/8.wav", None)
    (tmp_path / "sad/8.json").write_text('{"label": ["happy"]}')
    (tmp_path / "sad/notes.json").write_text("{}")
    words = tmp_path / "labels.txt"
    words.write_text("happy\nsad\ntired: müde\n")
    found = {"happy-1.wav": "happy", "monday/2.wav": "tired", "sad/3.wav": "happy", "sad/4.wav": "sad"}
    assert labels_of(tmp_path, words) == found
    assert reasons(tmp_path, words) == {
        "5.wav": "the label 'bored' of its recording is no word for a label in labels.txt",
        "6.wav": "in no folder named by emotion",
        "labels.txt": "not an audio file",
        "sad/7.wav": "7.json beside it, which may say its label, is damaged",
        "sad/8.wav": "the label in 8.json beside it is no line of text, of 64 letters at most",
        "sad/notes.json": "not an audio file",
    }


def test_inspect_does_not_start_tensorflow(tmp_path: Path) -> None:
    sound(tmp_path / "sad/a.wav")
    code = (
        "import sys; from affectd_train.cli import run; run(['inspect', sys.argv[1]]);"
        "sys.exit(', '.join({'tensorflow', 'keras', 'librosa', 'scipy'} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("names", "code", "what"),
    [
        (["sad/a.wav", "happy/a.wav"], 65, "happy has 1 clip: training needs 5 or more of every label"),
        ([f"sad/{n}.wav" for n in range(6)], 65, "all clips are sad: training needs two labels or more"),
        (["what/a.wav"], 66, "no recording with a label in it"),
        ([], 66, "no recording with a label in it"),
    ],
)
def test_fit_ends_with_one_sentence_where_data_will_not_do(
    tmp_path: Path, names: list[str], code: int, what: str
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in names:
        sound(data / name)
    done = command("fit", "--data", data, "--out", tmp_path / "run")
    assert done.returncode == code
    assert what in done.stderr.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_a_table_whose_rows_are_all_of_no_use_is_named_with_the_first_reason(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    table = tmp_path / "labels.csv"
    for row, reason in (("a,sad\n", f"{tmp_path}/a: no such file (line 2 of labels.csv)"), ("", "not in labels.csv")):
        table.write_text(f"file,emotion\n{row}")
        with pytest.raises(NoInputError) as refused:
            read_own(tmp_path)
        assert str(refused.value).startswith(f"{table}: no row is of a recording that can be used; ")
        assert str(refused.value).endswith(reason)


def test_no_split_by_speakers_that_are_not_known_unless_by_file(tmp_path: Path) -> None:
    for label in ("sad", "happy"):
        for number in range(6):
            sound(tmp_path / f"{label}/{number}.wav")
    clips = read_own_clips(tmp_path)
    for split in (lambda: speaker_folds(clips, 2, 0), lambda: leave_one_speaker_out(clips)):
        with pytest.raises(TooFewError, match="who speaks is not known of 12 of 12 clips"):
            split()
    folds = file_folds(clips, 3)
    assert all("MAYBE THE SAME SPEAKERS" in fold.name for fold in folds)
    assert sorted(clip for fold in folds for clip in fold.test) == clips
    for fold in folds:
        assert sorted(clip.emotion for clip in fold.test) == ["happy"] * 2 + ["sad"] * 2
        assert not {clip.path for clip in fold.train} & {clip.path for clip in fold.test}


FIELD = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=8).map(str.strip)


ROW = st.tuples(FIELD, FIELD, FIELD).filter(any)


@given(st.lists(ROW, max_size=6), st.sampled_from(",;\t"), st.sampled_from(["\n", "\r\n"]))
@settings(max_examples=60, deadline=None)
def test_what_csv_and_json_write_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, content: list[tuple[str, str, str]], separator: str, end: str
) -> None:
    root = tmp_path_factory.mktemp("rows")
    columns = ("file", "emotion", "note")
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([columns, *content])
    (root / "labels.csv").write_bytes(text.getvalue().encode("utf-16"))
    expected = [dict(zip(columns, row, strict=True)) for row in content]
    lines = "".join(json.dumps(row) + end for row in expected)
    (root / "labels.jsonl").write_bytes(lines.encode())
    assert [row for _, row in rows(root / "labels.csv", columns)] == expected
    if expected:
        assert [row for _, row in rows(root / "labels.jsonl", columns)] == expected


@given(st.binary(max_size=120), st.sampled_from(["labels.csv", "labels.jsonl"]), st.booleans())
@settings(max_examples=150, deadline=None)
def test_whatever_stands_in_a_table_is_read_or_is_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str, has_head: bool
) -> None:
    root = tmp_path_factory.mktemp("any")
    head = b"file,emotion,start,end\na.wav,sad," if name.endswith("csv") else b'{"file": "a.wav", "emotion": '
    (root / name).write_bytes(head * has_head + content)
    with pytest.raises(AffectdError) as caught:  # no recording is there, so none can be listed
        read_own(root)
    assert caught.value.exit_code in (65, 66)
    assert str(root) in str(caught.value)
