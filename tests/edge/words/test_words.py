"""Events, microphones and columns in words."""

from __future__ import annotations

import csv
import io
import time
import unicodedata
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectd.events.event import event_schema
from affectd.stdio import shortened, width_of
from affectd.words.emotions import duration
from affectd.words.events import Table, Text
from affectd.words.layout import Column, Layout
from affectd.words.listings import devices_rows, devices_text, model_text
from affectd.words.rows import Rows, row

LABELS = ("angry", "calm", "happy")
EVENT = {
    "schema": 2,
    "id": "1",
    "type": "emotion",
    "time": "2026-11-21T11:20:30.979Z",
    "clock_synchronized": True,
    "device": "kitchen",
    "phase": "start",
    "label": "uncertain",
    "probability": 0.4346,
    "probabilities": {"angry": 0.4346, "calm": 0.3, "happy": 0.2654},
    "valence": 0.058,
    "arousal": None,
    "start_seconds": 4.592,
    "end_seconds": 3725.696,
    "level_dbfs": -24.8,
    "speech_ratio": 1.0,
    "model": "621fc7c7a29e",
}
STATUS = {key: EVENT[key] for key in ("schema", "id", "time", "clock_synchronized", "device")} | {"type": "status"}
MICROPHONE = {
    "index": 3,
    "name": "USB PnP Sound Device: Audio (hw:1,0)",
    "names": ("usb-id:0d8c:0014", "usb-path:1-1.3", "card:Device"),
    "n_channels": 1,
    "sample_rate": 44100,
    "sample_rates": (44100, 48000),
    "level_dbfs": -41.2,
}


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def test_an_event_is_one_line_below_the_titles() -> None:
    line = Text(None).of(LABELS)
    titles, said = line(EVENT).splitlines()
    assert titles.split() == ["TIME", "AT", "PHASE", "HEARD", "BEST", "GUESS", "VALENCE", "AROUSAL", "LEVEL"]
    assert said.split() == ["11:20:30", "1:02:05", "start", "uncertain", "angry", "43", "%", "+0.06", "-24.8", "dB"]
    assert len(titles) == len(said), "aligned"
    assert line({**EVENT, "label": "calm", "level_dbfs": None}).split()[3:7] == ["calm", "calm", "30", "%"]


def line_of(event: dict) -> str:
    return Text(80).of(LABELS)(event).splitlines()[1]


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"state": "alarmed", "reason": "stalled"}, "the microphone is alarmed: stalled"),
        ({"state": "degraded", "reason": "rate", "figure": 1.09}, "the microphone is degraded: rate, 1.09"),
        (
            {"part": "broker", "state": "alarmed", "reason": "refused", "refused": ["a/\x1b[1m", "b"]},
            "the broker is alarmed: refused, a/\\x1b[1m b",
        ),
        (
            {"part": "standard_output", "state": "alarmed", "reason": "stalled", "events_dropped": 7},
            "standard output is alarmed: stalled, 7 events dropped",
        ),
    ],
)
def test_a_status_event_is_a_sentence(about: dict, said: str) -> None:
    assert line_of({**STATUS, **about}) == f"11:20:30  {said}"


