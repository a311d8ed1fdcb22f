"""The element types of inputs and outputs, under the names that each library uses. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Dtype:
    """One element type.

    Attributes:
        name: numpy's name, which settings, manifests and reports use.
        size: bytes of an element.
        onnx: the number in onnx.TensorProto.DataType.
        onnxruntime: ONNX Runtime's name.
        tensorrt: the name in TensorRT's DataType.
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
)
DTYPES = {dtype.name: dtype for dtype in _ALL}
FROM_ONNX = {dtype.onnx: dtype.name for dtype in _ALL}
FROM_ONNXRUNTIME = {dtype.onnxruntime: dtype.name for dtype in _ALL}
FROM_TENSORRT = {dtype.tensorrt: dtype.name for dtype in _ALL}
FLOATS = ("float32", "float16", "bfloat16")
"""The types that an estimator may have."""
