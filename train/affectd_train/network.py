"""The network: a small Conv1D stack over MFCCs that fits in 250 kB as int8.

Backend-neutral Keras 3: the same code trains on TensorFlow, PyTorch and JAX.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers, ops

CHANNELS = (88, 88, 112)
"""Filters of the first convolution, the second, and the three that follow."""


def build_network(n_frames: int, n_mfcc: int, n_labels: int, n_hints: int = 0) -> keras.Model:
    """Make the untrained network.

    Batch normalization disappears into the convolutions at conversion, and the
    output has no softmax: int8 logits keep their resolution, and the device
    divides them by the temperature before its own softmax.

    Parameters
    ----------
    n_frames, n_mfcc
        The shape of one context of normalized cepstra.
    n_labels
        Classes.
    n_hints
        Numbers that a teacher knows of every context, which the network learns to guess behind the logits; `deployed`
        takes them off again.

    Returns
    -------
    A model from ``(batch, n_frames, n_mfcc)`` to logits ``(batch, n_labels + n_hints)``.
    """

    def convolve(x: Any, filters: int, kernel_size: int, strides: int = 1) -> Any:
        x = layers.Conv1D(filters, kernel_size, strides=strides, padding="same", use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))

    a, b, c = CHANNELS
    cepstra = x = layers.Input((n_frames, n_mfcc))  # (188, 40), 62.5 frames a second
    x = convolve(x, a, 5, strides=2)  # (94, 88)
    x = layers.SpatialDropout1D(0.05)(convolve(x, b, 5))  # (94, 88)
    x = convolve(x, c, 5, strides=2)  # (47, 112)
    x = layers.SpatialDropout1D(0.05)(layers.Add()([x, convolve(x, c, 3)]))  # (47, 112)
    x = layers.SpatialDropout1D(0.05)(layers.Add()([x, convolve(x, c, 3)]))  # (47, 112): one step sees 0.5 s
    # The mean tells how the whole context sounds, the maximum what happened in it once.
    x = layers.Concatenate()([layers.GlobalAveragePooling1D()(x), layers.GlobalMaxPooling1D()(x)])  # (224,)
    logits = layers.Dense(n_labels, name="logits")(layers.Dropout(0.2)(x))
    if not n_hints:
        return keras.Model(cepstra, logits)
    return keras.Model(cepstra, layers.Concatenate()([logits, layers.Dense(n_hints, name="hints")(x)]))


def deployed(network: keras.Model) -> keras.Model:
    """Return the part of a trained network that gives the logits."""
    return keras.Model(network.input, network.get_layer("logits").output)


def masked_cross_entropy(target: Any, logits: Any) -> Any:
    """Cross-entropy over the labels that the clip's corpus has.

    CREMA-D has no "calm": a calm-sounding clip of it says nothing against that
    label, so labels a corpus lacks take no part in its softmax.

    Parameters
    ----------
    target
        ``(batch, 2 * n_labels)``: the wanted probabilities, then the mask (1 = the corpus has the label).
    logits
        ``(batch, n_labels)``.

    Returns
    -------
    ``(batch,)`` nats.
    """
    probabilities, mask = ops.split(target, 2, axis=-1)
    logits = logits - 1e4 * (1.0 - mask)
    return -ops.sum(probabilities * ops.log_softmax(logits) * mask, axis=-1)


def loss(n_labels: int, hint_weight: float) -> Callable[[Any, Any], Any]:
    """Make the loss of training: `masked_cross_entropy`, and how far the guesses are off what the teacher knows.

    Its targets are ``(batch, 2 * n_labels)``, or ``(batch, 2 * n_labels + n_hints + 1)``, the last column 1 where the
    hints are known and else 0.
    """

    def taught(target: Any, output: Any) -> Any:
        answer = masked_cross_entropy(target[:, : 2 * n_labels], output[:, :n_labels])
        if target.shape[-1] == 2 * n_labels:
            return answer
        hints, known = target[:, 2 * n_labels : -1], target[:, -1]
        return answer + hint_weight * known * ops.mean(ops.square(output[:, n_labels:] - hints), axis=-1)

    return taught