@pytest.mark.parametrize(
    ("zone", "when"),
    [("XXX99", "2026-11-21T11:20:30.979Z"), ("YYY-25", "2026-11-21T11:20:30.979Z"), ("ABC5", "0001-01-01T01:00:00Z")],
)
def test_an_event_is_a_line_where_python_knows_no_local_time(
    zone: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    assert line_of({**EVENT, "time": when}).split()[0] == when[11:19], "in UTC"


def test_every_part_that_an_event_can_be_about_has_a_name_in_words() -> None:
    for part in event_schema()["properties"]["part"]["enum"]:
        line = line_of({**STATUS, "state": "alarmed", "reason": "refused", "part": part})
        assert "microphone" not in line
        assert "_" not in line


def test_every_field_of_an_event_has_a_column() -> None:
    table = Table(event_schema()["properties"])
    line = table.of(LABELS)
    rows = [line({**STATUS, "state": "healthy", "reason": "heard"}), line(EVENT)]
    assert table.rest() == ""
    status, emotion = csv.DictReader(io.StringIO("\n".join(rows)))
    assert set(EVENT) - {"probabilities"} <= set(status)
    assert {"state", "reason", "figure", "part", "refused", "events_dropped"} <= set(status)
    assert (status["state"], status["label"]) == ("healthy", "")
    assert (emotion["state"], emotion["probabilities.calm"]) == ("", "0.3")


def test_a_table_without_an_event_has_its_titles_once() -> None:
    table = Table(["label", "probabilities"])
    table.of(LABELS)
    assert table.rest() == "label,probabilities.angry,probabilities.calm,probabilities.happy"
    assert table.rest() == ""


def test_microphones_are_a_table_with_all_their_names() -> None:
    silent = {**MICROPHONE, "name": "default", "names": (), "n_channels": 32, "level_dbfs": -120.0}
    closed = {**silent, "name": "pulse", "level_dbfs": None}
    title, first, second, third, *others = devices_text([MICROPHONE, silent, closed], None)
    assert title.startswith("NAME FOR [audio] device")
    assert first.split()[:5] == ["usb-id:0d8c:0014", "-41.2", "dB", "1", "44.1"]
    assert first.endswith("USB PnP Sound Device: Audio (hw:1,0)")
    assert [second, third] == ["usb-path:1-1.3", "card:Device"]
    assert "silence" in others[0]
    assert "cannot open" in others[1]
    narrow = list(devices_text([MICROPHONE, silent, closed], 60))
    assert max(map(len, narrow)) <= 60
    assert "hw:1,0" in narrow[1]
    assert list(devices_text([], None)) == []
    (read,) = csv.DictReader(io.StringIO("\n".join(devices_rows([MICROPHONE]))))
    assert read["names"].split() == list(MICROPHONE["names"])
    assert read["level_dbfs"] == "-41.2"


@pytest.mark.parametrize("card", [{}, {"data": "noise"}, {"data": [1], "evaluation": [], "use": 3}, {"evaluation": {}}])
def test_a_model_with_any_card_is_described(card: dict) -> None:
    features = {"hop_length": 256, "sample_rate": 16000, "n_mfcc": 40}
    facts = {"model": "62", "bytes": 1, "path": "/a", "labels": ["a"], "input": [1, 8, 40], "runtime": "x 1"}
    lines = list(model_text({**facts, "features": features, "thresholds": {"uncertain": 0.5}, "card": card}, 80))
    assert lines[0].startswith("model")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00.0"), (59.96, "1:00.0"), (754.6, "12:34.6"), (3599.96, "1:00:00"), (36000, "10:00:00")],
)
def test_durations_carry(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.lists(st.text(max_size=40), min_size=3, max_size=3), st.integers(20, 120))
def test_a_line_fits_and_is_printable_whatever_it_holds(cells: list[str], room: int) -> None:
    # Text of one column a character here: what else there is has no width that is sure.
    cells = ["".join(c for c in cell if c.isascii() or not c.isprintable()) for cell in cells]
    layout = Layout([Column("A", 40, is_elastic=True), Column("B", 300, is_optional=True), Column("C", 4)], room)
    line = layout.line([cells[0], cells[1], "last"])
    assert line.isprintable()
    assert width_of(line) <= room
    assert line.endswith("last")


@given(st.text(), st.integers(8, 30))
def test_what_is_cut_keeps_both_ends(text: str, width: int) -> None:
    cut = shortened(text, width)
    assert width_of(cut) <= width
    if width_of(text) <= width:
        assert cut == text
    else:
        head, tail = cut.split("...", 1)[0], cut.rsplit("...", 1)[1]
        assert text.startswith(head)
        assert text.endswith(tail)


def test_a_wide_character_takes_two_columns() -> None:
    assert width_of("食堂") == 4
    assert width_of(unicodedata.normalize("NFD", "café")) == 4
    assert width_of(shortened("食" * 20, 13)) <= 13


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_another_program_reads_a_row_as_it_was(cells: list[str]) -> None:
    written = [cell if cell.isprintable() else "x" for cell in cells]
    (read,) = csv.reader(io.StringIO(row(written)), strict=True)
    assert read == written
    assert row(cells).isprintable()


def test_a_record_with_fewer_fields_leaves_cells_empty() -> None:
    assert Rows(["a", "b.c", "d"]).line({"b": {"c": 1}, "e": 5}) == ",1,"
