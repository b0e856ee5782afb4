"""A timeline as a picture: the waveform's envelope, a row for each label, arousal and valence, the shares by period.

A label is told by its row, not by its color alone. Doubt is hatched in grey, in the row of the best guess. Places along
the time are percentages, so the page may stretch the picture without stretching its texts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import numpy as np

from affectd.recognition.smoothing import UNCERTAIN
from affectd.stdio import printable, shortened, width_of
from affectd.timeline.summary import Segment, Timeline
from affectd.timeline.words import clock, has_affect, headline, percent, place, recording, sound

PLOT_WIDTH = 1100
_LEAST_NAMES, _MOST_NAMES, _CHARACTER = 100, 220, 7.5  # pixels
_SOUND = (8, 72)
_ROWS_TOP, _ROW, _BAR = 88, 22, 16
_AFFECT_HEIGHT, _SHARES_HEIGHT, _GAP, _AXIS = 120, 64, 16, 26
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
_MOST_TICKS = 10

_COLORS = {
    "neutral": ("#66727e", "#a9b4bf"),
    "calm": ("#15808f", "#4cc2d4"),
    "happy": ("#a87400", "#f0bf45"),
    "sad": ("#3463c2", "#7ea8f2"),
    "angry": ("#cf3338", "#ff7f82"),
    "fearful": ("#8350cf", "#b99cf6"),
    "disgust": ("#3a8a3a", "#80cf7d"),
    "surprised": ("#c9571a", "#ff9f60"),
}


class Layout:
    """Where the rows of the picture lie, in pixels from its top."""

    def __init__(self, timeline: Timeline) -> None:
        self.labels = timeline.labels
        longest = max(map(width_of, map(printable, self.labels)))
        self.names_width = min(_MOST_NAMES, max(_LEAST_NAMES, math.ceil(_CHARACTER * longest) + 10))
        bottom = _ROWS_TOP + _ROW * len(self.labels)
        self.affect = (bottom + _GAP, bottom + _GAP + _AFFECT_HEIGHT) if has_affect(timeline) else None
        bottom = bottom if self.affect is None else self.affect[1]
        self.shares = (bottom + _GAP, bottom + _GAP + _SHARES_HEIGHT) if timeline.periods else None
        self.bottom = bottom if self.shares is None else self.shares[1]
        self.height = self.bottom + _AXIS

    def row(self, label: str) -> int:
        """Return the upper edge of the row of a label."""
        return _ROWS_TOP + _ROW * self.labels.index(label)


def svg(timeline: Timeline, *, is_first: bool) -> str:
    """Return the picture as a file of its own, for light and dark."""
    layout = Layout(timeline)
    top, margin = 66, 14
    width, height = margin + layout.names_width + PLOT_WIDTH + margin, top + layout.height + 4
    return "".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" role="img" aria-labelledby="title">\n',
            f'<title id="title">{description(timeline)}</title>\n',
            f"<style>\n{style(timeline)}</style>\n",
            f'<rect class="panel" width="{width}" height="{height}"/>\n',
            f'<text class="head" x="{margin}" y="26">{escape(recording(timeline))}: '
            f"{escape(headline(timeline))}</text>\n",
            f'<rect class="doubt" x="{margin}" y="38" width="26" height="14"/>',
            _text("note", str(margin + 34), 49, legend(timeline)),
            f'<svg x="{margin}" y="{top}" width="{layout.names_width}" height="{layout.height}">\n',
            *names(timeline, layout),
            "</svg>\n",
            f'<svg x="{margin + layout.names_width}" y="{top}" width="{PLOT_WIDTH}" height="{layout.height}">\n',
            *plot(timeline, layout, 2 * PLOT_WIDTH),
            "</svg>\n</svg>\n",
        ]
    )


def legend(timeline: Timeline) -> str:
    """Return what the hatching means, and what to look at where there is nothing else."""
    text = "Hatched: uncertain, in the row of the best guess."
    return f"{text} Where most is, compare arousal rather than labels." if has_affect(timeline) else text


def description(timeline: Timeline) -> str:
    """Return the picture in words, escaped."""
    return escape(f"How {recording(timeline)} sounds over time: {headline(timeline)}")


def style(timeline: Timeline) -> str:
    """Return the style of the picture and the colors of the labels."""
    known = _colors(timeline.labels)
    light = " ".join(f".c{k} {{ fill: {color} }}" for k, (color, _) in enumerate(known))
    dark = " ".join(f".c{k} {{ fill: {color} }}" for k, (_, color) in enumerate(known))
    text = Path(__file__).with_name("picture.css").read_text("utf-8")
    return f"{text}{light}\n@media (prefers-color-scheme: dark) {{ {dark} }}\n"


def _colors(labels: Sequence[str]) -> list[tuple[str, str]]:
    """Return a color of its own for each label, on light and on dark: of many those around the circle."""
    if len({*labels, *_COLORS}) > len(_COLORS) < len(labels):
        hues = [round(360 * k / len(labels) + 20) % 360 for k in range(len(labels))]
        return [(f"hsl({h} 60% {(44, 30)[k % 2]}%)", f"hsl({h} 70% {(78, 60)[k % 2]}%)") for k, h in enumerate(hues)]
    free = [color for label, color in _COLORS.items() if label not in labels]
    return [_COLORS[label] if label in _COLORS else free.pop(0) for label in labels]


def names(timeline: Timeline, layout: Layout) -> Iterator[str]:
    """Draw the names of the rows."""
    yield _text("name", "0", sum(_SOUND) / 2 + 4, "sound")
    most = int((layout.names_width - 10) / _CHARACTER)
    for label in layout.labels:
        yield _text("name", "0", layout.row(label) + _BAR - 3, shortened(printable(label), most))
    if layout.affect:
        middle = sum(layout.affect) / 2
        yield f'<line class="arousal" x1="0" x2="16" y1="{middle - 15}" y2="{middle - 15}"/>\n'
        yield _text("name", "22", middle - 11, "arousal")
        yield f'<line class="valence" x1="0" x2="16" y1="{middle + 9}" y2="{middle + 9}"/>\n'
        yield _text("name", "22", middle + 13, "valence")
    if layout.shares:
        yield _text("name", "0", sum(layout.shares) / 2 - 3, "share of")
        yield _text("name", "0", sum(layout.shares) / 2 + 12, "the speech")


def plot(timeline: Timeline, layout: Layout, most_columns: int) -> Iterator[str]:
    """Draw everything that has a time, the envelope in at most so many columns."""
    yield (
        '<defs><pattern id="doubt" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<path class="hatch" d="M0 0V5"/></pattern></defs>\n'
    )
    for label in layout.labels:
        yield f'<rect class="row" x="0" width="100%" y="{layout.row(label)}" height="{_BAR}"/>\n'
    yield from axis(timeline, layout)
    yield from envelope(timeline, most_columns)
    for segment in timeline.segments:
        yield from _segment(segment, timeline, layout)
    if layout.affect:
        yield from curves(timeline, *layout.affect)
    if layout.shares:
        yield from _shares(timeline, *layout.shares)


def envelope(timeline: Timeline, most_columns: int) -> Iterator[str]:
    """Draw the envelope, as tall as the row at the loudest sample."""
    peaks = timeline.envelope
    if peaks is None or not len(peaks) or not timeline.seconds:
        return
    joined = -(-len(peaks) // most_columns)
    peaks = np.pad(peaks, (0, -len(peaks) % joined)).reshape(-1, joined).max(axis=1)
    loudest = float(peaks.max()) or 1.0
    heights = [round(100 * float(peak) / loudest) or 1 for peak in peaks]
    above = "".join(f"V{100 - height}h1" for height in heights)
    below = "".join(f"V{100 + height}h-1" for height in reversed(heights))
    top, bottom = _SOUND
    width = timeline.seconds / timeline.column_seconds / joined
    yield (
        f'<svg x="0" y="{top}" width="100%" height="{bottom - top}" viewBox="0 0 {width:g} 200" '
        f'preserveAspectRatio="none"><path class="wave" d="M0 100{above}{below}z"/></svg>\n'
    )


def axis(timeline: Timeline, layout: Layout) -> Iterator[str]:
    """Draw the time."""
    step = next((s for s in _STEPS if timeline.seconds / s <= _MOST_TICKS), _STEPS[-1])
    yield '<g id="axis">\n'
    for k in range(int(timeline.seconds / step) + 1):
        at = _x(k * step, timeline)
        anchor = "start" if k == 0 else "end" if timeline.seconds - k * step < step / 4 else "middle"
        text = place(timeline, k * step) if step >= 1 else clock(k * step, 1)
        yield f'<line class="tick" x1="{at}" x2="{at}" y1="{_SOUND[0]}" y2="{layout.bottom + 6}"/>\n'
        yield _text(f"time {anchor}", at, layout.bottom + 20, text)
    yield "</g>\n"


def _segment(segment: Segment, timeline: Timeline, layout: Layout) -> Iterator[str]:
    y = layout.row(segment.best_guess)
    kind = f"c{timeline.labels.index(segment.best_guess)}" if segment.is_certain else "doubt"
    times = f"{place(timeline, segment.start_seconds, 1)} to {place(timeline, segment.end_seconds, 1)}"
    told = escape(f"{times}: {printable(sound(segment))}, {percent(segment.probability)}")
    where = _span(segment.start_seconds, segment.end_seconds, timeline)
    yield f'<rect class="{kind}" {where} y="{y}" height="{_BAR}"><title>{told}</title></rect>\n'


def curves(timeline: Timeline, top: float, bottom: float) -> Iterator[str]:
    """Draw arousal and valence, from the middle of a stride to that of the next, if the gate stays open."""
    values = np.array(timeline.curve, np.float32).reshape(-1, 4)
    half = (bottom - top) / 2
    yield f'<line class="zero" x1="0" x2="100%" y1="{top + half}" y2="{top + half}"/>\n'
    yield (
        f'<svg x="0" y="{top}" width="100%" height="{bottom - top}" viewBox="0 0 {timeline.seconds} {bottom - top}" '
        'preserveAspectRatio="none">\n'
    )
    for name, column in (("arousal", 3), ("valence", 2)):
        parts, before = [], -1.0
        for start, end, value in values[:, (0, 1, column)].tolist():
            parts.append(f"{'L' if start == before else 'M'}{(start + end) / 2:.2f} {half - half * value:.1f}")
            before = end
        yield f'<path class="{name}" d="{"".join(parts)}"/>\n'
    yield "</svg>\n"


def _shares(timeline: Timeline, top: float, bottom: float) -> Iterator[str]:
    yield f'<rect class="row" x="0" width="100%" y="{top}" height="{bottom - top}"/>\n'
    for period in timeline.periods:
        above = float(bottom)
        for label in (*timeline.labels, UNCERTAIN):
            height = period.share(label) * (bottom - top)
            if not height:
                continue
            above -= height
            kind = "doubt" if label == UNCERTAIN else f"c{timeline.labels.index(label)}"
            times = f"{place(timeline, period.start_seconds)} to {place(timeline, period.end_seconds)}"
            told = escape(f"{times}: {printable(label)} {percent(period.share(label))}")
            where = _span(period.start_seconds, period.end_seconds, timeline)
            yield f'<rect class="{kind}" {where} y="{above:.1f}" height="{height:.1f}"><title>{told}</title></rect>\n'


def _span(start: float, end: float, timeline: Timeline) -> str:
    return f'x="{_x(start, timeline)}" width="{_x(end - start, timeline)}"'


def _x(seconds: float, timeline: Timeline) -> str:
    return f"{100 * seconds / (timeline.seconds or 1.0):.4f}".rstrip("0").rstrip(".") + "%"


def _text(kind: str, x: str, y: float, text: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y:g}">{escape(text)}</text>\n'
