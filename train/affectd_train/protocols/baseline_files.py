"""The seed systems' own networks as model files: the device hears a recording as their front ends did."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from affectd.arrays import Float32
from affectd.features.spec import FeatureSpec
from affectd.recognition.classifier import Classifier
from affectd.recognition.golden import golden_vectors, self_test
from affectd.recognition.hearing import Hearing, InputLayout
from affectd.recognition.model_file import ModelFile, read_model, write_model
from affectd_train.export.pack import golden_samples
from affectd_train.export.quantize import convert_int8
from affectd_train.files import needed
from affectd_train.protocols.baselines import load_seed_network, seed_network
from affectd_train.stored import again, check, reading

TRIM_DB = 30.0
WIDEST = 6.0
"""Deviations that the int8 input reaches: its 256 steps are for all columns, and a mean of mel power may be 30 off."""
_N_SAMPLES = 48000
_OF_LIBROSA: dict[str, Any] = {"window_length": 2048, "n_fft": 2048, "hop_length": 512, "reference": "one"}
_OF_LIBROSA |= {"log_floor": 1e-10, "top_db": 80.0}

SPECS = {
    "mfcc_mean": FeatureSpec(**_OF_LIBROSA, n_mfcc=40),
    "mfcc_frames": FeatureSpec(**_OF_LIBROSA, n_mfcc=40),
    "mfcc_pitch_energy": FeatureSpec(**_OF_LIBROSA, n_mfcc=40, pitch="semitones", rms="decibel"),
    "five_means": FeatureSpec(
        **_OF_LIBROSA, n_mfcc=20, mel="power", rms="linear", zero_crossings="rate", chroma="magnitude"
    ),
}
"""Key of `affectd_train.protocols.baseline_features.FEATURES` -> the same columns on the device.

Of ``five_means`` the device has the chroma with the tuning of a concert pitch, where librosa estimates one for each
recording.
"""

_ORDER_OF_FIVE = ("zero_crossings", "chroma", "mfcc", "rms", "mel")


def is_seed(run: Path) -> bool:
    """Tell whether a folder is of `affectd_train.protocols.baselines.run_seed_system`."""
    return (run / "system.json").is_file()


def is_file_of(file: Path, run: Path) -> bool:
    """Tell whether a model file is of the seed system in a folder."""
    found: object = read_model(file).card.get("training", {}).get("seed_system")
    return bool(found == json.loads((run / "system.json").read_text()))


def layout_of(features: str) -> InputLayout | None:
    """Say how the columns of one of `SPECS` become the input of the network; None: frame by frame as they are."""
    spec = SPECS[features]
    if not features.endswith(("_mean", "_means")):
        return None
    chosen = None
    if features == "five_means":
        starts = dict(zip(spec.columns, np.cumsum([0, *spec.columns.values()]).tolist(), strict=False))
        chosen = tuple(starts[name] + i for name in _ORDER_OF_FIVE for i in range(spec.columns[name]))
    return InputLayout(shape=(1, spec.n_columns, 1), columns=chosen, statistics="mean")


def pack_seed(run: Path, out: Path) -> ModelFile:
    """Quantize the network of a seed system and write its model file, which replays its own golden vectors.

    Raises
    ------
    NoInputError, DataError
        If something of the run is not there or damaged; the message names it.
    """
    note = needed(run / "system.json", "evaluate")
    with reading(note, again("evaluate")):
        system = json.loads(note.read_text())
        check(system["features"] in SPECS, "of other features")
    seed, spec, layout = load_seed_network(run), SPECS[system["features"]], layout_of(system["features"])
    n_frames = spec.count_frames(_N_SAMPLES)
    shape = (n_frames, spec.n_columns) if layout is None else layout.shape[1:]
    contexts = needed(run / "representative.npy", "evaluate")
    with reading(contexts, again("evaluate")):
        rows: Float32 = np.load(io.BytesIO(contexts.read_bytes()), allow_pickle=False).astype(np.float32)
        check(rows.shape[1:] == shape, "contexts of another shape")
    network = seed_network(system["network"], (shape[0], shape[1]), len(seed.labels), unrolled=True)
    network.set_weights(seed.network.get_weights())
    samples = golden_samples(spec.sample_rate)
    blank = ModelFile(
        spec=spec,
        n_frames=n_frames,
        mean=seed.mean.ravel().astype(np.float32),
        std=seed.std.ravel().astype(np.float32),
        labels=tuple(seed.labels),
        temperature=1.0,
        thresholds={"uncertain": 0.0},
        golden={
            "samples": samples,
            "cepstra": np.zeros((n_frames, spec.n_columns), np.float32),
            "input": np.zeros(shape, np.int8),
            "output": np.zeros(len(seed.labels), np.int8),
        },
        card={"training": {"seed_system": system}},
        tflite=convert_int8(network, rows.clip(-WIDEST, WIDEST), coarser=1),
        layout=layout,
        hearing=Hearing(trim_db=TRIM_DB, n_samples=_N_SAMPLES, fill="zeros" if layout is None else "none"),
    )
    classifier = Classifier(blank)
    packed = replace(blank, golden=golden_vectors(samples, classifier))
    self_test(packed, classifier)
    write_model(out, packed)
    return packed
