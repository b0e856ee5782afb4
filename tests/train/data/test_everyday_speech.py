"""Everyday speech: what trains is never tested, by clip as in the first recipe or by source."""

from __future__ import annotations

from pathlib import Path

import pytest

from affectd_train.data.everyday_speech import SOURCES, TRAINED, recordings_for_tests, recordings_for_training
from affectd_train.data.terms import EVERYDAY_TERMS

NAMES = ("one", "two", "three", "four", "five", "six", "seven", "eight")  # the same in every source


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for source in SOURCES:
        for take in NAMES:
            path = tmp_path / source / "deep" / f"{take}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        (tmp_path / source / "labels.csv").touch()
    return tmp_path


def sources_of(data: Path, paths: list[Path]) -> list[str]:
    return sorted({path.relative_to(data).parts[0] for path in paths})


def test_split_by_source_a_source_trains_or_is_tested(data: Path) -> None:
    trained, tested = recordings_for_training(data, True), recordings_for_tests(data, True)
    assert sources_of(data, trained) == sorted(TRAINED)
    assert sorted(tested) == ["everyday_lt", "everyday_mycroft"]
    assert {source: sources_of(data, paths) for source, paths in tested.items()} == {s: [s] for s in tested}
    assert len(trained) == 16
    assert [len(paths) for paths in tested.values()] == [8, 8]


def test_split_by_clip_half_of_one_source_trains_and_nothing_of_the_others(data: Path) -> None:
    trained, tested = recordings_for_training(data, False), recordings_for_tests(data, False)
    assert sources_of(data, trained) == ["speech"]
    assert 0 < len(trained) < 8
    assert len(tested["speech"]) == 8 - len(trained)
    assert [len(tested[source]) for source in SOURCES[1:]] == [8, 8, 8]


@pytest.mark.parametrize("by_source", [False, True])
def test_every_recording_is_on_one_side(data: Path, by_source: bool) -> None:
    trained = recordings_for_training(data, by_source)
    tested = [path for paths in recordings_for_tests(data, by_source).values() for path in paths]
    assert not set(trained) & set(tested)
    assert len({*trained, *tested}) == 8 * len(SOURCES)


def test_sources_that_are_not_there_are_no_fault(tmp_path: Path) -> None:
    (tmp_path / "Everyday-LT").mkdir()
    (tmp_path / "Everyday-LT" / "01.opus").touch()
    assert recordings_for_training(tmp_path, True) == []
    assert recordings_for_tests(tmp_path, True) == {"everyday_lt": [tmp_path / "Everyday-LT" / "01.opus"]}


def test_sources_that_train_allow_any_use() -> None:
    assert list(EVERYDAY_TERMS) == list(SOURCES)
    assert all(limit == "" for _, limit in map(EVERYDAY_TERMS.__getitem__, TRAINED))


def test_the_shared_sources_are_read_completely(speech_data: Path) -> None:
    if missing := [source for source in SOURCES if not (speech_data / source).is_dir()]:
        pytest.skip(f"no {missing[0]} in {speech_data}")
    tested = recordings_for_tests(speech_data, True)
    assert len(recordings_for_training(speech_data, True)) == 310 + 400
    assert {source: len(paths) for source, paths in tested.items()} == {"everyday_mycroft": 400, "everyday_lt": 28}
