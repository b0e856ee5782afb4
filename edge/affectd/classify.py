"""`affectd classify`: recordings, folders of them and standard input in, one line for each recording out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from affectd.arrays import Float32
from affectd.audio.containers import Origin
from affectd.audio.source import recording
from affectd.config.sections import Config
from affectd.errors import AffectdError, NoInputError, UsageError
from affectd.folders import WAV_SUFFIXES, Skipped, skipped_lines, walk
from affectd.recognition.classifier import load_classifier
from affectd.recognition.recording import classify_recording
from affectd.recognition.smoothing import uncertain_threshold
from affectd.stdio import print_error
from affectd.words.progress import Progress

STDIN = "-"
_READER = "affectd classify -"

_OTHER_SOUND = (
    *(".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".mp4", ".mov", ".mkv", ".webm", ".wma", ".amr"),
    *(".aif", ".aiff", ".aifc", ".au", ".caf", ".w64", ".3gp", ".gsm", ".avi"),
)

Write = Callable[[dict[str, Any]], None]


class Recordings:
    """The recordings that a command line names: files, those in folders, and ``-`` for standard input.

    What is left out of a folder is said on standard error. `exit_code` is 66 if a folder holds no recording.

    Raises
    ------
    UsageError
        Standard input is named more often than it can be read.
    """

    def __init__(self, paths: Sequence[str], *, together: bool) -> None:
        if paths.count(STDIN) > 1 or (together and STDIN in paths):
            raise UsageError("standard input can be read only once: name - once, and without --together")
        self.exit_code = 0
        self.paths: list[str] = []
        for path in paths:
            if path == STDIN or not os.path.isdir(path):
                self.paths.append(path)
            elif found := _recordings_in(Path(path)):
                self.paths += found
            else:
                error = NoInputError(f"The folder {path} holds no WAV file.")
                print_error("affectd", str(error))
                self.exit_code = error.exit_code


def classify(recordings: Recordings, config: Config, *, together: bool, begin: Callable[[Sequence[str]], Write]) -> int:
    """Classify recordings; return the exit code, which is that of the first that failed.

    `begin` gets the labels of the model and returns what takes each result: ``path``, the fields of
    `affectd.recognition.recording.Recording`, and ``uncertain``, whether the device would say so of this probability;
    None without speech.

    Raises
    ------
    AffectdError
        The model cannot be run, or with `together` gets to know no place.
    """
    classifier = load_classifier(config.model)
    write = begin(classifier.model.labels)
    threshold = uncertain_threshold(classifier.model, config)
    code = recordings.exit_code
    with Progress() as progress:
        sound = _Sound(recordings.paths, classifier.model.spec.sample_rate, config, progress)
        placed = None
        if together:
            from affectd.recognition.place import together as getting_to_know

            placed = getting_to_know(recordings.paths, sound.of, classifier, config)
            sound.again()
        for path in recordings.paths:
            if placed is not None:
                placed.reset()
            try:
                found = classify_recording(sound.of(path), placed or classifier, config, path)
            except AffectdError as error:
                progress.clear()
                print_error("affectd", str(error))
                code = code or error.exit_code
                continue
            progress.clear()
            uncertain = None if found.probability is None else found.probability < threshold
            write({"path": path, **asdict(found), "uncertain": uncertain})
    return code


class _Sound:
    """Opens recordings one after the other, and shows how far they were heard."""

    def __init__(self, paths: Sequence[str], sample_rate: int, config: Config, progress: Progress) -> None:
        self._paths, self._sample_rate, self._config, self._progress = paths, sample_rate, config, progress
        self.again()

    def again(self) -> None:
        """Begin with the first one."""
        self._n = 0

    def of(self, path: str) -> Iterator[Float32]:
        """Return the sound of the next recording."""
        self._n += 1
        blocks, seconds = recording(path, self._sample_rate, self._config.audio.channel, _READER)
        count = f"{self._n} of {len(self._paths)}, " if len(self._paths) > 1 else ""
        return self._progress.through(blocks, self._sample_rate, seconds, path, count)


def _recordings_in(folder: Path) -> list[str]:
    """List the WAV files in a folder, sorted; say what is left out."""
    found = walk(folder)
    paths, others = [], []
    for path in found.files:
        if path.suffix.lower() in WAV_SUFFIXES:
            paths.append(str(path))
        else:
            others.append(path)
    sound = [path for path in others if path.suffix.lower() in _OTHER_SOUND]
    skipped = [*found.skipped, *(Skipped(path, "not a recording") for path in others if path not in sound)]
    for line in skipped_lines(folder, skipped):
        print_error("affectd", line)
    if sound:
        conversion = Origin(str(sound[0]), str(sound[0])).conversion()
        how_many = f"{len(sound)} files that are not WAV, such as {sound[0]}" if sound[1:] else f"{sound[0]}"
        print_error("affectd", f"{folder}: skipped {how_many}: convert to WAV first: {conversion}")
    return paths
