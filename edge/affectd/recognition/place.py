"""The baseline of a place in use: learned while the device runs, kept in a file, shown, taught and forgotten."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from affectd.arrays import Float32
from affectd.config.directories import state_directory
from affectd.config.sections import Config
from affectd.config.state import Folders, claimed_folders, state_of
from affectd.errors import AffectdError, DataError, UnavailableError
from affectd.recognition.baseline import Baseline, Heard, PastUtterance, Placed, head_of, learning_head_of
from affectd.recognition.baseline_file import Keeper, encode, files_of, path_of, read_learned, write_learned
from affectd.recognition.classifier import Classifier
from affectd.recognition.model_file import ModelFile, model_id

_log = logging.getLogger(__name__)


class Place:
    """A network that gets to know its place, and keeps what it learned in the state folder of the device.

    Parameters
    ----------
    classifier : Classifier
        Of a model with a head.
    device : str
        The id of the device.
    folder : Path, optional
        The state folder of the device, claimed; None: what is learned is forgotten at the end.
    """

    def __init__(self, classifier: Classifier, device: str, folder: Path | None) -> None:
        self._device, self._keeper, learned = device, None, None
        if folder is not None:
            learned = read_learned(folder, device, classifier.model)
            self._keeper = Keeper(folder, classifier.model)
        self.network = Placed(classifier, learned)

    def ended(self, utterance: Heard) -> None:
        """Learn from an utterance."""
        if self.network.ended(utterance, time.time()) and self._keeper is not None:
            self._keeper.keep(encode(self.network.baseline.learned, self._device, self.network.model))

    def settled(self) -> float | None:
        """Return how far the baseline has moved to this place, 0 to 1; with a voice times how far the place is one.

        None of a head whose baseline stays where it is.
        """
        baseline = self.network.baseline
        return baseline.settled * baseline.trust if baseline.head.spec.moves else None

    def close(self, patience_seconds: float) -> None:
        """Save what was learned; a disk that hangs for longer is not waited for."""
        if self._keeper is not None:
            self._keeper.close(patience_seconds)


def open_place(
    config: Config, classifier: Classifier, folders: Folders | None, claims: ExitStack, *, live: bool
) -> Place:
    """Return the place where the device listens, for a model with a head.

    Live sound alone is of this place: a file starts from the mean of the training, and what it teaches is not kept, nor
    is what a head hears whose baseline stays where it is. `claims` gets the claim of the state folder, unless `folders`
    is claimed already. Where another process has it, what is learned is not kept, which is said: two pipes may be heard
    at once.
    """
    is_kept = live and head_of(classifier.model).spec.moves
    if is_kept and folders is None:
        try:
            folders = claims.enter_context(claimed_folders(config.device.id))
        except UnavailableError as error:
            _log.warning("what is learned of this place is not kept: %s", error)
    return Place(classifier, config.device.id, folders.state if is_kept and folders is not None else None)


def show(config: Config, model: ModelFile) -> dict[str, Any]:
    """Describe what is kept of the place of this device.

    Returns
    -------
    dict
        ``device``, ``folder`` of its state, ``model``, ``seconds`` of speech (those long ago count less), ``settled``
        (0 to 1), ``since`` (RFC 3339, UTC, by the clock of the board; None if nothing was learned), and ``distance``
        from the mean of the training, where 1 is as far as the embeddings of the training are on the average; of a
        model with a voice also ``one_voice``, how far the place is one (0 to 1; None if nothing was learned).

    Raises
    ------
    UsageError
        The model gets to know no place.
    UnavailableError
        This user may not read it.
    """
    head, device = learning_head_of(model), config.device.id
    path = path_of(state_of(device), model)
    if path in _files(path.parent) and not os.access(path, os.R_OK):
        raise UnavailableError(f"What was learned of this place cannot be read: {path}: {os.strerror(errno.EACCES)}.")
    baseline = Baseline(head, read_learned(path.parent, device, model), model.voice)
    since = baseline.learned.since
    return {
        "device": device,
        "folder": str(path.parent),
        "model": model_id(model),
        "seconds": round(baseline.learned.seconds, 1),
        "settled": round(baseline.settled, 3),
        "since": None if since is None else _utc(since),
        "distance": round(baseline.distance, 3),
    } | ({} if model.voice is None else {"one_voice": round(baseline.trust, 3) if baseline.learned.seconds else None})


def as_text(found: Mapping[str, Any]) -> str:
    """Return what `show` found as a sentence."""
    if not found["seconds"]:
        return f"{found['device']}: nothing was learned of this place yet, says {found['folder']}"
    since = "" if found["since"] is None else f" since {found['since']}"
    return (
        f"{found['device']}: {100 * found['settled']:.0f} % settled, from {found['seconds']:.0f} s of speech{since};"
        f" {found['distance']:.2f} from the mean of the training"
        + (f"; one voice: {100 * found['one_voice']:.0f} %" if "one_voice" in found else "")
    )


def reset(config: Config) -> None:
    """Forget what was learned, for all models.

    Raises
    ------
    UnavailableError
        The device is running, which would write it again, or a file cannot be found or removed.
    """
    folder = state_of(config.device.id)
    if not _files(folder):
        return
    with claimed_folders(config.device.id):
        for path in _files(folder):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise UnavailableError(f"{path} cannot be removed: {error.strerror}") from error


def _files(folder: Path) -> list[Path]:
    try:
        return files_of(folder)
    except OSError as error:
        raise UnavailableError(f"What was learned of this place cannot be read: {folder}: {error.strerror}.") from error


def teach(config: Config, classifier: Classifier, listen: Callable[[Placed, Callable[[Heard], None]], None]) -> None:
    """Learn the place from some sound and save that, or change nothing.

    `listen` is called with the network, and with what it must call at the end of each utterance.

    Raises
    ------
    UsageError
        The model gets to know no place.
    UnavailableError
        The device is running, or what was learned cannot be saved.
    DataError
        There was no speech in it.
    """
    model, device = classifier.model, config.device.id
    learning_head_of(model)
    with claimed_folders(device) as folders:
        placed = Placed(classifier, read_learned(folders.state, device, model))
        learned_from = 0

        def ended(utterance: Heard) -> None:
            nonlocal learned_from
            learned_from += placed.ended(utterance, time.time())

        listen(placed, ended)
        if not learned_from:
            raise DataError("There is no speech in it to learn from; nothing was changed.")
        try:
            write_learned(folders.state, model, encode(placed.baseline.learned, device, model))
            _hand_over(folders.state, path_of(folders.state, model))
        except OSError as error:
            raise UnavailableError(f"What was learned cannot be saved in {folders.state}: {error.strerror}.") from error


def _hand_over(*paths: Path) -> None:
    """Give what root made to the user of the service, whose state folder this is."""
    owner = state_directory().stat()
    if os.geteuid() == 0 != owner.st_uid:
        for path in paths:
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def together(
    paths: Iterable[str], blocks_of: Callable[[str], Iterable[Float32]], classifier: Classifier, config: Config
) -> Placed:
    """Return a network that knows the place where recordings were made, after a first pass over all of them.

    Each counts as one utterance, in their order; one that cannot be read is left out.

    Raises
    ------
    UsageError
        The model gets to know no place.
    """
    # Imported only here: a live device must not cost memory for it.
    from affectd.recognition.recording import classify_recording

    learning_head_of(classifier.model)
    placed = Placed(classifier)
    for path in paths:
        with suppress(AffectdError):
            found = classify_recording(blocks_of(path), placed, config)
            placed.ended(PastUtterance(round(found.speech_seconds * classifier.model.spec.frame_rate)))
        placed.reset()  # of one that failed in its middle
    return placed


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
