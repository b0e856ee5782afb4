"""Cost of each stage of the pipeline, and of the whole, in this process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import numpy as np

from affectd.arrays import Float32, Float64, Int16
from affectd.audio.microphone import PIECE_SECONDS
from affectd.audio.resampler import Resampler
from affectd.audio.ring_buffer import SampleRing
from affectd.bench.sounds import sounds
from affectd.board import resident
from affectd.config.sections import Config
from affectd.events.event import EventMaker, Utterance
from affectd.events.sinks import JsonLines
from affectd.features.context import CepstralContext
from affectd.features.framing import Framer
from affectd.features.mfcc import Mfcc
from affectd.pipeline import run
from affectd.recognition.baseline import at_new_place
from affectd.recognition.classifier import Classifier
from affectd.recognition.smoothing import Answer, Smoother
from affectd.recognition.vad import Gate, band_level

ROUNDS = 2000
PATIENCE_SECONDS = 20.0
_WARM_UP = 20


def stages(classifier: Classifier, clips: list[Int16]) -> dict[str, dict[str, float]]:
    """Time every stage for one piece of sound (capture, resampling) or one stride.

    The stages run in turns, so that the caches are as in the pipeline.

    Returns
    -------
    dict
        For each stage ``p50_us``, ``p95_us``, ``p99_us``, ``max_us``.
    """
    with open(os.devnull, "w") as nowhere:
        calls = _calls(classifier, clips, JsonLines(nowhere))
        times: dict[str, list[float]] = {name: [] for name in calls}
        began = time.monotonic()
        for n in range(_WARM_UP + ROUNDS):
            for name, call in calls.items():
                before = time.perf_counter()
                call()
                passed = time.perf_counter() - before
                if n >= _WARM_UP:
                    times[name].append(passed)
            if n > 2 * _WARM_UP and time.monotonic() - began > PATIENCE_SECONDS:
                break
    return {name: percentiles(np.array(values)) for name, values in times.items()}


def percentiles(seconds: Float64) -> dict[str, float]:
    """Return median, 95th and 99th percentile and maximum in microseconds."""
    p50, p95, p99 = np.percentile(seconds, (50, 95, 99)) * 1e6
    figures = {"p50_us": p50, "p95_us": p95, "p99_us": p99, "max_us": seconds.max() * 1e6}
    return {name: round(float(value), 1) for name, value in figures.items()}


def _calls(classifier: Classifier, clips: list[Int16], out: JsonLines) -> dict[str, Callable[[], object]]:
    model, config = classifier.model, Config()
    spec = model.spec
    stride = config.model.stride_frames * spec.hop_length
    piece = round(PIECE_SECONDS * spec.sample_rate)
    talk = sounds(clips, spec.sample_rate, (model.n_frames * spec.hop_length + stride) / spec.sample_rate)["speech"]
    floats = talk.astype(np.float32) / np.float32(1 << 15)

    ring, captured = SampleRing(10 * piece, 1), talk[:piece, np.newaxis]
    resampler, fast = Resampler(48000, spec.sample_rate), np.resize(floats, 3 * piece)
    framer, gate, mfcc = Framer(spec), Gate(config.gate, spec.frame_rate), Mfcc(spec)
    context = CepstralContext(model.n_frames, mfcc)
    context.push(mfcc.bands(mfcc.frames(floats)))
    frames = np.array(framer.push(floats[:stride]))[-config.model.stride_frames :]
    bands, cepstra = mfcc.bands(frames), context.view().copy()
    quantized, probabilities = classifier.quantize(cepstra), classifier(cepstra)
    network, _ = at_new_place(classifier)
    smoother = Smoother(config.smoothing, model.labels, config.model.stride_frames / spec.frame_rate, 0.0)
    events, utterance = EventMaker(config.device.id, model), Utterance(0.0)
    utterance.push(frames, np.ones(len(frames), np.bool_))
    answer = Answer(model.labels[0], 1.0, dict.fromkeys(model.labels, 1.0))

    def capture() -> None:
        ring.write(captured)
        (ring.read(piece)[1][:, 0].astype(np.float32) / np.float32(1 << 15))

    def into_context() -> Float32:
        context.push(bands)
        return context.view()

    return {
        "capture": capture,
        "resample": lambda: resampler.push(fast),
        "framing": lambda: framer.push(floats[:stride]),
        "gate": lambda: gate.push(band_level(frames, spec.sample_rate)),
        "mfcc": lambda: mfcc.bands(frames),
        "context": into_context,
        "quantize": lambda: classifier.quantize(cepstra),
        "inference": lambda: classifier.invoke(quantized),
        "classify": lambda: network(cepstra),
        "smoothing": lambda: smoother.push(probabilities),
        "emit": lambda: out.write(events.emotion("change", answer, utterance)),
    }


class NullSink:
    """A sink that discards events."""

    def write(self, event: object) -> None:
        """Discard an event."""


def real_time_factors(classifier: Classifier, clips: list[Int16]) -> dict[str, float]:
    """Run the pipeline at full speed over a minute of each sound; return processor time per time of sound."""
    sample_rate, seconds = classifier.model.spec.sample_rate, 60.0
    factors = {}
    for name, samples in sounds(clips, sample_rate, seconds).items():
        blocks = list(pieces(samples, sample_rate))
        before = time.process_time()
        network, ended = at_new_place(classifier)
        run(blocks, network, NullSink(), Config(), ended=ended)
        factors[name] = round((time.process_time() - before) / seconds, 6)
    return factors


def growth(classifier: Classifier, clips: list[Int16], hours: float) -> list[dict[str, float]]:
    """Run the pipeline over this many hours of speech, silence and noise in turns.

    Returns
    -------
    list of dict
        After 1 and 10 minutes, 1 hour, ..., and at the end: ``audio_seconds``, ``cpu_ms_per_second`` (processor time
        per second of sound since the row before) and ``resident_mb``.
    """
    sample_rate = classifier.model.spec.sample_rate
    minute = list(pieces(np.concatenate([*sounds(clips, sample_rate, 20.0).values()]), sample_rate))
    n_minutes = max(1, round(hours * 60))
    marks = sorted({mark for mark in (1, 10, 60, 600) if mark < n_minutes} | {n_minutes})
    rows: list[dict[str, float]] = []

    def stream() -> Iterator[Float32]:
        before, done = time.process_time(), 0
        for n in range(1, n_minutes + 1):
            yield from minute
            if n in marks:
                now = time.process_time()
                cost = 1000 * (now - before) / (60 * (n - done))
                rows.append({"audio_seconds": 60 * n, "cpu_ms_per_second": round(cost, 4), **resident()})
                before, done = now, n

    network, ended = at_new_place(classifier)
    run(stream(), network, NullSink(), Config(), ended=ended)
    return rows


def pieces(samples: Int16, sample_rate: int) -> Iterator[Float32]:
    """Yield int16 sound in the pieces of a microphone, float32."""
    floats = samples.astype(np.float32) / np.float32(1 << 15)
    piece = round(PIECE_SECONDS * sample_rate)
    return (floats[start : start + piece] for start in range(0, len(floats), piece))
