"""The voice gate: decides for every frame whether it may be speech, so that the network does not run in silence.

An energy threshold opens for a fan that is switched on, and a slow noise estimate for noise that fades in. The level
of speech also *falls* within a syllable. So a frame counts as speech when

1. its level is ``margin_db`` above the lowest of the last ``floor_seconds``, the frame included, and
2. the level fell by ``fall_db`` within the last 0.4 s, which a step of noise, a fade-in, hum or DC does not.

Levels below ``minimum_dbfs`` are raised to it. It is the only value here that depends on the gain of the microphone,
so it is as low as the rounding noise of 16 bits allows: -104 dBFS in the band of speech, with triangular dither -99.

The gate opens at the end of the first syllable; the pre-roll gives the network the frames before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from affectd.arrays import Bool, Float32
from affectd.config.sections import GateConfig
from affectd.features.framing import overlapping

LEVEL_FLOOR_DBFS = -120.0
"""The level of digital silence, far below 16-bit rounding noise (-101 dBFS)."""

PEAK_SECONDS = 0.25
"""A fall is measured from the loudest frame of this many last seconds, about one syllable."""

FALL_SECONDS = 0.4
"""Frames count as speech for this long after a fall; speech has two to eight syllables a second."""

HELD_FRAMES = 5
"""A peak must last this many frames; a click spans four (window_length / hop_length)."""

RANGE_DB = 30.0
"""In a recording, sound this far below the loudest sound around it is silence; otherwise the gate would open for
breaths near the rounding noise of 16 bits, and depend on the gain."""

TRIM_RANGE_DB = 40.0
"""The same for training, which needs the quieter ends that the live gate passes."""

RANGE_SECONDS = 5.0
"""The loudest sound is searched for this far around each frame."""

COMB_HZ = 4000.0
"""The level is measured through a comb filter with zeros at 0 Hz and at this frequency."""


def band_level(frames: Float32, sample_rate: int) -> Float32:
    """Measure the level of each frame in the band of speech, without DC and rumble.

    The comb filter is ``y[t] = (x[t] - x[t - d]) / 2`` with ``d`` the samples of one period of 4 kHz:
    0 at 0 Hz, -28 dB at 50 Hz, 0 dB at 2 kHz. Of ``(n, frame_length)`` float32 samples in [-1, 1] it gives ``(n,)``
    float32, dBFS of the mean square, at least -120.
    """
    delay = max(1, round(sample_rate / COMB_HZ))
    difference = frames[:, delay:] - frames[:, :-delay]
    power = np.einsum("ij,ij->i", difference, difference) / np.float32(4 * max(1, difference.shape[1]))
    floor = np.float32(10.0 ** (LEVEL_FLOOR_DBFS / 10.0))
    level: Float32 = 10.0 * np.log10(np.maximum(power, floor))
    return level


class Gate:
    """Open while there may be speech; `frame_rate` is ``sample_rate / hop_length``, in frames per second.

    Attributes
    ----------
    is_open : bool
        Whether the gate was open at the last frame pushed.
    quiet_frames : int
        Frames since the last one that was speech.
    active : ndarray
        ``(n,)`` bool, which of the frames pushed last were speech, without the hangover.

    Examples
    --------
    >>> gate = Gate(GateConfig(hangover_seconds=0.1), frame_rate=62.5)
    >>> syllable = np.float32([-60] * 20 + [-20] * 10 + [-40] * 5 + [-60] * 20)
    >>> gate.push(syllable).nonzero()[0].tolist(), gate.is_open
    ([30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40], False)
    """

    def __init__(self, config: GateConfig, frame_rate: float) -> None:
        def frames(seconds: float) -> int:
            return max(1, round(seconds * frame_rate))

        self._config = config
        self._floor_frames = frames(config.floor_seconds)
        self._peak_frames = frames(PEAK_SECONDS)
        self._fall_frames = frames(FALL_SECONDS)
        self._hangover_frames = frames(config.hangover_seconds)
        self.reset()

    def reset(self) -> None:
        """Close the gate and forget all levels."""
        # NaN, because fmin and fmax ignore the time before the first frame then.
        history = max(self._floor_frames, self._peak_frames + HELD_FRAMES) - 1
        self._levels = np.full(history, np.nan, np.float32)
        self._falls = np.zeros(self._fall_frames - 1, np.float32)
        self.active = np.zeros(0, np.bool_)
        self.quiet_frames = 0
        self.is_open = False

    def push(self, level: Float32) -> Bool:
        """Process the levels ``(n,)`` of the next frames, from `band_level`.

        Returns ``(n,)`` bool, whether the gate is open at each frame; independent of how the frames are grouped.
        """
        opened = []
        self.active = self._speech_like(level)
        for active in self.active.tolist():
            self.quiet_frames = 0 if active else self.quiet_frames + 1
            self.is_open = active or (self.is_open and self.quiet_frames <= self._hangover_frames)
            opened.append(self.is_open)
        return np.array(opened, np.bool_)

    def _speech_like(self, level: Float32) -> Bool:
        n = len(level)
        # Below the minimum, rounding noise of the sound card would look like falls.
        level = np.maximum(level, np.float32(self._config.minimum_dbfs))
        levels = np.concatenate([self._levels, level])
        self._levels = levels[n:]
        floor = np.fmin.reduce(_last(levels, self._floor_frames, n), axis=-1)
        held = np.fmin.reduce(_last(levels, HELD_FRAMES, n + self._peak_frames - 1), axis=-1)
        peak = np.fmax.reduce(_last(held, self._peak_frames, n), axis=-1)
        falls = np.concatenate([self._falls, peak - level])
        self._falls = falls[n:]
        fall = _last(falls, self._fall_frames, n).max(axis=-1)
        stands_out: Bool = level >= floor + self._config.margin_db
        stands_out &= fall >= self._config.fall_db
        return stands_out


@dataclass(frozen=True)
class Speech:
    """The position of speech in a recording, in frames."""

    opened: Bool  # (n,), whether the gate is open at each frame
    start: int  # the first frame, pre-roll included
    end: int  # one past the last frame of speech, without the hangover
    stop: int  # one past the last frame at which the gate is open


class RangeLimiter:
    """Raises levels to `range_db` below the loudest sound within `RANGE_SECONDS`; they come out that much later."""

    def __init__(self, frame_rate: float, range_db: float = RANGE_DB) -> None:
        self._around = round(RANGE_SECONDS * frame_rate)
        self._range_db = np.float32(range_db)
        self._levels = np.zeros(0, np.float32)  # not returned yet
        # The lowest of `HELD_FRAMES` levels, which excludes clicks, from `_around` before the first of `_levels` on.
        self._steady = np.full(self._around, -np.inf, np.float32)

    def push(self, level: Float32) -> Float32:
        """Take the next levels ``(n,)`` and return those that are complete."""
        self._levels = np.concatenate([self._levels, level])
        first = len(self._steady) - self._around
        n_new = max(0, len(self._levels) - HELD_FRAMES + 1 - first)
        steady = overlapping(self._levels, HELD_FRAMES, 1, n_new, first).min(axis=1)
        self._steady = np.concatenate([self._steady, steady])
        return self._limited(max(0, len(self._steady) - 2 * self._around))

    def flush(self) -> Float32:
        """Return the rest at the end of the recording."""
        if len(self._steady) == self._around and len(self._levels):  # it is shorter than a click
            self._steady = np.append(self._steady, self._levels.min())
        n_missing = len(self._levels) + 2 * self._around - len(self._steady)
        self._steady = np.append(self._steady, np.full(n_missing, -np.inf, np.float32))
        return self._limited(len(self._levels))

    def _limited(self, n: int) -> Float32:
        loudest = overlapping(self._steady, 2 * self._around + 1, 1, n).max(axis=1)
        limited: Float32 = np.maximum(self._levels[:n], loudest - self._range_db)
        self._levels, self._steady = self._levels[n:], self._steady[n:]
        return limited


def find_speech(level: Float32, config: GateConfig, frame_rate: float, range_db: float = RANGE_DB) -> Speech | None:
    """Find the speech of a recording with the gate; None if it never opens.

    `level` is ``(n,)`` float32 dBFS from `band_level`, `frame_rate` in frames per second. Frames more than `range_db`
    below the loudest sound within `RANGE_SECONDS` are silence.
    """
    limiter = RangeLimiter(frame_rate, range_db)
    level = np.concatenate([limiter.push(level), limiter.flush()])
    gate = Gate(config, frame_rate)
    opened = gate.push(level)
    frames = np.flatnonzero(opened)
    if not len(frames):
        return None
    start = max(0, int(frames[0]) - preroll_frames(config, frame_rate))
    return Speech(opened, start, int(np.flatnonzero(gate.active)[-1]) + 1, int(frames[-1]) + 1)


def trim(level: Float32, config: GateConfig, frame_rate: float) -> tuple[int, int] | None:
    """Return the first frame of speech within `TRIM_RANGE_DB`, and one past the last; None without speech."""
    speech = find_speech(level, config, frame_rate, TRIM_RANGE_DB)
    return (speech.start, speech.stop) if speech else None


def preroll_frames(config: GateConfig, frame_rate: float) -> int:
    """Return the number of frames before the opening of the gate that belong to the utterance."""
    return round(config.preroll_seconds * frame_rate)


def _last(values: Float32, length: int, n: int) -> Float32:
    """Return, for each of the last ``n`` values, the ``length`` values that end with it: ``(n, length)``."""
    return overlapping(values, length, 1, n, len(values) - n - length + 1)
