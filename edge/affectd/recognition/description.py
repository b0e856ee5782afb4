"""What `affectd model` says of a model file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from affectd.recognition.classifier import Classifier
from affectd.recognition.model_file import model_id


def describe(path: Path, classifier: Classifier) -> dict[str, Any]:
    """Describe a model file and the interpreter that runs it."""
    model = classifier.model
    description = {
        "path": str(path),
        "model": model_id(model),
        "bytes": path.stat().st_size,
        "labels": list(model.labels),
        "input": list(model.input_shape),
        "output": [1, model.n_outputs],
        "temperature": model.temperature,
        "thresholds": model.thresholds,
        "features": model.spec.to_dict(),
        "runtime": f"{classifier.runtime_name} {classifier.runtime_version}",
        "card": model.card,
    }
    if model.spec.n_columns != model.spec.n_mfcc:
        description["columns"] = model.spec.columns
    if model.layout is not None:
        description["n_frames"] = model.n_frames
    head = model.learning_head
    parts = {"baseline": head and head.spec, "layout": model.layout, "hearing": model.hearing}
    if model.voice is not None:
        description["voice"] = model.voice.spec.stored()
    if model.head is not None and model.sees_functionals:
        description["far_functionals"] = model.head.far_functionals
    return description | {name: asdict(part) for name, part in parts.items() if part is not None}
