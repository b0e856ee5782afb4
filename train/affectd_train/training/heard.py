"""Who trained a model file, and that none of them is taken for a stranger. Imports no Keras: it is asked at once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from affectd.errors import UsageError
from affectd.recognition.model_file import ModelFile, read_model
from affectd_train.data.speakers import same


def speakers_of(model: ModelFile) -> set[str]:
    """Return the speakers that the weights of a model file were ever trained on, as far as it says."""
    training = model.card.get("training", {})
    return {*training.get("speakers", []), *training.get("start", {}).get("speakers", [])}


def check_start(start: str, strangers: Iterable[str]) -> None:
    """Raise UsageError if the weights of a model file learned from people who are held back from training, to test.

    Parameters
    ----------
    start
        The model file, or nothing where training starts from nothing.
    strangers
        Speakers, such as ``own-anna``.
    """
    heard = {same(who) for who in speakers_of(read_model(Path(start)))} if start else set()
    if known := sorted(who for who in strangers if same(who) in heard):
        others = f" and {len(known) - 1} more" if known[1:] else ""
        raise UsageError(
            f"{start} was trained on {known[0]}{others}, who would be tested as strangers: train on everything anew,"
            " from a file that never heard them (make without --model) or from nothing (evaluate, fit and sweep without"
            " a start); or, if they are other people, give them other names"
        )
