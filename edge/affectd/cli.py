"""The command line; each command imports what it needs, which keeps ``--help`` fast."""

from __future__ import annotations

import argparse
import logging
import os
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, TextIO

from affectd import __version__
from affectd.bench.command import add_arguments as add_bench_arguments
from affectd.bench.command import run as run_bench
from affectd.errors import AffectdError, UnavailableError, UsageError
from affectd.events.sinks import JsonLines
from affectd.program.arguments import Parser
from affectd.program.guard import guarded, unforeseen
from affectd.stdio import claimed_stdout, log_to_stderr, print_error

if TYPE_CHECKING:
    from affectd.config.sections import Config
    from affectd.recognition.classifier import Network

TIMELINE_FORMATS = ("table", "csv", "json", "trace", "audacity", "textgrid", "vtt", "svg", "html")


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
    description = "Speech emotion recognition: sound in, emotion events out."
    parser = Parser(JsonLines(out).write_text, prog="affectd", description=description)
    parser.add_argument("--version", action="version", version=f"affectd {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    settings = Parser(add_help=False)
    settings.add_argument("--config", metavar="FILE", help="settings (default: /etc/affectd/affectd.toml if it exists)")
    settings.add_argument("--model", metavar="FILE", help="model file (default: the one that came with affectd)")
    source = Parser(add_help=False)
    source.add_argument(
        "--source", metavar="mic|FILE|-", help="microphone, WAV file, or - for stdin: WAV or raw 16-bit mono PCM"
    )

    parents = [source, settings]
    run = commands.add_parser("run", parents=parents, help="print events as JSON lines until the sound ends")
    run.add_argument("--realtime", action="store_true", help="play a file at the speed it was recorded")
    run.add_argument("--began", metavar="TIME", help="when the recording began: its events carry the time of the sound")
    run.add_argument("--trace", metavar="FILE|-", help="also one JSON line a stride: what is heard, believed, and why")
    run.set_defaults(command=_run)

    watch = commands.add_parser("watch", parents=parents, help="show on this terminal what is heard, live")
    watch.add_argument("--url", metavar="URL", help="what another device hears: the address of its page")
    watch.add_argument("--token-file", metavar="FILE", help="the token of that page")
    watch.set_defaults(command=_watch)

    classify = commands.add_parser("classify", parents=[settings], help="print one JSON line per recording")
    classify.add_argument("paths", metavar="PATH", nargs="+", help="WAV file")
    classify.add_argument(
        "--together", action="store_true", help="they are of one place: get to know it from all first"
    )
    classify.set_defaults(command=_classify)

    timeline = commands.add_parser("timeline", parents=[settings], help="show how recordings sound over time")
    timeline.add_argument("paths", metavar="FILE", nargs="+", help="WAV file, or - for stdin")
    words = "table for people (default), csv, json, trace: a JSON line a stride; audacity, textgrid, vtt, svg, html"
    timeline.add_argument("--format", choices=TIMELINE_FORMATS, metavar="FORMAT", default="table", help=words)
    words = "shares of the speech in each period of so many seconds, such as 60"
    timeline.add_argument("--period", metavar="SECONDS", type=float, help=words)
    timeline.add_argument("--began", metavar="TIME", help="when the recording began, for the times of day")
    timeline.set_defaults(command=_timeline)

    record = commands.add_parser(
        "record", parents=[settings], help="record the microphone, once everyone in the room knows"
    )
    record.add_argument("path", metavar="OUT.wav", help="the recording; OUT.json beside it says what is known of it")
    record.add_argument("--seconds", type=float, required=True, metavar="N", help="how long, at most 600")
    record.add_argument("--label", help="how the speaker sounds, in one of the model's words or another")
    record.add_argument("--trim", action="store_true", help="drop the silence before the first word and after the last")
    record.add_argument("--everyone-knows", action="store_true", help="everyone who can be heard knows; else it asks")
    record.set_defaults(command=_record)

    show = commands.add_parser("model", parents=[settings], help="describe the model")
    show.add_argument("--self-test", action="store_true", help="replay the golden vectors on this device")
    show.set_defaults(command=_model)

    baseline = commands.add_parser("baseline", parents=parents, help="what was learned of this place")
    baseline.add_argument("--json", action="store_true", help="as one JSON object")
    action = baseline.add_mutually_exclusive_group()
    action.add_argument("--reset", action="store_true", help="forget it")
    action.add_argument("--enroll", action="store_true", help="learn from a minute of ordinary speech, or a file of it")
    baseline.set_defaults(command=_baseline)

    config = commands.add_parser("config", parents=parents, help="print every setting and where it came from")
    config.add_argument("--json", action="store_true", help="as one JSON object instead of TOML")
    config.set_defaults(command=_show_config)

    doctor = commands.add_parser("doctor", parents=[settings], help="find what is wrong here and how to fix it")
    doctor.add_argument("--json", action="store_true", help="as one JSON object per check")
    doctor.set_defaults(command=_doctor)

    bench = commands.add_parser("bench", help="measure CPU, memory and latency on this board")
    add_bench_arguments(bench)
    bench.set_defaults(command=run_bench)

    commands.add_parser("devices", help="list the microphones").set_defaults(command=_devices)

    forget = commands.add_parser("forget", parents=[settings], help="delete what the broker keeps of this device")
    forget.set_defaults(command=_forget)
    return parser


def _run(options: argparse.Namespace, out: JsonLines) -> int:
    from affectd.run import serve

    began = None
    if options.began is not None:
        from affectd.events.trace import began_at

        began = began_at(options.began)
        if _config(options).audio.source == "mic":
            raise UsageError("--began is for a recording: the sound of a microphone is of now.")
    serve(lambda: _config(options), out, realtime=options.realtime, began=began, trace=options.trace)
    return 0


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
    from affectd.audio.source import wav_blocks
    from affectd.recognition.classifier import load_classifier
    from affectd.recognition.recording import classify_recording

    config = _config(options)
    classifier = load_classifier(config.model)
    sample_rate = classifier.model.spec.sample_rate
    network: Network = classifier
    if options.together:
        from affectd.recognition.place import together

        network = together(
            options.paths, lambda path: wav_blocks(path, sample_rate, config.audio.channel), classifier, config
        )
    code = 0
    for path in options.paths:
        try:
            result = classify_recording(wav_blocks(path, sample_rate, config.audio.channel), network, config)
        except AffectdError as error:
            print_error("affectd", str(error))
            code = code or error.exit_code
            continue
        out.write({"path": path, **asdict(result)})
    return code


def _timeline(options: argparse.Namespace, out: JsonLines) -> int:
    from affectd.timeline.command import run

    return run(options.paths, options.format, options.period, options.began, _config(options), out)


def _record(options: argparse.Namespace, out: JsonLines) -> int:
    from pathlib import Path

    from affectd.recorder.command import Order, record

    order = Order(
        path=Path(options.path),
        seconds=options.seconds,
        label=options.label,
        everyone_knows=options.everyone_knows,
        trim=options.trim,
    )
    record(order, _config(options))
    logging.getLogger(__name__).info("to see how it sounds over time: affectd timeline %s", options.path)
    out.write_text(options.path)
    return 0


def _model(options: argparse.Namespace, out: JsonLines) -> int:
    from affectd.recognition.classifier import describe, load_classifier, self_test
    from affectd.recognition.model_file import find_model

    config = _config(options).model
    classifier = load_classifier(config)
    description = describe(find_model(config.path), classifier)
    if options.self_test:
        description["self_test"] = self_test(classifier.model, classifier)
    out.write(description)
    return 0


def _baseline(options: argparse.Namespace, out: JsonLines) -> int:
    from affectd.recognition.baseline import head_of
    from affectd.recognition.classifier import load_classifier
    from affectd.recognition.model_file import find_model, read_model
    from affectd.recognition.place import as_text, reset, show

    config = _config(options)
    model = read_model(find_model(config.model.path))
    head_of(model)  # before anything is changed: it may have none
    if options.reset:
        reset(config)
    if options.enroll:
        from affectd.run import enroll

        enroll(config, load_classifier(config.model))
    found = show(config, model)
    if options.json:
        out.write(found)
    else:
        out.write_text(as_text(found))
    return 0


def _devices(options: argparse.Namespace, out: JsonLines) -> int:
    from affectd.audio.devices import list_microphones

    microphones = list_microphones()
    for microphone in microphones:
        out.write(asdict(microphone))
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


def _config(options: argparse.Namespace) -> Config:
    """Read the settings, anew at each call."""
    from affectd.config.loading import load_config

    return load_config(options.config, _given(options))


def _given(options: argparse.Namespace) -> dict[tuple[str, str], str]:
    """Return the settings given on the command line."""
    options_of_keys = {("audio", "source"): "source", ("model", "path"): "model"}
    given = {key: getattr(options, option, None) for key, option in options_of_keys.items()}
    return {key: value for key, value in given.items() if value is not None}
