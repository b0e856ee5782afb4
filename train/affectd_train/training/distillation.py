"""Distillation: what the teacher makes of all that is trained on, as targets for `Batches`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from affectd.arrays import Float16, Float32
from affectd_train.data.clips import Clip
from affectd_train.training.bands import BandStore
from affectd_train.training.frame_hints import N_FRAME_HINTS, frame_hints
from affectd_train.training.recipe import Recipe
from affectd_train.training.teacher import N_HINTS, Basis, SoftTargets, embeddings, soft_targets
from affectd_train.training.variants import Version

Entry = tuple[Clip, int]
"""A clip and the number of its copy."""


@dataclass(frozen=True)
class TeacherOutputs:
    """What the teacher makes of every entry; without a teacher, nothing."""

    embedded: dict[Entry, Float32] = field(default_factory=dict)  # each (3 * 832,)
    frames: dict[Entry, Float16] = field(default_factory=dict)  # each (n_frames, N_FRAME_HINTS), if asked for
    basis: Basis | None = None  # the components of what is pretrained on

    def soft_targets(self, store: BandStore, labels: Sequence[str], shares: Mapping[str, float]) -> SoftTargets | None:
        """Predict the labels of recordings and of their copies, each corpus weighted by its share."""
        if self.basis is None:
            return None
        counts = Counter(clip.corpus for clip, copy in store.entries() if not copy)
        weights = [0.0 if copy else shares[clip.corpus] / counts[clip.corpus] for clip, copy in store.entries()]
        right = np.array([labels.index(clip.emotion) for clip in store.clips])
        x = np.stack([self.embedded[entry] for entry in store.entries()])  # (len(store), 3 * 832)
        speakers = [clip.speaker or str(clip.path) for clip in store.clips]
        return soft_targets(x, self.basis, right, len(labels), np.array(weights, np.float32) / max(weights), speakers)

    def frames_of(self, store: BandStore) -> list[Float16]:
        """Return the hints of the frames of every entry of a store, or nothing where there are none."""
        return [self.frames[entry] for entry in store.entries()] if self.frames else []

    @property
    def n_hints(self) -> int:
        """How many hints there are of a clip."""
        return min(N_HINTS, self.basis.axes.shape[1]) if self.basis else 0

    @property
    def n_frame_hints(self) -> int:
        """How many hints there are of every step of the network."""
        return N_FRAME_HINTS if self.frames else 0


def run_teacher(
    versions: Sequence[Version], store: BandStore, recipe: Recipe, everyday: Sequence[Path], cache: Path
) -> TeacherOutputs:
    """Run the recipe's teacher on all versions, or read what an earlier call left in the cache.

    Its components are those of ``store``, and of recordings of ``everyday`` speech, without which frames have no hints.
    """
    if not recipe.teacher:
        return TeacherOutputs()
    encoder = Path(recipe.teacher)
    embedded: dict[Entry, Float32] = {}
    frames: dict[Entry, Float16] = {}
    for clips, augmenter, copy in versions:
        entries = [(clip, copy) for clip in clips]
        embedded |= zip(entries, embeddings(clips, recipe.spec, encoder, cache, augmenter, copy), strict=True)
        if recipe.frame_weight and everyday:
            hints = frame_hints(clips, recipe.spec, encoder, everyday, cache, augmenter, copy)
            frames |= zip(entries, hints, strict=True)
    originals = np.stack([embedded[entry] for entry in store.entries() if not entry[1]])
    return TeacherOutputs(embedded, frames, Basis.of(originals))
