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
from affectd_train.data.labels import CORPORA
from affectd_train.home import home

if TYPE_CHECKING:
    from affectd_train.data.clips import Clip
    from affectd_train.protocols.runs import Protocol
    from affectd_train.training.recipe import Recipe

PROTOCOLS = (
    "ravdess-emobox",
    "emodb-loso",
    "cremad-speakers",
    "open-terms",
    "cross-corpus",
    "leave-one-corpus-out",
    "ravdess-random",
    "tess-random",
    "pooled-random",
)
"""Each is a function of the same name in `affectd_train.protocols`; see `protocol`."""

_MODEL_FILE = "model file (models/affectd.tflite)"


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

    def command(name: str, run: Callable[[argparse.Namespace], str], help_: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help_)
        sub.set_defaults(command=run)
        return sub

    sub = command("inspect", _inspect, "say what recordings there are, and what is in the way of training on them")
    sub.add_argument("data", type=Path, help="folder of recordings of your own, or of corpora")
    _add_labels(sub)
    sub.add_argument("--json", action="store_true", help="print everything as JSON")
    sub = command("recipe", _recipe, "print the recipe as TOML, every key with a sentence, for --recipe")
    _add_recipe(sub)
    sub.add_argument("--wide", action="store_true", help="start from the recipe that trains on all corpora")
    sub = command("fit", _fit, "train the float network on every speaker")
    _add_training(sub)
    sub.add_argument("--out", type=Path, default=Path("runs/final"), help="folder for the result")
    sub.add_argument("--cache", type=Path, default=Path("runs/cache"), help="folder for what several runs share")
    sub.add_argument("--hold-out", default="", metavar="SPEAKERS", help="leave out, such as ravdess-01,emodb-03")
    _add_labels(sub)
    sub = command("quantize", _quantize, "convert the float network of a run to int8")
    sub.add_argument("run", type=Path, help="folder of the run, as fit was told by --out")
    sub = command("evaluate", _evaluate, "train and test by a named protocol, print the figures as JSON")
    _add_training(sub)
    words = f"who trains and who tests: {', '.join(PROTOCOLS)}"
    sub.add_argument("--protocol", required=True, choices=PROTOCOLS, metavar="NAME", help=words)
    sub.add_argument("--out", type=Path, help="folder for the folds (default: runs/PROTOCOL)")
    sub = command("unheard", _unheard, "test a model file on corpora that it was not trained on, print figures as JSON")
    _add_data(sub, "nemo/, ased/, emotale/, ...")
    sub.add_argument("model", type=Path, nargs="?", default=Path("models/affectd.tflite"), help=_MODEL_FILE)
    sub.add_argument("--corpora", help="test on these alone, such as nemo,ased (default: all it was not trained on)")
    sub.add_argument("--out", type=Path, default=Path("runs/unheard"), help="folder for what it answers")
    words = "test an evaluation's networks in noise, rooms, at any gain, through codecs"
    sub = command("robustness", _robustness, words)
    _add_data(sub, "ravdess/, noise/, speech/, ...")
    _add_evaluation(sub)
    sub.add_argument("--every", type=int, default=1, metavar="N", help="take every Nth recording alone")
    words = "count the events of everyday speech and noise, time those of a changing voice"
    sub = command("behavior", _behavior, words)
    _add_data(sub, "ravdess/, noise/, speech/, ...")
    _add_evaluation(sub)
    sub.add_argument("--model", type=Path, default=Path("models/affectd.tflite"), help=_MODEL_FILE)
    words = "measure how soon, and how right, a model file answers: of recordings with pauses between them"
    sub = command("answers", _answers, words)
    _add_data(sub, "corpora that the file was not trained on")
    sub.add_argument("--model", type=Path, default=Path("models/affectd.tflite"), help=_MODEL_FILE)
    sub.add_argument("--out", type=Path, default=Path("runs/answers"), help="folder for answers.json and answers.png")
    sub = command("pictures", _pictures, "draw what an evaluation found")
    _add_evaluation(sub)
    sub.add_argument("--out", type=Path, default=Path("models"), help="folder for the PNG files")
    sub = command("curves", _curves, "draw loss and accuracy over the training of a run")
    sub.add_argument("run", type=Path, help="folder of the run, as fit was told by --out")
    sub.add_argument("--out", type=Path, metavar="PNG", help="the picture (default: learning.png in the folder)")
    sub = command("explore", _explore, "draw counts, durations, loudness, and recordings of each emotion in a corpus")
    sub.add_argument("folder", type=Path, help="folder of a corpus, or of several")
    words = f"which corpus it is, where the folder's name does not say: {', '.join(CORPORA)}"
    sub.add_argument("--corpus", choices=CORPORA, metavar="NAME", help=words)
    sub.add_argument("--out", type=Path, default=Path("runs/explore"), help="folder for the PNG files")
    sub = command("pack", _pack, "write the model file of a run, calibrated on the folds of an evaluation")
    sub.add_argument("run", type=Path, help="folder of the run, as fit was told by --out")
    _add_evaluation(sub)
    words = "evaluations by other protocols, for the card"
    sub.add_argument("--also", type=Path, nargs="+", default=[], metavar="RUN", help=words)
    sub.add_argument("--out", type=Path, default=Path("models/affectd.tflite"), help=_MODEL_FILE)
    sub.add_argument("--replace", action="store_true", help="write it whatever file is there")
    words = "write the model card that a model file carries, as Markdown or as one page with pictures"
    sub = command("report", _report, words)
    sub.add_argument("model", type=Path, nargs="?", default=Path("models/affectd.tflite"), help=_MODEL_FILE)
    sub.add_argument("--out", type=Path, help="the Markdown (default: models/README.md, unless --html is given)")
    sub.add_argument("--html", type=Path, metavar="FILE", help="a page that holds its pictures and loads nothing")
    words = "for the page: the evaluation that the card is about, for its reliability"
    sub.add_argument("--evaluation", type=Path, metavar="RUN", help=words)
    words = "for the page: folder of corpora, for examples of those that the model was trained on"
    sub.add_argument("--data", type=Path, help=words)
    sub.add_argument("--replace", action="store_true", help="write it whatever file is there")
    return parser


def _page(command: str) -> tuple[str | None, str | None]:
    from affectd_train.help import page

    return page(command)


def _add_data(sub: argparse.ArgumentParser, folders: str) -> None:
    sub.add_argument("--data", type=Path, required=True, help=f"folder that holds {folders}")


def _add_evaluation(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--evaluation", type=Path, default=Path("runs/ravdess-emobox"), help="folder of the evaluation")


def _add_training(sub: argparse.ArgumentParser) -> None:
    _add_data(sub, "ravdess/, tess/, cremad/, ...")
    _add_recipe(sub)


def _add_recipe(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--recipe", type=Path, metavar="FILE", help="recipe as TOML, as affectd-train recipe prints it")
    sub.add_argument("--corpora", help="train on these alone, such as cremad,emodb (default: all that are there)")
    sub.add_argument("--teacher", type=Path, metavar="ONNX", help="encoder_model.onnx of Moonshine base")
    sub.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a number of the recipe, see below"
    )


def _add_labels(sub: argparse.ArgumentParser) -> None:
    words = "labels of your own recordings, each with the words for it: a line such as tired: sleepy, drowsy"
    sub.add_argument("--labels", type=Path, metavar="FILE", help=words)


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


if __name__ == "__main__":
    sys.exit(main())
