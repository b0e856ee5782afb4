"""One recording, one answer: what ``affectd classify`` prints and what the training side evaluates."""

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
"""Of a recording, contexts end at each of this many frames before speech does, and at all that the gate hangs over."""

VOCAL_TRACTS = (1.0, 0.97, 1.03, 0.94, 1.06)
"""Its contexts are heard in turn as if the speaker's vocal tract had these lengths: `affectd.features.mel.warping`.

The network was trained on such voices. What it is not sure of, and how int8 rounds, is another thing in each.
"""


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


def classify_recording(blocks: Iterable[Float32], classifier: Network, config: Config) -> Recording:
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
    speech = find_speech(level, gate, frame_rate)
    seconds = n_samples / spec.sample_rate
    if speech is None:
        return Recording(None, None, {}, round(seconds, 3), 0.0)

    mean = classify_speech(speech, bands, classifier, config.model.stride_frames)
    probabilities = dict(zip(model.labels, mean.round(4).tolist(), strict=True))
    label = model.labels[int(mean.argmax())]  # before rounding, which makes ties
    speech_seconds = int(speech.opened.sum()) / frame_rate
    return Recording(label, probabilities[label], probabilities, round(seconds, 3), round(speech_seconds, 3))


def classify_speech(speech: Speech, bands: Float32, classifier: Network, stride_frames: int) -> Float64:
    """Return the probabilities ``(n_labels,)`` of a recording's bands ``(n, n_bands)``.

    The mean over `context_spans`, in voices of `VOCAL_TRACTS`.
    """
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
    """List the contexts that cover the speech of a recording, each the first frame and one past the last.

    They begin every ``stride_frames``, and around the end of speech there is one for every frame: all of these hold
    nearly all of the last words, and their mean depends less on chance, and on how int8 rounds, than one of them does.
    Those in which the gate was closed for more than half of the time are left out. One shorter than ``n_frames`` is to
    be padded at its front.
    """
    start, stop = speech.start, speech.stop
    spans = [(first, first + n_frames) for first in range(start, stop - n_frames, stride_frames)]
    first_end = max((start + speech.end + 1) // 2, speech.end - FRAMES_BEFORE_END)  # of a short word no more than half
    spans += [(max(start, end - n_frames), end) for end in range(first_end, stop + 1)]
    return [(first, end) for first, end in spans if speech.opened[first:end].mean() >= 0.5] or [spans[-1]]
