"""Everyday speech: which half of it trains, and which half tests."""

from __future__ import annotations

import zlib
from pathlib import Path

from affectd_train.folders import audio_files


def everyday_recordings(folder: Path) -> list[Path]:
    """List the half of the recordings under a folder that `trained_on` allows."""
    return [path for path in audio_files(folder) if trained_on(path)]


def trained_on(recording: Path) -> bool:
    """Tell whether a recording of everyday speech is for training; the other half is for tests.

    The names say nothing about the speakers, so some of them may be on both sides.
    """
    return zlib.crc32(recording.name.encode(errors="surrogateescape")) % 2 == 0
