"""What each command of ``affectd-train`` does: from its arguments to the text that it prints.

Everything is imported where it is used, so that a command starts without what others need.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from affectd.errors import UsageError
from affectd.stdio import printable
from affectd_train.data.labels import CORPORA
from affectd_train.data.speakers import from_text

if TYPE_CHECKING:
    from affectd_train.data.clips import Clip
    from affectd_train.protocols.runs import Protocol
    from affectd_train.training.recipe import Recipe


def _names(*paths: Path) -> str:
    return "\n".join(printable(str(path)) for path in paths)


def _recipe_of(options: argparse.Namespace) -> Recipe:
    from affectd_train.training.recipe_file import asked_recipe

    corpora = _corpora(options.corpora)
    return asked_recipe(
        file=options.recipe, settings=options.set, corpora=corpora, teacher=options.teacher, start=options.start
    )


def _recipe(options: argparse.Namespace) -> str:
    from affectd_train.training.recipe_file import recipe_toml

    return recipe_toml(_recipe_of(options))


def _corpora(names: str | None) -> list[str]:
    corpora = names.split(",") if names else []
    if unknown := sorted(set(corpora) - set(CORPORA)):
        raise UsageError(f"--corpora: {unknown[0]!r} is not one of {', '.join(CORPORA)}")
    if twice := [name for name in corpora if corpora.count(name) > 1]:
        raise UsageError(f"--corpora: {twice[0]} is named twice")
    return corpora


def _clips(options: argparse.Namespace, corpora: Sequence[str] = CORPORA) -> list[Clip]:
    from affectd_train.data.corpora import read_clips

    return read_clips(options.data, corpora)


def _own_clips(options: argparse.Namespace) -> list[Clip] | None:
    """Return recordings of one's own, where they are meant, else None."""
    from affectd_train.data.own import is_own, read_own_clips

    if getattr(options, "corpora", None):
        if options.labels:
            raise UsageError("--labels is for recordings of your own, --corpora for corpora")
        return None
    return read_own_clips(options.data, options.labels) if is_own(options.data, options.labels) else None


def _inspect(options: argparse.Namespace) -> str:
    from affectd.words.layout import room
    from affectd_train.data.inspection import inspect, words

    found = inspect(options.data, options.labels)
    if options.json:
        return json.dumps(found, indent=1)
    return "\n\n".join("\n".join(words(one, room(sys.stdout))) for one in found)


def _make(options: argparse.Namespace) -> str:
    from affectd.recognition.model_file import find_model
    from affectd_train.make import Order, make

    order = Order(
        data=options.data,
        out=options.out,
        start=options.model or find_model(),
        labels=options.labels,
        by_file=options.by_file,
        quick=options.quick,
        work=options.work,
        replace=options.replace,
    )
    return _names(*make(order))


def _fit(options: argparse.Namespace) -> str:
    from affectd_train.training.heard import check_start
    from affectd_train.training.recipe import with_own

    recipe = _recipe_of(options)
    if (clips := _own_clips(options)) is not None:
        recipe = with_own(recipe)
    else:
        clips = _clips(options, recipe.corpora)
    held_out = from_text(options.hold_out)
    if unknown := sorted(held_out - {clip.speaker for clip in clips}):
        raise UsageError(f"--hold-out: no clip of {', '.join(unknown)}")
    check_start(recipe.start, held_out)
    from affectd_train.training.fit import fit  # late: Keras takes seconds to start, and bad data is said at once

    return _names(fit(clips, recipe, options.data, options.out, options.cache, held_out))


def _sweep(options: argparse.Namespace) -> str:
    _check_workers(options)
    from affectd_train.protocols.space import read_space
    from affectd_train.protocols.sweep import planned, written
    from affectd_train.reports.plots import draw_sweep
    from affectd_train.training.recipe import with_own

    space = read_space(options.space)
    recipes = space.recipes(_recipe_of)
    asked = argparse.Namespace(**space.options)
    if (clips := _own_clips(asked)) is not None:
        recipes = {settings: with_own(recipe) for settings, recipe in recipes.items()}
    else:
        clips = _clips(asked, next(iter(recipes.values())).corpora)
    sweep = planned(space, recipes, clips, options.out)
    if not sweep.is_over:
        from affectd_train.protocols.on_tune import on_tune

        on_tune(sweep, asked.data, options.address, options.workers)
    return written(sweep, draw_sweep)


def _quantize(options: argparse.Namespace) -> str:
    from affectd_train.export.quantize import quantize

    return _names(quantize(options.run))


def protocol(name: str) -> Protocol:
    """Find the experiment behind one of `PROTOCOLS`."""
    from affectd_train.protocols import own, random_splits, speaker_independent

    if name == "own":
        return own.own
    if name.endswith("-random"):
        return partial(random_splits.seed_protocol, name.removesuffix("-random"))
    found: Protocol = getattr(speaker_independent, name.replace("-", "_"))
    return found


def _evaluate(options: argparse.Namespace) -> str:
    evaluate = _evaluate_own if options.protocol == "own" else _evaluate_corpora
    if options.address is None:
        return evaluate(options)
    from affectd_train.protocols.ahead import running
    from affectd_train.protocols.on_ray import on_ray

    with running(partial(on_ray, options.address)):
        return evaluate(options)


