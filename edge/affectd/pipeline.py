"""The whole device: audio blocks in, events out.

===================  ========================  ========  ====================================================
name                 shape                     dtype     meaning
===================  ========================  ========  ====================================================
block                (n,), any n               float32   mono samples in [-1, 1] at ``spec.sample_rate``
stride               (stride_frames * hop,)    float32   samples regrouped; shorter where an utterance begins
frames               (k, window_length)        float32   overlapping frames; k is at most ``stride_frames``,
                                                         except at the end of the stream
level                (k,)                      float32   level of each frame in the band of speech, dBFS
opened               (k,)                      bool      whether the gate is open at each frame
recent               (n, window_length)        float32   frames whose bands are not computed yet
bands                (n, n_bands)              float32   log mel energies; each row depends on its frame alone
context.view()       (n_frames, n_columns)     float32   cepstra of the utterance's last rows, padded at the front;
                                                         relative to the loudest band of these rows
probabilities        (n_labels,)               float32   after softmax and temperature
===================  ========================  ========  ====================================================

Samples are regrouped into strides so that events do not depend on the block length of the sound card. An
utterance's strides count from the frame at which the gate opened, so its labels do not depend on when the
stream began. While the gate is closed, frames are only kept; their bands are computed when it opens (the
pre-roll), then stride by stride. Memory is constant. Live, file, test and benchmark differ only in ``blocks``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from affectd.arrays import Bool, Float32
from affectd.config.sections import Config
from affectd.events.event import EventMaker, Utterance
from affectd.events.sinks import Sink
from affectd.features.context import CepstralContext
from affectd.features.framing import RecentFrames, frame_strides
from affectd.features.mfcc import Mfcc
from affectd.recognition.classifier import Network
from affectd.recognition.model_file import ModelFile
from affectd.recognition.smoothing import Smoother, uncertain_threshold
from affectd.recognition.vad import Gate, band_level, preroll_frames

if TYPE_CHECKING:
    from affectd.events.trace import Tracer


def run(
    blocks: Iterable[Float32],
    classifier: Network,
    sink: Sink,
    config: Config,
    *,
    reloaded: Callable[[], Config | None] = lambda: None,
    measure: Callable[[Float32, Bool], None] = lambda level, active: None,
    ended: Callable[[Utterance], object] = lambda utterance: None,
    events: EventMaker | None = None,
    tracer: Tracer | None = None,
) -> None:
    """Process ``blocks`` until they end; each utterance gives ``start``, ``change``..., ``end``, or no event.

    Parameters
    ----------
    blocks, classifier, sink, config
        The sound, the network, what takes the events, and the settings.
    reloaded : callable
        Asked once a stride; when it returns a configuration, an open utterance ends and the new thresholds apply.
    measure : callable
        Gets the level (n,) float32 dBFS of new frames and whether each was speech, (n,) bool.
    ended : callable
        Gets each utterance at its end, after its last event.
    events : EventMaker, optional
        Makes the events; by default with the time at which they are made.
    tracer : Tracer, optional
        Gets every stride.

    Raises
    ------
    AffectdError, BrokenPipeError
        As `blocks`, the network and `sink`; an open utterance then has no ``end``.

    Examples
    --------
    >>> import io, json
    >>> from affectd.config.sections import ModelConfig
    >>> from affectd.events.sinks import JsonLines
    >>> from affectd.recognition.classifier import load_classifier
    >>> classifier, out = load_classifier(ModelConfig()), io.StringIO()
    >>> word = classifier.model.golden["samples"].astype("float32") / 32768
    >>> run([word] * 5, classifier, JsonLines(out), Config())
    >>> phases = [json.loads(line)["phase"] for line in out.getvalue().splitlines()]
    >>> phases[0], phases[-1]
    ('start', 'end')
    """
    model = classifier.model
    spec = model.spec
    stride_frames = config.model.stride_frames
    mfcc = Mfcc(spec)
    context = _context(model, mfcc)
    recent = RecentFrames(max(model.n_frames, stride_frames), spec.window_length)
    events = events or EventMaker(config.device.id, model)
    gate, preroll, smoother = _thresholds(config, model)

    n_seen = 0  # frames of the stream so far
    closed_at = 0  # the frame at which the gate last closed; no pre-roll reaches further back
    utterance: Utterance | None = None  # None while the gate is closed

    def stride_length() -> int:
        return (stride_frames if utterance is None else stride_frames - len(recent)) * spec.hop_length

    def begin(at: int) -> Utterance:
        first = max(closed_at, at - preroll)
        context.reset()
        context.push(mfcc.bands(recent.take(at - first)))
        smoother.reset()
        return Utterance(spec.center_seconds(first))

    def end(at: int) -> None:
        nonlocal closed_at, utterance
        if utterance is not None:
            if utterance.label is not None and (answer := smoother.overall()) is not None:
                sink.write(events.emotion("end", answer, utterance))
            ended(utterance)
            closed_at, utterance = at, None

    for frames in frame_strides(blocks, spec, stride_length):
        level = band_level(frames, spec.sample_rate)
        opened = gate.push(level)
        measure(level, gate.active)
        for part, is_open in _stretches(opened):
            if is_open and utterance is None:
                utterance = begin(n_seen + part.start)
            elif not is_open:
                end(n_seen + part.start)
            recent.push(frames[part])  # while closed: the pre-roll of the next utterance
            if utterance is not None:
                utterance.push(frames[part], gate.active[part])
                utterance.end_seconds = spec.center_seconds(n_seen + part.stop - 1)
        n_seen += len(frames)
        probabilities = answer = None
        if utterance is not None and len(recent) >= stride_frames:
            context.push(mfcc.bands(recent.take(len(recent))))
            probabilities = classifier(context.view())
            answer = smoother.push(probabilities, gate.quiet_frames < stride_frames)
            if answer is not None and answer.label != utterance.label:
                sink.write(events.emotion("start" if utterance.label is None else "change", answer, utterance))
                utterance.label = answer.label
        if tracer is not None:
            tracer.stride(level, _stretches(opened), probabilities, answer)
        if (changed := reloaded()) is not None:
            end(n_seen)
            gate, preroll, smoother = _thresholds(changed, model)
    end(n_seen)


def _context(model: ModelFile, mfcc: Mfcc) -> CepstralContext:
    if model.hearing is None:
        return CepstralContext(model.n_frames, mfcc)
    from affectd.recognition.whole import UtteranceContext  # only for a file that hears in this way

    return UtteranceContext(model, mfcc)


def _thresholds(config: Config, model: ModelFile) -> tuple[Gate, int, Smoother]:
    """Make what a reload replaces: gate, pre-roll in frames, smoother."""
    frame_rate = model.spec.frame_rate
    stride_seconds = config.model.stride_frames / frame_rate
    smoother = Smoother(config.smoothing, model.labels, stride_seconds, uncertain_threshold(model, config))
    return Gate(config.gate, frame_rate), preroll_frames(config.gate, frame_rate), smoother


def _stretches(flags: Bool) -> Iterator[tuple[slice, bool]]:
    """Yield each run of equal flags, as a slice and its flag, in order."""
    # groupby, because for the few flags of a stride NumPy's call overhead dominates.
    start = 0
    for flag, equal in groupby(flags.tolist()):
        stop = start + len([*equal])
        yield slice(start, stop), flag
        start = stop
