"""Measure how soon and how right the running device answers on corpora that it never heard; takes a few minutes.

    python tests/first_answers.py DATA [THRESHOLD]

prints the table of docs/accuracy.md: each corpus by the network and voice that heard nothing of it, with temperature
and threshold of the shipped file, or THRESHOLD as ``[smoothing] uncertain``, and the Korean recordings by that file
itself. The last line adds them up.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from accuracy_documents import NAMES
from affectd.config.sections import SmoothingConfig
from affectd.recognition.classifier import Classifier
from affectd.recognition.model_file import find_model, read_model
from affectd_train.data.corpora import read_clips
from affectd_train.evaluation.first_answers import Answers, answers_of
from unheard_networks import NETWORKS

OF_SHIPPED = "kor_emotiontts"


def row(name: str, found: Answers) -> str:
    first = found["first"]
    n_named = round(first["named"] * found["utterances"])
    named_after = "–" if found["named_seconds"] is None else f"{found['named_seconds']:.2f} s"
    right = "–"
    if first["precision"] is not None and first["precision_interval"] is not None:
        low, high = first["precision_interval"]
        right = f"{first['precision']:.2f} ({low:.2f} to {high:.2f})"
    cells = [name, found["utterances"], f"{found['delay_seconds']:.2f} s", named_after, n_named]
    return "| " + " | ".join(map(str, [*cells, right])) + " |"


def main() -> None:
    data, shipped = Path(sys.argv[1]), read_model(find_model())
    thresholds = {**shipped.thresholds, **({"uncertain": float(sys.argv[2])} if sys.argv[2:] else {})}
    models = {corpus: read_model(path) for corpus, path in NETWORKS.items()}
    n_utterances = n_named = n_right = 0
    for corpus, model in {**models, OF_SHIPPED: shipped}.items():
        alike = replace(model, temperature=shipped.temperature, thresholds=thresholds)
        found = answers_of(Classifier(alike), read_clips(data, [corpus]), [SmoothingConfig().minimum_count])
        for (figures,) in found.values():  # none where a corpus is spectrograms alone
            print(row(NAMES[corpus], figures), flush=True)
            n_utterances += figures["utterances"]
            n_named += (named := round(figures["first"]["named"] * figures["utterances"]))
            n_right += round((figures["first"]["precision"] or 0) * named)
    print(f"of {n_utterances} utterances {n_named} were named, {n_right} of them rightly")


if __name__ == "__main__":
    main()
