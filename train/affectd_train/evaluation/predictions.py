"""What networks answer to clips: the int8 file by the device's code, the float network in the interpreter's place."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict

import numpy as np
from tqdm import tqdm

from affectd.arrays import Float32
from affectd.errors import DataError
from affectd.features.functionals import Functionals
from affectd.folders import Skipped
from affectd.recognition.classifier import Classifier, softmax
from affectd.recognition.model_file import ModelFile, read_model
from affectd_train.data.clips import Clip
from affectd_train.data.labels import LABELS, labels_of
from affectd_train.data.recordings import load_audio
from affectd_train.evaluation.on_device import hear
from affectd_train.files import needed, write_text
from affectd_train.folders import fingerprint, say_skipped
from affectd_train.stored import again, cached, check, reading

if TYPE_CHECKING:
    from affectd_train.backend import keras

NetworkName = Literal["int8", "float"]
NETWORKS: tuple[NetworkName, ...] = ("int8", "float")

Probabilities = dict[str, float]
"""Label -> probability; empty where the gate heard no speech."""


class Prediction(TypedDict):
    """What networks answered to a clip, a line of ``predictions.jsonl``; seed systems have a float network alone."""

    path: str
    corpus: str
    speaker: str
    gender: str
    truth: str
    content: NotRequired[str]  # `fingerprint` of the recording; earlier versions did not write it
    int8: NotRequired[Probabilities]
    float: NotRequired[Probabilities]


class _Both:
    """The int8 file and, of the same contexts, the float network that it came from.

    Keras takes as long for one context as for several: they are gathered to batches.
    """

    _BATCH = 32

    def __init__(self, model: ModelFile, network: keras.Model) -> None:
        self.model = model
        self._int8, self._network = Classifier(model), network
        self._functionals = None if model.voice is None else Functionals(model.spec)
        self._waiting: list[Float32] = []
        self._answers: list[Float32] = []

    def __call__(self, cepstra: Float32) -> Float32:
        """Turn ``(n_frames, n_columns)`` cepstra into ``(n_labels,)`` probabilities, those of the int8 file."""
        self._waiting.append(cepstra.copy())
        if len(self._waiting) == self._BATCH:
            self._answer()
        return self._int8(cepstra)

    def float_mean(self) -> Probabilities:
        """Return the mean of what the float network answered since the last call."""
        if self._waiting:
            self._answer()
        if not (answers := self._answers):
            return {}
        self._answers = []
        return dict(zip(self.model.labels, np.stack(answers).mean(0, np.float64).round(4).tolist(), strict=True))

    def _answer(self) -> None:
        contexts = (np.stack(self._waiting) - self.model.mean) / self.model.std
        batch = np.zeros((self._BATCH, *contexts.shape[1:]), np.float32)  # always of one shape, which is compiled once
        batch[: len(contexts)] = contexts
        for cepstra, logits in zip(self._waiting, self._network.predict_on_batch(batch), strict=False):
            if self.model.voice is not None and self._functionals is not None:
                logits = self.model.voice.cold(logits, self._functionals(cepstra))
            self._answers.append(softmax(logits, self.model.temperature))
        self._waiting = []


def predict(model_path: Path, float_path: Path, clips: Sequence[Clip], title: str) -> list[Prediction]:
    """Classify clips with a model file and with the float network it came from."""
    from affectd_train.backend import load_network  # not at the top: what reads predictions does without

    both = _Both(read_model(model_path), load_network(float_path, again("fit")))
    return _answered(clips, title, lambda clip: {"int8": hear(clip, both), "float": both.float_mean()})


def predict_packed(model_path: Path, clips: Sequence[Clip], folder: Path) -> list[Prediction]:
    """Classify clips of one corpus with a model file alone, or read what an earlier call left in a folder."""

    def read(file: Path) -> list[Prediction]:
        predictions = read_predictions(file)
        check(are_about(predictions, clips), "of other recordings")
        return predictions

    def make(file: Path) -> None:
        int8 = Classifier(read_model(model_path))
        title = f"{clips[0].corpus}, by {model_path.name}"
        write_predictions(file, _answered(clips, title, lambda clip: {"int8": hear(clip, int8)}))

    return cached(folder / f"{clips[0].corpus}-{fingerprint(model_path)}.jsonl", read, make)


def _answered(clips: Sequence[Clip], title: str, answers: Callable[[Clip], Any]) -> list[Prediction]:
    """Ask about one clip after the other; what cannot be decoded is left out as in training, which is said."""
    predictions, skipped = [], []
    for clip in tqdm(clips, title):
        try:
            predictions.append(about(clip) | answers(clip))
        except DataError as error:
            skipped.append(Skipped(clip.path, str(error).removeprefix(f"{clip.path}: ")))
    say_skipped(title, skipped)
    return predictions


def about(clip: Clip) -> Prediction:
    """Return what a prediction says about its clip, as yet without any network's answer."""
    name = clip.name or clip.path.stem
    return {
        "path": f"{clip.corpus}/{name}" + (f":{clip.first_frame}" if clip.is_logmel else ""),
        "corpus": clip.corpus,
        "speaker": clip.speaker,
        "gender": clip.gender,
        "truth": clip.emotion,
        "content": fingerprint(clip.path),
    }


