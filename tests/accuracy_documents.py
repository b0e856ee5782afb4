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
PAGES = {
    REPOSITORY / "README.md": ["summary"],
    REPOSITORY / "docs" / "accuracy.md": ["summary", "table", "commercial", "personal"],
}
"""page -> the parts that it has"""
PART = re.compile(r"(<!-- accuracy: (\w+) -->\n).*?(\n<!-- end of accuracy -->\n)", re.DOTALL)
"""A part of a page that is written from figures, with its name."""


def summary() -> str:
    """Write the four rows that the README shows, too."""
    card = read_model(MODEL).card
    strangers = card["measured"]["strangers"]
    others = {row["protocol"].split(",")[0]: row["int8"][0] for row in strangers}
    unheard = [row["any"] for row in strangers if "corpora disjoint" in row["protocol"]]
    rows = [
        ("RAVDESS, 8 emotions", f"**{card['evaluation']['fold_mean']['int8']:.3f}**", "1 / 8"),
        ("EmoDB, 6 emotions", f"{others['EmoDB']:.3f}", "1 / 6"),
        ("CREMA-D, 6 emotions", f"{others['CREMA-D']:.3f}", "1 / 6"),
        ("a corpus of which nothing was trained on", f"{min(unheard):.2f} to {max(unheard):.2f}", "1 / 8"),
    ]
    lines = ["| speakers that were not trained on, in | accuracy | by chance |", "|---|---|---|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows]) + "\n"


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
    names = {"nemo": "nEMO, Polish", "ased": "ASED, Amharic", "emotale": "EmoTale, Danish and English"}
    names["turev"] = "TurEV-DB, Turkish, single words"
    lines = [
        "| corpus | clips a label | speakers | before | before, these labels | after | gain of learning | refused |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|")
    for corpus, rows in json.loads(PERSONAL.read_text())["corpora"].items():
        for n, row in rows.items():
            before, asked = f"{row['before'][0]:.2f}", f"{row['asked'][0]:.2f}"
            after = "{:.2f} ({:.2f} to {:.2f})".format(*row["after"])
            gain = "{:+.2f} ({:+.2f} to {:+.2f})".format(*row["of_learning"])
            cells = (names[corpus], n, str(row["speakers"]), before, asked, after, gain, f"{row['refused'][0]:.0%}")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


PARTS = {"summary": summary, "table": table, "commercial": commercial, "personal": personal}


def written(page: str) -> str:
    """Return this text of a page with every part that is made of figures written anew."""
    return PART.sub(lambda match: f"{match[1]}\n{PARTS[match[2]]()}{match[3]}", page)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(written(page.read_text()))
