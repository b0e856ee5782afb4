"""A model file in miniature for tests: the network of ``data/tiny.tflite`` with everything a real one has."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from affectd.features.spec import FeatureSpec
from affectd.recognition.classifier import Classifier, golden_vectors
from affectd.recognition.model_file import ModelFile

DATA = Path(__file__).parent / "data"
N_FRAMES = 8
LABELS = ("angry", "calm", "happy")


def pcm(n_samples: int = 2000, seed: int = 0) -> np.ndarray:
    """Noise whose loudness wanders, as int16."""
    random = np.random.default_rng(seed)
    loudness = np.interp(np.arange(n_samples), np.linspace(0, n_samples, 9), random.uniform(10, 9000, 9))
    return (random.standard_normal(n_samples) * loudness).clip(-32768, 32767).astype(np.int16)


def draft_model(**changes: Any) -> ModelFile:
    """The tiny model before anything ran: its golden vectors are blank."""
    n_mfcc = FeatureSpec().n_mfcc
    blank = {
        "samples": pcm(),
        "cepstra": np.zeros((N_FRAMES, n_mfcc), np.float32),
        "input": np.zeros((N_FRAMES, n_mfcc), np.int8),
        "output": np.zeros(len(LABELS), np.int8),
    }
    fields: dict[str, Any] = {
        "spec": FeatureSpec(),
        "n_frames": N_FRAMES,
        "mean": np.linspace(-300, 3, n_mfcc, dtype=np.float32),
        "std": np.linspace(150, 7, n_mfcc, dtype=np.float32),
        "labels": LABELS,
        "temperature": 1.5,
        "thresholds": {"uncertain": 0.45},
        "golden": blank,
        "card": {"data": "noise", "metrics": {"int8": None}},
        "tflite": (DATA / "tiny.tflite").read_bytes(),
    }
    return ModelFile(**{**fields, **changes})


def tiny_model(**changes: Any) -> ModelFile:
    """The tiny model with the golden vectors that the interpreter at hand gives; `changes` replace fields."""
    draft = draft_model()
    return dataclasses.replace(draft, **{"golden": golden_vectors(pcm(), Classifier(draft)), **changes})