def are_about(predictions: Sequence[Prediction], clips: Sequence[Clip]) -> bool:
    """Tell whether predictions are of these clips as they are now, of all that can be decoded."""
    answered = {prediction["path"] for prediction in predictions}
    now = [one for clip in clips if (one := about(clip))["path"] in answered or not is_damaged(clip)]
    of_now = (one.items() <= prediction.items() for one, prediction in zip(now, predictions, strict=True))
    return len(now) == len(predictions) and all(of_now)


def answered(clips: Sequence[Clip], predictions: Sequence[Prediction]) -> list[Clip]:
    """Select the clips that predictions are about: the others could not be decoded."""
    paths = {prediction["path"] for prediction in predictions}
    return [clip for clip in clips if about(clip)["path"] in paths]


def is_damaged(clip: Clip) -> bool:
    """Tell whether a clip turns out not to be decodable, which its header need not tell."""
    try:
        return not clip.is_logmel and not len(load_audio(clip, 16000))
    except DataError:
        return True


def among(predictions: Sequence[Prediction], labels: Collection[str]) -> list[Prediction]:
    """Let networks answer with these labels alone: those of the corpus they are tested on.

    Examples
    --------
    >>> case = {"truth": "sad", "int8": {"calm": 0.5, "sad": 0.25, "happy": 0.25}, "float": {}}
    >>> among([case], ["sad", "happy"])[0]["int8"]
    {'sad': 0.5, 'happy': 0.5}
    """
    restricted = []
    for prediction in predictions:
        allowed = prediction.copy()
        for network in NETWORKS:
            kept = {label: p for label, p in prediction[network].items() if label in labels}
            if len(kept) < len(prediction[network]):
                total = sum(kept.values()) or 1.0
                allowed[network] = {label: p / total for label, p in kept.items()}
        restricted.append(allowed)
    return restricted


def in_words_of_corpus(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Let networks answer with any label, and count ``calm`` as ``neutral`` where the corpus of a clip has no calm.

    Where it has calm and no neutral, the reverse. As the answer is the most probable label of all, it is the more
    probable of the two that counts as the one that the corpus has. Labels that a network does not know have 0.

    Examples
    --------
    >>> case = {"corpus": "emodb", "int8": {"neutral": 0.25, "calm": 0.5, "sad": 0.25}}
    >>> best_label(in_words_of_corpus([case])[0]["int8"])
    'neutral'
    """
    counted = []
    for prediction in predictions:
        has = labels_of(prediction["corpus"])
        one, other = ("calm", "neutral") if "neutral" in has else ("neutral", "calm")
        answer = prediction.copy()
        for network in NETWORKS:
            if heard := prediction.get(network):
                p = dict.fromkeys(LABELS, 0.0) | heard
                if one not in has and p[one] > p[other]:
                    p[one], p[other] = p[other], p[one]
                answer[network] = p
        counted.append(answer)
    return counted


def voices(predictions: Iterable[Prediction]) -> list[str]:
    """Return who speaks in each recording; where that is not known, the recording stands for a speaker of its own."""
    return [prediction["speaker"] or prediction["path"] for prediction in predictions]


def best_label(probabilities: Probabilities) -> str:
    """Return the most probable label, or "" where the gate heard no speech, which counts as wrong.

    Examples
    --------
    >>> best_label({"calm": 0.2, "sad": 0.8})
    'sad'
    """
    return max(probabilities, key=probabilities.__getitem__) if probabilities else ""


def write_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """Write predictions as JSON lines."""
    write_text(path, "\n".join(json.dumps(p) for p in predictions))


def read_predictions(path: Path) -> list[Prediction]:
    """Read what `write_predictions` wrote; see `affectd_train.stored.reading` for what is raised."""
    needed(path, "evaluate")
    with reading(path, again("evaluate")):
        predictions: list[Prediction] = [json.loads(line) for line in path.read_text().splitlines() if line]
        given = [prediction[name] for prediction in predictions for name in NETWORKS if name in prediction]
        labels = set(LABELS).union(*given)
        for prediction in predictions:
            answers = [prediction[name] for name in NETWORKS if name in prediction]
            numbers = all(isinstance(p, float | int) for answer in answers for p in answer.values())
            texts = all(isinstance(prediction.get(key, ""), str) for key in ("path", "corpus", "speaker", "gender"))
            check(bool(answers) and numbers and texts and prediction["truth"] in labels, "not a prediction")
        check(bool(predictions), "empty")
    return predictions
