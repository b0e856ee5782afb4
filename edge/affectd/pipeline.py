"""The whole device: blocks of sound go in, events come out.

===================  ========================  ========  ====================================================
name                 shape                     dtype     meaning
===================  ========================  ========  ====================================================
block                (n,), any n               float32   mono samples in [-1, 1] at ``spec.sample_rate``
stride               (stride_frames * hop,)    float32   samples regrouped; shorter where an utterance begins
frames               (k, window_length)        float32   overlapping frames; k is at most ``stride_frames`` but
                                                         for the end of the stream
level                (k,)                      float32   level of each frame in the band of speech, dBFS
opened               (k,)                      bool      whether the gate is open at each frame
recent               (n, window_length)        float32   frames of which only the level is known so far
bands                (n, n_bands)              float32   log mel energies; each row depends on its frame alone
context.view()       (n_frames, n_mfcc)        float32   cepstra of the utterance's last rows, padded at the front;
                                                         relative to the loudest band of these rows
probabilities        (n_labels,)               float32   after softmax and temperature
===================  ========================  ========  ====================================================

Samples are regrouped into strides, so that neither the cadence nor one bit of the events depends on how
the sound card cuts them. The strides of an utterance count from the frame at which the gate opened, so
that its labels do not depend on when the stream began either. While it is closed, frames are only kept:
their bands are computed when it opens, for the pre-roll, and then stride by stride. Live, file, test and
benchmark differ only in ``blocks``. Nothing here grows with time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from affectd.config import Config
from affectd.context import CepstralContext
from affectd.events import EventMaker, Utterance
from affectd.features import Framer, Mfcc
from affectd.framing import RecentFrames
from affectd.model_file import ModelFile
from affectd.sinks import Sink
from affectd.smoothing import Smoother
from affectd.vad import Gate, band_level, preroll_frames


class Network(Protocol):
    """What the pipeline needs of a `affectd.classifier.Classifier`."""

    model: ModelFile

    def __call__(self, cepstra: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn ``(n_frames, n_mfcc)`` cepstra into ``(n_labels,)`` probabilities."""


def run(
    blocks: Iterable[NDArray[np.float32]],
    classifier: Network,
    sink: Sink,
    config: Config,
    reloaded: Callable[[], Config | None] = lambda: None,
    measure: Callable[[NDArray[np.float32], NDArray[np.bool_]], None] = lambda level, active: None,
) -> None:
    """Listen until ``blocks`` ends; each utterance gives ``start``, ``change``..., ``end``, or nothing.

    Whenever ``reloaded`` returns a configuration, an open utterance ends and its thresholds take over.
    ``measure`` is given the level of every frame and whether it was speech by itself.
    """
    model = classifier.model
    spec = model.spec
    frame_rate = spec.sample_rate / spec.hop_length
    stride_frames = config.model.stride_frames
    # A frame stands for the moment at its center.
    first_center = (spec.first_sample + spec.window_length / 2) / spec.sample_rate

    def thresholds(config: Config) -> tuple[Gate, int, Smoother]:
        threshold = uncertain_threshold(model, config)
        smoother = Smoother(config.smoothing, model.labels, stride_frames / frame_rate, threshold)
        return Gate(config.gate, frame_rate), preroll_frames(config.gate, frame_rate), smoother

    mfcc = Mfcc(spec)
    context = CepstralContext(model.n_frames, mfcc)
    recent = RecentFrames(max(model.n_frames, stride_frames), spec.window_length)
    events = EventMaker(config.device.id, model)
    gate, preroll, smoother = thresholds(config)

    utterance: Utterance | None = None  # None while the gate is closed
    said: str | None = None  # the label of the last event of this utterance
    n_seen = closed_at = 0  # frames so far, and those before the gate closed last
    due = 0  # frames before the next classification

    def wanted() -> int:
        n_frames = stride_frames if utterance is None else due - n_seen
        return n_frames * spec.hop_length

    def end() -> None:
        answer = smoother.overall()
        if utterance is not None and said is not None and answer is not None:
            sink.write(events.emotion("end", answer, utterance))

    for frames in frame_strides(blocks, Framer(spec), wanted):
        level = band_level(frames, spec.sample_rate)
        opened = gate.push(level)
        measure(level, gate.active)
        for part, is_open in stretches(opened):
            if is_open and utterance is None:
                first = max(closed_at, n_seen + part.start - preroll)
                utterance, said = Utterance(first_center + first / frame_rate), None
                context.reset()
                context.push(mfcc.bands(recent.take(n_seen + part.start - first)))
                smoother.reset()
                due = n_seen + part.start + stride_frames
            elif not is_open and utterance is not None:
                end()
                utterance, closed_at = None, n_seen + part.start
            recent.push(frames[part])  # also while closed: the next utterance's pre-roll
            if utterance is not None:
                utterance.push(frames[part], gate.active[part])
                utterance.end_seconds = first_center + (n_seen + part.stop - 1) / frame_rate
        n_seen += len(frames)
        if utterance is not None and n_seen >= due:
            context.push(mfcc.bands(recent.take(n_seen - due + stride_frames)))
            due += stride_frames
            probabilities = classifier(context.view())
            answer = smoother.push(probabilities)
            if answer is not None and answer.label != said:
                sink.write(events.emotion("start" if said is None else "change", answer, utterance))
                said = answer.label
        changed = reloaded()
        if changed is not None:
            end()
            closed_at = closed_at if utterance is None else n_seen
            utterance = None
            gate, preroll, smoother = thresholds(changed)
    end()


def uncertain_threshold(model: ModelFile, config: Config) -> float:
    """Return the probability below which a label is ``uncertain``: the configured one, else the model's."""
    configured = config.smoothing.uncertain
    return model.thresholds["uncertain"] if configured is None else configured


def frame_strides(
    blocks: Iterable[NDArray[np.float32]], framer: Framer, wanted: Callable[[], int]
) -> Iterator[NDArray[np.float32]]:
    """Yield the frames of each stride of ``wanted()`` samples, and those that remain at the end of the stream."""
    stride = np.zeros(wanted(), np.float32)
    filled = 0
    for block in blocks:
        start = 0
        while start < len(block):
            taken = block[start : start + len(stride) - filled]
            stride[filled : filled + len(taken)] = taken
            filled += len(taken)
            start += len(taken)
            if filled == len(stride):
                yield framer.push(stride)
                stride, filled = np.zeros(wanted(), np.float32), 0
    rest = framer.push(stride[:filled])
    yield np.concatenate([rest, framer.flush()])


def stretches(flags: NDArray[np.bool_]) -> Iterator[tuple[slice, bool]]:
    """Yield the stretches of equal flags in order, each with its flag."""
    # Not by NumPy: of a stride's few flags, calling it would be most of the price.
    start = 0
    for flag, equal in groupby(flags.tolist()):
        stop = start + sum(1 for _ in equal)
        yield slice(start, stop), flag
        start = stop
