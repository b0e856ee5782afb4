"""The last layer of an int8 network taken off: what comes before it, and the layer in real numbers.

A network of two or three labels gives each logit twice and takes the mean (docs/architecture.md says why); that goes
with the layer.

A ``.tflite`` is a flatbuffer: tables whose fields are found through a list of offsets. Two numbers in it are changed in
place, and its length stays: which tensor is the output, and how many operators there are.

Sources: the flatbuffers project, "FlatBuffer Internals"; TensorFlow, ``tensorflow/compiler/mlir/lite/schema/
schema.fbs``, whose fields are numbered here in its order.
"""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

import numpy as np

from affectd.arrays import Array, Float64
from affectd.recognition.checks import parse

_OPERATOR_CODES, _SUBGRAPHS, _BUFFERS, _SIGNATURES = 1, 2, 4, 7  # of a model
_TENSORS, _OUTPUTS, _OPERATORS = 0, 2, 3  # of a subgraph
_SHAPE, _TYPE, _BUFFER, _QUANTIZATION = 0, 1, 2, 4  # of a tensor
_SCALE, _ZERO_POINT = 2, 3  # of a quantization
_CODE, _IN, _OUT, _OPTIONS = 0, 1, 2, 4  # of an operator
_OLD_NUMBER, _NUMBER = 0, 3  # of an operator code
_ACTIVATION, _WEIGHTS_FORMAT = 0, 1  # of the options of a dense layer
_DATA = 0  # of a buffer
_SIGNATURE_OUTPUTS, _TENSOR_INDEX = 1, 1  # of a signature; of what it names
_DENSE, _RESHAPE, _MEAN = 9, 22, 40
_INT32, _INT8 = 2, 9
_EXPECTED = "a network that ends in an int8 dense layer"


class Split(NamedTuple):
    """A network without its last layer, and that layer: ``logits = embedding @ weights + bias``."""

    tflite: bytes
    weights: Float64  # (n_embedding, n_labels)
    bias: Float64  # (n_labels,)


def without_last_layer(tflite: bytes) -> Split:
    """Take off the last layer of a network, which must be a dense one without an activation.

    Raises
    ------
    ModelFileError
        It is another one, or the file is damaged.
    """
    return parse("tflite", lambda: _split(tflite))


def _split(tflite: bytes) -> Split:
    data = bytearray(tflite)
    model = _Table(data, _follow(data, 0))
    (graph,) = model.tables(_SUBGRAPHS)
    tensors, operators = graph.tables(_TENSORS), graph.tables(_OPERATORS)
    codes = [model.tables(_OPERATOR_CODES)[operator.number(_CODE, "I")] for operator in operators[-3:]]
    kinds = [max(code.number(_OLD_NUMBER, "b"), code.number(_NUMBER, "i")) for code in codes]
    is_doubled = kinds == [_DENSE, _RESHAPE, _MEAN]  # each logit twice
    n_taken = 3 if is_doubled else 1
    if kinds[-n_taken] != _DENSE or graph.ints(_OUTPUTS).tolist() != operators[-1].ints(_OUT).tolist():
        raise ValueError(f"expected {_EXPECTED}, found another last operator")
    dense = operators[-n_taken]
    options = dense.table(_OPTIONS)
    if options and (options.number(_ACTIVATION, "b") or options.number(_WEIGHTS_FORMAT, "b")):
        raise ValueError(f"expected {_EXPECTED}, found one with an activation or of another form")
    i_embedding, i_weights, *i_bias = dense.ints(_IN).tolist()
    buffers = model.tables(_BUFFERS)
    weights = _real(tensors[i_weights], buffers, _INT8, "i1")
    has_bias = i_bias and i_bias[0] >= 0
    bias = _real(tensors[i_bias[0]], buffers, _INT32, "<i4") if has_bias else np.zeros(len(weights))
    if is_doubled:
        weights, bias = weights.reshape(2, -1, weights.shape[1]).mean(0), bias.reshape(2, -1).mean(0)
    embedding = tensors[i_embedding]
    if embedding.number(_TYPE, "b") != _INT8 or embedding.ints(_SHAPE).tolist() != [1, weights.shape[1]]:
        raise ValueError(f"expected {_EXPECTED}, found one on something else than an int8 vector")
    _end_earlier(data, model, graph, i_embedding, n_taken)
    return Split(bytes(data), weights.T.copy(), bias)


