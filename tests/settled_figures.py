"""Measure what the shipped file gains from knowing a voice, on corpora that neither its network nor its voice heard.

    python tests/settled_figures.py DATA [CACHE] > tests/settled_figures.json
    python tests/accuracy_documents.py
    affectd-train report models/affectd.tflite --out models/README.md

The figures of corpora that are not for development are also written into the card of the file. The network is the
shipped one. Its voice is fitted anew for each corpus, as `affectd-train voice` does, on all that the shipped voice was
fitted on but this corpus. The events of everyday speech are those of the shipped file itself, of a device that hears
each recording anew, and of one that hears all of a source one after another and learns.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from affectd.config.sections import Config
from affectd.recognition.baseline import Placed
from affectd.recognition.classifier import Classifier
from affectd.recognition.model_file import ModelFile, find_model, model_id, read_model, write_model
from affectd_train.data.corpora import read_clips
from affectd_train.data.terms import DEVELOPMENT
from affectd_train.evaluation.event_rates import event_rates, speech_for_tests
from affectd_train.evaluation.predictions import predict_packed
from affectd_train.evaluation.settled import KINDS, settled
from affectd_train.evaluation.unheard import figures, of_corpus, unheard_by
from affectd_train.reports.card_sections import rounded
from affectd_train.training.voice import with_voice

SHOWN = ("unweighted", "unweighted_interval", "arousal", "named", "precision")


def without(model: ModelFile, corpus: str, data: Path, work: Path, cache: Path) -> dict[str, Any]:
    """Fit a voice without a corpus, and return what its file answers to that corpus."""
    others = [name for name in model.card["training"]["voice"]["clips"] if name != corpus]
    file = work / f"without-{corpus}.tflite"
    write_model(file, with_voice(model, read_clips(data, others), cache))
    if corpus not in unheard_by(read_model(file)):
        raise AssertionError(f"{corpus} was heard")
    clips, threshold = read_clips(data, [corpus]), model.thresholds["uncertain"]
    found = of_corpus(predict_packed(file, clips, work), threshold)
    rows = {kind: figures(answers, threshold) for kind, answers in settled(file, clips, work).items()}
    return {
        **{key: found[key] for key in ("clips", "speakers", "labels")},
        **{kind: {key: row[key] for key in SHOWN} for kind, row in {"cold": found["cold"], **rows}.items()},
    }


def main(data: Path, cache: Path | None = None) -> None:
    model = read_model(find_model())
    trained = model.card["training"]["clips"]
    voiced = [name for name in model.card["training"]["voice"]["clips"] if name not in trained and name != "turev"]
    with tempfile.TemporaryDirectory() as folder:
        corpora = {
            name: without(model, name, data, Path(folder), cache or Path(folder)) for name in (*voiced, *DEVELOPMENT)
        }
    network, everyday = Classifier(model), {}
    for source, sounds in speech_for_tests(data, network).items():
        placed = Placed(network)
        everyday[source] = {
            "cold": event_rates(sounds, network, Config()),
            "settled": event_rates(sounds, placed, Config()),
            "seconds": round(placed.baseline.learned.seconds, 1),
            "one_voice": round(placed.baseline.trust, 3),
        }
    json.dump({"model": model_id(model), "corpora": corpora, "everyday": everyday}, sys.stdout, indent=1)
    print()
    # The card shows them, too.
    card = model.card | {"measured": model.card["measured"] | {"settled": of_card(corpora)}}
    write_model(find_model(), dataclasses.replace(model, card=card))


def of_card(corpora: dict[str, Any]) -> dict[str, Any]:
    """Return the figures as a card has them; nothing of a corpus that is for development."""
    rows = {
        name: {
            kind: {key: row[kind][key] for key in SHOWN if key != "unweighted_interval"} for kind in ("cold", *KINDS)
        }
        for name, row in corpora.items()
        if name not in DEVELOPMENT
    }
    settled = {
        name: {"cold": row["cold"], "settled": {kind: row[kind] for kind in KINDS}} for name, row in rows.items()
    }
    return rounded({"corpora": settled})  # type: ignore[no-any-return]


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
