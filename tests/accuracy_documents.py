"""Write what the documents say about accuracy, from the cards inside the model files.

After a new model file: ``python tests/accuracy_documents.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from affectd.recognition.model_file import read_model
from affectd_train.evaluation.rates import rate_text
from affectd_train.reports.model_card import accuracy_table

REPOSITORY = Path(__file__).parents[1]
MODEL = REPOSITORY / "models" / "affectd.tflite"
COMMERCIAL = REPOSITORY / "models" / "affectd-commercial.tflite"
PERSONAL = REPOSITORY / "tests" / "personal_figures.json"
UNHEARD = REPOSITORY / "tests" / "unheard_figures.json"
"""What ``affectd-train unheard models/affectd.tflite --data DATA`` printed."""
UNHEARD_COMMERCIAL = REPOSITORY / "tests" / "unheard_commercial.json"
"""The same of ``models/affectd-commercial.tflite``."""
TURNS = REPOSITORY / "tests" / "turns_figures.json"
"""What ``python tests/turns.py DATA`` printed."""
PAGES = {
    REPOSITORY / "README.md": ["summary"],
    REPOSITORY / "docs" / "accuracy.md": [
        "summary",
        "table",
        "unheard",
        "turns",
        "development",
        "everyday",
        "affect",
        "commercial",
        "personal",
    ],
}
"""page -> the parts that it has"""
NAMES = {
    "ravdess": "RAVDESS, English",
    "tess": "TESS, English, two women",
    "cremad": "CREMA-D, English",
    "emodb": "EmoDB, German",
    "nemo": "nEMO, Polish",
    "ased": "ASED, Amharic",
    "emotale": "EmoTale, Danish and English",
    "turev": "TurEV-DB, Turkish, single words",
    "kor_emotiontts": "emotiontts, Korean, for development",
}
WEAK = ("emospeech", "turev")
"""Corpora whose labels say little."""
PART = re.compile(r"(<!-- accuracy: (\w+) -->\n).*?(\n<!-- end of accuracy -->\n)", re.DOTALL)
"""A part of a page that is written from figures, with its name."""


def summary() -> str:
    """Write the rows that the README shows, too."""
    card = read_model(MODEL).card
    rows = {row["protocol"].split(",")[0]: row for row in card["measured"]["strangers"]}
    others = {name: row["int8"][0] for name, row in rows.items()}
    cut = re.search(r"cut to [\d.]+ s", rows["EmoDB"]["protocol"])
    repeats = [f"{one['fold_mean']['int8']:.3f}" for one in card["measured"].get("repeats", {}).values()]
    seeds = f"; trained again {', '.join(repeats)}" if repeats else ""
    rows = [
        ("RAVDESS, 8 emotions", f"**{card['evaluation']['fold_mean']['int8']:.3f}**{seeds}", "1 / 8"),
        (f"EmoDB, 6 emotions{f', {cut[0]}' if cut else ''}", f"{others['EmoDB']:.3f}", "1 / 6"),
        ("CREMA-D, 6 emotions", f"{others['CREMA-D']:.3f}", "1 / 6"),
    ]
    settled = card["measured"]["settled"]
    cold, known = settled["mean"]["unweighted"], settled["mean_settled"]["60"]["unweighted"]
    abroad = ("seven corpora, each never heard", f"**{cold:.2f}**, after a minute of a voice **{known:.2f}**", "1 / 8")
    lines = ["| speakers that were not trained on, in | accuracy | by chance |", "|---|---|---|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in [abroad, *rows]]) + "\n"


KINDS = {"cold": "at first", "20": "20 s", "60": "60 s", "200": "200 s", "many voices": "200 s of many voices"}


def unheard() -> str:
    """Write how right networks and voices are about a corpus of which they heard nothing."""
    found = read_model(MODEL).card["measured"]["settled"]
    mean = {"cold": found["mean"], "settled": found["mean_settled"]}
    return _of_unheard(found["corpora"], _rows("mean", "", mean))


def turns() -> str:
    """Write how right the same are where people take turns, with the voice at hand and without it."""
    found = json.loads(TURNS.read_text())
    lines = ["| corpus | what a voice says first | after 20 s of it | after 60 s of it |", "|---|---|---|---|"]
    for corpus in [*found["at_hand"]["corpora"], "mean"]:
        both = [one["mean"] if corpus == "mean" else one["corpora"][corpus] for one in found.values()]
        cells = [
            f"{_interval(with_it, 'unweighted')}, {both[1][at]['unweighted']:.3f}" for at, with_it in both[0].items()
        ]
        lines.append(f"| {NAMES.get(corpus, corpus)} | {' | '.join(cells)} |")
    for title, key in (("named", "named"), ("of these right", "precision")):
        cells = [
            f"{row[key]:.2f}, {found['place_alone']['mean'][at][key]:.2f}"
            for at, row in found["at_hand"]["mean"].items()
        ]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def development() -> str:
    """Write how right the file itself is about the corpora that never train."""
    return _of_unheard(json.loads(UNHEARD.read_text())["corpora"])


def _of_unheard(corpora: dict[str, Any], last: Sequence[str] = ()) -> str:
    lines = [f"| corpus | speakers | {' | '.join(KINDS.values())} |", "|---|---" + "|---" * len(KINDS) + "|"]
    for corpus, figures in corpora.items():
        lines += _rows(NAMES[corpus], str(figures["speakers"]), figures)
    notes = [f"- {NAMES[name].split(',')[0]}: {found['note']}" for name, found in corpora.items() if found.get("note")]
    return "\n".join([*lines, *last, "", *notes]) + "\n"


def _rows(name: str, speakers: str, figures: dict[str, Any]) -> list[str]:
    found = [figures["cold"] if kind == "cold" else figures["settled"][kind] for kind in KINDS]
    cells = [_interval(one, "unweighted") for one in found]
    lines = [f"| {name} | {speakers} | {' | '.join(cells)} |"]
    for title, key in (("arousal", "arousal"), ("named", "named"), ("of these right", "precision")):
        cells = ["–" if one.get(key) is None else f"{one[key]:.2f}" for one in found]
        lines.append(f"| {title} | | {' | '.join(cells)} |")
    return lines


def _interval(figures: dict[str, Any], key: str) -> str:
    if figures.get(f"{key}_interval") is None:
        return "–" if figures.get(key) is None else f"{figures[key]:.3f}"
    return "{:.3f} ({:.3f} to {:.3f})".format(figures[key], *figures[f"{key}_interval"])


def affect() -> str:
    """Write how well arousal and valence rank the recordings of a corpus of which nothing was heard."""
    corpora = read_model(MODEL).card["measured"]["settled"]["corpora"]
    lines = ["| corpus | speakers | arousal | valence |", "|---|---|---|---|"]
    for name, figures in corpora.items():
        cells = [_interval(figures["cold"], key) for key in ("arousal", "valence")]
        lines.append(f"| {NAMES[name]} | {figures['speakers']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def everyday() -> str:
    """Write what the device names of everyday speech, before and after it learned."""
    found = json.loads(UNHEARD.read_text())
    lines = ["| source | hours | each recording anew | one device that learns |", "|---|---|---|---|"]
    for source, cold in found["everyday"].items():
        rates = [_named(one[source]) for one in (found["everyday"], found["everyday_settled"])]
        lines.append(f"| `{source}` | {cold['hours']:.2f} | {' | '.join(rates)} |")
    return "\n".join(lines) + "\n"


def _named(rates: dict[str, Any]) -> str:
    return rate_text(rates["named_per_hour"], rates["hours"], 1)


def table() -> str:
    """Write the table of the model card."""
    evaluation = read_model(MODEL).card["evaluation"]
    return f"Protocol: {evaluation['protocol']}.\n\n{accuracy_table(read_model(MODEL))}\n"


def commercial() -> str:
    """Write how right the model for any use is."""
    right = read_model(COMMERCIAL).card["evaluation"]["int8"]["by_corpus"]
    found = json.loads(UNHEARD_COMMERCIAL.read_text())
    named = ", ".join(f"`{source}` {_named(rates)}" for source, rates in found["everyday"].items())
    return (
        f"Unweighted accuracy, int8: {right['cremad']:.3f} on strangers in CREMA-D, {right['emodb']:.3f} in EmoDB. "
        "In an hour of everyday speech that\n"
        f"it never heard it names something else than neutral, by source: {named} times. "
        "Corpora that it never heard:\n\n"
        f"{_of_unheard({name: rows for name, rows in found['corpora'].items() if name not in WEAK})}"
    )


def personal() -> str:
    """Write what ``personalize`` gains on speakers of each corpus."""
    titles = "clips a label | speakers | before | these labels | voice known | after | gain of learning | refused"
    lines = [
        f"| corpus | {titles} | at random | words at random | named | everyday speech |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for corpus, rows in json.loads(PERSONAL.read_text())["corpora"].items():
        for n, row in rows.items():
            before = [f"{row[name][0]:.2f}" for name in ("before", "asked", "known")]
            after = "{:.2f} ({:.2f} to {:.2f})".format(*row["after"])
            gain = "{:+.2f} ({:+.2f} to {:+.2f})".format(*row["of_learning"])
            refused = [f"{row[name][0]:.0%}" for name in ("refused", "random_refused", "random_words_refused")]
            named = f"{row['named'][0]:.2f} ({row['named_without_doubt'][0]:.2f})"
            everyday = "{named_an_hour:.0f} ({without_doubt:.0f})".format(**row["everyday"])
            cells = (NAMES[corpus], n, str(row["speakers"]), *before, after, gain, *refused, named, everyday)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


PARTS = {
    "summary": summary,
    "table": table,
    "unheard": unheard,
    "affect": affect,
    "turns": turns,
    "development": development,
    "everyday": everyday,
    "commercial": commercial,
    "personal": personal,
}


def written(page: str) -> str:
    """Return this text of a page with every part that is made of figures written anew."""
    return PART.sub(lambda match: f"{match[1]}\n{PARTS[match[2]]()}{match[3]}", page)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(written(page.read_text()))
