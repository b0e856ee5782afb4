"""Which operators the interpreters of the device know: one network has to run in both."""

from __future__ import annotations

from typing import Any

from affectd.errors import DataError

_TFLITE_RUNTIME_2_14 = """
ABS:5 ADD:5 ADD_N:1 ARG_MAX:3 ARG_MIN:3 ASSIGN_VARIABLE:1 ATAN2:1 AVERAGE_POOL_2D:3 BATCH_MATMUL:4 BATCH_TO_SPACE_ND:4
BIDIRECTIONAL_SEQUENCE_LSTM:3 BIDIRECTIONAL_SEQUENCE_RNN:3 BITCAST:1 BITWISE_XOR:1 BROADCAST_ARGS:1 BROADCAST_TO:3
BUCKETIZE:1 CALL_ONCE:1 CAST:5 CEIL:1 COMPLEX_ABS:1 CONCATENATION:4 CONV_2D:7 CONV_3D:1 CONV_3D_TRANSPOSE:1 COS:1
CUMSUM:1 DENSIFY:1 DEPTHWISE_CONV_2D:7 DEPTH_TO_SPACE:2 DEQUANTIZE:5 DIV:2 DYNAMIC_UPDATE_SLICE:1 ELU:1
EMBEDDING_LOOKUP:3 EMBEDDING_LOOKUP_SPARSE:1 EQUAL:4 EXP:2 EXPAND_DIMS:1 FAKE_QUANT:2 FILL:4 FLOOR:1 FLOOR_DIV:3
FLOOR_MOD:2 FULLY_CONNECTED:10 GATHER:6 GATHER_ND:4 GELU:2 GREATER:2 GREATER_EQUAL:3 HARD_SWISH:1 HASHTABLE:1
HASHTABLE_FIND:1 HASHTABLE_IMPORT:1 HASHTABLE_LOOKUP:1 HASHTABLE_SIZE:1 IF:1 IMAG:1 L2_NORMALIZATION:2 L2_POOL_2D:1
LEAKY_RELU:2 LESS:3 LESS_EQUAL:2 LOCAL_RESPONSE_NORMALIZATION:1 LOG:1 LOGICAL_AND:1 LOGICAL_NOT:1 LOGICAL_OR:1
LOGISTIC:3 LOG_SOFTMAX:2 LSH_PROJECTION:1 LSTM:4 MATRIX_DIAG:1 MATRIX_SET_DIAG:1 MAXIMUM:4 MAX_POOL_2D:3 MEAN:3
MINIMUM:4 MIRROR_PAD:3 MUL:7 MULTINOMIAL:1 NEG:1 NON_MAX_SUPPRESSION_V4:1 NON_MAX_SUPPRESSION_V5:1 NOT_EQUAL:3
ONE_HOT:1 PACK:4 PAD:4 PADV2:4 POW:1 PRELU:1 QUANTIZE:3 RANDOM_STANDARD_NORMAL:1 RANDOM_UNIFORM:1 RANGE:2 RANK:1
READ_VARIABLE:1 REAL:1 REDUCE_ALL:1 REDUCE_ANY:1 REDUCE_MAX:3 REDUCE_MIN:3 REDUCE_PROD:2 RELU:3 RELU6:3 RELU_0_TO_1:1
RELU_N1_TO_1:1 RESHAPE:1 RESIZE_BILINEAR:4 RESIZE_NEAREST_NEIGHBOR:4 REVERSE_SEQUENCE:1 REVERSE_V2:3 RFFT2D:1
RIGHT_SHIFT:1 RNN:3 ROUND:1 RSQRT:2 SCATTER_ND:1 SEGMENT_SUM:1 SELECT:4 SELECT_V2:2 SHAPE:1 SIGN:2 SIN:1 SKIP_GRAM:1
SLICE:6 SOFTMAX:3 SPACE_TO_BATCH_ND:4 SPACE_TO_DEPTH:2 SPARSE_TO_DENSE:3 SPLIT:4 SPLIT_V:2 SQRT:1 SQUARE:1
SQUARED_DIFFERENCE:2 SQUEEZE:2 STRIDED_SLICE:8 SUB:5 SUM:2 SVDF:4 TANH:3 TILE:3 TOPK_V2:3 TRANSPOSE:6 TRANSPOSE_CONV:4
UNIDIRECTIONAL_SEQUENCE_LSTM:4 UNIDIRECTIONAL_SEQUENCE_RNN:3 UNIQUE:1 UNPACK:4 UNSORTED_SEGMENT_MAX:1
UNSORTED_SEGMENT_MIN:1 UNSORTED_SEGMENT_PROD:1 UNSORTED_SEGMENT_SUM:1 VAR_HANDLE:1 WHERE:2 WHILE:1 ZEROS_LIKE:1
"""
NEWEST = {name: int(version) for name, version in (word.split(":") for word in _TFLITE_RUNTIME_2_14.split())}
"""The newest version of each operator in tflite-runtime 2.14, which is all there is for 32-bit ARM.

Found by asking it: a file that names one operator and version is refused when it does not know them."""

FEWEST_OUTPUTS, FEWEST_INPUTS = 4, 8
"""Of an int8 dense layer: with fewer, tflite-runtime 2.14 crashes on 32-bit ARM."""


def check_operators(graph: Any) -> None:
    """Raise `DataError` with the operators of a flatbuffer's object that not both interpreters have.

    That ai-edge-litert has them is found out by running the network.
    """
    for code in graph.operatorCodes:
        name = operator_name(code)
        if code.customCode:
            raise DataError(
                f"the network has the operator {name}, which is not one of TFLite's own; the interpreters of the device"
                " have only those: build the network of ordinary layers"
            )
        if code.version > NEWEST.get(name, 0):
            has = f"has its version {NEWEST[name]} at most" if name in NEWEST else "does not have it"
            raise DataError(
                f"the network has the operator {name}, version {code.version}; tflite-runtime 2.14, the interpreter"
                f" on 32-bit boards, {has}: replace the layer, or convert with an older TensorFlow"
            )


def operator_name(code: Any) -> str:
    """Return what an operator code is called."""
    if code.customCode:
        return str(bytes(code.customCode), "utf-8", "replace")
    from tensorflow.lite.python import schema_py_generated as schema

    number = max(code.builtinCode, code.deprecatedBuiltinCode)  # old files have the second alone
    return next((name for name, value in vars(schema.BuiltinOperator).items() if value == number), str(number))
