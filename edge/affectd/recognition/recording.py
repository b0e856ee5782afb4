"""Classification of whole recordings, for ``affectd classify`` and the evaluation of training."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from affectd.arrays import Float32, Float64
from affectd.config.sections import Config
from affectd.features.framing import Framer, frame_strides
from affectd.features.mel import warping
from affectd.features.mfcc import Mfcc
from affectd.recognition.classifier import Network
from affectd.recognition.vad import Speech, band_level, find_speech

FRAMES_BEFORE_END = 16
"""Contexts end at each of the last this many frames of speech, and at each frame of the hangover after it."""

VOCAL_TRACTS = (1.0, 0.97, 1.03, 0.94, 1.06)
"""Relative vocal tract lengths to which contexts are warped in turn (`affectd.features.mel.warping`).

The network was trained on such voices; averaging over them reduces its errors and those of int8 rounding.
"""


@dataclass(frozen=True)
class Recording:
    """The classification of a recording."""

    label: str | None  # the most probable, never ``uncertain``; None if the gate found no speech
    probability: float | None  # of the label; None without speech
    probabilities: dict[str, float]  # of every label, mean over the recording; empty without speech
    seconds: float  # length of the recording
    speech_seconds: float  # time in which the gate was open


def classify_recording(blocks: Iterable[Float32], classifier: Network, config: Config) -> Recording:
    """Classify a whole recording.

    Keeps the log mel energies of the whole recording: 115 MB for an hour.

    Blocks may be of any length: float32 mono samples in [-1, 1] at the model's sample rate. Of `config`, ``[gate]`` and
    ``[model] stride_frames`` are used.

    Examples
    --------
    >>> from affectd.recognition.classifier import load_classifier
    >>> config = Config()
    >>> classify_recording([np.zeros(16000, np.float32)], load_classifier(config.model), config)
    Recording(label=None, probability=None, probabilities={}, seconds=1.0, speech_seconds=0.0)
    """
    model, spec, gate = classifier.model, classifier.model.spec, config.gate
    mfcc = Mfcc(spec)
    n_samples = 0

    def counted() -> Iterator[Float32]:
        nonlocal n_samples
        for block in blocks:
            n_samples += len(block)
            yield block

    levels, rows = [], []
    for frames in frame_strides(counted(), Framer(spec), lambda: config.model.stride_frames * spec.hop_length):
        levels.append(band_level(frames, spec.sample_rate))
        rows.append(mfcc.bands(frames))
    level, bands = np.concatenate(levels), np.concatenate(rows)
    speech = find_speech(level, gate, spec.frame_rate)
    seconds = n_samples / spec.sample_rate
    if speech is None:
        return Recording(None, None, {}, round(seconds, 3), 0.0)

    mean = classify_speech(speech, bands, classifier, config.model.stride_frames)
    probabilities = dict(zip(model.labels, mean.round(4).tolist(), strict=True))
    label = model.labels[int(mean.argmax())]  # before rounding, which makes ties
    speech_seconds = int(speech.opened.sum()) / spec.frame_rate
    return Recording(label, probabilities[label], probabilities, round(seconds, 3), round(speech_seconds, 3))


def classify_speech(speech: Speech, bands: Float32, classifier: Network, stride_frames: int) -> Float64:
    """Return the mean probabilities ``(n_labels,)`` of bands ``(n, n_bands)`` over their `context_spans`."""
    model, n_mels = classifier.model, classifier.model.spec.n_mels
    mfcc = Mfcc(model.spec)
    total = np.zeros(len(model.labels))
    spans = context_spans(speech, model.n_frames, stride_frames)
    voices = [warping(n_mels, length) for length in VOCAL_TRACTS]
    for (first, stop), voice in zip(spans, itertools.cycle(voices), strict=False):
        context = np.full((model.n_frames, model.spec.n_bands), mfcc.floor, np.float32)
        heard = context[model.n_frames - (stop - first) :]
        heard[:] = bands[first:stop]
        heard[:, :n_mels] = heard[:, :n_mels] @ voice
        total += classifier(mfcc.cepstra(context))
    return total / len(spans)


def context_spans(speech: Speech, n_frames: int, stride_frames: int) -> list[tuple[int, int]]:
    """List the contexts that cover the speech of a recording, each as (first frame, one past the last).

    They begin every ``stride_frames``. Around the end of speech there is one for every frame, because their mean
    depends less on int8 rounding than a single one. Contexts with the gate closed for more than half of the time are
    left out. A context shorter than ``n_frames`` is to be padded in front.
    """
    start, stop = speech.start, speech.stop
    spans = [(first, first + n_frames) for first in range(start, stop - n_frames, stride_frames)]
    first_end = max((start + speech.end + 1) // 2, speech.end - FRAMES_BEFORE_END)  # at most half of a short word
    spans += [(max(start, end - n_frames), end) for end in range(first_end, stop + 1)]
    return [(first, end) for first, end in spans if speech.opened[first:end].mean() >= 0.5] or [spans[-1]]
