"""The model card: what the file was trained on, how right it is, and what it must not be used for.

The card lives inside the model file as JSON; ``models/README.md`` is rendered from it alone, so that they agree.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, cast

from affectd.errors import DataError
from affectd.recognition.model_file import ModelFile, model_id
from affectd_train.data.everyday_speech import TRAINED
from affectd_train.data.own import OWN
from affectd_train.data.terms import EVERYDAY_TERMS, OPEN_TERMS, terms_of
from affectd_train.reports.card_sections import interval, measured, rounded, sections, table
from affectd_train.reports.card_words import CHOSEN, PROHIBITED, Words, is_of_own, own_commands, words_of
from affectd_train.reports.plain_lines import plain_lines
from affectd_train.reports.records import Card, Evaluation, Measured, Repeat, Shares, Training
from affectd_train.reports.settled_figures import shortened
from affectd_train.reports.settled_section import settled_section
from affectd_train.reports.short_cards import short_card
from affectd_train.stored import Choice, again, read_json, reading
from affectd_train.training.recipe import options_of


def card(evaluation: Path | None, run: Path, also: Sequence[Path] = ()) -> dict[str, object]:
    """Collect what `affectd_train.export.pack.pack` stores as ``card.json``: a `Card` without ``training``.

    The card is about `evaluation` and holds the network of `run`; of `also`, other protocols, the figures are listed too.
    Without an evaluation it has no figures, and says that nothing was fitted to any.

    Raises
    ------
    NoInputError
        If one of them is not finished.
    """
    fitted = read_json(run / "fit.json", "fit")
    with reading(run / "fit.json", again("fit")):
        clips: dict[str, int] = fitted["clips"]
        terms = {corpus: terms_of(corpus) for corpus in sorted(clips)}
    use = use_of(clips)
    if OWN in clips and use == ANY_USE:
        use = "as the people who speak in the recordings agreed to"
    data: list[Mapping[str, str | int]]
    data = [{"corpus": terms[c][0], "clips": n, "terms": terms[c][1]} for c, n in sorted(clips.items())]
    if start := fitted.get("start"):  # its terms hold for all that comes of its weights
        data += start["data"]
        use = start["use"] if use == ANY_USE else f"{use}; of the weights it started from: {start['use']}"
    content: Card = {
        "name": "affectd",
        "data": data,
        "use": use,
        "measured": measured(evaluation, also),
    }
    if evaluation is None:
        return {**content, "unfitted": "temperature and threshold: packed without an evaluation"}
    figures = read_json(evaluation / "metrics.json", "evaluate")
    figures.pop("calibration", None)  # in full it would weigh as much as all the rest
    return {**content, "evaluation": rounded(shortened(figures))}


ANY_USE = "any, with attribution of CREMA-D"


def use_of(corpora: Iterable[str]) -> str:
    """Say what weights that were trained on corpora may be used for."""
    limiting = [name for name, _, limit in map(terms_of, sorted(corpora)) if limit]
    return f"non-commercial only, as {' and '.join(limiting)} demand" if limiting else ANY_USE


def with_voice_terms(content: Mapping[str, Any], clips: Mapping[str, int]) -> dict[str, Any]:
    """Add the data and terms of a voice, which was fitted on so many clips of corpora, to a card; if it has any.

    Those of the network alone stay below ``without``.
    """
    if "data" not in content or "use" not in content:
        return dict(content)
    named = {row["corpus"] for row in content["data"]}
    added = {corpus: n for corpus, n in clips.items() if terms_of(corpus)[0] not in named}
    rows = [{"corpus": terms_of(corpus)[0], "clips": n, "terms": terms_of(corpus)[1]} for corpus, n in added.items()]
    use, further = content["use"], use_of(added)
    if further != ANY_USE:
        use = further if use == ANY_USE else f"{use}; of the voice: {further}"
    training = content.get("training", {})
    voice = {**training.get("voice", {}), "without": {"data": content["data"], "use": content["use"]}}
    return {**content, "data": [*content["data"], *rows], "use": use, "training": {**training, "voice": voice}}


def markdown(model: ModelFile, pictures: Sequence[str] = ()) -> str:
    """Render the card of a model file; that of a file without figures is a short one where there can be none.

    `pictures` are files beside the page, to be shown on it.

    Raises
    ------
    DataError
        If the card holds no evaluation and training, as in the files of single folds.
    """
    if short := short_card(model):
        return short
    if missing := sorted({"evaluation", "training"} - model.card.keys()):
        raise DataError(
            f"the card of the model has no {' and no '.join(missing)}; affectd-train pack writes them, from an evaluation"
        )
    content = cast(Card, model.card)
    figures, training, measurements = content["evaluation"], content["training"], content.get("measured", {})
    recipe, every = training["recipe"], measurements["robustness"]["every"] if "robustness" in measurements else 1
    protocol = figures.get("name", "ravdess-emobox")
    any_use = content["use"] == ANY_USE
    words = words_of(content)
    title = "network of own recordings" if is_of_own(content) else f"affectd{'-commercial' * any_use}.tflite"
    parts = [
        f"# Model card: {title}",
        "This page is written by `affectd-train report` from the card inside the file; the commands at its end print its tables.",
        *([] if is_of_own(content) else plain_lines(content, has_voice=model.voice is not None)),
        "## The network",
        _network(model, content),
        *_data(model, content, any_use),
        *(settled_section(figures, measurements) if model.voice is not None else []),
        *_accuracy(model, figures, words),
        *sections(measurements),
        *(["## Pictures", "\n".join(f"![{Path(name).stem}]({name})" for name in pictures)] if pictures else []),
        "## Known failures",
        known_failures(figures["labels"], figures["int8"]["confusion"]),
        words.failures,
        "## What it must not be used for",
        PROHIBITED,
        "## Commands",
        _commands(content, protocol, measurements, {**recipe, "spec": model.spec.to_dict()}, every),
        f"Trained on {len(training['speakers']) or 'unknown'} speakers; recipe: seed {recipe['seed']}, "
        f"{recipe['pretrain_steps']} + {recipe['finetune_steps']} steps of {recipe['batch_size']}.",
    ]
    return "\n\n".join(filter(None, parts))


def started_from(start: Mapping[str, Any]) -> str:
    """Say what training started from."""
    return (
        f"Training started from the weights of the model file `{start['model']}`. The recordings that those were trained on are in the table too, "
        "their terms hold for these weights, and no figure below says anything about their speakers."
    )


def chosen_by(choice: Choice, choices: Mapping[str, Choice]) -> str:
    """Say why training started from a model file, or from nothing, and what the networks of the folds started from."""
    what = {"start": "the weights of a model file", "scratch": "nothing"}
    folds = [one["chosen"] for name, one in choices.items() if name.startswith("fold-")]
    text = (
        f"That training starts from {what[choice['chosen']]} was chosen on {choice['clips']} of the recordings, held back for it"
        + (f" with all of their {choice['speakers']} speakers" if choice["speakers"] > 1 else "")
        + f": unweighted accuracy {choice['start']:.3f} from the weights of a model file, {choice['scratch']:.3f} from nothing."
    )
    if folds:
        text += (
            f" Each network below chose by itself, without the recordings that it is tested on: {folds.count('start')} of"
            f" {len(folds)} started from the weights of the model file."
        )
    return text


def is_card_of(text: str, model: ModelFile) -> bool:
    """Tell whether a page, as Markdown or HTML, is a card of the network in a model file, whatever was measured."""
    return "affectd-train report" in text and model_id(model) in text


def _network(model: ModelFile, content: Card) -> str:
    spec, named = model.spec, content.get("named", {})
    fitted = "Both were fitted on the test recordings below, after the fact: the figures are at temperature 1 and without a threshold."
    if "unheard" in named:
        of_each = (
            f"{kind} corpora {share:.0%} are named" + (f" and {right:.0%} of these right" if right else "")
            for kind, (share, right) in named.items()
        )
        fitted = (
            "Both were fitted on corpora that were left out, on all recordings that networks trained the same way answered of them: "
            f"of strangers of {', of '.join(of_each)}. All accuracies below but those are without a threshold."
        )
    columns = ", ".join(f"{n} {'MFCCs' if name == 'mfcc' else name}" for name, n in spec.columns.items())
    return (
        f"An int8 Conv1D network of {len(model.tflite) / 1000:.0f} kB, `{model_id(model)}`: {model.n_frames} frames of {columns} ({model.n_frames * spec.hop_length / spec.sample_rate:.1f} s of sound at {spec.sample_rate} Hz) in, "
        f"{len(model.labels)} labels out: {', '.join(model.labels)}. Below a probability of {model.thresholds['uncertain']:.3f} the device says `uncertain`. Softmax temperature {model.temperature:.3f}. {fitted}"
    )


def _data(model: ModelFile, content: Card, any_use: bool) -> list[str]:
    columns = ("corpus", "clips", "terms")
    recipe = content["training"]["recipe"]
    talk = "half of `speech/` (Apache-2.0), which has no labels,"
    if recipe.get("everyday_by_source"):
        sources = [f"`{source}/` ({EVERYDAY_TERMS[source][0]})" for source in TRAINED]
        talk = f"{' and '.join(sources)}, which have no labels,"
    corpora = ",".join(OPEN_TERMS)
    open_terms = f" `affectd-train fit --corpora {corpora}` trains on the two corpora that allow commercial use."
    choices = content["evaluation"].get("choices", {}) if "evaluation" in content else {}
    has_choice = not any_use and not is_of_own(content)
    return [
        "## Data and terms",
        table(dict.fromkeys(columns, ""), [map(row.get, columns) for row in content["data"]]),
        "Where they exist, `fit` also uses `noise/` (CC0 and Pixabay licence, room responses Apache-2.0) for augmentation, and "
        + talk
        + " as speech that is not acted."
        + (" The encoder of Moonshine base (MIT license) taught the network." if recipe.get("teacher") else ""),
        *([_of_voice(model, content["training"])] if "voice" in content["training"] else []),
        *([started_from(start)] if (start := content["training"].get("start")) else []),
        *([chosen_by(choice, choices)] if (choice := content["training"].get("choice")) else []),
        f"Use of the weights: {content['use']}. The code is Apache-2.0." + open_terms * has_choice,
    ]


def _of_voice(model: ModelFile, training: Training) -> str:
    share = 1.0 if model.voice is None else model.voice.spec.stranger_share
    heard = ", ".join(terms_of(corpus)[0] for corpus in sorted(training.get("clips", {})))
    voice = training["voice"]
    settings = voice.get("settings", {})
    has_layers = "stranger" in settings
    what = "two small layers" if has_layers else "a linear layer"
    return (
        f"Of these corpora the network heard {heard}. The voice beside it, {what} on 62 numbers relative to how the voice of the place usually sounds, "
        f"was fitted on {', '.join(terms_of(corpus)[0] for corpus in sorted(voice['clips']))} ({voice['speakers']} speakers). "
        + "Two more on the same numbers as they are say something of a voice that is not known. " * has_layers
        + "What is usually answered at a place is taken from all answers there. " * ("usual" in settings)
        + "What sounds like noise rather than like speech is doubted. " * ("noise" in voice)
        + f"So is a voice that is not known, whose logits are multiplied by {share:g}; temperature and threshold are fitted as without that. "
        * (share < 1)
        + "All figures below but those of a voice that is known are those of a device that knows nothing yet."
    )


def _accuracy(model: ModelFile, figures: Evaluation, words: Words) -> list[str]:
    int8, labels = figures["int8"], figures["labels"]
    columns = {"label": "", "precision": ".3f", "recall": ".3f", "F1": ".3f", "clips": ".0f"}
    of_class = ("precision", "recall", "f1-score", "support")
    published = [f"Published figures on this corpus: {figures['published']}."] if figures.get("published") else []
    if published and len(others := figures.get("trained_on", [])) > 1:
        published[0] += f" Those networks were trained on it alone, ours on {len(others) - 1} other corpora, too."
    chosen = [CHOSEN] if figures.get("name") == "ravdess-emobox" else []
    return [
        f"## {words.heading}",
        f"Protocol: {figures['protocol']}. {words.about}",
        *published,
        *chosen,
        accuracy_table(model),
        f"int8 and float give the same label to {figures['same_label']:.1%} of the {figures['clips']} recordings ({figures['speakers'] or 'unknown'} speakers).",
        "Per class, int8:",
        table(columns, [(label, *(c[key] for key in of_class)) for label, c in int8["per_class"].items()]),
        f"Confusion matrix, int8; a row is {words.asked}, a column what the device heard:",
        confusion_table(labels, int8["confusion"]),
    ]


def _commands(content: Card, protocol: str, short: Measured, recipe: Mapping[str, Any], every: int) -> str:
    """Say how to make the file and the page again."""
    options = f" {options}" if (options := options_of(recipe)) else ""
    if is_of_own(content):
        return "\n".join(["```sh", *own_commands(content, options), "```"])
    run = "runs/commercial" if content["use"] == ANY_USE else "runs/final"
    evaluation, model = f"runs/{protocol}", f"{run}/affectd.tflite"
    pack = f"affectd-train pack {run} --evaluation {evaluation}"
    also, repeats = short.get("also", {}), short.get("repeats", {})
    pack += f" --also {' '.join(f'runs/{name}' for name in (*repeats, *also))}" if also or repeats else ""
    pack += f" --out {model}"
    voice = content["training"].get("voice")
    file = f"{run}/voice.tflite" if voice else model
    corpora = ",".join(voice["clips"]) if voice else ""
    speak = [f"affectd-train voice {model} --data DATA --corpora {corpora} --out {file}"] if voice else []
    lines = [
        f"affectd-train evaluate --data DATA --protocol {protocol}{options}   # the figures above",
        *(
            f"affectd-train evaluate --data DATA --protocol {protocol} {its['options']} --out runs/{name}"
            for name, its in repeats.items()
        ),
        *(f"affectd-train evaluate --data DATA --protocol {name} {its}".rstrip() for name, its in also.items()),
        f"affectd-train fit --data DATA --out {run} --cache {evaluation}/cache{options}",
        f"affectd-train quantize {run}",
        f"affectd-train robustness --data DATA --evaluation {evaluation}{f' --every {every}' if every > 1 else ''}",
        pack,
        *speak,
        f"affectd-train behavior --data DATA --evaluation {evaluation} --model {file}",
        f"{pack}   # again, with the figures of behavior",
        *speak,
        f"affectd-train report {file} --out {run}/README.md",
    ]
    return "\n".join(["```sh", *lines, "```"])


def accuracy_table(model: ModelFile) -> str:
    """Render the accuracy of a model file; the documents show the same table."""
    content = cast(Card, model.card)
    figures = content["evaluation"]
    int8, other = figures["int8"], figures["float"]
    names, both = ("int8", "float"), (int8, other)
    intervals = (interval(network["unweighted"], network["unweighted_interval"]) for network in both)
    groups = [(f"fold {name}", fold["int8"], fold["float"]) for name, fold in figures["folds"].items()]
    groups += [(f"{name} speakers", right, other["by_gender"][name]) for name, right in int8["by_gender"].items()]
    groups += [(f"speakers aged {age}", right, other["by_age"][age]) for age, right in int8.get("by_age", {}).items()]
    groups += [(terms_of(c)[0], right, other["by_corpus"][c]) for c, right in int8.get("by_corpus", {}).items()]
    rows = [
        ("unweighted accuracy, mean of the folds", *(f"**{figures['fold_mean'][name]:.3f}**" for name in names)),
        *_of_seeds(figures["fold_mean"], content.get("measured", {}).get("repeats", {}).values()),
        ("unweighted, all folds together (95 % interval)", *intervals),
        ("weighted, all folds together", *(f"{n['weighted']:.3f}" for n in both)),
        *((f"unweighted, {name}", *(f"{right:.3f}" for right in rights)) for name, *rights in groups),
    ]
    return table(dict.fromkeys(("", *names), ""), rows)


def _of_seeds(shipped: Shares, repeats: Collection[Repeat]) -> list[tuple[str, ...]]:
    """Return the rows of the trainings that differ in the seed alone, and of all of them."""
    if not repeats:
        return []
    names = ("int8", "float")
    found = [[one["fold_mean"][name] for name in names] for one in repeats]
    columns = zip([shipped[name] for name in names], *found, strict=True)
    return [
        *(
            (f"the same, seed {one['seed']}", *map("{:.3f}".format, row))
            for one, row in zip(repeats, found, strict=True)
        ),
        (f"{len(found) + 1} seeds, mean (standard deviation)", *(f"{mean(c):.3f} ({stdev(c):.3f})" for c in columns)),
    ]


def confusion_table(labels: Sequence[str], confusion: Sequence[Sequence[int]]) -> str:
    """Render how often each label, a row, was heard as each, a column."""
    rows = [(f"**{truth}**", *row) for truth, row in zip(labels, confusion, strict=True)]
    return table(dict.fromkeys(("", *labels), ""), rows)


def known_failures(labels: Sequence[str], confusion: Sequence[Sequence[int]]) -> str:
    """List the five commonest confusions of a matrix, as shares of the recordings of each class.

    Example
    -------
    >>> print(known_failures(["sad", "calm"], [[3, 1], [0, 2]]))
    - 25% of sad recordings are heard as calm.
    """
    pairs = [
        (n / max(1, sum(row)), truth, given)
        for truth, row in zip(labels, confusion, strict=True)
        for given, n in zip(labels, row, strict=True)
        if given != truth and n
    ]
    worst = sorted(pairs, reverse=True)[:5]
    return "\n".join(f"- {share:.0%} of {truth} recordings are heard as {given}." for share, truth, given in worst)
