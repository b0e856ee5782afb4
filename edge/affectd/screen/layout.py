"""The picture of a `View` for a terminal of any size: lines of pieces of text, each with a style.

In doubt no bar is solid; so it can be told without colors too.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import wrap

from affectd.recognition.affect import COORDINATES
from affectd.screen import words
from affectd.screen.view import View
from affectd.stdio import fitting, shortened, width_of

Piece = tuple[str, str]
"""Text and its style: ``strong``, ``faint``, ``good``, ``doubt``, ``bad``, or empty."""
Line = list[Piece]

_LOWEST_DBFS = -90.0
_LOUD_DBFS = -6.0
_SCALE_DBFS = (-90, -75, -60, -45, -30, -15, 0)
_NAME_COLUMNS = 12
_NUMBER_COLUMNS = 8
_NOW_COLUMNS = 10
_MOST_HINT_LINES = 4
# On narrower ones a name would leave no room for what it names.
_NAMED_COLUMNS = 40
_GATE_SHUT, _TOO_SHORT = "waiting for speech", "speech, too short yet to tell"


@dataclass(frozen=True)
class Signs:
    """The characters of the picture."""

    solid: str
    hatched: str
    empty: str
    mark: str
    threshold: str


BLOCKS = Signs("█", "▒", "·", "│", "¦")
"""Even the fonts of Linux's console have these."""
ASCII = Signs("#", "/", ".", "|", ":")
"""For terminals without UTF-8."""


def picture(view: View, columns: int, rows: int, signs: Signs = BLOCKS) -> list[Line]:
    """Return at most `rows` lines, each of at most `columns` characters."""
    hint = words.hint(view.microphone)
    sections: dict[str, list[Line]] = {
        "title": [_title(view, columns)],
        "sound": [_named("Sound", _sound(view), columns)],
        "level": [_level(view, columns, signs)],
        "scale": [_scale(columns)],
        "gate": [_named("Gate", _gate(view), columns)],
        "space before voice": [[]],
        "voice": [_named("Voice", _voice(view), columns)],
        "bars": _bars(view, columns, signs, rows),
        "space before affect": [[]],
        "affect": _affect(view, columns, signs),
        "hint": [[(line, "doubt")] for line in wrap(hint, max(columns, 20))[:_MOST_HINT_LINES]],
        "space before events": [[]],
        "events": [[("Last events", "strong")], *_events(view, rows)],
        "end": [_end(view, columns, signs)],
    }
    heights = _heights({name: len(lines) for name, lines in sections.items()}, rows)
    lines = [line for name, section in sections.items() for line in section[: heights[name]]]
    return [clipped(line, columns) for line in lines]


def clipped(line: Line, columns: int) -> Line:
    """Return the part of a line that fits."""
    found: Line = []
    for text, style in line:
        if columns > 0:
            found.append((text if width_of(text) <= columns else fitting(text, columns), style))
        columns -= width_of(text)
    return found


def _heights(wanted: dict[str, int], rows: int) -> dict[str, int]:
    """Share out the rows, to the most important sections first; events take what is left."""
    heights = dict.fromkeys(wanted, 0)

    def give(name: str, n: int) -> None:
        nonlocal rows
        n = min(n, wanted[name] - heights[name], rows)
        heights[name] += n
        rows -= n

    for name in ("voice", "level", "sound", "bars", "hint", "gate", "affect", "end", "title"):
        give(name, wanted[name])
    if rows > 1:
        give("events", 4)
    for name in ("space before voice", "space before events", "scale", "space before affect", "events"):
        give(name, wanted[name])
    return heights


def _named(name: str, line: Line, columns: int) -> Line:
    return [(f"{name:{_NAME_COLUMNS}s}", ""), *line] if columns >= _NAMED_COLUMNS else line


def _title(view: View, columns: int) -> Line:
    left, right = f"affectd watch  {view.device}", words.duration(view.seconds)
    return [(left, "strong"), (" " * max(1, columns - width_of(left) - len(right)), ""), (right, "")]


def _sound(view: View) -> Line:
    if trouble := view.trouble():
        return [(f"{view.address}: {trouble}", "bad")]
    source = f"{view.address}, {view.source}" if view.address else view.source
    state = view.microphone.get("state")
    if not state:
        return [(source, "")]
    style = "good" if state == "healthy" else "doubt" if state in ("degraded", "recovering", "muted") else "bad"
    return [(f"{source}: ", ""), (words.condition(view.microphone), style)]


def _level(view: View, columns: int, signs: Signs) -> Line:
    width = _level_columns(columns)
    level = view.level_dbfs
    n = 0 if level is None else round(width * min(1.0, max(0.0, 1 - level / _LOWEST_DBFS)))
    style = "bad" if level is not None and level > _LOUD_DBFS else "good"
    number: Piece = (f" {level:5.1f} dBFS", "") if level is not None else (" no sound", "bad")
    bar: Line = [(signs.solid * n, style), (signs.empty * (width - n), "faint")]
    return _named("Level", bar if view.is_open is None else [*bar, number], columns)


