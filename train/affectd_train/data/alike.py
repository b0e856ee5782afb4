"""Recordings that sound the same though their files differ: encoded again, at another sample rate or volume.

Their levels correlate by 0.989 or more if one is the other in MP3, Ogg, Opus of 24 kbit/s or at 8 kHz; two takes of one
sentence by one speaker reach 0.975. Of 13,705 recordings of nine corpora 54 are called alike, and all are: their
samples correlate by 0.95 or more. What was cut otherwise, or shifted by an encoder that does not say so, is not found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from affectd.arrays import Float32
from affectd.audio.resampler import resample_blocks
from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec

LONGEST_SECONDS = 20.0
"""What comes later in a recording is not compared."""

_SPEC = FeatureSpec()
_MFCC = Mfcc(_SPEC)
_SAME = 0.985
_RANGE_DB = 50.0  # below it codecs leave out what is not heard
_N_BANDS, _N_WIDE = 96, 12  # up to 3.4 kHz, where telephones end; each of the wide bands is the mean of eight
_LEAST_DB = 1.5  # speech moves by 3 to 10 dB; what does not move at all, as a hum, would be like any other


class Heard(NamedTuple):
    """A recording: its name, its length, and the levels of bands over its first 20 s, ``(n_frames, 12)`` dB."""

    name: str
    seconds: float
    levels: Float32


def hear(name: str, blocks: Sequence[Float32], seconds: float, sample_rate: int) -> Heard:
    """Take the mono blocks ``(n,)`` of the first `LONGEST_SECONDS` of a recording, and how long all of it is."""
    first = np.concatenate([*blocks])[: round(LONGEST_SECONDS * sample_rate)]
    if sample_rate != _SPEC.sample_rate:
        first = np.concatenate([*resample_blocks([first], sample_rate, _SPEC.sample_rate)])
    bands = _MFCC.bands(_MFCC.frames(first))[:, :_N_BANDS]
    bands = np.maximum(bands, bands.max(initial=-np.inf) - _RANGE_DB)
    levels = bands.reshape(len(bands), _N_WIDE, -1).mean(2)
    return Heard(name, seconds, np.asarray(levels, np.float32))


def alike(recordings: Iterable[Heard]) -> dict[str, str]:
    """Find recordings of the same length that sound like another: name -> the name of the one before it."""
    frame_seconds = _SPEC.hop_length / _SPEC.sample_rate
    of_length: defaultdict[int, list[Heard]] = defaultdict(list)
    for one in recordings:
        if len(one.levels):
            of_length[round(one.seconds / frame_seconds)].append(one)
    found: dict[str, str] = {}
    for length, mine in sorted(of_length.items()):
        both = [*mine, *of_length.get(length + 1, [])]  # another rate may be a sample longer
        n_frames = min(len(one.levels) for one in both)
        rows = np.stack([_direction(one.levels[:n_frames]) for one in both])
        for i, j in np.argwhere(rows[: len(mine)] @ rows.T >= _SAME).tolist():
            if i < j:
                found.setdefault(both[j].name, both[i].name)
    return found


def _direction(levels: Float32) -> Float32:
    """Return how levels move, as a vector of length 1, or of length 0 where they hardly do."""
    moves: Float32 = (levels - levels.mean(0)).ravel()
    length = float(np.linalg.norm(moves))
    return moves / length if length >= _LEAST_DB * np.sqrt(len(moves)) else 0 * moves
