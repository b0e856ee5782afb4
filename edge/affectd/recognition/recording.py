"""Classification of whole recordings, for ``affectd classify`` and the evaluation of training."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from affectd.arrays import Bool, Float32, Float64
from affectd.config.sections import Config
from affectd.features.mel import warping
from affectd.features.mfcc import Mfcc
from affectd.recognition.affect import affect
from affectd.recognition.classifier import Network
from affectd.recognition.offline import Counted, Kept, heard, levels, padded
from affectd.recognition.vad import Gate, Speech, preroll_frames

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
    valence: float | None = None  # see `affectd.recognition.affect`; None without speech
    arousal: float | None = None


def classify_recording(
    blocks: Iterable[Float32], classifier: Network, config: Config, path: str = "the recording"
) -> Recording:
    """Classify a whole recording, of any length in the same memory.

    Blocks may be of any length: float32 mono samples in [-1, 1] at the model's sample rate. Of `config`, ``[gate]`` and
    ``[model] stride_frames`` are used. With a `affectd.recognition.hearing.Hearing` in the model file, the gate only
    measures, and everything gets a label that the network can be given.

    Raises
    ------
    DataError
        The model file has a `Hearing`, and the recording is too long for it; the message begins with `path`.

    Examples
    --------
    >>> from affectd.recognition.classifier import load_classifier
    >>> config = Config()
    >>> silence = classify_recording([np.zeros(16000, np.float32)], load_classifier(config.model), config)
    >>> silence.label, silence.seconds, silence.speech_seconds
    (None, 1.0, 0.0)
    """
    model, spec = classifier.model, classifier.model.spec
    counted = Counted(blocks)
    if model.hearing is None:
        mean, n_open = _by_contexts(counted, classifier, config)
    else:
        mean, n_open = _as_a_whole(counted, classifier, config, path)
    seconds = round(counted.n_samples / spec.sample_rate, 3)
    speech_seconds = round(n_open / spec.frame_rate, 3)
    if mean is None:
        return Recording(None, None, {}, seconds, speech_seconds)
    probabilities = dict(zip(model.labels, mean.round(4).tolist(), strict=True))
    label = model.labels[int(mean.argmax())]  # before rounding, which makes ties
    return Recording(label, probabilities[label], probabilities, seconds, speech_seconds, **affect(probabilities))


def _by_contexts(blocks: Iterable[Float32], classifier: Network, config: Config) -> tuple[Float64 | None, int]:
    """Return the mean probabilities (n_labels,), None without speech, and at how many frames the gate was open."""
    contexts = _Contexts(classifier, config)
    for bands, _, level in heard(blocks, Mfcc(classifier.model.spec), config.model.stride_frames):
        contexts.keep(bands)
        contexts.hear(level)
    return contexts.mean(), contexts.n_open


def _as_a_whole(
    blocks: Iterable[Float32], classifier: Network, config: Config, path: str
) -> tuple[Float64 | None, int]:
    from affectd.recognition.whole import Whole  # only for a file that hears in this way

    spec = classifier.model.spec
    whole, gate = Whole(classifier.model, Mfcc(spec), path), Gate(config.gate, spec.frame_rate)
    n_open = 0
    for _, _, level in levels(whole.through(blocks), spec, config.model.stride_frames):
        n_open += int(np.count_nonzero(gate.push(level)))
    columns = whole.columns()
    return None if columns is None else classifier(columns).astype(np.float64), n_open


def classify_speech(speech: Speech, bands: Float32, classifier: Network, stride_frames: int) -> Float64:
    """Return the mean probabilities ``(n_labels,)`` of bands ``(n, n_bands)`` over their `context_spans`."""
    mean = _Mean(classifier)
    for first, stop in context_spans(speech, classifier.model.n_frames, stride_frames):
        mean.add(bands[first:stop])
    return mean.value()


def context_spans(speech: Speech, n_frames: int, stride_frames: int) -> list[tuple[int, int]]:
    """List the contexts that cover the speech of a recording, each as (first frame, one past the last).

    They begin every ``stride_frames``. Around the end of speech there is one for every frame, because their mean
    depends less on int8 rounding than a single one. Contexts with the gate closed for more than half of the time are
    left out. A context shorter than ``n_frames`` is to be padded in front.
    """
    spans = [(first, first + n_frames) for first in range(speech.start, speech.stop - n_frames, stride_frames)]
    spans += _last_spans(speech.start, speech.end, speech.stop, n_frames)
    return [(first, end) for first, end in spans if _is_mostly_speech(speech.opened[first:end])] or [spans[-1]]


def _last_spans(start: int, end: int, stop: int, n_frames: int) -> list[tuple[int, int]]:
    first_end = max((start + end + 1) // 2, end - FRAMES_BEFORE_END)  # at most half of a short word
    return [(max(start, end - n_frames), end) for end in range(first_end, stop + 1)]


def _is_mostly_speech(opened: Bool) -> bool:
    return bool(opened.mean() >= 0.5)


class _Contexts:
    """Finds the `context_spans` of a stream and classifies each as soon as it is known to be one.

    Bands are given at once, levels later. Those of as many frames as a context has are kept, and those around the last
    frame of speech, which may turn out to be the end.
    """

    def __init__(self, classifier: Network, config: Config) -> None:
        frame_rate = classifier.model.spec.frame_rate
        self._n_frames, self._stride_frames = classifier.model.n_frames, config.model.stride_frames
        self._preroll = preroll_frames(config.gate, frame_rate)
        self._gate = Gate(config.gate, frame_rate)
        self._bands, self._opened = Kept(), Kept()
        self._mean = _Mean(classifier)
        self.n_open = 0  # frames at which the gate was open
        self._start: int | None = None
        self._end = self._stop = 0  # as of `Speech`, so far
        self._next = 0  # the first frame of the next context
        self._waiting: deque[int] = deque()  # of contexts after which no frame of speech has come yet

    def keep(self, bands: Float32) -> None:
        """Append bands ``(n, n_bands)``."""
        self._bands.push(bands)

    def hear(self, level: Float32) -> None:
        """Process the limited levels ``(n,)`` of the next frames."""
        n_before = self._opened.n
        opened = self._gate.push(level)
        self._opened.push(opened)
        self.n_open += int(np.count_nonzero(opened))
        if opened.any():
            if self._start is None:
                self._start = self._next = max(0, n_before + int(opened.argmax()) - self._preroll)
            self._stop = n_before + int(np.flatnonzero(opened)[-1]) + 1
        if self._gate.active.any():
            self._end = n_before + int(np.flatnonzero(self._gate.active)[-1]) + 1
        if self._start is None:
            self._drop(self._opened.n - self._preroll)
            return
        while self._next + self._n_frames <= self._opened.n:
            if _is_mostly_speech(self._opened.take(self._next, self._next + self._n_frames)):
                self._waiting.append(self._next)
            self._next += self._stride_frames
        while self._waiting and self._waiting[0] + self._n_frames < self._stop:
            first = self._waiting.popleft()
            self._classify(first, first + self._n_frames)
        # Whichever of the coming frames is the last of speech, the first context around it does not begin before.
        self._drop(min(self._next, self._opened.n - FRAMES_BEFORE_END - self._n_frames))

    def mean(self) -> Float64 | None:
        """Return the mean probabilities ``(n_labels,)`` at the end of the recording; None without speech."""
        if self._start is None:
            return None
        spans = _last_spans(self._start, self._end, self._stop, self._n_frames)
        for span in spans:
            if _is_mostly_speech(self._opened.take(*span)):
                self._classify(*span)
        if not self._mean.count:
            self._classify(*spans[-1])
        return self._mean.value()

    def _classify(self, first: int, stop: int) -> None:
        self._mean.add(self._bands.take(first, stop))

    def _drop(self, first: int) -> None:
        """Drop what is before `first`, but for the contexts that end with the last frame of speech or wait for one."""
        around = (self._end - FRAMES_BEFORE_END - self._n_frames, self._stop + self._n_frames)
        for kept in (self._bands, self._opened):
            kept.drop(first, *around)


class _Mean:
    """The mean of the probabilities of contexts, which are warped to one vocal tract after the other."""

    def __init__(self, classifier: Network) -> None:
        self._classifier = classifier
        self._mfcc = Mfcc(classifier.model.spec)
        self._voices = itertools.cycle([warping(classifier.model.spec.n_mels, length) for length in VOCAL_TRACTS])
        self._total = np.zeros(len(classifier.model.labels))
        self.count = 0

    def add(self, bands: Float32) -> None:
        """Classify a context, ``(n, n_bands)`` with n at most ``n_frames``."""
        model, n_mels = self._classifier.model, self._classifier.model.spec.n_mels
        context = padded(bands, self._mfcc, model.n_frames)
        spoken = context[model.n_frames - len(bands) :]
        spoken[:, :n_mels] = spoken[:, :n_mels] @ next(self._voices)
        self._total += self._classifier(self._mfcc.cepstra(context))
        self.count += 1

    def value(self) -> Float64:
        """Return the mean, ``(n_labels,)``."""
        return self._total / self.count
