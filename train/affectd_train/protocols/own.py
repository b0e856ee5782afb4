"""How right networks are about people they never heard, of recordings of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from affectd_train.data.clips import Clip
from affectd_train.data.labels import in_order
from affectd_train.data.own import OWN
from affectd_train.data.splits import Split, own_splits
from affectd_train.files import write_json
from affectd_train.protocols.runs import Summary, run_folds
from affectd_train.training.recipe import Recipe

BY_FILE = "speakers maybe on both sides"
"""In the name of the protocol: what such figures are worth."""


class Own(Summary):
    """What ``metrics.json`` of `own` holds; ``by_file`` says that the same people may have trained and been tested."""

    by_file: bool


def own(
    clips: Sequence[Clip],
    recipe: Recipe | Callable[[str, Split], Recipe],
    data: Path,
    out: Path,
    n_folds: int | None = None,
    by_file: bool = False,
) -> Own:
    """Test on a fold of the speakers of one's own recordings after the other, training on the rest.

    Parameters
    ----------
    recipe
        Of all folds, or what gives that of each from its number and its split.
    n_folds
        Unless it is given five, or as many as there are speakers, or files, if they are fewer.
    by_file
        Split by file instead, for recordings whose speakers are not known: the figures flatter the networks.

    Raises
    ------
    TooFewError
        If the recordings cannot be split so, or a fold would train on no clip of a label.
    """
    splits = own_splits(clips, n_folds, by_file)
    labels = in_order(clip.emotion for clip in clips)
    n_speakers = len({clip.speaker for clip in clips} - {""})
    of, worth = (f"of {n_speakers} speakers", "speakers disjoint") if not by_file else ("by file", BY_FILE)
    protocol = f"own recordings, {len(splits)} folds {of} (seed 0), {len(labels)} classes, {worth}"
    numbered = {str(number): split for number, split in enumerate(splits, start=1)}
    figures: Own = {**run_folds(OWN, protocol, numbered, recipe, data, out), "by_file": by_file}
    write_json(out / "metrics.json", figures)
    return figures
