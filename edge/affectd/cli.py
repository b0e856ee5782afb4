"""The command line; each command imports what it needs, so that ``--help`` is instant."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO

from affectd import __version__
from affectd.bench import add_arguments as add_bench_arguments
from affectd.bench import run as run_bench
from affectd.errors import AffectdError, UnavailableError, UsageError
from affectd.sinks import Detached, JsonLines, RotatingFile, Several, Sink

if TYPE_CHECKING:
    from affectd.classifier import Classifier
    from affectd.config import Config
    from affectd.mute import Mute
    from affectd.stopping import StoppableBlocks


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code; failures are one plain sentence on stderr."""
    # Products of a few dozen rows are slower on several threads than on one, and much slower on busy cores.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if sys.stderr is None:  # closed: the next file opened would get its number, and complaints would end there
        nothing = os.open(os.devnull, os.O_WRONLY)
        if nothing != 2:
            os.dup2(nothing, 2)
            os.close(nothing)
    # A descriptor of its own: while PortAudio chatters, number 2 leads nowhere (`affectd.quiet`), for all threads.
    log = os.fdopen(os.dup(2), "w", errors="backslashreplace", closefd=False)
    logging.basicConfig(level=logging.INFO, format="affectd: %(message)s", stream=log)
    try:
        with claimed_stdout() as out:
            options = _parser(out).parse_args(arguments)
            code: int = options.command(options, JsonLines(out))
            return code
    except AffectdError as error:
        return _complain(error)
    except BrokenPipeError:  # `affectd run | head -1`: whoever read has seen enough
        return 0
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


@contextmanager
def claimed_stdout() -> Iterator[TextIO]:
    """Keep standard output for results: what libraries print to it, even from C, goes to stderr meanwhile."""
    try:
        kept = os.dup(1)
    except OSError as error:
        raise UnavailableError("Standard output is closed.") from error
    os.dup2(2, 1)
    # A file name that is no UTF-8 holds surrogates, whose Python escape is their JSON escape too.
    out = os.fdopen(os.dup(kept), "w", encoding="utf-8", errors="backslashreplace", newline="\n")
    try:
        yield out
    finally:
        with suppress(OSError):  # what could not be written before has been complained about
            out.close()
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


class _Parser(argparse.ArgumentParser):
    """An argument parser that fails as everything else here fails, and prints help where results go."""

    out: TextIO = sys.stdout

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (try {self.prog} --help)")

    def _print_message(self, message: str, file: object = None) -> None:
        self.out.write(message)


