"""The model card as one page that loads nothing: its words and tables, and pictures drawn from the same figures."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

from affectd.errors import DataError
from affectd.recognition.model_file import ModelFile
from affectd_train.data.corpora import find_corpora, read_corpus
from affectd_train.data.terms import TERMS
from affectd_train.evaluation.denoise import FRONT_ENDS
from affectd_train.folders import say_skipped
from affectd_train.reports.card_sections import reliability_bins, rounded, table
from affectd_train.reports.card_words import Words, is_of_own, words_of
from affectd_train.reports.corpus_plots import examples
from affectd_train.reports.markup import as_html
from affectd_train.reports.model_card import confusion_table, markdown
from affectd_train.reports.plots import as_png, as_svg, colors, confusion, coverage, reliability, robustness_curves
from affectd_train.reports.records import Calibration, Card, Robustness
from affectd_train.stored import again, read_json, reading

_STYLE = Path(__file__).with_name("page.css")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_SCHEMES = {"light": ("#1f2428", "#ffffff"), "dark": ("#e6e9ec", "#15191d")}
"""Of the text and behind it."""


@dataclass
class _Addition:
    """What the page shows besides the card: pictures and tables below the section with this title."""

    section: str
    parts: list[str] = field(default_factory=list)


def page(model: ModelFile, evaluation: Path | None = None, data: Path | None = None) -> str:
    """Render the card of a model file as HTML, dark or light as the reader's system is.

    Parameters
    ----------
    evaluation
        The folder of the evaluation that the card is about, for what earlier cards do not hold: reliability.
    data
        A folder of corpora: of those that the file was trained on, examples are drawn.

    Raises
    ------
    DataError
        If the card is not complete, or about another evaluation; if no corpus of the card is in `data`.
    NoInputError
        If the evaluation or the folder is not there.
    UnavailableError
        If matplotlib is not installed.
    """
    text = markdown(model)
    if "evaluation" not in model.card:
        if evaluation or data:
            raise DataError("the card of the model has no evaluation, for which there could be more than its words")
        return _document(text, "", {})
    content = cast(Card, model.card)
    calibration = _calibration(content, evaluation)
    words = words_of(content)
    additions = [_confusion(content, words)]
    if calibration:
        additions.append(_calibrated(calibration))
    if robustness := content.get("measured", {}).get("robustness"):
        additions.append(_robust(robustness))
    if data is not None:
        additions.append(_examples(content, data))
    return _document(text, _tiles(model, content), {addition.section: addition.parts for addition in additions})


def _calibration(content: Card, evaluation: Path | None) -> Calibration | None:
    """Return the calibration of the card, with the reliability of the evaluation if it has none itself."""
    found = content.get("measured", {}).get("calibration")
    if evaluation is None:
        return found
    file = evaluation / "metrics.json"
    figures = read_json(file, "evaluate")
    with reading(file, again("evaluate")):
        whole = figures.pop("calibration", None)
        if rounded(figures) != content["evaluation"]:
            raise DataError(f"{evaluation} is not the evaluation that the card of the model is about")
        return cast(Calibration, {**found, "reliability": reliability_bins(whole)}) if found and whole else found


def _confusion(content: Card, words: Words) -> _Addition:
    figures = content["evaluation"]
    parts = [
        _figure(
            "Confusion",
            f"Shares of each row: {words.asked}, and what the float and the int8 network heard. The "
            "counts of the int8 network are in the table above.",
            lambda: confusion(figures),
        ),
        _more(
            "Counts of the float network",
            as_html(confusion_table(figures["labels"], figures["float"]["confusion"])),
        ),
    ]
    return _Addition(words.heading, parts)


def _calibrated(calibration: Calibration) -> _Addition:
    curve = [dict(zip(("coverage", "unweighted", "weighted"), p, strict=True)) for p in calibration["coverage"]]
    parts = [
        _figure(
            "Coverage",
            "Accuracy of the recordings that get a label, when the least certain ones are called uncertain. The "
            "figures are in the table above.",
            lambda: coverage({"coverage": curve}),
        )
    ]
    bins = calibration.get("reliability")
    if bins:
        drawn = [dict(zip(("probability", "right", "n"), b, strict=True)) for b in bins]
        whole = {"ece": calibration["ece"], "network": "int8", "reliability": drawn}
        columns = {"probability of the label": ".3f", "share of right answers": ".3f", "recordings": ""}
        parts += [
            _figure(
                "Reliability",
                "How often answers of each probability are right, with the number of recordings; those of an honest "
                "network lie on the dotted line. The figures are in the table below.",
                lambda: reliability(whole),
            ),
            as_html(table(columns, bins)),
        ]
    else:
        parts.append(as_html("The card does not hold the reliability; `--evaluation` shows that of its evaluation."))
    return _Addition("Calibration", parts)


def _robust(robustness: Robustness) -> _Addition:
    conditions: list[dict[str, Any]] = []
    for group, name, right, _, *others in cast(Sequence[tuple[Any, ...]], robustness["rows"]):
        rights = {front_end: {"unweighted": r} for front_end, r in zip(FRONT_ENDS, (right, *others), strict=True)}
        conditions.append({"group": group, "name": name} | rights)
    whole = {"recordings": robustness["recordings"], "conditions": conditions}
    words = (
        "Accuracy in noise by its ratio to the speech, and in rooms, at other gains and through codecs. The figures "
        "are in the table above."
    )
    return _Addition("Noise, rooms, gain and codecs", [_figure("Robustness", words, lambda: robustness_curves(whole))])


def _examples(content: Card, data: Path) -> _Addition:
    names = {row["corpus"] for row in content["data"]}
    roots = {corpus: root for corpus, root in find_corpora(data).items() if TERMS[corpus][0] in names}
    if not roots:
        own = "; of recordings of your own there are no examples: leave out --data" if is_of_own(content) else ""
        raise DataError(f"{data}: none of the corpora that the model was trained on is in it{own}")
    parts = []
    for corpus, root in roots.items():
        found = read_corpus(corpus, root)
        say_skipped(corpus, found.skipped)
        title = f"Examples of {TERMS[corpus][0]}"
        words = f"{TERMS[corpus][0]}: a recording of each emotion, as sound and as what the network gets of it."
        parts.append(_more(title, _figure(title, words, partial(examples, found.clips), as_png)))
    return _Addition("Data and terms", parts)


def _figure(title: str, words: str, draw: Callable[[], Any], encode: Callable[[Any], bytes] = as_svg) -> str:
    """Return a picture in the colors of either scheme, inside of the page."""
    light, dark = (_drawn(draw, encode, scheme) for scheme in _SCHEMES)
    image = f'<source media="(prefers-color-scheme: dark)" srcset="{dark}"><img src="{light}" alt="{title}">'
    return f"<figure><picture>{image}</picture><figcaption>{html.escape(words)}</figcaption></figure>"


def _drawn(draw: Callable[[], Any], encode: Callable[[Any], bytes], scheme: str) -> str:
    ink, ground = _SCHEMES[scheme]
    with colors(ink, ground, is_dark=scheme == "dark"):
        image = encode(draw())
    kind = "png" if encode is as_png else "svg+xml"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def _more(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>{body}</details>"


def _tiles(model: ModelFile, content: Card) -> str:
    """Return the figures that are asked for first."""
    figures, words = content["evaluation"], words_of(content)
    int8 = figures["int8"]
    low, high = int8["unweighted_interval"]
    tiles = [
        (
            f"{figures['fold_mean']['int8']:.3f}",
            f"{words.accuracy}; by chance 1 / {len(figures['labels'])}",
        ),
        (f"{low:.3f}–{high:.3f}", words.interval),
        (f"{figures['speakers'] or figures['clips']}", words.speakers.format(clips=figures["clips"])),
        (f"{len(model.tflite) / 1000:.0f} kB", f"network with {len(model.labels)} labels"),
    ]
    if calibration := content.get("measured", {}).get("calibration"):
        tiles.append((f"{calibration['ece']:.3f}", words.calibration))
    return f'<dl class="tiles">{"".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for value, name in tiles)}</dl>'


def _document(text: str, tiles: str, added: Mapping[str, Sequence[str]]) -> str:
    head, *sections = text.split("\n\n## ")
    titles = [section.partition("\n")[0] for section in sections]
    links = "".join(f'<li><a href="#{_anchor(title)}">{html.escape(title)}</a></li>' for title in titles)
    parts = [as_html(head), tiles, f'<nav aria-label="Sections"><ul>{links}</ul></nav>']
    for title, section in zip(titles, sections, strict=True):
        body = [as_html(f"## {section}"), *added.get(title, [])]
        parts.append(f'<section id="{_anchor(title)}">\n{chr(10).join(body)}\n</section>')
    name = head.partition("\n")[0].removeprefix("# ")
    dark = f"@media (prefers-color-scheme: dark) {{ :root {{ {_variables('dark')} }} }}"
    style = f":root {{ {_variables('light')} }}\n{dark}\n{_STYLE.read_text('utf-8')}"
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{html.escape(name)}</title>",
        f"<style>\n{style}</style>",
        "</head>",
        "<body>",
        "<main>",
        *parts,
        "</main>",
        "</body>",
        "</html>",
    ]
    return "\n".join(lines)


def _variables(scheme: str) -> str:
    ink, ground = _SCHEMES[scheme]
    return f"--ink: {ink}; --ground: {ground};"


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
