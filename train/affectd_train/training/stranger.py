"""What is said of a voice that is not known: layers fitted to the functionals of clips as they are.

A few hundred speakers are few voices, and two layers would know clips by who speaks. So each is heard in another voice
every time: moved part of the way from how its speaker usually sounds to how another one does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from affectd.arrays import Array, Float64
from affectd.recognition.head import Head
from affectd.recognition.layers import Layers
from affectd_train.data.clips import Clip
from affectd_train.training.layers import Fit, fit_layers
from affectd_train.training.spoken import FEWEST_CLIPS, Spoken

FIT = Fit(share=0.25, prior=0.5, epochs=12)  # the network knows most of what the layers say

_Voices = tuple[Array, Float64, Float64]


def fit_stranger(spoken: Spoken, weights: Float64, head: Head, labels: Sequence[str]) -> Layers:
    """Fit the layers for a network with these labels.

    Parameters
    ----------
    weights
        Of the clips, ``(n_clips,)``.
    head
        Its baseline and spread are the unit of what the layers are given.
    """
    last = spoken.last()
    own, usual, chances = _usual(spoken.clips, last)

    def draw(generator: np.random.Generator) -> Float64:
        rows = last.copy()
        if len(usual):
            other = generator.choice(len(usual), len(last), p=chances)
            how_far = generator.uniform(size=(len(last), 1)) * (own >= 0)[:, None]
            rows += how_far * (usual[other] - usual[own])
        away: Float64 = (rows - head.baseline) / head.spread
        return away

    return fit_layers(draw, np.array([clip.emotion for clip in spoken.clips]), weights, labels, FIT)


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
