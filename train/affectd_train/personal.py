"""``affectd-train personalize``: recordings as training reads them in, a model file for their speaker out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from affectd.arrays import Float32
from affectd.config.sections import Config, ModelConfig
from affectd.folders import Skipped, walk
from affectd.personal.personalize import Labeled, check_place, personalize, write
from affectd.personal.recordings import find_recordings, written_label
from affectd.recognition.classifier import load_classifier
from affectd_train.data.own import read_own
from affectd_train.data.recordings import read_audio
from affectd_train.folders import say_skipped

Part = tuple[float, float]
"""From which second to which."""


def personalize_folder(folder: Path, labels: Path | None, model: Path, out: Path) -> tuple[str, str]:
    """Fit the head of a model file on recordings of one person or place, write the new file, return what to say.

    Where the recordings have files of ``affectd record --label`` beside them, labels are taken from these as the device
    does, else as `read_own` does. From the same WAV files it makes the same file as the device.

    Raises
    ------
    AffectdError
        It cannot be done, or does not help; nothing was written.
    """
    check_place(out, model)
    base = load_classifier(ModelConfig(path=str(model))).model
    recordings, parts, skipped = _recordings(folder, labels, base.labels)
    say_skipped(folder, skipped)

    def sound_of(number: int) -> list[Float32]:
        return [np.asarray(read_audio(recordings[number].path, base.spec.sample_rate, *parts[number]))]

    late: list[Skipped] = []
    try:
        personal = personalize(base, recordings, sound_of, Config(), late.append)
    finally:
        say_skipped(folder, late)
    write(out, personal)
    return personal.lines(out)


def _recordings(
    folder: Path, labels: Path | None, known: tuple[str, ...]
) -> tuple[list[Labeled], list[Part], list[Skipped]]:
    whole = (0.0, float("inf"))
    if labels is None and folder.is_dir() and any(map(written_label, walk(folder).files)):
        recordings, skipped = find_recordings(folder, known)
        return recordings, [whole] * len(recordings), skipped
    found = read_own(folder, labels)
    recordings = [Labeled(clip.path, clip.emotion) for clip in found.clips]
    return recordings, [(clip.start_seconds, clip.end_seconds) for clip in found.clips], found.skipped
