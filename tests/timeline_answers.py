"""How right the timeline of a recording is about a voice that its network never heard, with what it learns and without.

    python tests/timeline_answers.py DATA

puts recordings of one speaker behind each other, eight of each emotion, and tells how many have the right best guess,
unweighted: of each corpus by the network in ``models/unheard`` that heard nothing of it, and of the development corpora
by the file itself. Takes two minutes.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from affectd.config.sections import Config
from affectd.recognition.baseline import at_new_place
from affectd.recognition.classifier import Classifier
from affectd.recognition.model_file import read_model
from affectd.timeline.listening import listen
from affectd.timeline.summary import Timeline
from affectd_train.data.clips import Clip
from affectd_train.data.corpora import read_clips
from affectd_train.data.terms import DEVELOPMENT
from affectd_train.evaluation.first_answers import Stream, in_turn
from unheard_networks import NETWORKS, REPOSITORY

N_OF_EMOTION, MOST_SPEAKERS = 8, 8


def right(timeline: Timeline, stream: Stream, same: dict[str, str]) -> list[tuple[str, bool]]:
    """Say of each recording of a stream that is heard what it is, and whether the best guess of its time is that."""
    found = []
    for begin, end, truth in stream.spans:
        guessed: dict[str, float] = defaultdict(float)
        for segment in timeline.segments:
            seconds = min(segment.end_seconds, end) - max(segment.start_seconds, begin)
            for label, probability in segment.probabilities.items():
                guessed[same.get(label, label)] += probability * max(0.0, seconds)
        if any(guessed.values()):
            found.append((truth, max(guessed, key=guessed.__getitem__) == truth))
    return found


def unweighted(found: list[tuple[str, bool]]) -> float:
    """Return the mean over the labels of how many are right."""
    rows = np.array(found, [("truth", "U20"), ("right", bool)])
    return float(np.mean([rows["right"][rows["truth"] == label].mean() for label in np.unique(rows["truth"])]))


def figures(data: Path, corpus: str, path: Path) -> tuple[float, float] | None:
    """Return how right it is with what it learns, and without; None of log-mel clips, which are no sound."""
    speakers: dict[str, list[Clip]] = defaultdict(list)
    for clip in read_clips(data, [corpus]):
        if not clip.is_logmel:
            speakers[clip.speaker].append(clip)
    labels = {clip.emotion for theirs in speakers.values() for clip in theirs}
    same = {} if "calm" in labels else {"calm": "neutral"}
    network, learned, cold = Classifier(read_model(path)), [], []
    for speaker in sorted(speakers)[:MOST_SPEAKERS]:
        stream = in_turn(speakers[speaker], network.model.spec.sample_rate, network, N_OF_EMOTION)
        placed, ended = at_new_place(network)
        learned += right(listen([stream.samples], placed, Config(), speaker, ended=ended), stream, same)
        cold += right(listen([stream.samples], network, Config(), speaker), stream, same)
    return (unweighted(learned), unweighted(cold)) if cold else None


def main() -> None:
    data = Path(sys.argv[1])
    rows = []
    for corpus, path in [*NETWORKS.items(), *((name, REPOSITORY / "models/affectd.tflite") for name in DEVELOPMENT)]:
        if found := figures(data, corpus, path):
            print(f"{corpus:16} {found[0]:.3f} learned, {found[1]:.3f} without", flush=True)
            rows += [found] if corpus in NETWORKS else []
    mean = np.mean(rows, axis=0)
    print(f"{'mean, never heard':16} {mean[0]:.3f} learned, {mean[1]:.3f} without")


if __name__ == "__main__":
    main()
