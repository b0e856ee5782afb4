"""`affectd personalize`: labeled WAV files in, a model file for their speaker out, with NumPy alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from affectd.arrays import Float32
from affectd.audio.source import wav_sound
from affectd.config.sections import Config
from affectd.errors import NoInputError, UnavailableError
from affectd.folders import Skipped, skipped_lines
from affectd.personal.personalize import check_place, personalize, write
from affectd.personal.recordings import find_recordings
from affectd.recognition.classifier import load_classifier
from affectd.recognition.model_file import find_model
from affectd.stdio import print_error
from affectd.words.progress import Progress


def run(folder_name: str, out_name: str, config: Config, show: Callable[[str], object]) -> int:
    """Fit the head of the configured model on the recordings in a folder, write the new file and show what it is.

    Raises
    ------
    AffectdError
        It cannot be done, or does not help; nothing was written.
    """
    folder, out = Path(folder_name), Path(out_name)
    check_place(out, find_model(config.model.path))
    base = load_classifier(config.model).model
    recordings, skipped = find_recordings(folder, base.labels)
    say_skipped(folder, skipped)
    if not recordings:
        raise NoInputError(
            f"{folder} holds no labeled recording: affectd record --label makes some, or folders named by label."
        )
    late: list[Skipped] = []
    with Progress() as progress:

        def sound_of(number: int) -> Iterator[Float32]:
            path = recordings[number].path
            blocks, seconds = wav_sound(path, base.spec.sample_rate, config.audio.channel)
            count = f"{number + 1} of {len(recordings)}, "
            return progress.through(blocks, base.spec.sample_rate, seconds, str(path), count)

        try:
            personal = personalize(base, recordings, sound_of, config, late.append)
        finally:
            progress.clear()
            say_skipped(folder, late)
    try:
        write(out, personal)
    except OSError as error:
        raise UnavailableError(str(error)) from error
    for line in personal.lines(out):
        show(line)
    return 0


def say_skipped(folder: Path, skipped: Iterable[Skipped]) -> None:
    """Say what was left out."""
    for line in skipped_lines(folder, skipped):
        print_error("affectd", line)
