"""Measure what ``personalize`` gains on speakers of corpora that a network never heard; takes about ten minutes.

    python tests/personal_figures.py DATA > tests/personal_figures.json
    python tests/accuracy_documents.py

Of every speaker 5, 10 or 20 recordings of each label are drawn, three times; the head is fitted on them and tested on
the speaker's other recordings, at least two of each label. A label with fewer is left out, and a speaker with fewer
than three labels. At most 45 recordings of a label are heard. The Korean recordings, which the shipped file never
heard, are few: there three speakers are one place.

Each fit is made twice more with labels drawn at random, the same ones and words that the model does not know, which
should all be refused.

What is named is told at the threshold of the shipped file, for those of the other networks have none. Of the first
speakers each file listens to everyday speech, too, of other people and microphones, once as it is and once without its
doubt in what is far from all that it was fitted to.
"""

from __future__ import annotations

import dataclasses
import json
import random
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from affectd.arrays import Float32
from affectd.config.sections import Config
from affectd.errors import DataError
from affectd.personal.fitting import choose, far_of, learn, mean_probabilities
from affectd.personal.hearing import embeddings_of, with_float_head, with_functionals
from affectd.personal.personalize import answers_before, changed, judge, old_weights
from affectd.recognition.baseline import STRIDE, Baseline, Placed
from affectd.recognition.classifier import Classifier
from affectd.recognition.model_file import ModelFile, find_model, read_model
from affectd_train.data.clips import Clip
from affectd_train.data.corpora import read_clips
from affectd_train.data.days import PLAIN, Day, lived
from affectd_train.data.labels import labels_of
from affectd_train.data.recordings import load_audio
from affectd_train.evaluation.event_rates import event_rates, speech_for_tests
from affectd_train.evaluation.metrics import percentiles, unweighted_accuracy
from unheard_networks import NETWORKS

CORPORA = ("nemo", "ased", "emotale")
"""The network of each is the one that heard nothing of it."""
OF_SHIPPED = "kor_emotiontts"
"""What the shipped file heard nothing of."""
SPEAKERS_OF_PLACE = {OF_SHIPPED: 3}
COUNTS = (5, 10, 20)
DRAWS, LEAST_TESTED, LEAST_LABELS, MOST_HEARD, RESAMPLES = 3, 2, 3, 45, 2000
KNOWN_SECONDS = 60
SPEAKERS_OF_EVERYDAY = 5
THRESHOLDS = read_model(find_model()).thresholds


class Recording(NamedTuple):
    """What is heard of a recording: of each context the embedding and the functionals after it."""

    contexts: np.ndarray
    seconds: float


Heard = dict[str, dict[str, list[Recording]]]
"""speaker or place -> label -> recordings"""
Drawn = list[tuple[Recording, int]]
"""recordings and the numbers of their labels"""


class Old:
    """A model file before it is fitted to a speaker."""

    def __init__(self, path: Path) -> None:
        self.base = read_model(path)
        assert self.base.voice is not None
        self.network = with_float_head(self.base)
        self.model = with_functionals(self.network, self.base)

    def known(self, train: Drawn, test: Drawn, labels: list[str], seed: int) -> list[str]:
        """Answer what is tested where the voice is known, each quarter after a minute of the others, asked for these
        labels alone.
        """
        voice, head = self.base.voice, self.network.head
        assert voice is not None
        assert head is not None
        n, placed = head.n_embedding, Placed(Classifier(self.base))
        generator = np.random.default_rng(seed)
        parts = generator.permutation(len(test)) % 4
        clips, asked = [*train, *test], np.concatenate([np.full(len(train), -1), parts])
        is_plain = np.isin([labels[number] for _, number in clips], PLAIN)

        def mean(contexts: np.ndarray) -> np.ndarray:
            noted = [
                voice.noted(head.logits(row[:n], head.baseline), row[n:], voice.of_stranger(row[n:]))
                for row in contexts[::STRIDE]
            ]
            return np.mean(noted, axis=0, dtype=np.float64)

        means = np.stack([mean(clip.contexts) for clip, _ in clips])
        seconds = np.array([clip.seconds for clip, _ in clips])
        columns, best = [self.base.labels.index(label) for label in labels], [""] * len(test)
        for part in range(4):
            rest = asked != part
            day = Day(np.flatnonzero(~rest), np.flatnonzero(rest & is_plain), np.flatnonzero(rest & ~is_plain))
            placed.baseline = Baseline(voice.head, voice=voice)
            list(lived(day, placed.baseline, means, seconds, (KNOWN_SECONDS,), generator))
            for number in np.flatnonzero(parts == part).tolist():
                placed.reset()
                total = np.zeros(len(labels))
                for row in test[number][0].contexts:
                    heard = (row[n:], 1.0)  # whole recordings have speech enough
                    given = placed.answer(head.logits(row[:n], head.baseline), lambda heard=heard: heard)[columns]
                    total += given / given.sum()
                best[number] = labels[int(total.argmax())]
        return best


