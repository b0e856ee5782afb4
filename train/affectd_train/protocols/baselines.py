"""Networks and recipes of the systems whose published figures ours stand beside, rebuilt from their descriptions.

Small student projects, trained and tested on a random split: the same people speak on both sides.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from affectd.arrays import Array, Float32
from affectd.recognition.classifier import softmax
from affectd_train.data.labels import in_order
from affectd_train.data.own import description
from affectd_train.data.splits import Split
from affectd_train.evaluation.predictions import Prediction, about, read_predictions, write_predictions
from affectd_train.files import needed, write_array, write_arrays, write_json, written_whole
from affectd_train.protocols.baseline_features import seed_features
from affectd_train.stored import again, arrays, check, reading, sound

if TYPE_CHECKING:
    from affectd_train.backend import keras

NETWORKS = ("three_convolutions", "four_convolutions", "long_short_term_memory")


def seed_network(name: str, shape: tuple[int, int], n_labels: int, *, unrolled: bool = False) -> keras.Model:
    """Make one of `NETWORKS`, untrained, for inputs of a shape: Conv1D or LSTM and dense layers, one logit a label.

    An LSTM that is unrolled is the same function as a chain of plain operators, which alone become int8.
    """
    from affectd_train.backend import keras, layers

    def convolution(filters: int) -> Any:
        return layers.Conv1D(filters, 5, padding="same", activation="relu")

    inner: list[Any] = []
    if name == "three_convolutions":
        inner += [convolution(128), layers.Dropout(0.1), layers.MaxPooling1D(4)]
        inner += [convolution(128), layers.Dropout(0.1), convolution(128), layers.Dropout(0.1), layers.Flatten()]
    elif name == "four_convolutions":
        for filters in (128, 128, 64, 64):
            inner += [convolution(filters), layers.MaxPooling1D(5, strides=2, padding="same")]
        inner += [layers.Dropout(0.2), layers.Flatten(), layers.Dense(32, activation="relu"), layers.Dropout(0.3)]
    else:
        inner += [layers.LSTM(128, unroll=unrolled), layers.Dropout(0.2)]
        inner += [layers.Dense(64, activation="relu"), layers.Dropout(0.2)]
    return keras.Sequential([layers.Input(shape), *inner, layers.Dense(n_labels)])


@dataclass(frozen=True)
class SeedSystem:
    """A recipe in full: a key of `affectd_train.protocols.baseline_features.FEATURES`, one of `NETWORKS`, and numbers.

    ``published`` is the accuracy that was published, and what is known of how; None where none is known. ``n_copies``
    synthetic copies of every recording train too. With ``leak`` they are split at random together with the recordings,
    so that copies of a tested recording train.
    """

    features: str
    network: str
    published: str | None
    n_copies: int = 0
    leak: bool = False
    epochs: int = 60
    batch_size: int = 32
    rate: float = 1e-3
    seed: int = 0


_OF_COPIES = SeedSystem("five_means", "four_convolutions", "up to 96 %", n_copies=2, epochs=30)

SEED_SYSTEMS: dict[str, dict[str, SeedSystem]] = {
    "ravdess": {
        "Conv1D on mean MFCCs (1-D)": SeedSystem("mfcc_mean", "three_convolutions", "62 %, 3 Conv1D + dense"),
        "Conv1D on MFCC frames (2-D)": SeedSystem("mfcc_frames", "three_convolutions", "62 %, 3 Conv1D + dense"),
        "Conv1D on MFCC, pitch and energy": SeedSystem("mfcc_pitch_energy", "three_convolutions", None),
    },
    "tess": {
        "Conv1D on MFCC, chroma, ZCR, RMS and mel": SeedSystem("five_means", "four_convolutions", "98.8 %", epochs=40),
        "LSTM on MFCC": SeedSystem("mfcc_frames", "long_short_term_memory", None, epochs=30),
    },
    "pooled": {
        "Conv1D on five features, copies of training recordings": _OF_COPIES,
        "the same, recordings and copies split together": replace(_OF_COPIES, leak=True),
    },
}
"""Seed protocol -> its systems by name."""


def run_seed_system(system: SeedSystem, split: Split, run: Path, cache: Path) -> list[Prediction]:
    """Train a seed system on one side of a split and predict the other; a finished run is read back.

    Returns
    -------
    Predictions with ``float`` probabilities; with `SeedSystem.leak` of tested copies too.
    """
    file, note = run / "predictions.jsonl", run / "system.json"
    clips = [*split.train, *split.test]
    asked = asdict(system) | {"split": split.name, "clips": len(split.train)} | description(clips)

    def as_asked(note: Path) -> None:
        check(json.loads(note.read_text()) == asked, "of another system, split or recording")

    if file.exists() and note.exists() and sound(note, as_asked) and sound(file, read_predictions):
        return read_predictions(file)
    note.unlink(missing_ok=True)  # before anything that it does not say, and written after all that it says
    features = seed_features(clips, system.features, system.n_copies, cache)
    rows = features.reshape(-1, *features.shape[2:])
    owners = np.tile(np.arange(len(clips)), len(features))
    if system.leak:
        tests = np.random.default_rng(system.seed).random(len(rows)) < len(split.test) / len(clips)
        trains = ~tests
    else:
        trains = owners < len(split.train)
        tests = ~trains
        tests[len(clips) :] = False  # copies
    labels = in_order(clip.emotion for clip in clips)
    truth = np.array([labels.index(clip.emotion) for clip in clips])[owners]
    probabilities = train_and_predict(system, rows[trains], truth[trains], rows[tests], labels, run)
    predictions: list[Prediction] = [
        about(clips[owner]) | {"float": dict(zip(labels, p.round(4).tolist(), strict=True))}
        for owner, p in zip(owners[tests], probabilities, strict=True)
    ]
    write_predictions(file, predictions)
    write_json(note, asked)
    return predictions


def train_and_predict(
    system: SeedSystem, x: Float32, y: Array, x_test: Float32, labels: list[str], run: Path
) -> Float32:
    """Train for a fixed number of epochs, none of which is chosen on the test; return its probabilities.

    The network stays in ``run``, where `load_seed_network` finds it.
    """
    from affectd_train.backend import keras

    keras.utils.clear_session()  # layers are counted from one again: the same network has the same file
    keras.utils.set_random_seed(system.seed)
    # Per coefficient of a frame; every entry of a vector is a coefficient of its own.
    axes = (0,) if x.shape[2] == 1 else (0, 1)
    mean, std = x.mean(axes, dtype=np.float64), x.std(axes, dtype=np.float64) + 1e-6
    normalized = ((x - mean) / std).astype(np.float32)
    network = seed_network(system.network, (x.shape[1], x.shape[2]), len(labels))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(system.rate), loss=loss, jit_compile=False)
    with tqdm(total=system.epochs, desc=system.network, unit="epoch") as progress:
        show: Any = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: progress.update())
        network.fit(normalized, y, batch_size=system.batch_size, epochs=system.epochs, verbose=0, callbacks=[show])
    with written_whole(run / "network.keras") as beside:
        network.save(beside)
    write_arrays(run / "normalization.npz", mean=mean, std=std, labels=np.array(labels))
    # What quantization has to see; see `affectd_train.protocols.baseline_files`.
    chosen = np.random.default_rng(system.seed).permutation(len(normalized))[:256]
    write_array(run / "representative.npy", normalized[chosen])
    return SeedNetwork(network, mean, std, labels).probabilities(x_test)


@dataclass(frozen=True)
class SeedNetwork:
    """A trained network of a seed system; mean and deviation are those of its features in training."""

    network: keras.Model
    mean: Array
    std: Array
    labels: list[str]

    def probabilities(self, x: Float32) -> Float32:
        """Compute ``(n, n_labels)`` from features as `affectd_train.protocols.baseline_features` makes them."""
        return softmax(self.network.predict(((x - self.mean) / self.std).astype(np.float32), verbose=0))


def load_seed_network(run: Path) -> SeedNetwork:
    """Load what `run_seed_system` trained, from its folder.

    Raises
    ------
    NoInputError, DataError
        If it is not there, as after a version that kept no weights; if it is damaged.
    """
    from affectd_train.backend import load_network

    network = load_network(needed(run / "network.keras", "evaluate"), again("evaluate"))
    numbers = needed(run / "normalization.npz", "evaluate")
    with reading(numbers, again("evaluate")):
        mean, std, labels = arrays(numbers, "mean", "std", "labels")
    return SeedNetwork(network, mean, std, labels.tolist())
