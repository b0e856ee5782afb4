"""What the card shows of devices that know the voice, from an evaluation that left whole corpora out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from affectd_train.data.terms import terms_of
from affectd_train.evaluation.settled import KINDS, MANY
from affectd_train.reports.card_sections import table


def settled_section(evaluation: Mapping[str, Any], measured: Mapping[str, Any]) -> list[str]:
    """Render the figures after days of a voice, of the evaluation or else of another one; nothing without any."""
    figures = evaluation if any("settled" in c for c in evaluation.get("corpora", {}).values()) else {}
    figures = figures or measured.get("settled", {})
    corpora = {name: corpus for name, corpus in figures.get("corpora", {}).items() if "settled" in corpus}
    if not corpora:
        return []
    rows = [(terms_of(name)[0], *_row(corpus["cold"], corpus["settled"])) for name, corpus in corpora.items()]
    if mean := figures.get("mean_settled"):
        rows.append(("mean", *_row(figures["mean"], mean)))
    columns = {"corpus": "", "at first": ".3f"} | {_heading(kind): ".3f" for kind in KINDS}
    return [
        "## How right it is about a voice that it knows",
        "Unweighted accuracy when any label may be answered, on corpora of which neither network nor voice heard "
        "anything: of a device that heard nothing before, and of one that heard so much of the same speaker, four "
        "fifths of it neutral, or for 200 s all speakers of the corpus in turn:",
        table(columns, [row[:-2] for row in rows]),
        "How many of the answers that are named are right, at the threshold of a file that says `uncertain` below it:",
        table({"corpus": "", "at first": ".3f", _heading("60"): ".3f"}, [(row[0], *row[-2:]) for row in rows]),
    ]


def _heading(kind: str) -> str:
    return "after 200 s of many voices" if kind == MANY else f"after {kind} s of one voice"


def _row(cold: Mapping[str, Any], settled: Mapping[str, Any]) -> tuple[float | None, ...]:
    unweighted = (cold["unweighted"], *(settled[kind]["unweighted"] for kind in KINDS))
    return (*unweighted, cold.get("precision"), settled["60"].get("precision"))
