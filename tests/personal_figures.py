"""Measure what ``personalize`` gains on speakers of corpora that a network never heard; takes about ten minutes.

    affectd-train evaluate --data DATA --protocol leave-one-corpus-out ...
    python tests/personal_figures.py DATA runs/leave-one-corpus-out > tests/personal_figures.json
    python tests/accuracy_documents.py

Of every speaker 5, 10 or 20 recordings of each label are drawn, three times; the head is fitted on them and tested on
the speaker's other recordings, at least two of each label. A label with fewer is left out, and a speaker with fewer
than three labels. At most 45 recordings of a label are heard.
"""

from __future__ import annotations

import json
import random
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from affectd.config.sections import Config
from affectd.errors import DataError
from affectd.personal.fitting import choose, learn
from affectd.personal.hearing import embeddings_of, with_float_head
from affectd.personal.personalize import answers_before, judge, old_weights
from affectd.recognition.classifier import Classifier
from affectd.recognition.model_file import ModelFile, read_model
from affectd_train.data.clips import Clip
from affectd_train.data.corpora import read_clips
from affectd_train.data.labels import labels_of
from affectd_train.data.recordings import load_audio
from affectd_train.evaluation.metrics import percentiles, unweighted_accuracy

CORPORA = ("nemo", "ased", "emotale")
"""The network of each is the one that heard nothing of it."""
COUNTS = (5, 10, 20)
DRAWS, LEAST_TESTED, LEAST_LABELS, MOST_HEARD, RESAMPLES = 3, 2, 3, 45, 2000

Heard = dict[str, dict[str, list[np.ndarray]]]
"""speaker -> label -> the embeddings of each recording"""


def hear(clips: list[Clip], classifier: Classifier) -> Heard:
    random.Random(0).shuffle(clips)
    heard: Heard = defaultdict(lambda: defaultdict(list))
    for clip in clips:
        mine = heard[clip.speaker][clip.emotion]
        if len(mine) < MOST_HEARD:
            embeddings = embeddings_of([load_audio(clip, classifier.model.spec.sample_rate)], classifier, Config())
            if len(embeddings):
                mine.append(embeddings)
    return heard


def try_on(model: ModelFile, mine: dict[str, list[np.ndarray]], n: int, seed: int, has_calm: bool) -> dict[str, float]:
    """Fit on n recordings of each label, and test on the others: unweighted accuracies, and whether it was refused."""
    draw = random.Random(seed)
    labels = [label for label in model.labels if len(mine.get(label, ())) >= n + LEAST_TESTED]
    if len(labels) < LEAST_LABELS:
        return {}
    train, test = [], []
    for number, label in enumerate(labels):
        order = draw.sample(mine[label], len(mine[label]))
        train += [(clip, number) for clip in order[:n]]
        test += [(clip, number) for clip in order[n:]]
    heard, truth = [clip for clip, _ in train], np.array([number for _, number in train])
    old = old_weights(model, labels)
    chosen = choose(heard, truth, old)
    try:
        judge(model, labels, heard, truth, chosen)
        refused = 0.0
    except DataError:
        refused = 1.0
    layer = learn(heard, truth, old, chosen.strength)
    tested, wanted = [clip for clip, _ in test], np.array(labels)[[number for _, number in test]]
    best, of_these = answers_before(model, labels, tested)
    before = np.array(best if has_calm else [{"calm": "neutral"}.get(label, label) for label in best])
    after = np.array(labels)[[int(layer.answer(clip).argmax()) for clip in tested]]
    accuracy = {
        "before": unweighted_accuracy(wanted, before),
        "asked": unweighted_accuracy(wanted, np.array(labels)[of_these.argmax(1)]),
        "after": unweighted_accuracy(wanted, after),
    }
    gain = accuracy["after"] - accuracy["before"]
    got = 0.0 if refused else gain
    return {
        **accuracy,
        "gain": gain,
        "of_learning": accuracy["after"] - accuracy["asked"],
        "refused": refused,
        "got": got,
    }


def figures(speakers: list[dict[str, float]]) -> dict[str, Any]:
    """Return the mean over speakers of each figure, and its 95 % bootstrap interval."""
    drawn = np.random.default_rng(0).integers(0, len(speakers), (RESAMPLES, len(speakers)))
    found: dict[str, Any] = {"speakers": len(speakers)}
    for name in speakers[0]:
        values = np.array([speaker[name] for speaker in speakers])
        low, high = percentiles(values[drawn].mean(1))
        found[name] = [round(float(values.mean()), 3), round(low, 3), round(high, 3)]
    return found


def main(data: Path, evaluation: Path) -> dict[str, Any]:
    result: dict[str, Any] = {"draws": DRAWS, "corpora": {}}
    for corpus in CORPORA:
        model = with_float_head(read_model(evaluation / f"fold-{corpus}" / "affectd.tflite"))
        classifier = Classifier(model)
        heard = hear(list(read_clips(data, [corpus])), classifier)
        rows = result["corpora"][corpus] = {}
        for n in COUNTS:
            of_speakers = []
            for mine in heard.values():
                has_calm = "calm" in labels_of(corpus)
                tries = [found for seed in range(DRAWS) if (found := try_on(model, mine, n, seed, has_calm))]
                if tries:
                    of_speakers.append({name: float(np.mean([one[name] for one in tries])) for name in tries[0]})
            if len(of_speakers) > 1:
                rows[str(n)] = figures(of_speakers)
    return result


if __name__ == "__main__":
    print(json.dumps(main(*map(Path, sys.argv[1:])), indent=1))
