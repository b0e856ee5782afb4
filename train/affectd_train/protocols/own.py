"""How right networks are about people they never heard, of recordings of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from affectd_train.data.clips import Clip
from affectd_train.data.labels import in_order
from affectd_train.data.own import OWN
from affectd_train.data.splits import Split, TooFewError, file_folds, speaker_folds
from affectd_train.files import write_json
from affectd_train.protocols.runs import Summary, run_folds
from affectd_train.training.recipe import Recipe

N_FOLDS = 5
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
        Unless it is given `N_FOLDS`, or as many as there are speakers, or files, if they are fewer.
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


def own_splits(clips: Sequence[Clip], n_folds: int | None = None, by_file: bool = False) -> list[Split]:
    """Split recordings of one's own into folds; see `own`."""
    if by_file:
        splits = file_folds(clips, n_folds or min(N_FOLDS, len({clip.path for clip in clips})))
    else:
        speakers = {clip.speaker for clip in clips}
        if len(speakers) == 1 and "" not in speakers:
            raise TooFewError(f"all clips are of one speaker, {_who(speakers)}: {_OTHERWISE}")
        splits = speaker_folds(clips, n_folds or min(N_FOLDS, len(speakers)), seed=0)
    for split in splits:
        untrained = {clip.emotion for clip in clips} - {clip.emotion for clip in split.train}
        for label in in_order(untrained):
            raise TooFewError(_untrained(label, split, clips, by_file))
    return splits


_OTHERWISE = "add other speakers, or ask for a split by file (--by-file), whose figures flatter the network"


def _untrained(label: str, split: Split, clips: Sequence[Clip], by_file: bool) -> str:
    if by_file:
        return f"{split.name}: nothing of {label} is left to train on, for its clips are parts of too few files"
    speakers = {clip.speaker for clip in clips if clip.emotion == label}
    if len(speakers) == 1:
        return f"{label} is only said by {_who(speakers)}, without whom nothing of it is left to train on: {_OTHERWISE}"
    n_speakers = len({clip.speaker for clip in clips})
    return (
        f"{split.name}: nothing of {label} is left to train on, for only {_who(speakers)} say it:"
        f" ask for as many folds as there are speakers (--folds {n_speakers}), or add speakers of it"
    )


def _who(speakers: set[str]) -> str:
    return ", ".join(sorted(speaker.removeprefix(f"{OWN}-") for speaker in speakers))
