"""The card carries what was measured, short, and the page shows it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from affectd.errors import NoInputError
from affectd_train.evaluation.denoise import FRONT_ENDS
from affectd_train.reports.card_sections import measured, pictures_beside, sections

ROW = {"unweighted": 0.61239, "share of clean": 0.9, "same_label": 0.87654, "unheard": 0.0}
ROBUSTNESS = {
    "every": 2,
    "recordings": 100,
    "corpora": ["emodb"],
    "conditions": [
        {"group": "noise car", "name": "10 dB"} | dict.fromkeys(FRONT_ENDS, ROW),
        {"group": "gain", "name": "+10 dB"}
        | dict.fromkeys(FRONT_ENDS, ROW)
        | {"clipped": 7, "same_label_clipped": 0.5, "same_label_unclipped": None},
    ],
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
    assert "on 100 recordings of strangers in EmoDB, int8" in page
    assert "| noise car | 10 dB | 0.612 | 87.7% | 0.612 | 0.612 |" in page
    assert "- labels that a gain changes: 1.2%." in page
    assert "| +10 dB | 87.7% | 7 | 50.0% | – |" in page
    assert "| speech | 0.50 | 4 (0 to 14) | 90 |" in page  # two, by Garwood 0.24 to 7.2
    assert "Of the speech the other half of `speech` was trained on:" in page
    assert "30 transitions: F1 within 1 s 0.50 (precision 0.60, recall 0.40); 70% are" in page
    assert "after a median of 1.8 s" in page


FIGURES = {
    "protocol": "EmoDB, left out once",
    "published": "about 94 %",
    "clips": 18,
    "speakers": 3,
    "int8": {
        "unweighted": 0.81239,
        "weighted": 0.8,
        "unweighted_interval": [0.7, 0.9],
        "by_gender": {"female": 0.75},
        "by_age": {"20 to 29": 0.5},
    },
    "float": {"unweighted": 0.82, "weighted": 0.8, "unweighted_interval": [0.7, 0.9]},
    "any_label": {"int8": 0.61239, "float": 0.6},
}
SEED = {
    "protocol": "TESS, SAME SPEAKERS",
    "table": {"theirs": {"published": "62 %", "weighted": 0.6, "unweighted": 0.55}},
}


def test_other_protocols_stand_beside_with_the_published_figures(tmp_path: Path) -> None:
    crossed = {
        "protocol": "cross-corpus",
        "experiments": {"a": FIGURES | {"protocol": "trained on a", "published": None}},
    }
    for name, figures in (("loso", FIGURES), ("seed", SEED), ("crossed", crossed)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps(figures))
    short = measured(tmp_path, [tmp_path / name for name in ("loso", "seed", "crossed")])
    assert short["also"] == {"loso": "", "seed": "", "crossed": ""}
    page = "\n\n".join(sections(json.loads(json.dumps(short))))
    row = "18 (3) | 0.812 (0.700 to 0.900) | 0.800 | 0.820 | 0.612 | female 0.750, 20 to 29 0.500"
    assert f"| EmoDB, left out once | {row} | about 94 % |" in page
    assert f"| trained on a | {row} | – |" in page
    assert "| TESS, SAME SPEAKERS | theirs | 62 % | 0.600 | 0.550 |" in page
    (tmp_path / "crossed" / "metrics.json").unlink()
    with pytest.raises(NoInputError, match="affectd-train evaluate writes it"):
        measured(tmp_path, [tmp_path / "crossed"])


def test_the_whole_card_stays_small(tmp_path: Path) -> None:
    evaluations = [tmp_path / str(k) for k in range(12)]
    for evaluation in evaluations:
        evaluation.mkdir()
        (evaluation / "metrics.json").write_text(json.dumps(FIGURES | {"protocol": "x" * 150}))
    assert len(json.dumps(measured(tmp_path, evaluations))) < 6000


def test_a_device_that_never_notices_has_no_delay(tmp_path: Path) -> None:
    silent = BEHAVIOR | {"transitions": {"as shipped": TRANSITIONS | {"median_delay_seconds": None}}}
    (tmp_path / "behavior.json").write_text(json.dumps(silent))
    assert "median of" not in "\n".join(sections(measured(tmp_path)))


def test_a_second_of_sound_has_no_upper_end_of_its_rate(tmp_path: Path) -> None:
    short = BEHAVIOR | {"everyday": {"noise rain": RATES | {"hours": 0.0, "named_per_hour": 0.0}}}
    (tmp_path / "behavior.json").write_text(json.dumps(short))
    assert "| noise rain | 0.00 | 0 (0 to inf) | 90 |" in "\n".join(sections(measured(tmp_path)))


def test_pictures_are_shown_where_they_were_drawn(tmp_path: Path) -> None:
    for name in ("robustness.png", "confusion.png", "other.png"):
        (tmp_path / name).touch()
    assert pictures_beside(tmp_path) == ["confusion.png", "robustness.png"]


def test_a_report_imports_no_training_library_and_draws_nothing() -> None:
    code = (
        "import sys, affectd_train.reports.model_card, affectd_train.reports.plots, affectd_train.reports.corpus_plots"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    assert not {"keras", "tensorflow", "sklearn", "matplotlib"} & set(done.stdout.split())
