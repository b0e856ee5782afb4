"""What the card shows of corpora that were never heard: of devices at first, and of devices that know the voice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from affectd_train.data.terms import terms_of
from affectd_train.evaluation.settled import KINDS, MANY
from affectd_train.reports.card_sections import interval, table

_SURE = ("arousal", "named", "precision")


def settled_section(evaluation: Mapping[str, Any], measured: Mapping[str, Any]) -> list[str]:
    """Render the figures after days of a voice, of the evaluation or else of another one; nothing without any."""
    figures = evaluation if any("settled" in c for c in evaluation.get("corpora", {}).values()) else {}
    figures = figures or measured.get("settled", {})
    corpora = {name: corpus for name, corpus in figures.get("corpora", {}).items() if "settled" in corpus}
    if not corpora:
        return []
    rows = {terms_of(name)[0]: (corpus["cold"], corpus["settled"]) for name, corpus in corpora.items()}
    if mean := figures.get("mean_settled"):
        rows["mean"] = (figures["mean"], mean)
    columns = ("corpus", "at first", *map(_heading, KINDS))
    notes = [f"- {terms_of(name)[0]}: {corpus['note']}." for name, corpus in corpora.items() if corpus.get("note")]
    sure = ("arousal", "named", "of these right")
    after = [f"{name}, {when}" for when in ("at first", _heading("60")) for name in sure]
    return [
        "## How right it is about corpora that it never heard",
        "Each tested by a network and a voice of which neither heard anything of it: other people, microphones, "
        "sentences, mostly another language. Unweighted accuracy when any label may be answered, `calm` as neutral "
        "where a corpus has no calm; of a device that heard nothing before, and of one that heard so much of the same "
        "speaker, four fifths of it neutral, or for 200 s all speakers of the corpus in turn. In brackets 95 % "
        "bootstrap over speakers:",
        table(dict.fromkeys(columns, ""), [(name, *_accuracies(*row)) for name, row in rows.items()]),
        "\n".join(notes),
        "Arousal as the area under the curve, high against low; the share of recordings that is named, at a threshold "
        "of `uncertain` fitted on the other corpora; and how much of that is right:",
        table({"corpus": ""} | dict.fromkeys(after, ".2f"), [(name, *_sure(*row)) for name, row in rows.items()]),
    ]


def _heading(kind: str) -> str:
    return "after 200 s of many voices" if kind == MANY else f"after {kind} s of one voice"


def _accuracies(cold: Mapping[str, Any], settled: Mapping[str, Any]) -> list[str]:
    found = [cold, *(settled[kind] for kind in KINDS)]
    return [
        interval(one["unweighted"], one["unweighted_interval"])
        if "unweighted_interval" in one
        else f"{one['unweighted']:.3f}"
        for one in found
    ]


def _sure(cold: Mapping[str, Any], settled: Mapping[str, Any]) -> list[float | None]:
    return [one.get(key) for one in (cold, settled["60"]) for key in _SURE]
