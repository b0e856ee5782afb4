"""The command ``affectd-train``: from corpora to a packed model file, each step resumable."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from affectd.errors import UsageError
from affectd.program.arguments import Parser
from affectd.program.guard import guarded
from affectd.stdio import print_error, print_result, printable
from affectd_train.arguments import add_evaluation, add_import, add_pictures, add_result, add_training
from affectd_train.data.labels import CORPORA
from affectd_train.home import home

if TYPE_CHECKING:
    from affectd_train.data.clips import Clip
    from affectd_train.protocols.runs import Protocol
    from affectd_train.training.recipe import Recipe


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code (see `affectd.errors`)."""
    return guarded("affectd-train", lambda: run(arguments), is_program=arguments is None)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; failures that can happen anywhere are raised."""
    # The small products of the front end are slower on several threads; TensorFlow has threads of its own.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    options = _parser().parse_args(arguments)
    try:
        with _interruptible(), home():
            result = options.command(options)
    except OSError as error:
        print_error("affectd-train", f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return 74
    except KeyboardInterrupt as interrupt:
        with suppress(OSError):
            print(file=sys.stderr, flush=True)  # ends the line of a progress bar, which may be half drawn
        print_error("affectd-train", "interrupted; the same command goes on from the last checkpoint")
        return int(str(interrupt) or 128 + signal.SIGINT)
    print_result(result)
    return 0


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does; a second Ctrl-C does not break into what cleans up after the first."""

    def interrupt(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt(str(128 + number))

    numbers = [signal.SIGTERM] if signal.getsignal(signal.SIGINT) == signal.SIG_IGN else [signal.SIGTERM, signal.SIGINT]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(print_result, _page, prog="affectd-train")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    run: dict[str, Callable[[argparse.Namespace], str]] = {
        "inspect": _inspect,
        "recipe": _recipe,
        "fit": _fit,
        "quantize": _quantize,
        "evaluate": _evaluate,
        "unheard": _unheard,
        "robustness": _robustness,
        "behavior": _behavior,
        "answers": _answers,
        "pictures": _pictures,
        "curves": _curves,
        "explore": _explore,
        "pack": _pack,
        "report": _report,
        "import": _import,
    }

    def command(name: str, help_: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help_)
        sub.set_defaults(command=run[name])
        return sub

    add_training(command)
    add_evaluation(command)
    add_pictures(command)
    add_result(command)
    add_import(command)
    return parser


def _page(command: str) -> tuple[str | None, str | None]:
    from affectd_train.help import page

    return page(command)


def _names(*paths: Path) -> str:
    return "\n".join(printable(str(path)) for path in paths)


def _recipe_of(options: argparse.Namespace, is_wide: bool = False) -> Recipe:
    from affectd_train.training.recipe_file import asked_recipe

    corpora = _corpora(options.corpora) if options.corpora else []
    teacher, settings = options.teacher, options.set
    return asked_recipe(is_wide=is_wide, file=options.recipe, settings=settings, corpora=corpora, teacher=teacher)


def _recipe(options: argparse.Namespace) -> str:
    from affectd_train.training.recipe_file import recipe_toml

    return recipe_toml(_recipe_of(options, options.wide))


def _corpora(names: str) -> list[str]:
    corpora = names.split(",")
    if unknown := sorted(set(corpora) - set(CORPORA)):
        raise UsageError(f"--corpora: {unknown[0]!r} is not one of {', '.join(CORPORA)}")
    return corpora


def _clips(options: argparse.Namespace, corpora: Sequence[str] = CORPORA) -> list[Clip]:
    from affectd_train.data.corpora import read_clips

    return read_clips(options.data, corpora)


def _inspect(options: argparse.Namespace) -> str:
    from affectd.words.layout import room
    from affectd_train.data.inspection import inspect, words

    found = inspect(options.data, options.labels)
    if options.json:
        return json.dumps(found, indent=1)
    return "\n\n".join("\n".join(words(one, room(sys.stdout))) for one in found)


def _fit(options: argparse.Namespace) -> str:
    from affectd_train.data.own import is_own, read_own_clips
    from affectd_train.training.recipe import with_own

    recipe = _recipe_of(options)
    if options.corpora and options.labels:
        raise UsageError("--labels is for recordings of your own, --corpora for corpora")
    if is_own(options.data, options.labels) and not options.corpora:
        recipe, clips = with_own(recipe), read_own_clips(options.data, options.labels)
    else:
        clips = _clips(options, recipe.corpora)
    held_out = frozenset(filter(None, options.hold_out.split(",")))
    if unknown := sorted(held_out - {clip.speaker for clip in clips}):
        raise UsageError(f"--hold-out: no clip of {', '.join(unknown)}")
    from affectd_train.training.fit import fit  # late: Keras takes seconds to start, and bad data is said at once

    return _names(fit(clips, recipe, options.data, options.out, options.cache, held_out))


def _quantize(options: argparse.Namespace) -> str:
    from affectd_train.export.quantize import quantize

    return _names(quantize(options.run))


def protocol(name: str) -> Protocol:
    """Find the experiment behind one of `PROTOCOLS`."""
    from affectd_train.protocols import random_splits, speaker_independent

    if name.endswith("-random"):
        return partial(random_splits.seed_protocol, name.removesuffix("-random"))
    found: Protocol = getattr(speaker_independent, name.replace("-", "_"))
    return found


def _evaluate(options: argparse.Namespace) -> str:
    from affectd_train.data.terms import DEVELOPMENT

    is_wide = options.protocol == "leave-one-corpus-out"
    recipe = _recipe_of(options, is_wide)
    corpora = (*recipe.corpora, *DEVELOPMENT) if is_wide else recipe.corpora
    out = options.out or Path("runs") / options.protocol
    figures = protocol(options.protocol)(_clips(options, corpora), recipe, options.data, out)
    return json.dumps(figures, indent=1)


def _unheard(options: argparse.Namespace) -> str:
    from affectd.recognition.model_file import read_model
    from affectd_train.evaluation.unheard import unheard, unheard_by

    corpora = unheard_by(read_model(options.model))
    if options.corpora:
        asked = _corpora(options.corpora)
        if heard := sorted(set(asked) - set(corpora)):
            raise UsageError(f"--corpora: {options.model} was trained on {heard[0]}")
        corpora = asked
    return json.dumps(unheard(options.model, _clips(options, corpora), options.data, options.out), indent=1)


def _robustness(options: argparse.Namespace) -> str:
    from affectd_train.evaluation.robustness import robustness

    if options.every < 1:
        raise UsageError(f"--every {options.every}: must be 1 or more")
    return json.dumps(robustness(options.evaluation, _clips(options), options.data, options.every), indent=1)


def _behavior(options: argparse.Namespace) -> str:
    from affectd_train.evaluation.behavior import behavior

    return json.dumps(behavior(options.evaluation, options.model, _clips(options), options.data), indent=1)


def _answers(options: argparse.Namespace) -> str:
    from affectd_train.evaluation.first_answers import first_answers
    from affectd_train.reports.plots import answer_curves, save

    found = first_answers(options.model, _clips(options), options.out)
    save(answer_curves(found), options.out / "answers.png")
    return json.dumps(found, indent=1)


def _pictures(options: argparse.Namespace) -> str:
    from affectd_train.reports.plots import pictures

    return _names(*pictures(options.evaluation, options.out))


def _curves(options: argparse.Namespace) -> str:
    from affectd_train.reports.plots import draw_learning

    return _names(draw_learning(options.run, options.out))


def _explore(options: argparse.Namespace) -> str:
    from affectd_train.reports.corpus_plots import explore

    return _names(*explore(options.folder, options.out, options.corpus))


def _pack(options: argparse.Namespace) -> str:
    from affectd_train.release import release

    model = release(options.run, options.evaluation, options.also, options.out, options.replace)
    size, temperature, uncertain = options.out.stat().st_size, model.temperature, model.thresholds["uncertain"]
    labels = len(model.labels)
    return (
        f"{_names(options.out)}: {size} bytes, {labels} labels, temperature {temperature}, uncertain below {uncertain}"
    )


def _report(options: argparse.Namespace) -> str:
    from affectd_train.release import write_report

    if (options.evaluation or options.data) and not options.html:
        raise UsageError("--evaluation and --data are for the page of --html")
    out = options.out or (None if options.html else Path("models/README.md"))
    pages = write_report(options.model, out, options.html, options.evaluation, options.data, options.replace)
    return _names(*pages)


def _import(options: argparse.Namespace) -> str:
    from affectd_train.foreign.asked import asked
    from affectd_train.foreign.importing import import_network

    return import_network(asked(options))


if __name__ == "__main__":
    sys.exit(main())
