"""The trace of a recording: as `affectd run` makes it, but each stride is judged by what comes before and after it.

The gate is that of `affectd.recognition.recording`. A context lies around the middle of its stride, as far as the
utterance reaches, and so does the second over which probabilities are averaged. Threshold, hysteresis, patience, dwell,
the least length of an utterance, and what is learned of the place at its end, are those of the device.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from affectd.arrays import Float32
from affectd.config.sections import Config
from affectd.events.event import EventMaker
from affectd.events.trace import Trace, Tracer
from affectd.features.mfcc import Mfcc
from affectd.recognition.baseline import Heard, PastUtterance
from affectd.recognition.classifier import Network
from affectd.recognition.offline import Counted, Kept, context_columns, heard
from affectd.recognition.smoothing import Answer, Smoother, uncertain_threshold
from affectd.recognition.vad import Gate, preroll_frames


@dataclass
class _Stride:
    """Frames `first` to `stop` of the recording, during which the gate is open, or shut."""

    first: int
    stop: int
    is_open: bool
    speech_frames: int  # of them; none in the hangover
    is_last: bool  # before the gate opens or closes, or the recording ends
    begin: int  # the first frame of the utterance, pre-roll included
    probabilities: Float32 = field(default_factory=lambda: np.empty(0, np.float32))  # (n_labels,) if it is open
    sure: float | None = None  # as of `Tracer`
    answer: Answer | None = None

    @property
    def middle(self) -> int:
        return (self.first + self.stop) // 2


def trace(
    sound: Counted,
    network: Network,
    config: Config,
    began: float = 0.0,
    ended: Callable[[Heard], object] = lambda utterance: None,
) -> Iterator[Trace]:
    """Yield a line for each stride of a recording, split where the gate opens or closes, in the same memory.

    Parameters
    ----------
    sound
        Mono samples in [-1, 1] at the rate of the model, (n,) float32 of any n; the lines do not depend on it.
    network
        Gives probabilities.
    config
        ``[gate]``, ``[smoothing]``, ``[model] stride_frames`` and ``[device] id`` are used.
    began
        When the recording began, in seconds since the epoch; ``time`` in the lines counts from there.
    ended
        Gets each utterance at its end, before anything of the next one is classified.
    """
    lines: list[Trace] = []
    spec = network.model.spec
    maker = EventMaker(config.device.id, network.model, began=began)
    tracer = Tracer(maker, network.model, lines.append, lambda: stride.sure)
    strides = _Strides(network, config, ended)
    for stride in _answered(strides.classified(sound), network, config):
        level = strides.level.take(stride.first, stride.stop)
        strides.level.drop(stride.stop)
        raw = stride.probabilities if stride.is_open else None
        tracer.stride(level, [(slice(0, len(level)), stride.is_open)], raw, stride.answer)
        for line in lines:
            # The last frame reaches beyond the end; all samples have been counted when its line comes.
            line["end_seconds"] = min(line["end_seconds"], round(sound.n_samples / spec.sample_rate, 3))
            yield line
        lines.clear()


def changes(network: Network, config: Config, threshold: float) -> Smoother:
    """Return what says when a label changes, by the rule of the device, of probabilities that are means already."""
    rule = replace(config.smoothing, average_seconds=0.0, minimum_count=1)
    stride_seconds = config.model.stride_frames / network.model.spec.frame_rate
    return Smoother(rule, network.model.labels, stride_seconds, threshold)


class _Strides:
    """Cuts a recording into strides and classifies those with the gate open."""

    def __init__(self, network: Network, config: Config, ended: Callable[[Heard], object]) -> None:
        spec = network.model.spec
        self._network, self._ended, self._mfcc = network, ended, Mfcc(spec)
        self._n_frames, self._stride_frames = network.model.n_frames, config.model.stride_frames
        self._gate = Gate(config.gate, spec.frame_rate)
        self._preroll = preroll_frames(config.gate, spec.frame_rate)
        self._bands, self.level = Kept(), Kept()

    def classified(self, blocks: Iterable[Float32]) -> Iterator[_Stride]:
        """Yield the strides in order, those with the gate open when all of their context is known."""
        waiting: deque[_Stride] = deque()
        frame_rate = self._network.model.spec.frame_rate
        n_frames = speech_frames = 0  # of the utterance
        for newest in self._cut(blocks):
            waiting.append(newest)
            while waiting:
                stride = waiting[0]
                first = max(stride.begin, stride.middle - self._n_frames // 2)
                if stride.is_open and not newest.is_last and newest.stop < first + self._n_frames:
                    break
                if stride.is_open:
                    stop = min(newest.stop, first + self._n_frames)
                    bands = self._bands.take(max(stride.begin, stop - self._n_frames), stop)
                    stride.probabilities = self._network(context_columns(bands, self._network.model, self._mfcc))
                    stride.sure = getattr(self._network, "sure", None)
                    n_frames += stride.stop - stride.first
                    speech_frames += stride.speech_frames
                    if stride.is_last:
                        self._ended(PastUtterance(speech_frames, stride.stop / frame_rate, speech_frames / n_frames))
                        n_frames = speech_frames = 0
                # What an utterance that begins later, or the next context of this one, may reach back to.
                self._bands.drop(stride.stop - max(self._preroll, self._n_frames))
                yield waiting.popleft()

    def _cut(self, blocks: Iterable[Float32]) -> Iterator[_Stride]:
        first = n = begin = closed_at = n_speech = 0
        was_open = False
        for bands, level, limited in heard(blocks, self._mfcc, self._stride_frames):
            self._bands.push(bands)
            self.level.push(level)
            opened = self._gate.push(limited)
            for is_open, active in zip(opened.tolist(), self._gate.active.tolist(), strict=True):
                if n > first and (is_open != was_open or n - first == self._stride_frames):
                    yield _Stride(first, n, was_open, n_speech, is_open != was_open, begin)
                    first, n_speech = n, 0
                if is_open and not was_open:
                    begin = max(closed_at, n - self._preroll)
                elif was_open and not is_open:
                    closed_at = n
                was_open, n_speech, n = is_open, n_speech + active, n + 1
        if n > first:
            yield _Stride(first, n, was_open, n_speech, True, begin)


def _answered(strides: Iterable[_Stride], network: Network, config: Config) -> Iterator[_Stride]:
    """Give each stride with the gate open its answer, unless the utterance is too short for one."""
    model, stride_frames = network.model, config.model.stride_frames
    smoother = changes(network, config, uncertain_threshold(model, config))
    around = round(config.smoothing.average_seconds * model.spec.frame_rate / 2)
    near: deque[_Stride] = deque()  # strides of this utterance that a mean may take
    n_answered = n_strides = 0  # how many of them have been yielded; how many the utterance has so far
    is_long = False
    for newest in strides:
        near.append(newest)
        n_strides += newest.stop - newest.first == stride_frames
        is_long |= n_strides >= config.smoothing.minimum_count and newest.speech_frames > 0
        while n_answered < len(near):
            stride = near[n_answered]
            is_known = newest.is_last or (is_long and newest.stop >= stride.middle + around)
            if stride.is_open and not is_known:
                break
            if is_long:
                stride.answer = smoother.push(_mean(near, stride, around))
            yield stride
            n_answered += 1
            while near[0].stop <= stride.middle - around and n_answered > 1:
                near.popleft()
                n_answered -= 1
        if newest.is_last:
            near.clear()
            smoother.reset()
            n_answered, n_strides, is_long = 0, 0, False


def _mean(near: Iterable[_Stride], stride: _Stride, around: int) -> Float32:
    """Return the mean of the probabilities ``(n_labels,)`` from `around` frames before the middle to as many after."""
    first, stop = stride.middle - around, stride.middle + around
    shares = np.array([max(0, min(other.stop, stop) - max(other.first, first)) for other in near], np.float64)
    total = shares.sum()
    if not total:
        return stride.probabilities
    mean = shares @ np.array([other.probabilities for other in near], np.float64) / total
    return np.asarray(mean, np.float32)
