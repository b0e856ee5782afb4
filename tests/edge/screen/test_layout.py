"""The picture: it fits any terminal, doubt can be told from certainty without colors, the most important stays."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectd.screen.layout import ASCII, BLOCKS, Line, picture
from affectd.screen.view import View

LABELS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
NAMED = {**dict.fromkeys(LABELS, 0.02), "happy": 0.86}
DOUBTED = {**dict.fromkeys(LABELS, 0.1), "sad": 0.3}


def trace(**changes: Any) -> dict[str, Any]:
    line = {
        "type": "trace",
        "device": "kitchen",
        "start_seconds": 1.0,
        "end_seconds": 1.256,
        "level_dbfs": -30.0,
        "gate_open": True,
        "probabilities": NAMED,
        "smoothed": NAMED,
        "label": "happy",
        "probability": 0.86,
        "valence": 0.5,
        "arousal": -0.4,
        "reason": None,
    }
    return {**line, **changes}


DOUBT = trace(probabilities=DOUBTED, smoothed=DOUBTED, label="uncertain", probability=0.3, reason="below_threshold")
SHUT = trace(
    gate_open=False, probabilities=None, smoothed=None, label=None, probability=None, valence=None, arousal=None
)


def view(*messages: dict[str, Any], labels: tuple[str, ...] = LABELS) -> View:
    found = View("microphone", labels, 0.675)
    for message in messages:
        found.write(message)
    return found


def text(line: Line) -> str:
    return "".join(piece for piece, _ in line)


def rows(shown: View, columns: int = 80, n_rows: int = 24, **options: Any) -> dict[str, str]:
    """The lines by their first word."""
    lines = map(text, picture(shown, columns, n_rows, **options))
    return {line.split(" ")[0]: line for line in lines if line}


def status(state: str, reason: str, **about: Any) -> dict[str, Any]:
    return {"type": "status", "time": "2026-11-27T22:00:00.000Z", "state": state, "reason": reason, **about}


def test_a_screen_of_80_by_24_shows_all_of_it() -> None:
    event = {"type": "emotion", "phase": "end", "label": "sad", "probability": 0.7, "probabilities": NAMED}
    found = rows(view(status("healthy", "heard"), event, trace()))
    assert found["affectd"].split()[2:] == ["kitchen", "0:01"]
    assert found["Sound"].split() == ["Sound", "microphone:", "healthy"]
    assert found["Level"].endswith(" -30.0 dBFS")
    assert found["Level"].count(BLOCKS.solid) == pytest.approx(found["Level"].count(BLOCKS.empty) * 2, abs=1)
    assert found["Gate"].split() == ["Gate", "open", "for", "0.3", "s"]
    assert found["Voice"].split() == ["Voice", "happy", "86", "%"]
    assert set(LABELS) < found.keys()
    assert found["Valence"].endswith("+0.50")
    assert found["Arousal"].endswith("-0.40")
    assert "ended   sad 70 %" in "".join(map(text, picture(view(event), 80, 24)))
    assert "Ctrl-C ends" in text(picture(view(), 80, 24)[-1])


@pytest.mark.parametrize("signs", [BLOCKS, ASCII], ids=["UTF-8", "ASCII"])
def test_only_a_named_label_is_solid_and_in_doubt_none(signs: Any) -> None:
    named, doubted = rows(view(trace()), signs=signs), rows(view(DOUBT), signs=signs)
    assert [label for label in LABELS if signs.solid in named[label]] == ["happy"]
    assert [label for label in LABELS if signs.hatched in named[label]] == [n for n in LABELS if n != "happy"]
    assert not [label for label in LABELS if signs.solid in doubted[label]]
    assert all(signs.hatched in doubted[label] for label in LABELS)
    assert doubted["Voice"].split(maxsplit=1)[1] == "uncertain, best guess sad 30 %"


def test_the_bar_is_smoothed_and_the_mark_is_raw() -> None:
    lines = rows(view(trace(probabilities={**NAMED, "happy": 0.25})))
    bar = lines["happy"][12:]
    width = 80 - 12 - 18
    assert bar.count(BLOCKS.solid) == pytest.approx(0.86 * width, abs=1.5)
    assert bar.index(BLOCKS.mark) == round(0.25 * width)
    assert bar.split()[-5:] == ["86", "%", "now", "25", "%"]


def test_the_same_signs_are_used_without_color_as_with_it() -> None:
    """The meaning is in the characters: colors only repeat it."""
    styles = {style for line in picture(view(trace()), 80, 24) for _, style in line}
    assert {"good", "faint", "strong"} <= styles
    assert "doubt" not in styles
    assert "doubt" in {style for line in picture(view(DOUBT), 80, 24) for _, style in line}


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (SHUT, "waiting for speech"),
        (trace(smoothed=None, label=None, probability=None), "speech, too short yet to tell"),
        (DOUBT, "uncertain, best guess sad 30 %"),
    ],
)
def test_it_says_why_nothing_is_named(message: dict[str, Any], said: str) -> None:
    assert rows(view(message))["Voice"].removeprefix("Voice").strip() == said


def test_digital_silence_is_no_low_level() -> None:
    assert rows(view(trace(level_dbfs=None)))["Level"].endswith("no sound")


@pytest.mark.parametrize(
    ("reason", "figure", "said"),
    [("quiet", -51.2, "too quiet"), ("narrow", -60.0, "nothing above 2.8 kHz"), ("rate", 1.2, "samples a second")],
)
def test_a_degraded_microphone_comes_with_what_to_do(reason: str, figure: float, said: str) -> None:
    shown = view(status("degraded", reason, figure=figure), trace())
    lines = [text(line) for line in picture(shown, 80, 24)]
    hint = " ".join(lines)
    assert said in hint
    assert f"microphone: unfit sound ({reason})" in hint
    assert lines[-1].endswith("Ctrl-C ends")
    assert [label for label in LABELS if any(line.startswith(label) for line in lines)] == [*LABELS]


def test_the_most_important_stays_on_a_small_screen() -> None:
    assert [text(line) for line in picture(view(trace()), 80, 1)] == [rows(view(trace()))["Voice"]]
    found = rows(view(trace()), 80, 6)
    assert {"Voice", "Level", "Sound", "happy"} <= found.keys()
    assert "affectd" not in found


def test_of_too_many_labels_the_most_probable_are_shown_in_their_order() -> None:
    labels = tuple(f"label{n}" for n in range(30))
    shares = {label: 0.001 * (n % 7) for n, label in enumerate(labels)}
    lines = [text(line) for line in picture(view(trace(probabilities=shares, smoothed=shares), labels=labels), 80, 12)]
    found = [line.split()[0] for line in lines if line.startswith("label")]
    assert found == sorted(found, key=labels.index)
    assert {shares[label] for label in found} <= {0.004, 0.005, 0.006}


NUMBERS = st.one_of(st.none(), st.floats(-200, 200), st.floats(), st.integers())
SHARES = st.one_of(st.none(), st.dictionaries(st.sampled_from(LABELS), st.floats(0, 1)))


@given(
    columns=st.integers(1, 200),
    n_rows=st.integers(1, 60),
    message=st.builds(
        trace,
        level_dbfs=NUMBERS,
        gate_open=st.booleans(),
        probabilities=SHARES,
        smoothed=SHARES,
        label=st.sampled_from([None, "uncertain", *LABELS]),
        valence=NUMBERS,
        arousal=NUMBERS,
        start_seconds=st.floats(0, 1e9),
        end_seconds=st.floats(0, 1e9),
    ),
    microphone=st.builds(
        status, st.sampled_from(["healthy", "degraded", "alarmed"]), st.sampled_from(["quiet", "heard"]), figure=NUMBERS
    ),
)
def test_it_fits_any_terminal(columns: int, n_rows: int, message: dict[str, Any], microphone: dict[str, Any]) -> None:
    lines = picture(view(microphone, message), columns, n_rows)
    assert len(lines) <= n_rows
    assert all(len(text(line)) <= columns for line in lines)
    assert all(piece.isprintable() for line in lines for piece, _ in line)
    if n_rows >= 24:
        assert len(lines) == n_rows  # the last line is at the bottom
