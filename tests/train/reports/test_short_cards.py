"""Files that have no figures because of how they were made still have a card to read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from affectd.errors import DataError
from affectd.recognition.model_file import write_model
from affectd_train.cli import main
from affectd_train.reports.html_page import page
from affectd_train.reports.model_card import markdown
from tiny_model import tiny_model

FOUND = {
    "clips": 20,
    "folds": 5,
    "right": 12,
    "right_before": 7,
    "right_before_of_these_labels": 8,
    "unweighted": 0.6,
    "unweighted_before": 0.35,
    "unweighted_before_of_these_labels": 0.4,
}
PERSONAL = {
    "personal": {"model": "621fc7c7a29e", "clips": {"happy": 12, "müde": 8}, "cross_validation": FOUND},
    "data": [{"corpus": "RAVDESS", "clips": 1200, "terms": "CC BY-NC-SA 4.0"}],
    "use": "non-commercial only, as RAVDESS demands",
    "training": {"clips": {"ravdess": 1200}},
}
IMPORTED = {"imported": {"from": "net.h5", "kind": "Keras file", "terms": "mine", "contexts": 400, "agreement": 0.9925}}
REBUILT = {"training": {"seed_system": {"network": "convolution", "features": "mean_mfcc"}}}


@pytest.mark.parametrize(
    ("card", "said"),
    [
        (
            PERSONAL,
            (
                "fitted to one voice or place",
                "| fitted | 12 | 20 | 0.600 |",
                "| `621fc7c7a29e` as it is | 7 | 20 | 0.350 |",
                "| müde | 8 |",
                "| recordings of this voice or place | 20 |",
                "| RAVDESS | 1200 | CC BY-NC-SA 4.0 |",
                "non-commercial only, as RAVDESS demands",
                "of other people, places and days they say nothing",
            ),
        ),
        (IMPORTED, ("trained elsewhere", "Not known", "99.2% of 400 contexts", "`net.h5`, a Keras file", "mine")),
        (REBUILT, ("rebuilt for comparison", "convolution, mean_mfcc", "far less")),
    ],
    ids=["personal", "imported", "rebuilt"],
)
def test_a_card_says_how_the_file_was_made_and_that_it_has_no_figures_of_strangers(
    card: dict[str, Any], said: tuple[str, ...]
) -> None:
    model = tiny_model(card=card)
    text = markdown(model)
    for words in (*said, "Article 50(3)", "angry, calm, happy", "Below a probability of 0.45"):
        assert words in text
    shown = page(model)
    assert "<h1>Model card" in shown
    assert "http" not in shown.replace("http-equiv", "")
    with pytest.raises(DataError, match="no evaluation"):
        page(model, Path("runs/own"))


def test_it_is_written_again_in_its_place_and_over_nothing_else(tmp_path: Path) -> None:
    write_model(tmp_path / "mine.tflite", tiny_model(card=IMPORTED))
    words = ["report", str(tmp_path / "mine.tflite"), "--out", str(tmp_path / "mine.md")]
    assert main(words) == 0
    once = (tmp_path / "mine.md").read_bytes()
    assert main(words) == 0
    assert (tmp_path / "mine.md").read_bytes() == once
    (tmp_path / "mine.md").write_text("notes")
    assert main(words) == 64
    assert (tmp_path / "mine.md").read_text() == "notes"