def _end_earlier(data: bytearray, model: _Table, graph: _Table, i_output: int, n_taken: int) -> None:
    """Change a network in place: it ends `n_taken` operators earlier, and its output is the tensor `i_output`."""
    (i_before,) = graph.ints(_OUTPUTS).tolist()
    operators = graph.vector(_OPERATORS)
    struct.pack_into("<I", data, operators.first - 4, operators.length - n_taken)
    struct.pack_into("<i", data, graph.vector(_OUTPUTS).first, i_output)
    for signature in model.tables(_SIGNATURES):
        for named in signature.tables(_SIGNATURE_OUTPUTS):
            if named.number(_TENSOR_INDEX, "I") == i_before:
                struct.pack_into("<I", data, named.place(_TENSOR_INDEX), i_output)


class _Vector(NamedTuple):
    first: int  # place of the first element; the length is before it
    length: int


class _Table:
    """A table of a flatbuffer at a place of its bytes."""

    def __init__(self, data: bytearray, at: int) -> None:
        self._data, self._at = data, at
        (back,) = struct.unpack_from("<i", data, at)
        self._fields = at - back

    def place(self, field: int) -> int:
        """Return where a field is; 0 if it has its default."""
        (length,) = struct.unpack_from("<H", self._data, self._fields)
        slot = 4 + 2 * field
        if slot >= length:
            return 0
        (offset,) = struct.unpack_from("<H", self._data, self._fields + slot)
        return self._at + offset if offset else 0

    def number(self, field: int, kind: str) -> int:
        """Read a number, of which 0 is the default; `kind` is as of `struct`."""
        place = self.place(field)
        return int(struct.unpack_from(f"<{kind}", self._data, place)[0]) if place else 0

    def table(self, field: int) -> _Table | None:
        place = self.place(field)
        return _Table(self._data, _follow(self._data, place)) if place else None

    def vector(self, field: int) -> _Vector:
        place = self.place(field)
        if not place:
            return _Vector(0, 0)
        start = _follow(self._data, place)
        return _Vector(start + 4, struct.unpack_from("<I", self._data, start)[0])

    def tables(self, field: int) -> list[_Table]:
        first, length = self.vector(field)
        places = range(first, first + 4 * min(length, len(self._data)), 4)
        return [_Table(self._data, _follow(self._data, place)) for place in places]

    def ints(self, field: int) -> Array:
        return self.array(field, "<i4")

    def array(self, field: int, dtype: str) -> Array:
        """Read a vector of numbers."""
        first, length = self.vector(field)
        return np.frombuffer(bytes(self._data[first : first + length * np.dtype(dtype).itemsize]), dtype)


def _follow(data: bytearray, place: int) -> int:
    """Return the place that an offset at this place leads to."""
    return place + int(struct.unpack_from("<I", data, place)[0])


def _real(tensor: _Table, buffers: list[_Table], kind: int, dtype: str) -> Float64:
    """Return the real numbers of a constant tensor, which has one scale, or one for each row."""
    shape, quantization = tensor.ints(_SHAPE).tolist(), tensor.table(_QUANTIZATION)
    stored = buffers[tensor.number(_BUFFER, "I")].array(_DATA, "u1").tobytes()
    if tensor.number(_TYPE, "b") != kind or quantization is None:
        raise ValueError(f"expected {_EXPECTED}, found one of other numbers")
    if len(stored) != math.prod(shape) * np.dtype(dtype).itemsize:
        raise ValueError(f"expected {_EXPECTED}, found one whose numbers are not constant")
    scales = quantization.array(_SCALE, "<f4").astype(np.float64)
    zero_points = quantization.array(_ZERO_POINT, "<i8").astype(np.float64)
    rows = (-1,) + (1,) * (len(shape) - 1)
    steps = np.frombuffer(stored, dtype).reshape(shape).astype(np.float64)
    if zero_points.size:
        steps = steps - zero_points.reshape(rows)
    return np.asarray(steps * scales.reshape(rows), np.float64)
