"""The two runs through the data: pretraining and fine-tuning, as a recipe plans them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from affectd_train.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One of the two runs through the data, and the share of every batch that each corpus has in it."""

    title: str
    shares: dict[str, float]
    n_frames: int
    steps: int
    rate: float
    rate_name: str  # in the recipe
    seed: int


def phases(recipe: Recipe, corpora: Sequence[str]) -> tuple[Phase, Phase]:
    """Plan pretraining, on the corpora besides the target, and fine-tuning, on the target and the rest."""
    shares = {name: recipe.shares[name] for name in corpora}
    others = {name: share for name, share in shares.items() if name != recipe.target}
    first = Phase(
        title="pretraining",
        shares=others or shares,
        n_frames=recipe.pretrain_frames,
        steps=recipe.pretrain_steps,
        rate=recipe.pretrain_rate,
        rate_name="pretrain_rate",
        seed=recipe.seed,
    )
    if others and recipe.target in shares:
        scale = (1 - recipe.target_share) / sum(others.values())
        shares = {name: share * scale for name, share in others.items()} | {recipe.target: recipe.target_share}
    second = Phase(
        title="fine-tuning",
        shares=shares,
        n_frames=recipe.n_frames,
        steps=recipe.finetune_steps,
        rate=recipe.finetune_rate,
        rate_name="finetune_rate",
        seed=recipe.seed + 1,
    )
    return first, second
