"""From the sound of a recording to its timeline."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from affectd.arrays import Float32
from affectd.config.sections import Config
from affectd.events.trace import Trace
from affectd.recognition.baseline import Heard
from affectd.recognition.classifier import Network
from affectd.recognition.model_file import model_id
from affectd.recognition.offline import Counted
from affectd.timeline.envelope import Envelope
from affectd.timeline.strides import changes, trace
from affectd.timeline.summary import Timeline, add_to, extend, segments

_CURVE = ("start_seconds", "end_seconds", "valence", "arousal")


def listen(
    blocks: Iterable[Float32],
    network: Network,
    config: Config,
    path: str,
    *,
    period_seconds: float | None = None,
    began: datetime | None = None,
    ended: Callable[[Heard], object] = lambda utterance: None,
) -> Timeline:
    """Hear a recording to its end; memory grows by its segments alone.

    Parameters
    ----------
    blocks
        Mono samples in [-1, 1] at the rate of the model, (n,) float32 of any n; the timeline does not depend on it.
    network, config, ended
        As for `affectd.timeline.strides.trace`.
    path
        The name of the recording.
    period_seconds
        The length of a period, at least 1; None: no periods.
    began
        When the recording began, with a time zone; None if that is not known.
    """
    timeline = Timeline(path, model_id(network.model), network.model.labels, began)
    envelope, rate = Envelope(), network.model.spec.sample_rate

    def drawn() -> Iterator[Float32]:
        for block in blocks:
            envelope.push(block)
            yield block

    counted = Counted(drawn())

    def summed(lines: Iterable[Trace]) -> Iterator[Trace]:
        for line in lines:
            if line["gate_open"]:
                timeline.whole.add(line, line["end_seconds"] - line["start_seconds"])
                if line["arousal"] is not None:
                    timeline.curve.extend(line[name] for name in _CURVE)
                if period_seconds is not None:
                    add_to(timeline.periods, line, period_seconds)
            yield line

    guesses = changes(network, config, threshold=0.0)
    timeline.segments = list(segments(summed(trace(counted, network, config, ended=ended)), guesses))
    timeline.seconds = round(counted.n_samples / rate, 3)
    timeline.whole.end_seconds = timeline.seconds
    if period_seconds is not None:
        extend(timeline.periods, max(1, math.ceil(timeline.seconds / period_seconds)), period_seconds)
        timeline.periods[-1].end_seconds = timeline.seconds
    timeline.envelope, timeline.column_seconds = envelope.columns(), envelope.column_samples / rate
    return timeline
