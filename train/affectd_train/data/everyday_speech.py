"""Everyday speech, which is not acted and has no labels: which of it trains, and which tests."""

from __future__ import annotations

import zlib
from pathlib import Path

from affectd_train.folders import audio_files, find_folders

TRAINED = ("speech", "everyday_en_wakeword")
"""Sources that train where sources are split: those whose terms allow any use of what was trained on them."""

SOURCES = (*TRAINED, "everyday_mycroft", "everyday_lt")
"""Folders of everyday speech, each of one source: people, microphones and phrases of their own."""


def recordings_for_training(data: Path, by_source: bool) -> list[Path]:
    """List the everyday speech under ``data`` that trains.

    Parameters
    ----------
    by_source
        Whether it is split by source: all of `TRAINED`. Else it is the half of ``speech`` that `trained_on` allows.
    """
    folders = find_folders(data, TRAINED if by_source else ("speech",))
    chosen = everyday_recordings if not by_source else audio_files
    return [path for source in TRAINED if source in folders for path in chosen(folders[source])]


def recordings_for_tests(data: Path, by_source: bool) -> dict[str, list[Path]]:
    """List the everyday speech under ``data`` that does not train, by its source.

    Split by source, nothing of a tested source trains. Else the tested half of ``speech`` has the same microphones as
    the other half, and maybe the same people; the other sources are tested whole.
    """
    trains = set(recordings_for_training(data, by_source))
    folders = find_folders(data, SOURCES)
    listed = {source: audio_files(folders[source]) for source in SOURCES if source in folders}
    kept = {source: [path for path in paths if path not in trains] for source, paths in listed.items()}
    return {source: paths for source, paths in kept.items() if paths}


def everyday_recordings(folder: Path) -> list[Path]:
    """List the half of the recordings under a folder that `trained_on` allows."""
    return [path for path in audio_files(folder) if trained_on(path)]


def trained_on(recording: Path) -> bool:
    """Tell whether a recording of ``speech`` is for training where it is split by clip; the other half is for tests.

    The names say nothing about the speakers, so some of them may be on both sides.
    """
    return zlib.crc32(recording.name.encode(errors="surrogateescape")) % 2 == 0