def _parser(out: TextIO) -> _Parser:
    _Parser.out = out
    parser = _Parser(prog="affectd", description="Says how people sound: speech in, emotion events out.")
    parser.add_argument("--version", action="version", version=f"affectd {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    settings = _Parser(add_help=False)
    settings.add_argument("--config", metavar="FILE", help="settings (default: /etc/affectd/affectd.toml if it exists)")
    settings.add_argument("--model", metavar="FILE", help="model file (default: the one that came with affectd)")
    source = _Parser(add_help=False)
    source.add_argument("--source", metavar="mic|FILE|-", help="microphone, WAV file, or raw 16-bit mono PCM on stdin")

    parents = [source, settings]
    run = commands.add_parser("run", parents=parents, help="print events as JSON lines until the sound ends")
    run.add_argument("--realtime", action="store_true", help="play a file at the speed it was recorded")
    run.set_defaults(command=_run)

    classify = commands.add_parser("classify", parents=[settings], help="print one JSON line per recording")
    classify.add_argument("paths", metavar="PATH", nargs="+", help="WAV file")
    classify.set_defaults(command=_classify)

    show = commands.add_parser("model", parents=[settings], help="print what model this is")
    show.add_argument("--self-test", action="store_true", help="replay the golden vectors on this device")
    show.set_defaults(command=_model)

    config = commands.add_parser("config", parents=parents, help="print every setting and where it came from")
    config.add_argument("--json", action="store_true", help="as one JSON object instead of TOML")
    config.set_defaults(command=_show_config)

    doctor = commands.add_parser("doctor", parents=[settings], help="print what is wrong here and how to mend it")
    doctor.add_argument("--json", action="store_true", help="as one JSON object per check")
    doctor.set_defaults(command=_doctor)

    bench = commands.add_parser("bench", help="print what it costs on this board")
    add_bench_arguments(bench)
    bench.set_defaults(command=run_bench)

    commands.add_parser("devices", help="list the microphones").set_defaults(command=_devices)

    forget = commands.add_parser("forget", parents=[settings], help="delete what the broker keeps of this device")
    forget.set_defaults(command=_forget)
    return parser


def _run(options: argparse.Namespace, out: JsonLines) -> int:
    from affectd.audio import open_source
    from affectd.events import EventMaker
    from affectd.microphone import Losses
    from affectd.pipeline import run
    from affectd.recovery import Reports
    from affectd.service import ServiceManager, reload_on_hangup, watched
    from affectd.stopping import stop_on_signals
    from affectd.telemetry import Meter

    with stop_on_signals() as blocks:
        config = _config(options)
        classifier = _load(config)
        sample_rate = classifier.model.spec.sample_rate
        reports = Reports(EventMaker(config.device.id, classifier.model).status)
        manager = ServiceManager()
        meter, losses, mute = Meter(), Losses(), _mute(config)

        def report(state: str, reason: str) -> None:
            manager.status(f"microphone {state}: {reason}")
            reports(state, reason)

        # A service waits for its microphone; a person at a terminal is told at once.
        patient = config.audio.wait or manager.is_present
        blocks.open(
            lambda: open_source(
                config.audio.source,
                sample_rate,
                realtime=options.realtime,
                config=config.audio,
                report=report,
                patient=patient,
                muted=lambda: mute is not None and mute.is_muted,
                losses=losses,
            )
        )
        with ExitStack() as stack:
            sinks: list[tuple[str, Sink]] = [("standard output", out)]
            if config.file.path:
                file = Detached(config.file.path, RotatingFile(config.file))
                sinks.append((config.file.path, stack.enter_context(file)))
            if config.mqtt.enabled:
                from affectd.voice import Voice

                voice = Voice(config, classifier.model.labels, meter, losses, mute, lambda: _patience_seconds(blocks))
                sinks.append(("the outbox", stack.enter_context(voice)))
            sink = Several(sinks) if len(sinks) > 1 else out
            reloaded = stack.enter_context(reload_on_hangup(lambda: _config(options), config, manager))
            heard = watched(reports.between(blocks, sink), manager)
            run(heard, meter.timed(classifier), sink, config, reloaded, meter.push)
    blocks.raise_failure()
    return 0


def _mute(config: Config) -> Mute | None:
    """Return what the command ``listen`` switches, if the settings allow it."""
    if not (config.mqtt.enabled and config.mqtt.listen_command):
        return None
    from affectd.directories import state_directory
    from affectd.mute import Mute

    return Mute(state_directory())


def _patience_seconds(blocks: StoppableBlocks) -> float:
    """Say how long the broker gets at the end: whoever stops a service waits for it, the end of a file does not."""
    return 0.5 if blocks.was_stopped else 5.0


def _classify(options: argparse.Namespace, out: JsonLines) -> int:
    from affectd.audio import wav_blocks
    from affectd.classify import classify_recording

    config = _config(options)
    classifier = _load(config)
    sample_rate = classifier.model.spec.sample_rate
    code = 0
    for path in options.paths:
        try:
            result = classify_recording(wav_blocks(path, sample_rate), classifier, config)
        except AffectdError as error:
            failed = _complain(error)
            code = code or failed
            continue
        out.write({"path": path, **asdict(result)})
    return code


def _model(options: argparse.Namespace, out: JsonLines) -> int:
    from affectd.classifier import self_test
    from affectd.events import model_id

    config = _config(options)
    path = _model_path(config)
    classifier = _load(config)
    model = classifier.model
    description = {
        "path": str(path),
        "model": model_id(model),
        "bytes": path.stat().st_size,
        "labels": list(model.labels),
        "input": [1, model.n_frames, model.spec.n_mfcc],
        "output": [1, len(model.labels)],
        "temperature": model.temperature,
        "thresholds": model.thresholds,
        "features": model.spec.to_dict(),
        "runtime": f"{classifier.runtime_name} {classifier.runtime_version}",
        "card": model.card,
    }
    if options.self_test:
        description["self_test"] = self_test(model, classifier)
    out.write(description)
    return 0


def _devices(options: argparse.Namespace, out: JsonLines) -> int:
    from affectd.survey import list_microphones

    microphones = list_microphones()
    for microphone in microphones:
        out.write(asdict(microphone))
    if not microphones:
        logging.getLogger(__name__).warning("PortAudio finds no microphone")
    return 0


def _show_config(options: argparse.Namespace, out: JsonLines) -> int:
    from affectd.layers import as_toml, load_settings

    settings = load_settings(options.config, _given(options))
    if options.json:
        out.write({name: {key: s._asdict() for key, s in keys.items()} for name, keys in settings.items()})
    else:
        out.write_text(as_toml(settings))
    return 0


def _doctor(options: argparse.Namespace, out: JsonLines) -> int:
    from affectd.doctor import Device, as_json, as_text, examine

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
    from affectd.voice import forget

    forget(_config(options))
    return 0


def _config(options: argparse.Namespace) -> Config:
    """Read the settings; called again, it gives what they are by then."""
    from affectd.layers import load_config

    return load_config(options.config, _given(options))


def _given(options: argparse.Namespace) -> dict[tuple[str, str], str]:
    """Return the settings that stand on the command line."""
    options_of_keys = {("audio", "source"): "source", ("model", "path"): "model"}
    given = {key: getattr(options, option, None) for key, option in options_of_keys.items()}
    return {key: value for key, value in given.items() if value is not None}


def _load(config: Config) -> Classifier:
    from affectd.classifier import Classifier
    from affectd.model_file import read_model

    return Classifier(read_model(_model_path(config)))


def _model_path(config: Config) -> Path:
    from affectd.model_file import default_model_path

    return Path(config.model.path) if config.model.path else default_model_path()


def _complain(error: AffectdError) -> int:
    with suppress(OSError):  # no room for the sentence, but the exit code still tells
        os.write(2, f"affectd: {error}\n".encode(errors="backslashreplace"))
    return error.exit_code