def hear(clips: list[Clip], model: ModelFile, n_speakers: int) -> Heard:
    random.Random(0).shuffle(clips)
    classifier, rate = Classifier(model), model.spec.sample_rate
    heard: Heard = defaultdict(lambda: defaultdict(list))
    numbers = {speaker: i for i, speaker in enumerate(sorted({clip.speaker for clip in clips}))}
    for clip in clips:
        mine = heard[str(numbers[clip.speaker] // n_speakers)][clip.emotion]
        if len(mine) < MOST_HEARD:
            samples = load_audio(clip, rate)
            embeddings = embeddings_of([samples], classifier, Config())
            if len(embeddings):
                mine.append(Recording(embeddings, len(samples) / rate))
    return heard


def is_refused(old: Old, labels: list[str], heard: list[np.ndarray], truth: np.ndarray) -> float:
    """Tell whether ``personalize`` would write nothing."""
    chosen = choose(heard, truth, old_weights(old.model, labels))
    try:
        judge(answers_before(old.network, old.base.voice, labels, heard), labels, truth, chosen)
    except DataError:
        return 1.0
    return 0.0


def draw(old: Old, mine: dict[str, list[Recording]], n: int, seed: int) -> tuple[list[str], Drawn, Drawn]:
    """Draw n recordings of each label to fit to, and the others to test."""
    generator, train, test = random.Random(seed), [], []
    labels = [label for label in old.base.labels if len(mine.get(label, ())) >= n + LEAST_TESTED]
    for number, label in enumerate(labels):
        order = generator.sample(mine[label], len(mine[label]))
        train += [(clip, number) for clip in order[:n]]
        test += [(clip, number) for clip in order[n:]]
    return labels, train, test


def fitted(old: Old, labels: list[str], train: Drawn) -> ModelFile:
    """Fit a model file as ``personalize`` does."""
    heard, truth = [clip.contexts for clip, _ in train], np.array([number for _, number in train])
    weights = old_weights(old.model, labels)
    chosen = choose(heard, truth, weights)
    layer = learn(heard, truth, weights, chosen.strength)
    return dataclasses.replace(
        changed(old.model, tuple(labels), layer, far_of(heard, truth), {}), thresholds=THRESHOLDS
    )


def without_doubt(model: ModelFile) -> ModelFile:
    assert model.head is not None
    return dataclasses.replace(model, head=dataclasses.replace(model.head, far_functionals=1e6))


def answers(model: ModelFile, clips: list[np.ndarray]) -> np.ndarray:
    """Return the probabilities ``(n_clips, n_labels)`` that ``affectd classify`` says."""
    head = model.head
    assert head is not None
    logits = [
        head.doubted((clip.astype(np.float64) - head.baseline) @ head.weights + head.bias, clip) for clip in clips
    ]
    return np.stack([mean_probabilities(one.astype(np.float64)) for one in logits])


def named_an_hour(old: Old, speakers: list[dict[str, list[Recording]]], n: int, sounds: dict[str, Float32]) -> Any:
    """Count what a device with the file of one speaker names of the speech of others, mean over the first speakers."""
    rates: dict[str, list[float]] = {"named_an_hour": [], "without_doubt": []}
    for mine in speakers:
        labels, train, _ = draw(old, mine, n, 0)
        if len(labels) < LEAST_LABELS or len(rates["without_doubt"]) == SPEAKERS_OF_EVERYDAY:
            continue
        model = fitted(old, labels, train)
        for name, one in (("named_an_hour", model), ("without_doubt", without_doubt(model))):
            rates[name].append(event_rates(sounds, Placed(Classifier(one)), Config())["named_per_hour"])
    return {"files": len(rates["without_doubt"])} | {
        name: round(float(np.mean(values)), 1) for name, values in rates.items()
    }


def try_on(old: Old, mine: dict[str, list[Recording]], n: int, seed: int, has_calm: bool) -> dict[str, float]:
    """Fit on n recordings of each label, and test on the others: unweighted accuracies, and whether it was refused."""
    labels, train, test = draw(old, mine, n, seed)
    if len(labels) < LEAST_LABELS:
        return {}
    heard, truth = [clip.contexts for clip, _ in train], np.array([number for _, number in train])
    model = fitted(old, labels, train)
    tested, wanted = [clip.contexts for clip, _ in test], np.array(labels)[[number for _, number in test]]
    before = answers_before(old.network, old.base.voice, labels, tested)
    best = np.array(before.best if has_calm else [{"calm": "neutral"}.get(label, label) for label in before.best])
    given, certain = answers(model, tested), answers(without_doubt(model), tested)
    after = np.array(labels)[given.argmax(1)]
    named, named_then = (one.max(1) >= THRESHOLDS["uncertain"] for one in (given, certain))
    accuracy = {
        "before": unweighted_accuracy(wanted, best),
        "asked": unweighted_accuracy(wanted, np.array(labels)[before.of_these.argmax(1)]),
        "known": unweighted_accuracy(wanted, np.array(old.known(train, test, labels, seed))),
        "after": unweighted_accuracy(wanted, after),
    }
    at_random = np.random.default_rng(seed).permutation(truth)
    return {
        **accuracy,
        "of_learning": accuracy["after"] - accuracy["asked"],
        "named": float(named.mean()),
        "named_and_right": float((named & (after == wanted)).mean()),
        "named_without_doubt": float(named_then.mean()),
        "over_known": accuracy["after"] - accuracy["known"],
        "refused": is_refused(old, labels, heard, truth),
        "random_refused": is_refused(old, labels, heard, at_random),
        "random_words_refused": is_refused(old, [f"word {label}" for label in labels], heard, at_random),
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


def main(data: Path) -> dict[str, Any]:
    result: dict[str, Any] = {"draws": DRAWS, "corpora": {}}
    files = {corpus: NETWORKS[corpus] for corpus in CORPORA}
    for corpus, path in (files | {OF_SHIPPED: find_model()}).items():
        old, has_calm = Old(path), "calm" in labels_of(corpus)
        heard = hear(list(read_clips(data, [corpus])), old.model, SPEAKERS_OF_PLACE.get(corpus, 1))
        sources = speech_for_tests(data, Classifier(old.base))
        sounds = {f"{source}/{name}": samples for source, found in sources.items() for name, samples in found.items()}
        rows = result["corpora"][corpus] = {}
        for n in COUNTS:
            of_speakers = []
            for mine in heard.values():
                tries = [found for seed in range(DRAWS) if (found := try_on(old, mine, n, seed, has_calm))]
                if tries:
                    of_speakers.append({name: float(np.mean([one[name] for one in tries])) for name in tries[0]})
            if len(of_speakers) > 1:
                everyday = named_an_hour(old, list(heard.values()), n, sounds)
                rows[str(n)] = figures(of_speakers) | {"everyday": everyday}
    return result


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1])), indent=1))
