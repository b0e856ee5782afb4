"""The card carries what was measured, short, and the page shows it."""

from __future__ import annotations

import json
from pathlib import Path

from affectd_train.denoise import FRONT_ENDS
from affectd_train.measured import measured, pictures_beside, sections

ROW = {"unweighted": 0.61239, "share of clean": 0.9, "same_label": 0.87654, "unheard": 0.0}
ROBUSTNESS = {
    "recordings": 100,
    "conditions": [{"group": "noise car", "name": "10 dB"} | dict.fromkeys(FRONT_ENDS, ROW)],
    "bars": {"labels that a gain changes": 0.01234},
}
RATES = {"hours": 0.5, "named_per_hour": 4.0, "named_with_ends_per_hour": 8.0, "events_per_hour": 90.0, "labels": {}}
TRANSITIONS = {
    "transitions": 30,
    "f1": 0.5,
    "precision": 0.6,
    "recall": 0.4,
    "noticed": 0.7,
    "right": 0.8,
    "median_delay_seconds": 1.75,
}
BEHAVIOR = {
    "everyday": {"threshold": 0.4, "speech": RATES, "by_threshold": []},
    "transitions": {"as shipped": TRANSITIONS, "patience 1": TRANSITIONS},
}
CALIBRATION = {
    "ece": 0.03456,
    "reliability": [],
    "coverage": [
        {"coverage": c / 20, "threshold": 0.1, "weighted": 0.5, "unweighted": 1 - c / 40} for c in range(1, 21)
    ],
}


def test_only_what_was_measured_is_in_the_card(tmp_path: Path) -> None:
    assert measured(tmp_path) == {}
    assert sections({}) == []
    (tmp_path / "behavior.json").write_text(json.dumps(BEHAVIOR))
    assert set(measured(tmp_path)) == {"behavior"}


def test_the_page_shows_the_figures(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps({"calibration": CALIBRATION}))
    (tmp_path / "robustness.json").write_text(json.dumps(ROBUSTNESS))
    (tmp_path / "behavior.json").write_text(json.dumps(BEHAVIOR))
    short = measured(tmp_path)
    assert len(json.dumps(short)) < 2000  # the card travels in every model file
    assert [point[0] for point in short["calibration"]["coverage"]] == [0.2, 0.4, 0.6, 0.8, 1.0]
    page = "\n\n".join(sections(json.loads(json.dumps(short))))
    assert "error on strangers, int8, each speaker at the temperature fitted on all the others: 0.035" in page
    assert "| 80% | 0.600 | 0.500 |" in page
    assert "| noise car | 10 dB | 0.612 | 87.7% | 0.612 | 0.612 |" in page
    assert "- labels that a gain changes: 1.2%." in page
    assert "| speech | 0.50 | 4 | 90 |" in page
    assert "30 transitions: F1 within 1 s 0.50 (precision 0.60, recall 0.40); 70% are" in page
    assert "after a median of 1.8 s" in page


def test_a_device_that_never_notices_has_no_delay(tmp_path: Path) -> None:
    silent = BEHAVIOR | {"transitions": {"as shipped": TRANSITIONS | {"median_delay_seconds": None}}}
    (tmp_path / "behavior.json").write_text(json.dumps(silent))
    assert "median of" not in "\n".join(sections(measured(tmp_path)))


def test_pictures_are_shown_where_they_were_drawn(tmp_path: Path) -> None:
    for name in ("robustness.png", "confusion.png", "other.png"):
        (tmp_path / name).touch()
    assert pictures_beside(tmp_path) == ["confusion.png", "robustness.png"]
