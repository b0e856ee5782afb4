"""What the formats hold is read back by the programs that they are for, or by their documented grammar."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import venv
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import webvtt
from praatio import textgrid as praat

from affectd.config.sections import Config, SmoothingConfig
from affectd.recognition.smoothing import UNCERTAIN
from affectd.timeline import texts
from affectd.timeline.listening import listen
from affectd.timeline.page import html
from affectd.timeline.picture import svg
from affectd.timeline.summary import Period, Segment, Timeline
from fake_network import FakeNetwork
from sounds import CONVERSATION, gain, noise, silence

SVG = "{http://www.w3.org/2000/svg}"
NASTY = 'a "<b>&\t\n\x1b[31m</script>{title}.wav'
FORMATS: dict[str, Callable[..., str]] = {
    "table": texts.table,
    "csv": texts.csv_rows,
    "json": texts.json_line,
    "audacity": texts.audacity,
    "textgrid": texts.textgrid,
    "vtt": texts.vtt,
    "svg": svg,
    "html": html,
}


def timeline(**given: object) -> Timeline:
    network = FakeNetwork("ccccaaaaaahhhhhhhhaaaaaaa")
    return listen([CONVERSATION], network, Config(), "talk.wav", **given)  # type: ignore[arg-type]


def silent() -> Timeline:
    return listen([silence(2)], FakeNetwork(), Config(), "talk.wav", period_seconds=1)  # type: ignore[arg-type]


def nasty() -> Timeline:
    """A recording and labels with everything that a format may stumble over."""
    labels = ('say "no"', "<b>&amp;", "--> wide {title}")
    made = Timeline(NASTY, "0" * 12, labels, None, seconds=3.0)
    for k, label in enumerate(labels):
        probabilities = {other: 0.8 if other == label else 0.1 for other in labels}
        made.segments.append(
            Segment(k, k + 0.5, UNCERTAIN if k else label, label, 0.8, probabilities, None, None, None)
        )
        made.whole.label_seconds[label] += 0.5
        made.whole.probability_seconds[label] += 0.5
    made.periods = [Period(0.0, 3.0, dict(made.whole.label_seconds), dict(made.whole.probability_seconds))]
    made.envelope, made.column_seconds = np.float32([0, 0.5, 0]), 1.0
    return made


def said(found: Timeline) -> list[tuple[float, float, str]]:
    """The segments as the formats for other programs name them."""
    return [
        (s.start_seconds, s.end_seconds, s.label if s.label != UNCERTAIN else f"uncertain (best guess {s.best_guess})")
        for s in found.segments
    ]


@pytest.mark.parametrize("make", [timeline, nasty], ids=["talk", "nasty"])
def test_praatio_reads_the_textgrid(tmp_path: Path, make: Callable[[], Timeline]) -> None:
    found = make()
    path = tmp_path / "talk.TextGrid"
    path.write_text(texts.textgrid(found, is_first=True))
    grid = praat.openTextgrid(str(path), includeEmptyIntervals=True, reportingMode="error")
    assert (grid.minTimestamp, grid.maxTimestamp) == (0, found.seconds)
    assert grid.tierNames == ("emotion", "best guess")
    for name, labels in (
        ("emotion", [s.label for s in found.segments]),
        ("best guess", [s.best_guess for s in found.segments]),
    ):
        entries = grid.getTier(name).entries
        assert [entry.label for entry in entries if entry.label] == labels
        times = [(entry.start, entry.end) for entry in entries if entry.label]
        assert times == [(s.start_seconds, s.end_seconds) for s in found.segments]
        assert [entry.end for entry in entries] == [*(entry.start for entry in entries[1:]), found.seconds]


def test_a_quotation_mark_is_doubled_as_praat_wants_it() -> None:
    assert 'text = "say ""no"""' in texts.textgrid(nasty(), is_first=True)


