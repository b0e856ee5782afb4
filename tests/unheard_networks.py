"""The first table of docs/accuracy.md, by the networks of it that are kept: each of them heard nothing of one corpus.

    python tests/unheard_networks.py DATA > unheard.json

answers each corpus by its network and voice, int8, in the device's own code, and prints the figures, which takes about
half an hour. Answers are kept in ``runs/unheard``, for a call that goes on.

The networks are those of ``affectd-train evaluate --data DATA --protocol leave-one-corpus-out``, with the options on
the model card: ``models/unheard/CORPUS.tflite`` is ``affectd.tflite`` of ``fold-CORPUS``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from affectd_train.data.corpora import read_clips
from affectd_train.evaluation.predictions import in_words_of_corpus, predict_packed
from affectd_train.evaluation.settled import KINDS, settled
from affectd_train.evaluation.unheard import at_settings_of_others, means, means_of, note_lengths, settled_at
from affectd_train.protocols.voices import stranger_share

REPOSITORY = Path(__file__).parents[1]
NETWORKS = {path.stem: path for path in sorted((REPOSITORY / "models" / "unheard").glob("*.tflite"))}
"""Corpus -> the network and voice that heard nothing of it."""
HEARD = Path("runs/unheard")
"""Where what they answer is kept."""


def figures(data: Path, out: Path) -> dict[str, Any]:
    """Compute ``corpora``, ``mean`` and ``mean_settled`` of ``metrics.json`` of the protocol."""
    clips = {corpus: read_clips(data, [corpus]) for corpus in NETWORKS}
    predictions = [p for corpus, path in NETWORKS.items() for p in predict_packed(path, clips[corpus], out)]
    # As the protocol does.
    corpora = at_settings_of_others(in_words_of_corpus(predictions), stranger_share(NETWORKS.values()))
    for corpus, path in NETWORKS.items():
        corpora[corpus]["settled"] = settled_at(settled(path, clips[corpus], out), corpora[corpus])
        note_lengths({corpus: corpora[corpus]}, clips[corpus])
    mean_settled = {kind: means_of([found["settled"][kind] for found in corpora.values()]) for kind in KINDS}
    return {"corpora": corpora, "mean": means(corpora), "mean_settled": mean_settled}


if __name__ == "__main__":
    print(json.dumps(figures(Path(sys.argv[1]), HEARD), indent=1))
