"""Every number that training depends on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from affectd.features.spec import FeatureSpec


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Every number that training depends on; its JSON is stored with the weights."""

    # More cepstra than is usual: 40 do not hold the harmonics of a low voice, 64 do.
    spec: FeatureSpec = field(default_factory=lambda: FeatureSpec(n_mfcc=64))
    n_frames: int = 188  # 3.0 s
    pretrain_frames: int = 128  # 2.0 s, as long as most clips: faster, and no worse than with the silence before them
    corpora: tuple[str, ...] = ("ravdess", "tess", "cremad", "savee", "emodb")
    target: str = "ravdess"
    # Shares of a batch: by number of voices rather than of clips (TESS is two women, 2,800 clips).
    shares: dict[str, float] = field(
        default_factory=lambda: {"ravdess": 4.0, "tess": 2.0, "cremad": 7.0, "savee": 1.0, "emodb": 1.0}
    )
    target_share: float = 0.5  # of the batches of fine-tuning
    augmented_copies: int = 4  # of every recording, each in another voice; fewer of large corpora, see `versions`
    batch_size: int = 64
    label_smoothing: float = 0.05
    teacher: str = ""  # encoder_model.onnx of Moonshine base, or nothing for labels alone
    teacher_share: float = 0.5  # of the target probabilities; the rest is the label's
    hint_weight: float = 1.0  # of the squared error of the hints, beside the cross-entropy
    frame_weight: float = 1.0  # of that of the frames' hints; 0 does without them
    tilt_db: float = 2.0  # how far the microphones that clips are made to come from differ
    weight_decay: float = 0.01
    pretrain_steps: int = 8000
    pretrain_rate: float = 6e-3
    finetune_steps: int = 3500
    finetune_rate: float = 2e-3
    save_every: int = 200
    seed: int = 0


PER_CORPUS = 1500
"""Copies in other voices that a corpus has at most, or one of each recording."""


OF_FINETUNING = ("target_share", "finetune_steps", "finetune_rate")
"""Numbers of the recipe that pretraining does not depend on."""


PHASES = ("pretrain", "finetune")


def swap_phases(recipe: Recipe) -> Recipe:
    """Give the steps and rates of pretraining to fine-tuning, and the reverse."""
    values = {f"{phase}_{what}": getattr(recipe, f"{phase}_{what}") for phase in PHASES for what in ("steps", "rate")}
    others = {name: name.replace("pretrain_", "finetune_") for name in values if "pretrain_" in name}
    both = others | {other: name for name, other in others.items()}
    return replace(recipe, **{name: values[other] for name, other in both.items()})


def options_of(recipe: Mapping[str, Any]) -> str:
    """Say what ``affectd-train`` has to be told to train by a recipe, given as the JSON in ``fit.json``."""
    usual = Recipe(teacher="")
    if recipe.get("target") == "cremad":  # for which the protocol of CREMA-D swapped them
        usual = swap_phases(usual)
    words = ["--teacher encoder_model.onnx"] if recipe.get("teacher") else []
    changed = {k: v for k, v in asdict(usual).items() if isinstance(v, int | float) and recipe.get(k, v) != v}
    names = {name: name for name in changed}
    if recipe.get("target") == "cremad":
        for first, second in (PHASES, PHASES[::-1]):
            names |= {f"{first}_{what}": f"{second}_{what}" for what in ("steps", "rate") if f"{first}_{what}" in names}
    return " ".join(words + [f"--set {names[name]}={recipe[name]}" for name in sorted(changed)])


def _as_json(recipe: Recipe) -> dict[str, Any]:
    # Of the teacher counts what it is, not where it lies.
    teacher = recipe.teacher and hashlib.sha256(Path(recipe.teacher).read_bytes()).hexdigest()[:16]
    return asdict(recipe) | {"spec": recipe.spec.to_dict(), "teacher": teacher}