def _scale(columns: int) -> Line:
    """Return the numbers below the level, each where the bar of that level ends."""
    width, scale = _level_columns(columns), ""
    for dbfs in _SCALE_DBFS:
        at = max(0, round(width * (1 - dbfs / _LOWEST_DBFS)) - 1)
        if not scale or at >= len(scale) + 2:
            scale = f"{scale:{at}s}{dbfs}"
    return _named("", [(scale, "faint")], columns)


def _level_columns(columns: int) -> int:
    return max(0, columns - len(" -12.3 dBFS") - (_NAME_COLUMNS if columns >= _NAMED_COLUMNS else 0))


def _gate(view: View) -> Line:
    if view.is_open is None:
        return [("no sound yet", "faint")]
    return [(f"open for {view.open_seconds:.1f} s", "good")] if view.is_open else [("shut", "faint")]


def _voice(view: View) -> Line:
    said = words.verdict(view.label, view.probability, view.smoothed)
    if view.is_named:
        return [(said, "good strong")]
    if said:
        return [(said, "doubt")]
    return [("" if view.is_open is None else _TOO_SHORT if view.is_open else _GATE_SHUT, "faint")]


def _bars(view: View, columns: int, signs: Signs, rows: int) -> list[Line]:
    """Return a bar for each label; if there are too many for the screen, of the most probable ones."""
    labels = list(view.labels)
    if len(labels) > max(1, rows - 3):
        likely = sorted(labels, key=lambda label: -view.smoothed.get(label, 0.0))[: max(1, rows - 3)]
        labels = [label for label in labels if label in likely]
    # As wide as the longest name, if that leaves the bars two thirds.
    names = max(_NAME_COLUMNS, min(columns // 3, 1 + max(map(width_of, labels), default=0)))
    return [_bar(view, label, columns, signs, names) for label in labels]


def _bar(view: View, label: str, columns: int, signs: Signs, names: int) -> Line:
    has_now = columns >= 50
    width = max(0, columns - names - _NUMBER_COLUMNS - (_NOW_COLUMNS if has_now else 0))
    share, now = view.smoothed.get(label), view.raw.get(label)
    is_named = view.is_named and label == view.label
    style = "good" if is_named else "doubt" if not view.is_named else "faint"
    cells: list[Piece] = [(signs.empty, "faint")] * width
    n = round(width * (share or 0.0))
    cells[:n] = [(signs.solid if is_named else signs.hatched, style)] * n
    if view.threshold is not None and width:
        at = min(width - 1, round(width * view.threshold))
        if at >= n:
            cells[at] = (signs.threshold, "faint")
    if now is not None and width:
        cells[min(width - 1, round(width * now))] = (signs.mark, "strong")
    numbers = "" if share is None else f"  {words.percent(share)}"
    recent = f"  now {words.percent(now)}" if now is not None and has_now else ""
    name = shortened(label, names - 1)
    space = " " * (names - width_of(name))
    return [(name + space, "strong" if is_named else ""), *_joined(cells), (numbers, ""), (recent, "faint")]


def _affect(view: View, columns: int, signs: Signs) -> list[Line]:
    if not COORDINATES.keys() >= {*view.labels}:
        return []  # a model with labels of its own has neither
    return [
        _axis("Valence", view.valence, ("unpleasant", "pleasant"), columns, signs),
        _axis("Arousal", view.arousal, ("calm", "excited"), columns, signs),
    ]


def _axis(name: str, value: float | None, ends: tuple[str, str], columns: int, signs: Signs) -> Line:
    """Return a line from -1 to 1 with a mark at the value."""
    left, right = (f"{ends[0]:>10s} ", f" {ends[1]:8s}") if columns >= 50 else ("", "")
    width = max(0, columns - _NAME_COLUMNS - len(left) - len(right) - _NUMBER_COLUMNS)
    cells: list[Piece] = [(signs.empty, "faint")] * width
    if width:
        cells[width // 2] = (signs.mark, "faint")
        if value is not None:
            cells[round((width - 1) * (min(1.0, max(-1.0, value)) + 1) / 2)] = (signs.solid, "strong")
    number = "" if value is None else f"  {value:+.2f}"
    line = [(left, "faint"), *_joined(cells), (right, "faint"), (number, "")]
    return [(f"{name:{_NAME_COLUMNS}s}", ""), *line]


def _events(view: View, rows: int) -> list[Line]:
    """Return the newest events first, and empty lines, so that what is below stays where it is."""
    newest: list[Line] = [[(f"{when:8s}  ", "faint"), (said, "")] for when, said in reversed([*view.happened])]
    return newest[:rows] + [[]] * (rows - len(newest))


def _end(view: View, columns: int, signs: Signs) -> Line:
    if note := view.latest_note():
        return [(note, "doubt")]
    legend = f"{signs.solid} named  {signs.hatched} in doubt  {signs.mark} now"
    if view.threshold is not None:
        legend += f"  {signs.threshold} named from {words.percent(view.threshold).strip()}"
    end = "Ctrl-C ends"
    gap = columns - len(legend) - len(end)
    return [(legend, "faint"), (" " * gap, ""), (end, "faint")] if gap > 1 else [(end, "faint")]


def _joined(cells: list[Piece]) -> Line:
    """Put neighbors of the same style together."""
    line: Line = []
    for text, style in cells:
        if line and line[-1][1] == style:
            line[-1] = (line[-1][0] + text, style)
        else:
            line.append((text, style))
    return line
