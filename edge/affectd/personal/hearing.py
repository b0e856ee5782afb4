"""What the network makes of recordings: embeddings of the contexts that ``affectd classify`` would hear in each.

Beside a voice they end in the functionals of the context.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from affectd.arrays import Array, Float32
from affectd.config.sections import Config
from affectd.errors import ModelFileError
from affectd.personal.last_layer import without_last_layer
from affectd.recognition.classifier import Classifier
from affectd.recognition.golden import golden_vectors
from affectd.recognition.head import BaselineSpec, Head
from affectd.recognition.model_file import ModelFile
from affectd.recognition.recording import classify_recording

FIXED = BaselineSpec(
    prior_seconds=1e6,
    half_life_hours=72.0,
    utterance_seconds=6.0,
    least_seconds=1.0,
    least_speech_ratio=0.2,
    near_distance=1.5,
    far_distance=4.0,
)
"""A baseline that stays where it is: of a network that was not trained to have one that moves."""


def with_float_head(model: ModelFile) -> ModelFile:
    """Return a model of format 2 that answers as this one: the last layer of the network becomes its head.

    Logits are not rounded to int8 any more, so they differ by half a step of that at most. A voice is left out. A model
    with a head stays as it is.

    Raises
    ------
    ModelFileError
        The last layer is not a dense one.
    """
    if model.head is not None:
        return model
    if model.voice is not None:  # it knows of the labels of the network, which are about to change
        from affectd.recognition.voice import without_voice  # only for such a file

        model = without_voice(model)
    tflite, weights, bias = without_last_layer(model.tflite)
    original = Classifier(model)
    zeros = np.zeros(len(weights), np.float32)
    head = Head(
        weights=weights.astype(np.float32),
        bias=bias.astype(np.float32),
        baseline=zeros,
        spread=zeros + 1,
        spec=FIXED,
    )
    blank: dict[str, Array] = {"output": np.zeros(len(weights), np.int8), "logits": np.zeros(len(bias), np.float32)}
    changed = with_golden(dataclasses.replace(model, tflite=tflite, head=head, golden=model.golden | blank))
    before, now = original.dequantize(model.golden["output"]), changed.golden["logits"]
    step = original.dequantize(np.array([1], np.int8)) - original.dequantize(np.array([0], np.int8))
    if not np.abs(now - before).max() <= step:
        raise ModelFileError("tflite: its last layer, computed apart, gives other answers than the network")
    return changed


def with_functionals(model: ModelFile, base: ModelFile) -> ModelFile:
    """Return a model of format 5, whose head sees the functionals after the embedding of `model`, a `with_float_head`.

    `base` has a voice. It gives the weights of the functionals, their mean and spread, and so the terms of all it was
    trained on.
    """
    head, voice = model.head, base.voice
    assert head is not None
    assert voice is not None
    weights = np.concatenate([head.weights, voice.weights()])
    baseline, spread = (
        np.concatenate([getattr(head, name), getattr(voice.head, name)]) for name in ("baseline", "spread")
    )
    bias = head.bias + voice.head.bias
    # Nothing is far until it is known what is heard.
    head = Head(weights=weights, bias=bias, baseline=baseline, spread=spread, spec=FIXED, far_functionals=1e6)
    golden = model.golden | {"functionals": base.golden["functionals"]}
    # The terms of the network alone, which a note of the voice has, do not hold for it any more.
    note = {key: value for key, value in base.card.get("training", {}).items() if key != "voice"}
    card = base.card | ({"training": note} if note else {})
    return with_golden(dataclasses.replace(model, head=head, golden=golden, card=card))


def with_golden(model: ModelFile) -> ModelFile:
    """Return a model whose golden vectors are made again from its clip, by the interpreter at hand."""
    return dataclasses.replace(model, golden=golden_vectors(model.golden["samples"], Classifier(model)))


def embeddings_of(blocks: Iterable[Float32], classifier: Classifier, config: Config) -> Float32:
    """Return the embedding of every context of a recording, ``(n_contexts, n_embedding)``; none without speech.

    Blocks may be of any length, at the model's sample rate. The model has a head.
    """
    ears = _Ears(classifier)
    classify_recording(blocks, ears, config)
    return np.stack(ears.heard) if ears.heard else np.empty((0, ears.head.n_embedding), np.float32)


class _Ears:
    """A `Network` that keeps the embeddings of what it is given."""

    def __init__(self, classifier: Classifier) -> None:
        assert classifier.model.head is not None
        self.model, self.head = classifier.model, classifier.model.head
        self._classifier = classifier
        self._nothing = np.zeros(len(self.model.labels), np.float32)
        self.heard: list[Float32] = []

    def __call__(self, cepstra: Float32) -> Float32:
        output = self._classifier.embed(cepstra)
        if self.model.sees_functionals:
            output = self.head.seen(output, self._classifier.functionals(cepstra))
        self.heard.append(output)
        return self._nothing
