"""ONNX's own checker with strict shape inference, at the cost of the graph and not of its weights."""

from __future__ import annotations

import math
import re

import onnx
from onnx import ModelProto, TensorProto, helper

# Values of small tensors steer shape inference (targets of Reshape, axes of Slice); large ones only weigh.
_STEERING = 4096
_NODE = re.compile(r"node name: ([^)\s]+)|Name: ([^)\s]+)\s+OpType")


class InvalidGraph(ValueError):
    """A graph that ONNX's checker or shape inference refuses.

    Attributes:
        reason: the checker's words, one line.
        node: the node it names, or an empty string.
    """

    def __init__(self, reason: str, node: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.node = node


def check_model(model: ModelProto) -> None:
    """Run the checker and strict shape inference.

    Raises:
        InvalidGraph: with the node that is at fault where one is named.
    """
    for tensor in model.graph.initializer:
        _check_size(tensor)
    try:
        onnx.checker.check_model(_skeleton(model), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        text = str(error)
        match = _NODE.search(text)
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        raise InvalidGraph(lines[0] if lines else "no reason given", (match[1] or match[2]) if match else "") from error


def _skeleton(model: ModelProto) -> ModelProto:
    """The same graph with its large weights as further inputs, so that the checker copies no weights."""
    small = ModelProto()
    for field, value in model.ListFields():
        if field.name != "graph":
            _copy(small, field.name, value)
    for field, value in model.graph.ListFields():
        if field.name != "initializer":
            _copy(small.graph, field.name, value)
    listed = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if _byte_size(tensor) <= _STEERING and tensor.data_location != TensorProto.EXTERNAL:
            small.graph.initializer.add().CopyFrom(tensor)
        elif tensor.name not in listed:
            small.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    return small


def _copy(message: onnx.GraphProto | ModelProto, name: str, value: object) -> None:
    target = getattr(message, name)
    if hasattr(target, "extend"):
        target.extend(value)
    elif hasattr(target, "CopyFrom"):
        target.CopyFrom(value)
    else:
        setattr(message, name, value)


def _check_size(tensor: TensorProto) -> None:
    """What the checker would say of a weight's bytes, which the skeleton leaves out."""
    if tensor.HasField("raw_data") and len(tensor.raw_data) != _byte_size(tensor):
        raise InvalidGraph(
            f"initializer {tensor.name} has {len(tensor.raw_data)} bytes; its shape and type need {_byte_size(tensor)}",
            "",
        )


def _byte_size(tensor: TensorProto) -> int:
    itemsize: int = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    size: int = math.prod(tensor.dims) * itemsize
    return size
