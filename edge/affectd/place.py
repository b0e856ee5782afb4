"""What a device knows of its place while it runs, and the command ``affectd baseline``."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from affectd.audio.source import is_live
from affectd.board import clock_synchronized
from affectd.config.sections import Config
from affectd.config.state import Folders, claimed_folders
from affectd.events.event import Utterance
from affectd.recognition.baseline import Baseline, Placed
from affectd.recognition.classifier import Classifier
from affectd.recognition.kept import Keeper, encode, read_learned


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
        self.network = Placed(classifier)
        self._device, self._keeper = device, None
        if folder is not None:
            head = self.network.baseline.head
            learned = read_learned(folder, device, classifier.model, head)
            self.network.baseline = Baseline(head, learned)
            self._keeper = Keeper(folder, classifier.model)

    def ended(self, utterance: Utterance) -> None:
        """Learn from an utterance."""
        now = time.time() if clock_synchronized() else None
        if self.network.ended(utterance, now) and self._keeper is not None:
            baseline = self.network.baseline
            self._keeper.keep(encode(baseline.learned, self._device, self.network.model, baseline.head))

    def settled(self) -> float:
        """Return how far it knows its place, 0 to 1."""
        return self.network.baseline.settled

    def close(self, patience_seconds: float) -> None:
        """Save what was learned; a disk that hangs for longer is not waited for."""
        if self._keeper is not None:
            self._keeper.close(patience_seconds)


def open_place(config: Config, classifier: Classifier, folders: Folders | None, claims: ExitStack) -> Place:
    """Return the place where the device listens, for a model with a head.

    Live sound alone is of this place: a file starts from the mean of the training, and what it teaches is not kept.
    `claims` gets the claim of the state folder, unless `folders` is claimed already.

    Raises
    ------
    UnavailableError
        Another process has claimed the state of this device.
    """
    if not is_live(config.audio.source):
        return Place(classifier, config.device.id, None)
    if folders is None:
        folders = claims.enter_context(claimed_folders(config.device.id))
    return Place(classifier, config.device.id, folders.state)
