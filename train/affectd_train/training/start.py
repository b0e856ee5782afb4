"""A model file as the start of training: the weights of its int8 network, given back to the network they came from.

What conversion folded is unfolded: batch normalizations get the statistics of contexts at hand, so that the network
answers as the file does, and goes on learning as it did when it was trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from affectd.arrays import Float32
from affectd.errors import DataError
from affectd.recognition.classifier import Classifier
from affectd.recognition.model_file import ModelFile, model_id, read_model
from affectd_train.backend import keras, layers
from affectd_train.stored import Origin
from affectd_train.training.heard import speakers_of
from affectd_train.training.network import FEWEST_OUTPUTS, build_network

LEAST_AGREEMENT = 0.7
"""Correlation of what a file and its network in float answer: above 0.99 for voices, less for what is beyond the ranges
of int8 as tones are, and about 0 of another network."""

_CHECKED = 64
_OTHER = "its network has other layers than those that are trained here"


class Weights(NamedTuple):
    """Of a convolution, kernel ``(size, n_in, n_out)``, or of a dense layer, ``(n_in, n_out)``; bias ``(n_out,)``."""

    kernel: Float32
    bias: Float32


def read_start(path: Path | str) -> ModelFile:
    """Read the model file to start from, and see that its layers can be those of a network trained here.

    Raises
    ------
    NoInputError, ModelFileError
        If it cannot be opened, or is no model file.
    DataError
        If it holds another network than those that are trained here.
    """
    model = read_model(Path(path))
    try:
        _blank(model)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return model


def begin(network: keras.Model, model: ModelFile, labels: Sequence[str], contexts: Float32) -> None:
    """Give a network of `build_network` the weights of a model file; see `in_float` for what is raised.

    A label that the file has keeps its row of the last layer; the row of another is the mean of all. Hints of a teacher
    are in no file, and stay as they are.

    Parameters
    ----------
    labels
        Of the network, in the order of its logits.
    contexts
        ``(n, n_frames, n_columns)``, normalized as the file does.
    """
    for mine, theirs in zip(_bare(network).layers, in_float(model, contexts).layers, strict=True):
        if mine.name != "logits":
            mine.set_weights(theirs.get_weights())
            continue
        kernel, bias = theirs.get_weights()
        rows = [model.labels.index(label) if label in model.labels else -1 for label in labels]
        kernel, bias = np.column_stack([kernel, kernel.mean(1)]), np.append(bias, bias.mean())
        mine.set_weights([kernel[:, rows], bias[rows]])


def in_float(model: ModelFile, contexts: Float32) -> keras.Model:
    """Make the float network that answers, with logits, as a model file does.

    Parameters
    ----------
    contexts
        ``(n, n_frames, n_columns)``, normalized as the file does: the statistics of the layers are taken of them.

    Raises
    ------
    DataError
        If the file holds another network than those that are trained here.
    """
    network, found = _blank(model)
    for layer, weights in found:
        if layer.use_bias:
            layer.set_weights(list(weights))
            continue
        # A batch normalization follows, which shall scale and add the bias, and do nothing else, whether it normalizes
        # by what it knows or, in training, by what it hears. Kernels of length 1: steps of training have one length.
        length = np.maximum(np.linalg.norm(weights.kernel, axis=(0, 1)), 1e-12)  # (n_out,)
        layer.set_weights([weights.kernel / length])
        heard = np.asarray(keras.Model(network.input, layer.output)(contexts, training=False))
        mean, variance = heard.mean((0, 1), dtype=np.float64), heard.var((0, 1), dtype=np.float64)
        normalization = network.layers[network.layers.index(layer) + 1]
        scale = length * np.sqrt(variance + normalization.epsilon)
        normalization.set_weights([scale, weights.bias + length * mean, mean, variance])
    if agreement(network, model, contexts[:_CHECKED]) < LEAST_AGREEMENT:  # of layers that are joined in another way
        raise DataError("the model file to start from has other layers than ours, or the recordings no speech in them")
    return network


def _blank(model: ModelFile) -> tuple[keras.Model, list[tuple[keras.layers.Layer, Weights]]]:
    """Make an untrained network as that of a file, and pair its layers with the weights of the file."""
    n_embedding, n_labels = 0 if model.head is None else model.head.n_embedding, len(model.labels)
    network = _bare(build_network(model.n_frames, model.spec.n_columns, n_labels, 0, 0, n_embedding))
    weighted = [layer for layer in network.layers if isinstance(layer, layers.Conv1D | layers.Dense)]
    found = layer_weights(model)
    if found and model.head is None and n_labels < FEWEST_OUTPUTS and len(found[-1].bias) == 2 * n_labels:
        found[-1] = _halved(found[-1])
    if [weights.kernel.shape for weights in found] != [tuple(layer.kernel.shape) for layer in weighted]:
        raise DataError(_OTHER)
    return network, list(zip(weighted, found, strict=True))


def _bare(network: keras.Model) -> keras.Model:
    """Return the part of a network up to its logits, with one row for each label, however few they are."""
    return keras.Model(network.input, network.get_layer("logits").output)


def _halved(twice: Weights) -> Weights:
    """Return the last layer that `deployed` has doubled, as it was: the mean of both halves."""
    kernel, bias = twice
    return Weights(kernel.reshape(len(kernel), 2, -1).mean(1), bias.reshape(2, -1).mean(0))


def origin(model: ModelFile) -> Origin:
    """Say what the weights of a model file come from, for the card of what is trained from them."""
    training, before = model.card.get("training", {}), model.card.get("training", {}).get("start", {})
    # A voice is left behind, and its terms with it.
    card = model.card | training.get("voice", {}).get("without", {})
    return Origin(
        model=model_id(model),
        clips=before.get("clips", {}) | training.get("clips", {}),
        speakers=sorted(speakers_of(model)),
        data=card.get("data", []),
        use=card.get("use", "not known: the file that training started from does not say"),
    )


def agreement(network: keras.Model, model: ModelFile, contexts: Float32) -> float:
    """Correlate the logits of a network with those of a model file, over normalized contexts."""
    classifier, head = Classifier(model), model.head
    heard = np.stack([classifier.embed(context * model.std + model.mean) for context in contexts])
    logits = heard if head is None else head.logits(heard, head.baseline)
    return float(np.corrcoef(logits.ravel(), np.ravel(network(contexts, training=False)))[0, 1])


def layer_weights(model: ModelFile) -> list[Weights]:
    """Read the weights of convolutions and dense layers in the order in which they are run, that of the head last."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES  # so that the operators are those of the file
    interpreter = Interpreter(model_content=model.tflite, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    tensors = {tensor["index"]: tensor["quantization_parameters"] for tensor in interpreter.get_tensor_details()}

    def read(index: int) -> Float32:
        """Dequantize weights, whose zero points are all 0 and whose first axis is that of the outputs."""
        values, scales = interpreter.get_tensor(index), tensors[index]["scales"]
        return np.asarray(values * scales.reshape(-1, *[1] * (values.ndim - 1)).astype(np.float64), np.float32)

    found = []
    for operator in interpreter._get_ops_details():
        if operator["op_name"] in ("CONV_2D", "FULLY_CONNECTED"):
            weights = [int(index) for index in operator["inputs"][1:]]
            if len(weights) != 2 or min(weights) < 0:
                raise DataError(_OTHER)  # for ours all have a bias
            kernel, bias = map(read, weights)
            if kernel.ndim == 4:
                kernel = kernel[:, 0]  # sound has no second dimension
            found.append(Weights(np.moveaxis(kernel, 0, -1) if kernel.ndim == 2 else kernel.transpose(1, 2, 0), bias))
    if (head := model.head) is not None:
        found.append(Weights(head.weights, head.bias - head.baseline @ head.weights))
    return found
