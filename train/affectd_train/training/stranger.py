"""What is said of a voice that is not known: two layers, fitted to the functionals of clips as they are.

A few hundred speakers are few voices, and two layers would know clips by who speaks. So each is heard in another voice
every time: moved part of the way from how its speaker usually sounds to how another one does.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier

from affectd.arrays import Array, Float64
from affectd.recognition.head import Head
from affectd.recognition.stranger import Stranger, bounded
from affectd_train.data.clips import Clip
from affectd_train.training.spoken import FEWEST_CLIPS, Spoken

FEWEST_CORPORA = 4
"""Fewer tell more of themselves than of strangers: of two, layers for strangers name everyday speech five times as
often, and are right about no more of it."""
POWER = 0.25
"""Of the speakers of a corpus, for its weight: what is said of strangers should hold in all corpora alike."""

_N_NETS, _N_UNITS = 2, 12
_SHARE = 0.25  # of the logits that fit: the network knows most of what they say
_PRIOR = 0.5  # how much of what labels owe to being frequent is taken from them
_STRENGTH = 1.0  # what scikit-learn calls alpha
_EPOCHS = 12  # or more, where clips are few
_FEWEST_STEPS = 300
_BATCH = 256
_RATE = 2e-3


_Voices = tuple[Array, Float64, Float64]


def settings() -> dict[str, Any]:
    """Return what the layers are fitted with, for the card."""
    numbers = {"power": POWER, "nets": _N_NETS, "units": _N_UNITS, "share": _SHARE, "prior": _PRIOR}
    return numbers | {"strength": _STRENGTH, "epochs": _EPOCHS, "batch": _BATCH, "rate": _RATE}


def tell_of_strangers(corpora: Collection[str]) -> bool:
    """Tell whether there are corpora enough to say something of strangers to all of them."""
    return len(corpora) >= FEWEST_CORPORA


def fit_stranger(spoken: Spoken, weights: Float64, head: Head, labels: Sequence[str]) -> Stranger:
    """Fit the layers for a network with these labels, of which it does not raise or lower those that no clip has.

    They are the mean of small networks, side by side.

    Parameters
    ----------
    weights
        Of the clips, ``(n_clips,)``.
    head
        Its baseline and spread are the unit of what the layers are given.
    """
    emotions = np.array([clip.emotion for clip in spoken.clips])
    known = np.unique(emotions)
    last = np.stack([rows[-1] for rows in spoken.contexts]).astype(np.float64)
    voices = _usual(spoken.clips, last)
    nets = [_fitted(last, voices, emotions, weights, head, seed) for seed in range(_N_NETS)]
    # Of two labels scikit-learn tells the difference alone.
    both = np.array([[-0.5, 0.5]]) if len(known) == 2 else np.eye(len(known))
    outer = np.concatenate([net.coefs_[1] for net in nets]) @ both / _N_NETS
    bias = np.mean([net.intercepts_[1] for net in nets], 0) @ both
    bias -= _PRIOR * np.log([weights[emotions == emotion].sum() for emotion in known])
    columns = [labels.index(label) for label in known]
    return Stranger(
        hidden=np.concatenate([net.coefs_[0] for net in nets], 1).astype(np.float16),
        hidden_bias=np.concatenate([net.intercepts_[0] for net in nets]).astype(np.float16),
        outer=_among(outer - outer.mean(1, keepdims=True), columns, len(labels)),
        outer_bias=_among(bias - bias.mean(), columns, len(labels)),
    )


def _fitted(last: Float64, voices: _Voices, emotions: Array, weights: Float64, head: Head, seed: int) -> MLPClassifier:
    generator = np.random.default_rng(seed)
    own, usual, chances = voices
    net = MLPClassifier(
        (_N_UNITS,), alpha=_STRENGTH, batch_size=min(_BATCH, len(last)), learning_rate_init=_RATE, random_state=seed
    )
    for _ in range(max(_EPOCHS, math.ceil(_FEWEST_STEPS / math.ceil(len(last) / _BATCH)))):
        rows = last.copy()
        if len(usual):
            other = generator.choice(len(usual), len(last), p=chances)
            how_far = generator.uniform(size=(len(last), 1)) * (own >= 0)[:, None]
            rows += how_far * (usual[other] - usual[own])
        rows = bounded((rows - head.baseline) / head.spread)
        net.partial_fit(rows, emotions, classes=np.unique(emotions), sample_weight=weights)
    return net


def _usual(clips: Sequence[Clip], last: Float64) -> _Voices:
    """Find how speakers usually sound, each emotion the same.

    Returns
    -------
    The number of the speaker of each clip ``(n_clips,)``, -1 where there are too few clips to tell; the mean of each
    speaker ``(n_speakers, N_FUNCTIONALS)``; and how likely each is to be drawn ``(n_speakers,)``, corpora by the root
    of their speakers.
    """
    voices = np.array([f"{clip.corpus} {clip.speaker}" for clip in clips])
    emotions = np.array([clip.emotion for clip in clips])
    names, counts = np.unique(voices, return_counts=True)
    own = np.full(len(clips), -1)
    means: list[Float64] = []
    corpora: list[str] = []
    for name in names[counts >= FEWEST_CLIPS]:
        mine = voices == name
        own[mine] = len(means)
        means.append(np.mean([last[mine & (emotions == emotion)].mean(0) for emotion in np.unique(emotions[mine])], 0))
        corpora.append(name.split()[0])
    _, corpus, sizes = np.unique(corpora, return_inverse=True, return_counts=True)
    chances = 1 / np.sqrt(sizes[corpus])
    return own, np.array(means), chances / chances.sum()


def _among(values: Float64, columns: Sequence[int], n_labels: int) -> Array:
    """Give the outputs ``(..., n_known)`` their places among all labels, ``(..., n_labels)``; the others get 0."""
    found = np.zeros((*values.shape[:-1], n_labels), np.float16)
    found[..., columns] = _SHARE * values
    return found
