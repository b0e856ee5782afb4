"""Whether the sound that a live source delivers is fit to be listened to, measured once a second.

============  ==================================================  =========================================  =====
reason        means                                               figure                                     after
============  ==================================================  =========================================  =====
rate          more or fewer samples a second than the rate says   measured rate / sample rate                20 s
repeated      one piece of 1 to 6 s over and over                 its length, s                              8 s
clicks        one value, and isolated clicks                      clicks in the last second                  6 s
narrow        speech has nothing above 2.8 kHz                    that band / below 1.5 kHz, dB              12 s
quiet         speech far below full scale                         the loudest of it, dBFS                    20 s
clipped       speech beyond full scale, cut off there             samples of it at full scale, %             8 s
============  ==================================================  =========================================  =====

Opening the device again mends none of these. The seconds are those in which the fault can be heard: in a silent room a
microphone is neither quiet nor narrow. The verdict does not depend on the lengths of the blocks.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from affectd.arrays import Block, Bool, Float32, Int16
from affectd.audio.loops import Loops
from affectd.audio.pace import Pace
from affectd.audio.vote import Vote

SENTENCES = {
    "rate": "delivers {:.2f} times as many samples a second as its sample rate says",
    "repeated": "delivers the same {:.2f} s of sound over and over",
    "clicks": "delivers one value with {:.0f} clicks a second in it",
    "narrow": "has nothing above 2.8 kHz in speech: {:.0f} dB relative to what is below 1.5 kHz",
    "quiet": "is too quiet: the loudest of the last 20 s of speech is {:.1f} dBFS",
    "clipped": "is too loud: {:.1f} % of the samples of speech are cut off at full scale",
}
"""What a degraded source does, by reason, for its figure; the first of several is reported."""

# Seconds of evidence that it takes, and how much of it a second to the contrary and one that says nothing take away.
_PROOF = {
    "rate": (12.0, 2.0, 0.25),
    "repeated": (8.0, 8.0, 0.25),
    "clicks": (6.0, 6.0, 0.05),
    "narrow": (12.0, 3.0, 0.25),
    "quiet": (20.0, 6.0, 0.25),
    "clipped": (8.0, 2.0, 0.25),
}

_FRAMES = 32  # in a second
# At a volume of 2 % nothing is above -34 dBFS. The floor tells a low volume from a loud room with a far voice.
_QUIET_DBFS, _AUDIBLE_DBFS, _FLOOR_DBFS, _FAINT_DBFS = -33.9, -30.0, -72.0, -40.0
# Full scale of the cards that stop just before it, and how much of speech at most is there by chance.
_FULL, _CLIPPED = 0.999, 1e-3
# In speech the loudest frame of a second is this much above the quietest.
_SPEECH_DB = 12.0
# Below it is the rounding noise of 16 bits, which is no speech.
_LEAST_DBFS = -96.0
# The level is measured through a comb filter, as that of the gate.
_COMB_HZ = 4000.0
_LEAST_HEIGHT = 4
_REST = 0.75
_CLICK = 16  # 16-bit steps; less is the noise of a quiet card

_LOW_HZ, _HIGH_HZ = (200.0, 1500.0), 2800.0
# Of speech this is -22 dB on average, over a telephone -28 dB; there up to a third of vowels are below -46 dB.
_NARROW_DB, _WIDE_DB = -46.0, -42.0
# A quieter band leaves no room for `_NARROW_DB` above the rounding noise.
_LOUD_DBFS = -45.0
# One line has so much of the power of a beep or a hum, which needs nothing above 2.8 kHz.
_TONE = 0.9
_SPECTRUM_SECONDS = 0.064


class Condition:
    """Measures the mono sound of a source at `sample_rate` in Hz.

    `hurry` divides the seconds of evidence that a fault takes, for who listens only for a moment.

    Attributes
    ----------
    figures : dict of str to float
        What is wrong now, see the table above, the first one first; replaced and never changed.
    """

    def __init__(self, sample_rate: int, hurry: float = 1.0) -> None:
        self.figures: dict[str, float] = {}
        self.pace = Pace(sample_rate)
        self._sample_rate = sample_rate
        self._votes = {reason: Vote(seconds / hurry, *weights) for reason, (seconds, *weights) in _PROOF.items()}
        self._measured: dict[str, float] = {}
        self._peaks: deque[float] = deque(maxlen=10)
        self._loops = Loops(sample_rate)
        self._blocks: list[Block] = []
        self._n_missing = sample_rate
        self._is_even = False
        n = round(_SPECTRUM_SECONDS * sample_rate)
        self._window = np.hanning(n).astype(np.float32)
        hertz = np.arange(n // 2 + 1) * (sample_rate / n)
        self._low = slice(*np.searchsorted(hertz, _LOW_HZ).tolist())
        self._high = slice(int(np.searchsorted(hertz, _HIGH_HZ)), None)

    def push(self, samples: Block) -> None:
        """Take the next samples, float32 of shape (n,)."""
        while len(samples) >= self._n_missing:
            self._blocks.append(samples[: self._n_missing])
            samples = samples[self._n_missing :]
            self._second(np.concatenate(self._blocks))
            self._blocks.clear()
            self._n_missing = self._sample_rate
        if len(samples):
            self._blocks.append(samples)
            self._n_missing -= len(samples)

    def interrupted(self) -> None:
        """Note that nothing came for long."""
        self.skip()
        self.pace.reset()

    def skip(self) -> None:
        """Note that sound is missing between the last samples and the next."""
        self._blocks.clear()
        self._n_missing = self._sample_rate
        self._loops.reset()

    def timed(self, n_samples: int, now: float, waited_seconds: float = math.inf) -> None:
        """Note that samples came; see `Pace.push`."""
        seconds = self.pace.push(n_samples, now, waited_seconds)
        if seconds:
            self._judge("rate", self.pace.verdict, self.pace.ratio, seconds)
            self._update()

    @property
    def reason(self) -> str:
        """The first reason why the sound is unfit; empty if it is not."""
        return next(iter(self.figures), "")

    def sentence(self) -> str:
        """Return what the source does, with its figures; only if there is a reason."""
        return ", and ".join(SENTENCES[reason].format(figure) for reason, figure in self.figures.items())

    def _judge(self, reason: str, verdict: bool | None, figure: float, seconds: float = 1.0) -> None:
        self._votes[reason].push(verdict, seconds)
        if verdict:
            self._measured[reason] = figure

    def _update(self) -> None:
        figures = {reason: round(self._measured[reason], 2) for reason in SENTENCES if self._votes[reason].is_on}
        if figures != self.figures:
            self.figures = figures

    def _second(self, sound: Block) -> None:
        steps = sound * np.float32(1 << 15)
        highest, lowest = int(steps.argmax()), int(steps.argmin())
        if float(steps[highest]) > 32767 or float(steps[lowest]) < -32768:
            steps = np.clip(steps, -32768, 32767)
        values = steps.astype(np.int16)
        changes = values[1:] != values[:-1]
        n_changes = int(np.count_nonzero(changes))
        height = int(values[highest]) - int(values[lowest])
        loudest = highest if int(values[highest]) >= -int(values[lowest]) else lowest
        self._judge("repeated", self._loops.push(values, loudest, n_changes), self._loops.seconds)
        verdict, n_clicks = clicks(values, changes, n_changes)
        self._judge("clicks", verdict, n_clicks)
        # Every second second, which stands for both, because it costs the most.
        self._is_even = not self._is_even
        if height >= _LEAST_HEIGHT and self._is_even:
            self._judge_speech(sound, height)
        self._update()

    def _judge_speech(self, sound: Block, height: int) -> None:
        # Half the height and not the highest value, which leaves out a DC offset.
        peak_dbfs = 20 * math.log10(max(height, 1) / (1 << 16))
        quiet = False if peak_dbfs >= _AUDIBLE_DBFS else None
        narrow, ratio_db = None, 0.0
        clipped, share = None, 0.0
        powers, length = frame_powers(sound, self._sample_rate)
        at = int(powers.argmax())
        loud_dbfs, floor_dbfs = _decibel(float(powers[at])), _decibel(float(powers.min()))
        if loud_dbfs >= max(floor_dbfs + _SPEECH_DB, _LEAST_DBFS):
            if peak_dbfs < (_QUIET_DBFS if floor_dbfs < _FLOOR_DBFS else _FAINT_DBFS):
                quiet = True
            # A lower wave is at full scale on neither side.
            if height >= _FULL * (1 << 15):
                share = float(np.count_nonzero(np.abs(sound) >= _FULL)) / len(sound)
            clipped = True if share > _CLIPPED else False if share == 0.0 else None
            if loud_dbfs >= _LOUD_DBFS:
                narrow, ratio_db = self._bandwidth(sound, at * length + length // 2)
        if quiet:
            self._peaks.append(peak_dbfs)
        self._judge("quiet", quiet, max(self._peaks, default=peak_dbfs), 2.0)
        self._judge("narrow", narrow, ratio_db, 2.0)
        self._judge("clipped", clipped, 100 * share, 2.0)

    def _bandwidth(self, sound: Block, center: int) -> tuple[bool | None, float]:
        """Compare the bands of the piece around a sample: whether it is narrow, and the ratio in dB."""
        n = len(self._window)
        start = min(max(0, center - n // 2), len(sound) - n)
        spectrum = np.fft.rfft(sound[start : start + n] * self._window)
        power = spectrum.real**2 + spectrum.imag**2
        low, high = power[self._low], power[self._high]
        below = float(low.sum())
        peak = int(low.argmax())
        if float(low[max(0, peak - 2) : peak + 3].sum()) > _TONE * below or not len(high):
            return None, 0.0
        ratio_db = _decibel(float(high.sum()) / below)
        return (True if ratio_db < _NARROW_DB else False if ratio_db >= _WIDE_DB else None), ratio_db


def clicks(values: Int16, changes: Bool, n_changes: int) -> tuple[bool | None, int]:
    """Judge a second of samples, and which of them differ from the one before.

    Returns whether it is nothing but clicks, None if it is one value or nearly so, and their number.
    """
    length = len(changes) // _FRAMES
    if 2 * n_changes >= len(changes):
        return False, 0
    in_frame = np.count_nonzero(changes[: length * _FRAMES].reshape(_FRAMES, length), axis=1)
    # Sound fills a frame, a click does not; a noise gate opens for longer.
    if int(in_frame.max()) * 2 >= length:
        return False, 0
    if int(values.max()) - int(values.min()) < _CLICK:
        return None, 0
    # Between clicks it comes back to the same value, which a square wave does not.
    if np.count_nonzero(values == np.median(values)) < _REST * len(values):
        return False, 0
    at = np.flatnonzero(changes)
    return True, 1 + int(np.count_nonzero(np.diff(at) > length // 4))


def frame_powers(sound: Block, sample_rate: int) -> tuple[Float32, int]:
    """Return the mean square ``(_FRAMES,)`` of the frames of a second, without DC and rumble, and how long one is."""
    delay = max(1, round(sample_rate / _COMB_HZ))
    difference = sound[delay:] - sound[:-delay]
    length = len(difference) // _FRAMES
    frames = difference[: length * _FRAMES].reshape(_FRAMES, length)
    powers: Float32 = np.einsum("ij,ij->i", frames, frames) / np.float32(4 * length)
    return powers, length


def _decibel(ratio: float) -> float:
    return 10 * math.log10(max(ratio, 1e-12))
