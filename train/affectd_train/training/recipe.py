"""Every number that training depends on, and how it reads as JSON and on the command line.

Imports neither Keras nor any array library, so that a report reads it in no time.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from affectd.errors import UsageError
from affectd.features.spec import FeatureSpec

SHARES = {
    "ravdess": 4.0,
    "tess": 2.0,
    "cremad": 7.0,
    "savee": 1.0,
    "emodb": 1.0,
    "nemo": 2.0,
    "ased": 3.0,  # 65 voices, but most of its sentences belong to one emotion
    "emotale": 2.0,
    "emospeech": 0.5,  # weak labels
    "turev": 0.25,  # weak labels, single words
}
"""corpus -> share of a batch: by number of voices rather than of clips (TESS is two women, 2,800 clips)."""

ORIGINAL = ("ravdess", "tess", "cremad", "savee", "emodb")
"""The corpora of the file in ``models/``."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Every number that training depends on; its JSON is stored with the weights.

    Examples
    --------
    >>> recipe = Recipe(pretrain_steps=500, corpora=("emodb",))
    >>> recipe.n_frames * recipe.spec.hop_length / recipe.spec.sample_rate  # seconds that the network sees
    3.008
    """

    # More cepstra than is usual: 40 do not hold the harmonics of a low voice, 64 do.
    spec: FeatureSpec = field(default_factory=lambda: FeatureSpec(n_mfcc=64))
    n_frames: int = 188  # 3.0 s
    pretrain_frames: int = 128  # 2.0 s, as long as most clips: faster, and no worse than with the silence before them
    corpora: tuple[str, ...] = ORIGINAL
    target: str = "ravdess"
    shares: dict[str, float] = field(default_factory=lambda: {name: SHARES[name] for name in ORIGINAL})  # of a batch
    target_share: float = 0.5  # of the batches of fine-tuning
    augmented_copies: int = 4  # of every recording, each in another voice; fewer of large corpora, see `versions`
    batch_size: int = 64
    label_smoothing: float = 0.05
    teacher: str = ""  # encoder_model.onnx of Moonshine base, or nothing for labels alone
    teacher_share: float = 0.5  # of the target probabilities; the rest is the label's
    hint_weight: float = 1.0  # of the squared error of the hints, beside the cross-entropy
    frame_weight: float = 1.0  # of that of the frames' hints; 0 does without them
    n_embedding: int = 0  # numbers that the int8 network gives instead of logits, with a head behind them; 0: logits
    tilt_db: float = 2.0  # how far the microphones that clips are made to come from differ
    weight_decay: float = 0.01
    pretrain_steps: int = 8000
    pretrain_rate: float = 6e-3
    finetune_steps: int = 3500
    finetune_rate: float = 2e-3
    save_every: int = 200
    seed: int = 0
    everyday_by_source: int = 0  # 1: whole sources of everyday speech train, see `everyday_speech`; 0: half of one
    noise_floor: int = 0  # 1: every clip gets a floor of noise, so that digital silence does not tell a corpus

    def as_json(self) -> dict[str, Any]:
        """Return all fields, fit for JSON: of the teacher what it is, not where it lies.

        `LATER` fields of no effect are left out: what was made before there were any stays of the same recipe.
        """
        teacher = self.teacher and hashlib.sha256(Path(self.teacher).read_bytes()).hexdigest()[:16]
        fields = {name: value for name, value in dataclasses.asdict(self).items() if value or name not in LATER}
        return fields | {"spec": self.spec.to_dict(), "teacher": teacher}


def with_corpora(recipe: Recipe, corpora: Iterable[str]) -> Recipe:
    """Train on other corpora, each with the share that the recipe has for it, else with that of `SHARES`.

    Examples
    --------
    >>> with_corpora(Recipe(), ["emodb", "nemo"]).shares["nemo"]
    2.0
    """
    names = tuple(corpora)
    added = {name: SHARES[name] for name in names if name not in recipe.shares}
    return dataclasses.replace(recipe, corpora=names, shares=recipe.shares | added)


def wide_recipe() -> Recipe:
    """Make the recipe for voices, microphones and languages that the network never met: it trains on all there is."""
    return dataclasses.replace(with_corpora(Recipe(), SHARES), everyday_by_source=1, noise_floor=1)


PER_CORPUS = 1500
"""Copies in other voices that a corpus has at most, or one of each recording."""

OF_FINETUNING = ("target_share", "finetune_steps", "finetune_rate")
"""Numbers of the recipe that pretraining does not depend on."""

LATER = ("everyday_by_source", "n_embedding", "noise_floor")
"""Numbers of the recipe that came after the file in ``models/``; 0 does without."""

_RANGES: dict[str, tuple[int, int]] = {
    "n_frames": (1, 4096),
    "pretrain_frames": (1, 4096),
    "batch_size": (1, 4096),
    "save_every": (1, 2**31 - 1),
    "augmented_copies": (0, 100),
    "everyday_by_source": (0, 1),
    "noise_floor": (0, 1),
    "n_embedding": (0, 1024),
    "target_share": (0, 1),
    "teacher_share": (0, 1),
    "label_smoothing": (0, 1),
}
"""Lowest and highest value of numbers that are not 0 or more."""

_OTHER_PHASE = {
    "pretrain_steps": "finetune_steps",
    "pretrain_rate": "finetune_rate",
    "finetune_steps": "pretrain_steps",
    "finetune_rate": "pretrain_rate",
}


def swap_phases(recipe: Recipe) -> Recipe:
    """Give the steps and rates of pretraining to fine-tuning, and the reverse.

    Examples
    --------
    >>> swap_phases(Recipe(pretrain_steps=5, finetune_steps=7)).pretrain_steps
    7
    """
    return dataclasses.replace(recipe, **{name: getattr(recipe, other) for name, other in _OTHER_PHASE.items()})


def with_settings(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """Change numbers of a recipe by ``KEY=VALUE``.

    Raises
    ------
    UsageError
        If the recipe has no such number, or the value is none.

    Examples
    --------
    >>> with_settings(Recipe(), ["seed=3", "tilt_db=1"]).tilt_db
    1.0
    """
    changes: dict[str, Any] = {}
    numbers = {key: value for key, value in dataclasses.asdict(Recipe()).items() if isinstance(value, int | float)}
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in numbers:
            near = difflib.get_close_matches(key, numbers, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"--set {setting}: the recipe has no number of this name{hint}")
        try:
            changes[key] = type(numbers[key])(value)
        except (ValueError, OverflowError):
            raise UsageError(f"--set {setting}: {value!r} is no {type(numbers[key]).__name__}") from None
        lowest, highest = _RANGES.get(key, (0, 2**31 - 1))
        if changes[key] < lowest:
            raise UsageError(f"--set {setting}: must be {lowest} or more")
        if not changes[key] <= highest:  # nor is NaN
            raise UsageError(f"--set {setting}: must be {highest} or less")
    return dataclasses.replace(recipe, **changes)


def options_of(recipe: Mapping[str, Any]) -> str:
    """Say what ``affectd-train`` has to be told to train by a recipe, given as the JSON in ``fit.json``.

    Examples
    --------
    >>> options_of({"teacher": "c9a5d5b0f1b6e0d2", "seed": 3})
    '--teacher encoder_model.onnx --set seed=3'
    """
    usual, names = Recipe(), {}
    if recipe.get("target") == "cremad":  # for which the protocol of CREMA-D swapped them
        usual, names = swap_phases(usual), _OTHER_PHASE
    words = ["--teacher encoder_model.onnx"] if recipe.get("teacher") else []
    numbers = {key: value for key, value in dataclasses.asdict(usual).items() if isinstance(value, int | float)}
    changed = sorted(key for key, value in numbers.items() if recipe.get(key, value) != value)
    return " ".join(words + [f"--set {names.get(key, key)}={recipe[key]}" for key in changed])
