"""What a device answers where people take turns, as at a kiosk, with the baseline of the voice at hand and without.

    python tests/turns.py DATA > turns.json

Each corpus is answered by the network and voice that heard nothing of it (``models/unheard``). A device has heard 200 s
of the other voices of the corpus, each for 10 to 60 s, four fifths of it neutral; then a voice comes and is answered at
once, after 20 s and after 60 s of its own. What the networks hear is kept in ``runs/unheard``, for a call that goes on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from affectd.recognition.baseline import Placed
from affectd.recognition.classifier import Classifier
from affectd.recognition.model_file import read_model
from affectd_train.data.corpora import read_clips
from affectd_train.data.days import Day, days, lived
from affectd_train.evaluation.predictions import Prediction, about, in_words_of_corpus, predict_packed
from affectd_train.evaluation.settled import N_PARTS, answer, load_heard
from affectd_train.evaluation.unheard import at_settings_of_others, means_of, settled_at
from affectd_train.protocols.voices import stranger_share
from unheard_networks import HEARD, NETWORKS

CORPORA = [corpus for corpus in NETWORKS if corpus != "tess"]
"""Those of more than two speakers."""
SECONDS = (0, 20, 60)
BEFORE, TURN = 200, (10, 61)


def answers(corpus: str, data: Path, *, at_hand: bool) -> dict[str, list[Prediction]]:
    """Answer the clips of a corpus: seconds of the voice at hand -> a prediction of every clip."""
    clips = read_clips(data, [corpus])
    model = read_model(NETWORKS[corpus])
    assert model.voice is not None
    heard = load_heard(NETWORKS[corpus], clips, HEARD)
    found: dict[str, list[Prediction]] = {str(at): [about(clip) | {"int8": {}} for clip in clips] for at in SECONDS}
    spoken = [i for i, one in enumerate(heard) if len(one.logits)]
    noted = np.stack([heard[i].mean(model.voice) for i in spoken])
    seconds = np.array([heard[i].frames for i in spoken]) / model.spec.frame_rate
    labels, speakers = [clips[i].emotion for i in spoken], np.array([clips[i].speaker for i in spoken])
    whole = dict(everything(speakers, labels))
    classifier, generator = Classifier(model), np.random.default_rng(0)
    for day in days([*speakers], labels, N_PARTS, generator):
        placed = Placed(classifier)
        place = placed if at_hand else placed.baseline
        rest = [one for name, one in whole.items() if name != speakers[day.asked[0]]]
        heard_seconds = 0
        while heard_seconds < BEFORE:
            turn, other = int(generator.integers(*TURN)), rest[generator.integers(len(rest))]
            heard_seconds += next(lived(other, place, noted, seconds, [turn], generator))
        for at, _ in zip(SECONDS, lived(day, place, noted, seconds, SECONDS, generator), strict=True):
            for number in day.asked:
                found[str(at)][spoken[number]]["int8"] = answer(placed, heard[spoken[number]])
    return found


def everything(speakers: Any, labels: list[str]) -> Iterator[tuple[str, Day]]:
    """Yield each voice, and a day of it in which all its clips are heard."""
    is_plain = np.isin(labels, ("neutral", "calm"))
    for name in np.unique(speakers):
        mine = np.flatnonzero(speakers == name)
        yield name, Day(mine[:0], mine[is_plain[mine]], mine[~is_plain[mine]])


def figures(data: Path) -> dict[str, Any]:
    """Compute the figures with the voice at hand and without it: of each corpus, and their mean."""
    predictions = [
        one for corpus, path in NETWORKS.items() for one in predict_packed(path, read_clips(data, [corpus]), HEARD)
    ]
    cold = at_settings_of_others(in_words_of_corpus(predictions), stranger_share(NETWORKS.values()))
    found: dict[str, Any] = {}
    for name, at_hand in (("at_hand", True), ("place_alone", False)):
        corpora = {}
        for corpus in CORPORA:
            corpora[corpus] = settled_at(answers(corpus, data, at_hand=at_hand), cold[corpus])
        mean = {str(at): means_of([one[str(at)] for one in corpora.values()]) for at in SECONDS}
        found[name] = {"mean": mean, "corpora": corpora}
    return found


if __name__ == "__main__":
    print(json.dumps(figures(Path(sys.argv[1])), indent=1))
