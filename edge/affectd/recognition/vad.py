"""The voice gate: says for every frame whether it may be speech, so that silence costs nothing.

Energy alone opens for a fan that is switched on, and a slow noise estimate opens
for noise that fades in. Speech differs from both in that its level also *falls*
within a syllable. So a frame counts as speech when

1. it stands ``margin_db`` above the lowest level of the last ``floor_seconds``
   (which includes the frame itself: stationary noise closes the gate by itself), and
2. the level fell by ``fall_db`` at some moment of the last 0.4 s, which a
   step of noise, a fade-in, hum or DC never does.

Whatever is quieter than ``minimum_dbfs`` counts as that loud. It is the only number here that depends on the gain of
the microphone, so it is as low as 16 bits allow: their rounding noise measures -104 dBFS in the band of speech, with
triangular dither -99.

The price is that the gate opens at the end of the first syllable instead of its
beginning; the pre-roll hands the frames before it to the network all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from affectd.arrays import Bool, Float32
from affectd.config.sections import GateConfig
from affectd.features.framing import overlapping

LEVEL_FLOOR_DBFS = -120.0
"""The level of digital silence. Far below 16-bit rounding noise (-101 dBFS), and never 0 or -inf."""

PEAK_SECONDS = 0.25
"""A fall is measured from the loudest frame of the last this many seconds: about one syllable."""

FALL_SECONDS = 0.4
"""A fall vouches for the frames of this many seconds after it: speech has two to eight syllables a second."""

HELD_FRAMES = 5
"""A peak is held for this many frames; a click lives in four (window_length / hop_length)."""

RANGE_DB = 30.0
"""Of a recording, what is this far below the loudest sound around it is silence: in a quiet studio the gate would stay
open for what the rounding to 16 bits leaves of a breath, which is another sound at another gain."""

TRIM_RANGE_DB = 40.0
"""The same for what networks learn from: live, it is unknown how loud it will get, and they hear quieter ends too."""

RANGE_SECONDS = 5.0
"""How far around a frame its loudest sound is looked for: another speaker's shout a minute later does not count."""

COMB_HZ = 4000.0
"""The level is measured through a comb: deaf at 0 Hz and at this frequency, most sensitive at half of it."""


def band_level(frames: Float32, sample_rate: int) -> Float32:
    """Measure each frame in the band of speech, blind to DC and nearly blind to rumble.

    The frame passes the comb ``y[t] = (x[t] - x[t - d]) / 2`` with ``d`` the number of
    samples in one period of 4 kHz: 0 at 0 Hz, -28 dB at 50 Hz, 0 dB at 2 kHz.

    Parameters
    ----------
    frames : ndarray
        ``(n, frame_length)`` float32, samples in [-1, 1].
    sample_rate : int
        Hz.

    Returns
    -------
    ``(n,)`` float32, dBFS of the mean square, at least -120.
    """
    delay = max(1, round(sample_rate / COMB_HZ))
    difference = frames[:, delay:] - frames[:, :-delay]
    power = np.einsum("ij,ij->i", difference, difference) / np.float32(4 * max(1, difference.shape[1]))
    floor = np.float32(10.0 ** (LEVEL_FLOOR_DBFS / 10.0))
    level: Float32 = 10.0 * np.log10(np.maximum(power, floor)).astype(np.float32)
    return level


