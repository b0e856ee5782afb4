"""Speakers on a command line: their names may have commas and quotes."""

from __future__ import annotations

import pytest

from affectd_train.data.speakers import as_text, from_text


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["ravdess-01", "emodb-03"], "ravdess-01,emodb-03"),
        (["own-Doe, Ann", "own-b"], '"own-Doe, Ann",own-b'),
        (['own-"A", B', "own-Zoë"], '"own-""A"", B",own-Zoë'),
    ],
)
def test_speakers_are_read_as_they_are_written(names: list[str], text: str) -> None:
    assert as_text(names) == text
    assert from_text(text) == set(names)
