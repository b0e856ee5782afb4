"""What a device answers once it has heard a voice before: after a simulated day of one voice, or of many.

The network runs once on each clip, in the device's own code, and the logits and functionals of the contexts are kept.
From these the device's own `Placed` answers the clip again for each day of other clips (`affectd_train.data.days`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from affectd.arrays import Float32, Float64
from affectd.errors import DataError
from affectd.features.functionals import N_FUNCTIONALS
from affectd.recognition.baseline import STRIDE, Placed
from affectd.recognition.classifier import Classifier
from affectd.recognition.model_file import read_model
from affectd.recognition.voice import Voice
from affectd_train.data.clips import Clip
from affectd_train.data.days import LENGTHS, days, lived
from affectd_train.evaluation.on_device import open_seconds
from affectd_train.evaluation.predictions import Prediction, Probabilities, about
from affectd_train.files import write_arrays
from affectd_train.folders import fingerprint
from affectd_train.parallel import in_parallel
from affectd_train.stored import arrays, cached, check

MANY = "many voices"
KINDS = (*map(str, LENGTHS), MANY)
"""How much a device heard before: seconds of the same voice, or as long as the longest of all voices of a corpus."""
N_PARTS = 4
"""How many days a voice has, each with a draw of its own."""


class Heard(NamedTuple):
    """What a device hears of a clip; the arrays are empty if it hears no speech.

    Attributes
    ----------
    logits : (n_contexts, n_labels)
        Of the network.
    functionals : (m, N_FUNCTIONALS)
        Of the contexts for which `Placed` asks: every fourth one.
    shares : (m,)
        How much of these contexts is speech, 0 to 1.
    frames : int
        How many frames the gate was open at.
    """

    logits: Float32
    functionals: Float32
    shares: Float64
    frames: int

    def mean(self, voice: Voice) -> Float64:
        """Return the mean of `Voice.noted` over the clip, which `Placed` learns from."""
        pairs = zip(self.logits[::STRIDE], self.functionals, strict=True)
        noted = np.array([voice.noted(*pair, voice.of_stranger(pair[1])) for pair in pairs], np.float64)
        mean: Float64 = noted.sum(0) / len(noted)
        return mean


class Recorder:
    """A `affectd.recognition.classifier.Network` that keeps the arguments of `Placed.answer`."""

    def __init__(self, classifier: Classifier) -> None:
        self.model = classifier.model
        self._classifier = classifier
        self._placed = Placed(classifier)
        self.reset()

    def reset(self) -> None:
        """Begin another clip."""
        self._placed.reset()
        self.logits: list[Float32] = []
        self.heard: list[tuple[Float32, float]] = []

    def __call__(self, cepstra: Float32) -> Float32:
        """Return the probabilities ``(n_labels,)`` of one context."""
        self.logits.append(self._classifier.embed(cepstra))

        def keep() -> tuple[Float32, float]:
            self.heard.append(self._classifier.functionals.heard(cepstra))
            return self.heard[-1]

        return self._placed.answer(self.logits[-1], keep)


def heard_of(recorder: Recorder, clip: Clip) -> Heard:
    """Run the network on one clip, and keep what is needed to answer it again."""
    recorder.reset()
    frames = round(open_seconds(clip, recorder) * recorder.model.spec.frame_rate)
    logits = np.array(recorder.logits, np.float32).reshape(-1, len(recorder.model.labels))
    functionals = np.array([row for row, _ in recorder.heard], np.float32).reshape(-1, N_FUNCTIONALS)
    return Heard(logits, functionals, np.array([share for _, share in recorder.heard]), frames)


def answer(placed: Placed, heard: Heard) -> Probabilities:
    """Answer a clip as `affectd.recognition.recording.classify_recording` would, from what was `heard` of it."""
    placed.reset()
    rows = zip(heard.functionals, heard.shares.tolist(), strict=True)
    total = np.zeros(len(placed.model.labels))
    for logits in heard.logits:
        total += placed.answer(logits, rows.__next__)
    mean = total / len(heard.logits)
    return dict(zip(placed.model.labels, mean.round(4).tolist(), strict=True))


def settled(model_path: Path, clips: Sequence[Clip], folder: Path) -> dict[str, list[Prediction]]:
    """Answer the clips of one corpus after simulated days, by a model file with a voice.

    What the network made of the clips is kept in `folder`, for later calls.

    Returns
    -------
    dict
        For each of `KINDS` a prediction of every clip, at temperature 1, in the order of `clips`.

    Raises
    ------
    DataError
        It has no voice.
    """
    model = read_model(model_path)
    if model.voice is None:
        raise DataError(f"{model_path} has no voice; affectd-train voice gives it one")
    heard = load_heard(model_path, clips, folder)
    found: dict[str, list[Prediction]] = {kind: [about(clip) | {"int8": {}} for clip in clips] for kind in KINDS}
    spoken = [i for i, one in enumerate(heard) if len(one.logits)]
    if not spoken:
        return found
    means = np.stack([heard[i].mean(model.voice) for i in spoken])
    seconds = np.array([heard[i].frames for i in spoken]) / model.spec.frame_rate
    labels, speakers = [clips[i].emotion for i in spoken], [clips[i].speaker for i in spoken]
    classifier = Classifier(model)
    title = f"{clips[0].corpus}, by {model_path.name} after a day"
    with tqdm(desc=title, total=len(KINDS) * len(spoken)) as bar:
        for voices, kinds in ((speakers, KINDS[:-1]), ([""] * len(spoken), KINDS[-1:])):
            generator = np.random.default_rng(0)
            lengths = LENGTHS[-len(kinds) :]
            for day in days(voices, labels, N_PARTS, generator):
                placed = Placed(classifier)
                for kind, _ in zip(kinds, lived(day, placed, means, seconds, lengths, generator), strict=True):
                    for number in day.asked:
                        found[kind][spoken[number]]["int8"] = answer(placed, heard[spoken[number]])
                    bar.update(len(day.asked))
    return found


def load_heard(model_path: Path, clips: Sequence[Clip], folder: Path) -> list[Heard]:
    """Let a model file hear clips of one corpus, or read from a folder what it heard."""
    names = np.array([[one["path"], one["content"]] for one in map(about, clips)])

    def read(file: Path) -> list[Heard]:
        logits, ends, functionals, shares, rows, frames, paths = arrays(
            file, "logits", "ends", "functionals", "shares", "rows", "frames", "paths"
        )
        check(np.array_equal(paths, names), "of other recordings")
        check(len(ends) == len(rows) == len(frames) == len(clips), "of another shape")
        of_contexts = (np.split(functionals, rows[:-1]), np.split(shares, rows[:-1]))
        return [Heard(*part) for part in zip(np.split(logits, ends[:-1]), *of_contexts, frames.tolist(), strict=True)]

    def make(file: Path) -> None:
        title = f"{clips[0].corpus}, heard by {model_path.name}"
        hear = partial(_hear, model_path, fingerprint(model_path))
        found = [*in_parallel(hear, clips, title, alone=clips[0].is_logmel)]
        write_arrays(
            file,
            logits=np.concatenate([one.logits for one in found]),
            ends=np.cumsum([len(one.logits) for one in found]),
            functionals=np.concatenate([one.functionals for one in found]),
            shares=np.concatenate([one.shares for one in found]),
            rows=np.cumsum([len(one.functionals) for one in found]),
            frames=[one.frames for one in found],
            paths=names,
        )

    return cached(folder / f"{clips[0].corpus}-{fingerprint(model_path)}-heard.npz", read, make)


def _hear(model_path: Path, version: str, clip: Clip) -> Heard:
    return heard_of(_recorder(model_path, version), clip)


@functools.cache
def _recorder(model_path: Path, version: str) -> Recorder:
    return Recorder(Classifier(read_model(model_path)))
