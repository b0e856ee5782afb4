"""A timeline as one page of HTML that loads nothing: the picture, a cursor that plays the recording, tables."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from affectd.files import sha256
from affectd.stdio import printable
from affectd.timeline.envelope import MOST_COLUMNS
from affectd.timeline.picture import Layout, description, legend, names, plot, style
from affectd.timeline.summary import Period, Segment, Timeline
from affectd.timeline.words import OF_WORDS, clock, has_affect, headline, percent, place, recording, signed, sound


def html(timeline: Timeline, *, is_first: bool) -> str:
    """Return the page; the sound is not in it, and what it holds runs by its digest alone."""
    layout, script = Layout(timeline), _file("page.js")
    css = f":root {{ --names: {layout.names_width}px }}\n{style(timeline)}{_file('page.css')}"
    began = timeline.began
    midnight = None if began is None else began.replace(hour=0, minute=0, second=0, microsecond=0)
    since = "" if began is None or midnight is None else f"{(began - midnight).total_seconds():g}"
    return _filled(
        _file("page.html"),
        title=escape(recording(timeline)),
        headline=escape(headline(timeline)).replace(" %", "&nbsp;%"),
        description=description(timeline),
        seconds=f"{timeline.seconds:g}",
        # What an arrow key moves by.
        step="0.1" if timeline.seconds < 60 else "1",
        began=since,
        height=str(layout.height),
        names_width=str(layout.names_width),
        names="".join(names(timeline, layout)),
        plot="".join(plot(timeline, layout, MOST_COLUMNS)),
        legend=legend(timeline),
        shares=_shares(timeline),
        periods=_periods(timeline),
        segments=_segments(timeline),
        model=escape(timeline.model),
        style=css,
        style_hash=_digest(css),
        script=script,
        script_hash=_digest(script),
    )


def _filled(template: str, **values: str) -> str:
    """Put each value in the place of its name in braces, once, so that a value may hold braces itself."""
    parts = template.split("{")
    filled = [parts[0]]
    for part in parts[1:]:
        name, rest = part.split("}", 1)
        filled += [values[name], rest]
    return "".join(filled)


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}"


def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8")


def _shares(timeline: Timeline) -> str:
    titles, whole = ("sounds", "time", "share"), timeline.whole
    rows = [(label, clock(whole.label_seconds[label]), percent(whole.share(label))) for label in timeline.shown_labels]
    return _table("The speech by how it sounds", titles, (_row(titles, row) for row in rows))


def _periods(timeline: Timeline) -> str:
    if not timeline.periods:
        return ""
    labels = timeline.shown_labels
    affect = ("valence", "arousal") if has_affect(timeline) else ()
    titles = ("from", "to", "speech", *labels, "best guess", *affect)

    def row(period: Period) -> str:
        shares = (percent(period.share(label)) if period.speech_seconds else "" for label in labels)
        times = (place(timeline, period.start_seconds), place(timeline, period.end_seconds))
        about = (period.best_guess or "", *(signed(period.affect()[name]) for name in affect))
        return _row(titles, (*times, clock(period.speech_seconds), *shares, *about))

    table = _table("Shares of the speech in each period", titles, map(row, timeline.periods))
    return f'<section aria-labelledby="by-period">\n<h2 id="by-period">By period</h2>\n{table}\n</section>\n'


def _segments(timeline: Timeline) -> str:
    affect = ("valence", "arousal") if has_affect(timeline) else ()
    titles = ("from", "to", "sounds", "probability", *affect)

    def row(segment: Segment) -> str:
        told = printable(sound(segment))
        times = f'data-start="{segment.start_seconds:g}" data-end="{segment.end_seconds:g}"'
        about = (percent(segment.probability), *(signed(getattr(segment, name)) for name in affect))
        return _row(
            titles,
            (place(timeline, segment.start_seconds, 1), place(timeline, segment.end_seconds, 1), told, *about),
            f' {times} data-sounds="{escape(told)}"',
        )

    return _table("Press a time to go there", titles, map(row, timeline.segments))


def _table(caption: str, titles: Sequence[str], rows: Iterable[str]) -> str:
    body = "".join(rows)
    if not body:
        return "<p>There is no speech in it.</p>"
    head = "".join(f'<th scope="col"{_kind(title)}>{escape(printable(title))}</th>' for title in titles)
    return (
        f'<div class="scroll" role="region" aria-label="{escape(caption)}" tabindex="0"><table>\n'
        f"<caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>"
    )


def _row(titles: Sequence[str], cells: Sequence[str], about: str = "") -> str:
    """Return a row; the first cell of one that is `about` a time goes there."""
    texts = [escape(printable(cell)) for cell in cells]
    if about:
        texts[0] = f'<button type="button">{texts[0]}</button>'
    columns = zip(titles, texts, strict=True)
    return f"<tr{about}>{''.join(f'<td{_kind(title)}>{text}</td>' for title, text in columns)}</tr>\n"


def _kind(title: str) -> str:
    return "" if title in OF_WORDS else ' class="number"'
