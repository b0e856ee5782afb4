"""What networks answer to clips: the int8 file by the device's code, the float network in the interpreter's place."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from affectd.recognition.classifier import Classifier, Network
from affectd.recognition.model_file import ModelFile, read_model
from affectd_train.data.clips import Clip
from affectd_train.evaluation.on_device import hear
from affectd_train.files import write_text

if TYPE_CHECKING:
    import keras

NETWORKS = ("int8", "float")


Prediction = dict[str, Any]
"""``path``, ``corpus``, ``speaker``, ``gender``, ``truth``; ``int8`` and ``float``: probabilities of every label."""


class FloatNetwork:
    """The float network in the place of the interpreter."""

    def __init__(self, model: ModelFile, network: keras.Model) -> None:
        self.model, self._network = model, network

    def __call__(self, cepstra: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn ``(n_frames, n_mfcc)`` cepstra into ``(n_labels,)`` probabilities."""
        context = (cepstra - self.model.mean) / self.model.std
        logits = self._network.predict_on_batch(context[None])[0]  # compiled: many times as fast as a call
        exponentials = np.exp((logits - logits.max()) / self.model.temperature)
        probabilities: NDArray[np.float32] = exponentials / exponentials.sum()
        return probabilities


def predict(model_path: Path, float_path: Path, clips: Sequence[Clip], title: str) -> list[Prediction]:
    """Classify clips with a model file and with the float network it came from."""
    import keras  # not at the top: what reads predictions does without

    model = read_model(model_path)
    networks: dict[str, Network] = {
        "int8": Classifier(model),
        "float": FloatNetwork(model, keras.models.load_model(float_path, compile=False)),
    }
    predictions = []
    for clip in tqdm(clips, title):
        prediction = about(clip)
        for name, network in networks.items():
            prediction[name] = hear(clip, network)
        predictions.append(prediction)
    return predictions


def about(clip: Clip) -> Prediction:
    """Return what a prediction says about its clip, as yet without any network's answer."""
    return {
        "path": f"{clip.corpus}/{clip.path.stem}" + (f":{clip.first_frame}" if clip.is_logmel else ""),
        "corpus": clip.corpus,
        "speaker": clip.speaker,
        "gender": clip.gender,
        "truth": clip.emotion,
    }


def among(predictions: Sequence[Prediction], labels: Collection[str]) -> list[Prediction]:
    """Let networks answer with these labels alone: those of the corpus they are tested on."""
    restricted = []
    for prediction in predictions:
        allowed = dict(prediction)
        for network in NETWORKS:
            kept = {label: p for label, p in prediction[network].items() if label in labels}
            if len(kept) < len(prediction[network]):
                total = sum(kept.values()) or 1.0
                allowed[network] = {label: p / total for label, p in kept.items()}
        restricted.append(allowed)
    return restricted


def answer(prediction: Prediction, network: str) -> str:
    """Return the most probable label, or "" where the gate heard no speech, which counts as wrong."""
    probabilities: dict[str, float] = prediction[network]
    return max(probabilities, key=probabilities.__getitem__) if probabilities else ""


def write_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """Write predictions as JSON lines."""
    write_text(path, "\n".join(json.dumps(p) for p in predictions))


def read_predictions(path: Path) -> list[Prediction]:
    """Read what `write_predictions` wrote."""
    return [json.loads(line) for line in path.read_text().splitlines() if line]
