"""What a worker does: it holds the network, and answers one batch of recordings after the other."""

from __future__ import annotations

import errno
import os
import platform
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import fsspec
import pyarrow

from affectd.config.sections import Config
from affectd.errors import AffectdError, UnavailableError
from affectd.recognition.baseline import at_new_place
from affectd.recognition.classifier import Classifier
from affectd.recognition.model_file import ModelFile, model_id
from affectd.recognition.recording import classify_recording
from affectd.recognition.smoothing import uncertain_threshold
from affectd.timeline.listening import listen
from affectd_train.archive.sources import Found
from affectd_train.data.recordings import stream_audio

BROKEN = "broken"
"""The column that says why there is no answer."""

UNHEARD = "unheard"
"""The column that says what a machine lacks to hear it; the recording is none the worse for that."""

_BATCH = pyarrow.schema([("path", pyarrow.string()), ("location", pyarrow.binary()), ("content", pyarrow.binary())])
_NUMBERS = ("valence", "arousal", "seconds", "speech_seconds")
_MOST_IN_BATCH = 32
_BATCHES_A_WORKER = 50
"""At least, where there are enough recordings: at the end a worker waits for the last batch of another."""


def batch_length(n_recordings: int, n_workers: int) -> int:
    """Return how many recordings a worker is handed at once."""
    return max(1, min(_MOST_IN_BATCH, n_recordings // (n_workers * _BATCHES_A_WORKER)))


def batch_of(recordings: Sequence[Found]) -> pyarrow.Table:
    """Return recordings as what is sent to a worker."""
    rows = [{"path": one.path, "location": os.fsencode(one.location), "content": one.content} for one in recordings]
    return pyarrow.Table.from_pylist(rows, _BATCH)


def schema(labels: tuple[str, ...], *, is_timed: bool) -> pyarrow.Schema:
    """Return the columns of the table: a row for each recording, or if it `is_timed` for each segment."""
    number, text = pyarrow.float64(), pyarrow.string()
    probabilities = pyarrow.struct([(label, number) for label in labels])
    if is_timed:
        own = [("start_seconds", number), ("end_seconds", number), ("label", text), ("best_guess", text)]
        end = [("reason", text)]
    else:
        own, end = [("label", text)], [("uncertain", pyarrow.bool_())]
    middle = [("probability", number), ("probabilities", probabilities), *((name, number) for name in _NUMBERS)]
    return pyarrow.schema([("path", text), *own, *middle, *end, ("model", text)])


def unanswered(paths: Sequence[str], reason: str, labels: tuple[str, ...], *, is_timed: bool) -> pyarrow.Table:
    """Return the rows of recordings that no worker has an answer to."""
    return pyarrow.Table.from_pylist(
        [{"path": path, BROKEN: reason} for path in paths], _answer_schema(labels, is_timed)
    )


def _answer_schema(labels: tuple[str, ...], is_timed: bool) -> pyarrow.Schema:
    reasons = [pyarrow.field(name, pyarrow.string()) for name in (BROKEN, UNHEARD)]
    return pyarrow.schema([*schema(labels, is_timed=is_timed), *reasons])


class Worker:
    """Answers batches; made once in every process.

    Parameters
    ----------
    model : ModelFile
        Its network.
    is_timed : bool
        Whether to cut recordings into segments.
    """

    def __init__(self, model: ModelFile, is_timed: bool) -> None:
        self._network, self._config, self._is_timed = Classifier(model), Config(), is_timed
        self._model = model_id(model)
        self._threshold = uncertain_threshold(model, self._config)
        self._schema = _answer_schema(model.labels, is_timed)

    def __call__(self, batch: pyarrow.Table) -> pyarrow.Table:
        """Return the rows of a batch from `batch_of`; `BROKEN` or `UNHEARD` is not null where one has no answer."""
        rows: list[dict[str, Any]] = []
        for one in batch.to_pylist():
            rows += self._rows(one["path"], os.fsdecode(one["location"]), one["content"])
        return pyarrow.Table.from_pylist(rows, self._schema)

    def _rows(self, name: str, location: str, content: bytes | None) -> list[dict[str, Any]]:
        path = None
        try:
            with _lying_here(location, content) as path:
                found = self._timed(path) if self._is_timed else self._classified(path)
        except UnavailableError as error:
            return [{"path": name, UNHEARD: str(error)}]
        except AffectdError as error:
            return [{"path": name, BROKEN: str(error).removeprefix(f"{path}: ")}]
        except Exception as error:  # one recording, or the network on the way to it, must not stop a million others
            return [{"path": name, BROKEN: f"{type(error).__name__}: {error}"}]
        return [{**row, "path": name, "model": self._model} for row in found]

    def _classified(self, path: Path) -> list[dict[str, Any]]:
        found = classify_recording(self._sound(path), self._network, self._config)
        uncertain = None if found.probability is None else found.probability < self._threshold
        return [{**asdict(found), "probabilities": found.probabilities or None, "uncertain": uncertain}]

    def _timed(self, path: Path) -> list[dict[str, Any]]:
        """Return a row for each segment; without speech one that says so, for every recording is in the table."""
        network, ended = at_new_place(self._network)
        found = listen(self._sound(path), network, self._config, str(path), ended=ended)
        whole = {"seconds": found.seconds, "speech_seconds": round(found.whole.speech_seconds, 3)}
        return [{**asdict(segment), **whole} for segment in found.segments] or [whole]

    def _sound(self, path: Path) -> Iterator[Any]:
        return stream_audio(path, self._network.model.spec.sample_rate)


@contextmanager
def _lying_here(location: str, content: bytes | None) -> Iterator[Path]:
    """Give a file of this machine; what lies elsewhere is copied for as long as it is heard.

    Raises
    ------
    UnavailableError
        If there is no room for the copy.
    """
    if content is None and "://" not in location:
        yield Path(location)
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.NamedTemporaryFile(prefix="affectd-"))
        except OSError as error:  # whatever it is: the recording has no part in it
            raise _without_room(error) from error
        try:
            if content is not None:
                Path(file.name).write_bytes(content)
            else:
                system, path = fsspec.core.url_to_fs(location)
                system.get_file(path, file.name)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise _without_room(error) from error
        yield Path(file.name)


def _without_room(error: OSError) -> UnavailableError:
    return UnavailableError(f"{platform.node()} has no room for a temporary file ({error.strerror})")
