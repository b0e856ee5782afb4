"""The command ``affectd-train``: from corpora to a packed model file, each step resumable."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import difflib
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectd.errors import AffectdError, NoInputError, UsageError
from affectd_train.data.labels import CORPORA

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
    "ravdess-random",
    "tess-random",
    "pooled-random",
)
"""Each is a function of the same name in `affectd_train.protocols`; see `protocol`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code (see `affectd.errors`)."""
    # TensorFlow reports its build flags at every start; errors still come through.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # The small products of the front end are slower on several threads; TensorFlow has threads of its own.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    options = _parser().parse_args(arguments)
    try:
        # Keras announces what it exports on standard output, which is for results alone.
        with contextlib.redirect_stdout(sys.stderr):
            result: str = options.command(options)
        print(result)
    except AffectdError as error:
        print(f"affectd-train: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"affectd-train: {error}", file=sys.stderr)
        return 74
    except KeyboardInterrupt:
        print("affectd-train: interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="affectd-train", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], str], help_: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help_, description=help_)
        sub.set_defaults(command=run)
        return sub

    def training(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--data", type=Path, required=True, help="folder that holds ravdess/, tess/, cremad/, ...")
        sub.add_argument("--corpora", help="train on these alone, such as cremad,emodb (default: all that are there)")
        sub.add_argument("--teacher", type=Path, metavar="ONNX", help="encoder_model.onnx of Moonshine base")
        sub.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", help="change a number of the recipe"
        )

    def of_evaluation(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--data", type=Path, required=True, help="folder that holds ravdess/, noise/, speech/, ...")
        sub.add_argument(
            "--evaluation", type=Path, default=Path("runs/ravdess-emobox"), help="folder of the evaluation"
        )

    sub = command("fit", _fit, "train the float network on every speaker")
    training(sub)
    sub.add_argument("--out", type=Path, default=Path("runs/final"), help="folder for the result")
    sub.add_argument("--cache", type=Path, default=Path("runs/cache"), help="folder for what several runs share")
    sub.add_argument("--hold-out", default="", metavar="SPEAKERS", help="leave out, such as ravdess-01,emodb-03")
    sub = command("quantize", _quantize, "convert the float network of a run to int8")
    sub.add_argument("run", type=Path)
    sub = command("evaluate", _evaluate, "train and test by a named protocol, print the figures as JSON")
    training(sub)
    sub.add_argument("--protocol", required=True, choices=PROTOCOLS)
    sub.add_argument("--out", type=Path, help="folder for the folds (default: runs/PROTOCOL)")
    sub = command(
        "robustness", _robustness, "test an evaluation's networks in noise, rooms, at any gain, through codecs"
    )
    of_evaluation(sub)
    sub.add_argument("--every", type=int, default=1, metavar="N", help="take every Nth recording alone")
    sub = command(
        "behavior", _behavior, "count the events of everyday speech and noise, time those of a changing voice"
    )
    of_evaluation(sub)
    sub.add_argument("--model", type=Path, default=Path("models/affectd.tflite"))
    sub = command("pictures", _pictures, "draw what an evaluation found")
    sub.add_argument("--evaluation", type=Path, default=Path("runs/ravdess-emobox"), help="folder of the evaluation")
    sub.add_argument("--out", type=Path, default=Path("models"), help="folder for the PNG files")
    sub = command("explore", _explore, "draw counts, and sound, spectrograms and MFCCs of each emotion in a corpus")
    sub.add_argument("folder", type=Path, help="folder of a corpus, or of several")
    sub.add_argument("--corpus", choices=CORPORA, help="which corpus it is, where the folder's name does not say")
    sub.add_argument("--out", type=Path, default=Path("runs/explore"), help="folder for the PNG files")
    sub = command("pack", _pack, "write the model file of a run, calibrated on the folds of an evaluation")
    sub.add_argument("run", type=Path)
    sub.add_argument("--evaluation", type=Path, default=Path("runs/ravdess-emobox"), help="folder of the evaluation")
    sub.add_argument(
        "--also", type=Path, nargs="+", default=[], metavar="RUN", help="evaluations by other protocols, for the card"
    )
    sub.add_argument("--out", type=Path, default=Path("models/affectd.tflite"))
    sub = command("report", _report, "write the model card that a model file carries as Markdown")
    sub.add_argument("model", type=Path, nargs="?", default=Path("models/affectd.tflite"))
    sub.add_argument("--out", type=Path, default=Path("models/README.md"))
    return parser


def _recipe(options: argparse.Namespace) -> Recipe:
    from affectd_train.data.labels import CORPORA
    from affectd_train.training.recipe import Recipe

    changes: dict[str, Any] = {}
    numbers = {key: value for key, value in dataclasses.asdict(Recipe()).items() if isinstance(value, int | float)}
    for setting in options.set:
        key, _, value = setting.partition("=")
        if key not in numbers:
            near = difflib.get_close_matches(key, numbers, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"--set {setting}: the recipe has no number of this name{hint}")
        try:
            changes[key] = type(numbers[key])(value)
        except ValueError:
            raise UsageError(f"--set {setting}: {value!r} is no {type(numbers[key]).__name__}") from None
        if changes[key] < (lowest := 1 if key in ("n_frames", "batch_size", "save_every") else 0):
            raise UsageError(f"--set {setting}: must be {lowest} or more")
    if options.corpora:
        names = tuple(options.corpora.split(","))
        if unknown := sorted(set(names) - set(CORPORA)):
            raise UsageError(f"--corpora: {unknown[0]!r} is not one of {', '.join(CORPORA)}")
        changes["corpora"] = names
    if options.teacher:
        if not options.teacher.is_file():
            raise NoInputError(f"{options.teacher}: no such file; docs/training.md says where to get the teacher")
        changes["teacher"] = str(options.teacher)
    return dataclasses.replace(Recipe(), **changes)


def _fit(options: argparse.Namespace) -> str:
    from affectd_train.data.corpora import read_clips
    from affectd_train.training.fit import fit

    recipe = _recipe(options)
    clips = read_clips(options.data, recipe.corpora)
    held_out = frozenset(filter(None, options.hold_out.split(",")))
    if unknown := sorted(held_out - {clip.speaker for clip in clips}):
        raise UsageError(f"--hold-out: no clip of {', '.join(unknown)}")
    return str(fit(clips, recipe, options.data, options.out, options.cache, held_out))


def _quantize(options: argparse.Namespace) -> str:
    from affectd_train.export.quantize import quantize

    return str(quantize(options.run))


def _evaluate(options: argparse.Namespace) -> str:
    from affectd_train.data.corpora import read_clips

    recipe = _recipe(options)
    clips = read_clips(options.data, recipe.corpora)
    out = options.out or Path("runs") / options.protocol
    return json.dumps(protocol(options.protocol)(clips, recipe, options.data, out), indent=1)


def protocol(name: str) -> Protocol:
    """Find the experiment behind one of `PROTOCOLS`."""
    from affectd_train.protocols import random_splits, speaker_independent

    found: Protocol = getattr(
        random_splits if name.endswith("-random") else speaker_independent, name.replace("-", "_")
    )
    return found


def _robustness(options: argparse.Namespace) -> str:
    from affectd_train.evaluation.robustness import robustness

    if options.every < 1:
        raise UsageError(f"--every {options.every}: must be 1 or more")
    return json.dumps(robustness(options.evaluation, _all_clips(options), options.data, options.every), indent=1)


def _behavior(options: argparse.Namespace) -> str:
    from affectd_train.evaluation.behavior import behavior

    return json.dumps(behavior(options.evaluation, options.model, _all_clips(options), options.data), indent=1)


def _pictures(options: argparse.Namespace) -> str:
    from affectd_train.reports.plots import pictures

    return "\n".join(map(str, pictures(options.evaluation, options.out)))


def _explore(options: argparse.Namespace) -> str:
    from affectd_train.reports.corpus_plots import explore

    return "\n".join(map(str, explore(options.folder, options.out, options.corpus)))


def _all_clips(options: argparse.Namespace) -> list[Clip]:
    from affectd_train.data.corpora import read_clips
    from affectd_train.training.recipe import Recipe

    return read_clips(options.data, Recipe().corpora)


def _pack(options: argparse.Namespace) -> str:
    from affectd_train.evaluation.calibration import calibrate, uncertain_threshold
    from affectd_train.evaluation.predictions import read_predictions
    from affectd_train.export.pack import pack
    from affectd_train.files import needed, say
    from affectd_train.reports.model_card import card

    predictions = read_predictions(needed(options.evaluation / "predictions.jsonl", "evaluate"))
    temperature = round(calibrate(predictions), 3)
    uncertain = round(uncertain_threshold(predictions, temperature), 3)
    recipe = json.loads(needed(options.run / "fit.json", "fit").read_text())["recipe"]
    for fold in sorted(options.evaluation.glob("fold-*/fit.json")):
        if json.loads(fold.read_text())["recipe"] != recipe:
            say(f"{fold.parent} has another recipe than {options.run}: the figures on the card are of another network")
    content = card(options.evaluation, options.run, options.also)
    model = pack(options.run, options.out, content, temperature, uncertain)
    labels, size = len(model.labels), options.out.stat().st_size
    return f"{options.out}: {size} bytes, {labels} labels, temperature {temperature}, uncertain below {uncertain}"


def _report(options: argparse.Namespace) -> str:
    from affectd.recognition.model_file import read_model
    from affectd_train.files import write_text
    from affectd_train.reports.card_sections import pictures_beside
    from affectd_train.reports.model_card import markdown

    write_text(options.out, markdown(read_model(options.model), pictures_beside(options.out.parent)))
    return str(options.out)


if __name__ == "__main__":
    sys.exit(main())
