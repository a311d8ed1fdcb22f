"""The element types of inputs and outputs, under the names that each library uses. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Dtype:
    """One element type.

    Attributes:
        name: the name in settings, manifests and reports, which is numpy's name (or `bfloat16`).
        size: bytes of an element.
        onnx: the number in onnx.TensorProto.DataType.
        onnxruntime: ONNX Runtime's name.
        tensorrt: the name in TensorRT's DataType; empty if TensorRT has no such type.
        triton: the name in Triton's config.pbtxt.
    """

    name: str
    size: int
    onnx: int
    onnxruntime: str
    tensorrt: str
    triton: str


_ALL = (
    Dtype("float32", 4, 1, "tensor(float)", "FLOAT", "TYPE_FP32"),
    Dtype("float16", 2, 10, "tensor(float16)", "HALF", "TYPE_FP16"),
    Dtype("bfloat16", 2, 16, "tensor(bfloat16)", "BF16", "TYPE_BF16"),
    Dtype("int32", 4, 6, "tensor(int32)", "INT32", "TYPE_INT32"),
    Dtype("int64", 8, 7, "tensor(int64)", "INT64", "TYPE_INT64"),
    Dtype("bool", 1, 9, "tensor(bool)", "BOOL", "TYPE_BOOL"),
    Dtype("float64", 8, 11, "tensor(double)", "", "TYPE_FP64"),
    Dtype("int8", 1, 3, "tensor(int8)", "INT8", "TYPE_INT8"),
    Dtype("int16", 2, 5, "tensor(int16)", "", "TYPE_INT16"),
    Dtype("uint8", 1, 2, "tensor(uint8)", "UINT8", "TYPE_UINT8"),
    Dtype("uint16", 2, 4, "tensor(uint16)", "", "TYPE_UINT16"),
    Dtype("uint32", 4, 12, "tensor(uint32)", "", "TYPE_UINT32"),
    Dtype("uint64", 8, 13, "tensor(uint64)", "", "TYPE_UINT64"),
)
DTYPES = {dtype.name: dtype for dtype in _ALL}
FROM_ONNX = {dtype.onnx: dtype.name for dtype in _ALL}
FROM_ONNXRUNTIME = {dtype.onnxruntime: dtype.name for dtype in _ALL}
FROM_TENSORRT = {dtype.tensorrt: dtype.name for dtype in _ALL if dtype.tensorrt}
FLOATS = ("float32", "float16", "bfloat16")
"""The names of the types in which an estimator may have its inputs and outputs."""
