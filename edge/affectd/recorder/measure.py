"""What a recording holds: how loud it is, and where in it there is speech by the gate."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from affectd.arrays import Block, Float32
from affectd.config.sections import GateConfig
from affectd.features.framing import frame_strides
from affectd.features.spec import FeatureSpec
from affectd.recognition.vad import band_level, find_speech, trim

_STRIDE_FRAMES = 64


def level_dbfs(blocks: Iterable[Block]) -> float | None:
    """Measure the RMS level of a recording without its DC offset, as of events; None for digital silence."""
    n, total, squares = 0, 0.0, 0.0
    for block in blocks:
        samples = block.astype(np.float64)
        n, total, squares = n + len(samples), total + float(samples.sum()), squares + float(samples @ samples)
    power = squares / n - (total / n) ** 2 if n else 0.0
    # One step of 16 bits in ten minutes is more than this, and the rounding of the sums less.
    return 10 * math.log10(power) if power > 1e-18 else None


def speech_seconds(blocks: Iterable[Block], spec: FeatureSpec, gate: GateConfig) -> float:
    """Return the time in which the gate is open, as ``affectd classify`` says it."""
    speech = find_speech(_levels(blocks, spec), gate, spec.frame_rate)
    return 0.0 if speech is None else int(np.count_nonzero(speech.opened)) / spec.frame_rate


def spoken_part(blocks: Iterable[Block], spec: FeatureSpec, gate: GateConfig) -> tuple[int, int] | None:
    """Return the first sample of the speech in a recording, with the pre-roll, and one past the last; None without."""
    frames = trim(_levels(blocks, spec), gate, spec.frame_rate)
    if frames is None:
        return None
    first, stop = (spec.first_sample + frame * spec.hop_length for frame in frames)
    return max(0, first), stop - spec.hop_length + spec.window_length


def _levels(blocks: Iterable[Block], spec: FeatureSpec) -> Float32:
    pieces = frame_strides(blocks, spec, lambda: _STRIDE_FRAMES * spec.hop_length)
    return np.concatenate([band_level(frames, spec.sample_rate) for frames in pieces])
