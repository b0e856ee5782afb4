"""How right the device is about strangers: every figure names its protocol and carries an interval.

Recordings go through `affectd_train.hearing.hear`, which is the code that runs on
the device: gate, front end, contexts, int8 file. The float network is put in the
place of the interpreter, everything else being equal.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import classification_report, confusion_matrix, recall_score
from tqdm import tqdm

from affectd.classifier import Classifier
from affectd.model_file import ModelFile, read_model
from affectd.pipeline import Network
from affectd_train.ages import age_group
from affectd_train.corpora import Clip
from affectd_train.fit import write_text
from affectd_train.hearing import hear
from affectd_train.labels import LABELS

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


def metrics(
    predictions: Sequence[Prediction],
    protocol: str,
    n_resamples: int = 2000,
    networks: Sequence[str] = NETWORKS,
) -> dict[str, Any]:
    """Compute every figure that is reported.

    Returns
    -------
    ``protocol``, ``clips``, ``speakers``; per network (``int8``, ``float``) ``unweighted`` accuracy with its 95 %
    bootstrap interval over speakers, ``weighted`` accuracy, ``per_class``, ``confusion`` (rows = truth, in the order
    of ``labels``), ``by_gender``, and ``by_age`` and ``by_corpus`` where there are at least two groups; and of two
    networks ``same_label``, the share of clips they give the same label.
    """
    truth = np.array([p["truth"] for p in predictions])
    speakers = np.array([p["speaker"] for p in predictions])
    genders = np.array([p["gender"] for p in predictions])
    groups = {
        "by_age": np.array([age_group(p["speaker"]) for p in predictions]),
        "by_corpus": np.array([p["corpus"] for p in predictions]),
    }
    labels = [label for label in LABELS if label in truth]
    figures: dict[str, Any] = {
        "protocol": protocol,
        "clips": len(predictions),
        "speakers": len(set(speakers)),
        "labels": labels,
    }
    answers = {name: np.array([answer(p, name) for p in predictions]) for name in networks}
    for name, given in answers.items():
        report = classification_report(truth, given, labels=labels, output_dict=True, zero_division=0)
        figures[name] = {
            "unweighted": unweighted_accuracy(truth, given),
            "unweighted_interval": speaker_bootstrap(truth, given, speakers, n_resamples),
            "weighted": float((truth == given).mean()),
            "per_class": {label: report[label] for label in labels},
            "confusion": confusion_matrix(truth, given, labels=labels).tolist(),
            "by_gender": by_group(truth, given, genders),
        }
        figures[name] |= {key: by_group(truth, given, of) for key, of in groups.items() if len(set(of) - {""}) > 1}
    if len(networks) == 2:
        first, second = answers.values()
        figures["same_label"] = float((first == second).mean())
    return figures


def unweighted_accuracy(truth: NDArray[Any], given: NDArray[Any]) -> float:
    """Mean of the recalls of the classes that occur."""
    return float(recall_score(truth, given, labels=sorted(set(truth)), average="macro", zero_division=0))


def recalls(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Unweighted accuracy of each of the networks."""
    truth = np.array([p["truth"] for p in predictions])
    return {name: unweighted_accuracy(truth, np.array([answer(p, name) for p in predictions])) for name in NETWORKS}


def by_group(truth: NDArray[Any], given: NDArray[Any], groups: NDArray[Any]) -> dict[str, float]:
    """Unweighted accuracy of each group by its name; clips of the group "" have none."""
    return {
        str(group): unweighted_accuracy(truth[groups == group], given[groups == group])
        for group in sorted(set(groups) - {""})
    }


def speaker_bootstrap(
    truth: NDArray[Any], given: NDArray[Any], speakers: NDArray[Any], n_resamples: int
) -> tuple[float, float]:
    """95 % percentile interval of the unweighted accuracy when other speakers might have been recorded.

    Speakers are drawn with replacement, for clips of one speaker are not independent
    (B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13).
    """
    classes, truth_index = np.unique(truth, return_inverse=True)
    names, speaker_index = np.unique(speakers, return_inverse=True)
    # Clips and hits per speaker and class: a resample is then a sum of rows.
    clips = np.zeros((len(names), len(classes)))
    hits = np.zeros_like(clips)
    np.add.at(clips, (speaker_index, truth_index), 1)
    np.add.at(hits, (speaker_index, truth_index), truth == given)
    rng = np.random.default_rng(0)
    values = []
    for _ in range(n_resamples):
        drawn = rng.integers(0, len(names), len(names))
        n, right = clips[drawn].sum(0), hits[drawn].sum(0)
        values.append(np.mean(right[n > 0] / n[n > 0]))
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def calibrate(predictions: Sequence[Prediction]) -> float:
    """Find the temperature that makes the probabilities of held-out speakers honest.

    C. Guo et al., "On calibration of modern neural networks", 2017: minimize the negative log-likelihood.

    Parameters
    ----------
    predictions
        Made with temperature 1, of clips nobody trained on.
    """
    from scipy.optimize import minimize_scalar

    heard = [p for p in predictions if p["int8"]]
    labels = list(heard[0]["int8"])
    logits = np.log(np.array([[max(p["int8"][label], 1e-4) for label in labels] for p in heard]))
    truth = np.array([labels.index(p["truth"]) for p in heard])

    def cost(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        scaled -= np.log(np.exp(scaled).sum(1, keepdims=True))
        return float(-scaled[np.arange(len(truth)), truth].mean())

    return float(np.exp(minimize_scalar(cost, bounds=(-2.0, 2.0), method="bounded").x))


def uncertain_threshold(predictions: Sequence[Prediction], temperature: float, coverage: float = 0.5) -> float:
    """Find the probability that the best label of this share of held-out clips exceeds.

    With every second acted recording named, noise is named none, and everyday speech no more than a few times an hour.
    """
    best = []
    for prediction in predictions:
        if prediction["int8"]:
            powers = np.array([max(p, 1e-4) for p in prediction["int8"].values()]) ** (1 / temperature)
            best.append(powers.max() / powers.sum())
    return float(np.quantile(best, 1 - coverage))


def write_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """Write predictions as JSON lines."""
    write_text(path, "\n".join(json.dumps(p) for p in predictions))


def read_predictions(path: Path) -> list[Prediction]:
    """Read what `write_predictions` wrote."""
    return [json.loads(line) for line in path.read_text().splitlines() if line]
