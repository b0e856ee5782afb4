"""Where noise and room responses lie: in a folder of noise, the responses in its folder ``impulse_responses``."""

from __future__ import annotations

from pathlib import Path

from affectd_train.folders import audio_files, find_folders

RESPONSES = "impulse_responses"


def noise_recordings(folder: Path) -> list[Path]:
    """List the recordings of noise under a folder of noise, which those of rooms are not."""
    rooms = responses_folder(folder)
    return [path for path in audio_files(folder) if rooms is None or rooms not in path.parents]


def room_responses(folder: Path) -> list[Path]:
    """List the impulse responses in a folder of noise."""
    rooms = responses_folder(folder)
    return audio_files(rooms) if rooms else []


def responses_folder(folder: Path) -> Path | None:
    """Find the folder of impulse responses in a folder of noise, however its name is written."""
    return find_folders(folder, [RESPONSES]).get(RESPONSES) if folder.is_dir() else None
