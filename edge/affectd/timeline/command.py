"""``affectd timeline``: recordings in, their timelines out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from affectd.arrays import Float32
from affectd.audio.source import recording
from affectd.config.sections import Config
from affectd.errors import AffectdError, UsageError
from affectd.events.sinks import JsonLines
from affectd.events.trace import began_at
from affectd.recognition.baseline import at_new_place
from affectd.recognition.classifier import load_classifier
from affectd.recognition.offline import Counted
from affectd.stdio import print_error, writing_results
from affectd.timeline import texts
from affectd.timeline.listening import listen
from affectd.timeline.page import html
from affectd.timeline.picture import svg
from affectd.timeline.strides import trace
from affectd.timeline.summary import Timeline

_OF_SEVERAL: dict[str, Callable[..., str]] = {"table": texts.table, "csv": texts.csv_rows, "json": texts.json_line}
_OF_ONE: dict[str, Callable[..., str]] = {
    "audacity": texts.audacity,
    "textgrid": texts.textgrid,
    "vtt": texts.vtt,
    "svg": svg,
    "html": html,
}
Hear = Callable[[Iterator[Float32], int, float | None, str], Iterator[Float32]]
"""What gets the sound of a recording, its rate in Hz, its length in seconds if that is known, and its path."""

_WITH_PERIODS = ("table", "csv", "json", "svg", "html")
_READER = "affectd timeline -"
_SHORTEST_PERIOD, _LONGEST_PERIOD = 1.0, 86400.0


def run(
    paths: Sequence[str],
    config: Config,
    out: JsonLines,
    hear: Hear,
    *,
    form: str = "table",
    period_seconds: float | None = None,
    began: str | None = None,
) -> int:
    """Write the timeline of each recording to standard output, and return the exit code: of the first that failed.

    Parameters
    ----------
    paths
        WAV files; ``-`` is standard input.
    hear
        Passes the sound of each recording on, and may show how much it was.
    form
        One of `affectd.program.commands.TIMELINE_FORMATS`.
    period_seconds
        The length of a period; None: no periods.
    began
        When the recording began, RFC 3339; None if that is not known.

    Raises
    ------
    UsageError
        These do not go together.
    AffectdError
        The model cannot be run, or standard output not be written.
    """
    when = _checked(paths, form, period_seconds, began)
    classifier = load_classifier(config.model)
    rate = classifier.model.spec.sample_rate
    code, is_first = 0, True
    for path in paths:
        network, ended = at_new_place(classifier)
        try:
            blocks, seconds = recording(path, rate, config.audio.channel, _READER)
            if form == "trace":
                for line in trace(Counted(blocks), network, config, when.timestamp() if when else 0.0, ended):
                    out.write(line)
                continue
            heard = hear(blocks, rate, seconds, path)
            timeline = listen(heard, network, config, path, period_seconds=period_seconds, began=when, ended=ended)
        except AffectdError as error:
            print_error("affectd", str(error))
            code = code or error.exit_code
            continue
        _write(timeline, {**_OF_SEVERAL, **_OF_ONE}[form], out, is_first=is_first)
        is_first = False
    return code


def _write(timeline: Timeline, render: Callable[..., str], out: JsonLines, *, is_first: bool) -> None:
    text = render(timeline, is_first=is_first)
    with writing_results():
        out.stream.write(text)
        out.stream.flush()


def _checked(paths: Sequence[str], form: str, period_seconds: float | None, began: str | None) -> datetime | None:
    """Return when the recording began, with a time zone; None if that is not known."""
    if len(paths) > 1 and form not in _OF_SEVERAL:
        raise UsageError(f"--format {form} holds one recording: call it once for each FILE")
    if paths.count("-") > 1:
        raise UsageError("standard input can be read only once")
    if period_seconds is not None:
        if form not in _WITH_PERIODS:
            raise UsageError(f"--period goes with --format {', '.join(_WITH_PERIODS)}, not with {form}")
        if not _SHORTEST_PERIOD <= period_seconds <= _LONGEST_PERIOD:
            raise UsageError(f"--period must be from {_SHORTEST_PERIOD:g} to {_LONGEST_PERIOD:g} seconds")
    if began is None:
        return None
    if len(paths) > 1:
        raise UsageError("--began is the time of one recording: call it once for each FILE")
    began_at(began)  # says what is wrong with it
    given = datetime.fromisoformat(began)
    return given if given.tzinfo else given.astimezone()
