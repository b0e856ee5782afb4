"""What tells speech from noise on a device: a logistic regression on the functionals of contexts.

Speech is what the voice is fitted on, everyday speech that trains, and both with noise in them; noise is all of the
noise. The regression is strongly regularized, for the noises of a place are none of these few recordings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression

from affectd.arrays import Array, Float16, Float32, Float64
from affectd.features.functionals import Functionals
from affectd.features.mfcc import Mfcc
from affectd.recognition.head import Head
from affectd.recognition.layers import bounded
from affectd.recognition.model_file import ModelFile
from affectd.recognition.offline import context_columns
from affectd_train.data.clips import Clip
from affectd_train.data.everyday_speech import recordings_for_training
from affectd_train.folders import find_folders
from affectd_train.training.bands import load_bands, load_everyday, load_noise

_N_CLIPS = 400  # of a corpus
_SNR_DB = (8.0, 25.0)
_STRENGTH = 3e-4  # what scikit-learn calls C
_SURE = 2.0  # log odds from which nothing is doubted
_EVERYDAY = 0.3  # share of speech
_SHARES = (0.2, 0.5, 1.0)  # of a context, which is short at the beginning of what opens the gate
_STEP = 0.1  # of a context, from each of noise to the next


class Sounds(NamedTuple):
    """Log-mel bands, of each recording ``(n_frames, n_bands)`` dB: speech of each corpus, everyday speech, noise."""

    corpora: Sequence[Sequence[Float32]]
    everyday: Sequence[Float32]
    noise: Sequence[Float32]


def load_sounds(model: ModelFile, clips: Sequence[Clip], data: Path, cache: Path) -> Sounds | None:
    """Load some of the clips, and the everyday speech and the noise under ``data``; None if there is no noise.

    Noise that is shorter than the shortest context is left out.
    """
    folder, shortest = find_folders(data, ["noise"]).get("noise"), _frames(min(_SHARES), model.n_frames)
    noise = [bands for bands in load_noise(folder, model.spec) if len(bands) >= shortest] if folder else []
    if not noise:
        return None
    corpora = sorted({clip.corpus for clip in clips})
    by_source = model.card.get("training", {}).get("recipe", {}).get("everyday_by_source", 0)
    everyday = load_everyday(recordings_for_training(data, bool(by_source)), model.spec)
    return Sounds([_some_of(corpus, clips, model, cache) for corpus in corpora], everyday, noise)


def _some_of(corpus: str, clips: Sequence[Clip], model: ModelFile, cache: Path) -> list[Float32]:
    mine = sorted(clip for clip in clips if clip.corpus == corpus)
    chosen = np.random.default_rng(0).permutation(len(mine))[:_N_CLIPS]
    store = load_bands([mine[i] for i in sorted(chosen)], model.spec, cache)
    return list(map(store.__getitem__, range(len(store))))


def settings() -> dict[str, Any]:
    """Return what it is fitted with, for the card."""
    return {"clips": _N_CLIPS, "snr": [*_SNR_DB], "strength": _STRENGTH, "sure": _SURE, "everyday": _EVERYDAY}


def fit_speech(sounds: Sounds, model: ModelFile, head: Head) -> Float16:
    """Fit what `affectd.recognition.voice.Voice.speech` is, for a head whose baseline and spread are the unit."""
    random = np.random.default_rng(0)
    hear = _Ear(model, head)
    parts: list[tuple[Float64, bool, float]] = []
    share = (1.0 - _EVERYDAY * bool(sounds.everyday)) / len(sounds.corpora)
    groups = [*((corpus, share) for corpus in sounds.corpora), (sounds.everyday, _EVERYDAY)]
    for recordings, weight in groups:
        contexts = [context for one in recordings for context in _ends_of(one, model.n_frames, random)]
        noisy = [_in_noise(context, sounds.noise, random) for context in contexts]
        parts += [(hear(contexts), True, weight / 2), (hear(noisy), True, weight / 2)]
    parts += [(hear(_all_of(one, model.n_frames)), False, 1.0 / len(sounds.noise)) for one in sounds.noise]
    parts = [part for part in parts if len(part[0])]
    rows = np.concatenate([rows for rows, _, _ in parts])
    is_speech = np.concatenate([np.full(len(rows), kind) for rows, kind, _ in parts])
    weights = np.concatenate([np.full(len(rows), weight / len(rows)) for rows, _, weight in parts])
    fitted = LogisticRegression(C=_STRENGTH, max_iter=1000)
    fitted.fit(rows, is_speech, sample_weight=weights * (len(weights) / weights.sum()))
    return (np.append(fitted.coef_[0], fitted.intercept_) / _SURE).astype(np.float16)


class _Ear:
    """Computes functionals as a device sees them."""

    def __init__(self, model: ModelFile, head: Head) -> None:
        self._model, self._head = model, head
        self._mfcc, self._functionals = Mfcc(model.spec), Functionals(model.spec)

    def __call__(self, contexts: Sequence[Float32]) -> Float64:
        """Return those of contexts, in units of the spread, ``(n, N_FUNCTIONALS)``."""
        columns = [context_columns(context, self._model, self._mfcc) for context in contexts]
        found: Array = np.array([self._functionals(one) for one in columns], np.float64)
        found = found.reshape(-1, len(self._head.baseline))
        return bounded((found[np.isfinite(found).all(1)] - self._head.baseline) / self._head.spread)


def _ends_of(bands: Float32, n_frames: int, random: np.random.Generator) -> list[Float32]:
    """Return the last context of a recording, and one that ends anywhere."""
    first = min(len(bands), _frames(_STEP, n_frames))
    ends = (len(bands), int(random.integers(first, len(bands) + 1)))
    return [bands[max(0, end - n_frames) : end] for end in ends]


def _all_of(bands: Float32, n_frames: int) -> list[Float32]:
    """Return contexts of a recording of noise, longer and shorter ones in turn."""
    lengths = [_frames(share, n_frames) for share in _SHARES]
    ends = range(lengths[0], len(bands) + 1, _frames(_STEP, n_frames))
    return [bands[max(0, end - lengths[i % len(lengths)]) : end] for i, end in enumerate(ends)]


def _frames(share: float, n_frames: int) -> int:
    return max(1, round(share * n_frames))


def _in_noise(speech: Float32, noises: Sequence[Float32], random: np.random.Generator) -> Float32:
    """Add noise to the bands of speech, as the power of both."""
    noise = noises[int(random.integers(len(noises)))]
    start = int(random.integers(max(1, len(noise) - len(speech))))
    there = 10.0 ** (np.resize(noise[start : start + len(speech)], speech.shape) / 10.0)
    power = 10.0 ** (speech / 10.0)
    snr = 10.0 ** (random.uniform(*_SNR_DB) / 10.0)
    there *= power.sum() / (snr * there.sum())
    mixed: Float32 = (10.0 * np.log10(power + there)).astype(np.float32)
    return mixed