def _evaluate_corpora(options: argparse.Namespace) -> str:
    from affectd_train.data.terms import DEVELOPMENT

    if options.labels or options.by_file or options.folds is not None:
        raise UsageError("--labels, --by-file and --folds are for --protocol own")
    recipe = _recipe_of(options)
    corpora = (*recipe.corpora, *DEVELOPMENT * (options.protocol == "leave-one-corpus-out"))
    out = options.out or Path("runs") / options.protocol
    clips = _clips(options, corpora)  # before Keras starts
    return json.dumps(protocol(options.protocol)(clips, recipe, options.data, out), indent=1)


def _evaluate_own(options: argparse.Namespace) -> str:
    from affectd_train.data.own import read_own_clips
    from affectd_train.data.splits import own_splits, strangers_of
    from affectd_train.training.heard import check_start
    from affectd_train.training.recipe import with_own

    if options.corpora:
        raise UsageError("--corpora is for corpora, --protocol own for recordings of your own")
    if options.folds is not None and options.folds < 2:
        raise UsageError(f"--folds {options.folds}: must be 2 or more")
    recipe, clips = with_own(_recipe_of(options)), read_own_clips(options.data, options.labels)
    check_start(recipe.start, strangers_of(own_splits(clips, options.folds, options.by_file)))
    from affectd_train.protocols.own import own  # late: Keras takes seconds to start, and bad data is said at once

    figures = own(clips, recipe, options.data, options.out or Path("runs/own"), options.folds, options.by_file)
    return json.dumps(figures, indent=1)


def _unheard(options: argparse.Namespace) -> str:
    from affectd.recognition.model_file import read_model
    from affectd_train.evaluation.unheard import unheard, unheard_by

    corpora = unheard_by(read_model(options.model), options.model)
    if asked := _corpora(options.corpora):
        if heard := sorted(set(asked) - set(corpora)):
            raise UsageError(f"--corpora: {options.model} was trained on {heard[0]}")
        corpora = asked
    return json.dumps(unheard(options.model, _clips(options, corpora), options.data, options.out), indent=1)


def _robustness(options: argparse.Namespace) -> str:
    from affectd_train.evaluation.robustness import robustness

    if options.every < 1:
        raise UsageError(f"--every {options.every}: must be 1 or more")
    clips = _own_clips(options) or _clips(options)
    return json.dumps(robustness(options.evaluation, clips, options.data, options.every), indent=1)


def _behavior(options: argparse.Namespace) -> str:
    from affectd_train.evaluation.behavior import behavior

    clips = _own_clips(options) or _clips(options)
    return json.dumps(behavior(options.evaluation, options.model, clips, options.data), indent=1)


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
    from affectd_train.release import write_curves

    return _names(write_curves(options.run, options.out))


def _explore(options: argparse.Namespace) -> str:
    from affectd_train.reports.corpus_plots import explore

    return _names(*explore(options.folder, options.out, options.corpus))


def _pack(options: argparse.Namespace) -> str:
    from affectd_train.release import release

    model = release(options.run, options.evaluation, options.also, options.out, options.replace)
    size, temperature, uncertain = options.out.stat().st_size, model.temperature, model.thresholds["uncertain"]
    settings = f"temperature {temperature}, uncertain below {uncertain}"
    settings += ", neither of them fitted" if "unfitted" in model.card else ""
    return f"{_names(options.out)}: {size} bytes, {len(model.labels)} labels, {settings}"


def _voice(options: argparse.Namespace) -> str:
    from affectd_train.voice import add_voice

    corpora = _corpora(options.corpora)
    return add_voice(options.model, options.data, corpora, options.out, options.cache, options.replace)


def _personalize(options: argparse.Namespace) -> str:
    from affectd_train.personal import personalize_folder

    return "\n".join(personalize_folder(options.folder, options.labels, options.model, options.out))


def _report(options: argparse.Namespace) -> str:
    from affectd_train.release import write_report

    if (options.evaluation or options.data) and not options.html:
        raise UsageError("--evaluation and --data are for the page of --html")
    out = options.out or (None if options.html else Path("models/README.md"))
    pages = write_report(options.model, out, options.html, options.evaluation, options.data, options.replace)
    return _names(*pages)


def _keys(options: argparse.Namespace) -> str:
    from affectd_train.signing import make_keys

    make_keys(options.private, options.public)
    return _names(options.private, options.public)


def _sign(options: argparse.Namespace) -> str:
    from affectd_train.signing import sign

    message = sign(options.model, options.key, options.fleet, options.url, options.sequence)
    return message.decode().rstrip("\n")


def _archive(options: argparse.Namespace) -> str:
    _check_workers(options)
    from affectd_train.archive.command import archive

    return archive(
        options.source,
        options.out,
        is_timed=options.timeline,
        model_path=options.model,
        address=options.address,
        workers=options.workers,
    )


def _check_workers(options: argparse.Namespace) -> None:
    if options.workers is not None and options.workers < 1:
        raise UsageError(f"--workers {options.workers}: must be 1 or more")


def _import(options: argparse.Namespace) -> str:
    from affectd_train.foreign.asked import asked
    from affectd_train.foreign.importing import import_network

    return import_network(asked(options))


COMMANDS: dict[str, Callable[[argparse.Namespace], str]] = {
    "inspect": _inspect,
    "make": _make,
    "recipe": _recipe,
    "fit": _fit,
    "sweep": _sweep,
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
    "voice": _voice,
    "report": _report,
    "keys": _keys,
    "sign": _sign,
    "archive": _archive,
    "personalize": _personalize,
    "import": _import,
}
"""The commands by their names on the command line."""
