"""One labeled recording of a corpus, and what is found of a whole corpus."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from affectd.folders import Skipped
from affectd_train.data.recordings import Header


@dataclass(frozen=True, order=True)
class Clip:
    """One labeled recording.

    Examples
    --------
    >>> Clip("emodb", Path("03a01Fa.wav"), "emodb-03", "male", "happy", "a01").is_logmel
    False
    """

    corpus: str  # one of `CORPORA`, or "own"
    path: Path  # the audio file or, for a log-mel clip, the file with the spectrograms of the whole corpus
    speaker: str  # unique across corpora, such as "ravdess-01"; "" where unknown
    gender: str  # "female", "male", or "" where unknown
    emotion: str  # one of `LABELS`, or a label of one's own
    text: str  # the corpus's id of the spoken sentence or word
    first_frame: int | None = None  # of a log-mel clip in its file; None for audio
    n_frames: int | None = None
    start_seconds: float = 0.0  # of the part of an audio file that the clip is
    end_seconds: float = math.inf
    name: str = field(default="", compare=False)  # `named_in` the folder, where the file alone does not tell

    @property
    def is_logmel(self) -> bool:
        """Whether the clip is a log-mel spectrogram rather than audio."""
        return self.first_frame is not None

    @property
    def is_part(self) -> bool:
        """Whether the clip is a part of an audio file rather than all of it."""
        return (self.start_seconds, self.end_seconds) != (0.0, math.inf)

    def named_in(self, folder: Path) -> str:
        """Return the path of the recording in a folder, and which part of it the clip is."""
        part = f":{self.start_seconds:g}-{self.end_seconds:g}" if self.is_part else ""
        return self.path.relative_to(folder).as_posix() + part


@dataclass(frozen=True)
class Corpus:
    """What `read_corpus` found: the usable clips, sorted, and everything skipped, sorted."""

    name: str
    root: Path
    clips: list[Clip]
    skipped: list[Skipped]
    headers: dict[Path, Header] = field(default_factory=dict)  # of audio files, those that were read
