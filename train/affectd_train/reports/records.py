"""What a model card holds: ``card.json`` of a model file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from affectd_train.stored import Choice

if TYPE_CHECKING:
    from affectd_train.evaluation.metrics import OfNetwork  # not at run time: it needs scikit-learn

Shares = dict[str, float]
Accuracy = tuple[float, tuple[float, float], float]
"""Unweighted accuracy, its 95 % interval, weighted accuracy."""


class Evaluation(TypedDict):
    """``metrics.json`` of disjoint speakers, as far as the page shows it; ``Shares`` are unweighted accuracies.

    With ``by_file`` the speakers are maybe not disjoint. ``choices``: what each network was trained from, and why.
    """

    name: NotRequired[str]
    by_file: NotRequired[bool]
    choices: NotRequired[Mapping[str, Choice]]
    protocol: str
    published: NotRequired[str | None]
    trained_on: NotRequired[list[str]]
    clips: int
    speakers: int
    labels: list[str]
    same_label: float
    folds: dict[str, Shares]
    fold_mean: Shares
    int8: OfNetwork
    float: OfNetwork


class Calibration(TypedDict):
    """Error and coverage curve: share answered, and unweighted and weighted accuracy of those.

    ``reliability``: mean probability of the label, share of right answers, and number of recordings, bin by bin;
    earlier files have none. ``by_file`` if it is not known who speaks.
    """

    ece: float
    coverage: list[tuple[float, float, float]]
    reliability: NotRequired[list[tuple[float, float, int]]]
    by_file: NotRequired[bool]


class Robustness(TypedDict):
    """Accuracy under every condition, of one in ``every`` recordings of ``corpora``, which earlier files do not name.

    ``rows``: group, name, unweighted accuracy, share of labels as in clean sound, accuracy with the other front ends.
    ``gain``: name, share of labels as in clean sound, recordings that clip, the share among these and among the others.
    """

    every: int
    recordings: int
    corpora: NotRequired[list[str]]
    bars: Shares
    rows: list[tuple[str, str, *tuple[float, ...]]]
    gain: list[tuple[str, float, int, float | None, float | None]]


class Behavior(TypedDict):
    """Events per hour by kind of sound, and how transitions between emotions are followed, at default settings."""

    everyday: dict[str, Shares]
    transitions: Mapping[str, Any]


class Strangers(TypedDict):
    """Another protocol with disjoint speakers; ``any`` is the int8 network's accuracy if any label may be answered."""

    protocol: str
    published: NotRequired[str]
    clips: int
    speakers: int
    any: float
    groups: Shares
    int8: Accuracy
    float: Accuracy


class Seeds(TypedDict):
    """A random split; of every system name, published figure, weighted and unweighted accuracy."""

    protocol: str
    systems: list[tuple[str, str | None, float, float]]


class Repeat(TypedDict):
    """The evaluation of the card once more, by the same recipe with another seed."""

    seed: int
    options: str
    fold_mean: Shares


class Measured(TypedDict, total=False):
    """What was measured besides accuracy; ``also`` has the recipe's options of every further evaluation.

    ``repeats``: folder -> the same evaluation with another seed.

    ``settled`` is from `affectd_train.reports.settled_figures.settled_part`.
    """

    calibration: Calibration
    robustness: Robustness
    behavior: Behavior
    also: dict[str, str]
    repeats: dict[str, Repeat]
    strangers: list[Strangers]
    seeds: list[Seeds]
    settled: Mapping[str, Any]


class Training(TypedDict):
    """What `affectd_train.export.pack.pack` adds; ``recipe`` may be that of an earlier version."""

    recipe: Mapping[str, Any]
    clips: NotRequired[dict[str, int]]
    speakers: list[str]
    start: NotRequired[Mapping[str, Any]]
    choice: NotRequired[Choice]
    voice: NotRequired[Mapping[str, Any]]


class Card(TypedDict):
    """The whole card; the files of single folds lack most of it.

    ``unfitted`` says that temperature and threshold are, for there was no evaluation. Where they were fitted on corpora
    that were left out, ``named`` has the share of recordings that is named at them, and how much of that is right:
    of strangers of ``known`` corpora, and of ``unheard`` ones.
    """

    name: str
    data: list[Mapping[str, str | int]]
    use: str
    unfitted: NotRequired[str]
    named: NotRequired[Mapping[str, tuple[float, float | None]]]
    evaluation: NotRequired[Evaluation]
    measured: NotRequired[Measured]
    training: NotRequired[Training]
