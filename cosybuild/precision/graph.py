"""The normal form that a graph is lowered from, and the questions that every rule asks of it."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common as passes
from onnxscript import version_converter

from cosybuild.errors import PrecisionError
from cosybuild.precision.storage import BF16, Storage

# The first opset in which Conv, InstanceNormalization, Softplus, Sin, ... may be bfloat16.
_BFLOAT16_OPSET = 22
_CONVERTIBLE_OPSET = 18

CONTRACTIONS = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum", "Attention"})
NORMALISATIONS = frozenset(
    {"LayerNormalization", "GroupNormalization", "InstanceNormalization", "RMSNormalization", "BatchNormalization"}
)
SUMS = frozenset(
    {
        "ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp",
        "ReduceProd", "CumSum", "GlobalAveragePool",
    }
)  # fmt: skip
MOVES = frozenset(
    {
        "Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Expand", "Slice", "Gather", "Split",
        "Concat", "Pad", "Tile", "GatherElements", "GatherND", "DepthToSpace", "SpaceToDepth", "Dropout",
    }
)  # fmt: skip
"""What only moves values: every result is one of the inputs."""
EXACT = MOVES | {"Neg", "Abs", "Relu", "Max", "Min", "Where"}
"""What gives results that need no rounding where the inputs needed none."""
INDIFFERENT = frozenset({"Shape", "Size"})
"""What looks at a tensor's size only, so that its type does not matter."""


def prepare(model: ir.Model, storage: Storage) -> None:
    """Bring a graph into normal form, in place; twice is once.

    Functions are inlined, constants are initialisers, nodes and values have unique names, every value has
    its type. For bfloat16 a graph of opset 18 to 21 becomes one of opset 22, the first in which
    convolutions may have that type.

    Raises:
        PrecisionError: types cannot be inferred.
    """
    if model.functions:
        passes.InlinePass()(model)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    passes.NameFixPass()(model)
    if storage is BF16 and _CONVERTIBLE_OPSET <= opset_of(model) < _BFLOAT16_OPSET:
        version_converter.convert_version(model, _BFLOAT16_OPSET)
        for node in model.graph.all_nodes():
            node.version = None
    passes.ShapeInferencePass(check_type=True, strict_mode=False, data_prop=True)(model)
    for node in model.graph:
        for value in node.outputs:
            if value.type is None and (value.uses() or value.is_graph_output()):
                raise PrecisionError(
                    f"The type of {value.name}, made by {node.op_type} {node.name}, cannot be inferred, so the graph "
                    "cannot be typed.",
                    hint="Next: precision=fp32, or an operator of the standard ONNX domain in its place.",
                )


def opset_of(model: ir.Model) -> int:
    """Version of the default domain."""
    return model.opset_imports.get("", 1)


def is_float(value: ir.Value | None) -> bool:
    """Whether it is a float32 tensor: what lowering is about."""
    return value is not None and isinstance(value.type, ir.TensorType) and value.type.dtype == ir.DataType.FLOAT


def float_inputs(node: ir.Node) -> list[ir.Value]:
    """Float32 inputs of the node, constants included."""
    return [value for value in node.inputs if value is not None and is_float(value)]


def float_outputs(node: ir.Node) -> list[ir.Value]:
    return [value for value in node.outputs if is_float(value)]


def computed_inputs(node: ir.Node) -> list[ir.Value]:
    """Float32 inputs that are no constants."""
    return [value for value in float_inputs(node) if not value.is_initializer()]


def concerned(model: ir.Model) -> list[ir.Node]:
    """The nodes that a decision is needed for, in graph order: all that touch a float32 tensor's values."""
    return [
        node for node in model.graph if node.op_type not in INDIFFERENT and (float_inputs(node) or float_outputs(node))
    ]


def constant_of(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor behind an initialiser; None for what is computed."""
    return value.const_value if value is not None and value.is_initializer() else None


def name_of(item: ir.Node | ir.Value) -> str:
    """Its name, which the normal form guarantees."""
    assert item.name
    return item.name
