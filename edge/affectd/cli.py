"""The command line; each command imports what it needs, which keeps ``--help`` fast."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, TextIO

from affectd import __version__
from affectd.bench.command import add_arguments as add_bench_arguments
from affectd.bench.command import run as run_bench
from affectd.errors import UnavailableError, UsageError
from affectd.events.sinks import JsonLines
from affectd.program.arguments import Parser
from affectd.program.commands import add_commands
from affectd.program.guard import guarded, unforeseen
from affectd.stdio import claimed_stdout, log_to_stderr

if TYPE_CHECKING:
    from affectd.config.sections import Config
    from affectd.words.events import Table, Text


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code; a failure is one sentence on stderr."""
    return guarded("affectd", lambda: run(arguments), is_program=arguments is None)


def run(arguments: list[str] | None = None) -> int:
    """Run one command; failures are raised."""
    # Matrix products this small are slower on several threads than on one, and much slower on busy cores.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    log_to_stderr(partial(unforeseen, "affectd"))
    with claimed_stdout() as out:
        options = _parser(out).parse_args(arguments)
        code: int = options.command(options, JsonLines(out))
        return code


def _parser(out: TextIO) -> Parser:
    parser = Parser(JsonLines(out).write_text, _page, prog="affectd")
    parser.add_argument("--version", action="version", version=f"affectd {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_commands(commands, add_bench_arguments)
    for name, command in _COMMANDS.items():
        commands.choices[name].set_defaults(command=command)
    return parser


def _page(command: str) -> tuple[str | None, str | None]:
    """Return what help says above and below the options of a command."""
    from affectd.program.help import PAGES

    page = PAGES.get(command)
    return (None, None) if page is None else (page.about, page.epilog())


def _run(options: argparse.Namespace, out: JsonLines) -> int:
    from affectd.run import serve_each_model

    began = None
    if options.began is not None:
        from affectd.events.trace import began_at

        began = began_at(options.began)
        if _config(options).audio.source == "mic":
            raise UsageError("--began is for a recording: the sound of a microphone is of now.")
    if options.trace == "-" and options.format not in (None, "json"):
        raise UsageError("--trace - prints JSON among the events; with another --format, name a file.")
    words = None if options.trace == "-" else _words(_format(options, out), out)
    printed = JsonLines(out.stream, words.of) if words else out
    serve_each_model(lambda: _config(options), printed, realtime=options.realtime, began=began, trace=options.trace)
    if words and (rest := words.rest()):
        out.write_text(rest)
    return 0


def _words(form: str, out: JsonLines) -> Text | Table | None:
    """Return what puts events into words; None for JSON."""
    if form == "json":
        return None
    # Imported only here: a service must not cost memory for it.
    from affectd.events.event import event_schema
    from affectd.words.events import Table, Text
    from affectd.words.layout import room

    return Text(room(out.stream)) if form == "text" else Table(event_schema()["properties"])


def _watch(options: argparse.Namespace, out: JsonLines) -> int:
    from affectd.screen.watch import watch_here, watch_page

    if options.url is None:
        if options.token_file is not None:
            raise UsageError("--token-file is for a page, whose address --url names.")
        watch_here(lambda: _config(options), out)
        return 0
    if any(getattr(options, name) is not None for name in ("source", "config", "model")):
        raise UsageError("--url is for what another device hears: it goes without --source, --config and --model.")
    watch_page(options.url, options.token_file, out)
    return 0


def _classify(options: argparse.Namespace, out: JsonLines) -> int:
    from affectd.classify import Recordings, Write, classify

    recordings = Recordings(options.paths, together=options.together)
    form = _format(options, out)

    def begin(labels: Sequence[str]) -> Write:
        if form == "json":
            return out.write
        from affectd.words.layout import room
        from affectd.words.recordings import writer

        wide = room(out.stream)
        return writer(labels, is_text=form == "text", paths=recordings.paths, room=wide, show=out.write_text)

    return classify(recordings, _config(options), together=options.together, begin=begin)


def _timeline(options: argparse.Namespace, out: JsonLines) -> int:
    from affectd.timeline.command import run
    from affectd.words.progress import Progress

    with Progress() as progress:
        return run(
            options.paths,
            _config(options),
            out,
            progress.through,
            form=options.format,
            period_seconds=options.period,
            began=options.began,
        )


def _record(options: argparse.Namespace, out: JsonLines) -> int:
    from pathlib import Path

    from affectd.recorder.command import Order, record
    from affectd.timeline.command import run
    from affectd.words.progress import Progress

    order = Order(
        path=Path(options.path),
        seconds=options.seconds,
        label=options.label,
        everyone_knows=options.everyone_knows,
        trim=options.trim,
    )
    config = _config(options)
    record(order, config)
    with Progress() as progress:
        return run([options.path], config, out, progress.through)


def _model(options: argparse.Namespace, out: JsonLines) -> int:
    from affectd.recognition.classifier import load_classifier
    from affectd.recognition.description import describe
    from affectd.recognition.golden import self_test
    from affectd.recognition.model_file import find_model

    config = _config(options).model
    classifier = load_classifier(config)
    description = describe(find_model(config.path), classifier)
    if options.self_test:
        description["self_test"] = self_test(classifier.model, classifier)
    if (form := _format(options, out)) == "json":
        out.write(description)
        return 0
    from affectd.words.layout import room
    from affectd.words.listings import model_rows, model_text

    rows = model_text(description, room(out.stream)) if form == "text" else model_rows(description)
    out.write_text("\n".join(rows))
    return 0


def _baseline(options: argparse.Namespace, out: JsonLines) -> int:
    from affectd.recognition.baseline import learning_head_of
    from affectd.recognition.classifier import load_classifier
    from affectd.recognition.model_file import find_model, read_model
    from affectd.recognition.place import as_text, reset, show

    if options.source is not None and not options.enroll:
        raise UsageError("--source is what --enroll learns from: add --enroll, or leave it out.")
    config = _config(options)
    model = read_model(find_model(config.model.path))
    learning_head_of(model)  # before anything is changed: it may learn nothing
    if options.reset:
        reset(config)
    if options.enroll:
        from affectd.enroll import enroll

        enroll(config, load_classifier(config.model))
    found = show(config, model)
    if options.json:
        out.write(found)
    else:
        out.write_text(as_text(found))
    return 0


def _personalize(options: argparse.Namespace, out: JsonLines) -> int:
    from affectd.personal.command import run

    return run(options.folder, options.out, _config(options), out.write_text)


def _devices(options: argparse.Namespace, out: JsonLines) -> int:
    from affectd.audio.devices import list_microphones

    microphones = [asdict(microphone) for microphone in list_microphones()]
    form = _format(options, out)
    if form == "json":
        for microphone in microphones:
            out.write(microphone)
    else:
        from affectd.words.layout import room
        from affectd.words.listings import devices_rows, devices_text

        wide = room(out.stream)
        for line in devices_text(microphones, wide) if form == "text" else devices_rows(microphones):
            out.write_text(line)
    if not microphones:
        logging.getLogger(__name__).warning("PortAudio finds no microphone")
    return 0


def _show_config(options: argparse.Namespace, out: JsonLines) -> int:
    from affectd.config.loading import as_toml, load_settings

    settings = load_settings(options.config, _given(options))
    if options.json:
        out.write({name: {key: s._asdict() for key, s in keys.items()} for name, keys in settings.items()})
    else:
        out.write_text(as_toml(settings))
    return 0


def _doctor(options: argparse.Namespace, out: JsonLines) -> int:
    from affectd.doctor.checks import as_json, as_text, examine
    from affectd.doctor.device import Device

    code = 0
    for name, finding in examine(Device(config_path=options.config, model_path=options.model)):
        if options.json:
            out.write(as_json(name, finding))
        else:
            out.write_text(as_text(name, finding))
        if finding.grade == "fault":
            code = UnavailableError.exit_code
    return code


def _forget(options: argparse.Namespace, out: JsonLines) -> int:
    from affectd.mqtt.publisher import forget

    forget(_config(options))
    return 0


def _format(options: argparse.Namespace, out: JsonLines) -> str:
    """Return the format asked for, else that of its reader: a person at a terminal, or a program."""
    return options.format or ("text" if out.stream.isatty() else "json")


def _config(options: argparse.Namespace) -> Config:
    """Read the settings, anew at each call."""
    from affectd.config.loading import load_config

    config = load_config(options.config, _given(options))
    if config.mqtt.fleet and config.model.trusted_keys:
        from affectd.delivery.installed import in_force

        config = in_force(config)
    return config


def _given(options: argparse.Namespace) -> dict[tuple[str, str], str]:
    """Return the settings given on the command line."""
    options_of_keys = {("audio", "source"): "source", ("model", "path"): "model"}
    given = {key: getattr(options, option, None) for key, option in options_of_keys.items()}
    given["model", "trusted_keys"] = None if given["model", "path"] is None else ""  # this one, whatever was delivered
    return {key: value for key, value in given.items() if value is not None}


_COMMANDS: dict[str, Callable[[argparse.Namespace, JsonLines], int]] = {
    "run": _run,
    "watch": _watch,
    "classify": _classify,
    "timeline": _timeline,
    "record": _record,
    "model": _model,
    "baseline": _baseline,
    "personalize": _personalize,
    "config": _show_config,
    "doctor": _doctor,
    "bench": run_bench,
    "devices": _devices,
    "forget": _forget,
}