@pytest.mark.parametrize("make", [timeline, nasty], ids=["talk", "nasty"])
def test_webvtt_reads_the_subtitles(make: Callable[[], Timeline]) -> None:
    found = make()
    captions = webvtt.from_string(texts.vtt(found, is_first=True))
    unescaped = [c.text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") for c in captions]
    times = [(c.start_in_seconds, c.end_in_seconds) for c in captions]
    assert unescaped == [text for _, _, text in said(found)]
    # webvtt-py counts whole seconds; its texts of the times have the milliseconds.
    assert times == [(int(start), int(end)) for start, end, _ in said(found)]
    stamps = [
        timedelta(seconds=float(c.start[6:]), minutes=int(c.start[3:5]), hours=int(c.start[:2])) for c in captions
    ]
    assert [stamp.total_seconds() for stamp in stamps] == [start for start, _, _ in said(found)]


@pytest.mark.parametrize("make", [timeline, nasty], ids=["talk", "nasty"])
def test_labels_have_the_grammar_of_audacity(make: Callable[[], Timeline]) -> None:
    """A line a label: start, tab, end, tab, text; seconds with a point (its manual, Importing and Exporting Labels)."""
    found = make()
    text = texts.audacity(found, is_first=True)
    assert text.endswith("\n")
    lines = [re.fullmatch(r"(\d+\.\d{6})\t(\d+\.\d{6})\t([^\t\n]+)", line) for line in text[:-1].split("\n")]
    assert all(lines)
    assert [(float(line[1]), float(line[2]), line[3]) for line in lines if line] == said(found)


def test_csv_is_a_segmented_table() -> None:
    found = timeline()
    two = texts.csv_rows(found, is_first=True) + texts.csv_rows(found, is_first=False)
    rows = list(csv.DictReader(io.StringIO(two)))
    assert list(rows[0])[:3] == ["file", "start", "end"]
    assert len(rows) == 2 * len(found.segments)
    for row, segment in zip(rows, found.segments * 2, strict=True):
        assert (row["file"], float(row["start"]), float(row["end"])) == (
            "talk.wav",
            segment.start_seconds,
            segment.end_seconds,
        )
        assert (row["label"], row["best_guess"]) == (segment.label, segment.best_guess)
        assert float(row["probability"]) == segment.probability


AUDFORMAT = """
import sys, audformat
table = audformat.utils.read_csv(sys.argv[1])
audformat.assert_index(table.index)
assert audformat.index_type(table.index) == "segmented"
for (file, start, end), row in table.iterrows():
    print(file, start.total_seconds(), end.total_seconds(), row["label"], row["best_guess"], row["probability"])
"""


@pytest.mark.slow
def test_audformat_reads_the_csv(tmp_path: Path) -> None:
    """In an environment of its own: scikit-learn and Keras load pandas where it is, which costs other tests memory."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "audformat>=1.4"], check=True, timeout=600)
    found = timeline()
    (tmp_path / "talk.csv").write_text(texts.csv_rows(found, is_first=True))
    done = subprocess.run(
        [python, "-c", AUDFORMAT, tmp_path / "talk.csv"], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.splitlines() == [
        f"talk.wav {s.start_seconds} {s.end_seconds} {s.label} {s.best_guess} {s.probability}" for s in found.segments
    ]


def test_json_holds_the_segments_and_the_periods_of_each_recording() -> None:
    line = texts.json_line(timeline(period_seconds=5.0), is_first=True)
    assert line.count("\n") == 1
    found = json.loads(line)
    assert (found["type"], found["path"], found["began"], found["seconds"]) == ("timeline", "talk.wav", None, 8.8)
    assert sum(s["end_seconds"] - s["start_seconds"] for s in found["segments"]) == pytest.approx(
        found["speech_seconds"]
    )
    assert sum(p["speech_seconds"] for p in found["periods"]) == pytest.approx(found["speech_seconds"], abs=0.002)
    assert sum(found["shares"].values()) == pytest.approx(1, abs=1e-3)
    assert set(found["shares"]) == {"angry", "calm", "happy", UNCERTAIN}
    assert {key for s in found["segments"] for key in s} == set(Segment.__dataclass_fields__)


def test_a_period_has_the_best_guess_of_all_its_speech_where_nothing_is_named() -> None:
    network = FakeNetwork("c" * 5 + "a" * 99)
    doubt = Config(smoothing=SmoothingConfig(uncertain=1.0))
    found = listen([CONVERSATION], network, doubt, "talk.wav", period_seconds=4.4)  # type: ignore[arg-type]
    silent = listen([silence(2)], FakeNetwork(), doubt, "no.wav", period_seconds=4.4)  # type: ignore[arg-type]
    assert [period.best_guess for period in (*found.periods, *silent.periods)] == ["calm", "angry", None]
    rows = csv.DictReader(io.StringIO(texts.csv_rows(found, is_first=True)))
    assert [(row["best_guess"], row[UNCERTAIN]) for row in rows] == [("calm", "1.0"), ("angry", "1.0")]
    assert [p["best_guess"] for p in json.loads(texts.json_line(found, is_first=True))["periods"]] == ["calm", "angry"]
    lines = texts.table(found, is_first=True).splitlines()[2:]
    assert [line.split()[-3] for line in lines[1:]] == ["calm", "angry"]
    assert "best guess" in lines[0]
    assert html(found, is_first=True).count("<td>angry</td>") == 1
    assert texts.csv_rows(silent, is_first=False) == "no.wav,0.0,2.0,0,0.0,0.0,0.0,0.0,,,\n"


def test_a_known_beginning_gives_times_of_day() -> None:
    began = datetime(2026, 1, 31, 23, 59, 58, tzinfo=UTC)
    found = timeline(began=began, period_seconds=5.0)
    (segment, *_) = found.segments
    rows = list(csv.DictReader(io.StringIO(texts.csv_rows(timeline(began=began), is_first=True))))
    assert datetime.fromisoformat(rows[0]["time"]) == began + timedelta(seconds=segment.start_seconds)
    assert "began 2026-01-31 23:59:58+00:00" in texts.table(found, is_first=True)
    assert "23:59:58  00:00:03" in texts.table(found, is_first=True)
    assert ">00:00:01</text>" in svg(found, is_first=True)
    assert json.loads(texts.json_line(found, is_first=True))["began"] == "2026-01-31T23:59:58.000+00:00"


def test_the_table_is_aligned_and_names_doubt() -> None:
    found = timeline()
    head, blank, titles, *rows = texts.table(found, is_first=True).splitlines()
    assert head.startswith("talk.wav: 0:09 long, 0:05 of it speech: ")
    assert blank == ""
    assert len(rows) == len(found.segments)
    ends = titles.index("to") + 2
    assert all(row[ends - 4 : ends + 2].strip() and row[ends : ends + 2] == "  " for row in rows)
    assert any(f"uncertain (best guess {s.best_guess})" in row for s, row in zip(found.segments, rows, strict=True))
    assert texts.table(found, is_first=False).startswith("\ntalk.wav")
    periods = texts.table(timeline(period_seconds=5.0), is_first=True).splitlines()
    assert periods[2].split()[:3] == ["from", "to", "speech"]
    assert len(periods) == 3 + 2


@pytest.mark.parametrize("period_seconds", [None, 2.0])
def test_the_picture_is_well_formed_and_shows_doubt_as_doubt(period_seconds: float | None) -> None:
    found = timeline(period_seconds=period_seconds)
    root = ElementTree.fromstring(svg(found, is_first=True))
    titles = {
        rect.findtext(f"{SVG}title"): rect for rect in root.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None
    }
    shown = {title: rect for title, rect in titles.items() if title and re.search(r", \d+ %$", title)}
    assert len(shown) == len(found.segments)
    for segment, (title, rect) in zip(found.segments, shown.items(), strict=True):
        row = 88 + 22 * found.labels.index(segment.best_guess)
        assert (rect.get("y"), title.split(": ")[1].split(",")[0]) == (
            str(row),
            said(found)[found.segments.index(segment)][2],
        )
        kind = "doubt" if segment.label == UNCERTAIN else f"c{found.labels.index(segment.label)}"
        assert rect.get("class") == kind
        assert float((rect.get("x") or "").rstrip("%")) == pytest.approx(
            100 * segment.start_seconds / found.seconds, abs=1e-3
        )
    assert not re.search(r"(href|src)=|url\((?!#)|@import", svg(found, is_first=True))
    assert ("share of" in svg(found, is_first=True)) is (period_seconds is not None)


def test_the_envelope_is_drawn_as_tall_as_the_sound_is_loud() -> None:
    samples = np.concatenate([gain(noise("white", 1), -40), gain(noise("white", 1), -20), silence(1)])
    found = listen([samples], FakeNetwork(), Config(), "talk.wav")  # type: ignore[arg-type]
    (path,) = re.findall(r'class="wave" d="M0 100((?:V\d+h1)+)', svg(found, is_first=True))
    heights = 100 - np.array(re.findall(r"V(\d+)h1", path), float)
    third = len(heights) // 3
    assert heights.max() == 100
    assert heights[:third].max() == pytest.approx(100 * np.abs(samples[:16000]).max() / np.abs(samples).max(), abs=1)
    assert heights[-third + 1 :].max() == 1, "a thin line in silence"


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("make", [silent, nasty], ids=["silent", "nasty"])
def test_no_format_stumbles(form: str, make: Callable[[], Timeline]) -> None:
    text = FORMATS[form](make(), is_first=True)
    assert "\x1b" not in text
    if form == "svg":
        ElementTree.fromstring(text)
    if form == "json":
        assert json.loads(text)["path"] in (NASTY, "talk.wav")
    if form == "html":
        assert text.count("</script>") == 1
        assert text.count("<script>") == 1
        assert "<b>" not in text


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_sound_gives_the_same_bytes(form: str) -> None:
    first, second = (FORMATS[form](timeline(period_seconds=2.0), is_first=True) for _ in range(2))
    assert first == second
