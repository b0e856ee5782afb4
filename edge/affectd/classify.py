"""One recording, one answer: what ``affectd classify`` prints and what the training side evaluates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affectd.config import Config
from affectd.features import Framer, Mfcc
from affectd.pipeline import Network, frame_strides
from affectd.vad import band_level, open_frames, trim


@dataclass(frozen=True)
class Recording:
    """What a recording sounds like.

    Attributes
    ----------
    label : str or None
        The most probable label, however improbable: who reads a list of results draws the line himself.
        None when the gate found no speech.
    probability : float or None
        Of the label; None without speech.
    probabilities : dict of str to float
        Of every label, mean over the recording; empty without speech.
    seconds : float
        Length of the recording.
    speech_seconds : float
        How long the gate was open.
    """

    label: str | None
    probability: float | None
    probabilities: dict[str, float]
    seconds: float
    speech_seconds: float


def classify_recording(blocks: Iterable[NDArray[np.float32]], classifier: Network, config: Config) -> Recording:
    """Classify a whole recording.

    Only the log mel energies are kept, not the samples: 115 MB for an hour.

    Parameters
    ----------
    blocks : iterable of ndarray
        float32 mono samples in [-1, 1] at the model's sample rate, in pieces of any length; ``[samples]``
        for an array.
    classifier : Network
        The network.
    config : Config
        ``[gate]`` and ``[model] stride_frames`` are used.
    """
    model, spec, gate = classifier.model, classifier.model.spec, config.gate
    frame_rate = spec.sample_rate / spec.hop_length
    mfcc = Mfcc(spec)
    n_samples = 0

    def counted() -> Iterator[NDArray[np.float32]]:
        nonlocal n_samples
        for block in blocks:
            n_samples += len(block)
            yield block

    levels, rows = [], []
    for frames in frame_strides(counted(), Framer(spec), lambda: config.model.stride_frames * spec.hop_length):
        levels.append(band_level(frames, spec.sample_rate))
        rows.append(mfcc.bands(frames))
    level, bands = np.concatenate(levels), np.concatenate(rows)
    span = trim(level, gate, frame_rate)
    seconds = n_samples / spec.sample_rate
    if span is None:
        return Recording(None, None, {}, round(seconds, 3), 0.0)

    opened = open_frames(level, gate, frame_rate)
    total = np.zeros(len(model.labels))
    count = 0
    for first in context_starts(opened, span, model.n_frames, config.model.stride_frames):
        context = np.full((model.n_frames, spec.n_bands), mfcc.floor, np.float32)
        speech = bands[first : min(span[1], first + model.n_frames)]
        context[model.n_frames - len(speech) :] = speech
        total += classifier(mfcc.cepstra(context))
        count += 1
    probabilities = dict(zip(model.labels, (total / count).round(4).tolist(), strict=True))
    label = model.labels[int(total.argmax())]  # of the sums: rounding makes ties
    speech_seconds = int(opened.sum()) / frame_rate
    return Recording(label, probabilities[label], probabilities, round(seconds, 3), round(speech_seconds, 3))


def context_starts(opened: NDArray[np.bool_], span: tuple[int, int], n_frames: int, stride_frames: int) -> list[int]:
    """List the first frames of the contexts that cover the speech of a recording.

    Contexts lie every ``stride_frames`` inside the span, the last one at its end; those in which the gate
    was closed for more than half of the time are left out. A span shorter than a context gives one, to be
    padded at its front.
    """
    first, stop = span
    last = max(first, stop - n_frames)
    starts = [*range(first, last, stride_frames), last]
    return [s for s in starts if opened[s : s + n_frames].mean() >= 0.5] or [last]
