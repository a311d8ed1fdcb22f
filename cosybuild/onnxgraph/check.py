"""A check of a graph with ONNX's own checker and strict shape inference, without a copy of its weights."""

from __future__ import annotations

import math
import re

import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from cosybuild.onnxgraph.clean import module_path
from cosybuild.onnxgraph.files import without_weights

# Largest size in bytes of constants that stay in the checked graph: shape inference needs the values of small ones
# (targets of Reshape, axes of Slice).
_STEERING = 4096
_INITIALIZERS_ALONE = 4
_LONGEST = 400  # characters of the checker's message
_NODE = re.compile(r"node name: ([^)\s]+)|name: (\S+)\s+OpType", re.IGNORECASE)


class InvalidGraph(ValueError):
    """The error for a graph that ONNX's checker or shape inference rejects.

    Attributes:
        reason: the checker's message as one line.
        node: the node that the message names, or an empty string.
    """

    def __init__(self, reason: str, node: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.node = node

    @property
    def detail(self) -> str:
        """The end of a message: the node, if it is known, and the reason."""
        where = f" at node {self.node} (module {module_path(self.node) or 'outermost'})" if self.node else ""
        return f"{where}: {self.reason}"


def check_model(model: ModelProto) -> None:
    """Run the checker and strict shape inference, and compare the outputs' declared shapes with the inferred ones.

    Raises:
        InvalidGraph: the graph is invalid, or a declared shape contradicts the inferred one.
    """
    _check_opset(model)
    for tensor in model.graph.initializer:
        _check_size(tensor)
    skeleton = _skeleton(model)
    try:
        onnx.checker.check_model(skeleton)
        # Inference would merge declared shapes into its result, which would hide a frozen size.
        for output in skeleton.graph.output:
            output.type.tensor_type.ClearField("shape")
        inferred = _inferred(skeleton)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        text = str(error)
        match = _NODE.search(text)
        raise InvalidGraph(" ".join(text.split())[:_LONGEST], (match[1] or match[2]) if match else "") from error
    symbols = {dim.dim_param for value in model.graph.input for dim in value.type.tensor_type.shape.dim}
    for declared, found in zip(model.graph.output, inferred.graph.output, strict=True):
        _check_output(declared, found, symbols)


def _inferred(model: ModelProto) -> ModelProto:
    """Return the model with the shapes of all values.

    ONNX propagates the values of small integer tensors too. It adds such values of different lengths by position, which
    contradicts valid graphs, so its objection counts only if the graph also fails without the values.

    Raises:
        InferenceError: the shapes or types contradict each other.
    """
    try:
        return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError:
        return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)


def _check_opset(model: ModelProto) -> None:
    """Refuse an opset that does not exist yet, which ONNX's checker lets pass and no runtime loads."""
    newest = onnx.defs.onnx_opset_version()
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version > newest:
            raise InvalidGraph(f"it has opset {opset.version}, and the newest that onnx knows is {newest}", "")


def _check_output(declared: ValueInfoProto, found: ValueInfoProto, symbols: set[str]) -> None:
    """Compare an output with the inferred one. A symbol that no input has names no size, so any size agrees with it."""
    if not found.type.tensor_type.HasField("shape") or not declared.type.tensor_type.HasField("shape"):
        return
    pairs = list(zip(declared.type.tensor_type.shape.dim, found.type.tensor_type.shape.dim, strict=False))
    ranks = [len(value.type.tensor_type.shape.dim) for value in (declared, found)]
    if ranks[0] != ranks[1]:
        raise InvalidGraph(f"output {declared.name} has {ranks[1]} axes; {ranks[0]} are declared", "")
    for axis, (said, is_) in enumerate(pairs):
        if is_.HasField("dim_value") and said.HasField("dim_param") and said.dim_param in symbols:
            raise InvalidGraph(
                f"output {declared.name} has axis {axis} frozen at {is_.dim_value}; the dynamic axis {said.dim_param} "
                "is declared",
                "",
            )
        if is_.HasField("dim_value") and said.HasField("dim_value") and 0 <= said.dim_value != is_.dim_value:
            raise InvalidGraph(
                f"output {declared.name} has {is_.dim_value} on axis {axis}; {said.dim_value} is declared", ""
            )


def _skeleton(model: ModelProto) -> ModelProto:
    """Return the graph with its large weights as further inputs, so that the checker copies no weights.

    Before version 4 of the format, initializers must be inputs too. Runtimes do not ask for that, so the copy has at
    least this version.
    """
    small = without_weights(model)
    small.ir_version = max(small.ir_version, _INITIALIZERS_ALONE)
    listed = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if _byte_size(tensor) <= _STEERING and tensor.data_location != TensorProto.EXTERNAL:
            small.graph.initializer.add().CopyFrom(tensor)
        elif tensor.name not in listed:
            small.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    return small


def _check_size(tensor: TensorProto) -> None:
    """Check that a weight has as many bytes as its shape and type need; ONNX's checker does not see large weights."""
    if tensor.data_type not in TensorProto.DataType.values() or tensor.data_type == TensorProto.UNDEFINED:
        raise InvalidGraph(f"initializer {tensor.name} has the unknown element type {tensor.data_type}", "")
    if tensor.HasField("raw_data") and len(tensor.raw_data) != _byte_size(tensor):
        raise InvalidGraph(
            f"initializer {tensor.name} has {len(tensor.raw_data)} bytes; its shape and type need {_byte_size(tensor)}",
            "",
        )


def _byte_size(tensor: TensorProto) -> int:
    itemsize: int = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    size: int = math.prod(tensor.dims) * itemsize
    return size
