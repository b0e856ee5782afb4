"""What a card keeps of the figures of devices that know the voice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def shortened(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of ``metrics.json``, for the card inside the file, what no page shows of ``settled``."""
    short = {key: value for key, value in figures.items() if value or key != "mean_settled"}
    for group in ("corpora", "development"):
        if group in short:
            short[group] = {name: _shown(corpus) for name, corpus in short[group].items()}
    return short


def settled_part(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of ``metrics.json`` that `settled_section` shows, of an evaluation that the card is not about."""
    corpora = {
        name: {key: corpus[key] for key in ("note", "speakers", "cold", "settled") if key in corpus}
        for name, corpus in shortened(figures).get("corpora", {}).items()
        if "settled" in corpus
    }
    means = {key: figures[key] for key in ("mean", "mean_settled") if figures.get("mean_settled")}
    return {"corpora": corpora, **means} if corpora else {}


def _shown(corpus: Mapping[str, Any]) -> dict[str, Any]:
    settled = corpus.get("settled")
    return {**corpus, **({"settled": {kind: _of(row) for kind, row in settled.items()}} if settled else {})}


def _of(figures: Mapping[str, Any]) -> dict[str, Any]:
    shown = ("unweighted", "unweighted_interval", "arousal", "named", "precision")
    return {key: figures[key] for key in shown if key in figures}
