"""What networks that did not hear a corpus answer on an ordinary day of it, by those of models/unheard.

    python tests/usual_answers.py DATA

From the mean of it over the corpora come the numbers of `affectd_train.training.voice.usual`; what the others than one
corpus give shows how far they depend on the corpora that they are then judged on.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from affectd.recognition.model_file import read_model
from affectd_train.data.corpora import read_clips
from affectd_train.data.days import PLAIN, PLAIN_SHARE
from affectd_train.data.labels import LABELS
from affectd_train.evaluation.settled import load_heard
from unheard_networks import HEARD, NETWORKS


def answered(data: Path, corpus: str, path: Path) -> np.ndarray:
    """Return the mean logits of an ordinary day of a corpus by one of the networks, in the order of `LABELS`."""
    model, clips = read_model(path), read_clips(data, [corpus])
    assert model.voice is not None
    found: dict[str, list[np.ndarray]] = {}
    for clip, heard in zip(clips, load_heard(path, clips, HEARD), strict=True):
        if len(heard.logits):
            logits = heard.mean(model.voice)[-len(model.labels) :]
            found.setdefault(clip.emotion, []).append(logits[[model.labels.index(label) for label in LABELS]])
    plain = np.concatenate([rows for label, rows in found.items() if label in PLAIN]).mean(0)
    others = np.mean([np.mean(rows, axis=0) for label, rows in found.items() if label not in PLAIN], axis=0)
    return np.asarray(PLAIN_SHARE * plain + (1 - PLAIN_SHARE) * others)


def main() -> None:
    data = Path(sys.argv[1])
    rows = np.stack([answered(data, corpus, path) for corpus, path in NETWORKS.items()])
    names = ["all", *(f"without {corpus}" for corpus in NETWORKS)]
    means = [rows.mean(0), *((rows.sum(0) - row) / (len(rows) - 1) for row in rows)]
    print(f"{'':16}" + "".join(f"{label:>10}" for label in LABELS))
    for name, mean in zip(names, means, strict=True):
        print(f"{name:16}" + "".join(f"{number:10.2f}" for number in mean))


if __name__ == "__main__":
    main()
