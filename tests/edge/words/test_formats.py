"""Text for people at a terminal, JSON in a pipe, CSV for spreadsheets: the same answers in each."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from affectd.recognition.classifier import Classifier
from affectd.recognition.description import describe
from affectd.recognition.model_file import find_model
from affectd.words.listings import model_text
from sounds import as_int16, gain, silence, syllables, write_wav
from terminals import at_terminal
from tiny_model import tiny_model

SPEECH = as_int16(np.concatenate([silence(1), gain(syllables(3), -12), silence(1.5)]))
COMMAND = [sys.executable, "-m", "affectd"]


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "speech.wav", SPEECH)


def affectd(*words: object, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, words)]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=120, check=False)
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


def objects(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def fits(row: dict[str, str], record: dict) -> None:
    """A row of CSV must hold all that a JSON object does, each number exactly."""
    for name, value in record.items():
        if isinstance(value, dict):
            fits({key.removeprefix(f"{name}."): cell for key, cell in row.items()}, value)
        elif value is None:
            assert row[name] == "", name
        elif isinstance(value, bool):
            assert row[name] == str(value).lower(), name
        elif isinstance(value, int | float):
            assert float(row[name]) == value, name
        elif isinstance(value, list):
            assert row[name] == " ".join(map(str, value)), name
        else:
            assert row[name] == value, name


def columns_of(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "FW" else not unicodedata.combining(c) for c in line)


@pytest.mark.parametrize("words", [["run", "--source"], ["classify"]], ids=["run", "classify"])
def test_a_terminal_gets_text_and_a_pipe_json(model: Path, speech: Path, words: list[str]) -> None:
    command = [*COMMAND, *words, str(speech), "--model", str(model)]
    code, shown, _ = at_terminal(command)
    assert code == 0, shown
    title, *lines = shown.splitlines()
    assert "HEARD" in title
    assert "BEST GUESS" in title
    assert lines
    assert shown.replace("\n", "").isprintable()
    assert not any(line.startswith("{") for line in lines)
    code, complaints, through = at_terminal(command, piped=["stdout"])
    assert (code, complaints) == (0, "")
    assert len(objects(through)) == len(lines)


def test_the_model_is_told_in_words_at_a_terminal(model: Path) -> None:
    command = [*COMMAND, "model", "--self-test", "--model", str(model)]
    code, shown, _ = at_terminal(command)
    assert code == 0
    assert "labels     angry calm happy\n" in shown
    assert "below a probability of 0.45" in shown
    assert "passed" in shown
    assert objects(at_terminal(command, piped=["stdout"])[2])[0]["labels"] == ["angry", "calm", "happy"]


def test_the_accuracy_of_own_recordings_is_not_said_to_be_about_actors() -> None:
    def told(**evaluation: object) -> str:
        found = {"any_label": {"int8": 0.4}, "protocol": "3 folds by file", **evaluation}
        classifier = Classifier(tiny_model(card={"evaluation": found}))
        return "\n".join(model_text(describe(find_model(), classifier), None))

    assert "accuracy   40 %, mean of the labels (3 folds by file)" in told(name="own")
    assert "40 %, mean of the labels, about actors (3 folds by file)" in told(name="ravdess-emobox")


@pytest.mark.parametrize("cold", [0.44, None])
def test_how_right_it_is_about_what_it_never_heard_is_told_before_what_it_knows(cold: float | None) -> None:
    settled = {"mean": {"unweighted": cold}, "mean_settled": {"60": {"unweighted": 0.533}}} if cold else [1]
    card = {"measured": {"settled": settled}, "evaluation": {"any_label": {"int8": 0.684}, "protocol": "folds"}}
    told = "\n".join(model_text(describe(find_model(), Classifier(tiny_model(card=card))), None))
    assert "68 %" in told
    words = "elsewhere  44 % in corpora of which it heard nothing, 53 % after a minute of a voice\naccuracy"
    assert (words in told) == bool(cold)


def test_the_terms_of_an_imported_network_are_told() -> None:
    classifier = Classifier(tiny_model(card={"imported": {"terms": "of my own voice"}}))
    assert "use        of my own voice" in "\n".join(model_text(describe(find_model(), classifier), None))


def test_a_network_without_a_threshold_is_never_uncertain() -> None:
    lines = model_text(describe(find_model(), Classifier(tiny_model(thresholds={"uncertain": 0.0}))), None)
    assert "uncertain  never" in lines


def test_the_card_of_the_shipped_model_is_told_in_lines_that_fit() -> None:
    code, shown, _ = at_terminal([*COMMAND, "model"], columns=60)
    assert code == 0
    assert max(map(len, shown.splitlines())) <= 60
    words = " ".join(shown.split())
    assert "RAVDESS (1200 clips, CC BY-NC-SA 4.0)" in words
    assert "non-commercial only" in words
    assert "68 %" in words


def test_the_format_that_is_asked_for_wins(model: Path, speech: Path) -> None:
    arguments = ["classify", str(speech), "--model", str(model), "--format"]
    assert affectd(*arguments, "text").stdout.splitlines()[0].split()[:2] == ["RECORDING", "HEARD"]
    assert objects(at_terminal([*COMMAND, *arguments, "json"])[1])[0]["path"] == str(speech)
    wrong = affectd(*arguments, "xml")
    assert (wrong.returncode, wrong.stdout) == (64, "")
    assert "xml" in wrong.stderr


def test_csv_holds_all_that_the_json_does(model: Path, speech: Path, tmp_path: Path) -> None:
    quiet = write_wav(tmp_path / 'a "quiet", one.wav', silence(2))
    arguments = ["classify", speech, quiet, "--model", model, "--format"]
    rows, records = table(affectd(*arguments, "csv").stdout), objects(affectd(*arguments, "json").stdout)
    assert len(rows) == len(records) == 2
    for row, record in zip(rows, records, strict=True):
        fits(row, record)
        assert len(row) == 6 + 3 + 2, "fields, three labels in place of their object, nothing else"
    assert rows[1]["path"] == str(quiet)


def test_events_as_csv_hold_all_that_the_json_does(model: Path, speech: Path) -> None:
    arguments = ["run", "--source", speech, "--began", "2026-01-31T12:00:00Z", "--model", model, "--format"]
    rows, events = table(affectd(*arguments, "csv").stdout), objects(affectd(*arguments, "json").stdout)
    assert len(rows) == len(events) >= 2
    for row, event in zip(rows, events, strict=True):
        fits(row, event | {"id": row["id"]})
        assert row["state"] == "", "a field of the other kind of event"


def test_csv_of_silence_is_a_table_without_a_row(model: Path, tmp_path: Path) -> None:
    quiet = write_wav(tmp_path / "quiet.wav", silence(2))
    done = affectd("run", "--source", quiet, "--model", model, "--format", "csv")
    assert done.stdout.startswith("schema,id,type,")
    assert table(done.stdout) == []


def test_the_model_as_csv_is_a_fact_a_row(model: Path) -> None:
    facts = {row["field"]: row["value"] for row in table(affectd("model", "--model", model, "--format", "csv").stdout)}
    description = objects(affectd("model", "--model", model).stdout)[0]
    assert facts["path"] == str(model)
    assert facts["labels"] == "angry calm happy"
    assert float(facts["features.fmax"]) == description["features"]["fmax"]
    assert facts["card.data"] == "noise"


def test_pandas_reads_the_csv(model: Path, speech: Path, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    quiet = write_wav(tmp_path / "quiet.wav", silence(2))
    (tmp_path / "out.csv").write_text(affectd("classify", speech, quiet, "--model", model, "--format", "csv").stdout)
    read = pandas.read_csv(tmp_path / "out.csv")
    assert read["probabilities.happy"].dtype == float
    assert read["speech_seconds"].tolist()[1] == 0
    assert read["label"].isna().tolist() == [False, True]
    assert set(read["uncertain"].dropna()) <= {True, False}
    (tmp_path / "run.csv").write_text(affectd("run", "--source", speech, "--model", model, "--format", "csv").stdout)
    events = pandas.read_csv(tmp_path / "run.csv", parse_dates=["time"])
    assert events["phase"].tolist()[0] == "start"
    assert str(events["time"].dtype).startswith("datetime64")


def test_the_device_s_own_rule_says_uncertain_beside_the_best_guess(model: Path, speech: Path, tmp_path: Path) -> None:
    def said(threshold: float) -> tuple[dict, str]:
        config = tmp_path / "affectd.toml"
        config.write_text(f'[model]\npath = "{model}"\n[smoothing]\nuncertain = {threshold}\n')
        arguments = ["classify", speech, "--config", config, "--format"]
        return objects(affectd(*arguments, "json").stdout)[0], affectd(*arguments, "text").stdout.splitlines()[1]

    found, line = said(0.0)
    label, percent = found["label"], f"{100 * found['probability']:.0f} %"
    assert found["uncertain"] is False
    assert line.split()[1:3] == [label, label]
    found, line = said(1.0)
    assert found["uncertain"] is True
    assert found["label"] == label, "programs that read it go on to get the best guess"
    assert line.split()[1:3] == ["uncertain", label]
    assert percent in line


def test_lines_are_aligned_and_fit_the_terminal(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "recordings of the kitchen"
    folder.mkdir()
    for name in ("a.wav", "食堂の録音.wav", "a name that is rather long and goes on for a while, on monday.wav"):
        write_wav(folder / name, SPEECH)
    command = [*COMMAND, "classify", folder.name, "--model", str(model)]
    for columns in (60, 80, 200):
        code, shown, _ = at_terminal(command, columns=columns, cwd=tmp_path)
        assert code == 0
        lines = shown.splitlines()
        assert len(lines) == 4, shown
        assert max(map(columns_of, lines)) <= columns
        assert len({columns_of(line) for line in lines[1:]}) == 1, "the last column is aligned to the right"
        assert ("VALENCE" in lines[0]) == (columns == 200)
        assert all(line.count(".wav") == 1 for line in lines[1:]), "the end of a name stays"


def test_what_a_terminal_would_obey_is_escaped_in_every_format(model: Path, speech: Path) -> None:
    path = speech.rename(speech.with_name("a\x1b[31m\n.wav"))
    for form in ("text", "csv", "json"):
        done = affectd("classify", path, "--model", model, "--format", form)
        assert done.returncode == 0, done.stderr
        assert done.stdout.replace("\n", "").isprintable()
        assert len(done.stdout.splitlines()) == (1 if form == "json" else 2)
    bytes_name = path.rename(os.fsdecode(os.fsencode(path.parent) + b"/caf\xe9.wav"))
    for form in ("text", "csv"):
        assert "caf\\udce9.wav" in affectd("classify", bytes_name, "--model", model, "--format", form).stdout


def test_a_trace_among_the_events_is_json(model: Path, speech: Path) -> None:
    command = ["run", "--source", str(speech), "--model", str(model), "--trace", "-"]
    code, shown, _ = at_terminal([*COMMAND, *command], columns=4000)
    assert code == 0
    assert {line["type"] for line in objects(shown)} == {"emotion", "trace"}
    assert affectd(*command, "--format", "csv").returncode == 64
    assert affectd(*command, "--format", "json").returncode == 0


def test_json_needs_none_of_the_words(speech: Path) -> None:
    code = "import atexit, sys, affectd.cli\n"
    code += "atexit.register(lambda: print(sorted(m for m in sys.modules if m.startswith('affectd.words'))))\n"
    code += f"sys.exit(affectd.cli.main(['run', '--source', {str(speech)!r}]))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=120)
    assert done.stdout.splitlines()[-1] == b"[]"
