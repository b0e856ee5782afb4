"""A model file in miniature for tests: the network of ``data/tiny.tflite`` with everything a real one has."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from affectd.features.functionals import N_FUNCTIONALS
from affectd.features.spec import FeatureSpec
from affectd.recognition.classifier import Classifier
from affectd.recognition.golden import golden_vectors
from affectd.recognition.head import BaselineSpec, Head
from affectd.recognition.layers import Layers
from affectd.recognition.model_file import ModelFile
from affectd.recognition.voice import Voice, VoiceSpec

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
        "output": np.zeros(len(changes.get("labels", LABELS)), np.int8),
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


BASELINE = {
    "prior_seconds": 20.0,
    "half_life_hours": 2.0,
    "utterance_seconds": 6.0,
    "least_seconds": 0.3,
    "least_speech_ratio": 0.2,
    "near_distance": 1.5,
    "far_distance": 8.0,
}
PLACE_LABELS = ("angry", "calm", "happy", "sad")


def draft_place_model(
    spec: dict[str, float] | None = None, n_labels: int = len(PLACE_LABELS), **changes: Any
) -> ModelFile:
    """The tiny model in format 2, its three outputs taken as an embedding; `spec` replaces numbers of the baseline."""
    random = np.random.default_rng(7)
    n_embedding = len(LABELS)
    head = Head(
        weights=random.normal(0, 2, (n_embedding, n_labels)).astype(np.float32),
        bias=random.normal(0, 0.3, n_labels).astype(np.float32),
        baseline=np.array([0.25, -0.5, 0.125], np.float32),
        spread=np.array([0.4, 0.2, 0.3], np.float32),
        spec=BaselineSpec(**{**BASELINE, **(spec or {})}),
    )
    golden = {**draft_model().golden, "logits": np.zeros(n_labels, np.float32)}
    return draft_model(**{"labels": PLACE_LABELS, "golden": golden, "head": head, **changes})


def place_model(spec: dict[str, float] | None = None, n_labels: int = len(PLACE_LABELS), **changes: Any) -> ModelFile:
    """As `draft_place_model`, with the golden vectors that the interpreter at hand gives."""
    draft = draft_place_model(spec, n_labels, **changes)
    return dataclasses.replace(draft, **{"golden": golden_vectors(pcm(), Classifier(draft)), **changes})


VOICE = {"network_share": 0.5, "same_scatter": 1.0, "other_scatter": 2.0, "far_voice": 3.0}


def functionals_model(far: float = 1e6) -> ModelFile:
    """The tiny model of format 2, whose head sees functionals, too, and doubts those that are farther than this."""
    base = draft_place_model()
    assert base.head is not None
    random = np.random.default_rng(3)
    n_labels = len(base.labels)
    weights = np.vstack([base.head.weights, random.normal(0, 0.05, (N_FUNCTIONALS, n_labels)).astype(np.float32)])
    more = np.ones(N_FUNCTIONALS, np.float32)
    head = dataclasses.replace(
        base.head,
        weights=weights,
        baseline=np.concatenate([base.head.baseline, 0 * more]),
        spread=np.concatenate([base.head.spread, more]),
        far_functionals=far,
    )
    golden = {**base.golden, "functionals": 0 * more}
    draft = dataclasses.replace(base, head=head, golden=golden)
    return dataclasses.replace(draft, golden=golden_vectors(pcm(), Classifier(draft)))


def draft_voice_model(
    spec: dict[str, float] | None = None, baseline: dict[str, float] | None = None, **changes: Any
) -> ModelFile:
    """The tiny model in format 4; `spec` replaces numbers of the voice and `baseline` of its baseline."""
    random = np.random.default_rng(11)
    head = Head(
        weights=random.normal(0, 0.3, (N_FUNCTIONALS, len(LABELS))).astype(np.float32),
        bias=random.normal(0, 0.3, len(LABELS)).astype(np.float32),
        baseline=random.normal(0, 1, N_FUNCTIONALS).astype(np.float32),
        spread=random.uniform(0.5, 2, N_FUNCTIONALS).astype(np.float32),
        spec=BaselineSpec(**{**BASELINE, "near_distance": 1e6, "far_distance": 1e6, **(baseline or {})}),
    )
    directions = random.normal(0, 0.1, (N_FUNCTIONALS, 4)).astype(np.float32)
    voice = Voice(head=head, directions=directions, spec=VoiceSpec(**{**VOICE, **(spec or {})}))
    blank = {"functionals": np.zeros(N_FUNCTIONALS, np.float32), "logits": np.zeros(len(LABELS), np.float32)}
    return draft_model(**{"voice": voice, "golden": {**draft_model().golden, **blank}, **changes})


def voice_model(
    spec: dict[str, float] | None = None, baseline: dict[str, float] | None = None, **changes: Any
) -> ModelFile:
    """As `draft_voice_model`, with the golden vectors that the interpreter at hand gives."""
    draft = draft_voice_model(spec, baseline, **changes)
    return dataclasses.replace(draft, **{"golden": golden_vectors(pcm(), Classifier(draft)), **changes})


def layers(seed: int) -> Layers:
    """Layers that say enough to change an answer."""
    random = np.random.default_rng(seed)
    return Layers(
        hidden=random.normal(0, 0.3, (N_FUNCTIONALS, 5)).astype(np.float16),
        hidden_bias=random.normal(0, 0.3, 5).astype(np.float16),
        outer=random.normal(0, 0.3, (5, len(LABELS))).astype(np.float16),
        outer_bias=random.normal(0, 0.3, len(LABELS)).astype(np.float16),
    )


def layered_model(spec: dict[str, float] | None = None) -> ModelFile:
    """As `voice_model`, with layers for a voice that is known, and for one that is not, and with what is usual."""
    draft = draft_voice_model(spec)
    assert draft.voice is not None
    usual = np.array([0.5, -0.25, 1.0], np.float32)
    voice = dataclasses.replace(draft.voice, relative=layers(17), stranger=layers(13), usual=usual)
    draft = dataclasses.replace(draft, voice=voice)
    return dataclasses.replace(draft, golden=golden_vectors(pcm(), Classifier(draft)))


def resealed(source: Path, changes: dict[str, bytes | None], method: int = zipfile.ZIP_STORED) -> bytes:
    """The file with members replaced, added, or removed (None), and a digest that fits."""
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
        comment = archive.comment
    buffer = io.BytesIO((DATA / "tiny.tflite").read_bytes())
    with zipfile.ZipFile(buffer, "a") as archive:
        for name, content in {**members, **changes}.items():
            if content is not None:
                archive.writestr(name, content, method if name in changes else zipfile.ZIP_STORED)
        archive.comment = comment
    content = buffer.getvalue()[:-64]
    return content + hashlib.sha256(content).hexdigest().encode()
