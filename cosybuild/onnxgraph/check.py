"""Check a graph with ONNX's own checker and strict shape inference, without copying its weights."""

from __future__ import annotations

import math
import re

import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from cosybuild.onnxgraph.clean import module_path
from cosybuild.onnxgraph.files import without_weights

# The largest size, in bytes, of initializers that stay in the checked graph. Shape inference needs the values of small
# ones, such as the shapes of Reshape and the axes of Slice.
_STEERING = 4096
INITIALIZERS_ALONE = 4
"""The first IR version in which an initializer need not also be listed as an input."""
_LONGEST = 400  # characters of the checker's message
_NODE = re.compile(r"node name: ([^)\s]+)|name: (\S+)\s+OpType", re.IGNORECASE)


class InvalidGraph(ValueError):
    """A graph is not valid ONNX.

    Attributes:
        reason: the fault, as one line.
        node: the name of the node with the fault; empty if it is not known.
    """

    def __init__(self, reason: str, node: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.node = node

    @property
    def detail(self) -> str:
        """The node, if it is known, and the reason, as the end of an error message."""
        where = f" at node {self.node} (module {module_path(self.node) or 'outermost'})" if self.node else ""
        return f"{where}: {self.reason}"


def check_model(model: ModelProto, *, output_shapes: bool = True) -> None:
    """Check a graph with ONNX's checker and strict shape inference, and check the declared shapes of its outputs.

    Args:
        model: the graph.
        output_shapes: False to leave out the shapes of outputs, which many files of other people state wrongly.

    Raises:
        InvalidGraph: the graph is invalid, or the declared shape of an output contradicts the inferred shape.
    """
    _check_opset(model)
    for tensor in model.graph.initializer:
        _check_size(tensor)
    skeleton = _skeleton(model)
    try:
        onnx.checker.check_model(skeleton)
        # Shape inference would merge the declared shapes into its result, which would hide an axis of fixed size.
        for output in skeleton.graph.output:
            output.type.tensor_type.ClearField("shape")
        inferred = _inferred(skeleton)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        text = str(error)
        match = _NODE.search(text)
        raise InvalidGraph(" ".join(text.split())[:_LONGEST], (match[1] or match[2]) if match else "") from error
    symbols = {dim.dim_param for value in model.graph.input for dim in value.type.tensor_type.shape.dim}
    for declared, found in zip(model.graph.output, inferred.graph.output, strict=True) if output_shapes else ():
        _check_output(declared, found, symbols)


def _inferred(model: ModelProto) -> ModelProto:
    """Return a copy of the model with the inferred shapes of all values.

    With `data_prop`, shape inference also computes the values of small integer tensors. It has a fault: it adds tensors
    of different lengths by position instead of broadcasting them, and then rejects valid graphs. If it fails, inference
    is therefore repeated without `data_prop`.

    Raises:
        InferenceError: the shapes or types contradict each other.
    """
    try:
        return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError:
        return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)


def _check_opset(model: ModelProto) -> None:
    """Check that the opset exists. ONNX's checker accepts newer numbers, but no runtime loads such a graph.

    Raises:
        InvalidGraph: the opset is newer than the newest one of the installed onnx.
    """
    newest = onnx.defs.onnx_opset_version()
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version > newest:
            raise InvalidGraph(f"it has opset {opset.version}, and the newest that onnx knows is {newest}", "")


def _check_output(declared: ValueInfoProto, found: ValueInfoProto, symbols: set[str]) -> None:
    """Check that the declared shape of an output agrees with the inferred shape.

    A declared symbol that no input has agrees with any size.

    Args:
        declared: the output in the graph.
        found: the same output after shape inference.
        symbols: the names of the dynamic axes of the inputs.

    Raises:
        InvalidGraph: the shapes do not agree.
    """
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
    """Return a copy of the graph in which large initializers are inputs, so that the checker copies no weights.

    Before IR version 4, the checker requires that initializers are also inputs. Runtimes do not require that, so the
    copy has at least IR version 4.
    """
    small = without_weights(model)
    small.ir_version = max(small.ir_version, INITIALIZERS_ALONE)
    listed = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if _byte_size(tensor) <= _STEERING and tensor.data_location != TensorProto.EXTERNAL:
            small.graph.initializer.add().CopyFrom(tensor)
        elif tensor.name not in listed:
            small.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    return small


def _check_size(tensor: TensorProto) -> None:
    """Check that an initializer has the number of bytes that its shape and type need.

    ONNX's checker does not see large initializers, because `_skeleton` removes them.

    Raises:
        InvalidGraph: the number of bytes is wrong, or the element type is unknown.
    """
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
