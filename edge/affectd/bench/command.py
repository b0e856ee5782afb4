"""`affectd bench`: cost on this board, without a network, in less than two minutes.

NumPy is imported only in `run`, which sets the number of its threads first.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import FrameType
from typing import Any

from affectd.errors import DataError, NoInputError, UsageError
from affectd.events.sinks import JsonLines
from affectd.files import read_file

FORMAT = 1
_MOST_BYTES = 1_000_000
WORDS_SECONDS = 24.0
_MOST = {"threads": 64, "seconds": 3600, "hours": 1000}

_log = logging.getLogger(__name__)

Report = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `run`."""
    parser.add_argument("--model", metavar="FILE", help="model file (default: the one that came with affectd)")
    parser.add_argument("--json", action="store_true", help="as one JSON object instead of a table")
    parser.add_argument("--compare", metavar="FILE", help="an earlier --json, to say how much it costs now")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of NumPy and network (default: 1)")
    parser.add_argument(
        "--seconds", type=float, default=12.0, metavar="S", help="time to listen to each sound (default: 12)"
    )
    parser.add_argument(
        "--hours", type=float, default=1 / 6, metavar="H", help="of sound to process in one go (default: 1/6)"
    )
    parser.add_argument("--speech", nargs="+", default=[], metavar="WAV", help="recordings to play (default: built in)")


def run(options: argparse.Namespace, out: JsonLines) -> int:
    """Measure, print, and return the exit code."""
    for name, most in _MOST.items():
        if not 0 < getattr(options, name) <= most:
            raise UsageError(f"--{name} must be above 0, and at most {most}.")
    if options.model == "":  # of a variable that is not set
        raise UsageError("--model: the name is empty.")
    baseline = None if options.compare is None else read_report(options.compare)
    # Before NumPy is imported; the service inherits it.
    os.environ["OPENBLAS_NUM_THREADS"] = str(options.threads)
    with _ended_by_signals():
        report = measure(options.model or "", options.threads, options.seconds, options.hours, options.speech)
    if baseline is not None:
        report["compared"] = compare(report, baseline)
    if options.json:
        out.write(report)
    else:
        out.write_text(as_text(report))
    return 0


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the ``with`` block as an exception does, so that no service and no folder is left."""
    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) == signal.SIG_DFL]

    def end(number: int, frame: FrameType | None) -> None:
        for each in numbers:  # a second one must not cut that off
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)

    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def measure(
    model_path: str = "", threads: int = 1, seconds: float = 12.0, hours: float = 1 / 6, speech: list[str] | None = None
) -> Report:
    """Measure everything: the service for `seconds` per sound, the pipeline on `hours` of sound.

    `speech` are WAV files to play in place of the clip in the model file; `threads` are those of the network.
    """
    from affectd.bench import board, service, sounds, stages
    from affectd.config.sections import ModelConfig
    from affectd.recognition.classifier import load_classifier
    from affectd.recognition.model_file import find_model

    path = find_model(model_path)
    classifier = load_classifier(ModelConfig(path=model_path), threads)
    model = classifier.model
    clips = sounds.speech_clips(model, speech or [])
    rate = model.spec.sample_rate
    report: Report = {
        "format": FORMAT,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "board": board.board(),
        "libraries": board.libraries(classifier),
        "before": board.condition(),
        "model_bytes": path.stat().st_size,
        "footprint_mb": board.footprint(),
    }
    _log.info("each stage")
    report["stages"] = stages.stages(classifier, clips)
    report["real_time_factor"] = stages.real_time_factors(classifier, clips)
    _log.info("%.3g hours of sound in one go", hours)
    report["growth"] = stages.growth(classifier, clips, hours)
    _log.info("cold start")
    report["start"] = service.cold_start(model_path)
    report["mqtt"] = service.has_mqtt()
    playing = sounds.sounds(clips, rate, seconds + 2 * service.SETTLE_SECONDS)
    report["service"] = {}
    for name, samples in playing.items():
        _log.info("listening to %s for %g s", name, seconds)
        report["service"][name] = service.listening(samples, model_path, seconds)
    _log.info("latency")
    each_once = sum(len(clip) / rate + sounds.PAUSE_SECONDS for clip in clips)
    words = sounds.words(clips, rate, each_once if speech else min(WORDS_SECONDS, 2 * seconds))
    report["latency"] = service.latency(words, model_path, model)
    report["after"] = board.condition()
    return report


def read_report(path: str) -> Report:
    """Read what ``--json`` wrote.

    Raises
    ------
    NoInputError, DataError
        The file cannot be read, or is not a report.
    """
    try:
        report = json.loads(read_file(path, _MOST_BYTES).decode())
    except OSError as error:
        raise NoInputError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}.") from error
    if not isinstance(report, dict) or report.get("format") != FORMAT:
        raise DataError(f"{path} is no report of affectd bench in format {FORMAT}.")
    return report


_COMPARED = ("stages", "real_time_factor", "start", "service", "latency", "model_bytes", "footprint_mb")


def compare(report: Report, baseline: Report) -> dict[str, dict[str, float]]:
    """Return ``before``, ``now`` and ``ratio`` of every cost that both reports have, by name."""
    old = dict(_figures({key: baseline.get(key, {}) for key in _COMPARED}))
    return {
        name: {"before": old[name], "now": now, "ratio": round(now / old[name], 3)}
        for name, now in _figures({key: report[key] for key in _COMPARED})
        if old.get(name, 0) > 0
    }


def _figures(value: object, name: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _figures(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield name, value


def as_text(report: Report) -> str:
    """Format a report as text."""
    from affectd.bench.report import text

    return text(report)
