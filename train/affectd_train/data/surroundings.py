"""What training takes of a folder besides clips: noise, rooms, and everyday speech."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from affectd_train.data.everyday_speech import recordings_for_training
from affectd_train.folders import audio_files, find_folders, named_contents


def surroundings(data: Path, by_source: bool) -> dict[str, str]:
    """Describe the recordings beside the clips in a folder, for a note of what was asked for.

    Parameters
    ----------
    by_source
        Whether everyday speech is split by source, see `recordings_for_training`.
    """
    noise = [path for folder in find_folders(data, ["noise"]).values() for path in audio_files(folder)]
    contents = named_contents([*noise, *recordings_for_training(data, by_source)])
    return {"noise and everyday speech": hashlib.sha256(json.dumps(contents).encode()).hexdigest()[:16]}
