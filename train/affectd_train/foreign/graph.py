"""The graph of a TFLite file: what it takes and gives, and what is cut off or multiplied for the device."""

from __future__ import annotations

from typing import Any

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from affectd.arrays import Array
from affectd.errors import DataError
from affectd_train.foreign.operators import operator_name

_FLOAT, _INT8 = schema.TensorType.FLOAT32, schema.TensorType.INT8
_PASSING = ("RESHAPE", "EXPAND_DIMS", "SQUEEZE", "PAD", "MEAN", "MAX_POOL_2D", "AVERAGE_POOL_2D")
"""Operators that give a multiple of what they are given as the same multiple, column by column."""
_CONTROL = ("WHILE", "IF", "CALL_ONCE")
_UNROLL = "recurrent layers (LSTM, GRU) can be converted when they are built with unroll=True"
_LOGITS = "end it with a Dense layer of one output for each label and softmax, and train it on one label for each clip"


class Graph:
    """The one graph of a TFLite file, which has one input and one output.

    Raises
    ------
    DataError
        If it has loops or branches, or several inputs or outputs, or cannot be read.
    """

    def __init__(self, content: bytes) -> None:
        try:
            self.model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
            found = self.operators_of(self.model.subgraphs[0])
        except Exception as error:  # whatever numbers in a damaged file lead to
            raise DataError("damaged (no TFLite file)") from error
        if control := [name for name in found if name in _CONTROL]:
            raise DataError(f"the network has the operator {control[0]}, a loop or branch without int8; {_UNROLL}")
        if len(self.model.subgraphs) != 1:
            raise DataError(f"the network has {len(self.model.subgraphs)} graphs, expected one")
        (self._graph,) = self.model.subgraphs
        for what, tensors in (("inputs", self._graph.inputs), ("outputs", self._graph.outputs)):
            if len(tensors) != 1:
                raise DataError(f"the network has {len(tensors)} {what}, expected one")
        self._without_quantizing()

    def operators_of(self, graph: Any) -> list[str]:
        """Return the names of the operators of a graph."""
        return [operator_name(self.model.operatorCodes[operator.opcodeIndex]) for operator in graph.operators]

    @property
    def operators(self) -> list[str]:
        """The names of the operators, in the order in which they run."""
        return self.operators_of(self._graph)

    @property
    def last_operator(self) -> str:
        """The name of the operator that gives the output."""
        return self._producer(self._graph.outputs[0])[0]

    def dense_shapes(self) -> list[tuple[int, int]]:
        """List outputs and inputs of every dense layer."""
        weights = [o.inputs[1] for o in self._graph.operators if self._is(o, "FULLY_CONNECTED")]
        shapes = (self._graph.tensors[index].shape for index in weights)
        return [(int(shape[0]), int(shape[1])) for shape in shapes]

    @property
    def is_int8(self) -> bool:
        """Whether input and output are int8."""
        return bool(self._input.type == _INT8 and self._output.type == _INT8)

    @property
    def is_float(self) -> bool:
        """Whether input and output are float32."""
        return bool(self._input.type == _FLOAT and self._output.type == _FLOAT)

    @property
    def has_small_weights(self) -> bool:
        """Whether weights are stored in fewer than 32 bits."""
        small = (_INT8, schema.TensorType.FLOAT16)
        return any(self._constant(i) is not None for i, t in enumerate(self._graph.tensors) if t.type in small)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the input; -1 for what is not fixed."""
        tensor = self._input
        signature = tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature
        return tuple(int(n) for n in signature)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the output."""
        return tuple(int(n) for n in self._output.shape)

    def without_softmax(self) -> None:
        """Cut off a softmax at the end: 256 levels between 0 and 1 say little, and the device takes it itself.

        Raises
        ------
        DataError
            If the network ends in a sigmoid, which is an answer for each label by itself.
        """
        name, operator = self._producer(self._graph.outputs[0])
        if name == "LOGISTIC":
            raise DataError(
                "the network ends in a sigmoid: each label is answered by itself, and several or none may be true;"
                f" affectd names one. {_LOGITS[0].upper()}{_LOGITS[1:]}"
            )
        if name in ("SOFTMAX", "LOG_SOFTMAX"):
            self._graph.outputs = [int(operator.inputs[0])]
            self._remove(operator)

    def check_output(self, n_labels: int) -> None:
        """Raise `DataError` unless there is one number for each label."""
        shape = self.output_shape
        if len(shape) > 2 and max(shape[:-1]) > 1:
            raise DataError(
                f"the network gives a sequence, {shape}: an answer for every frame; end it with GlobalAveragePooling"
                " or Flatten before the last Dense layer"
            )
        if shape != (1, n_labels):
            n = int(np.prod(shape))
            hint = f"; {_LOGITS}" if n == 1 else ""
            raise DataError(f"the network gives {n} numbers, and --labels has {n_labels} names{hint}")

    def scale_columns(self, scales: Array) -> bool:
        """Make the network take columns divided by these numbers, ``(n_columns,)``, and give the same; tell if it can.

        It can where the first weights of the network stand for columns: those are multiplied. Columns of very different
        size would share the steps of one int8 input, and the smaller ones have few.
        """
        changes: list[tuple[int, Array]] = []
        tensor = int(self._graph.inputs[0])
        while True:
            users = [o for o in self._graph.operators if tensor in list(o.inputs)]
            if len(users) != 1:
                return False
            (operator,) = users
            name = operator_name(self.model.operatorCodes[operator.opcodeIndex])
            result = int(operator.outputs[0])
            if name in _PASSING and self._keeps_columns(result, len(scales), name):
                tensor = result
                continue
            change = self._scaled(name, operator, tensor, scales)
            if change is None:
                return False
            changes.append(change)
            if name not in ("ADD", "SUB"):
                break
            tensor = result
        for index, values in changes:
            self._graph.tensors[index].buffer = self._new_buffer(values.astype(np.float32))
        return True

    def content(self) -> bytes:
        """Return the file, without the names in it."""
        flatbuffer_utils.strip_strings(self.model)
        self.model.metadata = None
        return bytes(flatbuffer_utils.convert_object_to_bytearray(self.model))

    @property
    def _input(self) -> Any:
        return self._graph.tensors[self._graph.inputs[0]]

    @property
    def _output(self) -> Any:
        return self._graph.tensors[self._graph.outputs[0]]

    def _producer(self, tensor: int) -> tuple[str, Any]:
        for operator in self._graph.operators:
            if tensor in list(operator.outputs):
                return operator_name(self.model.operatorCodes[operator.opcodeIndex]), operator
        return "", None

    def _without_quantizing(self) -> None:
        """Cut off QUANTIZE before and DEQUANTIZE behind an int8 network, as converters put them by default."""
        users = [o for o in self._graph.operators if self._graph.inputs[0] in list(o.inputs)]
        if len(users) == 1 and self._is(users[0], "QUANTIZE"):
            self._graph.inputs = [int(users[0].outputs[0])]
            self._remove(users[0])
        name, operator = self._producer(self._graph.outputs[0])
        if name in ("QUANTIZE", "DEQUANTIZE") and self._graph.tensors[operator.inputs[0]].type == _INT8:
            self._graph.outputs = [int(operator.inputs[0])]
            self._remove(operator)

    def _remove(self, operator: Any) -> None:
        """Remove an operator, and its kind from the list of what an interpreter has to have if it was the last."""
        self._graph.operators.remove(operator)
        used = sorted({other.opcodeIndex for other in self._graph.operators})
        self.model.operatorCodes = [self.model.operatorCodes[index] for index in used]
        for other in self._graph.operators:
            other.opcodeIndex = used.index(other.opcodeIndex)

    def _is(self, operator: Any, name: str) -> bool:
        return operator_name(self.model.operatorCodes[operator.opcodeIndex]) == name

    def _constant(self, index: int) -> Array | None:
        """Return a tensor that is part of the file, or None."""
        tensor = self._graph.tensors[index]
        data = self.model.buffers[tensor.buffer].data
        if data is None or not len(data):
            return None
        kinds = {_FLOAT: np.float32, schema.TensorType.INT32: np.int32, _INT8: np.int8}
        if tensor.type not in kinds:
            return np.asarray(data)
        return np.frombuffer(bytes(np.asarray(data, np.uint8)), kinds[tensor.type]).reshape(tensor.shape)

    def _keeps_columns(self, result: int, n_columns: int, name: str) -> bool:
        shape = [int(n) for n in self._graph.tensors[result].shape]
        is_flat = name == "RESHAPE" and int(np.prod(shape)) == shape[-1] and shape[-1] % n_columns == 0
        return shape[-1] == n_columns or is_flat

    def _scaled(self, name: str, operator: Any, tensor: int, scales: Array) -> tuple[int, Array] | None:
        """Return the constant of an operator to be changed, and what it becomes."""
        others = [int(i) for i in operator.inputs if i >= 0 and int(i) != tensor]
        found = self._constant(others[0]) if others else None
        if found is None or found.dtype != np.float32:
            return None
        if name == "FULLY_CONNECTED" and found.shape[-1] % len(scales) == 0:
            return others[0], found * np.tile(scales, found.shape[-1] // len(scales))
        if name == "CONV_2D" and found.shape[-1] == len(scales):
            return others[0], found * scales
        if name == "DEPTHWISE_CONV_2D" and found.shape[-1] % len(scales) == 0:
            return others[0], found * np.repeat(scales, found.shape[-1] // len(scales))
        if found.size != len(scales) or found.shape[-1] != len(scales):
            return None
        if name == "MUL":
            return others[0], found * scales
        is_first = int(operator.inputs[0]) == tensor
        if not operator.builtinOptions.fusedActivationFunction and (name == "ADD" or (name == "SUB" and is_first)):
            return others[0], found / scales
        return None

    def _new_buffer(self, values: Array) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1
