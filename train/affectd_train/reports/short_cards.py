"""The cards of model files that no evaluation is about: fitted to one voice, imported, or rebuilt for comparison."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from affectd.recognition.model_file import ModelFile, model_id
from affectd.words.listings import hearing_words
from affectd_train.reports.card_sections import table
from affectd_train.reports.card_words import OWN_FAILURES, PROHIBITED

WRITTEN = "This page is written by `affectd-train report` from the card inside the file."


def short_card(model: ModelFile) -> str | None:
    """Return the card of a file that has no figures because of how it was made, as Markdown; None of any other."""
    card = model.card
    if "personal" in card:
        title, made = "fitted to one voice or place", _personal(card)
    elif "imported" in card:
        title, made = "trained elsewhere", _imported(card["imported"], model)
    elif "seed_system" in card.get("training", {}):
        title, made = "rebuilt for comparison", _rebuilt(card["training"]["seed_system"])
    else:
        return None
    return "\n\n".join(
        [
            f"# Model card: network {title}",
            WRITTEN,
            _network(model),
            *made,
            "## Known failures",
            OWN_FAILURES,
            "## What it must not be used for",
            PROHIBITED,
        ]
    )


def _network(model: ModelFile) -> str:
    spec, uncertain = model.spec, model.thresholds["uncertain"]
    columns = ", ".join(f"{n} {'MFCCs' if name == 'mfcc' else name}" for name, n in spec.columns.items())
    shape = " x ".join(map(str, model.input_shape[1:]))
    doubt = f"Below a probability of {uncertain:g} the device says `uncertain`." if uncertain else ""
    how = ""
    if model.hearing is not None:
        how = f"It is given a recording {', '.join(hearing_words(asdict(model.hearing), model.n_frames))}."
    words = (
        f"An int8 network of {len(model.tflite) / 1000:.0f} kB, `{model_id(model)}`: {shape} numbers in, of {columns}"
        f" of sound at {spec.sample_rate} Hz; {len(model.labels)} labels out: {', '.join(model.labels)}."
    )
    return " ".join(filter(None, (words, how, doubt)))


def _personal(card: Mapping[str, Any]) -> Iterator[str]:
    personal = card["personal"]
    found = personal["cross_validation"]
    yield "## How right it is about this voice or place"
    yield (
        f"The last layer was fitted to {found['clips']} recordings, the rest is that of the model file"
        f" `{personal['model']}`. Each recording was judged by what was fitted without it and others, in"
        f" {found['folds']} parts. **The figures are of recordings made as those it was fitted to, and of few**; of"
        " other people, places and days they say nothing."
    )
    kinds = {
        "fitted": "",
        f"`{personal['model']}` as it is": "_before",
        f"`{personal['model']}`, asked for these labels alone": "_before_of_these_labels",
    }
    rows = [(name, found[f"right{key}"], found["clips"], found[f"unweighted{key}"]) for name, key in kinds.items()]
    yield table({"": "", "right": "", "of": "", "unweighted accuracy": ".3f"}, rows)
    yield table({"label": "", "recordings": ""}, personal["clips"].items())
    yield "## Data and terms"
    data = [{"corpus": "recordings of this voice or place", "clips": found["clips"], "terms": _AGREED}]
    columns = ("corpus", "clips", "terms")
    yield table(dict.fromkeys(columns, ""), [map(row.get, columns) for row in [*data, *card.get("data", [])]])
    if use := card.get("use"):
        yield f"Use of the weights: {use}. The code is Apache-2.0."


_AGREED = "those that the people who speak in them agreed to"


def _imported(imported: Mapping[str, Any], model: ModelFile) -> Iterator[str]:
    yield "## How right it is"
    yield (
        "Not known: it was trained elsewhere, and nothing was tested here. `affectd classify --format csv` of"
        " recordings that it was not trained on, by other people, tells."
    )
    if "agreement" in imported:
        yield (
            f"In int8 it gives the label of the float network for {imported['agreement']:.1%} of"
            f" {imported['contexts']} contexts of the recordings that it was made int8 with."
        )
    yield "## Data and terms"
    yield f"Imported from `{imported['from']}`, a {imported['kind']}. Terms of use: {imported['terms']}."


def _rebuilt(system: Mapping[str, Any]) -> Iterator[str]:
    yield "## How right it is"
    yield (
        f"A network as student projects publish them ({', '.join(str(value) for value in system.values())}), rebuilt"
        " to compare with. Its figures are those of its protocol, on speakers that were trained on; about strangers"
        " expect far less."
    )
