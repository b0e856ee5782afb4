"""The last step of the desktop side: one self-describing file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from affectd.arrays import Int16
from affectd.errors import DataError, ModelFileError, UnavailableError
from affectd.features.spec import FeatureSpec
from affectd.personal.hearing import FIXED
from affectd.recognition.classifier import Classifier
from affectd.recognition.golden import golden_vectors, self_test
from affectd.recognition.head import Head
from affectd.recognition.model_file import ModelFile, write_model
from affectd_train.files import needed
from affectd_train.stored import again, read_fitted

LEAST_SPREAD = 1e-3

_TOLD = ("clips", "speakers", "start", "choice")  # of what training noted, in the card

BASELINE = dataclasses.replace(FIXED, prior_seconds=60.0)
"""Plausible, and chosen on nothing yet: training with simulated places is to choose them. Unlike `FIXED` it moves."""


def pack(run: Path, out: Path, card: dict[str, Any], temperature: float = 1.0, uncertain: float = 0.0) -> ModelFile:
    """Write the model file of a run, and check that it replays its own golden vectors.

    `run` has ``fit.json`` and ``int8.tflite``. What training knows is added to `card`; `temperature` and `uncertain`
    are those of `affectd_train.evaluation.calibration`.

    Raises
    ------
    NoInputError
        If the run was not fitted or not quantized.
    DataError
        If what was fitted or quantized is damaged.
    OSError
        If the file cannot be written.
    """
    tflite = needed(run / "int8.tflite", "quantize").read_bytes()
    if tflite[4:8] != b"TFL3":
        raise DataError(f"{run / 'int8.tflite'}: damaged (no TFLite file); {again('quantize')}")
    fitted = read_fitted(run)
    recipe = fitted["recipe"]
    spec = FeatureSpec.from_dict(recipe.pop("spec"))  # has its own place in the file
    n_frames = recipe["n_frames"]
    shape = (n_frames, spec.n_columns)
    n_embedding = recipe.get("n_embedding", 0)
    head = blank_head(n_embedding, len(fitted["labels"])) if n_embedding else None
    blank = {"logits": np.zeros(len(fitted["labels"]), np.float32)} if n_embedding else {}
    model = ModelFile(
        spec=spec,
        n_frames=n_frames,
        mean=np.array(fitted["mean"], np.float32),
        std=np.array(fitted["std"], np.float32),
        labels=tuple(fitted["labels"]),
        temperature=temperature,
        thresholds={"uncertain": uncertain},
        golden={
            "samples": golden_samples(spec.sample_rate),
            "cepstra": np.zeros(shape, np.float32),
            "input": np.zeros(shape, np.int8),
            "output": np.zeros(n_embedding or len(fitted["labels"]), np.int8),
            **blank,
        },
        card=card | {"training": {"recipe": recipe, **{key: value for key, value in fitted.items() if key in _TOLD}}},
        tflite=tflite,
        head=head,
    )
    try:
        classifier = Classifier(model)
    except (ModelFileError, UnavailableError) as error:
        raise type(error)(f"{run / 'int8.tflite'}: {error}; if it is damaged, {again('quantize')}") from error
    if head is not None:
        model = dataclasses.replace(model, head=trained_head(run, classifier))
        classifier = Classifier(model)
    model = dataclasses.replace(model, golden=golden_vectors(model.golden["samples"], classifier))
    self_test(model, classifier)
    write_model(out, model)
    return model


def blank_head(n_embedding: int, n_labels: int) -> Head:
    """Make a head that knows nothing, for a model that is not measured yet."""
    zeros = np.zeros(n_embedding, np.float32)
    weights, bias = np.zeros((n_embedding, n_labels), np.float32), np.zeros(n_labels, np.float32)
    return Head(weights=weights, bias=bias, baseline=zeros, spread=zeros + 1, spec=BASELINE)


def trained_head(run: Path, classifier: Classifier) -> Head:
    """Make the head of a run: the layer ``logits`` of its float network, rewritten for an embedding minus its mean.

    Mean and spread are those of what the device computes, of the contexts that quantization saw.
    """
    # Not at the top: Keras takes seconds, and a network without a head does without.
    from affectd_train.backend import load_network
    from affectd_train.export.quantize import representative

    model = classifier.model
    network = load_network(needed(run / "float.keras", "fit"), again("fit"))
    weights, bias = (np.asarray(array, np.float64) for array in network.get_layer("logits").get_weights())
    contexts = representative(needed(run / "representative.npy", "fit"), (model.n_frames, model.spec.n_columns))
    heard = np.stack([classifier.embed(context * model.std + model.mean) for context in contexts]).astype(np.float64)
    mean = heard.mean(0).astype(np.float32)
    return Head(
        weights=weights.astype(np.float32),
        bias=(bias + mean @ weights).astype(np.float32),
        baseline=mean,
        # A number that never changes says nothing, at any distance.
        spread=np.maximum(heard.std(0), LEAST_SPREAD).astype(np.float32),
        spec=BASELINE,
    )


def golden_samples(sample_rate: int) -> Int16:
    """Make half a second that resembles speech enough to move every band: gliding pulses, syllables, and some noise.

    Returns
    -------
    ``(sample_rate // 2,)`` int16, multiples of 64: the noise is no less noise, and packs into less.
    """
    seconds = np.arange(sample_rate // 2) / sample_rate
    pitch = 140 + 40 * np.sin(2 * np.pi * 0.7 * seconds)
    phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
    syllables = 0.5 - 0.5 * np.cos(2 * np.pi * 3 * seconds)
    harmonics = np.arange(1, 26)
    # Two formants on a falling slope.
    strength = (1 / harmonics) * (
        1 + 4 * np.exp(-((harmonics - 5) ** 2) / 4) + 2 * np.exp(-((harmonics - 11) ** 2) / 6)
    )
    voice = (np.sin(np.outer(phase, harmonics)) * strength).sum(1) * syllables
    breath = np.random.default_rng(0).normal(0, 0.01, len(seconds))
    steps = np.round(125 * (voice / np.abs(voice).max() + breath))
    samples: Int16 = (64 * steps).astype(np.int16)
    return samples
