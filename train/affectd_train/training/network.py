"""The network: a small Conv1D stack over MFCCs that fits in 250 kB as int8.

Backend-neutral Keras 3: the same code trains on TensorFlow, PyTorch and JAX.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from affectd_train.backend import keras, layers, ops

CHANNELS = (80, 88, 104)
"""Filters of the first convolution, the second, and those that follow."""

DILATIONS = (2, 4)
"""Of the convolutions at the end: every step of the last one sees 1 s."""

FEWEST_OUTPUTS = 4

FRAMES_PER_STEP = 4
"""Two convolutions have a stride of 2."""


def build_network(
    n_frames: int, n_columns: int, n_labels: int, n_hints: int = 0, n_frame_hints: int = 0, n_embedding: int = 0
) -> keras.Model:
    """Make the untrained network.

    Batch normalization disappears into the convolutions at conversion, and the output has no softmax: int8 logits keep
    their resolution, and the device divides them by the temperature before its own softmax.

    Parameters
    ----------
    n_hints, n_frame_hints
        Numbers that a teacher knows of every context, and of every `FRAMES_PER_STEP` frames. The network learns to
        guess them behind the logits; `deployed` takes them off again.
    n_embedding
        Numbers that the device takes from the network: a layer ``embedding``, with logits and hints computed from it.
        As int8 they are of one range, which what is pooled is not. 0: there is no such layer.

    Returns
    -------
    A model from ``(batch, n_frames, n_columns)`` to logits, hints and hints of frames,
    ``(batch, n_labels + n_hints + n_frames // FRAMES_PER_STEP * n_frame_hints)``.

    Examples
    --------
    >>> build_network(n_frames=188, n_columns=64, n_labels=8).output_shape
    (None, 8)
    """

    def convolve(x: Any, filters: int, kernel_size: int, strides: int = 1, dilation: int = 1) -> Any:
        x = layers.Conv1D(
            filters, kernel_size, strides=strides, padding="same", dilation_rate=dilation, use_bias=False
        )(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        # Weigh each channel by what all channels do in the whole context: what is loud or high for this speaker?
        # J. Hu et al., "Squeeze-and-excitation networks", 2018; but with ReLU for the weights: a sigmoid has only 256
        # values as int8, and networks make do with the lowest few of them.
        squeezed = layers.Dense(filters // 8, activation="relu")(layers.GlobalAveragePooling1D(keepdims=True)(x))
        return layers.Multiply()([x, layers.Dense(filters, activation="relu", bias_initializer="ones")(squeezed)])

    a, b, c = CHANNELS
    cepstra = x = layers.Input((n_frames, n_columns))  # (188, 64), 62.5 frames a second
    x = convolve(x, a, 3, strides=2)  # (94, 80)
    x = layers.SpatialDropout1D(0.05)(convolve(x, b, 5))  # (94, 88)
    x = convolve(x, c, 5, strides=2)  # (47, 104)
    for dilation in DILATIONS:
        x = layers.SpatialDropout1D(0.05)(layers.Add()([x, convolve(x, c, 3, dilation=dilation)]))  # (47, 104)
    # The mean tells how the whole context sounds, the maximum what happened in it once.
    pooled = layers.Concatenate()([layers.GlobalAveragePooling1D()(x), layers.GlobalMaxPooling1D()(x)])  # (208,)
    if n_embedding:
        pooled = layers.Dense(n_embedding, name="embedding")(pooled)
    outputs = [layers.Dense(n_labels, name="logits")(layers.Dropout(0.2)(pooled))]
    if n_hints:
        outputs.append(layers.Dense(n_hints, name="hints")(pooled))
    if n_frame_hints:
        outputs.append(layers.Flatten()(layers.Dense(n_frame_hints, name="frame_hints")(x)))
    return keras.Model(cepstra, layers.Concatenate()(outputs) if len(outputs) > 1 else outputs[0])


def deployed(network: keras.Model) -> keras.Model:
    """Return the part of a trained network that gives the logits.

    Of fewer than `FEWEST_OUTPUTS` labels the last layer gives every logit twice, and their mean is taken: a runtime
    for 32-bit ARM crashes on int8 layers with fewer outputs (see docs/architecture.md). It is the same function.
    """
    logits = network.get_layer("logits")
    is_last = "embedding" not in [layer.name for layer in network.layers]  # else the device computes it, in float
    if logits.units >= FEWEST_OUTPUTS or not is_last:
        return keras.Model(network.input, logits.output)
    twice = layers.Dense(2 * logits.units, name="logits_twice")
    both = layers.Reshape((2, logits.units))(twice(logits.input))
    twice.set_weights([np.concatenate([weights, weights], axis=-1) for weights in logits.get_weights()])
    return keras.Model(network.input, layers.GlobalAveragePooling1D(name="logits")(both))


def loss(
    n_labels: int, n_hints: int, n_frame_hints: int, hint_weight: float, frame_weight: float
) -> Callable[[Any, Any], Any]:
    """Make the loss of training: the cross-entropy, and how far the guesses are off what the teacher knows.

    Its targets are ``(batch, n_labels)``; where there are hints, those of the clip and one column more, 1 where
    they are known and else 0; and where there are hints of frames, as much again for every step of the network.
    """

    def taught(target: Any, output: Any) -> Any:
        labels, logits = target[:, :n_labels], output[:, :n_labels]
        cost = keras.losses.categorical_crossentropy(labels, logits, from_logits=True)
        target, output = target[:, n_labels:], output[:, n_labels:]
        if n_hints:
            known = target[:, n_hints]
            cost += hint_weight * known * ops.mean(ops.square(output[:, :n_hints] - target[:, :n_hints]), axis=-1)
        if n_frame_hints:
            frames, width = target[:, n_hints + 1 :], n_frame_hints + 1
            steps = ops.reshape(frames, (-1, frames.shape[1] // width, width))  # (batch, n_steps, width)
            guesses = ops.reshape(output[:, n_hints:], (-1, steps.shape[1], n_frame_hints))
            known = steps[:, :, n_frame_hints]  # (batch, n_steps)
            errors = known * ops.mean(ops.square(guesses - steps[:, :, :n_frame_hints]), axis=-1)
            cost += frame_weight * ops.sum(errors, axis=-1) / (ops.sum(known, axis=-1) + 1.0)
        return cost

    return taught
