"""Write what the documents say about accuracy, from the cards inside the model files.

After a new model file: ``python tests/accuracy_documents.py``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from affectd.recognition.model_file import read_model
from affectd_train.reports.model_card import accuracy_table

REPOSITORY = Path(__file__).parents[1]
MODEL = REPOSITORY / "models" / "affectd.tflite"
COMMERCIAL = REPOSITORY / "models" / "affectd-commercial.tflite"
PERSONAL = REPOSITORY / "tests" / "personal_figures.json"
SETTLED = REPOSITORY / "tests" / "settled_figures.json"
PAGES = {
    REPOSITORY / "README.md": ["summary"],
    REPOSITORY / "docs" / "accuracy.md": ["summary", "table", "voice", "everyday", "commercial", "personal"],
}
"""page -> the parts that it has"""
NAMES = {
    "nemo": "nEMO, Polish",
    "ased": "ASED, Amharic",
    "emotale": "EmoTale, Danish and English",
    "turev": "TurEV-DB, Turkish, single words",
    "kor_emotiontts": "emotiontts, Korean, for development",
}
PART = re.compile(r"(<!-- accuracy: (\w+) -->\n).*?(\n<!-- end of accuracy -->\n)", re.DOTALL)
"""A part of a page that is written from figures, with its name."""


def summary() -> str:
    """Write the rows that the README shows, too."""
    card = read_model(MODEL).card
    others = {row["protocol"].split(",")[0]: row["int8"][0] for row in card["measured"]["strangers"]}
    rows = [
        ("RAVDESS, 8 emotions", f"**{card['evaluation']['fold_mean']['int8']:.3f}**", "1 / 8"),
        ("EmoDB, 6 emotions", f"{others['EmoDB']:.3f}", "1 / 6"),
        ("CREMA-D, 6 emotions", f"{others['CREMA-D']:.3f}", "1 / 6"),
        ("four corpora in other languages", f"{_range('cold')}; after a minute of a voice {_range('60')}", "1 / 8"),
    ]
    lines = ["| speakers that were not trained on, in | accuracy | by chance |", "|---|---|---|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows]) + "\n"


def _range(kind: str) -> str:
    right = [row[kind]["unweighted"] for row in json.loads(SETTLED.read_text())["corpora"].values()]
    return f"{min(right):.2f} to {max(right):.2f}"


KINDS = {"cold": "at first", "20": "20 s", "60": "60 s", "200": "200 s", "many voices": "200 s of many voices"}


def voice() -> str:
    """Write what a device gains from knowing a voice."""
    lines = [f"| corpus | speakers | {' | '.join(KINDS.values())} |", "|---|---" + "|---" * len(KINDS) + "|"]
    for corpus, row in json.loads(SETTLED.read_text())["corpora"].items():
        found = [row[kind] for kind in KINDS]
        cells = ["{:.3f} ({:.3f} to {:.3f})".format(one["unweighted"], *one["unweighted_interval"]) for one in found]
        lines.append(f"| {NAMES[corpus]} | {row['speakers']} | {' | '.join(cells)} |")
        for name, key in (("arousal", "arousal"), ("named", "named"), ("of these right", "precision")):
            cells = ["–" if one[key] is None else f"{one[key]:.2f}" for one in found]
            lines.append(f"| {name} | | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def everyday() -> str:
    """Write what the device names of everyday speech, before and after it learned."""
    lines = [
        "| source | hours | each recording anew | one device that learns | learned from | one voice |",
        "|---|---|---|---|---|---|",
    ]
    for source, row in json.loads(SETTLED.read_text())["everyday"].items():
        rates = (row["cold"]["named_per_hour"], row["settled"]["named_per_hour"])
        cells = [f"{row['cold']['hours']:.2f}", *(f"{rate:.1f}" for rate in rates)]
        lines.append(f"| `{source}` | {' | '.join(cells)} | {row['seconds']:.0f} s | {row['one_voice']:.0%} |")
    return "\n".join(lines) + "\n"


def table() -> str:
    """Write the table of the model card."""
    evaluation = read_model(MODEL).card["evaluation"]
    return f"Protocol: {evaluation['protocol']}.\n\n{accuracy_table(read_model(MODEL))}\n"


def commercial() -> str:
    """Write how right the model for any use is."""
    right = read_model(COMMERCIAL).card["evaluation"]["int8"]["by_corpus"]
    return f"Unweighted accuracy, int8: {right['cremad']:.3f} on strangers in CREMA-D, {right['emodb']:.3f} in EmoDB.\n"


def personal() -> str:
    """Write what ``personalize`` gains on speakers of each corpus."""
    lines = [
        "| corpus | clips a label | speakers | before | before, these labels | after | gain of learning | refused |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|")
    for corpus, rows in json.loads(PERSONAL.read_text())["corpora"].items():
        for n, row in rows.items():
            before, asked = f"{row['before'][0]:.2f}", f"{row['asked'][0]:.2f}"
            after = "{:.2f} ({:.2f} to {:.2f})".format(*row["after"])
            gain = "{:+.2f} ({:+.2f} to {:+.2f})".format(*row["of_learning"])
            cells = (NAMES[corpus], n, str(row["speakers"]), before, asked, after, gain, f"{row['refused'][0]:.0%}")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


PARTS = {
    "summary": summary,
    "table": table,
    "voice": voice,
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
