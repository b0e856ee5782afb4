"""How long and how loud the recordings of a corpus are, by emotion and by speaker."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from affectd.arrays import Float32
from affectd.features.spec import FeatureSpec
from affectd_train.data.clips import Clip
from affectd_train.data.labels import in_order
from affectd_train.data.recordings import read_each
from affectd_train.reports.plots import figure


@dataclass(frozen=True)
class Measured:
    """A recording."""

    clip: Clip
    seconds: float
    level_dbfs: float | None
    """RMS level without DC offset; None for digital silence and where there is no sound, but a spectrogram."""


def measure(clips: Sequence[Clip]) -> list[Measured]:
    """Read every recording of a corpus, with a progress bar; what cannot be read is left out, and said."""
    spec = FeatureSpec()
    seconds_of_frame = spec.hop_length / spec.sample_rate
    measured = [Measured(clip, clip.n_frames * seconds_of_frame, None) for clip in clips if clip.n_frames is not None]
    heard = {clip.path: clip for clip in clips if not clip.is_logmel}
    for path, samples in read_each(heard, spec.sample_rate, "reading"):
        measured.append(Measured(heard[path], len(samples) / spec.sample_rate, _level(samples)))
    return measured


def sound(measured: Sequence[Measured]) -> Any:
    """Draw durations and levels: by emotion side by side, by speaker below; of spectrograms the durations alone.

    A box is the middle half of the recordings, its line their median, and the whiskers reach to the most distant
    ones within 1.5 times its height.
    """
    is_heard = any(m.level_dbfs is not None for m in measured)
    kinds = [("duration, s", _seconds), *([("level, dBFS", _level_of)] if is_heard else [])]
    picture = figure(11, 8)
    grid = picture.subplots(2, len(kinds), squeeze=False)
    for column, (words, value) in enumerate(kinds):
        for axes, key in zip(grid[:, column], (_emotion, _speaker), strict=True):
            _boxes(axes, measured, key, value)
            axes.set_ylabel(words)
            axes.grid(axis="y", alpha=0.3)
    total, middle = sum(m.seconds for m in measured), float(np.median([m.seconds for m in measured]))
    grid[0, 0].set_title(f"{len(measured)} recordings, {total / 3600:.2f} h, half of them shorter than {middle:.1f} s")
    if is_heard:
        levels = [m.level_dbfs for m in measured if m.level_dbfs is not None]
        grid[0, 1].set_title(f"{min(levels):.0f} to {max(levels):.0f} dBFS, half of them below {np.median(levels):.0f}")
    return picture


def _boxes(
    axes: Any,
    measured: Sequence[Measured],
    key: Callable[[Measured], str],
    value: Callable[[Measured], float | None],
) -> None:
    values: dict[str, list[float]] = {}
    for m in measured:
        if (number := value(m)) is not None:
            values.setdefault(key(m), []).append(number)
    names = in_order(values)  # also of speakers, which are in order
    axes.boxplot([values[name] for name in names], tick_labels=names, flierprops={"marker": ".", "markersize": 2})
    many = len(names)
    axes.tick_params(axis="x", labelrotation=90 if many > 12 else 45, labelsize=8 if many < 40 else 5)


def _emotion(m: Measured) -> str:
    return m.clip.emotion


def _speaker(m: Measured) -> str:
    return m.clip.speaker.split("-", 1)[-1]


def _seconds(m: Measured) -> float:
    return m.seconds


def _level_of(m: Measured) -> float | None:
    return m.level_dbfs


def _level(samples: Float32) -> float | None:
    power = float(samples.var(dtype=np.float64))
    return 10 * math.log10(power) if power > 0 else None