class Gate:
    """Open while there may be speech.

    Parameters
    ----------
    config : GateConfig
        The section ``[gate]``.
    frame_rate : float
        Frames per second: ``sample_rate / hop_length``.

    Attributes
    ----------
    is_open : bool
        Whether the gate was open at the last frame pushed.
    active : ndarray
        ``(n,)`` bool, which of the frames pushed last were speech by themselves, not by hangover.
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
        """Forget everything heard; the gate is closed."""
        # NaN is neither a minimum nor a peak: the time before the first frame does not count.
        history = max(self._floor_frames, self._peak_frames + HELD_FRAMES) - 1
        self._levels = np.full(history, np.nan, np.float32)
        self._falls = np.zeros(self._fall_frames - 1, np.float32)
        self.active = np.zeros(0, np.bool_)
        self._quiet_frames = 0
        self.is_open = False

    def push(self, level: Float32) -> Bool:
        """Judge the next frames.

        Parameters
        ----------
        level : ndarray
            ``(n,)`` float32, dBFS, from `band_level`.

        Returns
        -------
        ``(n,)`` bool, whether the gate is open at each frame; independent of how the frames are grouped.
        """
        n = len(level)
        opened = np.zeros(n, np.bool_)
        self.active = self._speech_like(level)
        for i, active in enumerate(self.active.tolist()):
            self._quiet_frames = 0 if active else self._quiet_frames + 1
            self.is_open = active or (self.is_open and self._quiet_frames <= self._hangover_frames)
            opened[i] = self.is_open
        return opened

    def _speech_like(self, level: Float32) -> Bool:
        if not len(level):
            return np.zeros(0, np.bool_)
        # Below the minimum the rounding noise of a sound card comes and goes, sample by sample.
        level = np.maximum(level, np.float32(self._config.minimum_dbfs))
        levels = np.concatenate([self._levels, level])
        self._levels = levels[len(level) :].copy()
        n = len(level)
        floor = np.fmin.reduce(_last(levels, self._floor_frames, n), axis=-1)
        held = np.fmin.reduce(_last(levels, HELD_FRAMES, n + self._peak_frames - 1), axis=-1)
        peak = np.fmax.reduce(_last(held, self._peak_frames, n), axis=-1)
        falls = np.concatenate([self._falls, peak - level])
        self._falls = falls[n:].copy()
        fall = _last(falls, self._fall_frames, n).max(axis=-1)
        stands_out: Bool = level >= floor + self._config.margin_db
        stands_out &= fall >= self._config.fall_db
        return stands_out


def open_frames(level: Float32, config: GateConfig, frame_rate: float) -> Bool:
    """Say for each frame of a whole recording whether the gate is open."""
    return Gate(config, frame_rate).push(level)


@dataclass(frozen=True)
class Speech:
    """Where the speech of a whole recording is.

    Attributes
    ----------
    opened : ndarray
        ``(n,)`` bool, whether the gate is open at each frame.
    start : int
        The first frame, pre-roll included.
    end : int
        One past the last frame that is speech by itself.
    stop : int
        One past the last open frame, hangover included.
    """

    opened: Bool
    start: int
    end: int
    stop: int


def find_speech(level: Float32, config: GateConfig, frame_rate: float, range_db: float = RANGE_DB) -> Speech | None:
    """Find the speech of a recording with the device's own gate, which knows the loudest sounds beforehand here.

    Parameters
    ----------
    level : ndarray
        ``(n,)`` float32, dBFS, from `band_level`.
    config : GateConfig
        The section ``[gate]``.
    frame_rate : float
        Frames per second.
    range_db : float
        How far below the loudest sound within `RANGE_SECONDS` silence begins.

    Returns
    -------
    None when the gate never opens.
    """
    if len(level):
        held = min(HELD_FRAMES, len(level))  # not a click
        steady = overlapping(level, held, 1, len(level) - held + 1).min(axis=1)
        around = min(round(RANGE_SECONDS * frame_rate), len(level))
        padded = np.pad(steady, (around, around + held - 1), constant_values=-np.inf)
        loudest = overlapping(padded, 2 * around + 1, 1, len(level)).max(axis=1)
        level = np.maximum(level, loudest - np.float32(range_db))
    gate = Gate(config, frame_rate)
    opened = gate.push(level)
    frames = np.flatnonzero(opened)
    if not len(frames):
        return None
    start = max(0, int(frames[0]) - preroll_frames(config, frame_rate))
    return Speech(opened, start, int(np.flatnonzero(gate.active)[-1]) + 1, int(frames[-1]) + 1)


def trim(level: Float32, config: GateConfig, frame_rate: float) -> tuple[int, int] | None:
    """Return the frames of `find_speech` within `TRIM_RANGE_DB`: the first one, and one past the last."""
    speech = find_speech(level, config, frame_rate, TRIM_RANGE_DB)
    return (speech.start, speech.stop) if speech else None


def preroll_frames(config: GateConfig, frame_rate: float) -> int:
    """Count the frames before the opening of the gate that belong to the utterance."""
    return round(config.preroll_seconds * frame_rate)


def _last(values: Float32, length: int, n: int) -> Float32:
    """For each of the last ``n`` values, the ``length`` values that end with it: ``(n, length)``."""
    return overlapping(values, length, 1, n, len(values) - n - length + 1)
